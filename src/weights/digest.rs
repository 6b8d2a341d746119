//! Identity of a backbone: SHA-256 over its names and float32 values.
//!
//! The same numbers give the same digest whatever file format they came in, so a head trained on
//! one copy of a backbone is recognised by every other copy.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Tensors;
use crate::architecture;

/// A SHA-256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Enough of it to tell two apart in a message.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// Of what has been fed to `hash`.
    pub(in crate::weights) fn finish(hash: Sha256) -> Self {
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let is_digest = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        anyhow::ensure!(is_digest, "`{text}` is not a SHA-256 in lower-case hexadecimal");
        Ok(Self(text.to_owned()))
    }
}

/// Digest of the backbone's tensors, in the order of the architecture table.
pub fn backbone_digest(tensors: &Tensors) -> Digest {
    let mut hash = Sha256::new();
    let mut bytes = Vec::new();
    for spec in architecture::tensors() {
        let Some(tensor) = tensors.get(&spec.name) else { continue };
        hash.update(spec.name.as_bytes());
        bytes.clear();
        bytes.extend(tensor.data.floats().iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
    Digest::finish(hash)
}
