//! Unpacks the fixtures, makes edited ones, and reads what should fail.

use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use xcept::weights::{RawTensor, keras, pytorch};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// A fixture unpacked into a folder that is removed with it.
pub struct Fixture {
    _folder: TempDir,
    pub path: PathBuf,
}

impl Fixture {
    pub fn new(name: &str, content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        Self { _folder: folder, path }
    }

    /// A file out of `keras.zip` or `pytorch.zip`.
    pub fn unpack(name: &str) -> Self {
        Self::unpack_from(if name.ends_with(".pth") { "pytorch.zip" } else { "keras.zip" }, name)
    }

    /// A file out of one of the archives.
    pub fn unpack_from(archive: &str, name: &str) -> Self {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/weights").join(archive);
        let inner = entry(File::open(archive).unwrap(), name);
        Self::new(name, &entry(Cursor::new(inner), name))
    }

    /// A `.keras` file with the configuration of `nested_empty.keras` after `edit`, without weights.
    pub fn configured(edit: impl FnOnce(&mut Value)) -> Self {
        let nested = Self::unpack("nested_empty.keras");
        let json = entry(File::open(&nested.path).unwrap(), "config.json");
        let mut config = serde_json::from_slice(&json).unwrap();
        edit(&mut config);
        Self::keras(&config.to_string().into_bytes())
    }

    /// A `.keras` file of `keras.zip` with its configuration after `edit`.
    pub fn reconfigured(name: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let whole = fs::read(Self::unpack(name).path).unwrap();
        let of = |name: &str| entry(Cursor::new(&whole), name);
        let mut config = serde_json::from_slice(&of("config.json")).unwrap();
        edit(&mut config);
        let config = config.to_string().into_bytes();
        Self::archive(&[("config.json", &config), ("model.weights.h5", &of("model.weights.h5"))])
    }

    pub fn keras(config: &[u8]) -> Self {
        Self::archive(&[("config.json", config)])
    }

    fn archive(entries: &[(&str, &[u8])]) -> Self {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        Self::new("edited.keras", &zip.finish().unwrap().into_inner())
    }
}

pub fn entry(archive: impl Read + std::io::Seek, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ZipArchive::new(archive).unwrap().by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn error_of(fixture: &Fixture) -> String {
    let result = match fixture.path.extension() {
        Some(extension) if extension == "pth" => pytorch::read(&fixture.path),
        _ => keras::read(&fixture.path),
    };
    format!("{:#}", result.expect_err("an error"))
}

/// A value by formula as `make.py` stores it in the tensor of this name: a variance is not negative.
pub fn of_kind(tensor: &str, value: f32) -> f32 {
    if tensor.ends_with(".running_var") { value.abs() } else { value }
}

/// Every value of small tensors, every eleventh of large ones: unoptimized builds are slow.
pub fn sampled(tensor: &RawTensor) -> impl Iterator<Item = usize> {
    let step = if tensor.data.len() > 1 << 14 { 11 } else { 1 };
    (0..tensor.data.len()).step_by(step)
}
