//! Where an axis begins and ends, where its ticks stand and what they say.

use super::Scale;

/// Larger numbers are not drawn: the squares of their distances must stay finite, and no loss that
/// means anything comes near.
const LARGEST: f64 = 1e30;

pub(super) fn drawable(value: f64, scale: Scale) -> bool {
    match scale {
        Scale::Linear => value.abs() <= LARGEST,
        Scale::Log => (1.0 / LARGEST..=LARGEST).contains(&value),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub min: f64,
    pub max: f64,
    /// Between two ticks; means nothing on a logarithmic axis.
    pub step: f64,
    percent: bool,
}

impl Axis {
    /// From the first value to the last, in whole steps if they are whole; whole decades if
    /// logarithmic.
    pub fn of_x(values: &[f64], scale: Scale) -> Self {
        if scale == Scale::Log {
            let (min, max) = bounds(values).unwrap_or((1e-3, 1.0));
            let first = min.log10().floor();
            let last = max.log10().ceil().max(first + 1.0);
            return Axis { min: 10f64.powf(first), max: 10f64.powf(last), step: 1.0, percent: false };
        }
        // Marks stand between epochs.
        let whole = values.iter().all(|x| (2.0 * x).fract() == 0.0);
        let (min, max) = spread(bounds(values).unwrap_or((0.0, 1.0)));
        let step = nice_step(max - min, 8.0);
        Axis { min, max, step: if whole { step.max(1.0) } else { step }, percent: false }
    }

    /// From tick to tick around the values, no higher than the first tick at `limit`; fractions
    /// stay between 0 and 100 %.
    pub fn of_y(values: &[f64], percent: bool, limit: Option<f64>) -> Self {
        let (least, most) = bounds(values).unwrap_or((0.0, 1.0));
        let limit = limit.filter(|&limit| drawable(limit, Scale::Linear) && limit > least);
        let (low, high) = spread((least, limit.map_or(most, |limit| most.min(limit))));
        let step = nice_step(high - low, 6.0);
        let (mut min, mut max) = ((low / step).floor() * step, (high / step).ceil() * step);
        if percent && least >= 0.0 && most <= 1.0 {
            (min, max) = (min.max(0.0), max.min(1.0));
        }
        Axis { min, max, step, percent }
    }

    /// A tick's text, with as many digits as tell it from its neighbours.
    pub fn label(&self, value: f64) -> String {
        let hundred = if self.percent { 100.0 } else { 1.0 };
        let (value, step) = (hundred * value, hundred * self.step);
        let largest = hundred * self.min.abs().max(self.max.abs());
        // A sum of steps misses zero by rounding.
        let value = if value.abs() < step / 1e3 { 0.0 } else { value };
        let exponent = |number: f64| number.log10().floor() as i32;
        let text = if value != 0.0 && (largest >= 1e7 || step < 1e-6) {
            let digits = (exponent(value.abs()) - exponent(step)).clamp(0, 6) as usize;
            format!("{value:.digits$e}")
        } else {
            let digits = (-exponent(step)).clamp(0, 9) as usize;
            format!("{value:.digits$}")
        };
        if self.percent { format!("{text} %") } else { text }
    }
}

fn bounds(values: &[f64]) -> Option<(f64, f64)> {
    values.iter().fold(None, |bounds, &value| match bounds {
        None => Some((value, value)),
        Some((min, max)) => Some((value.min(min), value.max(max))),
    })
}

/// Bounds far enough apart to draw something between them.
fn spread((min, max): (f64, f64)) -> (f64, f64) {
    let largest = min.abs().max(max.abs());
    if max - min > 1e-9 * largest {
        return (min, max);
    }
    // Half an epoch, or a tenth of a small number, to either side.
    let half = if largest == 0.0 || largest >= 1.0 { (0.1 * largest).clamp(0.5, f64::MAX) } else { 0.1 * largest };
    (min - half, max + half)
}

/// 1, 2 or 5 times a power of ten, so that at most about `ticks` of them fit in `span`.
fn nice_step(span: f64, ticks: f64) -> f64 {
    let rough = span / ticks;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, ticks: impl IntoIterator<Item = f64>) -> Vec<String> {
        ticks.into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn epochs_have_whole_ticks() {
        for (last, step) in [(2, 1.0), (3, 1.0), (8, 1.0), (35, 5.0), (1000, 200.0)] {
            let axis = Axis::of_x(&Vec::from_iter((1..=last).map(f64::from)), Scale::Linear);
            assert_eq!((axis.min, axis.max, axis.step), (1.0, f64::from(last), step));
        }
        let one = Axis::of_x(&[1.0], Scale::Linear);
        assert_eq!((one.min, one.max, one.step, one.label(1.0).as_str()), (0.5, 1.5, 1.0, "1"));
    }

    #[test]
    fn a_logarithmic_axis_spans_whole_decades() {
        let axis = Axis::of_x(&[2e-4, 5e-4], Scale::Log);
        assert!((axis.min / 1e-4 - 1.0).abs() < 1e-12 && (axis.max / 1e-3 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn values_stand_between_ticks_that_can_be_told_apart() {
        let loss = Axis::of_y(&[0.043, 0.47], false, None);
        assert_eq!(labels(loss, [0.0, 0.1, 0.5]), ["0.0", "0.1", "0.5"]);
        let accuracy = Axis::of_y(&[0.801, 0.984], true, None);
        assert_eq!((accuracy.min, accuracy.max), (0.8, 1.0));
        assert_eq!(labels(accuracy, [0.8, 1.0]), ["80 %", "100 %"]);
        let huge = Axis::of_y(&[-1e30, 1e30], false, None);
        assert_eq!(labels(huge, [5e29, -1e30, 1e10]), ["5e29", "-1.0e30", "0"]);
    }

    #[test]
    fn the_limit_cuts_what_explodes_and_nothing_else() {
        assert_eq!(Axis::of_y(&[0.2, 900.0], false, Some(1.0)).max, 1.0);
        let calm = Axis::of_y(&[0.2, 0.6], false, Some(5.0));
        assert_eq!(calm, Axis::of_y(&[0.2, 0.6], false, None));
    }
}
