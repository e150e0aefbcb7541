//! The place of a message, as every command prints it.

use std::fmt;
use std::str::FromStr;

/// Where a message is in its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) queue: u32,
    pub(crate) index: u64,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '/');
        let (index, queue, topic) = (parts.next(), parts.next(), parts.next());
        let place = || {
            let (index, queue) = (index?.parse().ok()?, queue?.parse().ok()?);
            Some(Self { topic: topic?.to_string(), queue, index })
        };
        place().ok_or("a place is written as orders/0/12")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.queue, self.index)
    }
}
