//! The form of results: tables for people, one JSON object per line for machines.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::SystemTime;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use popstore::{EndReason, StoredMessage};
use serde::Serialize;

use crate::Failure;
use crate::plain::plain;

/// The most characters of a body that a table shows.
const SHOWN_MAX: usize = 60;

/// A table for people.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<'h>(header: impl IntoIterator<Item = &'h str>) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_header(header.into_iter().collect::<Vec<_>>());
        Self(table)
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| plain(&cell)));
    }

    pub(crate) fn show(&self, out: &mut dyn Write) -> Result<(), Failure> {
        Ok(writeln!(out, "{}", self.0)?)
    }
}

/// Writes a line for people.
pub(crate) fn line(out: &mut dyn Write, text: fmt::Arguments<'_>) -> Result<(), Failure> {
    Ok(writeln!(out, "{}", plain(&text.to_string()))?)
}

/// Writes one object and a line end.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Bytes for a person: the beginning of the text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_MAX)]);
    let short: String = text.chars().take(SHOWN_MAX).collect();
    if text.chars().count() > SHOWN_MAX { format!("{short}...") } else { short }
}

/// A number of something: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

/// A time for a person: UTC, to the second.
pub(crate) fn second(at: SystemTime) -> String {
    written(humantime::format_rfc3339_seconds(at))
}

/// A time for a machine: RFC 3339, UTC, to the millisecond.
pub(crate) fn millisecond(at: SystemTime) -> String {
    written(humantime::format_rfc3339_millis(at))
}

fn written(at: humantime::Rfc3339Timestamp) -> String {
    let mut text = String::new();
    // A year of five digits has no such text.
    if write!(text, "{at}").is_ok() { text } else { "beyond the year 9999".to_string() }
}

/// What a message carries, for a machine: as text where it is UTF-8, otherwise as hexadecimal digits.
#[derive(Serialize)]
pub(crate) struct Carried<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'a> Carried<'a> {
    pub(crate) fn by(message: &'a StoredMessage) -> Self {
        let (key, key_hex) = text_or_hex(message.key());
        let (body, body_hex) = text_or_hex(message.body());
        Self { key, key_hex, tag: message.tag(), body, body_hex }
    }
}

/// Bytes for a machine: `(text, None)` when they are UTF-8, otherwise `(None, hexadecimal)`.
pub(crate) fn text_or_hex(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(hex(bytes))),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why a last lease ended, as a word.
pub(crate) fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Expired => "expired",
        EndReason::Nacked => "nacked",
    }
}

/// The place of a message: `orders/0/12`.
pub(crate) fn place_of(message: &StoredMessage) -> String {
    place(message.topic(), message.queue(), message.index())
}

/// The same, of its parts.
pub(crate) fn place(topic: &str, queue: u32, index: u64) -> String {
    format!("{topic}/{queue}/{index}")
}
