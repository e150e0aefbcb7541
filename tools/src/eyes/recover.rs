//! `store-inspect recover --dry-run`: what opening the store would do, and why.

use std::io::Write;
use std::path::PathBuf;

use popstore::inspect::{PlannedStep, RecoveryPlan};
use serde::Serialize;

use crate::{Failure, Outcome, directory, output};

/// List what opening the store would cut, void, rebuild and complete, and why; nothing is touched
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Required: this tool never writes to a store. Opening it, with any program, recovers it
    #[arg(long, required = true)]
    dry_run: bool,
    /// Print JSON: an object for each step, and one that sums up
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    action: &'static str,
    path: Option<String>,
    offset: u64,
    count: u64,
    why: &'a str,
}

#[derive(Serialize)]
struct Sum {
    generation: u32,
    clean: bool,
    refused: Option<String>,
    steps: usize,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    directory::check_directory(&args.dir)?;
    let plan = RecoveryPlan::read(&args.dir)?;
    let refused = plan.refused.as_ref().map(ToString::to_string);
    let outcome = Outcome::of(refused.is_some());
    if args.json {
        plan.steps.iter().try_for_each(|step| output::json(out, &row(step)))?;
        let RecoveryPlan { generation, clean, .. } = plan;
        output::json(out, &Sum { generation, clean, refused, steps: plan.steps.len() })?;
        return Ok(outcome);
    }
    if let Some(refused) = refused {
        output::line(out, format_args!("opening would refuse the store and change nothing: {refused}"))?;
        return Ok(outcome);
    }
    let closed = if plan.clean { "it was closed in order" } else { "it was not closed in order" };
    output::line(out, format_args!("opening would be number {} of this store; {closed}", plan.generation))?;
    for step in &plan.steps {
        let place = step.path.as_ref().map(|path| match step.offset {
            0 => format!(" {}", path.display()),
            offset => format!(" {} from byte {offset}", path.display()),
        });
        let count = if step.count > 0 { format!(" {}", counted(step)) } else { String::new() };
        output::line(
            out,
            format_args!("{}{}{count}: {}", step.action.replace('_', "-"), place.unwrap_or_default(), step.why),
        )?;
    }
    let loses = |step: &PlannedStep| matches!(step.action, "cut" | "void");
    if plan.clean && !plan.steps.iter().any(loses) {
        output::line(out, format_args!("nothing is lost or cut"))?;
    } else if plan.steps.is_empty() {
        output::line(out, format_args!("nothing to repair"))?;
    }
    Ok(outcome)
}

fn counted(step: &PlannedStep) -> String {
    let what = match step.action {
        "cut" | "remove" | "recycle" | "rewrite" => "byte",
        "rebuild" => "queue entry",
        "void" => "place",
        "shorten" => "wait",
        _ => "message",
    };
    output::counted(step.count, what)
}

fn row(step: &PlannedStep) -> Row<'_> {
    let path = step.path.as_ref().map(|path| path.display().to_string());
    Row { action: step.action, path, offset: step.offset, count: step.count, why: &step.why }
}
