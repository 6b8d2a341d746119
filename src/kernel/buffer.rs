//! Float32 memory in whole vectors that starts at a cache line.
//!
//! Activations of the engine are blocked by channels, [⌈C/16⌉, H·W, 16]: a vector of 16 channels of
//! one pixel, then the next pixel. Lanes beyond C are zero. A kernel's neighbours along a row are
//! neighbours in memory, and no vector crosses a cache line.

use std::ops::{Deref, DerefMut};

/// Lanes of the widest vector, floats of a cache line.
pub const LANES: usize = 16;

/// Memory from here on is worth a call to the system, in bytes.
#[cfg(target_os = "linux")]
const HUGE: usize = 256 << 10;
/// The smallest page of any Linux on x86-64, and a divisor of all larger ones.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// One pixel's values in 16 channels.
pub type Lanes = [f32; LANES];

/// Asks Linux to back large memory by pages of 2 MiB where it may: weights are streamed from end to
/// end, and with pages of 4 KiB looking up their addresses took 8 % of a matrix product's time.
fn ask_for_huge_pages(memory: &[Lanes]) {
    #[cfg(target_os = "linux")]
    if size_of_val(memory) >= HUGE {
        let bytes = memory.as_ptr_range();
        let start = bytes.start.addr() / PAGE * PAGE;
        let len = bytes.end.addr().next_multiple_of(PAGE) - start;
        // SAFETY: the advice changes how pages are backed, never what they hold; so it may cover what
        // else lies in the first page and the last. A kernel that knows no huge pages says no.
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), len, libc::MADV_HUGEPAGE) };
    }
}

/// A slice of vectors, aligned to 64 bytes.
#[derive(Debug, Default)]
pub struct Buffer {
    /// One vector more than `len`, for the alignment; nothing at all by default.
    memory: Vec<Lanes>,
    len: usize,
}

impl Buffer {
    /// `len` vectors of zeros. Pages that are never written are never there.
    pub fn zeros(len: usize) -> Self {
        let memory = vec![[0.0; LANES]; len + 1];
        ask_for_huge_pages(&memory);
        Self { memory, len }
    }

    /// Offset of the first cache line, in floats.
    fn start(&self) -> usize {
        let floats = self.memory.as_flattened();
        floats.as_ptr().align_offset(size_of::<Lanes>()).min(floats.len())
    }
}

impl Deref for Buffer {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        &self.memory.as_flattened()[self.start()..].as_chunks().0[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        let (start, len) = (self.start(), self.len);
        &mut self.memory.as_flattened_mut()[start..].as_chunks_mut().0[..len]
    }
}
