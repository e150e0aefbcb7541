//! The history of a message, per group, in order.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use popstore::inspect::{CheckpointEntry, Snapshot, SnapshotMessage};
use serde::Serialize;

use super::faults::Notes;
use super::message::{Body, line};
use super::{dead_letters, leases, when};
use crate::output::{place, reason};
use crate::{Failure, output};

/// Topic, queue and index.
pub(super) type PlaceKey = (Arc<str>, u32, u64);

/// A message and its history in each group.
pub(super) struct Life {
    message: SnapshotMessage,
    groups: BTreeMap<Arc<str>, GroupHistory>,
}

#[derive(Default)]
struct GroupHistory {
    events: Vec<LifeEvent>,
    now: String,
}

struct LifeEvent {
    what: String,
    at: Option<SystemTime>,
    delivery: u32,
    until: Option<SystemTime>,
    /// The position of its record in the checkpoint log; of a letter, its place.
    record: String,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    queue: u32,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    event: &'a str,
    happened_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    record: &'a str,
}

impl GroupHistory {
    /// How it was settled, when nobody holds it any more.
    fn settled(&self) -> String {
        let ended = self.events.iter().rev().find(|event| matches!(event.what.as_str(), "acked" | "discarded"));
        ended.map_or_else(|| "settled".to_string(), |event| event.what.clone())
    }
}

impl Life {
    pub(super) fn of(message: SnapshotMessage) -> Self {
        Self { message, groups: BTreeMap::new() }
    }

    pub(super) fn place(&self) -> PlaceKey {
        (Arc::clone(&self.message.topic), self.message.queue, self.message.index)
    }

    fn group(&mut self, group: &Arc<str>) -> &mut GroupHistory {
        self.groups.entry(Arc::clone(group)).or_default()
    }

    pub(super) fn show(&self, out: &mut dyn Write) -> Result<(), Failure> {
        output::line(out, format_args!("{}", line(&self.message, Body::Text)))?;
        let mut born = format!("  {}  appended", output::millisecond(self.message.appended_at));
        if let Some(origin) = &self.message.origin {
            let from = place(&origin.topic, origin.queue, origin.index);
            let how = origin.reason.map_or("put back from", |_| "as the dead letter of");
            born.push_str(&format!(" {how} {from} for group {}", origin.group));
        }
        output::line(out, format_args!("{born}"))?;
        for (name, group) in &self.groups {
            output::line(out, format_args!("  group {name}"))?;
            for event in &group.events {
                let at = event.at.map_or_else(|| " ".repeat(24), output::millisecond);
                let delivery =
                    if event.delivery > 0 { format!("  delivery {}", event.delivery) } else { String::new() };
                let until =
                    event.until.map_or_else(String::new, |until| format!("  until {}", output::millisecond(until)));
                output::line(out, format_args!("    {at}  {:<14}{delivery}{until}  ({})", event.what, event.record))?;
            }
            output::line(out, format_args!("    now: {}", group.now))?;
        }
        Ok(())
    }

    fn row(&self) -> Row<'_> {
        let SnapshotMessage { topic, queue, index, .. } = &self.message;
        let (queue, index) = (*queue, *index);
        Row { topic, queue, index, group: None, event: "", happened_at: None, delivery: None, until: None, record: "" }
    }

    pub(super) fn show_json(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let record = format!("commit {}", self.message.offset);
        let happened_at = Some(output::millisecond(self.message.appended_at));
        output::json(out, &Row { event: "appended", happened_at, record: &record, ..self.row() })?;
        for (name, group) in &self.groups {
            for event in &group.events {
                let happened_at = event.at.map(output::millisecond);
                let (delivery, until) = (Some(event.delivery).filter(|n| *n > 0), event.until.map(output::millisecond));
                let (group, event, record) = (Some(&**name), event.what.as_str(), event.record.as_str());
                output::json(out, &Row { group, event, happened_at, delivery, until, record, ..self.row() })?;
            }
            let (happened_at, record) = (None, group.now.as_str());
            output::json(out, &Row { group: Some(name), event: "now", happened_at, record, ..self.row() })?;
        }
        Ok(())
    }
}

/// The histories of messages: one reading of the checkpoint log, and of the dead letters.
pub(super) fn trace(
    snapshot: &Snapshot,
    lives: &mut BTreeMap<PlaceKey, Life>,
    group: Option<&str>,
    notes: &mut Notes,
) -> Result<(), Failure> {
    for met in snapshot.checkpoint_log(0)? {
        if let Some(entry) = notes.record(met?) {
            take(lives, &entry);
        }
    }
    dead_letters::for_each(snapshot, group, notes, |letter, origin| {
        let of = (Arc::clone(&origin.topic), origin.queue, origin.index);
        let Some(life) = lives.get_mut(&of).filter(|_| origin.reason.is_some()) else { return Ok(()) };
        let here = place(&letter.topic, letter.queue, letter.index);
        let group = life.group(&origin.group);
        let put_back = if snapshot.is_redriven(&letter.topic, letter.index) { ", which was put back" } else { "" };
        group.events.push(LifeEvent {
            what: "dead letter".into(),
            at: Some(letter.appended_at),
            delivery: origin.delivery,
            until: None,
            record: format!("commit {}", letter.offset),
        });
        group.now = format!("dead-lettered ({}) as {here}{put_back}", origin.reason.map_or("", reason));
        Ok(())
    })?;
    add_present(snapshot, lives);
    for life in lives.values_mut() {
        life.groups.retain(|name, _| group.is_none_or(|group| *group == **name));
        for group in life.groups.values_mut() {
            // The letter settles the message; its record in the checkpoint log comes after it.
            group.events.sort_by_key(|event| (event.at.map(output::millisecond), event.what == "buried"));
        }
    }
    Ok(())
}

fn take(lives: &mut BTreeMap<PlaceKey, Life>, entry: &CheckpointEntry) {
    let Some(group) = &entry.group else { return };
    for places in entry.places.iter().filter(|places| !places.indexes.is_empty()) {
        let place = |index| (Arc::clone(&places.topic), places.queue, index);
        let (first, last) = (places.indexes[0], places.indexes[places.indexes.len() - 1]);
        for (_, life) in lives.range_mut(place(first)..=place(last.max(first))) {
            if !places.indexes.contains(&life.message.index) {
                continue;
            }
            let (what, at, until) = match places.state {
                // The history before a snapshot of the index is deleted; the snapshot has the state at that time.
                Some((state, since, until)) => (format!("was {}", state.replace('_', " ")), since, until),
                None if entry.fields.iter().any(|(_, value)| value == "discarded") => {
                    ("discarded".to_string(), entry.happened_at, entry.until)
                }
                None => (entry.kind.to_string(), entry.happened_at, entry.until),
            };
            let record = format!("checkpoint {}", entry.at.position);
            life.group(group).events.push(LifeEvent { what, at, delivery: places.delivery, until, record });
        }
    }
}

/// The state of the messages in each group now.
fn add_present(snapshot: &Snapshot, lives: &mut BTreeMap<PlaceKey, Life>) {
    let now = when::now();
    for held in snapshot.leases() {
        let place = (Arc::clone(&held.topic), held.queue, held.index);
        if let Some(life) = lives.get_mut(&place) {
            life.group(&held.group).now = format!("attempt {}: {}", held.attempt, leases::description(&held, now));
        }
    }
    let topics = snapshot.topics();
    for stats in snapshot.groups() {
        for ((topic, queue, index), life) in lives.iter_mut() {
            let reads = snapshot.position(&stats.name, topic, *queue);
            let name: Arc<str> = stats.name.as_str().into();
            match (reads, life.groups.get_mut(&name)) {
                (_, Some(group)) if !group.now.is_empty() => {}
                (Some(position), Some(group)) if *index < position => group.now = group.settled(),
                (Some(position), None) if *index < position => {
                    let group = life.group(&name);
                    group.now = "settled before the oldest record that the checkpoint log still has".into();
                }
                (Some(position), _) => {
                    let first =
                        topics.iter().find(|it| *it.name == **topic).and_then(|it| it.queues.get(*queue as usize));
                    let before = index.saturating_sub(position.max(first.map_or(0, |(first, _)| *first)));
                    life.group(&name).now =
                        format!("not given out yet, {} before it", output::counted(before, "message"));
                }
                (None, _) => life.group(&name).now = "not given out: the group never popped from this queue".into(),
            }
        }
    }
}
