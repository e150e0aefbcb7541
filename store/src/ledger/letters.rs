//! Dead letters settle their originals, and copies that were put back their letters, by being in the commit log: what that
//! means where the checkpoint log does not say so.

use popstore_revive::{Change, Index, State, Time};

use crate::format::commit::Settlement;

/// When the lease ended whose message has a dead letter, if the checkpoint log does not say so.
pub(crate) fn ended_at(index: &Index, settlement: &Settlement, now: Time) -> Option<Time> {
    let held = index.held(settlement.group, settlement.queue, settlement.index)?;
    let unended = held.state == State::InFlight && held.attempt == settlement.attempt;
    unended.then(|| now.max(held.due))
}

/// Applies a settlement that the commit log holds. Returns how many messages it touched.
pub(crate) fn complete(index: &mut Index, settlement: &Settlement) -> u64 {
    let (group, at, runs) = (settlement.group, settlement.popped_at, [settlement.run()]);
    if let Some(at) = ended_at(index, settlement, at) {
        index.apply(&Change::Ended { group, at, runs: &runs });
    }
    index.apply(&settlement.change(at, &runs)).touched
}
