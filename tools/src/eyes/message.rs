//! A message of the commit log, as rows and lines.

use std::collections::BTreeMap;

use popstore::inspect::{Origin, SnapshotMessage};
use serde::Serialize;

use crate::output;

/// How a body is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Body {
    /// As text; in JSON as hexadecimal digits if it is not UTF-8
    #[default]
    Text,
    /// As hexadecimal digits
    Hex,
    /// Not at all
    None,
}

/// A message, for a machine.
#[derive(Serialize)]
pub(super) struct MessageRow<'a> {
    topic: &'a str,
    queue: u32,
    index: u64,
    offset: u64,
    appended_at: String,
    batch_rest: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    relocated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<OriginRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    tag: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, &'a str>,
    body_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

/// Where a dead letter or a redriven one came from, for a machine.
#[derive(Serialize)]
pub(super) struct OriginRow<'a> {
    group: &'a str,
    topic: &'a str,
    queue: u32,
    index: u64,
    attempts: u32,
    reason: &'static str,
    popped_at: String,
    appended_at: String,
}

impl<'a> MessageRow<'a> {
    pub(super) fn of(message: &'a SnapshotMessage, as_body: Body) -> Self {
        let (key, key_hex) = output::text_or_hex(&message.key);
        let (body, body_hex) = match as_body {
            Body::Text => output::text_or_hex(&message.body),
            Body::Hex => (None, Some(output::hex(&message.body))),
            Body::None => (None, None),
        };
        Self {
            topic: &message.topic,
            queue: message.queue,
            index: message.index,
            offset: message.offset,
            appended_at: output::millisecond(message.appended_at),
            batch_rest: message.batch_rest,
            relocated: message.relocated,
            origin: message.origin.as_ref().map(OriginRow::of),
            key,
            key_hex,
            tag: &message.tag,
            properties: message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            body_bytes: message.body.len(),
            body,
            body_hex,
        }
    }
}

impl<'a> OriginRow<'a> {
    pub(super) fn of(origin: &'a Origin) -> Self {
        Self {
            group: &origin.group,
            topic: &origin.topic,
            queue: origin.queue,
            index: origin.index,
            attempts: origin.attempts,
            reason: origin.reason.map_or("redriven", output::reason),
            popped_at: output::millisecond(origin.popped_at),
            appended_at: output::millisecond(origin.appended_at),
        }
    }
}

/// A message on one line, for a person.
pub(super) fn line(message: &SnapshotMessage, as_body: Body) -> String {
    let at_place = output::place(&message.topic, message.queue, message.index);
    let at = output::millisecond(message.appended_at);
    let mut line = format!("{at_place:<24} @{:<12} {at}  {:>7} B", message.offset, message.body.len());
    if !message.key.is_empty() {
        line.push_str(&format!("  key={}", output::shown(&message.key)));
    }
    if !message.tag.is_empty() {
        line.push_str(&format!("  tag={}", output::shown(message.tag.as_bytes())));
    }
    for (name, value) in &message.properties {
        line.push_str(&format!("  {}={}", output::shown(name.as_bytes()), output::shown(value.as_bytes())));
    }
    if let Some(origin) = &message.origin {
        let from = output::place(&origin.topic, origin.queue, origin.index);
        line.push_str(&format!("  from={from}"));
    }
    if message.relocated {
        line.push_str("  relocated");
    }
    match as_body {
        Body::Text => line.push_str(&format!("  {}", output::shown(&message.body))),
        Body::Hex => line.push_str(&format!("  {}", output::hex(&message.body))),
        Body::None => {}
    }
    line
}
