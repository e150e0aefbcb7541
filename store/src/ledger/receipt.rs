//! Receipt handles: the proof of one delivery.

use std::fmt;
use std::str::FromStr;

use popstore_revive::GroupId;

use crate::callback;
use crate::error::Error;
use crate::format::receipt::{RECEIPT, ReceiptLease};

/// Names one lease of one message: store, generation, group, place and delivery, with a checksum. It is good for that
/// one delivery; a later delivery of the same message has another. It stays good across a restart.
///
/// As text it is a line of hexadecimal digits, to be handed through a shell or another process.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let billing = store.create_group("billing", GroupOptions::default())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// let receipt = billing.pop("orders", Pop::up_to(1))?[0].receipt();
/// let text = receipt.to_string();
/// assert_eq!(text.parse::<Receipt>()?, receipt);
/// assert_eq!(Receipt::from_bytes(&receipt.to_bytes())?.delivery(), 1);
/// assert!(text[1..].parse::<Receipt>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    pub(crate) lease: ReceiptLease,
}

impl Receipt {
    /// The receipt as bytes.
    pub fn to_bytes(&self) -> [u8; RECEIPT] {
        self.lease.encode()
    }

    /// Reads a receipt back.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the bytes are not a whole receipt.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match ReceiptLease::decode(bytes) {
            Ok(lease) => Ok(Self { lease }),
            Err(rule) => {
                let value = bytes.iter().take(RECEIPT).map(|byte| format!("{byte:02x}")).collect::<String>();
                callback::log(|| tracing::debug!(%rule, "a receipt was refused"));
                Err(Error::invalid("receipt", value, "it must be whole, as the delivery gave it"))
            }
        }
    }

    /// The receipt of a lease.
    pub(crate) fn of(store: u128, group: GroupId, lease: popstore_revive::Lease) -> Self {
        let popstore_revive::Lease { queue, index, delivery, generation } = lease;
        Self { lease: ReceiptLease { store, generation, group, queue, index, delivery } }
    }

    /// The lease, as its group knows it.
    pub(crate) fn lease(&self) -> popstore_revive::Lease {
        let ReceiptLease { queue, index, delivery, generation, .. } = self.lease;
        popstore_revive::Lease { queue, index, delivery, generation }
    }

    /// The number of the delivery: 1 is the first, and those that do not count have numbers, too.
    pub fn delivery(&self) -> u32 {
        self.lease.delivery
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReceiptLease { queue, index, delivery, group, .. } = &self.lease;
        write!(f, "Receipt(group {}, {}/{}/{}, delivery {delivery})", group.0, queue.topic.0, queue.queue, index.0)
    }
}

impl FromStr for Receipt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // A number may begin with a sign, a byte may not.
        let unsigned = |pair: &&str| !pair.starts_with('+');
        let digits =
            |at: usize| text.get(at..at + 2).filter(unsigned).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..text.len().min(2 * RECEIPT + 2)).step_by(2).map(digits).collect();
        match bytes {
            Some(bytes) => Self::from_bytes(&bytes),
            None => Err(Error::invalid("receipt", text, "it must be whole, as the delivery gave it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use popstore_revive::{GroupId, QueueId, QueueIndex, TopicId};

    #[test]
    fn a_receipt_comes_back_from_text_unless_a_digit_is_changed() {
        let queue = QueueId { topic: TopicId(3), queue: 1 };
        let lease =
            ReceiptLease { store: 99, generation: 2, group: GroupId(7), queue, index: QueueIndex(65), delivery: 4 };
        let receipt = Receipt { lease };
        let text = receipt.to_string();
        assert_eq!(text.parse::<Receipt>().unwrap(), receipt);
        for at in 0..text.len() {
            let mut changed = text.clone();
            let other = if &text[at..=at] == "0" { "1" } else { "0" };
            changed.replace_range(at..=at, other);
            assert!(changed.parse::<Receipt>().is_err(), "digit {at}");
        }
        assert!("".parse::<Receipt>().is_err());
        assert!(format!("{text}00").parse::<Receipt>().is_err());
    }

    #[test]
    fn a_sign_is_no_digit_of_a_receipt() {
        let queue = QueueId { topic: TopicId(3), queue: 1 };
        let lease =
            ReceiptLease { store: 99, generation: 2, group: GroupId(7), queue, index: QueueIndex(65), delivery: 4 };
        let text = Receipt { lease }.to_string();
        for at in (0..text.len()).step_by(2).filter(|at| &text[*at..=*at] == "0") {
            let mut signed = text.clone();
            signed.replace_range(at..=at, "+");
            assert!(signed.parse::<Receipt>().is_err(), "a sign at {at}");
        }
    }
}
