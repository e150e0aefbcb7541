//! `side-by-side`: the same work on popstore, on the limit of the machine, and on what users would pick instead,
//! interleaved in one run. Prints tables, the targets, and writes JSON and plots.
//!
//! `cargo run --release -p popstore-benches --features contenders --bin side-by-side -- --help`

mod bodies;
mod clock;
mod contenders;
mod disk;
mod figures;
mod measure;
mod memory;
mod plot;
mod report;
mod table;
mod targets;
mod workloads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::contenders::Contender;
use crate::measure::{Bench, Case};
use crate::targets::Judged;
use crate::workloads::{Scene, Sizes};

/// What `--quick` divides all sizes and times by.
const QUICK: u64 = 10;

/// The same work on popstore, on the limit of the machine, and on what users would pick instead, interleaved.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where the runs have their directories: a real disk with 20 GiB of room.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How often everyone runs each case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The messages of W1, W3, W6 and the latencies.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// The most MiB of bodies that a run appends.
    #[arg(long, default_value_t = 1024)]
    mebibytes_max: u64,
    /// The most seconds that a run lasts.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// A smoke run: a tenth of all sizes.
    #[arg(long)]
    quick: bool,
    /// Only these workloads: W1 appends, W2 durable appends, W3 pops and acks, W4 redelivery, W5 opening after a kill, W6
    /// bytes, W7 growth, L latencies.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only cases with this in their workload and name, such as "W1 256 B, batch 1,".
    #[arg(long, default_value = "")]
    case: String,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',')]
    contender: Vec<String>,
    /// Touches this many GiB before and holds one page of each MiB, for machines whose host takes back free memory
    /// and is slow to lend it again.
    #[arg(long, default_value_t = 0)]
    hold_memory: u64,
    /// Includes the cases of these reports (JSON), too, unless they are run again: for a run in parts.
    #[arg(long)]
    with: Vec<PathBuf>,
    /// Writes all figures, every round's too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes a plot for each workload into this directory.
    #[arg(long)]
    plots: Option<PathBuf>,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Subcommand)]
enum Child {
    /// Fills a store, prints READY and waits to be killed.
    #[command(hide = true)]
    Fill {
        #[arg(long)]
        name: String,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        messages: u64,
        #[arg(long)]
        leases: u64,
        #[arg(long)]
        appends_on: bool,
    },
    /// Holds leases of a filled store, and prints what that costs.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        leases: u64,
        #[arg(long)]
        cycles: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let known = contenders::all();
    match &args.child {
        Some(Child::Fill { name, dir, messages, leases, appends_on }) => {
            let contender = known.iter().find(|one| one.name() == name).expect("the parent knows it");
            workloads::reopen::fill(contender.as_ref(), dir, *messages, *leases, *appends_on);
        }
        Some(Child::Hold { dir, leases, cycles }) => {
            workloads::growth::hold(dir, *leases, *cycles);
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    if let Some(unknown) = unknown(&args, &known) {
        eprintln!("side-by-side: {unknown}");
        return ExitCode::from(2);
    }
    if let Err(error) = std::fs::create_dir_all(&args.dir) {
        eprintln!("side-by-side: {:?} cannot be made: {error}", args.dir);
        return ExitCode::from(2);
    }
    let held = match memory::hold(args.hold_memory) {
        Ok(held) => held,
        Err(error) => {
            eprintln!("side-by-side: no {} GiB of memory: {error}", args.hold_memory);
            return ExitCode::from(2);
        }
    };
    if args.hold_memory > 0 {
        eprintln!("side-by-side: the first touch of a page took {:?}; now they stay here", held.touch);
    }
    let earlier = args.with.iter().map(|path| report::read(path).map_err(|error| format!("{path:?}: {error}")));
    let earlier = match earlier.collect::<Result<Vec<_>, _>>() {
        Ok(earlier) => earlier.concat(),
        Err(error) => {
            eprintln!("side-by-side: {error}");
            return ExitCode::from(2);
        }
    };
    let cases = run(&args, &chosen(&args, known), earlier);
    drop(held);
    if cases.is_empty() {
        eprintln!("side-by-side: no case has {:?} in its name", args.case);
        return ExitCode::from(2);
    }
    cases.iter().for_each(|case| println!("{}", table::of_case(case)));
    println!("{}\n", table::FOOTNOTE);
    if args.quick {
        println!("A smoke run: the sizes are a tenth of what the names say, and nothing is judged.");
    } else {
        println!("{}", table::of_targets(&judged(&args, &cases)));
    }
    let written = args.json.as_ref().map_or(Ok(()), |path| report::write(path, &cases, &judged(&args, &cases)));
    let plotted = args.plots.as_ref().map_or(Ok(()), |dir| plot::write(dir, &cases));
    if let Err(error) = written.and(plotted) {
        eprintln!("side-by-side: {error}");
        return ExitCode::from(2);
    }
    let failed = cases.iter().any(|case| case.failed.iter().any(|(name, _)| *name == case.first));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Adds a case in the order of the workloads, in place of the same one of an earlier run.
fn add(cases: &mut Vec<Case>, case: Case) {
    let of = |case: &Case| workloads::ALL.iter().position(|(name, _)| *name == case.workload);
    let is_same =
        |other: &Case| (other.workload, &other.name, other.metric) == (case.workload, &case.name, case.metric);
    match cases.iter().position(is_same) {
        Some(at) => cases[at] = case,
        None => cases.insert(cases.partition_point(|other| of(other) <= of(&case)), case),
    }
}

fn judged(args: &Args, cases: &[Case]) -> Vec<Judged> {
    let all_took_part = cfg!(feature = "contenders") && args.contender.is_empty();
    if args.quick { Vec::new() } else { targets::judge(cases, all_took_part) }
}

/// What was asked for and is not there.
fn unknown(args: &Args, known: &[Box<dyn Contender>]) -> Option<String> {
    let no_workload = args.only.iter().find(|asked| !workloads::ALL.iter().any(|(name, _)| name == asked));
    let no_contender = args.contender.iter().find(|asked| !known.iter().any(|one| one.name() == asked.as_str()));
    let names: Vec<&str> = known.iter().map(|one| one.name()).collect();
    no_workload.map(|asked| format!("no workload {asked}")).or_else(|| {
        no_contender.map(|asked| format!("no contender {asked} in this build; there are {}", names.join(", ")))
    })
}

fn chosen(args: &Args, known: Vec<Box<dyn Contender>>) -> Vec<Box<dyn Contender>> {
    for (there, feature) in [(cfg!(feature = "contenders"), "contenders"), (cfg!(feature = "rocksdb"), "rocksdb")] {
        if !there {
            eprintln!("side-by-side: this build leaves out who needs `--features {feature}`");
        }
    }
    // Whoever asks for popstore means all its variants.
    let names = |name: &str, one: &dyn Contender| one.name().split(" (").next() == Some(name) || one.name() == name;
    let asked = |one: &dyn Contender| args.contender.is_empty() || args.contender.iter().any(|name| names(name, one));
    let asked = known.into_iter().filter(|one| asked(one.as_ref()));
    let here = asked.filter(|one| {
        let missing = one.missing();
        if let Some(why) = &missing {
            eprintln!("side-by-side: {} is left out: {why}", one.name());
        }
        missing.is_none()
    });
    here.collect()
}

/// Runs what was asked for. What there is, earlier cases too, is written after each workload.
fn run(args: &Args, contenders: &[Box<dyn Contender>], earlier: Vec<Case>) -> Vec<Case> {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a good template"));
    let divide_by = if args.quick { QUICK } else { 1 };
    let sizes = Sizes {
        messages: (args.messages / divide_by).max(1),
        bytes_max: (args.mebibytes_max << 20) / divide_by,
        run_max: Duration::from_secs_f64(args.seconds / divide_by as f64),
        divide_by,
    };
    let bench = Bench { rounds: args.rounds.max(1), dir: &args.dir, bar: &bar, only: &args.case };
    let scene = Scene { bench, contenders, sizes };
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut cases = Vec::new();
    earlier.into_iter().for_each(|case| add(&mut cases, case));
    for (name, run) in workloads::ALL.iter().filter(|(name, _)| wanted(name)) {
        // A workload that cannot be prepared does not take the figures of the others along.
        match catch_unwind(AssertUnwindSafe(|| run(&scene))) {
            Ok(of_it) => of_it.into_iter().for_each(|case| add(&mut cases, case)),
            Err(_) => eprintln!("side-by-side: {name} failed"),
        }
        if let Some(Err(error)) = args.json.as_ref().map(|path| report::write(path, &cases, &judged(args, &cases))) {
            eprintln!("side-by-side: {error}");
        }
    }
    bar.finish_and_clear();
    cases
}
