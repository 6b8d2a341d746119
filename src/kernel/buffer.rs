//! Float32 memory that starts at a cache line and may be read a vector past its end.

use std::ops::{Deref, DerefMut};

/// Lanes of the widest vector, floats of a cache line.
pub const LANES: usize = 16;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A slice of floats, aligned to 64 bytes, with at least [`LANES`] readable zeros behind it.
#[derive(Debug, Clone)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LANES]); len.div_ceil(LANES) + 1], len }
    }

    /// The floats and the readable rest behind them.
    pub fn padded(&self) -> &[f32] {
        // SAFETY: a `Line` is exactly its array of floats, so the lines are one run of floats.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LANES) }
    }

    fn padded_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `padded`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * LANES) }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.padded()[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        let len = self.len;
        &mut self.padded_mut()[..len]
    }
}
