//! The little of HDF5 that Keras uses: groups, string-list attributes and float datasets.
//!
//! Sizes come from the file, which may be corrupt, so nothing is allocated that was not compared
//! with a limit or with the shape that the architecture asks for.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

/// Largest tensor and largest chunk that is read: a head of 65,536 classes.
const MAX_TENSOR_BYTES: usize = 1 << 29;

/// The eight bytes that an HDF5 file begins with.
pub(in crate::weights) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The root group of a file on disk.
pub(super) fn open(path: &Path) -> Result<Group> {
    root(Hdf5File::open_with_options(path, options())?)
}

/// The root group of a file that was read into memory.
pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Group> {
    root(Hdf5File::from_vec_with_options(bytes, options())?)
}

/// Links into other files are not followed.
fn options() -> OpenOptions {
    OpenOptions::default().with_max_read_bytes(MAX_TENSOR_BYTES).with_max_chunk_bytes(MAX_TENSOR_BYTES)
}

fn root(file: Hdf5File) -> Result<Group> {
    let (found, expected) = (file.storage().len(), file.superblock().eof_address);
    ensure!(found >= expected, "the HDF5 file is cut off: {found} bytes, expected {expected}; download it again");
    Ok(file.root_group()?)
}

/// The group at a path relative to `group`; an empty path is the group itself.
pub(super) fn group_at(group: &Group, path: &str) -> Result<Group> {
    let mut group = group.clone();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        group = group.group(part).with_context(|| format!("group `{path}`"))?;
    }
    Ok(group)
}

/// The dataset at a path relative to `group`.
pub(super) fn dataset_at(group: &Group, path: &str) -> Result<Dataset> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    group_at(group, parent)?.dataset(name).with_context(|| format!("dataset `{path}`"))
}

/// Names of a group's child groups.
pub(super) fn child_groups(group: &Group) -> Result<Vec<String>> {
    Ok(group.member_names()?.0)
}

/// The string attribute `name`, if the group has it.
pub(super) fn string(group: &Group, name: &str) -> Result<Option<String>> {
    let attribute = group.attributes()?.into_iter().find(|attribute| attribute.name == name);
    attribute.map(|a| a.read_string().with_context(|| format!("attribute `{name}`"))).transpose()
}

/// The string-list attribute `name`, if the group has it.
///
/// An attribute beyond HDF5's limit of 64 KB is stored in parts: `name0`, `name1`, … (Keras'
/// `save_attributes_to_hdf5_group`).
pub(super) fn strings(group: &Group, name: &str) -> Result<Option<Vec<String>>> {
    let attributes = group.attributes()?;
    let read = |name: &str| {
        let found = attributes.iter().find(|attribute| attribute.name == name);
        found.map(|a| {
            // An empty list is stored as an array of numbers.
            if a.num_elements()? == 0 { Ok(Vec::new()) } else { a.read_strings() }
        })
    };
    let context = || format!("attribute `{name}`");
    if let Some(strings) = read(name) {
        return Ok(Some(strings.with_context(context)?));
    }
    let mut all: Option<Vec<String>> = None;
    for part in 0.. {
        let Some(strings) = read(&format!("{name}{part}")) else { break };
        all.get_or_insert_default().extend(strings.with_context(context)?);
    }
    Ok(all)
}

/// A dataset's shape.
pub(super) fn shape(dataset: &Dataset) -> Vec<usize> {
    dataset.shape().iter().map(|&side| usize::try_from(side).unwrap_or(usize::MAX)).collect()
}

/// A dataset's values in row-major order, as float32.
pub(super) fn values(dataset: &Dataset) -> Result<Vec<f32>> {
    let elements = dataset.num_elements()?;
    ensure!(
        elements <= (MAX_TENSOR_BYTES / size_of::<f32>()) as u64,
        "{elements} values, expected at most {MAX_TENSOR_BYTES} bytes of them"
    );
    match *dataset.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => {
            let mut values = vec![0.0f32; elements as usize];
            dataset.read_into(&mut values)?;
            Ok(values)
        }
        Datatype::FloatingPoint { size: 8, .. } => {
            let mut values = vec![0.0f64; elements as usize];
            dataset.read_into(&mut values)?;
            Ok(values.into_iter().map(|value| value as f32).collect())
        }
        Datatype::FloatingPoint { size: 2, byte_order } => {
            let big_endian = byte_order == hdf5_reader::ByteOrder::BigEndian;
            let bytes = dataset.read_raw_bytes()?;
            let convert = |b: &[u8]| if big_endian { [b[1], b[0]] } else { [b[0], b[1]] };
            Ok(bytes.chunks_exact(2).map(|b| f16::from_le_bytes(convert(b)).to_f32()).collect())
        }
        // Keras 3 stores bfloat16 as two opaque bytes and says so in an attribute.
        Datatype::Opaque { size: 2, .. } if is_bfloat16(dataset) => {
            let bytes = dataset.read_raw_bytes()?;
            Ok(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
        }
        ref other => bail!("values of type {other:?}, expected floating point"),
    }
}

fn is_bfloat16(dataset: &Dataset) -> bool {
    dataset.attribute("dtype").is_ok_and(|dtype| dtype.read_string().is_ok_and(|name| name == "bfloat16"))
}
