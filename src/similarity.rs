//! Which rows lie nearest to which, by cosine: matrix products of blocks of rows scaled to length 1.
//!
//! Every pair is looked at, so nothing is missed; a block at a time, so 100,000 rows take no more memory than
//! the rows themselves and two blocks.

use anyhow::Result;
use rayon::prelude::*;

use crate::kernel::{Matrix, product};

/// Rows of a block: a product of two fills 16 MB.
const BLOCK: usize = 2048;
/// Lists that one thread fills at a time.
const CHUNK: usize = 64;

/// A row and how near it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its index.
    pub row: usize,
    /// −1 to 1; 0 where a row is all zeros.
    pub cosine: f32,
}

/// The nearest of the rows seen so far, nearest first, of equally near ones the earlier row first.
#[derive(Debug, Clone)]
struct Nearest {
    found: Vec<Neighbour>,
    most: usize,
}

impl Nearest {
    /// Rows must come in their order.
    fn offer(&mut self, row: usize, cosine: f32) {
        let is_full = self.found.len() == self.most;
        if is_full && self.found.last().is_none_or(|last| cosine <= last.cosine) {
            return;
        }
        let place = self.found.partition_point(|other| other.cosine >= cosine);
        if is_full {
            self.found.pop();
        }
        self.found.insert(place, Neighbour { row, cosine });
    }
}

/// For each of the `queries` the `most` nearest of `rows`, nearest first.
///
/// # Panics
/// If two rows have different lengths.
pub fn nearest(queries: &[&[f32]], rows: &[&[f32]], most: usize) -> Vec<Vec<Neighbour>> {
    let mut lists = vec![Nearest { found: Vec::new(), most }; queries.len()];
    for (lists, queries) in lists.chunks_mut(BLOCK).zip(queries.chunks(BLOCK)) {
        let queries = Block::of(queries);
        for (index, rows) in rows.chunks(BLOCK).enumerate() {
            let cosines = queries.cosines(&Block::of(rows));
            offer_rows(lists, &cosines, rows.len(), index * BLOCK, |_, _| false);
        }
    }
    lists.into_iter().map(|list| list.found).collect()
}

/// For each row the `most` nearest of the others, nearest first. `done` hears of rows as their search ends.
///
/// # Errors
/// Those of `done`.
///
/// # Panics
/// If two rows have different lengths.
pub fn nearest_others(
    rows: &[&[f32]],
    most: usize,
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<Neighbour>>> {
    let mut lists = vec![Nearest { found: Vec::new(), most }; rows.len()];
    let blocks: Vec<&[&[f32]]> = rows.chunks(BLOCK).collect();
    for (index, block) in blocks.iter().enumerate() {
        let first = index * BLOCK;
        let left = Block::of(block);
        let own = &mut lists[first..first + block.len()];
        offer_rows(own, &left.cosines(&left), block.len(), first, |row, other| first + row == other);
        // What stands before this block has met it already.
        for (further, other) in blocks.iter().enumerate().skip(index + 1) {
            let cosines = left.cosines(&Block::of(other));
            let (before, behind) = lists.split_at_mut(further * BLOCK);
            offer_rows(&mut before[first..first + block.len()], &cosines, other.len(), further * BLOCK, |_, _| false);
            offer_columns(&mut behind[..other.len()], &cosines, first);
        }
        done(block.len())?;
    }
    Ok(lists.into_iter().map(|list| list.found).collect())
}

/// Rows of length 1, one behind the other.
struct Block {
    values: Vec<f32>,
    rows: usize,
}

impl Block {
    fn of(rows: &[&[f32]]) -> Self {
        let length = rows.first().map_or(0, |row| row.len());
        let mut values = vec![0.0; rows.len() * length];
        values.par_chunks_exact_mut(length.max(1)).zip(rows).for_each(|(unit, row)| {
            assert_eq!(row.len(), length, "rows of one length");
            let norm = norm(row);
            let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
            unit.iter_mut().zip(*row).for_each(|(unit, value)| *unit = value * scale);
        });
        Self { values, rows: rows.len() }
    }

    /// Of every row with every row of `other`.
    fn cosines(&self, other: &Block) -> Vec<f32> {
        let matrix = |block: &Block| block.values.len().checked_div(block.rows).unwrap_or(0);
        let left = Matrix::new(&self.values, self.rows, matrix(self));
        let mut cosines = product(left, Matrix::new(&other.values, other.rows, matrix(other)).t());
        // Rounding leaves some a little beyond.
        cosines.par_iter_mut().for_each(|cosine| *cosine = cosine.clamp(-1.0, 1.0));
        cosines
    }
}

/// The Euclidean length of a row.
pub fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32
}

/// Offers each row of `cosines` to its list; the first column is row `first`.
fn offer_rows(
    lists: &mut [Nearest],
    cosines: &[f32],
    width: usize,
    first: usize,
    is_itself: impl Fn(usize, usize) -> bool + Sync,
) {
    lists.par_iter_mut().zip(cosines.par_chunks_exact(width)).enumerate().for_each(|(row, (list, cosines))| {
        for (column, cosine) in cosines.iter().enumerate() {
            if !is_itself(row, first + column) {
                list.offer(first + column, *cosine);
            }
        }
    });
}

/// Offers each column of `cosines` to its list; the first row is row `first`.
fn offer_columns(lists: &mut [Nearest], cosines: &[f32], first: usize) {
    let width = lists.len();
    lists.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, lists)| {
        for (row, cosines) in cosines.chunks_exact(width).enumerate() {
            for (list, cosine) in lists.iter_mut().zip(&cosines[chunk * CHUNK..]) {
                list.offer(first + row, *cosine);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::values;

    const LENGTH: usize = 7;

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// Every cosine by its formula, sorted.
    fn oracle(query: &[f32], rows: &[&[f32]], but: Option<usize>, most: usize) -> Vec<(usize, f64)> {
        let others = (0..rows.len()).filter(|row| Some(*row) != but);
        let mut all: Vec<_> = others.map(|row| (row, cosine(query, rows[row]))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(most);
        all
    }

    #[track_caller]
    fn assert_same(found: &[Neighbour], expected: &[(usize, f64)]) {
        assert_eq!(found.len(), expected.len());
        for (found, (row, cosine)) in found.iter().zip(expected) {
            // Sums of seven products of at most 1.
            assert!((f64::from(found.cosine) - cosine).abs() < 1e-6, "{found:?}, expected {row} {cosine}");
        }
    }

    #[test]
    fn the_nearest_are_those_of_all_pairs_across_the_blocks() {
        for count in [1, 2, 5, BLOCK + 3, 2 * BLOCK + 1] {
            let values = values(1, count * LENGTH);
            let rows: Vec<&[f32]> = values.chunks_exact(LENGTH).collect();
            let mut heard = 0;
            let count_done = &mut |done| {
                heard += done;
                Ok(())
            };
            let found = nearest_others(&rows, 4, count_done).unwrap();
            let of_queries = nearest(&rows[..1], &rows, 4);
            assert_same(&of_queries[0], &oracle(rows[0], &rows, None, 4));
            for row in (0..count).step_by(97) {
                assert_same(&found[row], &oracle(rows[row], &rows, Some(row), 4));
            }
            assert_eq!(heard, count);
        }
    }

    #[test]
    fn of_equally_near_rows_the_earlier_comes_first() {
        let rows: Vec<&[f32]> = vec![&[1.0, 0.0], &[2.0, 0.0], &[0.0, 0.0], &[4.0, 0.0]];
        let found: Vec<usize> = nearest(&rows[1..2], &rows, 3)[0].iter().map(|neighbour| neighbour.row).collect();
        assert_eq!(found, [0, 1, 3]);
        let others = nearest_others(&rows, 9, &mut |_| Ok(())).unwrap();
        assert_eq!(others[0].iter().map(|other| other.row).collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!(others[2][0].cosine, 0.0);
    }

    #[test]
    fn a_cosine_is_never_beyond_one() {
        let values = values(2, 300 * 64);
        let rows: Vec<&[f32]> = values.chunks_exact(64).collect();
        let of_itself = nearest(&rows, &rows, 1);
        assert!(of_itself.iter().all(|near| (0.999..=1.0).contains(&near[0].cosine)), "{of_itself:?}");
        let all = Block::of(&rows);
        let exceeds = product(Matrix::new(&all.values, 300, 64), Matrix::new(&all.values, 300, 64).t());
        assert!(exceeds.iter().any(|cosine| *cosine > 1.0), "the rounding that this is about");
    }
}
