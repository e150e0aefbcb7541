//! Where a file has bytes of its own: the rest are holes, which read as zeroes and take no space, so that work grows with
//! the space that a file takes and not with the length that it claims. A file system that does not report holes has none.

use std::fs::File;

/// The first byte from `at` on, before `end`, that may not be in a hole; `end` when all that follows is one.
pub(crate) fn next_data(file: &File, at: u64, end: u64) -> u64 {
    if at >= end { end } else { seek(file, at, true).unwrap_or(at).clamp(at, end) }
}

/// Where the bytes that begin at `at` end and a hole begins.
pub(crate) fn next_hole(file: &File, at: u64, end: u64) -> u64 {
    if at >= end { end } else { seek(file, at, false).unwrap_or(end).clamp(at + 1, end) }
}

/// How many of the first `end` bytes are in no hole.
pub(crate) fn data_bytes(file: &File, end: u64) -> u64 {
    let (mut bytes, mut at) = (0, next_data(file, 0, end));
    while at < end {
        let hole = next_hole(file, at, end);
        bytes += hole - at;
        at = next_data(file, hole, end);
    }
    bytes
}

#[cfg(target_os = "linux")]
fn seek(file: &File, at: u64, data: bool) -> Option<u64> {
    use rustix::fs::SeekFrom;
    match rustix::fs::seek(file, if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) }) {
        Ok(found) => Some(found),
        // There is nothing but a hole from here on.
        Err(rustix::io::Errno::NXIO) if data => Some(u64::MAX),
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn seek(_file: &File, _at: u64, _data: bool) -> Option<u64> {
    None
}
