//! CCITT's codings of black and white: modified Huffman, Group 3 in one and two dimensions, Group 4.
//!
//! A row is the list of the columns where its colour changes, the first colour being white. In two dimensions a row
//! is told by how its changes differ from those of the row above. The code tables are the `fax` crate's, whose own
//! decoder knows of these kinds only Group 4, and of Group 3 only one dimension.
//! Source: ITU-T T.4 and T.6; TIFF 6.0, sections 10 and 11.

use std::convert::Infallible;

use anyhow::{Context, Result, ensure};
use fax::maps::{self, Mode};
use fax::{BitReader, ByteReader};

use crate::image::decode::truncated_message;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// One dimension, without end-of-line codes; each row begins on a byte, or on two.
    Rows {
        on_words: bool,
    },
    Group3 {
        is_2d: bool,
    },
    Group4,
}

/// Rows packed to bits, 1 being black.
///
/// # Errors
/// If there is a code that makes no sense, or fewer rows than `height`.
pub fn decode(packed: &[u8], width: usize, height: usize, coding: Coding) -> Result<Vec<u8>> {
    let mut source = Source::new(packed);
    let stride = width.div_ceil(8);
    let mut rows = vec![0; stride * height];
    let mut above = Vec::new();
    for (y, row) in rows.chunks_exact_mut(stride).enumerate() {
        let changes = match coding {
            Coding::Rows { on_words } => {
                source.align(if on_words { 16 } else { 8 });
                source.row_alone(width)
            }
            Coding::Group3 { is_2d } => {
                source.skip_line_ends();
                if is_2d && source.bit() == Some(0) { source.row_below(&above, width) } else { source.row_alone(width) }
            }
            Coding::Group4 => source.row_below(&above, width),
        };
        let changes = match changes {
            Some(Row::Changes(changes)) => changes,
            // Some writers leave white rows at the end out.
            Some(Row::End) if y > 0 => break,
            _ => {
                ensure!(!source.is_over(), truncated_message("TIFF"));
                None.context("damaged TIFF: a CCITT code that does not exist; copy the file again")?
            }
        };
        for run in changes.chunks(2) {
            let end = run.get(1).copied().unwrap_or(width);
            (run[0]..end).for_each(|x| row[x / 8] |= 0x80 >> (x % 8));
        }
        above = changes;
    }
    Ok(rows)
}

enum Row {
    /// Columns up to the width, never falling.
    Changes(Vec<usize>),
    End,
}

type Bits<'a> = ByteReader<Box<dyn Iterator<Item = std::result::Result<u8, Infallible>> + 'a>>;

struct Source<'a> {
    bits: Bits<'a>,
    /// Bits of the data, and how many of them have been read.
    length: usize,
    read: usize,
}

/// Counts what the tables take.
impl BitReader for Source<'_> {
    type Error = Infallible;

    fn peek(&self, bits: u8) -> Option<u16> {
        self.bits.peek(bits)
    }

    fn consume(&mut self, bits: u8) -> std::result::Result<(), Infallible> {
        self.read += usize::from(bits);
        self.bits.consume(bits)
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        self.bits.bits_to_byte_boundary()
    }
}

impl<'a> Source<'a> {
    fn new(packed: &'a [u8]) -> Self {
        // The tables look ahead, beyond the last code as well.
        let padded = packed.iter().copied().chain([0; 8]).map(Ok);
        let bits = Bits::new(Box::new(padded) as Box<dyn Iterator<Item = _>>).unwrap_or_else(|never| match never {});
        Self { bits, length: 8 * packed.len(), read: 0 }
    }

    fn is_over(&self) -> bool {
        self.read >= self.length
    }

    fn skip(&mut self, bits: usize) {
        for _ in 0..bits {
            let _ = self.consume(1);
        }
    }

    fn bit(&mut self) -> Option<u16> {
        let bit = self.peek(1);
        self.skip(1);
        bit
    }

    fn align(&mut self, to: usize) {
        self.skip(self.read.next_multiple_of(to) - self.read);
    }

    /// Passes over end-of-line codes, eleven zeros or more and a one; there need not be any.
    fn skip_line_ends(&mut self) {
        while self.peek(11) == Some(0) && !self.is_over() {
            while self.peek(1) == Some(0) && !self.is_over() {
                self.skip(1);
            }
            self.skip(1);
            // In two dimensions a bit follows each of them; the last is for the caller.
            if self.peek(12) == Some(0b1000_0000_0000) && self.peek(13) == Some(0b1_0000_0000_0001) {
                self.skip(1);
            }
        }
    }

    /// The length of a run: codes of 64 and more, then one below.
    fn run(&mut self, is_black: bool) -> Option<usize> {
        let mut sum = 0;
        loop {
            let code = if is_black { maps::black::decode(self)? } else { maps::white::decode(self)? };
            sum += usize::from(code);
            if self.read > self.length {
                return None;
            }
            if code < 64 {
                return Some(sum);
            }
        }
    }

    fn row_alone(&mut self, width: usize) -> Option<Row> {
        let (mut changes, mut x, mut is_black) = (Vec::new(), 0, false);
        while x < width {
            x += self.run(is_black)?;
            changes.push(x.min(width));
            is_black = !is_black;
        }
        (x == width).then_some(Row::Changes(changes))
    }

    /// A row told by the one above it.
    fn row_below(&mut self, above: &[usize], width: usize) -> Option<Row> {
        let mut changes: Vec<usize> = Vec::new();
        // Before the first column, where no change can be.
        let mut x: Option<usize> = None;
        let mut at = 0;
        while x.is_none_or(|x| x < width) {
            let is_black = changes.len() % 2 == 1;
            // The change above, right of here, to the colour that we have not.
            while at > 0 && x.is_none_or(|x| above[at - 1] > x) {
                at -= 1;
            }
            while above.get(at).is_some_and(|change| x.is_some_and(|x| *change <= x)) {
                at += 1;
            }
            at += usize::from((at % 2 == 1) != is_black);
            let above_at = |i: usize| above.get(i).copied().unwrap_or(width);
            match maps::mode::decode(self)? {
                Mode::Pass => x = Some(above_at(at + 1)),
                Mode::Vertical(by) => {
                    let change = above_at(at).checked_add_signed(isize::from(by))?;
                    if change > width || x.is_some_and(|x| change < x) {
                        return None;
                    }
                    changes.push(change);
                    x = Some(change);
                }
                Mode::Horizontal => {
                    let first = x.unwrap_or(0) + self.run(is_black)?;
                    let second = first + self.run(!is_black)?;
                    if second > width {
                        return None;
                    }
                    changes.extend([first, second]);
                    x = Some(second);
                }
                Mode::EOF if changes.is_empty() && x.is_none() => return Some(Row::End),
                Mode::EOF | Mode::Extension => return None,
            }
            at = at.min(above.len());
            if self.read > self.length {
                return None;
            }
        }
        Some(Row::Changes(changes))
    }
}
