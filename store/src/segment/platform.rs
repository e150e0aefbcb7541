//! What differs between operating systems, with a portable way for each.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::MmapRaw;

/// A file may grow under a map that is longer than it.
pub(crate) const GROWS_UNDER_MAP: bool = cfg!(target_os = "linux");

/// Syncing a file also syncs what was stored through a map of it, and syncing a part of the map is as good for that
/// part.
pub(crate) const SYNCS_MAPS: bool = cfg!(target_os = "linux");

/// Writes all bytes at a place of the file.
#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Writes all bytes at a place of the file.
#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        at += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Takes the space of a range of a file, where that is possible.
#[cfg(target_os = "linux")]
pub(crate) fn allocate(file: &File, at: u64, len: u64) -> io::Result<()> {
    let allocate = || rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), at, len);
    if len > 0 { Ok(rustix::io::retry_on_intr(allocate)?) } else { Ok(()) }
}

/// Takes the space of a range of a file, where that is possible.
#[cfg(not(target_os = "linux"))]
pub(crate) fn allocate(_file: &File, _at: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Takes the space of a range of a file and makes it zeroes without writing any, where that is possible.
#[cfg(target_os = "linux")]
pub(crate) fn take_zeroes(file: &File, at: u64, len: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    // More file systems can do it for an empty file.
    let is_empty = file.metadata()?.len() == 0;
    let how = if is_empty { FallocateFlags::empty() } else { FallocateFlags::ZERO_RANGE };
    if len > 0 { Ok(rustix::fs::fallocate(file, how, at, len)?) } else { Ok(()) }
}

/// Takes the space of a range of a file and makes it zeroes without writing any, where that is possible.
#[cfg(not(target_os = "linux"))]
pub(crate) fn take_zeroes(_file: &File, _at: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether reading a hole through a map takes space, as it does where files lie in memory.
#[cfg(target_os = "linux")]
pub(crate) fn reads_take_space(file: &File) -> io::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    Ok(rustix::fs::fstatfs(file)?.f_type as i64 == TMPFS)
}

/// Whether reading a hole through a map takes space.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reads_take_space(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// How many bytes of the disk a file has, where the system says so.
#[cfg(unix)]
pub(crate) fn allocated(file: &File) -> io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::blocks(&file.metadata()?).saturating_mul(512))
}

/// How many bytes of the disk a file has, where the system says so.
#[cfg(not(unix))]
pub(crate) fn allocated(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// Makes a directory with these permissions, less those that the process gives to nobody.
#[cfg(unix)]
pub(crate) fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), mode).create(dir)
}

/// Makes a directory.
#[cfg(not(unix))]
pub(crate) fn make_dir(dir: &Path, _mode: u32) -> io::Result<()> {
    std::fs::create_dir(dir)
}

/// Reads what there is at a place of the file; less than asked for only at its end.
pub(crate) fn read_at(file: &File, mut at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, &mut bytes[done..], at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], at);
        match read {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the names in a directory durable: here the file system does it by itself.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Takes the page faults of a range ahead of its use, where that is possible.
pub(crate) fn populate(map: &MmapRaw, at: usize, len: usize) {
    #[cfg(target_os = "linux")]
    {
        // A kernel without it takes the faults later.
        let _ = map.advise_range(memmap2::Advice::PopulateWrite, at, len);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, at, len);
}
