//! Everything that was measured, as JSON, with the machine and the date.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::clock::wall_micros;
use crate::measure::Case;
use crate::targets::Judged;

#[derive(Serialize)]
struct Report<'a> {
    taken_at: String,
    machine: String,
    command: String,
    cases: &'a [Case],
    targets: &'a [Judged],
}

/// The part of a report that another run can go on from.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct Earlier {
    cases: Vec<Case>,
}

/// The cases of a report.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<Case>> {
    // The names in it are used until the program ends.
    let earlier: Earlier = serde_json::from_str(fs::read_to_string(path)?.leak())?;
    Ok(earlier.cases)
}

/// The processor, how many of it, the memory and the kernel.
fn machine() -> String {
    let of = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or_else(|| "unknown".to_string(), |(_, value)| value.trim().to_string())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let (processor, memory) = (of("/proc/cpuinfo", "model name"), of("/proc/meminfo", "MemTotal"));
    let system = rustix::system::uname();
    format!(
        "{cores} x {processor}, {memory}, {} {}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}

/// Writes it.
pub(crate) fn write(path: &Path, cases: &[Case], targets: &[Judged]) -> std::io::Result<()> {
    let taken_at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_micros(wall_micros())).to_string();
    let command = std::env::args().collect::<Vec<String>>().join(" ");
    let report = Report { taken_at, machine: machine(), command, cases, targets };
    fs::write(path, serde_json::to_string_pretty(&report)?)
}
