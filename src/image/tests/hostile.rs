//! Files that are no pictures, are cut, damaged or lie: an error with a remedy, never a panic.

use super::*;

fn error(bytes: &[u8]) -> String {
    let error = format!("{:#}", decode_whole(bytes).expect_err("expected an error"));
    assert!(!error.contains('\n'), "{error}");
    error
}

/// Small deterministic random numbers (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn pictures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut pictures: Vec<_> = std::fs::read_dir(fixtures().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| Kind::of_name(path).is_some_and(Kind::is_read))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    pictures.sort();
    assert!(pictures.len() >= if folder.is_empty() { 50 } else { 10 });
    pictures
}

#[test]
fn a_damaged_picture_is_an_error_or_a_picture_but_never_a_panic() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (name, whole) in pictures("").into_iter().chain(pictures("phones")) {
        for round in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(8) {
                // Headers are where the interesting lies are told: half of the hits go there.
                let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(700) };
                let at = random.below(reach);
                bytes[at] = [0, 1, 0x7F, 0xFF, random.below(256) as u8][random.below(5)];
            }
            if random.below(3) == 0 {
                bytes.truncate(random.below(bytes.len()) + 1);
            }
            match std::panic::catch_unwind(|| decode_whole(&bytes)) {
                Err(_) => panic!("{name}, round {round}: decode panicked"),
                Ok(Ok(picture)) => assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height),
                Ok(Err(error)) => assert!(!format!("{error:#}").contains('\n'), "{name}: {error:#}"),
            }
        }
    }
}

#[test]
fn a_picture_cut_in_half_is_reported_as_truncated() {
    for (name, whole) in pictures("") {
        // These hold a whole first picture in their first half.
        if ["animated.gif", "animated.webp"].contains(&name.as_str()) {
            continue;
        }
        let half =
            if matches!(name.as_str(), "two-in-one.mpo" | "trailing.jpg") { whole.len() / 4 } else { whole.len() / 2 };
        let error = error(&whole[..half]);
        assert!(error.starts_with("truncated: the ") && error.ends_with("; copy the file again"), "{name}: {error}");
    }
}

#[test]
fn a_jpeg_without_its_end_marker_is_truncated() {
    for name in ["rgb-420.jpg", "progressive-420.jpg", "non-interleaved-420.jpg", "grey.jpg"] {
        let whole = fixture(name);
        assert_eq!(error(&whole[..whole.len() - 2]), "truncated: the JPEG data ends early; copy the file again");
    }
}

#[test]
fn a_jpeg_that_misses_most_of_its_pixels_is_truncated_even_with_an_end_marker() {
    let whole = fixture("rgb-420.jpg");
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let mut cut = whole[..scan + 14 + 8].to_vec();
    cut.extend([0xFF, 0xD9]);
    assert!(error(&cut).starts_with("truncated"), "{}", error(&cut));
    // A scan per component, of which the last is missing.
    let whole = fixture("non-interleaved-420.jpg");
    let last = whole.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    let mut cut = whole[..last].to_vec();
    cut.extend([0xFF, 0xD9]);
    assert!(error(&cut).starts_with("truncated"), "{}", error(&cut));
}

#[test]
fn an_empty_file_a_text_file_and_a_foreign_picture_are_told_apart() {
    assert_eq!(error(b""), "the file is empty; copy it again");
    let kinds = Kind::all_read();
    assert!(kinds.starts_with("JPEG, PNG, WebP, GIF, BMP, RAW") && kinds.contains("TIFF"), "{kinds}");
    let text = format!("not a picture: supported formats are {kinds}; convert the file or leave it out");
    assert_eq!(error(b"just some notes\nin two lines\n"), text);
    assert_eq!(error(b"x"), text);
    let foreign = "a picture in OpenEXR, which this build can't read; convert it to JPEG or PNG";
    assert_eq!(error(b"\x76\x2f\x31\x01\x02\0\0\0channels\0"), foreign);
}

#[test]
fn a_header_that_announces_too_much_is_refused_before_memory_is_taken() {
    let expected = "too large: the header announces 60000×60000 pixels (3600 megapixels), the limit is 200 megapixels; \
                    scale it down";
    let side = 60_000_u32;
    let mut png = fixture("rgb.png");
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    let checksum = png_checksum(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(error(&png), expected);

    let mut gif = fixture("palette.gif");
    gif[6..8].copy_from_slice(&(side as u16).to_le_bytes());
    gif[8..10].copy_from_slice(&(side as u16).to_le_bytes());
    assert_eq!(error(&gif), expected);

    let mut bmp = fixture("rgb.bmp");
    bmp[18..22].copy_from_slice(&side.to_le_bytes());
    bmp[22..26].copy_from_slice(&side.to_le_bytes());
    assert_eq!(error(&bmp), expected);

    let mut tiff = fixture("rgb-raw.tif");
    for tag in [256_u16, 257, 278] {
        // width, height, rows per strip
        let entry = [tag.to_le_bytes(), 4_u16.to_le_bytes()].concat(); // the tag, of type LONG
        let at = tiff.windows(4).position(|bytes| bytes == entry).unwrap();
        tiff[at + 8..at + 12].copy_from_slice(&side.to_le_bytes());
    }
    assert_eq!(error(&tiff), expected);

    let mut webp = fixture("lossless.webp");
    // 14 bits for the width less one, 14 for the height.
    webp[21..25].copy_from_slice(&(16_382_u32 | 16_382 << 14).to_le_bytes());
    assert!(error(&webp).contains("16383×16383 pixels (268 megapixels)"), "{}", error(&webp));
}

#[test]
fn a_jpeg_header_that_announces_more_than_its_data_can_hold_is_refused() {
    let mut jpeg = fixture("rgb-420.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    let error = error(&jpeg);
    assert!(error.starts_with("too large: the header announces 60000×60000 pixels"), "{error}");
}

#[test]
fn a_deep_picture_that_takes_more_than_a_gibibyte_is_refused() {
    let mut png = fixture("rgb-16.png");
    png[16..20].copy_from_slice(&14_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&14_000_u32.to_be_bytes());
    let checksum = png_checksum(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = error(&png);
    assert!(error.contains("announces 14000×14000 pixels in 1121 MiB, the limit is 1024 MiB"), "{error}");
}

/// CRC-32 as PNG chunks carry it.
fn png_checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn a_file_that_cannot_be_read_says_so_without_its_path() {
    let error = read(std::path::Path::new("no/such.jpg")).unwrap_err().to_string();
    assert_eq!(error, "no such file; check the path");
    let error = read(std::path::Path::new("no/b\u{fffd}.jpg")).unwrap_err().to_string();
    assert_eq!(error, "no such file, and its name is not UTF-8; save the list as UTF-8, or rename the file");
    let error = read(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert_eq!(error, "a folder without pictures");
}
