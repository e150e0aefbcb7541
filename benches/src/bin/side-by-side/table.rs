//! What was measured, as tables for people.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::figures::{ratio, short};
use crate::measure::Case;
use crate::targets::Judged;

pub(crate) const FOOTNOTE: &str = "\
Median, least and most over the rounds. \"popstore is ahead\" is the median of the ratios within each round, above 1 when
popstore is better, whichever way that is; for the limit it is the part of it that is reached. A run ends when all messages
are through or its time is up, whichever is first: rates are compared, and slow contenders do fewer messages (lease stores
are given a quarter as many to consume). Bodies are random, so that nobody can compress them. Runs of large bodies are cut
by bytes. Durable, the limit is one thread that syncs what all producers together would append, and \"rate / bare
syncs\" divides by what a probe of pwrite and fdatasync reached between the slices of the run: the disk has slow windows.";

/// One case.
pub(crate) fn of_case(case: &Case) -> String {
    let mut table = Table::new();
    let unit = case.metric.unit;
    let first = &case.first;
    table.load_preset(UTF8_FULL_CONDENSED).set_header(vec![
        String::new(),
        format!("median {unit}"),
        "least".into(),
        "most".into(),
        format!("{first} is ahead"),
    ]);
    for shown in &case.shown {
        let figures = [shown.median, shown.min, shown.max].map(short).into_iter();
        table.add_row([shown.name.clone()].into_iter().chain(figures).chain([ratio(shown.first_is_ahead)]));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let failed = case.failed.iter().map(|(name, rounds)| format!("{name} failed in {rounds} rounds\n"));
    format!("{} {}: {}\n{table}\n{}", case.workload, case.name, case.metric.name, failed.collect::<String>())
}

/// The targets.
pub(crate) fn of_targets(judged: &[Judged]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(vec!["target", "wanted", "seen", "met"]);
    for judged in judged {
        let met = if judged.met { "yes" } else { "NO" };
        table.add_row(vec![judged.what.clone(), judged.wanted.clone(), judged.seen.clone(), met.into()]);
    }
    table.to_string()
}
