//! New values, computed block by block on all threads.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// `len` values. `compute` gets every block of `block` values with its number, the last perhaps shorter, and
/// finds zeros in it. Each thread clears what it is about to fill, in its caches: to clear everything first,
/// on one thread, took a twentieth of a training step's time.
pub fn by_blocks(len: usize, block: usize, compute: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    by_blocks_within(len, len, block, |_, index, values| compute(index, values)).0
}

/// Like [`by_blocks`], with blocks that never reach over a multiple of `image`: `compute` gets the number of
/// the image and that of the block within it. What it returns comes back in the order of the blocks.
pub fn by_blocks_within<R: Send>(
    image: usize,
    len: usize,
    block: usize,
    compute: impl Fn(usize, usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let mut values = Vec::with_capacity(len);
    let room = &mut values.spare_capacity_mut()[..len];
    let compute = &compute;
    let blocks = room.par_chunks_mut(image.max(1)).enumerate().flat_map(|(n, room)| {
        room.par_chunks_mut(block.max(1)).enumerate().map(move |(index, room)| {
            room.fill(MaybeUninit::new(0.0));
            // SAFETY: all of the block has just been written.
            compute(n, index, unsafe { room.assume_init_mut() })
        })
    });
    let results = blocks.collect();
    // SAFETY: the blocks cover all `len` values, for which there is room, and each has been written.
    unsafe { values.set_len(len) };
    (values, results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_block_and_zero_at_first() {
        for (len, block) in [(0, 4), (1, 4), (8, 4), (10, 3), (5, 0)] {
            let values = by_blocks(len, block, |index, values| {
                for (offset, value) in values.iter_mut().enumerate() {
                    *value += (index * block.max(1) + offset) as f32;
                }
            });
            assert_eq!(values, (0..len).map(|v| v as f32).collect::<Vec<_>>());
        }
    }
}
