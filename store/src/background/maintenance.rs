//! Maintenance: marks, snapshots and retention, each when it is due.

use crate::background::marks::Marks;
use crate::background::retention::RetentionTask;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Result;
use crate::event::StoreEvent;
use crate::format::checkpoint::CheckpointRecord;

/// The tasks that take turns. Whoever runs one holds the lock around them.
pub(crate) struct Maintenance {
    marks: Marks,
    retention: RetentionTask,
}

impl Maintenance {
    pub(crate) fn new(marks: Marks, retention: RetentionTask) -> Self {
        Self { marks, retention }
    }

    /// Does what is due; a failure is reported and tried again later.
    pub(crate) fn step(&mut self, engine: &Engine) {
        let context = engine.context();
        context.emit_failure("hold the lock", hold_lock(context, engine));
        context.emit_failure("sync what recovery found", engine.messages().log().sync_recovered());
        context.emit_failure("mark", self.marks.step(engine));
        context.emit_failure("snapshot", engine.ledger().snapshot_if_due(engine.messages().topics().next_id()));
        context.emit_failure("retention", self.retention.step(engine, &mut self.marks));
    }

    /// The end of the commit log, if a mark there is worth its syncs as soon as nothing is appended.
    pub(crate) fn worth_a_mark(&self, engine: &Engine) -> Option<u64> {
        self.marks.worth_a_mark(engine)
    }

    /// Marks the whole log, so that the next open has little to read.
    pub(crate) fn mark_in_the_quiet(&mut self, engine: &Engine) {
        let marked = self.marks.mark_in_the_quiet(engine);
        engine.context().emit_failure("mark", marked);
    }

    /// The last steps before the store is closed: everything is made durable, and a Closed record states it.
    pub(crate) fn close(&mut self, engine: &Engine) -> Result<()> {
        let (messages, ledger) = (engine.messages(), engine.ledger());
        messages.log().shut();
        engine.context().poison.check()?;
        messages.log().sync_all()?;
        self.marks.mark_all_or_again(engine)?;
        let commit = messages.log().durable();
        let end = engine.consumers().write(&CheckpointRecord::Closed { commit })?.end;
        ledger.log().sync_through(end)
    }
}

/// Ensures that no other owner can come in.
fn hold_lock(context: &Context, engine: &Engine) -> Result<()> {
    match engine.messages().disk().hold_lock() {
        Ok(()) => {
            if context.lock.take_replaced() {
                context.emit(&StoreEvent::LockReplaced);
            }
            Ok(())
        }
        Err(source) => {
            context.emit(&StoreEvent::BackgroundFailure { task: "hold the lock", reason: source.to_string() });
            Err(context.poison.set(context.lock.path().to_path_buf(), source))
        }
    }
}
