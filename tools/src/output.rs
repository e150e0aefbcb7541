//! How results look: tables for people, one JSON object per line for machines.

use std::io::Write;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use crate::Failure;

/// The most characters of a body that a table shows.
const SHOWN_MAX: usize = 60;

/// A table with this header.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Writes one object and a line end.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Bytes for a person: the beginning of the text, without what would disturb a terminal.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_MAX)]);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = text.chars().take(SHOWN_MAX).map(clean).collect();
    if text.chars().count() > SHOWN_MAX { format!("{short}...") } else { short }
}

/// Bytes for a machine: `(text, None)` when they are UTF-8, otherwise `(None, hexadecimal)`.
pub(crate) fn text_or_hex(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
    }
}
