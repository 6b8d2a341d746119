//! Each fused convolution against its formula in float64, one value at a time.

use super::*;
use crate::kernel::Nhwc;
use crate::kernel::testing::{largest_difference, values};

/// [H,W,C] in blocks of channels, zeros beyond C.
fn blocked(x: &[f32], image: Image) -> Buffer {
    let mut out = Buffer::zeros(image.vectors());
    for (index, x) in x.iter().enumerate() {
        let (pixel, c) = (index / image.c, index % image.c);
        out[c / LANES * image.pixels() + pixel][c % LANES] = *x;
    }
    out
}

/// Zero beyond the border.
fn at(x: &[f32], image: Image, h: usize, w: usize, c: usize, before: usize) -> f32 {
    let inside = (before..image.h + before).contains(&h) && (before..image.w + before).contains(&w);
    if inside { x[((h - before) * image.w + w - before) * image.c + c] } else { 0.0 }
}

/// What the product multiplies, [pixels, K], one value at a time.
fn gathered(inputs: &Inputs, depthwise: &[f32], x: &[f32], image: Image, out: Image) -> Vec<f64> {
    let positions = (0..out.pixels()).map(|pixel| (pixel / out.w, pixel % out.w));
    let mut gathered = Vec::new();
    for (h, w) in positions {
        let mut taps = |kernel: usize, stride: usize| {
            for (i, j) in (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel)) {
                for c in 0..image.c {
                    gathered.push(at(x, image, h * stride + i, w * stride + j, c, 0).into());
                }
            }
        };
        match inputs {
            Inputs::Picture { stride } => taps(3, *stride),
            Inputs::Window(window) => taps(window.kernel, window.stride),
            Inputs::Depthwise { relu, .. } => gathered.extend((0..image.c).map(|c| {
                let product = |tap: usize| {
                    let x = at(x, image, h + tap / 3, w + tap % 3, c, 1);
                    f64::from(if *relu { x.max(0.0) } else { x }) * f64::from(depthwise[9 * c + tap])
                };
                (0..9).map(product).sum::<f64>()
            })),
        }
    }
    gathered
}

/// Checks a convolution on every instruction set, with each residual, on one thread and on three.
fn check(inputs: &Inputs, depthwise: &[f32], image: Image, out_shape: Image) {
    let x = values(1, image.elements());
    let channels = match inputs {
        Inputs::Picture { .. } => 27,
        Inputs::Depthwise { .. } => image.c,
        Inputs::Window(window) => image.c * window.kernel * window.kernel,
    };
    let (n, pixels) = (out_shape.c, out_shape.pixels());
    let (weight, scale, bias) = (values(2, n * channels), values(3, n), values(4, n));
    let gathered = gathered(inputs, depthwise, &x, image, out_shape);
    let residual = values(5, out_shape.elements());
    let (height, width) = (2 * out_shape.h - 1, 2 * out_shape.w);
    let pool = MaxPool { input: Nhwc { n: 1, h: height, w: width, c: n }, padding: (1, 0) };
    let unpooled = values(6, height * width * n);
    let pooled = crate::kernel::max_pool(&unpooled, pool);
    let input = match inputs {
        Inputs::Picture { .. } => x.clone(),
        Inputs::Depthwise { .. } | Inputs::Window(_) => blocked(&x, image).as_flattened().to_vec(),
    };
    let blocked_residual = blocked(&residual, out_shape);
    let blocked_pool = blocked(&unpooled, Image { h: height, w: width, c: n });
    let cases = [
        (Residual::None, None, true),
        (Residual::Sum(&blocked_residual), Some(&residual), false),
        (Residual::MaxPool(&blocked_pool, pool), Some(&pooled), false),
    ];
    for (isa, threads) in Isa::all().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]) {
        let panels = Panels::new(isa, channels, &bias);
        let mut weights = Buffer::zeros(panels.vectors());
        panels.pack(|start, out| out.copy_from_slice(&weight[start..][..out.len()]), &scale, &mut weights);
        for (residual, added, relu) in cases {
            let (panels, weights, x, x_shape) = (&panels, &weights[..], &input[..], image);
            let convolve = Convolve { inputs, panels, weights, residual, relu, x, x_shape, out_shape };
            let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::new(isa, channels.max(n))).collect();
            let mut out = Buffer::zeros(out_shape.vectors());
            out.as_flattened_mut().fill(f32::NAN);
            convolve.run(&mut scratch, &mut out);
            let mut expected = vec![0.0; pixels * n];
            for (index, expected) in expected.iter_mut().enumerate() {
                let (pixel, n) = (index / n, index % n);
                let row = weight[n * channels..][..channels].iter();
                let products = row.zip(&gathered[pixel * channels..]).map(|(w, x)| f64::from(*w) * x);
                let added = added.map_or(0.0, |added| added[index]);
                let sum = products.sum::<f64>() * f64::from(scale[n]) + f64::from(bias[n] + added);
                *expected = if relu { sum.max(0.0) } else { sum } as f32;
            }
            let expected = blocked(&expected, out_shape);
            // A few hundred terms about 1 in float32, and zeros in the lanes beyond the channels.
            let difference = largest_difference(out.as_flattened(), expected.as_flattened());
            assert!(difference < 3e-5, "{} {image:?} {out_shape:?} {difference}", isa.name());
        }
    }
}

#[test]
fn a_separable_convolution_equals_its_formula_at_odd_sizes_and_borders() {
    for (h, w, c, n) in [(1, 1, 1, 1), (2, 3, 15, 17), (5, 1, 17, 33), (1, 19, 33, 16), (19, 7, 40, 50)] {
        let depthwise = values(7, 9 * c);
        for relu in [false, true] {
            let inputs = Inputs::Depthwise { weights: DepthwiseWeights::new(&depthwise), relu };
            check(&inputs, &depthwise, Image { h, w, c }, Image { h, w, c: n });
        }
    }
}

#[test]
fn a_convolution_over_more_pixels_than_a_block_equals_its_formula() {
    let (c, depthwise) = (400, values(7, 9 * 400));
    let inputs = Inputs::Depthwise { weights: DepthwiseWeights::new(&depthwise), relu: true };
    check(&inputs, &depthwise, Image { h: 17, w: 23, c }, Image { h: 17, w: 23, c: 5 });
}

#[test]
fn ordinary_convolutions_equal_their_formula_at_odd_sizes_and_strides() {
    for (h, w, c, kernel, stride, n) in
        [(3, 3, 16, 3, 1, 1), (9, 6, 32, 3, 2, 40), (7, 8, 37, 1, 2, 17), (1, 5, 16, 1, 1, 32)]
    {
        let size = |size: usize| (size - kernel) / stride + 1;
        let out = Image { h: size(h), w: size(w), c: n };
        check(&Inputs::Window(Window { kernel, stride }), &[], Image { h, w, c }, out);
    }
}

#[test]
fn the_picture_s_convolution_equals_its_formula() {
    for (h, w, stride) in [(3, 3, 1), (8, 13, 2), (31, 30, 2)] {
        let out = Image { h: (h - 3) / stride + 1, w: (w - 3) / stride + 1, c: 32 };
        check(&Inputs::Picture { stride }, &[], Image { h, w, c: 3 }, out);
    }
}
