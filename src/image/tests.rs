//! Pillow, torchvision and timm are the reference; `tests/data/images/make.py` asked them.

use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::*;
use crate::convention::Convention;

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/images"))
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

/// Never scaled down.
fn decode_whole(bytes: &[u8]) -> anyhow::Result<Picture> {
    decode(bytes, usize::MAX)
}

fn expectations<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fixture(name)).unwrap()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same picture as `pattern` in `make.py`: squares of hash noise among gradients.
pub(super) fn pattern([width, height]: [usize; 2]) -> Picture {
    let mut pixels = Vec::with_capacity(3 * width * height);
    for y in 0..height as u32 {
        for x in 0..width as u32 {
            for c in 0..3_u32 {
                let mix = x.wrapping_mul(73856093) ^ y.wrapping_mul(19349663) ^ c.wrapping_mul(83492791);
                let noise = (mix ^ (mix >> 13)).wrapping_mul(0x5BD1E995) >> 24;
                let gradient = (x * 3 + y * 2 + c * 85) & 255;
                pixels.push(if (x / 16 + y / 16) % 2 == 0 { noise as u8 } else { gradient as u8 });
            }
        }
    }
    Picture { width, height, pixels }
}

mod animation;
mod decoding;
mod hostile;
mod kinds;
mod phones;
mod preprocessing;
mod recognition;
mod resizing;
mod sheets;
