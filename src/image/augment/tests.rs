//! Pillow's `ImageEnhance` and torchvision's definitions are the reference.

use rand::Rng;

use super::jitter::Change;
use super::*;
use crate::convention::Convention;
use crate::image::Interpolation;
use crate::image::tests::{pattern, sha256};

const KERAS: Preprocessing = Preprocessing::of(Convention::Keras, Interpolation::Bicubic, 71);
const TIMM: Preprocessing = Preprocessing::of(Convention::Timm, Interpolation::Bicubic, 71);

fn plain(width: usize, height: usize, colour: [u8; 3]) -> Picture {
    Picture { width, height, pixels: colour.repeat(width * height) }
}

/// One row of pixels.
fn row(pixels: &[[u8; 3]]) -> Picture {
    Picture { width: pixels.len(), height: 1, pixels: pixels.as_flattened().to_vec() }
}

fn parse(text: &str) -> Augmentation {
    text.parse().unwrap()
}

mod the_whole {
    use super::*;

    #[test]
    fn none_leaves_the_networks_picture_as_it_is() {
        for preprocessing in [KERAS, TIMM] {
            let picture = pattern([120, 90]);
            let seen = Augmentation::NONE.apply(&picture, &preprocessing, &mut generator(0, "a", 0));
            assert!(seen == preprocessing.crop(&picture));
        }
    }

    #[test]
    fn the_same_generator_gives_the_same_pixels() {
        let apply = || Augmentation::ALL.apply(&pattern([120, 90]), &TIMM, &mut generator(7, "cats/1.jpg", 3));
        assert!(apply() == apply());
    }

    #[test]
    fn another_epoch_seed_or_path_gives_other_pixels() {
        let apply = |mut random| Augmentation::ALL.apply(&pattern([120, 90]), &TIMM, &mut random);
        let seen = apply(generator(7, "cats/1.jpg", 3));
        for other in [generator(7, "cats/1.jpg", 4), generator(8, "cats/1.jpg", 3), generator(7, "cats/2.jpg", 3)] {
            assert!(apply(other) != seen);
        }
    }

    #[test]
    fn every_part_alone_changes_the_picture_and_keeps_the_size() {
        let picture = pattern([120, 90]);
        for part in ["crop=0.6", "flip", "rotation=15", "jitter=0.2"] {
            for preprocessing in [KERAS, TIMM] {
                let seen: Vec<_> = (0..8)
                    .map(|epoch| parse(part).apply(&picture, &preprocessing, &mut generator(0, "a", epoch)))
                    .collect();
                assert!(seen.iter().all(|seen| (seen.width, seen.height) == (71, 71)));
                assert!(seen.iter().any(|seen| *seen != preprocessing.crop(&picture)), "{part}");
            }
        }
    }

    #[test]
    fn the_count_of_random_numbers_does_not_depend_on_the_picture() {
        let left = [[120, 90], [1, 500], [1, 1]].map(|size| {
            let mut random = generator(0, "a", 0);
            Augmentation::ALL.apply(&pattern(size), &TIMM, &mut random);
            random.next_u64()
        });
        assert_eq!(left, [left[0]; 3]);
    }

    #[test]
    fn flip_mirrors_the_columns_of_about_every_other_picture() {
        let picture = pattern([120, 90]);
        let straight = TIMM.crop(&picture);
        let mut flipped = 0;
        for epoch in 0..100 {
            let seen = parse("flip").apply(&picture, &TIMM, &mut generator(0, "a", epoch));
            let at = |picture: &Picture, x: usize, y: usize| picture.pixels[3 * (y * 71 + x)..][..3].to_vec();
            if seen != straight {
                flipped += 1;
                assert!((0..71 * 71).all(|i| at(&seen, i % 71, i / 71) == at(&straight, 70 - i % 71, i / 71)));
            }
        }
        // Six standard deviations of a fair coin.
        assert!((20..=80).contains(&flipped), "{flipped}");
    }

    #[test]
    fn a_plain_picture_stays_plain_however_it_is_cropped_and_turned() {
        for preprocessing in [KERAS, TIMM] {
            for epoch in 0..20 {
                let augmentation = parse("crop=0.1,flip,rotation=180");
                let picture = plain(50, 130, [200, 3, 77]);
                let seen = augmentation.apply(&picture, &preprocessing, &mut generator(0, "a", epoch));
                assert!(seen == plain(71, 71, [200, 3, 77]));
            }
        }
    }

    #[test]
    fn the_smallest_and_narrowest_pictures_come_out_whole() {
        for size in [[1, 1], [1, 500], [500, 1], [2, 3]] {
            for text in ["all", "crop=0.01", "rotation=180", "crop=0.01,rotation=180"] {
                for epoch in 0..20 {
                    let seen = parse(text).apply(&pattern(size), &TIMM, &mut generator(0, "a", epoch));
                    assert_eq!((seen.width, seen.height), (71, 71));
                }
            }
        }
    }
}

mod cropping {
    use super::*;

    #[test]
    fn a_crop_keeps_to_its_share_and_shape_and_reaches_both_ends() {
        let picture = plain(640, 480, [0; 3]);
        let mut random = generator(0, "a", 0);
        let windows: Vec<_> = (0..2000).map(|_| Window::draw(&picture, 0.3, &mut random)).collect();
        let shares = windows.iter().map(|window| (window.width * window.height) as f64 / (640.0 * 480.0));
        let shapes = windows.iter().map(|window| window.width as f64 / window.height as f64);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::MAX, f64::MIN], |[least, most], value| [least.min(value), most.max(value)])
        };
        let ([least, most], [narrow, wide]) = (range(&mut shares.into_iter()), range(&mut shapes.into_iter()));
        // Half a pixel of rounding on either side of a box of at least 262 pixels moves it by less than 1 %.
        assert!((0.297..0.32).contains(&least) && (0.9..=1.0).contains(&most), "{least} {most}");
        assert!((0.745..0.77).contains(&narrow) && (1.31..1.345).contains(&wide), "{narrow} {wide}");
        assert!(windows.iter().all(|window| window.left + window.width <= 640 && window.top + window.height <= 480));
        assert!(windows.iter().any(|window| window.left == 0) && windows.iter().any(|window| window.top == 0));
        assert!(windows.iter().any(|window| window.left + window.width == 640));
    }

    #[test]
    fn where_no_box_fits_the_centre_is_taken() {
        let mut random = generator(0, "a", 0);
        let wide = Window::draw(&plain(1000, 30, [0; 3]), 0.9, &mut random);
        assert_eq!(wide, Window { left: 480, top: 0, width: 40, height: 30 });
        let narrow = Window::draw(&plain(30, 1000, [0; 3]), 0.9, &mut random);
        assert_eq!(narrow, Window { left: 0, top: 480, width: 30, height: 40 });
    }

    #[test]
    fn a_cut_holds_the_pixels_of_its_box() {
        let picture = row(&[[1; 3], [2; 3], [3; 3], [4; 3]]);
        assert!(Window { left: 1, top: 0, width: 2, height: 1 }.cut(&picture) == row(&[[2; 3], [3; 3]]));
    }
}

mod rotation {
    use super::*;

    fn turn(picture: &Picture, degrees: f64) -> Picture {
        rotate(picture, Window::whole(picture), degrees, usize::MAX)
    }

    #[test]
    fn no_angle_gives_the_box_itself() {
        let picture = pattern([40, 30]);
        let window = Window { left: 7, top: 5, width: 20, height: 11 };
        assert!(rotate(&picture, window, 0.0, usize::MAX) == window.cut(&picture));
    }

    #[test]
    fn half_a_turn_reverses_the_pixels() {
        let picture = pattern([41, 30]);
        let mut reversed = picture.clone();
        reversed.pixels.as_chunks_mut::<3>().0.reverse();
        assert!(turn(&picture, 180.0) == reversed);
        assert!(turn(&picture, -180.0) == reversed);
    }

    #[test]
    fn a_quarter_turn_of_a_square_brings_the_right_side_up() {
        let picture = pattern([33, 33]);
        let turned = turn(&picture, 90.0);
        let at = |picture: &Picture, x: usize, y: usize| picture.pixels[3 * (y * 33 + x)..][..3].to_vec();
        assert!((0..33 * 33).all(|i| at(&turned, i % 33, i / 33) == at(&picture, 32 - i / 33, i % 33)));
    }

    #[test]
    fn between_pixels_their_mixture_is_shown_and_beyond_the_border_their_reflection() {
        let picture = Picture { width: 2, height: 2, pixels: [[0; 3], [200; 3], [0; 3], [200; 3]].concat() };
        let turned = turn(&picture, 45.0);
        // The pixel at (-½, -½) from the centre shows (0, -√½): half of either column. The one at (½, -½)
        // shows (√½, 0), which lies between the right column and its reflection.
        assert_eq!(turned.pixels, [[100; 3], [200; 3], [0; 3], [100; 3]].concat());
    }

    #[test]
    fn a_large_box_is_made_no_larger_than_is_needed() {
        let turned = rotate(&plain(400, 300, [9; 3]), Window { left: 0, top: 0, width: 400, height: 200 }, 10.0, 100);
        assert!(turned == plain(200, 100, [9; 3]));
    }
}

mod colours {
    use super::*;

    fn changed(change: Change, factor: f32) -> Vec<u8> {
        let mut picture = row(&[[200, 100, 50], [10, 20, 250]]);
        change.apply(&mut picture, factor);
        picture.pixels
    }

    #[test]
    fn brightness_mixes_with_black() {
        assert_eq!(changed(Change::Brightness, 0.5), [100, 50, 25, 5, 10, 125]);
        assert_eq!(changed(Change::Brightness, 1.5), [255, 150, 75, 15, 30, 255]);
    }

    #[test]
    fn contrast_mixes_with_the_mean_of_the_grey_picture() {
        // Greys 0.299 R + 0.587 G + 0.114 B are 124 and 43, their mean 83.5 is rounded to 84.
        assert_eq!(changed(Change::Contrast, 0.5), [142, 92, 67, 47, 52, 167]);
        assert_eq!(changed(Change::Contrast, 1.5), [255, 108, 33, 0, 0, 255]);
    }

    #[test]
    fn saturation_mixes_each_pixel_with_its_grey() {
        assert_eq!(changed(Change::Saturation, 0.5), [162, 112, 87, 26, 31, 146]);
        assert_eq!(changed(Change::Saturation, 1.5), [238, 88, 13, 0, 8, 255]);
    }

    #[test]
    fn changes_agree_with_pillow_bit_for_bit() {
        // SHA-256 of ImageEnhance.{Brightness,Contrast,Color}(pattern(100, 75)).enhance(factor) in Pillow 12.3,
        // with `pattern` as in tests/data/images/make.py.
        let cases = [
            (Change::Brightness, 0.1, "8a9438ba7c20a10d788c55d664e2082f8b28212cb05cedeec555f7204cc4dc2e"),
            (Change::Brightness, 0.7, "360c7486b41330cc4179bc893b9f8ad3fb1dd5abaf89f6916b7467789a5ef1fe"),
            (Change::Brightness, 1.3, "b495a85edc7e6a40e28bfdc10ade91519f8ebad6bcb626211d63d3902efef8c2"),
            (Change::Brightness, 1.9, "2ce82bc64fad1eb03c4523916d7341b01f3ddc44ef6df05aa6da0e45a9f08a37"),
            (Change::Contrast, 0.1, "a6eb1a53295fe8ad03cf26513ba5485f17e1afc0ffe12ec9a47f84f9254e6ad1"),
            (Change::Contrast, 0.7, "d974cb2b2bc2d90ab2fdb9f6d09056012c7eeeb03e9f0b34da15e13831c8b1ef"),
            (Change::Contrast, 1.3, "90740e826dd66ea4af105ddcbc895b5824d1320751e60501277a9aa2c5bfe600"),
            (Change::Contrast, 1.9, "a3d5e03e5faff352b8ef6191c73a87f3295e11b274cfc367591784ea9eb36863"),
            (Change::Saturation, 0.1, "98c2c45ba2b9771d45d3348f7d08fe0924dbecb225cdf5df3faff7ab63c85d95"),
            (Change::Saturation, 0.7, "0c319f4dd8be52a4553452c833385d3e2cc981d3ec8be06d1d2c84b34bf544a3"),
            (Change::Saturation, 1.3, "ba71f91fd95359b42238a66f2d9150759680256107d4c5aec237b82ceb0b98e1"),
            (Change::Saturation, 1.9, "f3ba9ec349668d43cde434d15e1eec6ca25f26de4724bf9a106e615ef564f8f6"),
        ];
        for (change, factor, expected) in cases {
            let mut picture = pattern([100, 75]);
            change.apply(&mut picture, factor);
            assert_eq!(sha256(&picture.pixels), expected, "{change:?} {factor}");
        }
    }

    #[test]
    fn each_change_comes_once_in_every_order_and_within_its_limit() {
        let mut random = generator(0, "a", 0);
        let draws: Vec<_> = (0..500).map(|_| jitter::draw(0.2, &mut random)).collect();
        let orders: std::collections::HashSet<_> =
            draws.iter().map(|draw| draw.map(|(change, _)| format!("{change:?}"))).collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|[a, b, c]| a != b && b != c && a != c));
        let factors: Vec<f32> = draws.iter().flatten().map(|(_, factor)| *factor).collect();
        assert!(factors.iter().all(|factor| (0.8..=1.2).contains(factor)));
        assert!(factors.iter().any(|factor| *factor < 0.82) && factors.iter().any(|factor| *factor > 1.18));
    }
}
