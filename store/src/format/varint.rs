//! Variable-length integers (LEB128, as in Protocol Buffers) and a reader that cannot run past its bytes.

use super::Rule;

/// The longest encoding of a `u64`.
pub(crate) const VARINT_MAX: usize = 10;

/// The bit of a byte that says that another follows, in each byte of a word.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Appends `value`.
#[inline(always)]
pub(crate) fn put(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => out.push(value as u8),
        _ => put_long(out, value),
    }
}

/// A value of two bytes or more. Up to eight, which is what there mostly is, need no loop.
fn put_long(out: &mut Vec<u8>, mut value: u64) {
    while value >> 56 != 0 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    let len = (u64::BITS - value.leading_zeros()).div_ceil(7) as usize;
    let more = MORE & !(u64::MAX << (8 * (len - 1)));
    out.extend_from_slice(&(spread(value) | more).to_le_bytes());
    out.truncate(out.len() - (8 - len));
}

/// Appends a length and then the bytes.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    if !bytes.is_empty() {
        out.extend_from_slice(bytes);
    }
}

/// Takes fields off the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// One value has one encoding: a last byte of zero is refused.
    #[inline(always)]
    pub(crate) fn u64(&mut self) -> Result<u64, Rule> {
        // Most values are small.
        if let [first @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*first));
        }
        self.long_u64().ok_or_else(|| self.why_no_u64())
    }

    fn long_u64(&mut self) -> Option<u64> {
        let front = self.0.first_chunk().map_or(u64::MAX, |front| u64::from_le_bytes(*front));
        // How many bits the value takes, if it ends within these eight bytes: then no loop is needed.
        let bits = match (!front & MORE).trailing_zeros() {
            u64::BITS => return self.longest_u64(),
            last => last + 1,
        };
        let word = front & (u64::MAX >> (u64::BITS - bits));
        if word >> (bits - 8) == 0 {
            return None;
        }
        self.0 = &self.0[bits as usize / 8..];
        Some(squeeze(word & !MORE))
    }

    /// A value of nine or ten bytes, or with less than eight bytes left.
    fn longest_u64(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(VARINT_MAX) {
            let low = u64::from(byte & 0x7f);
            if at == VARINT_MAX - 1 && low > 1 || at > 0 && *byte == 0 {
                return None;
            }
            value |= low << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(value);
            }
        }
        None
    }

    #[cold]
    fn why_no_u64(&self) -> Rule {
        let ends = self.0.len() < VARINT_MAX && self.0.iter().all(|byte| byte & 0x80 != 0);
        if ends { Rule::Short } else { Rule::Field("varint") }
    }

    #[inline(always)]
    pub(crate) fn u32(&mut self) -> Result<u32, Rule> {
        u32::try_from(self.u64()?).map_err(|_| Rule::Field("varint"))
    }

    /// A count of things that take at least `each` of the bytes left, so that it can be trusted for allocation.
    #[inline(always)]
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Rule> {
        let count = usize::try_from(self.u64()?).map_err(|_| Rule::Length)?;
        if count.checked_mul(each.max(1)).is_none_or(|bytes| bytes > self.0.len()) {
            return Err(Rule::Length);
        }
        Ok(count)
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Rule> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Rule::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Rule> {
        let len = self.count(1)?;
        self.take(len)
    }

    #[inline(always)]
    pub(crate) fn text(&mut self) -> Result<&'a str, Rule> {
        match self.bytes()? {
            [] => Ok(""),
            text => std::str::from_utf8(text).map_err(|_| Rule::Field("text")),
        }
    }

    pub(crate) fn end(self) -> Result<(), Rule> {
        if self.0.is_empty() { Ok(()) } else { Err(Rule::Surplus) }
    }
}

/// Puts the lower seven bits of all bytes of a word side by side.
fn squeeze(word: u64) -> u64 {
    let pairs = (word & 0x7f00_7f00_7f00_7f00) >> 1 | (word & 0x007f_007f_007f_007f);
    let fours = (pairs & 0x3fff_0000_3fff_0000) >> 2 | (pairs & 0x0000_3fff_0000_3fff);
    (fours & 0x0fff_ffff_0000_0000) >> 4 | (fours & 0x0000_0000_0fff_ffff)
}

/// Spreads 56 bits over the lower seven bits of eight bytes.
fn spread(value: u64) -> u64 {
    let fours = (value & 0x00ff_ffff_f000_0000) << 4 | (value & 0x0000_0000_0fff_ffff);
    let pairs = (fours & 0x0fff_c000_0fff_c000) << 2 | (fours & 0x0000_3fff_0000_3fff);
    (pairs & 0x3f80_3f80_3f80_3f80) << 1 | (pairs & 0x007f_007f_007f_007f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_the_same_whatever_follows_it() {
        for shift in 0..64 {
            for value in [u64::MAX >> shift, 1 << shift, 0x0123_4567_89ab_cdef >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                let len = bytes.len();
                for more in 0..10 {
                    bytes.resize(len + more, 0xff);
                    let mut fields = Fields(&bytes);
                    assert_eq!((fields.u64(), fields.0.len()), (Ok(value), more), "{value:x}");
                }
            }
        }
        for len in 1..8 {
            let mut bytes = vec![0x80; len];
            bytes.push(0);
            bytes.resize(len + 9, 1);
            assert_eq!(Fields(&bytes).u64(), Err(Rule::Field("varint")), "{len}");
        }
    }

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
    fn a_count_larger_than_the_bytes_is_refused_unallocated() {
        let mut bytes = Vec::new();
        put(&mut bytes, u64::MAX / 2);
        assert_eq!(Fields(&bytes).count(1), Err(Rule::Length));
    }
}
