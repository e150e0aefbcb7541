//! What is appended: slices of random bytes, so that no contender can compress them, made before the time runs.

/// The bytes that are turned over while appending; they stay in the cache, as a message just made does.
const RING_BYTES: usize = 256 << 10;

/// The bodies of one batch.
pub(crate) type Batch<'a> = Vec<&'a [u8]>;

/// A store of random bytes that batches are cut from.
pub(crate) struct Bodies {
    bytes: Vec<u8>,
    body: usize,
}

impl Bodies {
    /// For bodies of this many bytes.
    pub(crate) fn of(body: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut word = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let bytes = (0..(RING_BYTES + body) / 8).flat_map(|_| word()).collect();
        Self { bytes, body }
    }

    /// Batches of this many messages, which a producer repeats.
    pub(crate) fn batches(&self, messages: usize) -> Vec<Batch<'_>> {
        let count = (RING_BYTES / (self.body.max(1) * messages)).clamp(2, 1024);
        let starts = self.bytes.len() - self.body;
        let body = |at: usize| {
            let start = at * (self.body + 8) % starts.max(1);
            &self.bytes[start..start + self.body]
        };
        (0..count).map(|batch| (0..messages).map(|at| body(batch * messages + at)).collect()).collect()
    }
}

/// Reads a body: every byte of it is added to the sum.
pub(crate) fn read(body: &[u8]) -> u64 {
    let (words, rest) = body.as_chunks::<8>();
    let words = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
