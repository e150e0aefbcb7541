//! Dead letters that are put back: each once, a list at the price of one sync, and none whose origin is a lie.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use popstore::{
    DeadLetter, Durability, Error, Event, Group, GroupOptions, Hook, Message, Options, Pop, Redriven, Result,
};

use crate::disk::{Gate, is_segment_of};
use crate::forge::{Raw, T, V, advance, forge, group, message, options, record, topic};
use crate::scene::{GROUP, Scene, TOPIC, secs, text};

/// A group with so many dead letters, none of which needs another segment when it is put back.
fn with_letters(hook: Arc<dyn Hook>, letters: u32) -> Scene {
    let options = Options::default().durability(Durability::SyncEach).hook(hook);
    let scene = Scene::sized(options, GroupOptions::default().max_reconsume_times(0));
    let bodies: Vec<String> = (0..letters).map(|letter| format!("m{letter}")).collect();
    let messages: Vec<_> = bodies.iter().map(Message::new).collect();
    assert_eq!(scene.store().append_batch(TOPIC, &messages).unwrap().len(), messages.len());
    while !scene.pop_up_to(100).is_empty() {}
    scene.advance(secs(31));
    assert_eq!(scene.letters().len(), letters as usize);
    scene
}

fn listed(group: &Group) -> Vec<DeadLetter> {
    group.dead_letters().unwrap().map(Result::unwrap).collect()
}

fn is_done(outcome: &Result<Redriven>) -> bool {
    matches!(outcome, Ok(Redriven::Done { .. }))
}

#[test]
fn a_letter_that_lies_about_its_queue_is_refused_and_stays() {
    // An expired letter of group 0, said to be of message 0 of that queue.
    let letter = |index, topic, queue| {
        let place = [V(0), V(1_700_000_000_000), V(1), V(0), V(index), V(8)];
        let origin = [V(1), V(0), V(topic), V(queue), V(0), V(1), V(0), V(1_000_000_000_000), V(1_000_000_000_000)];
        record(2, &[&place[..], &origin, &[T(""), T(""), T(""), Raw(b"a letter")]].concat())
    };
    let letters = [letter(0, 0, 7), letter(1, 0, 1023), letter(2, 5, 0), letter(3, 0, 0)];
    let commit = [&[topic(0, 1, TOPIC), message(0, 0, 0), topic(1, 1, "%DLQ%billing")][..], &letters].concat();
    let forged = forge(&commit, &[group(0, GROUP)]);
    for _ in 0..2 {
        let store = options(&forged).open(forged.dir()).unwrap();
        let group = store.group(GROUP).unwrap();
        let letters = listed(&group);
        let outcomes = group.redrive_batch(&letters).unwrap();
        for (lies, outcome) in letters.iter().zip(&outcomes).filter(|(letter, _)| letter.message().index() < 3) {
            assert!(matches!(outcome, Err(Error::Unknown { .. })), "{outcome:?}");
            let alone = group.redrive(lies);
            assert!(matches!(alone, Err(Error::Unknown { .. })), "{alone:?}");
        }
        let left: Vec<u64> = listed(&group).iter().map(|letter| letter.message().index()).collect();
        assert_eq!(left, [0, 1, 2], "what could not be put back is listed");
        assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), 2, "a letter that does not lie is put back once");
        store.close().unwrap();
        advance(&forged, secs(60));
    }
}

#[test]
fn a_letter_twice_in_a_list_is_put_back_once() {
    let scene = with_letters(Arc::new(Syncs::default()), 2);
    let letters = listed(&scene.group());
    let twice = [letters[0].clone(), letters[1].clone(), letters[0].clone()];
    let outcomes = scene.group().redrive_batch(&twice).unwrap();
    assert!(is_done(&outcomes[0]) && is_done(&outcomes[1]), "{outcomes:?}");
    assert!(matches!(outcomes[2], Ok(Redriven::AlreadyRedriven)), "{outcomes:?}");
    assert_eq!(scene.store().topic_stats(TOPIC).unwrap().messages(), 4);
    assert_eq!(scene.letters(), [""; 0]);
}

#[test]
fn letters_that_two_threads_put_back_at_once_come_once() {
    let gate = Gate::at(|event| matches!(event, Event::SyncFile(path) if is_segment_of(path, "commit")));
    let scene = with_letters(gate.clone(), 20);
    let (group, letters) = (scene.group(), listed(&scene.group()));
    let outcomes = std::thread::scope(|threads| {
        gate.close();
        let first = threads.spawn(|| group.redrive_batch(&letters).unwrap());
        gate.wait_until_it_holds_one();
        let second = threads.spawn(|| group.redrive_batch(&letters).unwrap());
        // Time for a second copy, if one is made; nothing here depends on it that is sound.
        std::thread::sleep(std::time::Duration::from_millis(300));
        gate.open();
        [first, second].map(|thread| thread.join().unwrap())
    });
    assert!(outcomes[0].iter().all(is_done), "{:?}", outcomes[0]);
    assert!(outcomes[1].iter().all(|outcome| matches!(outcome, Ok(Redriven::AlreadyRedriven))), "{:?}", outcomes[1]);
    let back = group.pop(TOPIC, Pop::up_to(100)).unwrap();
    let back: Vec<String> = back.iter().map(|delivery| text(delivery.body())).collect();
    assert_eq!(back, (0..20).map(|letter| format!("m{letter}")).collect::<Vec<_>>());
}

#[test]
fn a_list_of_letters_costs_one_sync() {
    let syncs = Arc::new(Syncs::default());
    let scene = with_letters(syncs.clone(), 1000);
    let letters = listed(&scene.group());
    let before = syncs.of_records();
    for batch in letters.chunks(100) {
        assert!(scene.group().redrive_batch(batch).unwrap().iter().all(is_done));
    }
    assert_eq!(syncs.of_records() - before, 10, "syncs of the commit log");
    assert_eq!(scene.letters(), [""; 0]);
}

/// Counts the syncs of the commit log that made records durable, and not only room.
#[derive(Default)]
struct Syncs(Mutex<(Vec<PathBuf>, usize)>);

impl Syncs {
    fn of_records(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl Hook for Syncs {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let (written, count) = &mut *self.0.lock().unwrap();
        match event {
            Event::Write { path, .. } if is_segment_of(path, "commit") => written.push(path.to_path_buf()),
            Event::SyncFile(path) if written.iter().any(|written| written == path) => {
                written.retain(|written| written != path);
                *count += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}
