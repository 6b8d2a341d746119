//! What follows a convolution's product: a factor and a summand per channel and the ReLU; and the
//! gradient in front of these.

use std::ops::Range;

use super::blocks::by_blocks;
use super::vectorized;

/// Values that one task handles.
const BLOCK: usize = 1 << 14;

/// A factor and a summand for each channel, [C] each, and a ReLU behind them if `relu`.
#[derive(Debug, Clone, Copy)]
pub struct AffineMap<'a> {
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub relu: bool,
}

impl AffineMap<'_> {
    /// `y[c] · scale[c] + shift[c]`, rectified or not, in place.
    ///
    /// Shapes: `y` is the part `channels` of [C].
    #[inline(always)]
    pub(super) fn apply(&self, y: &mut [f32], channels: Range<usize>) {
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let factors = self.scale[channels.clone()].iter().zip(&self.shift[channels]);
        for (y, (scale, shift)) in y.iter_mut().zip(factors) {
            let value = *y * scale + shift;
            // A NaN stays one, as in `f32::max` it would not.
            *y = if value < floor { floor } else { value };
        }
    }
}

/// The gradient in front of an [`AffineMap`], given its result `y` and the gradient of that.
///
/// Shapes: `dy`, `y` and the result [P,C], `scale` [C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn affine_backward(dy: &[f32], y: &[f32], scale: &[f32], relu: bool) -> Vec<f32> {
    let c = scale.len();
    assert!(dy.len() == y.len() && c > 0 && y.len().is_multiple_of(c), "gradient of an affine map");
    // Where there is no ReLU, every result lets the gradient pass.
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let block = BLOCK.div_ceil(c) * c;
    by_blocks(dy.len(), block, |index, dx| {
        let (dy, y) = (part(dy, index * block, dx.len()), part(y, index * block, dx.len()));
        vectorized(
            #[inline(always)]
            || {
                for ((dx, dy), y) in dx.chunks_exact_mut(c).zip(dy.chunks_exact(c)).zip(y.chunks_exact(c)) {
                    for (((dx, dy), y), scale) in dx.iter_mut().zip(dy).zip(y).zip(scale) {
                        *dx = if *y > floor { *dy * scale } else { 0.0 };
                    }
                }
            },
        );
    })
}

/// `len` values from `start` on.
fn part(values: &[f32], start: usize, len: usize) -> &[f32] {
    &values[start..start + len]
}

/// `a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "sum");
    by_blocks(a.len(), BLOCK, |index, sum| {
        let (a, b) = (part(a, index * BLOCK, sum.len()), part(b, index * BLOCK, sum.len()));
        sum.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum = a + b);
    })
}

/// The gradient in front of a ReLU, given the one behind it: `dy` where the ReLU's output or input `y`
/// is above zero.
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward(dy: &[f32], y: &[f32]) -> Vec<f32> {
    assert_eq!(dy.len(), y.len(), "gradient of a ReLU");
    by_blocks(dy.len(), BLOCK, |index, dx| {
        let (dy, y) = (part(dy, index * BLOCK, dx.len()), part(y, index * BLOCK, dx.len()));
        vectorized(
            #[inline(always)]
            || {
                for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                    *dx = if *y > 0.0 { *dy } else { 0.0 };
                }
            },
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_factor_and_summand() {
        let map = |relu| AffineMap { scale: &[10., 1.], shift: &[0., 1.], relu };
        let (mut y, mut part) = ([1., -2.], [-4.]);
        map(false).apply(&mut y, 0..2);
        assert_eq!(y, [10., -1.]);
        map(true).apply(&mut part, 1..2);
        assert_eq!(part, [0.]);
    }

    #[test]
    fn what_is_not_a_number_passes_a_relu() {
        let mut y = [f32::NAN];
        AffineMap { scale: &[1.], shift: &[0.], relu: true }.apply(&mut y, 0..1);
        assert!(y[0].is_nan());
    }

    #[test]
    fn a_gradient_takes_each_channel_s_factor_where_the_relu_lets_it_pass() {
        let (dy, y, scale) = ([1., 2., 3., 4.], [5., 0., 0., 6.], [10., 100.]);
        assert_eq!(affine_backward(&dy, &y, &scale, true), [10., 0., 0., 400.]);
        assert_eq!(affine_backward(&dy, &y, &scale, false), [10., 200., 30., 400.]);
    }

    #[test]
    fn a_sum_is_taken_element_by_element() {
        let a: Vec<f32> = (0..BLOCK + 3).map(|v| v as f32).collect();
        let expected: Vec<f32> = a.iter().map(|v| 2.0 * v).collect();
        assert_eq!(add(&a, &a), expected);
    }

    #[test]
    fn a_gradient_passes_a_relu_where_its_output_is_above_zero() {
        assert_eq!(relu_backward(&[1., 2., 3.], &[0., 5., -1.]), [0., 2., 0.]);
    }
}
