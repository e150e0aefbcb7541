//! A place of a store whose bytes are wrong, as facts: where, which rule, expected, found.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::Rule;
use crate::format::frame::{Frame, Seed};

/// A place of a store whose bytes are not those that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The first byte concerned.
    pub offset: u64,
    /// How many bytes are concerned; 0 when that is unknown.
    pub len: u64,
    /// The section of FORMAT.md, and the number in its list, that says what the bytes should be.
    pub rule: &'static str,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Fault {
    pub(crate) fn new(
        path: &Path,
        offset: u64,
        rule: &'static str,
        expected: impl Display,
        found: impl Display,
    ) -> Self {
        let (path, expected, found) = (path.to_path_buf(), expected.to_string(), found.to_string());
        Self { path, offset, len: 0, rule, expected, found }
    }

    pub(crate) fn of_len(self, len: u64) -> Self {
        Self { len, ..self }
    }

    /// The error of a store that is refused for it.
    pub(crate) fn refused(&self) -> Error {
        Error::corrupt(&self.path, self.offset, format!("{}, expected {}", self.found, self.expected))
    }

    /// Bytes at a position of a log that are no frame.
    pub(crate) fn of_frame(path: &Path, offset: u64, rule: Rule, bytes: &[u8], position: u64, seed: Seed) -> Self {
        match rule {
            Rule::Checksum => match Frame::checksums(bytes, position, seed) {
                Some((stored, right)) => {
                    let found = format!("checksum {stored:08x}: the bytes are not those that were written here");
                    Self::new(path, offset, "10.1", format!("checksum {right:08x}"), found)
                }
                None => Self::new(path, offset, "10.2", "a frame that ends inside its file", rule),
            },
            Rule::Generation => Self::new(path, offset, "10.3", "a generation that fits the frames around it", rule),
            _ => Self::new(path, offset, "10.2", "a frame", rule),
        }
    }

    /// A frame whose payload is not what its kind says.
    pub(crate) fn of_payload(path: &Path, offset: u64, rule: Rule) -> Self {
        Self::new(path, offset, "10.6", "a payload as its kind says", rule)
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, rule, expected, found, .. } = self;
        write!(f, "{} at byte {offset}: expected {expected}, found {found} (FORMAT.md {rule})", path.display())
    }
}

/// The faults that a reader finds: opening stops at the first one, inspection continues.
pub(crate) struct Faults {
    pub(crate) all: Vec<Fault>,
    collects: bool,
}

impl Faults {
    pub(crate) fn refused() -> Self {
        Self { all: Vec::new(), collects: false }
    }

    pub(crate) fn collected() -> Self {
        Self { all: Vec::new(), collects: true }
    }

    pub(crate) fn collects(&self) -> bool {
        self.collects
    }

    /// Whether none of them lies in this directory.
    pub(crate) fn spare(&self, dir: &Path) -> bool {
        self.all.iter().all(|fault| !fault.path.starts_with(dir))
    }

    /// Notes a fault.
    ///
    /// # Errors
    /// The reader stops at it.
    pub(crate) fn found(&mut self, fault: Fault) -> Result<()> {
        let refused = if self.collects { Ok(()) } else { Err(fault.refused()) };
        self.all.push(fault);
        refused
    }
}
