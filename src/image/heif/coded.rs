//! A picture that one bitstream holds.

use anyhow::Result;

use super::planes::Planes;

#[derive(Debug)]
pub struct Coded {
    pub coding: Coding,
    pub stream: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub enum Coding {
    /// NAL units with start codes, parameter sets first.
    Hevc,
    /// Open bitstream units.
    Av1,
}

impl Coded {
    /// Of a picture of at most `most` samples of luma.
    ///
    /// # Errors
    /// In one line with a remedy, if the stream is cut, damaged or of a kind that is not supported.
    pub fn planes(self, most: usize, name: &str) -> Result<Planes> {
        match self.coding {
            #[cfg(feature = "heic")]
            Coding::Hevc => super::hevc::planes(&self.stream, most, name),
            #[cfg(not(feature = "heic"))]
            Coding::Hevc => anyhow::bail!(without(name, "HEVC", "heic")),
            #[cfg(feature = "avif")]
            Coding::Av1 => super::av1::planes(self.stream, most, name),
            #[cfg(not(feature = "avif"))]
            Coding::Av1 => anyhow::bail!(without(name, "AV1", "avif")),
        }
    }
}

#[cfg(not(all(feature = "heic", feature = "avif")))]
fn without(name: &str, coding: &str, feature: &str) -> String {
    format!(
        "unsupported {name}: {coding}, which this build can't read; build it with `--features {feature}`, or {}",
        super::CONVERT
    )
}
