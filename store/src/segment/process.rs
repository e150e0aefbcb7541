//! Which process this is. A forked child has copies of the memory and the open files of its parent, but none of its
//! threads: it must neither append, nor wait for them, nor give back what the parent holds.

#[cfg(target_os = "linux")]
use super::map::ForkMark;

/// The process that something was made in.
pub(crate) struct OwnerProcess {
    /// Finding out by memory costs a load, asking the system costs a call.
    #[cfg(target_os = "linux")]
    mark: Option<ForkMark>,
    pid: u32,
}

impl OwnerProcess {
    /// This process.
    pub(crate) fn here() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            mark: ForkMark::new().ok(),
            pid: std::process::id(),
        }
    }

    /// Whether the caller is in that process.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(mark) = &self.mark {
            return mark.is_set();
        }
        self.pid == std::process::id()
    }
}
