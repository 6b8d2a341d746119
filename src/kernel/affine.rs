//! What follows a convolution's product: a factor and a summand per channel and the ReLU; and the
//! gradient in front of these.

use rayon::prelude::*;

use super::vectorized;

/// Values that one task handles.
const BLOCK: usize = 1 << 14;

/// `y[p,c] · scale[c] + shift[c]`, rectified if `relu`, in place.
///
/// Shapes: `y` [P,C] for P pixels, `scale` and `shift` [C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn affine(y: &mut [f32], scale: &[f32], shift: &[f32], relu: bool) {
    let c = scale.len();
    assert!(c > 0 && shift.len() == c && y.len().is_multiple_of(c), "affine map");
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    y.par_chunks_mut(BLOCK.div_ceil(c) * c).for_each(|y| {
        vectorized(
            #[inline(always)]
            || {
                for y in y.chunks_exact_mut(c) {
                    for ((y, scale), shift) in y.iter_mut().zip(scale).zip(shift) {
                        let value = *y * scale + shift;
                        // A NaN stays one, as in `f32::max` it would not.
                        *y = if value < floor { floor } else { value };
                    }
                }
            },
        );
    });
}

/// The gradient in front of [`affine`], given its result `y` and the gradient of that.
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
    let mut dx = vec![0.0; dy.len()];
    let block = BLOCK.div_ceil(c) * c;
    let blocks = dx.par_chunks_mut(block).zip(dy.par_chunks(block)).zip(y.par_chunks(block));
    blocks.for_each(|((dx, dy), y)| {
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
    });
    dx
}

/// `a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "sum");
    let mut sum = vec![0.0; a.len()];
    let blocks = sum.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((sum, a), b)| sum.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum = a + b));
    sum
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
    fn each_channel_has_its_own_factor_and_summand() {
        let mut y = [1., 2., 3., -4.];
        affine(&mut y, &[10., 1.], &[0., 1.], false);
        assert_eq!(y, [10., 3., 30., -3.]);
        affine(&mut y, &[1., 1.], &[0., 0.], true);
        assert_eq!(y, [10., 3., 30., 0.]);
    }

    #[test]
    fn what_is_not_a_number_passes_a_relu() {
        let mut y = [f32::NAN];
        affine(&mut y, &[1.], &[0.], true);
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
