//! Runs a plan: one picture across all threads, or a picture on each.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::plan::{Added, BUFFERS, Place, Plan, Step};
use crate::architecture::BLOCKS;
use crate::kernel::buffer::{Buffer, LANES, Lanes};
use crate::kernel::convolve::{Convolve, Residual, Scratch};
use crate::kernel::gather::Image;
use crate::kernel::isa::Isa;
use crate::weights::{Checkpoint, Pool};

/// A plan and the memory to run it in.
#[derive(Debug)]
pub struct Engine {
    plan: Plan,
}

/// Buffers of one picture, and the scratch of each thread that works on it.
#[derive(Debug)]
pub struct Workspace {
    activations: [Buffer; BUFFERS],
    scratch: Vec<Scratch>,
}

impl Engine {
    /// Compiles the network of `checkpoint` for pictures of `height`×`width`.
    ///
    /// # Errors
    /// Names a tensor that is missing.
    pub fn new(checkpoint: &Checkpoint, height: usize, width: usize, isa: Isa) -> Result<Self> {
        Self::up_to(*BLOCKS.end(), checkpoint, height, width, isa)
    }

    /// Compiles the blocks up to `last_block`, in Keras' numbers.
    ///
    /// # Errors
    /// Names a tensor that is missing.
    pub fn up_to(last_block: usize, checkpoint: &Checkpoint, height: usize, width: usize, isa: Isa) -> Result<Self> {
        Ok(Self { plan: Plan::new(checkpoint, height, width, isa, last_block)? })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Memory for one picture at a time, on at most `threads` threads.
    pub fn workspace(&self, threads: usize) -> Workspace {
        let largest = self.plan.largest_activation();
        Workspace {
            activations: std::array::from_fn(|_| Buffer::zeros(largest)),
            scratch: (0..threads).map(|_| Scratch::new(self.plan.isa, self.plan.most_channels())).collect(),
        }
    }

    /// The last feature map of a picture, in the workspace; computed on `threads` threads at most.
    ///
    /// Shapes: `pixels` [H,W,3] of the plan's size, in [−1, 1].
    ///
    /// # Errors
    /// If the picture has another size.
    pub fn forward<'a>(&self, pixels: &[f32], threads: usize, workspace: &'a mut Workspace) -> Result<Activation<'a>> {
        self.forward_steps(pixels, threads, workspace, &mut |_, _| Ok(()))
    }

    /// [`Self::forward`], showing `visit` each step with what it wrote.
    ///
    /// # Errors
    /// Those of `visit`, and if the picture has another size.
    pub fn forward_steps<'a>(
        &self,
        pixels: &[f32],
        threads: usize,
        workspace: &'a mut Workspace,
        visit: &mut (dyn FnMut(&Step, Activation) -> Result<()> + Send),
    ) -> Result<Activation<'a>> {
        let expected = self.plan.input.elements();
        ensure!(pixels.len() == expected, "a picture of {} values, the engine takes {expected}", pixels.len());
        // From inside the pool: to hand each step to it from outside would cost two wake-ups a step.
        let last = rayon::scope(|_| {
            let mut last = 0;
            for step in &self.plan.steps {
                run_step(step, &self.plan.weights[step.weights.clone()], pixels, threads, workspace);
                let blocks = &workspace.activations[step.to][..step.out_shape.vectors()];
                visit(step, Activation { blocks, shape: step.out_shape })?;
                last = step.to;
            }
            anyhow::Ok(last)
        })?;
        let shape = self.plan.output;
        Ok(Activation { blocks: &workspace.activations[last][..shape.vectors()], shape })
    }

    /// Features of several pictures: as many on each of rayon's threads, the rest one after the other
    /// across all of them.
    ///
    /// Shapes: each of `pictures` [H,W,3], each result [2048], or [h,w,2048] without pooling.
    ///
    /// # Errors
    /// If a picture has another size.
    pub fn features(&self, pictures: &[&[f32]], pool: Pool, workspaces: &mut Vec<Workspace>) -> Result<Vec<Vec<f32>>> {
        let threads = rayon::current_num_threads();
        let share = if threads > 1 { pictures.len() / threads } else { 0 };
        let (alone, together) = pictures.split_at(share * threads);
        // The first is for pictures across all threads as well.
        let needed = if alone.is_empty() { 1 } else { threads };
        for index in workspaces.len()..needed {
            workspaces.push(self.workspace(if index == 0 { threads } else { 1 }));
        }
        let run = |pictures: &[&[f32]], threads, workspace: &mut Workspace| {
            let one = |picture: &&[f32]| Ok(self.forward(picture, threads, workspace)?.pooled(pool));
            pictures.iter().map(one).collect::<Result<Vec<_>>>()
        };
        let mut features = Vec::with_capacity(pictures.len());
        if share > 0 {
            let shares = alone.par_chunks(share).zip(workspaces.par_iter_mut());
            let shares = shares.map(|(pictures, workspace)| run(pictures, 1, workspace));
            features.extend(shares.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        }
        features.extend(run(together, threads, &mut workspaces[0])?);
        Ok(features)
    }
}

/// What a step wrote, blocked by channels.
#[derive(Debug, Clone, Copy)]
pub struct Activation<'a> {
    blocks: &'a [Lanes],
    shape: Image,
}

impl Activation<'_> {
    /// The usual layout, [H,W,C].
    pub fn to_hwc(self) -> Vec<f32> {
        let (pixels, c) = (self.shape.pixels(), self.shape.c);
        let mut out = vec![0.0; self.shape.elements()];
        for (block, vectors) in self.blocks.chunks_exact(pixels).enumerate() {
            for (vector, out) in vectors.iter().zip(out.chunks_exact_mut(c)) {
                out[block * LANES..].iter_mut().zip(vector).for_each(|(out, value)| *out = *value);
            }
        }
        out
    }

    /// A feature vector [C], or without pooling the feature map [H,W,C].
    pub fn pooled(self, pool: Pool) -> Vec<f32> {
        match pool {
            Pool::None => self.to_hwc(),
            Pool::Max => self.fold(f32::NEG_INFINITY, f32::max),
            Pool::Avg => {
                let count = self.shape.pixels() as f32;
                self.fold(0.0, |sum, value| sum + value).into_iter().map(|sum| sum / count).collect()
            }
        }
    }

    /// Combines each channel's pixels in their order.
    fn fold(self, start: f32, combine: fn(f32, f32) -> f32) -> Vec<f32> {
        let pool = |pixels: &[Lanes]| {
            let mut pooled = [start; LANES];
            for pixel in pixels {
                pooled.iter_mut().zip(pixel).for_each(|(pooled, &value)| *pooled = combine(*pooled, value));
            }
            pooled
        };
        let mut pooled: Vec<f32> = self.blocks.chunks_exact(self.shape.pixels()).flat_map(pool).collect();
        pooled.truncate(self.shape.c);
        pooled
    }
}

/// One convolution on `threads` threads at most.
fn run_step(step: &Step, weights: &[Lanes], picture: &[f32], threads: usize, workspace: &mut Workspace) {
    // The output's buffer is none of those that the step reads, so it can be taken out meanwhile.
    let mut out = std::mem::take(&mut workspace.activations[step.to]);
    let Workspace { activations, scratch } = workspace;
    let activation = |buffer: usize, shape: Image| &activations[buffer][..shape.vectors()];
    let convolve = Convolve {
        inputs: &step.inputs,
        panels: &step.panels,
        weights,
        residual: match step.added {
            Added::Nothing => Residual::None,
            Added::Sum(buffer) => Residual::Sum(activation(buffer, step.out_shape)),
            Added::MaxPool(buffer, pool) => Residual::MaxPool(activation(buffer, pool.input.into()), pool),
        },
        relu: step.relu,
        x: match step.from {
            Place::Picture => picture,
            Place::Buffer(buffer) => activation(buffer, step.in_shape).as_flattened(),
        },
        x_shape: step.in_shape,
        out_shape: step.out_shape,
    };
    let threads = threads.clamp(1, scratch.len());
    convolve.run(&mut scratch[..threads], &mut out[..step.out_shape.vectors()]);
    workspace.activations[step.to] = out;
}
