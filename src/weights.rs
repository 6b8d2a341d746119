//! Pretrained weights: wherever they come from, they end as the same named tensors.
//!
//! A [`Checkpoint`] holds timm's names in timm's layout as float32, the [`Convention`] that the
//! numbers were trained under, and whatever the file says about a head. Formats are told apart by
//! content: safetensors, Keras `.h5` and `.keras`, PyTorch `.pth`.

mod bundled;
pub mod check;
mod config;
mod dense;
mod digest;
mod foreign;
mod given;
pub mod hub;
pub mod keras;
pub mod matching;
mod metadata;
pub mod ood;
pub mod pytorch;
mod safetensors;
mod source;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use bundled::{BUNDLED, Bundled};
pub use digest::{Digest, backbone_digest};
pub use given::{Activation, Assumed, Given};
pub use metadata::{HeadMetadata, Metadata, Pool};
pub use safetensors::{Precision, rounded, write};
pub use source::Source;
pub use values::Values;

use crate::convention::Convention;
use crate::image::Resize;

/// A tensor as read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    pub shape: Vec<usize>,
    pub data: Values,
}

/// Tensors by timm's names.
pub type Tensors = BTreeMap<String, RawTensor>;

/// What a foreign file holds.
#[derive(Debug, Default)]
pub struct Imported {
    pub tensors: Tensors,
    /// Side of the square input the model was built for, where the file says so.
    pub input_size: Option<usize>,
    /// How the features of the head are pooled, where the file says so.
    pub pool: Option<Pool>,
    /// Whether the file says which activations the head has.
    pub says_activations: bool,
    /// Rate of the head's dropout behind each hidden layer; 0 where there is none.
    pub dropout: Vec<f32>,
    /// What the user should know of how the file was read.
    pub notes: Vec<String>,
}

/// Weights ready for use: complete and of the right shapes.
#[derive(Debug)]
pub struct Checkpoint {
    /// The backbone (unless the file is a head alone), and the head as `head.N.*`, `fc.*` and perhaps `ood.*`.
    pub tensors: Tensors,
    pub metadata: Metadata,
    /// Where they come from, for messages.
    pub origin: String,
    /// Whether the file is one of ours, which says itself what the rest is assumed of.
    pub is_described: bool,
    /// What the file does not say and is taken for granted.
    pub assumed: Assumed,
    /// What the user should know of how the file was read.
    pub notes: Vec<String>,
}

/// Key of our entry in the metadata of a safetensors file, of weights or of features.
pub const METADATA_KEY: &str = "xcept";

/// timm and PyTorch count batches beside each batch norm; nothing here needs the count.
fn is_batch_counter(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// Tensors of the head: `head.0.weight`, …, `fc.bias`, `ood.means`, …. All others belong to the backbone.
pub fn is_head_tensor(name: &str) -> bool {
    name.starts_with("head.") || name.starts_with("fc.") || ood::is_ood_tensor(name)
}

impl Checkpoint {
    pub fn has_backbone(&self) -> bool {
        self.tensors.keys().any(|name| !is_head_tensor(name))
    }

    pub fn has_head(&self) -> bool {
        self.tensors.contains_key("fc.weight")
    }

    /// # Errors
    /// Names a tensor that is missing.
    pub fn tensor(&self, name: &str) -> Result<&RawTensor> {
        self.tensors.get(name).with_context(|| format!("{}: tensor `{name}` is missing", self.origin))
    }

    /// The digest of the backbone that the tensors hold or, for a head alone, was trained on.
    pub fn backbone_digest(&self) -> Digest {
        self.metadata.backbone.clone().unwrap_or_else(|| backbone_digest(&self.tensors))
    }

    /// Takes `convention`, not the file's own, for the one that the weights were trained under, and its way of
    /// resizing pictures.
    pub fn with_convention(mut self, convention: Convention) -> Self {
        if self.metadata.convention != convention {
            self.metadata.convention = convention;
            self.metadata.preprocessing.resize = Resize::of(convention);
        }
        self
    }
}

/// Reads weights from a file of any supported format, told by its content.
///
/// # Errors
/// Names the file if it cannot be read, is of no known format or damaged, or if a tensor is
/// missing, unexpected or misshapen.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_given(path, &Given::default())
}

/// [`load`] with what is known of a file that does not say it.
///
/// # Errors
/// As [`load`], and if what is given does not fit the file.
pub fn load_given(path: &Path, given: &Given) -> Result<Checkpoint> {
    if path.is_dir() {
        bail!("{}: {}", path.display(), source::folder(path));
    }
    let start = read_start(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let origin = path.display().to_string();
    let checkpoint = match Format::of(path, &start).with_context(|| origin.clone())? {
        Format::Keras => foreign(keras::read_given(path, given)?, Convention::Keras, origin),
        Format::PyTorch => foreign(pytorch::read(path)?, Convention::Timm, origin),
        Format::Safetensors => {
            let read = || safetensors::read(&std::fs::read(path)?, origin.clone());
            read().with_context(|| origin.clone())
        }
    }?;
    given.apply(checkpoint)
}

/// What is told by the first bytes of a file.
enum Format {
    Safetensors,
    Keras,
    PyTorch,
}

impl Format {
    fn of(path: &Path, start: &[u8]) -> Result<Self> {
        let json_follows_length = start.get(8) == Some(&b'{');
        if start.starts_with(keras::HDF5_SIGNATURE) {
            Ok(Format::Keras)
        } else if start.starts_with(b"PK\x03\x04") {
            let file = std::io::BufReader::new(std::fs::File::open(path)?);
            let archive = zip::ZipArchive::new(file).context("a damaged zip archive; download the file again")?;
            let is_keras = archive.index_for_name("config.json").is_some();
            Ok(if is_keras { Format::Keras } else { Format::PyTorch })
        } else if start.first() == Some(&0x80) && !json_follows_length {
            Ok(Format::PyTorch)
        } else if json_follows_length {
            Ok(Format::Safetensors)
        } else {
            bail!("not a weights file; expected safetensors, Keras .h5 or .keras, or PyTorch .pth")
        }
    }
}

fn read_start(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(16).read_to_end(&mut start)?;
    Ok(start)
}

/// A checkpoint from a file whose format, not its metadata, tells the convention.
fn foreign(imported: Imported, convention: Convention, origin: String) -> Result<Checkpoint> {
    let metadata = Metadata::of_foreign(&imported, convention).with_context(|| origin.clone())?;
    let assumed = Assumed::of(&imported, convention);
    // One line, however much there is to say.
    let note = (!imported.notes.is_empty()).then(|| format!("{origin}: {}", imported.notes.join("; ")));
    let notes = note.into_iter().collect();
    Ok(Checkpoint { tensors: imported.tensors, metadata, origin, is_described: false, assumed, notes })
}
