//! Logistic regression with an L2 penalty, solved to its optimum by L-BFGS.
//!
//! Minimises ½ ‖W‖² + C Σ wᵢ · cross-entropy(W xᵢ + b, yᵢ), scikit-learn's `LogisticRegression`; the bias is not
//! penalised. Two classes share one output (a sigmoid), more are a softmax. Several models that differ only in the
//! rows they are trained on, such as those of a cross-validation, are solved together: one matrix product then
//! serves all of them, and as their curvatures are alike, one L-BFGS history does too.

use std::cell::RefCell;

use anyhow::{Context, Result, bail};
use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::head::Dense;

/// Rows whose products are computed at once.
const CHUNK: usize = 1024;
/// Chunks that are computed side by side at most, and what their numbers may take together, in bytes.
const CHUNKS_AT_ONCE: usize = 16;
const CHUNKS_MEMORY: usize = 1 << 28;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
const MAX_ITERATIONS: u64 = 300;
/// How far an output's weights may be from the optimum's, as a root mean square over the outputs, where rows have a mean
/// squared length of 1. The penalty curves the objective by at least 1 / (C · total), so where the gradient is shorter
/// than that times the distance, the weights are no further away.
const DISTANCE: f64 = 0.1;
/// The longest gradient of the mean loss at which the solver stops, whatever the penalty.
const GRADIENT_TOLERANCE: f64 = 1e-5;
/// It also stops where the loss changes by less.
const COST_TOLERANCE: f64 = 1e-12;

/// How feature rows are moved and scaled: to a mean of 0 and a mean squared length of 1.
#[derive(Debug, Clone)]
pub struct Scaling {
    mean: Vec<f64>,
    scale: f64,
    /// Whether each row is scaled to length 1 before.
    unit_length: bool,
}

impl Scaling {
    /// Of these rows, each scaled to length 1 before if `unit_length`.
    ///
    /// # Errors
    /// If there are no rows.
    pub fn new(rows: &[&[f32]], unit_length: bool) -> Result<Self> {
        let length = rows.first().context("no rows to train on")?.len();
        let mut scaling = Self { mean: vec![0.0; length], scale: 1.0, unit_length };
        let mut mean = vec![0.0; length];
        for row in rows {
            mean.iter_mut().zip(scaling.apply(row)).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
        scaling.mean = mean;
        let squares = |row: &&[f32]| scaling.apply(row).map(|value| value * value).sum::<f64>();
        let spread = (rows.iter().map(squares).sum::<f64>() / rows.len() as f64).sqrt();
        // Rows that are all the same tell nothing apart, at any scale.
        if spread > 0.0 {
            scaling.scale = 1.0 / spread;
        }
        Ok(scaling)
    }

    /// A row, moved and scaled.
    pub fn apply(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        let factor = if self.unit_length { 1.0 / norm(row).max(f64::MIN_POSITIVE) } else { 1.0 };
        row.iter().zip(&self.mean).map(move |(value, mean)| (f64::from(*value) * factor - mean) * self.scale)
    }

    /// A model of scaled rows as one of rows as they are (though of length 1, if they are scaled to it).
    pub fn unscaled(&self, model: &Linear) -> Linear {
        let kernel = model.kernel.iter().map(|weight| weight * self.scale).collect();
        self.moved(Linear { kernel, bias: model.bias.clone() }, -1.0)
    }

    /// The reverse of [`Self::unscaled`].
    pub fn scaled(&self, model: &Linear) -> Linear {
        let moved = self.moved(model.clone(), 1.0);
        Linear { kernel: moved.kernel.iter().map(|weight| weight / self.scale).collect(), ..moved }
    }

    /// Adds to the bias what the kernel gives for so many times the mean.
    fn moved(&self, model: Linear, times: f64) -> Linear {
        let Linear { kernel, mut bias } = model;
        for (weights, mean) in kernel.chunks_exact(bias.len()).zip(&self.mean) {
            bias.iter_mut().zip(weights).for_each(|(bias, weight)| *bias += times * weight * mean);
        }
        Linear { kernel, bias }
    }
}

/// Feature rows, moved and scaled for the solver.
#[derive(Debug)]
pub struct Design {
    pub scaling: Scaling,
    chunks: Vec<Chunk>,
    length: usize,
}

/// Some of the rows both ways round: a product with few columns takes a third of the time if its left side lies in
/// memory row by row.
#[derive(Debug)]
struct Chunk {
    /// Index of the first row.
    first: usize,
    /// [N,D]
    rows: Tensor,
    /// [D,N]
    columns: Tensor,
}

impl Design {
    /// # Errors
    /// If there are no rows, or no memory for them.
    pub fn new(rows: &[&[f32]], unit_length: bool) -> Result<Self> {
        let scaling = Scaling::new(rows, unit_length)?;
        let length = scaling.mean.len();
        let chunk = |(index, rows): (usize, &[&[f32]])| {
            let values = rows.iter().flat_map(|row| scaling.apply(row)).collect::<Vec<f64>>();
            let rows = Tensor::from_vec(values, (rows.len(), length), &Device::Cpu)?;
            let columns = rows.t()?.contiguous()?;
            Ok(Chunk { first: index * CHUNK, rows, columns })
        };
        let chunks = rows.par_chunks(CHUNK).enumerate().map(chunk).collect::<candle_core::Result<_>>()?;
        Ok(Self { scaling, chunks, length })
    }

    /// Logits of every row under one model, [N,O].
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn logits(&self, model: &Linear) -> Result<Vec<Vec<f64>>> {
        let outputs = model.bias.len();
        let kernel = Tensor::from_slice(&model.kernel, (self.length, outputs), &Device::Cpu)?;
        let bias = Tensor::from_slice(&model.bias, outputs, &Device::Cpu)?;
        let mut rows = Vec::new();
        for chunk in &self.chunks {
            rows.extend(chunk.rows.matmul(&kernel)?.broadcast_add(&bias)?.to_vec2::<f64>()?);
        }
        Ok(rows)
    }
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// A linear classifier: logits are x · kernel + bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// [D,O], row-major.
    pub kernel: Vec<f64>,
    /// [O]
    pub bias: Vec<f64>,
}

impl Linear {
    /// As a layer of a head.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn layer(&self) -> Result<Dense> {
        let floats = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let outputs = self.bias.len();
        let kernel = Tensor::from_vec(floats(&self.kernel), (self.kernel.len() / outputs, outputs), &Device::Cpu)?;
        Ok(Dense { kernel, bias: Tensor::from_vec(floats(&self.bias), outputs, &Device::Cpu)? })
    }
}

/// What the models are trained on.
pub struct Problem<'a> {
    pub design: &'a Design,
    /// The class of each row.
    pub classes: &'a [usize],
    /// K
    pub class_count: usize,
    /// For each model the weight of each row; 0 leaves it out.
    pub weights: &'a [Vec<f64>],
}

impl Problem<'_> {
    /// Outputs of one model.
    fn outputs(&self) -> usize {
        outputs(self.class_count)
    }

    /// The weight of all rows in all models.
    fn total(&self) -> f64 {
        self.weights.iter().flatten().sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// Solves every model at `strength`, the C of the objective, from `start` on if there is one.
    ///
    /// # Errors
    /// If a tensor operation fails, or `check` does: it is asked at every step.
    pub fn solve(
        &self,
        strength: f64,
        start: Option<Vec<Linear>>,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<Linear>> {
        let columns = self.weights.len() * self.outputs();
        let start = start.map_or_else(|| vec![0.0; (self.design.length + 1) * columns], |start| self.join(&start));
        let objective =
            Objective { problem: self, strength, check, last: RefCell::default(), best: RefCell::default() };
        let tolerance = DISTANCE * (columns as f64).sqrt() / (strength * self.total());
        let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
            .with_tolerance_grad(tolerance.min(GRADIENT_TOLERANCE))?
            .with_tolerance_cost(COST_TOLERANCE)?;
        let run = Executor::new(&objective, solver)
            .configure(|state| state.param(start).max_iters(MAX_ITERATIONS))
            .run()
            .map(drop);
        check()?;
        match (run, objective.best.into_inner()) {
            // Near the optimum a line search may find no lower point: then the lowest so far is the answer.
            (_, Some((cost, parameters))) if cost.is_finite() => Ok(self.split(&parameters)),
            (Err(error), _) => Err(error),
            _ => bail!("the loss of the head is no number; extract the features again"),
        }
    }

    /// Models as the solver's parameters: [D+1, models · O], the biases last.
    fn join(&self, models: &[Linear]) -> Vec<f64> {
        let outputs = self.outputs();
        let rows = (0..self.design.length)
            .flat_map(|row| models.iter().flat_map(move |model| &model.kernel[row * outputs..][..outputs]));
        rows.chain(models.iter().flat_map(|model| &model.bias)).copied().collect()
    }

    fn split(&self, parameters: &[f64]) -> Vec<Linear> {
        let (outputs, columns) = (self.outputs(), self.weights.len() * self.outputs());
        let (kernel, bias) = parameters.split_at(self.design.length * columns);
        let model = |index: usize| Linear {
            kernel: kernel.chunks_exact(columns).flat_map(|row| &row[index * outputs..][..outputs]).copied().collect(),
            bias: bias[index * outputs..][..outputs].to_vec(),
        };
        (0..self.weights.len()).map(model).collect()
    }

    /// The objective of all models together, over their total weight, and its gradient.
    fn evaluate(&self, parameters: &[f64], strength: f64) -> Result<Point> {
        let (length, columns) = (self.design.length, self.weights.len() * self.outputs());
        let (kernel, bias) = parameters.split_at(length * columns);
        let total = self.total();
        let kernel = Tensor::from_slice(kernel, (length, columns), &Device::Cpu)?;
        let squares: f64 = parameters[..length * columns].iter().map(|weight| weight * weight).sum();
        let (mut cost, mut gradient) = (0.5 * squares / (strength * total), (&kernel / (strength * total))?);
        let mut bias_gradient = vec![0.0; columns];
        let share = size_of::<f64>() * columns * (length + 2 * CHUNK);
        for group in self.design.chunks.chunks((CHUNKS_MEMORY / share).clamp(1, CHUNKS_AT_ONCE)) {
            let shares = group.par_iter().map(|chunk| self.share(chunk, &kernel, bias, total));
            // Added in order: the same bytes on any number of threads.
            for share in shares.collect::<Result<Vec<_>>>()? {
                cost += share.cost;
                gradient = (gradient + share.gradient)?;
                bias_gradient.iter_mut().zip(share.bias_gradient).for_each(|(sum, derivative)| *sum += derivative);
            }
        }
        let mut gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        gradient.extend(bias_gradient);
        Ok(Point { parameters: parameters.to_vec(), cost, gradient })
    }

    /// What one chunk adds to the mean loss over a total weight, and to its gradient.
    fn share(&self, chunk: &Chunk, kernel: &Tensor, bias: &[f64], total: f64) -> Result<Share> {
        let columns = bias.len();
        let (mut cost, mut bias_gradient) = (0.0, vec![0.0; columns]);
        let mut logits = chunk.rows.matmul(kernel)?.flatten_all()?.to_vec1::<f64>()?;
        for (row, logits) in logits.chunks_exact_mut(columns).enumerate() {
            logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias);
            cost += self.differentiate(chunk.first + row, logits) / total;
            logits.iter_mut().for_each(|derivative| *derivative /= total);
            bias_gradient.iter_mut().zip(&*logits).for_each(|(sum, derivative)| *sum += derivative);
        }
        let derivatives = Tensor::from_vec(logits, (chunk.rows.dim(0)?, columns), &Device::Cpu)?;
        Ok(Share { cost, gradient: chunk.columns.matmul(&derivatives)?, bias_gradient })
    }

    /// The weighted loss of one row under all models; each of its `logits` becomes the loss's derivative by it.
    fn differentiate(&self, row: usize, logits: &mut [f64]) -> f64 {
        let (class, mut cost) = (self.classes[row], 0.0);
        for (logits, weights) in logits.chunks_exact_mut(self.outputs()).zip(self.weights) {
            let weight = weights[row];
            if weight == 0.0 {
                logits.fill(0.0);
            } else if let [logit] = logits {
                let towards = if class == 1 { *logit } else { -*logit };
                cost += weight * (-towards).max(0.0) + weight * (-towards.abs()).exp().ln_1p();
                let wrong = 1.0 / (1.0 + towards.exp());
                *logit = weight * if class == 1 { -wrong } else { wrong };
            } else {
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let own = logits[class] - largest;
                logits.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
                let sum: f64 = logits.iter().sum();
                cost += weight * (sum.ln() - own);
                logits.iter_mut().for_each(|share| *share *= weight / sum);
                logits[class] -= weight;
            }
        }
        cost
    }
}

/// Outputs of a classifier of this many classes: a sigmoid tells two apart.
pub fn outputs(class_count: usize) -> usize {
    if class_count == 2 { 1 } else { class_count }
}

/// What some of the rows add to the objective.
struct Share {
    cost: f64,
    /// [D, models · O]
    gradient: Tensor,
    /// [models · O]
    bias_gradient: Vec<f64>,
}

/// The objective at one point.
struct Point {
    parameters: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

/// The problem as argmin asks for it: cost and gradient by turns, of the same point.
struct Objective<'a> {
    problem: &'a Problem<'a>,
    strength: f64,
    check: &'a dyn Fn() -> Result<()>,
    last: RefCell<Option<Point>>,
    /// The lowest cost so far, and where.
    best: RefCell<Option<(f64, Vec<f64>)>>,
}

impl Objective<'_> {
    /// Evaluates at `parameters`, unless that was the last point; `of` takes what is asked for.
    fn at<T>(&self, parameters: &[f64], of: impl Fn(&Point) -> T) -> Result<T> {
        if let Some(last) = self.last.borrow().as_ref().filter(|last| last.parameters == parameters) {
            return Ok(of(last));
        }
        (self.check)()?;
        let point = self.problem.evaluate(parameters, self.strength)?;
        let value = of(&point);
        let is_better = self.best.borrow().as_ref().is_none_or(|(cost, _)| point.cost < *cost);
        if is_better {
            *self.best.borrow_mut() = Some((point.cost, point.parameters.clone()));
        }
        *self.last.borrow_mut() = Some(point);
        Ok(value)
    }
}

impl CostFunction for &Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, Error> {
        self.at(parameters, |point| point.cost)
    }
}

impl Gradient for &Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.at(parameters, |point| point.gradient.clone())
    }
}

#[cfg(test)]
mod tests;
