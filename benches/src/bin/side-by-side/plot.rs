//! A plot per workload, as SVG: a panel per case with a dot per entrant on a logarithmic scale, where its median is, and a
//! line from the least to the most of its rounds. The number in brackets is how many times the first one is ahead.

use std::fmt::Write;
use std::path::Path;

use crate::contenders::Class;
use crate::figures::{ratio, short};
use crate::measure::{Case, Shown};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 18.0;
const TITLE: f64 = 34.0;
const GAP: f64 = 18.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.tick{fill:#777;font-size:10px}\
                     .grid{stroke:#ddd}.range{stroke:#222}";

/// Writes a file for each workload that was measured.
pub(crate) fn write(dir: &Path, cases: &[Case]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut workloads: Vec<&str> = cases.iter().map(|case| case.workload).collect();
    workloads.dedup();
    for workload in workloads {
        let of_it: Vec<&Case> = cases.iter().filter(|case| case.workload == workload && case.shown.len() > 1).collect();
        std::fs::write(dir.join(format!("{workload}.svg")), svg(&of_it))?;
    }
    Ok(())
}

const CLASSES: [(Class, &str); 4] = [
    (Class::Popstore, "popstore"),
    (Class::Limit, "the limit"),
    (Class::AppendOnly, "append-only"),
    (Class::LeaseStore, "with leases"),
];

fn color(class: Class) -> &'static str {
    match class {
        Class::Popstore => "#2166ac",
        Class::Limit => "#999999",
        Class::AppendOnly => "#92c5de",
        Class::LeaseStore => "#f4a582",
    }
}

fn svg(cases: &[&Case]) -> String {
    let panel = |case: &Case| TITLE + ROW * case.shown.len() as f64 + GAP;
    let height: f64 = TITLE + cases.iter().map(|case| panel(case)).sum::<f64>();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, (class, name)) in CLASSES.into_iter().enumerate() {
        let x = 16.0 + 130.0 * at as f64;
        dot(&mut out, (x, 18.0), class);
        text(&mut out, (x + 10.0, 22.0), "name", "start", name);
    }
    text(
        &mut out,
        (16.0 + 130.0 * CLASSES.len() as f64, 22.0),
        "tick",
        "start",
        "(n x: so far is the first one ahead)",
    );
    let mut top = TITLE;
    for case in cases {
        draw(&mut out, case, top);
        top += panel(case);
    }
    out + "</svg>\n"
}

/// The powers of ten around all values.
fn decades(case: &Case) -> (i32, i32) {
    let positive = case.shown.iter().flat_map(|shown| [shown.min, shown.max]).filter(|value| *value > 0.0);
    let (least, most) =
        positive.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (value.min(least), value.max(most)));
    let from = if least == f64::MAX { 0 } else { least.log10().floor() as i32 };
    (from, (most.log10().ceil() as i32).max(from + 1))
}

fn draw(out: &mut String, case: &Case, top: f64) {
    let (from, to) = decades(case);
    let x = |value: f64| {
        let part = (value.max(1e-12).log10() - f64::from(from)) / f64::from(to - from);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let bottom = top + TITLE + ROW * case.shown.len() as f64;
    let better = if case.metric.more_is_better { "more is better" } else { "less is better" };
    let title = format!("{} {}: {}, {}, {better}", case.workload, case.name, case.metric.name, case.metric.unit);
    text(out, (10.0, top + 16.0), "title", "start", &title);
    for decade in from..=to {
        let at = x(10_f64.powi(decade));
        let (line_top, tick) = (top + TITLE - 4.0, short(10_f64.powi(decade)));
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{line_top}\" y2=\"{bottom}\"/>");
        text(out, (at, top + TITLE - 6.0), "tick", "middle", &tick);
    }
    for (row, shown) in case.shown.iter().enumerate() {
        row_of(out, shown, top + TITLE + ROW * row as f64, x);
    }
}

fn row_of(out: &mut String, shown: &Shown, top: f64, x: impl Fn(f64) -> f64) {
    let (end, middle) = (x(shown.median), top + ROW / 2.0 - 1.0);
    let (least, most) = (x(shown.min), x(shown.max));
    let ends = format!("x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle}\" y2=\"{middle}\"");
    let _ = writeln!(out, "<line class=\"range\" {ends}/>");
    dot(out, (end, middle), shown.class);
    text(out, (LEFT - 6.0, top + ROW - 7.0), "name", "end", &shown.name);
    let value = format!("{} ({})", short(shown.median), ratio(shown.first_is_ahead));
    text(out, (end.max(most) + 10.0, top + ROW - 7.0), "value", "start", &value);
}

fn dot(out: &mut String, (x, y): (f64, f64), class: Class) {
    let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{}\"/>", color(class));
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>");
}
