//! Samples of more than 8 bits, brought to 8.
//!
//! Of real 16-bit samples the high byte stays, as in Pillow's RGB. But cameras, scanners and microscopes write 10, 12
//! or 14 bits into 16, and the high byte of these is nearly black. What the file says of its range is believed if its
//! samples keep to it. Where it says nothing, a picture whose largest sample needs no more than 14 of 16 bits is
//! taken to have 8, 10, 12 or 14, the fewest that hold it. A real 16-bit picture is mistaken for one of these if it
//! has not one sample above a quarter of white; so every guess is counted, and the user is told.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};

/// Ranges that programs use.
const COMMON_BITS: [u32; 9] = [8, 10, 12, 14, 16, 24, 31, 32, 53];

/// Hashes of the files whose range was guessed.
static GUESSED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// How many different files were made brighter because their samples leave the upper bits unused.
pub fn stretched_files() -> usize {
    GUESSED.lock().unwrap_or_else(PoisonError::into_inner).len()
}

pub(super) fn note_stretched(bytes: &[u8]) {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    GUESSED.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish());
}

/// From here on a float stands for a missing value.
const MISSING: f32 = 1e30;

/// Samples at 8 bits, and whether their range was guessed.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub samples: Vec<u8>,
    pub is_guess: bool,
}

/// 16-bit samples at 8. `white` is the largest value that samples can have, if the file says so.
pub(super) fn narrow(samples: &[u16], white: Option<u32>) -> Narrowed {
    let largest = samples.iter().copied().max().map_or(0, u32::from);
    let said = white.filter(|white| (1..=0xFFFF).contains(white) && largest <= *white);
    let guess = if largest > 0x3FFF || largest == 0 { 0xFFFF } else { common_range(f64::from(largest)) as u32 };
    let white = said.unwrap_or(guess);
    let narrowed: Box<dyn Fn(u16) -> u8> = if (white + 1).is_power_of_two() && white >= 0xFF {
        let shift = white.count_ones() - 8;
        Box::new(move |sample| (sample >> shift) as u8)
    } else {
        Box::new(move |sample| ((u32::from(sample) * 255 + white / 2) / white) as u8)
    };
    let samples = samples.iter().map(|sample| narrowed(*sample)).collect();
    Narrowed { samples, is_guess: said.is_none() && guess != 0xFFFF }
}

/// Numbers of any size at 8 bits, their black being 0. Up to 255 they are what they are, as in Pillow; beyond,
/// their white is guessed like that of 16-bit samples. Floats of which half reach at most 1 have their white there: what
/// is more is brighter than white.
pub(super) fn narrow_numbers(numbers: &[f32], is_float: bool, white: Option<f64>) -> Narrowed {
    let is_value = |number: &f32| *number > 0.0 && *number < MISSING;
    let mut values: Vec<f32> = numbers.iter().copied().filter(is_value).collect();
    let largest = f64::from(values.iter().copied().fold(0.0, f32::max));
    let middle = values.len() / 2;
    let are_shares = is_float && (values.is_empty() || *values.select_nth_unstable_by(middle, f32::total_cmp).1 <= 1.0);
    let said = white.filter(|white| *white > 0.0 && largest <= *white);
    let guess = if are_shares { 1.0 } else { common_range(largest) };
    let scale = 255.0 / said.unwrap_or(guess);
    // A cast saturates, and makes 0 of what is no number.
    let samples = numbers.iter().map(|number| (f64::from(*number) * scale) as u8).collect();
    Narrowed { samples, is_guess: said.is_none() && guess != 255.0 && largest > 0.0 }
}

/// The largest number of the fewest bits that hold `largest`, of those in use.
fn common_range(largest: f64) -> f64 {
    let whites = COMMON_BITS.iter().map(|bits| 2.0_f64.powi(*bits as i32) - 1.0);
    whites.into_iter().find(|white| largest <= *white).unwrap_or(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(samples: &[u16], white: Option<u32>) -> (Vec<u8>, bool) {
        let Narrowed { samples, is_guess } = narrow(samples, white);
        (samples, is_guess)
    }

    #[test]
    fn samples_that_use_all_bits_keep_their_high_byte() {
        assert_eq!(narrowed(&[0, 0x12FF, 0x4000], None), (vec![0, 0x12, 0x40], false));
        assert_eq!(narrowed(&[0, 0], None), (vec![0, 0], false));
    }

    #[test]
    fn a_range_that_the_file_tells_is_believed_if_its_samples_keep_to_it() {
        assert_eq!(narrowed(&[0, 100, 0x0FFF], Some(0x0FFF)), (vec![0, 6, 255], false));
        assert_eq!(narrowed(&[0, 1500, 3000], Some(3000)), (vec![0, 128, 255], false));
        assert_eq!(narrowed(&[0, 300], Some(0xFFFF)), (vec![0, 1], false));
        assert_eq!(narrowed(&[0, 0xFFFF], Some(0x0FFF)), (vec![0, 255], false));
        assert_eq!(narrowed(&[0, 0x3FF], Some(0)), (vec![0, 255], true));
    }

    #[test]
    fn without_one_the_fewest_common_bits_that_hold_the_samples_are_assumed() {
        for (bits, largest) in [(8, 200), (10, 256), (12, 3088), (14, 0x3FFF)] {
            let (samples, is_guess) = narrowed(&[largest], None);
            assert_eq!((u32::from(samples[0]), is_guess), (u32::from(largest) >> (bits - 8), true), "{bits} bits");
        }
    }

    #[test]
    fn numbers_up_to_255_are_levels_and_floats_up_to_1_are_shares_of_white() {
        let levels = |numbers: &[f32], is_float| narrow_numbers(numbers, is_float, None).samples;
        assert_eq!(levels(&[-3.0, f32::NAN, 0.9, 7.8, 255.0], true), [0, 0, 0, 7, 255]);
        assert_eq!(levels(&[0.0, 0.5, 1.0], true), [0, 127, 255]);
        // One pixel brighter than white, and one that is missing.
        assert_eq!(levels(&[0.0, 0.5, 0.7, 1.2], true), [0, 127, 178, 255]);
        assert_eq!(levels(&[0.0, 0.5, 1.0, f32::MAX], true), [0, 127, 255, 255]);
        assert_eq!(levels(&[0.0, 1.0], false), [0, 1]);
        assert_eq!(levels(&[65535.0, 32768.0, f32::INFINITY], true), [255, 127, 255]);
    }
}
