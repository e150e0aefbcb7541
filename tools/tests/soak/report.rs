//! What is shown: a line while it goes on, a table at the end.

use std::io::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::oracle::Counts;

/// What was done and seen.
#[derive(Default)]
pub struct Tally {
    pub lives: u64,
    pub stores: u64,
    pub kills: u64,
    pub kills_in_recovery: u64,
    pub reckonings: u64,
    pub torn_tails: u64,
    pub recoveries: Vec<Duration>,
    pub counts: Counts,
}

impl Tally {
    /// Adds what one store went through.
    pub fn add(&mut self, counts: Counts) {
        let Counts { appended, deliveries, acked, late, letters, put_back } = counts;
        let sum = &mut self.counts;
        sum.appended += appended;
        sum.deliveries += deliveries;
        sum.acked += acked;
        sum.late += late;
        sum.letters += letters;
        sum.put_back += put_back;
    }

    /// The table of the end, where the test harness does not hide it.
    pub fn show(&mut self, seed: u64, took: Duration) {
        self.recoveries.sort();
        let at = |part: usize| self.recoveries.get((self.recoveries.len() * part / 100).saturating_sub(1)).copied();
        let time = |time: Option<Duration>| format!("{:.1} ms", time.unwrap_or_default().as_secs_f64() * 1e3);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let rows = [
            ("stores", self.stores.to_string()),
            ("lives", self.lives.to_string()),
            ("kills", self.kills.to_string()),
            ("kills during recovery", self.kills_in_recovery.to_string()),
            ("reckonings", self.reckonings.to_string()),
            ("messages appended", self.counts.appended.to_string()),
            ("deliveries", self.counts.deliveries.to_string()),
            ("acks", self.counts.acked.to_string()),
            ("handlers too late", self.counts.late.to_string()),
            ("dead letters", self.counts.letters.to_string()),
            ("letters put back", self.counts.put_back.to_string()),
            ("recovery, p50", time(at(50))),
            ("recovery, max", time(at(100))),
            ("torn tails seen", self.torn_tails.to_string()),
            ("seed", seed.to_string()),
            ("took", format!("{:.1} s", took.as_secs_f64())),
        ];
        for (what, value) in rows {
            table.add_row([what, &value]);
        }
        table.column_mut(1).expect("two columns").set_cell_alignment(CellAlignment::Right);
        let _ = writeln!(std::io::stderr(), "\n{table}");
    }
}

/// A line on a terminal, and nothing elsewhere.
pub fn progress(kills: u64) -> ProgressBar {
    let bar = ProgressBar::new(kills);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len} kills, {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
