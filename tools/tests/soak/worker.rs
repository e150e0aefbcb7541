//! The process that is killed: several threads do everything there is to do, as fast as they can.

use std::io::Write;
use std::thread;
use std::time::Duration;

use popstore::{Delay, Delivery, Pop};

use crate::actor::Actor;
use crate::journal::{Kept, Line, Said};
use crate::world::{self, Chance, millis, readings};

pub const DIR: &str = "POPSTORE_SOAK_DIR";
pub const LIFE: &str = "POPSTORE_SOAK_LIFE";
pub const SEED: &str = "POPSTORE_SOAK_SEED";
pub const KEPT: &str = "POPSTORE_SOAK_KEPT";
/// The last line of the test harness's own words; the journal begins behind it.
pub const BEGIN: &str = "the journal begins";
/// How a worker ends that was not killed.
pub const FAILED: i32 = 3;

const THREADS: usize = 3;
/// No more is appended while the groups have so many messages to settle.
const LAG_MAX: u64 = 600;

/// Works until it is killed, if this process was started for that.
pub fn run_if_asked() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    // Order matters: a thread that fails ends the process, so that the supervisor sees it.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        std::process::exit(FAILED);
    }));
    let (life, seed) = (crate::number(LIFE).unwrap(), crate::number(SEED).unwrap());
    let kept: Vec<Kept> = serde_json::from_str(&std::env::var(KEPT).unwrap()).unwrap();
    std::io::stdout().write_all(format!("\n{BEGIN}\n").as_bytes()).unwrap();
    let store = world::options(life).open(dir).unwrap();
    say(0, &Said::Opened { micros: store.recovery().took.as_micros() as u64 });
    let mut first = Actor::new(&store, |said| say(0, &said));
    for (group, topic) in readings() {
        drop(first.pop(group, topic, Pop::up_to(4)));
    }
    thread::scope(|threads| {
        for thread in 1..=THREADS {
            let actor = Actor::new(&store, move |said| say(thread, &said));
            let tokens = life << 24 | (thread as u64) << 20;
            let kept = if thread == 1 { &kept[..] } else { &[] };
            threads.spawn(move || work(actor, Chance(seed ^ tokens), tokens, kept));
        }
    });
}

fn say(thread: usize, said: &Said) {
    let mut line = serde_json::to_vec(&Line(thread, said.clone())).unwrap();
    line.push(b'\n');
    assert!(line.len() <= 4096, "a line must go into the pipe in one piece");
    std::io::stdout().lock().write_all(&line).unwrap();
}

fn work(mut actor: Actor<'_>, mut chance: Chance, mut tokens: u64, kept: &[Kept]) {
    let readings: Vec<_> = readings().collect();
    let mut kept = kept.iter();
    loop {
        match chance.below(100) {
            0..25 => append(&mut actor, &mut chance, &mut tokens),
            25..27 => redrive(&mut actor, &mut chance),
            27..30 => kept.next().into_iter().for_each(|kept| actor.ack_kept(kept)),
            30..32 => thread::sleep(chance.millis(0..4)),
            _ => {
                let (group, topic) = readings[chance.below(readings.len() as u64) as usize];
                let lease = if chance.one_in(4) { chance.millis(5..20) } else { chance.millis(20..200) };
                let messages = 1 + if chance.one_in(4) { chance.below(16) } else { chance.below(4) } as u32;
                let deliveries = actor.pop(group, topic, Pop::up_to(messages).invisible_for(lease));
                handle(&mut actor, &mut chance, group, &deliveries, lease);
            }
        }
    }
}

fn append(actor: &mut Actor<'_>, chance: &mut Chance, tokens: &mut u64) {
    if actor.lag() > LAG_MAX {
        return;
    }
    let count = if chance.one_in(3) { 2 + chance.below(6) } else { 1 };
    let batch: Vec<u64> = (1..=count).map(|more| *tokens + more).collect();
    *tokens += count;
    let topic = usize::from(chance.one_in(3));
    actor.append(topic, &batch);
}

fn redrive(actor: &mut Actor<'_>, chance: &mut Chance) {
    let group = chance.below(2) as usize;
    let letters = actor.letters(group);
    let from = chance.below(letters.len().max(1) as u64) as usize;
    for letter in letters.iter().skip(from).take(4) {
        actor.redrive(group, letter);
    }
}

/// What handlers do: most ack, together or one by one; some give back, take longer, are late, or die.
fn handle(actor: &mut Actor<'_>, chance: &mut Chance, group: usize, deliveries: &[Delivery], lease: Duration) {
    if deliveries.is_empty() {
        return;
    }
    match chance.below(20) {
        0..8 => actor.ack(group, deliveries),
        8 if lease < millis(20) => {
            thread::sleep(lease);
            actor.ack(group, deliveries);
        }
        _ => deliveries.iter().for_each(|delivery| match chance.below(20) {
            0..12 => actor.ack(group, std::slice::from_ref(delivery)),
            12 | 13 => actor.nack(group, delivery, chance.millis(0..30)),
            14 => actor.nack(group, delivery, Delay::Backoff),
            15 => actor.extend(group, delivery, chance.millis(5..200)),
            16 => {
                actor.extend(group, delivery, chance.millis(5..200));
                actor.ack(group, std::slice::from_ref(delivery));
            }
            17 => actor.keep(group, delivery),
            _ => {}
        }),
    }
}
