//! Variable-length integers (LEB128, as in Protocol Buffers) and a reader that cannot run past its bytes.

use super::Rule;

/// The longest encoding of a `u64`.
pub(crate) const VARINT_MAX: usize = 10;

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and then the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes fields off the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Rule> {
        let (first, rest) = self.0.split_first().ok_or(Rule::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    /// One value has one encoding: a last byte of zero is refused.
    pub(crate) fn u64(&mut self) -> Result<u64, Rule> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 || shift > 0 && byte == 0 {
                return Err(Rule::Field("varint"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Rule::Field("varint"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Rule> {
        u32::try_from(self.u64()?).map_err(|_| Rule::Field("varint"))
    }

    /// A count of things that take at least `each` bytes of what is left, so that it can be trusted for allocation.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Rule> {
        let count = usize::try_from(self.u64()?).map_err(|_| Rule::Length)?;
        if count.checked_mul(each.max(1)).is_none_or(|bytes| bytes > self.0.len()) {
            return Err(Rule::Length);
        }
        Ok(count)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Rule> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Rule::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Rule> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Rule> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Rule::Field("text"))
    }

    pub(crate) fn end(self) -> Result<(), Rule> {
        if self.0.is_empty() { Ok(()) } else { Err(Rule::Surplus) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_and_has_one_encoding() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert!(bytes.len() <= VARINT_MAX);
            let mut fields = Fields(&bytes);
            assert_eq!(fields.u64(), Ok(value));
            assert_eq!(fields.end(), Ok(()));
        }
        assert_eq!(Fields(&[0x80, 0]).u64(), Err(Rule::Field("varint")));
        assert_eq!(Fields(&[0xff; 10]).u64(), Err(Rule::Field("varint")));
    }

    #[test]
    fn a_count_larger_than_the_bytes_is_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        put(&mut bytes, u64::MAX / 2);
        assert_eq!(Fields(&bytes).count(1), Err(Rule::Length));
    }
}
