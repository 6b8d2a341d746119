//! How a run of output pixels is cut into register tiles, and these at the ends of the image's rows.

use std::ops::Range;

/// A run of pixels in about equal tiles: no thin tile at the end. The memory is reused from run to run.
#[derive(Debug, Default)]
pub struct Tiles {
    pub pixels: Range<usize>,
    /// The pixels of each tile.
    pub tiles: Vec<Range<usize>>,
    pub segments: Vec<Segment>,
}

/// The part of a tile that lies in one row of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub row: usize,
    pub columns: Range<usize>,
    /// Rows of the tiles before its own, rows of its own, and its first row there.
    pub first_row: usize,
    pub rows: usize,
    pub offset: usize,
}

impl Segment {
    /// Where chunk `chunk` of `chunks` lies in memory packed tile by tile, each [chunks, rows].
    #[inline(always)]
    pub fn place(&self, chunk: usize, chunks: usize) -> Range<usize> {
        let start = self.first_row * chunks + chunk * self.rows + self.offset;
        start..start + self.columns.len()
    }
}

impl Tiles {
    /// Cuts `pixels` of an image `width` wide into `count` tiles, at most one for each pixel.
    pub fn cut(&mut self, pixels: Range<usize>, count: usize, width: usize) {
        self.tiles.clear();
        self.segments.clear();
        for index in 0..count {
            let tile = part(pixels.clone(), index, count);
            self.segments.extend(segments(tile.clone(), tile.start - pixels.start, width));
            self.tiles.push(tile);
        }
        self.pixels = pixels;
    }
}

/// The parts of a tile that lie in one row of an image each; `first_row` rows of tiles are before it.
pub fn segments(pixels: Range<usize>, first_row: usize, width: usize) -> impl Iterator<Item = Segment> {
    let rows = pixels.len();
    (pixels.start / width..pixels.end.div_ceil(width)).map(move |row| {
        let (start, end) = (pixels.start.max(row * width), pixels.end.min((row + 1) * width));
        let (columns, offset) = (start - row * width..end - row * width, start - pixels.start);
        Segment { row, columns, first_row, rows, offset }
    })
}

/// Part `index` of `count` about equal ones.
pub fn part(range: Range<usize>, index: usize, count: usize) -> Range<usize> {
    let bound = |index| range.start + range.len() * index / count;
    bound(index)..bound(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_run_without_gaps() {
        let mut tiles = Tiles::default();
        for (start, len, rows) in [(0, 1, 4), (3, 9, 4), (5, 361, 14), (0, 27, 14), (7, 100, 6)] {
            tiles.cut(start..start + len, usize::div_ceil(len, rows), 19);
            let mut covered = start;
            for tile in &tiles.tiles {
                assert!((1..=rows).contains(&tile.len()));
                assert_eq!(tile.start, covered);
                covered = tile.end;
            }
            assert_eq!(covered, start + len);
        }
    }

    #[test]
    fn segments_are_a_tile_s_pixels_row_by_row() {
        let mut tiles = Tiles::default();
        tiles.cut(5..25, 2, 8);
        let pixels = |segment: &Segment| segment.row * 8 + segment.columns.start..segment.row * 8 + segment.columns.end;
        let found: Vec<_> = tiles.segments.iter().map(pixels).collect();
        assert_eq!(found, [5..8, 8..15, 15..16, 16..24, 24..25]);
        assert_eq!(tiles.segments[1].place(2, 3), 2 * 10 + 3..2 * 10 + 10);
        assert_eq!(tiles.segments[4].place(0, 3), 10 * 3 + 9..10 * 3 + 10);
    }
}
