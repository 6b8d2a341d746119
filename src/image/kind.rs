//! The kinds of picture files: their names, extensions and first bytes, and which of them this build reads.
//!
//! The one table that a walk through a folder, the decoder and the audit's check of extensions draw from. Sources of
//! the first bytes: each format's specification; for HEIF and AVIF the brands of ISO/IEC 23008-12 and of AVIF 1.1.

mod signs;

use std::io::Read;
use std::path::Path;

use signs::Sign::{self, Brand, Bytes, Is};
use signs::{is_bmp, is_icon, is_netpbm, is_pcx, is_raw_tiff, is_svg, is_targa, is_x_bitmap};

/// Bytes from the beginning of a file that tell its kind.
const HEAD: u64 = 1024;

/// A kind of picture files.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// In lower case.
    pub extensions: &'static [&'static str],
    /// Each of them is enough.
    signs: &'static [Sign],
    /// What reads it; none for a kind that this build can't read.
    pub(super) codec: Option<Codec>,
    /// The Cargo feature that a build needs to read it.
    feature: Option<&'static str>,
}

/// What reads pictures of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    #[cfg(any(feature = "heic", feature = "avif"))]
    Heif,
    #[cfg(feature = "jxl")]
    JpegXl,
    /// The preview that the camera made.
    Raw,
}

#[cfg(feature = "heic")]
const HEIC: Option<Codec> = Some(Codec::Heif);
#[cfg(not(feature = "heic"))]
const HEIC: Option<Codec> = None;
#[cfg(feature = "avif")]
const AVIF: Option<Codec> = Some(Codec::Heif);
#[cfg(not(feature = "avif"))]
const AVIF: Option<Codec> = None;
#[cfg(feature = "jxl")]
const JPEG_XL: Option<Codec> = Some(Codec::JpegXl);
#[cfg(not(feature = "jxl"))]
const JPEG_XL: Option<Codec> = None;

/// What the first bytes tell is asked in this order: a RAW file may begin as TIFF does, and the last have weak signs.
pub(super) static KINDS: [Kind; 46] = [
    read("JPEG", &["jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "mpo", "jps"], JPEG, Codec::Jpeg),
    read("PNG", &["png", "apng"], &[Bytes(&[(0, b"\x89PNG\r\n\x1a\n")])], Codec::Png),
    read("WebP", &["webp"], &[Bytes(&[(0, b"RIFF"), (8, b"WEBP")])], Codec::WebP),
    read("GIF", &["gif"], &[Bytes(&[(0, b"GIF87a")]), Bytes(&[(0, b"GIF89a")])], Codec::Gif),
    read("BMP", &["bmp", "dib"], &[Is(is_bmp)], Codec::Bmp),
    read("RAW", RAW_EXTENSIONS, RAW, Codec::Raw),
    read("TIFF", &["tif", "tiff"], TIFF, Codec::Tiff),
    optional("AVIF", &["avif", "avifs"], &[Brand(&[b"avif", b"avis"])], AVIF, "avif"),
    optional("HEIC", &["heic", "heif", "hif", "heics", "heifs"], &[Brand(HEIF_BRANDS)], HEIC, "heic"),
    optional("JPEG XL", &["jxl"], JPEG_XL_SIGNS, JPEG_XL, "jxl"),
    unread("JPEG 2000", &["jp2", "j2k", "jpf", "jpx", "jpm", "j2c", "jpc"], JPEG_2000),
    unread("JPEG XR", &["jxr", "wdp", "hdp"], &[Bytes(&[(0, b"II\xbc\x01")]), Bytes(&[(0, b"II\xbc\0")])]),
    unread("Photoshop", &["psd", "psb"], &[Bytes(&[(0, b"8BPS")])]),
    unread("GIMP", &["xcf"], &[Bytes(&[(0, b"gimp xcf")])]),
    unread("OpenEXR", &["exr"], &[Bytes(&[(0, b"\x76\x2f\x31\x01")])]),
    unread("Radiance HDR", &["rgbe"], &[Bytes(&[(0, b"#?RADIANCE")]), Bytes(&[(0, b"#?RGBE")])]),
    unread("DPX", &["dpx"], &[Bytes(&[(0, b"SDPX")]), Bytes(&[(0, b"XPDS")])]),
    unread("Cineon", &["cin"], &[Bytes(&[(0, b"\x80\x2a\x5f\xd7")])]),
    unread("DjVu", &["djvu", "djv"], &[Bytes(&[(0, b"AT&TFORM"), (12, b"DJV")])]),
    unread("JPEG XS", &["jxs"], &[Bytes(&[(0, b"\0\0\0\x0cJXS \r\n\x87\n")])]),
    unread("OpenRaster", &["ora"], &[Bytes(&[(0, b"PK"), (30, b"mimetypeimage/openraster")])]),
    unread("Krita", &["kra"], &[Bytes(&[(0, b"PK"), (30, b"mimetypeapplication/x-krita")])]),
    unread("BLP", &["blp"], &[Bytes(&[(0, b"BLP1")]), Bytes(&[(0, b"BLP2")])]),
    unread("LIVP", &["livp"], &[]),
    unread("PICT", &["pict", "pct"], &[Bytes(&[(522, b"\0\x11\x02\xff")])]),
    unread("WBMP", &["wbmp"], &[]),
    unread("XBM", &["xbm"], &[Is(is_x_bitmap)]),
    unread("QOI", &["qoi"], &[Bytes(&[(0, b"qoif")])]),
    unread("DICOM", &["dcm", "dicom"], &[Bytes(&[(128, b"DICM")])]),
    unread("FITS", &["fits"], &[Bytes(&[(0, b"SIMPLE  =")])]),
    unread("DDS", &["dds"], &[Bytes(&[(0, b"DDS ")])]),
    unread("BPG", &["bpg"], &[Bytes(&[(0, b"BPG\xfb")])]),
    unread("FLIF", &["flif"], &[Bytes(&[(0, b"FLIF")])]),
    unread("MNG", &["mng", "jng"], &[Bytes(&[(0, b"\x8aMNG\r\n\x1a\n")]), Bytes(&[(0, b"\x8bJNG\r\n\x1a\n")])]),
    unread("ICNS", &["icns"], &[Bytes(&[(0, b"icns")])]),
    unread("farbfeld", &["ff"], &[Bytes(&[(0, b"farbfeld")])]),
    unread("Sun raster", &["ras"], &[Bytes(&[(0, b"\x59\xa6\x6a\x95")])]),
    unread("SGI", &["sgi"], &[Bytes(&[(0, b"\x01\xda\0")]), Bytes(&[(0, b"\x01\xda\x01")])]),
    unread("XPM", &["xpm"], &[Bytes(&[(0, b"/* XPM */")])]),
    unread(
        "EPS",
        &["eps", "epsf"],
        &[Bytes(&[(0, b"%!PS-Adobe-"), (14, b" EPSF")]), Bytes(&[(0, b"\xc5\xd0\xd3\xc6")])],
    ),
    unread("WMF", &["wmf", "emf"], &[Bytes(&[(0, b"\xd7\xcd\xc6\x9a")]), Bytes(&[(0, b"\x01\0\0\0"), (40, b" EMF")])]),
    unread("SVG", &["svg", "svgz"], &[Is(is_svg)]),
    unread("PNM", &["pnm", "pbm", "pgm", "ppm", "pam", "pfm"], &[Is(is_netpbm)]),
    unread("ICO", &["ico", "cur"], &[Is(is_icon)]),
    unread("PCX", &["pcx"], &[Is(is_pcx)]),
    unread("TGA", &["tga", "icb", "vda"], &[Is(is_targa)]),
];

const JPEG: &[Sign] = &[Bytes(&[(0, b"\xff\xd8\xff")])];
/// The second pair is BigTIFF.
const TIFF: &[Sign] = &[
    Bytes(&[(0, b"II*\0")]),
    Bytes(&[(0, b"MM\0*")]),
    Bytes(&[(0, b"II+\0\x08\0\0\0")]),
    Bytes(&[(0, b"MM\0+\0\x08\0\0")]),
];
const JPEG_XL_SIGNS: &[Sign] = &[Bytes(&[(0, b"\xff\x0a")]), Bytes(&[(0, b"\0\0\0\x0cJXL \r\n\x87\n")])];
const JPEG_2000: &[Sign] = &[Bytes(&[(0, b"\0\0\0\x0cjP  \r\n\x87\n")]), Bytes(&[(0, b"\xff\x4f\xff\x51")])];
const HEIF_BRANDS: &[&[u8; 4]] =
    &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"];
#[rustfmt::skip]
const RAW_EXTENSIONS: &[&str] = &[
    "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "dng", "orf", "rw2", "rwl", "raf", "pef", "srw", "3fr",
    "fff", "iiq", "mrw", "x3f", "erf", "kdc", "dcr", "mef", "mos", "gpr",
];
const RAW: &[Sign] = &[
    Bytes(&[(0, b"II*\0"), (8, b"CR\x02\0")]),
    Brand(&[b"crx "]),
    Bytes(&[(0, b"II\x1a\0\0\0HEAPCCDR")]),
    Bytes(&[(0, b"IIRO\x08\0")]),
    Bytes(&[(0, b"IIRS\x08\0")]),
    Bytes(&[(0, b"MMOR\0\0")]),
    Bytes(&[(0, b"IIU\0")]),
    Bytes(&[(0, b"FUJIFILMCCD-RAW ")]),
    Bytes(&[(0, b"\0MRM")]),
    Bytes(&[(0, b"FOVb")]),
    Is(is_raw_tiff),
];

/// Extensions of files that lie among pictures and are none, unless they hold a picture of a kind that is read.
#[rustfmt::skip]
pub(super) const NO_PICTURES: &[&str] = &[
    // Text, tables, documents.
    "txt", "text", "md", "rst", "log", "csv", "tsv", "json", "jsonl", "geojson", "ndjson", "xml", "xmp", "yaml", "yml",
    "toml", "ini", "cfg", "conf", "html", "htm", "css", "pdf", "doc", "docx", "odt", "rtf", "xls", "xlsx", "ods",
    "ppt", "pptx", "tex", "bib", "srt", "names", "classes", "url", "webloc", "lnk", "md5", "sha1", "sha256",
    // Programs and data.
    "py", "pyc", "ipynb", "js", "ts", "rs", "c", "h", "cpp", "java", "r", "m", "sh", "bat", "ps1", "exe", "dll", "so",
    "db", "sqlite", "sqlite3", "sql", "mat", "npy", "npz", "h5", "hdf5", "keras", "pth", "pt", "onnx", "pkl", "pickle",
    "safetensors", "parquet", "arrow", "feather", "tfrecord", "tfrecords", "lmdb", "mdb", "record",
    // Films, sound, archives.
    "mp4", "mov", "avi", "mkv", "webm", "m4v", "3gp", "mpg", "mpeg", "mts", "m2ts", "wmv", "flv", "lrv", "insv",
    "mp3", "wav", "m4a", "flac", "ogg", "oga", "aac", "aiff", "amr", "opus", "wma", "zip", "gz", "tgz", "bz2", "xz",
    "zst", "7z", "rar", "tar", "iso",
    // What cameras, phones and programs keep beside their pictures; .thm is the small picture of a film.
    "aae", "thm", "ctg", "dop", "pp3", "cos", "cop", "cot", "lrcat", "picasa", "gpx", "kml", "plist",
];

const fn read(name: &'static str, extensions: &'static [&'static str], signs: &'static [Sign], codec: Codec) -> Kind {
    Kind { name, extensions, signs, codec: Some(codec), feature: None }
}

/// A kind that is read where the build has a feature.
const fn optional(
    name: &'static str,
    extensions: &'static [&'static str],
    signs: &'static [Sign],
    codec: Option<Codec>,
    feature: &'static str,
) -> Kind {
    Kind { name, extensions, signs, codec, feature: Some(feature) }
}

const fn unread(name: &'static str, extensions: &'static [&'static str], signs: &'static [Sign]) -> Kind {
    Kind { name, extensions, signs, codec: None, feature: None }
}

impl Kind {
    /// The kind that `bytes`, a file or its beginning, is of.
    pub fn of_bytes(bytes: &[u8]) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.signs.iter().any(|sign| sign.is_in(bytes)))
    }

    /// The kind that the file's extension says.
    pub fn of_name(path: &Path) -> Option<&'static Self> {
        let extension = extension(path)?;
        KINDS.iter().find(|kind| kind.extensions.contains(&extension.as_str()))
    }

    pub fn is_read(&self) -> bool {
        self.codec.is_some()
    }

    /// What to do about a picture of a kind that this build can't read.
    pub(super) fn refusal(&self) -> String {
        let feature = self.feature.map(|feature| format!("build it with `--features {feature}`, or "));
        let feature = feature.unwrap_or_default();
        format!("a picture in {}, which this build can't read; {feature}convert it to JPEG or PNG", self.name)
    }

    /// The kinds that this build reads, for a sentence.
    pub fn all_read() -> String {
        let names: Vec<&str> = KINDS.iter().filter(|kind| kind.is_read()).map(|kind| kind.name).collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }
}

/// Whether a file in a folder is taken for a picture: by its name or by its first bytes. One that can't be opened is none
/// that anybody could tell.
pub fn is_picture(path: &Path) -> bool {
    if Kind::of_name(path).is_some() {
        return true;
    }
    let extension = extension(path);
    let extension = extension.as_deref().unwrap_or_default();
    // The small picture of a film.
    if extension == "thm" {
        return false;
    }
    // A pipe would keep its reader waiting.
    let kind = || path.is_file().then(|| Kind::of_bytes(&head(path).ok()?)).flatten();
    // Text and data may begin as the kinds with weak signs do.
    kind().is_some_and(|kind| !NO_PICTURES.contains(&extension) || kind.is_read())
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// The extension in lower case, without the dots and spaces that other systems leave behind a name.
pub fn extension(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (stem, extension) = name.trim_end_matches(['.', ' ']).rsplit_once('.')?;
    (!stem.is_empty()).then(|| extension.to_owned())
}
