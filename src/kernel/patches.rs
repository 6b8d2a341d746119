//! The pixels under each position of a kernel, side by side (im2col), and their gradient.
//!
//! With them an ordinary convolution without padding is one matrix product.

use super::Nhwc;
use super::blocks::by_blocks;

/// Shapes of a `kernel`×`kernel` window moved by `stride` over an input without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    pub input: Nhwc,
    pub kernel: usize,
    pub stride: usize,
}

impl Patches {
    /// [N, H', W', kernel·kernel·C] with H' = (H − kernel) / stride + 1.
    pub fn output(&self) -> Nhwc {
        let Nhwc { n, h, w, c } = self.input;
        let size = |size: usize| (size - self.kernel) / self.stride + 1;
        Nhwc { n, h: size(h), w: size(w), c: self.kernel * self.kernel * c }
    }

    /// Offset in an image of the first pixel of kernel row `i` at output pixel (h, w).
    fn offset(&self, h: usize, w: usize, i: usize) -> usize {
        (h * self.stride + i) * self.input.row() + w * self.stride * self.input.c
    }
}

/// Copies each window's pixels, in the order [kernel row, kernel column, channel].
///
/// Shapes: `x` [N,H,W,C], the result [`Patches::output`].
///
/// Panics if `x` does not have its shape.
pub fn patches(x: &[f32], p: Patches) -> Vec<f32> {
    let (input, output) = (p.input, p.output());
    assert_eq!(x.len(), input.elements(), "patches input");
    let width = p.kernel * input.c;
    by_blocks(output.elements(), output.row(), |row, y| {
        let image = &x[row / output.h * input.image()..][..input.image()];
        for (w, y) in y.chunks_exact_mut(output.c).enumerate() {
            for (i, y) in y.chunks_exact_mut(width).enumerate() {
                y.copy_from_slice(&image[p.offset(row % output.h, w, i)..][..width]);
            }
        }
    })
}

/// Adds each patch's gradient back to the pixels it was copied from.
///
/// Shapes: `dy` [`Patches::output`], the result [N,H,W,C].
///
/// Panics if `dy` does not have its shape.
pub fn patches_backward(dy: &[f32], p: Patches) -> Vec<f32> {
    let (input, output) = (p.input, p.output());
    assert_eq!(dy.len(), output.elements(), "patches gradient");
    let width = p.kernel * input.c;
    by_blocks(input.elements(), input.image(), |n, dx| {
        let dy = &dy[n * output.image()..][..output.image()];
        for (pixel, dy) in dy.chunks_exact(output.c).enumerate() {
            for (i, dy) in dy.chunks_exact(width).enumerate() {
                let dx = &mut dx[p.offset(pixel / output.w, pixel % output.w, i)..][..width];
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::values;

    const STEM: Patches = Patches { input: Nhwc { n: 2, h: 7, w: 6, c: 3 }, kernel: 3, stride: 2 };

    #[test]
    fn a_patch_holds_the_pixels_under_the_kernel() {
        let x: Vec<f32> = (0..STEM.input.elements()).map(|v| v as f32).collect();
        let (y, output) = (patches(&x, STEM), STEM.output());
        assert_eq!((output.h, output.w, output.c), (3, 2, 27));
        // Image 1, output pixel (2, 1), kernel tap (1, 2), channel 0: input pixel (5, 4).
        let at = ((output.h + 2) * output.w + 1) * output.c + (3 + 2) * 3;
        assert_eq!(y[at], (((7 + 5) * 6 + 4) * 3) as f32);
    }

    #[test]
    fn the_gradient_is_the_transpose_of_the_copy() {
        let (x, dy) = (values(1, STEM.input.elements()), values(2, STEM.output().elements()));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let difference = dot(&patches(&x, STEM), &dy) - dot(&x, &patches_backward(&dy, STEM));
        assert!(difference.abs() < 1e-4, "{difference}");
    }
}
