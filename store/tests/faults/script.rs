//! The scripted run: every verb, over segments so small that both logs roll, are marked, told anew and retired.

use popstore::GroupOptions;

use crate::play::Play;
use crate::scene::secs;

pub const ORDERS: &str = "orders";
pub const PARCELS: &str = "parcels";
pub const GROUP: &str = "billing";
pub const AUDIT: &str = "audit";
/// Each message is delivered twice at most.
pub const LIMIT: u32 = 1;

pub fn group_options() -> GroupOptions {
    GroupOptions::default().max_reconsume_times(LIMIT).invisible_for(secs(30))
}

/// The life of a store, from an empty directory on.
pub fn first_life(play: &mut Play) {
    play.open();
    begin(play);
    dead_letters(play);
    for _ in 0..3 {
        work(play);
    }
    play.sync();
}

/// It is closed, opened again and used.
pub fn second_life(play: &mut Play) {
    play.reopen();
    play.pop(GROUP, ORDERS, 4);
    play.ack(1);
    play.append(ORDERS, 3);
    play.pop(GROUP, ORDERS, 2);
    play.forget();
    play.advance(31);
    play.pop(GROUP, ORDERS, 3);
    play.ack(1);
}

fn begin(play: &mut Play) {
    play.create_topic(ORDERS);
    play.create_group(GROUP);
    play.append(ORDERS, 6);
    play.batch(ORDERS, 4);
    play.pop(GROUP, ORDERS, 4);
    play.ack(2);
    play.nack(1, secs(5));
    play.extend(secs(60));
    play.settle_down();
}

fn dead_letters(play: &mut Play) {
    play.append(ORDERS, 6);
    play.pop(GROUP, ORDERS, 8);
    play.ack_batch(5);
    play.forget();
    play.advance(31);
    play.pop(GROUP, ORDERS, 8);
    play.nack(1, secs(0));
    play.forget();
    play.advance(91);
    play.redrive();
    play.create_group(AUDIT);
    play.append(PARCELS, 2);
    play.pop(AUDIT, PARCELS, 1);
    play.ack(1);
}

fn work(play: &mut Play) {
    for _ in 0..3 {
        play.append(ORDERS, 3);
        play.append(PARCELS, 1);
        for _ in 0..6 {
            play.pop(GROUP, ORDERS, 1);
            play.ack(1);
        }
        play.pop(AUDIT, PARCELS, 2);
        play.ack(2);
        play.advance(1);
    }
}

/// What any store that is not poisoned can do as soon as the disk works.
pub fn afterwards(play: &mut Play) {
    play.forget();
    play.advance(31);
    play.create_topic(ORDERS);
    play.create_topic(PARCELS);
    play.create_group(GROUP);
    play.create_group(AUDIT);
    for _ in 0..3 {
        work(play);
    }
    play.pop(GROUP, ORDERS, 2);
    play.forget();
}
