//! Files of other kinds, cut off, or with changed bytes: an error, never a panic.

use std::fs::{self, File};
use std::path::Path;

use xcept::weights::{keras, pytorch};

use crate::fixture::{Fixture, entry, error_of};

#[test]
fn files_of_other_kinds_are_told_what_was_expected() {
    let error = error_of(&Fixture::new("picture.h5", b"GIF89a and so on"));
    assert!(error.ends_with("neither HDF5 nor zip, expected a Keras file (.keras, .weights.h5, .h5)"), "{error}");
    let checkpoint = Fixture::unpack("empty.pth");
    let error = format!("{:#}", keras::read(&checkpoint.path).err().unwrap());
    assert!(error.contains("no `config.json` in the zip (it holds empty/data.pkl"), "{error}");
    let error = error_of(&Fixture::new("picture.pth", b"GIF89a and so on"));
    assert!(error.contains("not a readable PyTorch checkpoint"), "{error}");
    assert!(keras::read(Path::new("/nowhere/x.keras")).is_err());
}

/// splitmix64: the same places on every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }
}

/// Mutated copies to read of each file; `XCEPT_MUTATIONS=2000` for a longer run.
fn mutations() -> usize {
    std::env::var("XCEPT_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

#[test]
fn truncated_files_are_errors() {
    let mut random = Seeded(1);
    for name in ["nested_empty.h5", "nested_empty.keras", "nested.keras", "nameless.weights.h5", "missing.pth"] {
        let whole = fs::read(&Fixture::unpack(name).path).unwrap();
        for _ in 0..mutations() / 4 {
            let cut = random.below(whole.len());
            error_of(&Fixture::new(name, &whole[..cut]));
        }
    }
}

#[test]
fn files_with_changed_bytes_are_read_or_refused_without_a_panic() {
    let mut random = Seeded(2);
    for name in ["nested_empty.h5", "missing.h5", "nested_empty.keras", "empty.pth"] {
        let whole = fs::read(&Fixture::unpack(name).path).unwrap();
        for _ in 0..mutations() {
            let fixture = Fixture::new(name, &mutated(&whole, &mut random));
            // Most changes fall on metadata; one on a value leaves the file readable.
            let _ = keras::read(&fixture.path);
            let _ = pytorch::read(&fixture.path);
        }
    }
}

#[test]
fn a_changed_configuration_is_read_or_refused_without_a_panic() {
    let nested = Fixture::unpack("nested_empty.keras");
    let config = entry(File::open(&nested.path).unwrap(), "config.json");
    let mut random = Seeded(3);
    for _ in 0..mutations() {
        let _ = keras::read(&Fixture::keras(&mutated(&config, &mut random)).path);
    }
}

/// One to eight bytes changed.
fn mutated(whole: &[u8], random: &mut Seeded) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(8) {
        let place = random.below(bytes.len());
        bytes[place] = random.below(256) as u8;
    }
    bytes
}
