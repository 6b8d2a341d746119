//! Depthwise 3×3 convolution, stride 1, padding 1, and the gradient of its weights.
//!
//! The gradient of its input is the same convolution with the kernel turned by 180°.

use rayon::prelude::*;

use super::{Nhwc, inside, vectorized};
use crate::architecture::KERNEL;

/// Channels that one task of the weight gradient handles; a multiple of every vector width.
const CHANNEL_BLOCK: usize = 64;

/// `y[n,h,w,c] = Σ x[n,h+i−1,w+j−1,c] · weight[3i+j,c]`, zeros beyond the border.
///
/// Shapes: `x` and the result [N,H,W,C], `weight` [9,C].
///
/// Panics if a slice does not have its shape.
pub fn depthwise(x: &[f32], shape: Nhwc, weight: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(weight.len(), KERNEL * KERNEL * shape.c, "depthwise weight");
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(shape.row().max(1)).enumerate().for_each(|(row, y)| {
        let (image, h) = (row / shape.h, row % shape.h);
        let image = &x[image * shape.image()..][..shape.image()];
        vectorized(
            #[inline(always)]
            || depthwise_row(image, shape, h, weight, y),
        );
    });
    y
}

#[inline(always)]
fn depthwise_row(image: &[f32], shape: Nhwc, h: usize, weight: &[f32], y: &mut [f32]) {
    let c = shape.c;
    for (w, y) in y.chunks_exact_mut(c).enumerate() {
        for i in inside(h as isize - 1, KERNEL, shape.h) {
            let row = &image[(h + i - 1) * shape.row()..][..shape.row()];
            for j in inside(w as isize - 1, KERNEL, shape.w) {
                let x = &row[(w + j - 1) * c..][..c];
                let weight = &weight[(KERNEL * i + j) * c..][..c];
                for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                    *y += x * weight;
                }
            }
        }
    }
}

/// `dweight[3i+j,c] = Σ x[n,h+i−1,w+j−1,c] · dy[n,h,w,c]`.
///
/// Shapes: `x` and `dy` [N,H,W,C], the result [9,C].
///
/// Panics if a slice does not have its shape.
pub fn depthwise_backward_weight(x: &[f32], dy: &[f32], shape: Nhwc) -> Vec<f32> {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(dy.len(), shape.elements(), "depthwise gradient");
    let c = shape.c;
    let blocks: Vec<Vec<f32>> = (0..c.div_ceil(CHANNEL_BLOCK))
        .into_par_iter()
        .map(|block| {
            let first = block * CHANNEL_BLOCK;
            let channels = first..c.min(first + CHANNEL_BLOCK);
            vectorized(
                #[inline(always)]
                || backward_weight_block(x, dy, shape, channels),
            )
        })
        .collect();
    let mut dweight = vec![0.0; KERNEL * KERNEL * c];
    for (block, sums) in blocks.iter().enumerate() {
        let width = sums.len() / (KERNEL * KERNEL);
        for (tap, sums) in sums.chunks_exact(width).enumerate() {
            dweight[tap * c + block * CHANNEL_BLOCK..][..width].copy_from_slice(sums);
        }
    }
    dweight
}

/// The [9, channels] part of the weight gradient.
#[inline(always)]
fn backward_weight_block(x: &[f32], dy: &[f32], shape: Nhwc, channels: std::ops::Range<usize>) -> Vec<f32> {
    let (c, width) = (shape.c, channels.len());
    let mut sums = vec![0.0; KERNEL * KERNEL * width];
    for n in 0..shape.n {
        for h in 0..shape.h {
            for i in inside(h as isize - 1, KERNEL, shape.h) {
                let x_row = n * shape.image() + (h + i - 1) * shape.row();
                let dy_row = n * shape.image() + h * shape.row();
                for w in 0..shape.w {
                    let dy = &dy[dy_row + w * c + channels.start..][..width];
                    for j in inside(w as isize - 1, KERNEL, shape.w) {
                        let x = &x[x_row + (w + j - 1) * c + channels.start..][..width];
                        let sums = &mut sums[(KERNEL * i + j) * width..][..width];
                        for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                            *sum += x * dy;
                        }
                    }
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{largest_difference, values};

    /// One output element at a time, as the formula says.
    fn oracle(x: &[f32], s: Nhwc, weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        for (index, y) in y.iter_mut().enumerate() {
            let (c, w) = (index % s.c, index / s.c % s.w);
            let (h, n) = (index / s.row() % s.h, index / s.image());
            for (i, j) in (0..9).map(|t| (t / 3, t % 3)) {
                let (h, w) = (h + i, w + j);
                if (1..=s.h).contains(&h) && (1..=s.w).contains(&w) {
                    *y += x[((n * s.h + h - 1) * s.w + w - 1) * s.c + c] * weight[(3 * i + j) * s.c + c];
                }
            }
        }
        y
    }

    const SHAPES: [Nhwc; 5] = [
        Nhwc { n: 1, h: 1, w: 1, c: 1 },
        Nhwc { n: 2, h: 2, w: 3, c: 15 },
        Nhwc { n: 1, h: 5, w: 4, c: 17 },
        Nhwc { n: 3, h: 3, w: 1, c: 65 },
        Nhwc { n: 1, h: 7, w: 9, c: 130 },
    ];

    #[test]
    fn depthwise_equals_the_formula_at_odd_sizes() {
        for shape in SHAPES {
            let (x, weight) = (values(1, shape.elements()), values(2, 9 * shape.c));
            // The same nine products in the same order: at most a contraction's rounding apart.
            assert!(largest_difference(&depthwise(&x, shape, &weight), &oracle(&x, shape, &weight)) < 1e-6);
        }
    }

    #[test]
    fn the_weight_gradient_is_the_derivative_of_the_linear_map() {
        // ⟨dy, depthwise(x, e)⟩ for each unit weight e is that weight's gradient.
        let shape = Nhwc { n: 2, h: 4, w: 3, c: 67 };
        let (x, dy) = (values(3, shape.elements()), values(4, shape.elements()));
        let dweight = depthwise_backward_weight(&x, &dy, shape);
        for index in [0, 66, 67, 5 * 67 + 64, 9 * 67 - 1] {
            let mut unit = vec![0.0; 9 * shape.c];
            unit[index] = 1.0;
            let y = oracle(&x, shape, &unit);
            let expected: f32 = y.iter().zip(&dy).map(|(y, dy)| y * dy).sum();
            assert!((dweight[index] - expected).abs() < 1e-5, "{index}");
        }
    }
}
