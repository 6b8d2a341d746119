//! The weights inside the binary: the ImageNet base and the cats-vs-dogs classifier.
//!
//! Their origin, licence and making stand in `weights/README.md`.

use anyhow::{Context, Result};

use super::{Checkpoint, safetensors};

/// A file compiled into the program.
#[derive(Debug)]
pub struct Bundled {
    /// What it is called on the command line.
    pub name: &'static str,
    pub description: &'static str,
    bytes: &'static [u8],
}

/// The base, then the classifiers that stand on it; none without the `bundled` feature. A static, for a constant may
/// stand in the binary once for each use.
#[cfg(feature = "bundled")]
pub static BUNDLED: &[Bundled] = &[
    Bundled {
        name: "bundled",
        description: "ImageNet base without its 1,000-class head",
        bytes: include_bytes!("../../weights/xception-imagenet-base.safetensors"),
    },
    Bundled {
        name: "cats-vs-dogs",
        description: "dense head on that base",
        bytes: include_bytes!("../../weights/cats-vs-dogs.safetensors"),
    },
];
#[cfg(not(feature = "bundled"))]
pub static BUNDLED: &[Bundled] = &[];

impl Bundled {
    pub fn find(name: &str) -> Option<&'static Bundled> {
        BUNDLED.iter().find(|bundled| bundled.name == name)
    }

    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    pub fn load(&self) -> Result<Checkpoint> {
        safetensors::read_static(self.bytes, self.name.to_owned())
            .with_context(|| format!("the bundled weights `{}` are damaged; install xcept again", self.name))
    }
}
