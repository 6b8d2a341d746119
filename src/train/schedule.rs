//! How the learning rate moves through a phase.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    Constant,
    /// Multiplied by `factor` after every so much training.
    Step {
        factor: f64,
        every: Every,
    },
    /// Half a cosine down to zero at the end of the phase.
    Cosine,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Every {
    Epochs(f64),
    /// Pictures seen, each as often as it was.
    Pictures(f64),
}

/// How far a phase has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    pub steps_per_epoch: usize,
    pub epochs: usize,
    /// Training pictures.
    pub pictures: usize,
}

impl Progress {
    fn epochs_done(&self) -> f64 {
        self.step as f64 / self.steps_per_epoch as f64
    }
}

impl Schedule {
    /// The factor of the phase's learning rate for the next step, with `warm_up` epochs of a linear rise.
    pub fn factor(&self, warm_up: f64, progress: Progress) -> f64 {
        let done = progress.epochs_done();
        if done < warm_up {
            // The first step has a rate above zero.
            let steps = warm_up * progress.steps_per_epoch as f64;
            return ((progress.step + 1) as f64 / steps).min(1.0);
        }
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { factor, every } => {
                let times = match every {
                    // Whole epochs are told by whole numbers, not by a quotient near one.
                    Every::Epochs(epochs) => {
                        (progress.step as f64 / (epochs * progress.steps_per_epoch as f64)).floor()
                    }
                    Every::Pictures(pictures) => (done * progress.pictures as f64 / pictures).floor(),
                };
                factor.powf(times)
            }
            Schedule::Cosine => {
                let share = (done - warm_up) / (progress.epochs as f64 - warm_up).max(f64::MIN_POSITIVE);
                0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        const EXPECTED: &str = "expected constant, cosine, step=0.94/2epochs or step=0.9/3000000pictures";
        match text {
            "constant" => return Ok(Schedule::Constant),
            "cosine" => return Ok(Schedule::Cosine),
            _ => {}
        }
        let (factor, every) = text.strip_prefix("step=").and_then(|step| step.split_once('/')).context(EXPECTED)?;
        let factor: f64 = factor.parse().context(EXPECTED)?;
        let number = |text: &str| text.parse::<f64>().context(EXPECTED);
        let every = if let Some(epochs) = every.strip_suffix("epochs").or(every.strip_suffix("epoch")) {
            Every::Epochs(number(epochs)?)
        } else if let Some(pictures) = every.strip_suffix("pictures") {
            Every::Pictures(number(pictures)?)
        } else {
            bail!(EXPECTED)
        };
        let (Every::Epochs(length) | Every::Pictures(length)) = every;
        ensure!(factor > 0.0 && factor <= 1.0, "{factor}: expected a factor above 0 and up to 1");
        ensure!(length > 0.0 && length.is_finite(), "{length}: expected a length above 0");
        Ok(Schedule::Step { factor, every })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            Schedule::Cosine => f.write_str("cosine"),
            Schedule::Step { factor, every: Every::Epochs(epochs) } => write!(f, "step={factor}/{epochs}epochs"),
            Schedule::Step { factor, every: Every::Pictures(count) } => write!(f, "step={factor}/{count}pictures"),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &str, warm_up: f64, steps: &[usize]) -> Vec<f64> {
        let schedule: Schedule = schedule.parse().unwrap();
        let progress = |step| Progress { step, steps_per_epoch: 10, epochs: 6, pictures: 95 };
        steps.iter().map(|&step| schedule.factor(warm_up, progress(step))).collect()
    }

    #[test]
    fn a_step_falls_after_its_epochs_or_pictures() {
        assert_eq!(factors("step=0.94/2epochs", 0.0, &[0, 19, 20, 39, 40]), [1.0, 1.0, 0.94, 0.94, 0.94 * 0.94]);
        // 95 pictures an epoch of ten steps: the hundredth is seen in the eleventh step.
        assert_eq!(factors("step=0.5/100pictures", 0.0, &[10, 11, 22]), [1.0, 0.5, 0.25]);
    }

    #[test]
    fn a_cosine_goes_from_one_to_zero() {
        let found = factors("cosine", 0.0, &[0, 15, 30, 60]);
        let expected = [1.0, 0.853_553_390_593_273_8, 0.5, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn a_warm_up_rises_step_by_step_and_the_schedule_follows() {
        assert_eq!(factors("constant", 0.4, &[0, 1, 2, 3, 4]), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(factors("cosine", 2.0, &[19, 20, 40, 60])[1..], [1.0, 0.5, 0.0]);
    }

    #[test]
    fn schedules_are_written_as_they_are_read() {
        for text in ["constant", "cosine", "step=0.94/2epochs", "step=0.9/3000000pictures"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in ["", "step", "step=2/3epochs", "step=0.9/0epochs", "step=0.9/3", "step=x/3epochs"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
