//! The examples of a run: which rows train, which validate, and the sources made of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::boundary::{Boundary, Origin};
use super::fit::random;
use super::run::Example;
use super::settings::Settings;
use super::source::{Cached, Picture, Pictures, Rows, Source, View};
use super::split::{assign, drawn};
use crate::architecture;
use crate::features::{Features, Row};
use crate::image::Augmentation;
use crate::kernel::isa::Isa;
use crate::network::FeatureExtractor;
use crate::output;
use crate::rejection::Known;
use crate::weights::{Checkpoint, Digest};

/// Share of the training pictures whose distances from the others stand for those of new pictures.
const HELD_FOR_DISTANCES: f64 = 0.2;

/// Fewer say nothing of how far new pictures may be.
const LEAST_HELD: usize = 5;

/// The rows of a features file, shared out.
#[derive(Debug)]
pub struct Data<'a> {
    pub features: &'a Features,
    pub train: Vec<&'a Row>,
    pub val: Vec<&'a Row>,
}

impl<'a> Data<'a> {
    /// Shares out the rows as [`assign`] does.
    ///
    /// # Errors
    /// Those of [`assign`], and if a feature is not a number.
    pub fn new(features: &'a Features, val_fraction: Option<f64>, seed: u64) -> Result<Self> {
        let labels = features.rows.iter().map(|row| (row.split, row.class));
        let (train, val) = assign(&features.class_names, labels, val_fraction, seed)?;
        features.ensure_finite()?;
        let rows = |indices: Vec<usize>| indices.into_iter().map(|index| &features.rows[index]).collect();
        Ok(Self { features, train: rows(train), val: rows(val) })
    }

    /// The classes that have a single training picture, which is never held out.
    pub fn single_pictures(&self) -> Vec<&'a str> {
        let names = self.features.class_names.iter().enumerate();
        let count = |class: usize| self.train.iter().filter(|row| row.class == Some(class)).count();
        names.filter(|(class, _)| count(*class) == 1).map(|(_, name)| name.as_str()).collect()
    }

    /// Every picture with its part and class, training first.
    pub fn examples(&self) -> impl Iterator<Item = Example<'_>> {
        let example = |split| {
            move |row: &&'a Row| {
                let class = row.class.map_or("", |class| self.features.class_names[class].as_str());
                Example { path: &row.path, split, class }
            }
        };
        self.train.iter().map(example("train")).chain(self.val.iter().map(example("val")))
    }

    /// Of all pictures, their parts and classes, wherever they lie.
    pub fn digest(&self) -> Digest {
        let rows = self.train.iter().map(|row| ("train", row)).chain(self.val.iter().map(|row| ("val", row)));
        let mut text: String = self.features.class_names.iter().map(|name| format!("{name}\n")).collect();
        text.extend(rows.map(|(split, row)| format!("{split} {} {}\n", row.sha256, row.class.unwrap_or(0))));
        Digest::of_bytes(text.as_bytes())
    }

    /// Passes if every picture is still there.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check_pictures(&self) -> Result<()> {
        match self.train.iter().chain(&self.val).find(|row| !Path::new(&row.path).is_file()) {
            Some(row) if row.path.contains(char::REPLACEMENT_CHARACTER) => {
                bail!("{}: its name is not UTF-8; rename it and extract the features again", row.path)
            }
            Some(row) => bail!("{}: the picture is no longer there; training the network needs it", row.path),
            None => Ok(()),
        }
    }

    /// Where the training pictures' features lie, and how far the validation pictures are from there; without such,
    /// how far training pictures are from the others. None where none can be held out.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn known(&self, seed: u64) -> Result<Option<Known>> {
        let (train, val) = self.rows(&Device::Cpu);
        if !val.rows.is_empty() {
            return Known::fit(&train.rows, &train.classes, &val.rows).map(Some);
        }
        let is_held = drawn(&train.classes, HELD_FOR_DISTANCES, &mut random(seed, "distances"));
        let of = |held: bool| (0..train.rows.len()).filter(move |&row| is_held[row] == held).collect::<Vec<_>>();
        let (learnt, held) = (of.clone()(false), of(true));
        if held.len() < LEAST_HELD {
            return Ok(None);
        }
        let rows = |indices: &[usize]| indices.iter().map(|&row| train.rows[row]).collect::<Vec<_>>();
        let classes: Vec<usize> = learnt.iter().map(|&row| train.classes[row]).collect();
        let others = Known::fit(&rows(&learnt), &classes, &rows(&held))?;
        Ok(Some(Known::fit(&train.rows, &train.classes, &rows(&held))?.with_quantiles_of(&others)))
    }

    /// Training and validation examples for the head alone.
    pub fn rows(&self, device: &Device) -> (Rows<'a>, Rows<'a>) {
        let of = |rows: &[&'a Row]| Rows {
            rows: rows.iter().map(|row| row.values.as_slice()).collect(),
            classes: classes(rows),
            device: device.clone(),
        };
        (of(&self.train), of(&self.val))
    }
}

fn classes(rows: &[&Row]) -> Vec<usize> {
    rows.iter().filter_map(|row| row.class).collect()
}

fn pictures(rows: &[&Row]) -> Vec<Picture> {
    rows.iter().map(|row| Picture { path: row.path.clone().into(), sha256: row.sha256.clone() }).collect()
}

/// What stands below the first block that trains: it gives the network's examples.
pub struct Below<'a> {
    data: &'a Data<'a>,
    extractor: FeatureExtractor,
    device: Device,
    /// Activations of plain pictures, and of augmented views.
    plain: Option<Boundary>,
    views: Option<Boundary>,
    view: View,
}

impl<'a> Below<'a> {
    /// Opens what is kept from earlier runs.
    ///
    /// # Errors
    /// If a picture is no longer there, the backbone is incomplete, or the cache folder can't be written.
    pub fn open(data: &'a Data<'a>, backbone: &Checkpoint, settings: &Settings, device: &Device) -> Result<Self> {
        let first_block = settings.first_block().context("nothing but the head trains")?;
        data.check_pictures()?;
        let preprocessing = data.features.pipeline.preprocessing;
        let extractor = FeatureExtractor::below(first_block, backbone, preprocessing, device)?;
        let (side, channels) = architecture::boundary(first_block, preprocessing.size);
        let keep = |augment: Augmentation, seed: u64| {
            let (pipeline, computed_by) = (data.features.pipeline.clone(), computed_by(device)?);
            let origin = Origin { pipeline, first_block, augment, seed, computed_by };
            Boundary::open(&cache_file(data, &origin)?, &origin, [side, side, channels])
        };
        let has_blocks_below = first_block > 1;
        let view = View { augment: settings.augment, views: settings.views, seed: settings.seed };
        let view = if settings.augment.is_none() { View::plain() } else { view };
        let plain = has_blocks_below.then(|| keep(Augmentation::NONE, 0)).transpose()?;
        let keeps_views = has_blocks_below && settings.views.is_some();
        let views = keeps_views.then(|| keep(settings.augment, settings.seed)).transpose()?;
        Ok(Self { data, extractor, device: device.clone(), plain, views, view })
    }

    /// Activations that are still to be computed, and the bytes that they will take.
    pub fn missing(&self) -> (usize, u64) {
        let of = |(_, missing): (_, Vec<_>)| missing.len();
        let count = self.plain_missing().map_or(0, of) + self.views_missing().map_or(0, of);
        let record = self.plain.as_ref().map_or(0, Boundary::record_size);
        (count, count as u64 * record)
    }

    fn plain_missing(&self) -> Option<(View, Vec<(Picture, usize)>)> {
        let mut wanted = pictures(&self.data.val);
        if self.view.augment.is_none() {
            wanted.extend(pictures(&self.data.train));
        }
        Some((View::plain(), self.plain.as_ref()?.missing(&wanted, &View::plain())))
    }

    fn views_missing(&self) -> Option<(View, Vec<(Picture, usize)>)> {
        Some((self.view, self.views.as_ref()?.missing(&pictures(&self.data.train), &self.view)))
    }

    /// Computes what is missing; `done` hears of each batch.
    ///
    /// # Errors
    /// As [`Boundary::fill`].
    pub fn fill(&mut self, done: &mut dyn FnMut(usize)) -> Result<()> {
        let (plain, views) = (self.plain_missing(), self.views_missing());
        for (boundary, missing) in [(&mut self.plain, plain), (&mut self.views, views)] {
            if let (Some(boundary), Some((view, missing))) = (boundary, missing) {
                boundary.fill(&missing, &view, &self.extractor, done)?;
            }
        }
        Ok(())
    }

    /// The files in which activations are kept, with their sizes in bytes.
    pub fn kept(&self) -> Vec<(&Path, u64)> {
        [&self.plain, &self.views].into_iter().flatten().map(|boundary| (boundary.path(), boundary.size())).collect()
    }

    pub fn train(&self) -> Box<dyn Source + '_> {
        let kept = if self.view.augment.is_none() { &self.plain } else { &self.views };
        self.source(&self.data.train, self.view, kept.as_ref())
    }

    /// The training pictures as they are.
    pub fn plain_train(&self) -> Box<dyn Source + '_> {
        // Of pictures that are augmented, what is kept are views.
        let kept = self.plain.as_ref().filter(|_| self.view.augment.is_none());
        self.source(&self.data.train, View::plain(), kept)
    }

    /// Never augmented.
    pub fn val(&self) -> Box<dyn Source + '_> {
        self.source(&self.data.val, View::plain(), self.plain.as_ref())
    }

    fn source<'s>(&'s self, rows: &[&Row], view: View, kept: Option<&'s Boundary>) -> Box<dyn Source + 's> {
        let (pictures, classes, device) = (pictures(rows), classes(rows), self.device.clone());
        match kept {
            Some(boundary) => Box::new(Cached { pictures, classes, view, boundary, device }),
            None => Box::new(Pictures { pictures, classes, view, extractor: &self.extractor }),
        }
    }
}

fn computed_by(device: &Device) -> Result<String> {
    let how = match device {
        Device::Cpu => Isa::detect()?.name(),
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    };
    Ok(format!("xcept {} on {how}", env!("CARGO_PKG_VERSION")))
}

/// A file in the user's cache folder for these pictures and this origin.
fn cache_file(data: &Data, origin: &Origin) -> Result<PathBuf> {
    // Whichever way they are shared out.
    let mut pictures: Vec<String> = data.train.iter().chain(&data.val).map(|row| row.sha256.to_string()).collect();
    pictures.sort();
    let key = format!("{} {}", pictures.concat(), serde_json::to_string(origin)?);
    let folder = output::cache_folder("activations")?;
    Ok(folder.join(format!("block{}-{}", origin.first_block, Digest::of_bytes(key.as_bytes()).short())))
}
