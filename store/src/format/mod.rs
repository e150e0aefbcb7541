//! The bytes of a store, without files, locks or clocks. `FORMAT.md` defines every one of them; this code follows it.
//!
//! Every `decode` is total: whatever the bytes are, it returns, and what it returns borrows from them.

pub(crate) mod checkpoint;
pub(crate) mod commit;
mod delivery;
pub(crate) mod entry;
pub(crate) mod extent;
pub(crate) mod frame;
#[cfg(test)]
pub(crate) mod golden;
pub(crate) mod header;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod limits;
pub(crate) mod policy;
pub(crate) mod receipt;
pub(crate) mod varint;

/// The format version this code reads and writes.
pub const VERSION: u32 = 1;

/// The rule that some bytes broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// There are only zeroes.
    Empty,
    /// The bytes end too early.
    Short,
    /// A magic number is wrong.
    Magic,
    /// The format version is not one this code knows.
    Version(u32),
    /// A length points outside its container.
    Length,
    /// The checksum does not fit the bytes.
    Checksum,
    /// The record is of an earlier generation than the one before it, or of a later one than the store.
    Generation,
    /// The record's kind is unknown.
    Kind(u8),
    /// A field has a value it must not have.
    Field(&'static str),
    /// Bytes are left over after the last field.
    Surplus,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "nothing is written there"),
            Self::Short => write!(f, "the bytes end too early"),
            Self::Magic => write!(f, "the magic number is wrong"),
            Self::Version(version) => write!(f, "format version {version} is not supported"),
            Self::Length => write!(f, "a length points outside its container"),
            Self::Checksum => write!(f, "the checksum does not fit the bytes"),
            Self::Generation => write!(f, "the generation is out of order"),
            Self::Kind(kind) => write!(f, "record kind {kind} is unknown"),
            Self::Field(field) => write!(f, "field {field} has an impossible value"),
            Self::Surplus => write!(f, "bytes are left over after the last field"),
        }
    }
}
