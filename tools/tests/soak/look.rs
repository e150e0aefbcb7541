//! What a store holds, by a look that changes nothing: what the oracle compares with what it was told.

use std::collections::BTreeMap;
use std::path::Path;

use popstore::Result;
use popstore::inspect::Snapshot;

use crate::journal::Place;
use crate::world::{self, GROUPS, TOPICS, readings};

/// A store at a moment when nobody works on it.
#[derive(Clone, Default)]
pub struct View {
    /// Per topic and queue, the first message that is kept and the end.
    pub queues: BTreeMap<(usize, u32), (u64, u64)>,
    /// Messages behind those that were looked at before.
    pub messages: BTreeMap<Place, SeenMessage>,
    /// Letters behind those that were looked at before.
    pub letters: Vec<SeenLetter>,
    /// The next new message of a queue for a group.
    pub positions: BTreeMap<(usize, usize, u32), u64>,
    /// What groups hold, with the attempt of the last delivery.
    pub held: BTreeMap<(usize, Place), u32>,
}

#[derive(Clone)]
pub struct SeenMessage {
    /// `None` when the body is not whole.
    pub token: Option<u64>,
    /// The group and the index of the letter that was put back.
    pub copy_of: Option<(usize, u64)>,
}

#[derive(Clone)]
pub struct SeenLetter {
    pub group: usize,
    pub index: u64,
    pub origin: Place,
    pub attempts: u32,
    pub token: Option<u64>,
}

/// How far the queues and the letters were looked at.
#[derive(Clone, Default)]
pub struct Looked {
    pub messages: BTreeMap<(usize, u32), u64>,
    pub letters: BTreeMap<usize, u64>,
}

/// Looks at what is new since the last look, and at everything the groups hold.
pub fn look(dir: &Path, looked: &Looked) -> Result<View> {
    let snapshot = Snapshot::open(dir)?;
    let mut view = View::default();
    let mut lookup = snapshot.lookup();
    let topics = snapshot.topics();
    let queues_of = |name: &str| topics.iter().find(|topic| topic.name == name).map_or(&[][..], |topic| &topic.queues);
    for (topic, (name, _)) in TOPICS.iter().enumerate() {
        for (queue, (first, end)) in (0..).zip(queues_of(name)) {
            view.queues.insert((topic, queue), (*first, *end));
            let from = looked.messages.get(&(topic, queue)).copied().unwrap_or(0);
            for index in from.max(*first)..*end {
                let Some(message) = lookup.message(name, queue, index)? else { continue };
                let copy_of = message.origin.map(|origin| (world::group_of(&origin.group).unwrap(), origin.index));
                let found = SeenMessage { token: world::token(&message.body), copy_of };
                view.messages.insert(Place(topic, queue, index), found);
            }
        }
    }
    for (group, reader) in GROUPS.iter().enumerate() {
        for (first, end) in queues_of(reader.letters) {
            let from = looked.letters.get(&group).copied().unwrap_or(0);
            for index in from.max(*first)..*end {
                let Some(message) = lookup.message(reader.letters, 0, index)? else { continue };
                let Some(origin) = &message.origin else { continue };
                assert_eq!(&*origin.group, reader.name, "the group of a letter in {}", reader.letters);
                let topic = world::topic_of(&origin.topic).expect("the topic of a letter");
                let origin_place = Place(topic, origin.queue, origin.index);
                let token = world::token(&message.body);
                let attempts = origin.attempts;
                view.letters.push(SeenLetter { group, index, origin: origin_place, attempts, token });
            }
        }
    }
    for (group, topic) in readings() {
        for queue in 0..TOPICS[topic].1 {
            if let Some(position) = snapshot.position(GROUPS[group].name, TOPICS[topic].0, queue) {
                view.positions.insert((group, topic, queue), position);
            }
        }
    }
    for held in snapshot.leases() {
        let (group, topic) = (world::group_of(&held.group), world::topic_of(&held.topic));
        let place = Place(topic.expect("a topic"), held.queue, held.index);
        let before = view.held.insert((group.expect("a group"), place), held.attempt);
        assert_eq!(before, None, "{} holds {place:?} twice", held.group);
    }
    Ok(view)
}
