//! Which files are taken for pictures, and of which kind.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::image::kind::{KINDS, NO_PICTURES};

fn name_of(bytes: &[u8]) -> Option<&'static str> {
    Kind::of_bytes(bytes).map(|kind| kind.name)
}

fn media(major: &[u8; 4], compatible: &[&[u8; 4]]) -> Vec<u8> {
    let length = (16 + 4 * compatible.len()) as u32;
    let brands = compatible.iter().flat_map(|brand| **brand);
    let start = length.to_be_bytes().into_iter().chain(*b"ftyp").chain(*major).chain([0; 4]);
    start.chain(brands).chain(*b"\0\0\0\x08mdat").collect()
}

#[test]
fn a_kind_is_told_by_the_first_bytes_that_pillow_writes() {
    let kinds: BTreeMap<String, Vec<String>> = expectations("recognition.json");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    assert!(kinds.len() > 15);
    for (kind, files) in kinds {
        for (index, file) in files.iter().enumerate() {
            let bytes: Vec<u8> = file.as_bytes().chunks(2).map(byte).collect();
            assert_eq!(name_of(&bytes), Some(kind.as_str()), "file {index}");
        }
    }
}

#[test]
fn a_brand_among_the_compatible_ones_tells_heic_from_avif() {
    for brand in [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"] {
        assert_eq!(name_of(&media(brand, &[b"mif1"])), Some("HEIC"));
        assert_eq!(name_of(&media(b"mif1", &[b"mif1", brand])), Some("HEIC"));
    }
    assert_eq!(name_of(&media(b"msf1", &[])), Some("HEIC"));
    assert_eq!(name_of(&media(b"avis", &[b"msf1"])), Some("AVIF"));
    assert_eq!(name_of(&media(b"mif1", &[b"mif1", b"avif", b"miaf"])), Some("AVIF"));
    assert_eq!(name_of(&media(b"heic", &[b"avif"])), Some("HEIC"));
    assert_eq!(name_of(&media(b"crx ", &[b"crx ", b"isom"])), Some("RAW"));
    assert_eq!(name_of(&media(b"isom", &[b"isom", b"mp41", b"avif"])), None);
    assert_eq!(name_of(&media(b"qt  ", &[b"qt  "])), None);
}

#[test]
fn a_tiff_whose_first_picture_is_a_sensors_small_copy_is_raw() {
    let tiff = |tags: &[(u16, u32)], is_big_endian: bool| {
        let short = |n: u16| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let start: &[u8] = if is_big_endian { b"MM\0*" } else { b"II*\0" };
        let entry = |&(tag, value): &(u16, u32)| [&short(tag)[..], &short(4), &long(1), &long(value)].concat();
        let entries = tags.iter().flat_map(entry);
        [start, &long(8), &short(tags.len() as u16)].concat().into_iter().chain(entries).collect::<Vec<u8>>()
    };
    for is_big_endian in [true, false] {
        let name = |tags: &[(u16, u32)]| name_of(&tiff(tags, is_big_endian));
        assert_eq!(name(&[(254, 1), (271, 0), (330, 0)]), Some("RAW"));
        assert_eq!(name(&[(262, 32803)]), Some("RAW"));
        assert_eq!(name(&[(254, 0), (271, 0), (330, 0)]), Some("TIFF"));
        assert_eq!(name(&[(262, 2)]), Some("TIFF"));
    }
}

#[test]
fn text_and_films_are_no_pictures_whatever_they_begin_with() {
    let texts =
        ["", "B", "BM is a bank", "P1", "Personal notes", "II", "FF", "<html><svg/></html>", "#define x 1", "\n"];
    for text in texts {
        assert_eq!(name_of(text.as_bytes()), None, "{text}");
    }
    assert_eq!(name_of(b"<?xml version=\"1.0\"?>\n<!-- by hand -->\n<svg xmlns='x'/>"), Some("SVG"));
    assert_eq!(name_of(&[0; 64]), None);
}

#[test]
fn a_files_extension_counts_in_any_case_and_with_dots_and_spaces_behind_it() {
    let name = |path: &str| Kind::of_name(Path::new(path)).map(|kind| kind.name);
    for path in ["a.jpg", "a/b.c.JPG", "c.jpg.", "b.jpg ", "b.Jpeg. ."] {
        assert_eq!(name(path), Some("JPEG"), "{path}");
    }
    assert_eq!(["IMG_1.HEIC", "a.dng", "a.jxl"].map(name), [Some("HEIC"), Some("RAW"), Some("JPEG XL")]);
    assert_eq!(["jpg", ".jpg", "a.jpgx", "a.jpg/b", ""].map(name), [None; 5]);
}

#[test]
fn a_file_is_a_picture_by_its_name_or_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let is_picture = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        crate::image::is_picture(&path)
    };
    let jpeg = fixture("grey.jpg");
    assert!(is_picture("noextension", &jpeg) && is_picture("a.jpg_large", &jpeg) && is_picture("a.2024", &jpeg));
    assert!(is_picture("broken.jpg", b"") && is_picture("a.psd", b""));
    assert!(!is_picture("README", b"about these pictures") && !is_picture("b.bin", &[0; 4096]));
    // A name can be wrong; what begins with a weak sign is still no picture.
    assert!(is_picture("IMG_1.jpg.txt", &jpeg) && !is_picture("film.mp4", b"\0\0\0\x18ftypisom"));
    assert!(!is_picture("page.html", b"<?xml version='1.0'?><html><svg/></html>"));
    assert!(!is_picture("film.thm", &jpeg));
}

#[test]
fn no_extension_is_of_two_kinds() {
    let mut all: Vec<&str> = KINDS.iter().flat_map(|kind| kind.extensions).copied().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(!all.iter().any(|extension| NO_PICTURES.contains(extension)));
}
