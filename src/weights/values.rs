//! The values of a tensor: float32, or the 16-bit floats of a file inside the binary, which are widened
//! where they are used: what starts with the program should not be copied before it is needed.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Row-major values, float32 to all who read them.
#[derive(Debug, Clone)]
pub struct Values(Stored);

#[derive(Debug, Clone)]
enum Stored {
    Floats(Vec<f32>),
    /// Little-endian.
    Halves(&'static [[u8; 2]]),
}

impl Values {
    /// Little-endian 16-bit floats that live as long as the program.
    pub fn from_halves(bytes: &'static [u8]) -> Self {
        Self(Stored::Halves(bytes.as_chunks().0))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Stored::Floats(floats) => floats.len(),
            Stored::Halves(halves) => halves.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match &self.0 {
            Stored::Floats(floats) => Cow::Borrowed(floats),
            Stored::Halves(halves) => {
                let mut floats = vec![0.0; halves.len()];
                widen(halves, f16::from_le_bytes, &mut floats);
                Cow::Owned(floats)
            }
        }
    }

    /// All values, if they are stored as float32.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match &self.0 {
            Stored::Floats(floats) => Some(floats),
            Stored::Halves(_) => None,
        }
    }

    /// The values from `start` on, as many as `out` takes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        match &self.0 {
            Stored::Floats(floats) => out.copy_from_slice(&floats[start..][..out.len()]),
            Stored::Halves(halves) => widen(&halves[start..][..out.len()], f16::from_le_bytes, out),
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(floats: Vec<f32>) -> Self {
        Self(Stored::Floats(floats))
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.floats() == other.floats()
    }
}

/// Widens 16-bit floats a buffer at a time, so that the machine's own instruction does it.
pub(super) fn widen<H: Copy + Default>(halves: &[[u8; 2]], from_bytes: fn([u8; 2]) -> H, out: &mut [f32])
where
    [H]: HalfFloatSliceExt,
{
    const BUFFER: usize = 256;
    let mut buffer = [H::default(); BUFFER];
    for (halves, out) in halves.chunks(BUFFER).zip(out.chunks_mut(BUFFER)) {
        buffer.iter_mut().zip(halves).for_each(|(buffer, half)| *buffer = from_bytes(*half));
        buffer[..halves.len()].convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_read_as_the_floats_they_stand_for_whole_and_in_parts() {
        let floats: Vec<f32> = (0..3000).map(|v| f32::from(v as i16 - 1500) / 8.0).collect();
        let bytes: Vec<u8> = floats.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let values = Values::from_halves(bytes.leak());
        assert_eq!(values, Values::from(floats.clone()));
        let mut part = [0.0; 1500];
        values.read(1400, &mut part);
        assert_eq!(part, floats[1400..2900]);
    }
}
