//! A linear head whose settings are chosen by cross-validation on the training pictures, and which is then trained on
//! all of them; and a dense head beside it, from it on, judged on the same held-out pictures.
//!
//! Each candidate (features as they are or scaled to length 1, and a strength of the L2 penalty) is trained on parts
//! of the pictures and judged on the rest. The choice is the candidate of least held-out log loss, at its own fitted
//! temperature, with a mild preference for a middling strength and for features as they are: with few pictures the
//! held-out answers alone would choose by chance. The temperature of the head is fitted on those answers, too, so
//! that no validation pictures are needed for either.

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::fit::random;
use super::logistic::{Design, Linear, Problem, Scaling, outputs};
use crate::calibration::{Logits, steadied_temperature};

/// Strengths C of the objective on rows of mean squared length 1, about their mean, from strong penalty to weak.
const STRENGTHS: [f64; 8] = [3.2, 10.0, 32.0, 100.0, 320.0, 1e3, 3.2e3, 1e4];
/// The candidates where one solution is costly.
const FEW_STRENGTHS: [f64; 4] = [10.0, 100.0, 1e3, 1e4];
/// What is preferred, and what a factor of ten away from it costs, in nats of held-out log loss over all pictures.
const PREFERRED_STRENGTH: f64 = 100.0;
const STRENGTH_COST: f64 = 0.25;
/// The same for features scaled to length 1, for each root of a picture: the difference of two sums of losses strays
/// by chance as that root does.
const UNIT_LENGTH_COST: f64 = 0.15;
const FOLDS: usize = 5;
/// Where a class has fewer pictures than this, several cross-validations steady the choice.
const PICTURES_FOR_ONE: usize = 20;
const MOST_REPEATS: usize = 5;
/// Parameters that are solved together at most: L-BFGS keeps twenty copies of them.
const PARAMETERS_AT_ONCE: usize = 1 << 20;
/// Logits of a pass over the rows, above which fewer folds and strengths are tried.
const COSTLY_LOGITS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The classifier alone.
    Linear,
    /// Hidden layers before it.
    Dense,
}

/// A head that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Candidate {
    pub head: Shape,
    /// Whether features are scaled to length 1.
    pub unit_length: bool,
    /// C of the objective; of a linear head only.
    pub strength: Option<f64>,
    /// Share of the trained weights in a dense head that is averaged with the linear head it began as.
    pub mixing: Option<f64>,
    /// Pictures that were held out.
    pub pictures: usize,
    /// Held-out mistakes, in pictures; a mean where pictures were held out several times.
    pub mistakes: f64,
    /// Held-out log loss at the temperature, in nats.
    pub log_loss: f64,
    pub temperature: f64,
}

/// A head trained on every row, and what cross-validation says of it.
#[derive(Debug)]
pub struct Solved {
    /// For rows of length 1 if the candidate says so.
    pub model: Linear,
    pub scaling: Scaling,
    pub chosen: Candidate,
    /// The chosen candidate's heads of the first cross-validation.
    pub parts: Vec<Part>,
    pub candidates: Vec<Candidate>,
    /// Parts that were held out in turn; 0 where nothing could be.
    pub folds: usize,
    /// How often the pictures were dealt into parts anew.
    pub repeats: usize,
    /// Held-out answers of the chosen candidate, one for each judged picture.
    pub logits: Logits,
}

/// A part of the rows that was held out.
#[derive(Debug)]
pub struct Part {
    /// Indices of the rows.
    pub held: Vec<usize>,
    /// Trained on the others.
    pub model: Linear,
}

/// Rows to train on.
pub struct Examples<'a> {
    pub rows: &'a [&'a [f32]],
    pub classes: &'a [usize],
    /// K; each class has rows.
    pub class_count: usize,
    /// Of each row, as the loss counts it.
    pub weights: &'a [f64],
}

/// Chooses and trains; `done` is called [`steps`] times, for each candidate that is tried or left out.
///
/// # Errors
/// If a tensor operation fails, or `check` does: it is asked at every step of the solver.
pub fn solve(examples: &Examples, seed: u64, check: &dyn Fn() -> Result<()>, done: &mut dyn FnMut()) -> Result<Solved> {
    let plan = Plan::new(examples, seed);
    let mut best: Option<(f64, Solved)> = None;
    let mut candidates = Vec::new();
    for unit_length in [false, true] {
        let design = Design::new(examples.rows, unit_length)?;
        let (mut models, mut least, mut is_past_best) = (None, f64::INFINITY, false);
        for &strength in plan.strengths {
            // From strong penalty to weak the cost falls and then rises: it did so in 120 of 120 draws of few pictures.
            if is_past_best {
                done();
                continue;
            }
            let solved = plan.train(examples, &design, strength, models.take(), check)?;
            let logits = plan.held_out(&design, &solved, examples)?;
            let candidate = plan.judge(&logits, unit_length, strength);
            let cost = plan.cost(&candidate);
            candidates.push(candidate);
            is_past_best = cost >= least;
            least = least.min(cost);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                let model = &solved[0];
                let chosen = Solved {
                    model: design.scaling.unscaled(model),
                    scaling: design.scaling.clone(),
                    chosen: candidate,
                    parts: plan.first_parts(&design.scaling, &solved),
                    candidates: Vec::new(),
                    folds: plan.folds,
                    repeats: plan.repeats,
                    logits: logits.first(plan.judged),
                };
                best = Some((cost, chosen));
            }
            models = Some(solved);
            done();
        }
    }
    let (_, solved) = best.context("no candidate has a finite loss")?;
    Ok(Solved { candidates, ..solved })
}

impl Candidate {
    /// By held-out answers, of which there are `repeats` for each picture.
    pub fn judged(logits: &Logits, repeats: usize, unit_length: bool, head: Shape) -> Self {
        let repeats = repeats.max(1);
        let temperature = steadied_temperature(logits, 1.0 / repeats as f64);
        let wrong = logits.confidences(1.0).iter().filter(|(_, is_right)| !is_right).count();
        let (pictures, mistakes) = (logits.truths().len() / repeats, wrong as f64 / repeats as f64);
        let log_loss = logits.log_loss(temperature);
        Self { head, unit_length, strength: None, mixing: None, pictures, mistakes, log_loss, temperature }
    }
}

/// Candidates that [`solve`] tries at most.
pub fn steps(examples: &Examples) -> usize {
    2 * strengths(examples).len()
}

fn is_costly(examples: &Examples) -> bool {
    examples.rows.len() * outputs(examples.class_count) > COSTLY_LOGITS
}

fn strengths(examples: &Examples) -> &'static [f64] {
    if is_costly(examples) { &FEW_STRENGTHS } else { &STRENGTHS }
}

/// Which rows are held out when.
struct Plan {
    strengths: &'static [f64],
    folds: usize,
    /// Rows held out in each cross-validation.
    judged: usize,
    repeats: usize,
    /// For each cross-validation the fold of each row, none for a row that always trains.
    assignments: Vec<Vec<Option<usize>>>,
}

impl Plan {
    fn new(examples: &Examples, seed: u64) -> Self {
        let members: Vec<Vec<usize>> = (0..examples.class_count)
            .map(|class| (0..examples.rows.len()).filter(|&row| examples.classes[row] == class).collect())
            .collect();
        // The only picture of a class is never held out: nothing would be left to learn it from.
        let counts = || members.iter().map(Vec::len).filter(|&count| count > 1);
        let most = if is_costly(examples) { 3 } else { FOLDS };
        let folds = counts().max().map_or(0, |largest| most.min(largest));
        let repeats = match counts().min() {
            None => 0,
            Some(_) if is_costly(examples) => 1,
            Some(least) => PICTURES_FOR_ONE.div_ceil(least).clamp(1, MOST_REPEATS),
        };
        let assignment = |repeat: usize| {
            let mut random = random(seed, &format!("folds {repeat}"));
            let mut assigned = vec![None; examples.rows.len()];
            members.iter().filter(|rows| rows.len() > 1).for_each(|rows| deal(rows, folds, &mut assigned, &mut random));
            assigned
        };
        let assignments: Vec<_> = (0..repeats).map(assignment).collect();
        let judged = assignments.first().map_or(0, |assigned| assigned.iter().flatten().count());
        Self { strengths: strengths(examples), folds, judged, repeats, assignments }
    }

    /// Every (cross-validation, fold) in which a row is held out.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.repeats).flat_map(|repeat| (0..self.folds).map(move |fold| (repeat, fold)))
    }

    /// The model of all rows, then one for each of the parts.
    fn train(
        &self,
        examples: &Examples,
        design: &Design,
        strength: f64,
        start: Option<Vec<Linear>>,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<Linear>> {
        let held_in = |(repeat, fold): (usize, usize)| {
            let weight = |(row, weight): (usize, &f64)| {
                if self.assignments[repeat][row] == Some(fold) { 0.0 } else { *weight }
            };
            examples.weights.iter().enumerate().map(weight).collect()
        };
        let weights: Vec<Vec<f64>> =
            std::iter::once(examples.weights.to_vec()).chain(self.parts().map(held_in)).collect();
        let parameters = examples.rows.first().map_or(0, |row| row.len()) * outputs(examples.class_count);
        let at_once = (PARAMETERS_AT_ONCE / parameters.max(1)).max(1);
        let mut start = start.map(Vec::into_iter);
        let mut models = Vec::with_capacity(weights.len());
        for weights in weights.chunks(at_once) {
            let problem = Problem { design, classes: examples.classes, class_count: examples.class_count, weights };
            let start = start.as_mut().map(|start| start.take(weights.len()).collect());
            models.extend(problem.solve(strength, start, check)?);
        }
        Ok(models)
    }

    /// What each part's model says of the rows that it was not trained on, cross-validation by cross-validation, in the
    /// order of the rows.
    fn held_out(&self, design: &Design, models: &[Linear], examples: &Examples) -> Result<Logits> {
        let mut found = Logits::default();
        for (repeat, models) in models[1..].chunks(self.folds.max(1)).enumerate() {
            let answers = models.iter().map(|model| design.logits(model)).collect::<Result<Vec<_>>>()?;
            let held = self.assignments[repeat].iter().enumerate();
            let answer = |(row, fold): (usize, &Option<usize>)| {
                fold.map(|fold| (answers[fold][row].as_slice(), examples.classes[row]))
            };
            found.extend(held.filter_map(answer));
        }
        Ok(found)
    }

    /// The parts of the first cross-validation, with the `models` that [`Self::train`] gave for them.
    fn first_parts(&self, scaling: &Scaling, models: &[Linear]) -> Vec<Part> {
        let Some(assigned) = self.assignments.first() else { return Vec::new() };
        let held = |fold: usize| (0..assigned.len()).filter(|&row| assigned[row] == Some(fold)).collect();
        let models = models[1..].iter().take(self.folds);
        models.enumerate().map(|(fold, model)| Part { held: held(fold), model: scaling.unscaled(model) }).collect()
    }

    fn judge(&self, logits: &Logits, unit_length: bool, strength: f64) -> Candidate {
        let judged = Candidate::judged(logits, self.repeats, unit_length, Shape::Linear);
        Candidate { strength: Some(strength), ..judged }
    }

    fn cost(&self, candidate: &Candidate) -> f64 {
        let away = candidate.strength.map_or(0.0, |strength| (strength / PREFERRED_STRENGTH).log10());
        let pictures = self.judged as f64;
        let scaling = if candidate.unit_length { UNIT_LENGTH_COST * pictures.sqrt() } else { 0.0 };
        pictures * candidate.log_loss + STRENGTH_COST * away * away + scaling
    }
}

/// Deals a class's rows to the folds in turn, so that every fold holds as many of each class as it can.
fn deal(rows: &[usize], folds: usize, assigned: &mut [Option<usize>], random: &mut ChaCha8Rng) {
    let mut rows = rows.to_vec();
    rows.shuffle(random);
    rows.iter().enumerate().for_each(|(index, &row)| assigned[row] = Some(index % folds));
}

#[cfg(test)]
mod tests;
