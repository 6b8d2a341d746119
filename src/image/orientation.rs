//! Which way up a picture is: EXIF's orientation or, where there is none, that of XMP.
//!
//! Pillow's `ImageOps.exif_transpose` is the measure: any whole number serves, whatever its type; a value that is
//! none of the eight turns nothing, and keeps XMP from being asked all the same.
//! Source: TIFF 6.0, tag 274; EXIF 2.32, 4.5.4; XMP specification, part 3.

use ::image::metadata::Orientation;

use super::tiff::Directory;

const ORIENTATION: u16 = 274;
/// What begins an APP1 segment of JPEG.
const EXIF_HEADER: &[u8] = b"Exif\0\0";
const XMP_HEADER: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// What a file carries beside its pixels.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub exif: Option<Vec<u8>>,
    pub xmp: Option<Vec<u8>>,
}

impl Metadata {
    /// EXIF that is spread over several segments is joined; of several XMP packets the last counts.
    pub fn of_jpeg(segments: impl Iterator<Item = (u8, impl AsRef<[u8]>)>) -> Self {
        const APP1: u8 = 0xE1;
        let mut found = Self::default();
        for (_, segment) in segments.filter(|(marker, _)| *marker == APP1) {
            if let Some(part) = segment.as_ref().strip_prefix(EXIF_HEADER) {
                found.exif.get_or_insert_default().extend(part);
            } else if let Some(packet) = segment.as_ref().strip_prefix(XMP_HEADER) {
                found.xmp = Some(packet.to_vec());
            }
        }
        found
    }

    pub fn orientation(&self) -> Orientation {
        let exif = self.exif.as_deref().and_then(|exif| of_exif(exif.strip_prefix(EXIF_HEADER).unwrap_or(exif)));
        resolve(exif, self.xmp.as_deref())
    }
}

/// `exif` is the value of the tag, if there is one.
pub(super) fn resolve(exif: Option<u64>, xmp: Option<&[u8]>) -> Orientation {
    let value = exif.or_else(|| xmp.and_then(of_xmp));
    let known = value.and_then(|value| u8::try_from(value).ok()).and_then(Orientation::from_exif);
    known.unwrap_or(Orientation::NoTransforms)
}

fn of_exif(exif: &[u8]) -> Option<u64> {
    value(&Directory::first(exif).ok()?)
}

/// The tag's value in a directory, the first if it has several; one that makes no sense is 0.
pub(super) fn value(directory: &Directory) -> Option<u64> {
    let whole = |value: f64| value.fract() == 0.0 && value >= 0.0;
    directory.has(ORIENTATION).then(|| match directory.numbers(ORIENTATION).as_deref() {
        Some(&[value, ..]) if whole(value) => value as u64,
        _ => 0,
    })
}

/// The digit of the first `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn of_xmp(packet: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let starts = packet.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    starts.map(|(at, _)| &packet[at + NAME.len()..]).find_map(|rest| {
        let rest = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        let digit = rest.first().filter(|byte| byte.is_ascii_digit())?;
        Some(u64::from(digit - b'0'))
    })
}
