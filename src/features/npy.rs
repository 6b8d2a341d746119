//! numpy's array format, version 1.0, as far as features need it: little-endian float32, int64
//! and fixed-width text, C order.
//!
//! Source: `numpy.lib.format`.

use anyhow::{Context, Result, bail, ensure};

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The data starts at a multiple of this.
const ALIGNMENT: usize = 64;
/// Bytes of a character: numpy stores text as UTF-32.
const CHARACTER: usize = 4;

pub fn write_f32<'a>(values: impl Iterator<Item = &'a f32>, shape: &[usize]) -> Vec<u8> {
    write("<f4", shape, values.flat_map(|v| v.to_le_bytes()))
}

pub fn write_i64(values: &[i64]) -> Vec<u8> {
    write("<i8", &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()))
}

pub fn write_text(values: &[impl AsRef<str>]) -> Vec<u8> {
    let width = values.iter().map(|v| v.as_ref().chars().count()).max().unwrap_or(0).max(1);
    let padded = |text: &str| {
        let characters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        characters.flat_map(u32::to_le_bytes).collect::<Vec<_>>()
    };
    write(&format!("<U{width}"), &[values.len()], values.iter().flat_map(|v| padded(v.as_ref())))
}

fn write(descr: &str, shape: &[usize], data: impl Iterator<Item = u8>) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A Python tuple of one has a comma behind it.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = sizes.join(", ");
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// The values' bytes as they lie in the file.
pub fn read_f32(bytes: &[u8]) -> Result<&[u8]> {
    let (descr, data) = split(bytes)?;
    ensure!(descr == "<f4", "an array of {descr}, expected <f4");
    Ok(data)
}

pub fn read_i64(bytes: &[u8]) -> Result<Vec<i64>> {
    let (descr, data) = split(bytes)?;
    ensure!(descr == "<i8", "an array of {descr}, expected <i8");
    Ok(data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
}

pub fn read_text(bytes: &[u8]) -> Result<Vec<String>> {
    let (descr, data) = split(bytes)?;
    let width: usize = match descr.strip_prefix("<U").and_then(|width| width.parse().ok()) {
        Some(width @ 1..) => width,
        _ => bail!("an array of {descr}, expected <U"),
    };
    let text = |characters: &[u8]| {
        let codes = characters.as_chunks::<CHARACTER>().0.iter().map(|b| u32::from_le_bytes(*b));
        codes.take_while(|&code| code != 0).map(char::from_u32).collect::<Option<String>>()
    };
    let texts = data.chunks_exact(width.saturating_mul(CHARACTER)).map(text);
    texts.collect::<Option<_>>().context("text that is not Unicode")
}

/// The element type and the data. The shape is not read: its one unknown is the data's length.
fn split(bytes: &[u8]) -> Result<(String, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC).context("not a numpy array of version 1.0")?;
    let (length, rest) = rest.split_first_chunk::<2>().context("a numpy array without a header")?;
    let (header, data) =
        rest.split_at_checked(u16::from_le_bytes(*length).into()).context("a numpy array with a cut header")?;
    let header = std::str::from_utf8(header)?;
    ensure!(header.contains("'fortran_order': False"), "an array in Fortran order");
    let descr = header.split("'descr': '").nth(1).and_then(|rest| rest.split('\'').next());
    Ok((descr.context("an array without a type")?.to_owned(), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_byte_for_byte_what_numpy_saves() {
        // numpy.save of numpy.array([[1.0], [-2.0]], "<f4").
        let mut expected = MAGIC.to_vec();
        expected.extend([0x76, 0x00]);
        expected.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }");
        expected.resize(127, b' ');
        expected.push(b'\n');
        expected.extend([0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0xc0]);
        let ours = write_f32([1.0, -2.0].iter(), &[2, 1]);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn text_of_any_length_survives() {
        let texts = ["", "ä", "a/b c.jpg", "😀"];
        assert_eq!(read_text(&write_text(&texts)).unwrap(), texts);
        assert_eq!(read_text(&write_text(&[] as &[&str])).unwrap(), [] as [&str; 0]);
    }
}
