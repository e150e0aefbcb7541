//! What a message is doing for a group can be asked by its place, also after a kill.

use std::time::{Duration, UNIX_EPOCH};

use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::{
    AtLimit, Durability, Error, GroupOptions, Message, MessageStatus, Options, Retention, Settled, StartAt,
};

fn status(scene: &Scene, index: u64) -> Option<MessageStatus> {
    scene.group().status(TOPIC, 0, index).unwrap()
}

fn at(seconds: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

#[test]
fn a_message_has_the_status_that_the_verbs_gave_it() {
    let mut scene = Scene::limit(1);
    scene.append_many("m", 7);
    let popped = scene.pop_up_to(6);
    let receipt = |at: usize| popped[at].receipt();
    assert_eq!(scene.ack(receipt(0)), Settled::Done);
    assert_eq!(scene.nack(receipt(1), secs(50)), Settled::Done);
    assert_eq!(scene.nack(receipt(2), secs(0)), Settled::Done);
    assert_eq!(scene.group().release(receipt(3), secs(70)).unwrap(), Settled::Done);
    assert_eq!(scene.group().extend(receipt(4), secs(300)).unwrap(), Settled::Done);
    let expected = [
        Some(MessageStatus::Done),
        Some(MessageStatus::Waiting { attempts: 1, until: at(50) }),
        Some(MessageStatus::Ready { attempts: 1 }),
        Some(MessageStatus::Waiting { attempts: 0, until: at(70) }),
        Some(MessageStatus::InFlight { attempt: 1, until: at(300) }),
        Some(MessageStatus::InFlight { attempt: 1, until: at(30) }),
        Some(MessageStatus::Ready { attempts: 0 }),
        None,
    ];
    for _ in 0..2 {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|index| status(&scene, index)), expected);
        scene.kill();
    }
    let last = scene.pop();
    assert_eq!((last.message().index(), last.attempt()), (2, 2));
    assert_eq!(scene.nack(last.receipt(), secs(0)), Settled::Done);
    assert_eq!(status(&scene, 2), Some(MessageStatus::Ending { attempts: 2 }));
    scene.store().run_pending();
    assert_eq!(status(&scene, 2), Some(MessageStatus::DeadLettered { attempts: 2 }));
    scene.kill();
    assert_eq!(status(&scene, 2), Some(MessageStatus::DeadLettered { attempts: 2 }));
}

#[test]
fn a_dropped_message_is_discarded_and_an_unread_one_deleted() {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(9000));
    let settings = GroupOptions::default().max_reconsume_times(0).at_limit(AtLimit::Discard);
    let scene = Scene::with(options, settings);
    scene.append("m");
    assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
    assert_eq!(status(&scene, 0), Some(MessageStatus::Discarded { attempts: 1 }));
    scene.append_many(&"x".repeat(500), 40);
    (0..4).for_each(|_| scene.advance(secs(2)));
    assert!(scene.store().message(TOPIC, 0, 1).unwrap().is_none(), "it is not deleted");
    assert_eq!(status(&scene, 1), Some(MessageStatus::Deleted));
    assert_eq!(status(&scene, 40), Some(MessageStatus::Ready { attempts: 0 }));
}

#[test]
fn a_place_that_is_not_there_has_no_status() {
    let scene = Scene::new();
    scene.append("m");
    let group = scene.group();
    for (queue, index) in [(0, 1), (0, u64::MAX), (1, 0), (u32::MAX, 0)] {
        assert_eq!(group.status(TOPIC, queue, index).unwrap(), None, "{queue}/{index}");
    }
    assert!(matches!(group.status("nowhere", 0, 0), Err(Error::Unknown { .. })));
    let late = scene.store().create_group("late", GroupOptions::default().start_at(StartAt::Newest)).unwrap();
    assert_eq!(late.status(TOPIC, 0, 0).unwrap(), Some(MessageStatus::Done), "it is not for that group");
    scene.store().append(TOPIC, Message::new("n")).unwrap();
    assert_eq!(late.status(TOPIC, 0, 1).unwrap(), Some(MessageStatus::Ready { attempts: 0 }));
    scene.store().delete_group(GROUP).unwrap();
    assert!(matches!(group.status(TOPIC, 0, 0), Err(Error::Unknown { .. })));
}
