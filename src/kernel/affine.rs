//! A factor and a summand per channel: batch normalisation with fixed statistics.

use rayon::prelude::*;

use super::vectorized;

/// Pixels that one task handles.
const PIXEL_BLOCK: usize = 64;

/// `y[p,c] = x[p,c] · scale[c] + shift[c]`.
///
/// Shapes: `x` and the result [P,C] for P pixels, `scale` and `shift` [C].
///
/// Panics if a slice does not have its shape.
pub fn affine(x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    let c = scale.len();
    assert_eq!(shift.len(), c, "affine shift");
    assert!(c > 0 && x.len().is_multiple_of(c), "affine input");
    let mut y = vec![0.0; x.len()];
    let blocks = y.par_chunks_mut(PIXEL_BLOCK * c).zip(x.par_chunks(PIXEL_BLOCK * c));
    blocks.for_each(|(y, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                        *y = x * scale + shift;
                    }
                }
            },
        );
    });
    y
}

/// `(dscale, dshift)`: per channel the sums of `dy · x` and of `dy` over the pixels.
///
/// Shapes: `x` and `dy` [P,C], the results [C].
///
/// Panics if a slice does not have its shape.
pub fn affine_backward(x: &[f32], dy: &[f32], c: usize) -> (Vec<f32>, Vec<f32>) {
    assert!(c > 0 && x.len().is_multiple_of(c), "affine input");
    assert_eq!(x.len(), dy.len(), "affine gradient");
    let (mut dscale, mut dshift) = (vec![0.0; c], vec![0.0; c]);
    vectorized(
        #[inline(always)]
        || {
            for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                for (((dscale, dshift), x), dy) in dscale.iter_mut().zip(dshift.iter_mut()).zip(x).zip(dy) {
                    *dscale += x * dy;
                    *dshift += dy;
                }
            }
        },
    );
    (dscale, dshift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_factor_and_summand() {
        assert_eq!(affine(&[1., 2., 3., 4.], &[10., 100.], &[1., -1.]), [11., 199., 31., 399.]);
    }

    #[test]
    fn gradients_are_summed_over_the_pixels() {
        let (dscale, dshift) = affine_backward(&[1., 2., 3., 4.], &[1., 10., 2., 20.], 2);
        assert_eq!((dscale, dshift), (vec![7., 100.], vec![3., 30.]));
    }
}
