//! Holds the machine's memory while it is measured.
//!
//! Some hosts take back what a guest has free, in blocks of 2 MiB and more (free page reporting), and lend it out again
//! page by page: then the first touch of each new page waits for the host, and that, not the disk and not the contender,
//! is what a run shows. Where one page of each MiB is held there are no such blocks.

use std::time::Duration;

use memmap2::{Advice, MmapMut};

use crate::clock::now;

const PAGE: usize = 4096;
const PAGES_EACH: usize = 256;
const EACH_PER_GIB: u64 = (1 << 30) / (PAGE * PAGES_EACH) as u64;

/// One page of each MiB of what was touched.
pub(crate) struct Held {
    _pages: Vec<MmapMut>,
    /// How long the first touch of a page took, on average.
    pub(crate) touch: Duration,
}

/// Touches this much memory and gives back all but one page of each MiB, which holds the memory here.
pub(crate) fn hold(gibibytes: u64) -> std::io::Result<Held> {
    let begun = now();
    let count = gibibytes * EACH_PER_GIB;
    let touched = (0..count).map(|_| Ok((touched(1)?, touched(PAGES_EACH - 1)?)));
    // All of it is there before any of it is given back, so that the system does not hand out the same pages again.
    let (pages, rest): (Vec<MmapMut>, Vec<MmapMut>) = touched.collect::<std::io::Result<Vec<_>>>()?.into_iter().unzip();
    let touch = (now() - begun).div_f64((count * PAGES_EACH as u64).max(1) as f64);
    drop(rest);
    Ok(Held { _pages: pages, touch })
}

fn touched(pages: usize) -> std::io::Result<MmapMut> {
    let mut map = MmapMut::map_anon(pages * PAGE)?;
    // A huge page is not given back in parts. Where there are none, there is nothing to be asked for.
    let _ = map.advise(Advice::NoHugePage);
    map.chunks_mut(PAGE).for_each(|page| page[0] = 1);
    Ok(map)
}
