//! 3×3 max-pool with stride 2, and its gradient.
//!
//! Padding never wins: a window takes the largest of its pixels inside the picture.

use super::blocks::by_blocks;
use super::{Nhwc, inside, vectorized};
use crate::architecture::KERNEL;

const STRIDE: usize = 2;

/// Shapes of a 3×3/2 max-pool with `padding` rows and columns before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    pub input: Nhwc,
    /// Padding above and left of the input; what is needed below and right follows.
    pub padding: (usize, usize),
}

impl MaxPool {
    /// [N, ⌈H/2⌉, ⌈W/2⌉, C].
    pub fn output(&self) -> Nhwc {
        let Nhwc { n, h, w, c } = self.input;
        Nhwc { n, h: h.div_ceil(STRIDE), w: w.div_ceil(STRIDE), c }
    }

    /// Input pixels of an image that output pixel (h, w) looks at, in row order.
    #[inline(always)]
    fn window(self, h: usize, w: usize) -> impl Iterator<Item = usize> {
        let top = (STRIDE * h) as isize - self.padding.0 as isize;
        let left = (STRIDE * w) as isize - self.padding.1 as isize;
        let columns = inside(left, KERNEL, self.input.w);
        inside(top, KERNEL, self.input.h).flat_map(move |i| {
            let row = (top + i as isize) as usize * self.input.w;
            columns.clone().map(move |j| row + (left + j as isize) as usize)
        })
    }

    /// Input rows under a window of output row `h`; one outside the image is replaced by the nearest.
    #[inline(always)]
    pub(super) fn rows(self, h: usize) -> [usize; KERNEL] {
        clamped(h, self.padding.0, self.input.h)
    }

    /// Input columns under a window of output column `w`, likewise.
    #[inline(always)]
    pub(super) fn columns(self, w: usize) -> [usize; KERNEL] {
        clamped(w, self.padding.1, self.input.w)
    }
}

#[inline(always)]
fn clamped(output: usize, padding: usize, size: usize) -> [usize; KERNEL] {
    std::array::from_fn(|i| (STRIDE * output + i).saturating_sub(padding).min(size - 1))
}

/// Largest value of each window.
///
/// Shapes: `x` [N,H,W,C], the result [`MaxPool::output`].
///
/// Panics if `x` does not have its shape.
pub fn max_pool(x: &[f32], pool: MaxPool) -> Vec<f32> {
    let (input, output) = (pool.input, pool.output());
    assert_eq!(x.len(), input.elements(), "max-pool input");
    by_blocks(output.elements(), output.row(), |row, y| {
        y.fill(f32::NEG_INFINITY);
        let image = &x[row / output.h * input.image()..][..input.image()];
        vectorized(
            #[inline(always)]
            || {
                for (w, y) in y.chunks_exact_mut(output.c).enumerate() {
                    for pixel in pool.window(row % output.h, w) {
                        for (y, &x) in y.iter_mut().zip(&image[pixel * output.c..][..output.c]) {
                            *y = if x > *y { x } else { *y };
                        }
                    }
                }
            },
        );
    })
}

/// Sends each output's gradient to the first of its window's largest inputs, as PyTorch does.
///
/// Shapes: `x` and the result [N,H,W,C], `y` and `dy` [`MaxPool::output`].
///
/// Panics if a slice does not have its shape.
pub fn max_pool_backward(x: &[f32], y: &[f32], dy: &[f32], pool: MaxPool) -> Vec<f32> {
    let (input, output) = (pool.input, pool.output());
    assert_eq!(x.len(), input.elements(), "max-pool input");
    assert_eq!(y.len(), output.elements(), "max-pool output");
    assert_eq!(dy.len(), output.elements(), "max-pool gradient");
    by_blocks(x.len(), input.image(), |n, dx| {
        let (x, y, dy) = (&x[n * input.image()..], &y[n * output.image()..], &dy[n * output.image()..]);
        let mut left = vec![0.0; output.c];
        vectorized(
            #[inline(always)]
            || {
                for pixel in 0..output.h * output.w {
                    let at = pixel * output.c;
                    left.copy_from_slice(&dy[at..][..output.c]);
                    let window = pool.window(pixel / output.w, pixel % output.w);
                    backward_window(window, x, dx, &y[at..][..output.c], &mut left);
                }
            },
        );
    })
}

/// Gives each channel's gradient in `left` to the first pixel that has the window's maximum.
#[inline(always)]
fn backward_window(window: impl Iterator<Item = usize>, x: &[f32], dx: &mut [f32], y: &[f32], left: &mut [f32]) {
    for pixel in window {
        let x = &x[pixel * y.len()..][..y.len()];
        let dx = &mut dx[pixel * y.len()..][..y.len()];
        for (((x, y), dx), left) in x.iter().zip(y).zip(dx).zip(&mut *left) {
            let is_largest = x == y;
            *dx += if is_largest { *left } else { 0.0 };
            *left = if is_largest { 0.0 } else { *left };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::values;

    #[test]
    fn padding_before_the_first_pixel_shifts_the_windows() {
        let x: Vec<f32> = (0..16).map(|v| v as f32).collect();
        let input = Nhwc { n: 1, h: 4, w: 4, c: 1 };
        // TensorFlow SAME at an even size pads only after: windows start at pixel 0.
        assert_eq!(max_pool(&x, MaxPool { input, padding: (0, 0) }), [10., 11., 14., 15.]);
        // PyTorch's padding 1: windows start at pixel −1.
        assert_eq!(max_pool(&x, MaxPool { input, padding: (1, 1) }), [5., 7., 13., 15.]);
    }

    #[test]
    fn padding_never_wins_over_negative_pixels() {
        let input = Nhwc { n: 1, h: 3, w: 3, c: 2 };
        let y = max_pool(&[-1.0; 18], MaxPool { input, padding: (1, 1) });
        assert_eq!(y, [-1.0; 8]);
    }

    #[test]
    fn the_gradient_goes_to_the_first_of_equal_maxima_only() {
        let input = Nhwc { n: 1, h: 3, w: 3, c: 1 };
        let pool = MaxPool { input, padding: (1, 1) };
        let x = [0., 1., 0., 1., 1., 0., 0., 0., 0.];
        let y = max_pool(&x, pool);
        let dx = max_pool_backward(&x, &y, &[1., 10., 100., 1000.], pool);
        assert_eq!(dx, [0., 11., 0., 100., 1000., 0., 0., 0., 0.]);
    }

    #[test]
    fn no_gradient_is_lost_at_odd_sizes() {
        let input = Nhwc { n: 2, h: 7, w: 5, c: 19 };
        let pool = MaxPool { input, padding: (1, 1) };
        let x = values(1, input.elements());
        let y = max_pool(&x, pool);
        let dx = max_pool_backward(&x, &y, &vec![1.0; y.len()], pool);
        assert_eq!(dx.iter().sum::<f32>(), y.len() as f32);
    }
}
