//! What can go wrong, as facts: where, what was expected, what was found, what to do.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an operation returns that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was not done. Expected results, such as a lease that is over, are not errors but
/// [`crate::Settled`].
///
/// After an error of a call on an open store, the call had no effect and may be repeated. There are three exceptions.
/// After [`Error::Poisoned`] the effect is unknown: the record was written, but not made durable, and the next opening
/// finds it or does not; to repeat the call after reopening may do it twice. A call about more messages than one record
/// holds ([`crate::Group::ack_batch`]) may have been done for the first of them; a repeated ack reports those as
/// [`crate::Settled::AlreadySettled`]. And an append that makes its topic may leave the topic without a message after
/// [`Error::Full`], if its messages fill a segment or another append takes the last space meanwhile. An error of
/// [`crate::Store::close`] undoes nothing that was acknowledged before.
///
/// ```
/// use popstore::Error;
/// use std::path::Path;
/// fn advise(error: &Error, dir: &Path) -> String {
///     match error {
///         Error::Full { path, .. } => format!("free space for {}, then call again", path.display()),
///         Error::Poisoned { .. } => "close the store and open it again".into(),
///         Error::Corrupt { .. } => format!("store-inspect verify {}", dir.display()),
///         other => other.to_string(),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call.
    #[error("could not {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Durable bytes are not those that were written. Nothing was changed on disk. [`crate::inspect::Snapshot`] and
    /// the command `store-inspect` still read and salvage the undamaged part.
    #[error(
        "{path:?} is damaged at byte {offset}: {found}{}; store-inspect reads and salvages what is whole",
        in_message(message)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The byte in the file.
        offset: u64,
        /// The rule that is broken and what it concerns.
        found: String,
        /// The message that cannot be read, if it is known: what [`crate::Group::skip`] takes.
        message: Option<Box<MessagePlace>>,
    },
    /// The directory is not a store, or of a format this version does not know.
    #[error("{path:?} is not a store this version can open: {found}")]
    Format {
        /// The directory or file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Another process, or another `Store` in this one, has the store open. In a forked child every call returns this,
    /// since its parent has the store open.
    #[error(
        "the store is open elsewhere: another process, or another `Store` in this one, holds {path:?}; a store has one owner at a time"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The disk is full. Nothing was written. Acks continue, and appends do when space is freed. Popping, nacking and
    /// extending continue while in-flight state fits the reserved space, and are refused beyond it: acks make room for
    /// them.
    #[error("no space left for {path:?}; free some, the store needs no restart")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write or sync failed, a thread of the store or the user's clock panicked: what the disk holds is unknown, and
    /// so is whether the call that returns this took effect. Nothing more is acknowledged; reads continue. Reopen the
    /// store: recovery writes its tail again.
    #[error("the store is poisoned by a failure at {path:?}; reopen it")]
    Poisoned {
        /// The file; of a clock the store's directory.
        path: PathBuf,
        /// The first failure.
        source: Arc<io::Error>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// An argument is larger than the options allow.
    #[error("{what} of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        bytes_max: u64,
    },
    /// An argument breaks a rule.
    #[error("{} is not valid: {rule}", argument(what, value))]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// What was given; empty for a batch.
        value: String,
        /// What it must be.
        rule: Cow<'static, str>,
    },
    /// There is no topic or group of that name.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// A topic or a group.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
}

/// The place of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MessagePlace {
    /// The topic.
    pub topic: String,
    /// The queue of the topic.
    pub queue: u32,
    /// The place in the queue.
    pub index: u64,
}

impl std::fmt::Display for MessagePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.queue, self.index)
    }
}

fn in_message(message: &Option<Box<MessagePlace>>) -> String {
    message.as_ref().map_or_else(String::new, |place| format!(", in the message {place}"))
}

/// The argument and what was given for it. A batch has no text of its own.
fn argument(what: &str, value: &str) -> String {
    if what == "batch" { "the batch".to_string() } else { format!("{what} {value:?}") }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, found: impl std::fmt::Display) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset, found: found.to_string(), message: None }
    }

    pub(crate) fn format(path: &Path, found: impl std::fmt::Display) -> Self {
        Self::Format { path: path.to_path_buf(), found: found.to_string() }
    }

    pub(crate) fn invalid(what: &'static str, value: impl Into<String>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { what, value: value.into(), rule: rule.into() }
    }

    /// A queue that its topic, which has `count` of them, does not have.
    pub(crate) fn no_queue(queue: u32, count: u32) -> Self {
        let has = if count == 1 { "1 queue" } else { &format!("{count} queues") };
        Self::invalid("queue", queue.to_string(), format!("the topic has {has}, numbered from 0"))
    }

    pub(crate) fn unknown(what: &'static str, name: &str) -> Self {
        Self::Unknown { what, name: name.to_string() }
    }
}

/// Turns the error of a system call into one that says what was tried on which file.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(action, path, source))
    }
}
