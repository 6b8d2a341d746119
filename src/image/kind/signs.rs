//! What tells a kind by a file's first bytes.

/// Something in the first bytes of a file.
#[derive(Debug)]
pub enum Sign {
    /// All of these, each from its offset on.
    Bytes(&'static [(usize, &'static [u8])]),
    /// An ISO media file (`ftyp`) that names one of these brands.
    Brand(&'static [&'static [u8; 4]]),
    Is(fn(&[u8]) -> bool),
}

impl Sign {
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Sign::Bytes(parts) => parts.iter().all(|(at, part)| bytes.get(*at..).is_some_and(|b| b.starts_with(part))),
            Sign::Brand(known) => brands(bytes).iter().any(|brand| known.contains(&brand)),
            Sign::Is(is) => is(bytes),
        }
    }
}

/// The brands to believe: the major one where it says how the picture is coded, otherwise all.
fn brands(bytes: &[u8]) -> &[[u8; 4]] {
    /// Some films list brands of pictures too.
    const FILMS: [&[u8; 4]; 4] = [b"isom", b"iso2", b"mp42", b"qt  "];
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return &[] };
    let Some(rest) = rest.strip_prefix(b"ftyp") else { return &[] };
    let length = (u32::from_be_bytes(*length) as usize).saturating_sub(8).min(rest.len());
    match rest[..length].as_chunks().0 {
        [major, ..] if FILMS.contains(&major) => &[],
        brands @ [major, ..] if matches!(&major[..3], b"hei" | b"hev" | b"avi" | b"crx") => &brands[..1],
        brands => brands,
    }
}

/// Two letters are little: the size of the header that follows is small, too.
pub fn is_bmp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BM") && bytes.get(15..18).is_some_and(|high| high == [0; 3])
}

/// A sensor's data in a file built like TIFF, whose first directory is a small copy of the picture or has tags of its
/// own for sensors. Source: TIFF 6.0; TIFF/EP; the DNG specification 1.7.
pub fn is_raw_tiff(bytes: &[u8]) -> bool {
    const NEW_SUBFILE_TYPE: u16 = 254;
    const PHOTOMETRIC: u16 = 262;
    const MAKE: u16 = 271;
    const SUB_IFDS: u16 = 330;
    const DNG_VERSION: u16 = 50706;
    /// A sensor's mosaic, and the same with all colours filled in.
    const SENSOR: [u32; 2] = [32803, 34892];
    let is_little = bytes.starts_with(b"II*\0");
    if !is_little && !bytes.starts_with(b"MM\0*") {
        return false;
    }
    let short = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let Some(directory) = long(4).map(|at| at as usize) else { return false };
    let entries = (0..usize::from(short(directory).unwrap_or(0))).map(|entry| directory + 2 + 12 * entry);
    let find = |tag: u16| entries.clone().find(|&at| short(at) == Some(tag));
    let number = |tag: u16| {
        let at = find(tag)?;
        if short(at + 2) == Some(3) { short(at + 8).map(u32::from) } else { long(at + 8) }
    };
    let is_small_copy = number(NEW_SUBFILE_TYPE).is_some_and(|kind| kind & 1 == 1);
    find(DNG_VERSION).is_some()
        || number(PHOTOMETRIC).is_some_and(|kind| SENSOR.contains(&kind))
        || is_small_copy && find(SUB_IFDS).is_some() && find(MAKE).is_some()
}

/// A drawing, whatever remarks stand before it.
pub fn is_svg(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = ["<svg", "<?xml", "<!--", "<!DOCTYPE svg"].iter().any(|start| text.starts_with(start));
    begins && text.contains("<svg")
}

/// Source of C: `#define NAME_width 16`.
pub fn is_x_bitmap(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"#define ") && line.windows(7).any(|part| part == b"_width ")
}

/// PBM, PGM, PPM, PAM and PFM.
pub fn is_netpbm(bytes: &[u8]) -> bool {
    let [b'P', b'1'..=b'7' | b'F' | b'f', space, next, ..] = bytes else { return false };
    space.is_ascii_whitespace() && (next.is_ascii_digit() || b"#W".contains(next) || next.is_ascii_whitespace())
}

/// An icon or a pointer of Windows: a directory of pictures.
pub fn is_icon(bytes: &[u8]) -> bool {
    let [0, 0, 1 | 2, 0, count @ 1..=255, 0, _, _, _, 0, ..] = bytes else { return false };
    // The first picture stands behind the directory.
    let offset = bytes.get(18..22).and_then(|offset| offset.first_chunk()).map(|offset| u32::from_le_bytes(*offset));
    offset.is_some_and(|offset| offset >= 6 + 16 * u32::from(*count))
}

pub fn is_pcx(bytes: &[u8]) -> bool {
    matches!(bytes, [10, 0 | 2..=5, 0 | 1, 1 | 2 | 4 | 8, ..]) && bytes.get(64) == Some(&0)
}

/// It begins without a word of what it is; version 2 ends with one, the header of either has few liberties.
pub fn is_targa(bytes: &[u8]) -> bool {
    let size = |at: usize| bytes.get(at..at + 2).is_some_and(|size| size != [0, 0]);
    let is_plain = matches!(bytes, [_, 0, 2 | 3 | 10 | 11, 0, 0, 0, 0, 0, ..]);
    let has_palette = matches!(bytes, [_, 1, 1 | 9, _, _, _, _, 15 | 16 | 24 | 32, ..]);
    let has_depth = matches!(bytes.get(16..18), Some([8 | 15 | 16 | 24 | 32, descriptor]) if descriptor & 0xc0 == 0);
    bytes.ends_with(b"TRUEVISION-XFILE.\0") || (is_plain || has_palette) && has_depth && size(12) && size(14)
}
