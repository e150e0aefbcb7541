//! Every so often the store is opened and everything is let run out: then nothing may be missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use popstore::Pop;

use crate::actor::Actor;
use crate::journal::Line;
use crate::look::look;
use crate::oracle::Oracle;
use crate::world::{self, Chance, GROUPS, millis, readings};

/// How often all groups are asked for more; a lease is over after less.
const ROUNDS: u32 = 60_000;

/// Pops and acks until no group has anything to settle, closes the store, and judges.
pub fn reckon(dir: &Path, life: u64, oracle: &mut Oracle, chance: &mut Chance) {
    let store = world::options(life).open(dir).unwrap_or_else(|error| panic!("the store does not open: {error}"));
    let said = Arc::new(Mutex::new(Vec::new()));
    let listed;
    {
        let mut actor = Actor::new(&store, |it| said.lock().unwrap().push(Line(0, it)));
        let mut rounds = 0;
        while actor.lag() > 0 {
            rounds += 1;
            assert!(rounds < ROUNDS, "the groups never come to an end: {:?}", store.stats().unwrap().groups);
            let mut idle = true;
            for (group, topic) in readings() {
                let deliveries = actor.pop(group, topic, Pop::up_to(32));
                idle &= deliveries.is_empty();
                // Some handlers die here, too, so that letters are written.
                let acked = deliveries.len() - chance.below(deliveries.len() as u64 / 8 + 1) as usize;
                if acked > 0 {
                    actor.ack(group, &deliveries[..acked]);
                }
            }
            if idle {
                std::thread::sleep(millis(2));
            }
        }
        let letters = (0..GROUPS.len()).flat_map(|group| {
            actor.letters(group).into_iter().map(move |letter| (group, letter.message().index())).collect::<Vec<_>>()
        });
        listed = letters.collect::<BTreeSet<_>>();
    }
    store.close().unwrap();
    said.lock().unwrap().drain(..).for_each(|line| oracle.hear(line));
    oracle.life_is_over();
    // Everything is looked at once more.
    oracle.looked.messages = oracle.done_below.clone();
    let view = look(dir, &oracle.looked).unwrap();
    oracle.judge_the_end(&view, &listed);
}
