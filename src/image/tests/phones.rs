//! Pictures of phones and cameras; `tests/data/images/phones.py` made them and asked libheif, libavif and libjxl.

use std::collections::BTreeMap;

use super::kinds::{Expected, fault};
use super::*;

/// The Cargo feature that a fixture needs, and whether this build has it.
fn feature(name: &str) -> Option<(&'static str, bool)> {
    match name.split(['-', '.']).next() {
        Some("heic") => Some(("heic", cfg!(feature = "heic"))),
        Some("avif") => Some(("avif", cfg!(feature = "avif"))),
        Some("jxl") => Some(("jxl", cfg!(feature = "jxl"))),
        _ => None,
    }
}

#[test]
fn every_picture_of_a_phone_is_read_as_its_reference_decoder_reads_it() {
    let cases: BTreeMap<String, Expected> = expectations("phones.json");
    assert!(cases.len() > 80);
    let is_read = |name: &str| feature(name).is_none_or(|(_, is_there)| is_there);
    let cases: Vec<_> = cases.iter().filter(|(name, _)| is_read(name)).collect();
    let faults: Vec<String> =
        cases.iter().filter_map(|(name, case)| Some(format!("{name} {}", fault("phones", name, case)?))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn a_build_without_a_decoder_names_the_feature_that_brings_it() {
    let cases: BTreeMap<String, Expected> = expectations("phones.json");
    for name in cases.keys() {
        let Some((feature, false)) = feature(name) else { continue };
        let error = decode_whole(&fixture(&format!("phones/{name}"))).unwrap_err().to_string();
        assert!(error.contains("which this build can't read; build it with `--features "), "{name}: {error}");
        assert!(error.contains(feature) && error.ends_with("or convert it to JPEG or PNG"), "{name}: {error}");
    }
}

#[test]
fn the_size_in_the_header_is_that_of_the_picture_before_it_is_turned() {
    let size = |name: &str| Facts::read(&fixture(&format!("phones/{name}"))).map(|facts| (facts.width, facts.height));
    if cfg!(feature = "heic") {
        assert_eq!(size("heic-grid-rotated.heic").unwrap(), (150, 100));
        assert_eq!(size("heic-sequence.heics").unwrap(), (64, 64));
    }
    if cfg!(feature = "jxl") {
        assert_eq!(size("jxl-of-jpeg.jxl").unwrap(), (72, 64));
    }
    assert_eq!(size("raw.nef").unwrap(), (168, 120));
}

#[test]
fn a_sequence_is_animated_and_a_still_picture_is_not() {
    let is_animated = |name: &str| Facts::read(&fixture(&format!("phones/{name}"))).unwrap().is_animated;
    if cfg!(feature = "heic") {
        assert!(is_animated("heic-sequence.heics") && !is_animated("heic-grid.heic"));
    }
    if cfg!(feature = "avif") {
        assert!(is_animated("avif-sequence.avifs") && is_animated("avif-sequence-alone.avifs"));
        assert!(!is_animated("avif-420.avif"));
    }
    if cfg!(feature = "jxl") {
        assert!(is_animated("jxl-animated.jxl") && !is_animated("jxl-lossy.jxl"));
    }
}

#[test]
#[cfg(feature = "heic")]
fn a_grid_whose_header_announces_too_much_is_refused_before_memory_is_taken() {
    let mut heic = fixture("phones/heic-grid.heic");
    let size = [150_u16, 100].map(u16::to_be_bytes).concat();
    let grid = [&[0, 0, 1, 2][..], &size].concat();
    let at = heic.windows(8).position(|window| window == grid).unwrap();
    heic[at + 4..at + 8].copy_from_slice(&[60_000_u16, 60_000].map(u16::to_be_bytes).concat());
    let error = decode_whole(&heic).unwrap_err().to_string();
    assert!(error.starts_with("too large: the header announces 60000×60000 pixels (3600 megapixels)"), "{error}");
    heic[at + 4..at + 8].copy_from_slice(&[600_u16, 100].map(u16::to_be_bytes).concat());
    let error = decode_whole(&heic).unwrap_err().to_string();
    assert!(error.starts_with("damaged HEIC: 3×2 tiles of 64×64 pixels don't fill 600×100"), "{error}");
}

#[test]
#[cfg(feature = "heic")]
fn a_brand_without_a_picture_is_named() {
    let start = [&[0, 0, 0, 28][..], b"ftyphevc\0\0\0\0mif1heic\0\0\0\0", &[0; 60]].concat();
    let error = decode_whole(&start).unwrap_err().to_string();
    assert!(error.starts_with("damaged HEIC: it says that it holds a picture, and has none"), "{error}");
}

/// Only the files' ends are missing, but their headers say how long they are.
#[test]
fn a_picture_of_a_phone_cut_in_half_is_truncated() {
    for name in ["heic-420.heic", "heic-grid.heic", "avif-444.avif", "jxl-lossy.jxl", "jxl-container.jxl", "raw.cr2"] {
        if feature(name).is_some_and(|(_, is_there)| !is_there) {
            continue;
        }
        let whole = fixture(&format!("phones/{name}"));
        let error = decode_whole(&whole[..whole.len() / 2]).unwrap_err().to_string();
        assert!(error.starts_with("truncated: the ") && error.ends_with("; copy the file again"), "{name}: {error}");
    }
}
