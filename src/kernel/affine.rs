//! What follows a convolution's product: a summand per channel and the ReLU, and the ReLU's gradient.

use rayon::prelude::*;

use super::vectorized;

/// Values that one task handles.
const BLOCK: usize = 1 << 14;

/// `y[p,c] + shift[c]`, rectified if `relu`, in place.
///
/// Shapes: `y` [P,C] for P pixels, `shift` [C].
///
/// # Panics
/// If `y` is no whole number of pixels.
pub fn shift(y: &mut [f32], shift: &[f32], relu: bool) {
    let c = shift.len();
    assert!(c > 0 && y.len().is_multiple_of(c), "pixels to shift");
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    y.par_chunks_mut(BLOCK.div_ceil(c) * c).for_each(|y| {
        vectorized(
            #[inline(always)]
            || {
                for y in y.chunks_exact_mut(c) {
                    for (y, shift) in y.iter_mut().zip(shift) {
                        let sum = *y + shift;
                        // A NaN stays one, as in `f32::max` it would not.
                        *y = if sum < floor { floor } else { sum };
                    }
                }
            },
        );
    });
}

/// The gradient in front of a ReLU, given the one behind it: `dy` where the ReLU's output or input `y`
/// is above zero.
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward(dy: &[f32], y: &[f32]) -> Vec<f32> {
    assert_eq!(dy.len(), y.len(), "gradient of a ReLU");
    let mut dx = vec![0.0; dy.len()];
    let blocks = dx.par_chunks_mut(BLOCK).zip(dy.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK));
    blocks.for_each(|((dx, dy), y)| {
        vectorized(
            #[inline(always)]
            || {
                for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                    *dx = if *y > 0.0 { *dy } else { 0.0 };
                }
            },
        );
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_summand() {
        let mut y = [1., 2., 3., -4.];
        shift(&mut y, &[10., 1.], false);
        assert_eq!(y, [11., 3., 13., -3.]);
        shift(&mut y, &[0., 0.], true);
        assert_eq!(y, [11., 3., 13., 0.]);
    }

    #[test]
    fn what_is_not_a_number_passes_a_relu() {
        let mut y = [f32::NAN];
        shift(&mut y, &[0.], true);
        assert!(y[0].is_nan());
    }

    #[test]
    fn a_gradient_passes_a_relu_where_its_output_is_above_zero() {
        assert_eq!(relu_backward(&[1., 2., 3.], &[0., 5., -1.]), [0., 2., 0.]);
    }
}
