//! Runs a plan: one picture across all threads, or a picture on each.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::plan::{Added, BUFFERS, Place, Plan, Step};
use crate::kernel::buffer::Buffer;
use crate::kernel::convolve::{Convolve, Residual, Scratch};
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
    picture: Buffer,
    activations: [Buffer; BUFFERS],
    scratch: Vec<Scratch>,
}

impl Engine {
    /// Compiles the network of `checkpoint` for pictures of `height`×`width`.
    ///
    /// # Errors
    /// Names a tensor that is missing.
    pub fn new(checkpoint: &Checkpoint, height: usize, width: usize, isa: Isa) -> Result<Self> {
        Ok(Self { plan: Plan::new(checkpoint, height, width, isa)? })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Memory for one picture at a time, on any number of rayon's threads.
    pub fn workspace(&self) -> Workspace {
        let threads = rayon::current_num_threads();
        let largest = self.plan.largest_activation();
        Workspace {
            picture: Buffer::zeros(self.plan.input.elements()),
            activations: std::array::from_fn(|_| Buffer::zeros(largest)),
            scratch: (0..threads).map(|_| Scratch::new(self.plan.isa, self.plan.most_channels())).collect(),
        }
    }

    /// The last feature map of a picture, [h,w,2048], in the workspace; computed on `threads` threads
    /// at most.
    ///
    /// Shapes: `pixels` [H,W,3] of the plan's size, in [−1, 1].
    ///
    /// # Errors
    /// If the picture has another size.
    pub fn forward<'a>(&self, pixels: &[f32], threads: usize, workspace: &'a mut Workspace) -> Result<&'a [f32]> {
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
        visit: &mut dyn FnMut(&Step, &[f32]) -> Result<()>,
    ) -> Result<&'a [f32]> {
        let expected = self.plan.input.elements();
        ensure!(pixels.len() == expected, "a picture of {} values, the engine takes {expected}", pixels.len());
        workspace.picture.copy_from_slice(pixels);
        let mut last = 0;
        for step in &self.plan.steps {
            run_step(step, threads, workspace);
            visit(step, &workspace.activations[step.to][..step.out_shape.elements()])?;
            last = step.to;
        }
        Ok(&workspace.activations[last][..self.plan.output.elements()])
    }

    /// Features of several pictures: whole rounds of a picture on each of rayon's threads, the rest
    /// one after the other across all of them.
    ///
    /// Shapes: each of `pictures` [H,W,3], each result [2048], or [h,w,2048] without pooling.
    ///
    /// # Errors
    /// If a picture has another size.
    pub fn features(
        &self,
        pictures: &[Vec<f32>],
        pool: Pool,
        workspaces: &mut Vec<Workspace>,
    ) -> Result<Vec<Vec<f32>>> {
        let threads = rayon::current_num_threads();
        let whole = pictures.len() / threads * threads;
        let (alone, together) = pictures.split_at(if threads > 1 { whole } else { 0 });
        workspaces.resize_with(workspaces.len().max(if alone.is_empty() { 1 } else { threads }), || self.workspace());
        let mut features = Vec::with_capacity(pictures.len());
        for round in alone.chunks(threads) {
            let one = |(picture, workspace): (&Vec<f32>, &mut Workspace)| {
                Ok(self.pooled(self.forward(picture, 1, workspace)?, pool))
            };
            features.extend(round.par_iter().zip(workspaces.par_iter_mut()).map(one).collect::<Result<Vec<_>>>()?);
        }
        for picture in together {
            features.push(self.pooled(self.forward(picture, threads, &mut workspaces[0])?, pool));
        }
        Ok(features)
    }

    /// A feature vector from a feature map.
    pub fn pooled(&self, map: &[f32], pool: Pool) -> Vec<f32> {
        let channels = self.plan.output.c;
        let fold = |start: f32, combine: fn(f32, f32) -> f32| {
            let mut pooled = vec![start; channels];
            for pixel in map.chunks_exact(channels) {
                pooled.iter_mut().zip(pixel).for_each(|(pooled, &value)| *pooled = combine(*pooled, value));
            }
            pooled
        };
        match pool {
            Pool::None => map.to_vec(),
            Pool::Max => fold(f32::NEG_INFINITY, f32::max),
            Pool::Avg => {
                let count = self.plan.output.pixels() as f32;
                fold(0.0, |sum, value| sum + value).into_iter().map(|sum| sum / count).collect()
            }
        }
    }
}

/// One convolution, its output pixels shared out among the workspace's threads.
fn run_step(step: &Step, threads: usize, workspace: &mut Workspace) {
    // The output's buffer is none of those that the step reads, so it can be taken out meanwhile.
    let mut out = std::mem::replace(&mut workspace.activations[step.to], Buffer::zeros(0));
    let Workspace { picture, activations, scratch } = workspace;
    let convolve = Convolve {
        inputs: &step.inputs,
        panels: &step.panels,
        residual: match step.added {
            Added::Nothing => Residual::None,
            Added::Sum(buffer) => Residual::Sum(&activations[buffer]),
            Added::MaxPool(buffer, pool) => Residual::MaxPool(&activations[buffer], pool),
        },
        relu: step.relu,
        x: match step.from {
            Place::Picture => picture.padded(),
            Place::Buffer(buffer) => activations[buffer].padded(),
        },
        x_shape: step.in_shape,
        out_shape: step.out_shape,
    };
    let pixels = step.out_shape.pixels();
    let share = pixels.div_ceil(threads.clamp(1, scratch.len()));
    let shares = out[..step.out_shape.elements()].par_chunks_mut(share * step.out_shape.c);
    shares.zip(scratch.par_iter_mut()).enumerate().for_each(|(index, (out, scratch))| {
        let start = index * share;
        convolve.run(start..pixels.min(start + share), scratch, out);
    });
    workspace.activations[step.to] = out;
}
