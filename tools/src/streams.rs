//! The standard streams of a command, each of which may be closed while the command works.
//!
//! The effect of a command never depends on whether somebody reads its output: a verb that changes a store, or whose exit
//! code is a verdict, continues without an output ([`without_fail`]). A list stops, and its exit code shows that.

use std::io::{self, Write};

use crate::plain::plain;
use crate::{Failure, Outcome};

/// Writes a line to the standard error, as far as there is one.
pub(crate) fn say(tool: &str, text: impl std::fmt::Display) {
    // There is nowhere left to report that this failed.
    let _ = writeln!(io::stderr(), "{}", plain(&format!("{tool}: {text}")));
}

/// An error and its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the reader of the output has closed it.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// An output that takes everything: what cannot be written is dropped, and the first error is held.
struct Lossy<'o> {
    out: &'o mut dyn Write,
    failed: Option<io::Error>,
}

impl Write for Lossy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.failed = self.out.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
        Ok(())
    }
}

/// Runs a verb to its end, whatever happens to its output.
///
/// # Errors
/// Those of the verb; [`Failure::Output`] when it was done, but its output could not be written although nobody had
/// closed it.
pub(crate) fn without_fail(
    out: &mut dyn Write,
    verb: impl FnOnce(&mut dyn Write) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let mut lossy = Lossy { out, failed: None };
    let done = verb(&mut lossy);
    let _ = lossy.flush();
    match (done, lossy.failed) {
        (Ok(_), Some(error)) if !is_closed(&error) => Err(Failure::Output(error)),
        (done, _) => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that fails after this number of bytes.
    struct Short(usize, io::ErrorKind);

    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(self.1)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_verb_ends_as_it_would_have_with_an_output() {
        let mut steps = 0;
        let mut run = |kind, outcome| {
            without_fail(&mut Short(3, kind), |out| {
                for _ in 0..5 {
                    out.write_all(b"ab")?;
                    steps += 1;
                }
                Ok(outcome)
            })
        };
        assert!(matches!(run(io::ErrorKind::BrokenPipe, Outcome::Faults), Ok(Outcome::Faults)));
        assert!(matches!(run(io::ErrorKind::BrokenPipe, Outcome::Fine), Ok(Outcome::Fine)));
        assert!(matches!(run(io::ErrorKind::StorageFull, Outcome::Fine), Err(Failure::Output(_))));
        assert_eq!(steps, 15);
    }
}
