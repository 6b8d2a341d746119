//! A classifier: backbone, head, class names and preprocessing, from one model file.
//!
//! A file that holds a head alone names the backbone that its features came from; any other
//! backbone is refused, for its features would look right and mean something else.

use std::collections::HashMap;
use std::mem;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;

use crate::dataset::Input;
use crate::features::{Cache, Pipeline};
use crate::head::Head;
use crate::image::Preprocessing;
use crate::network::{self, FeatureExtractor};
use crate::rejection::Known;
use crate::weights::{
    Checkpoint, Digest, HeadMetadata, Source,
    hub::{self, Hub},
};
use crate::{batches, image};

#[derive(Debug)]
pub struct Classifier {
    extractor: FeatureExtractor,
    head: Head,
    metadata: HeadMetadata,
    known: Option<Known>,
    pipeline: Option<Pipeline>,
    origin: String,
    views: Views,
}

/// What of a picture the classifier looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Views {
    /// The picture as it is.
    #[default]
    Plain,
    /// The picture and its mirror image, whose probabilities are averaged (horizontal flips at test time, as in
    /// Krizhevsky et al. 2012).
    Flip,
}

/// What the classifier says of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// [K]
    pub probabilities: Vec<f32>,
    /// How far it is from the pictures that the classifier was trained on ([`Known::distance`]), if the model
    /// knows these.
    pub distance: Option<f64>,
}

/// What a classifier is made of.
#[derive(Debug)]
pub struct Parts {
    pub backbone: Checkpoint,
    pub head: Head,
    pub metadata: HeadMetadata,
    pub preprocessing: Preprocessing,
    /// Where the training pictures lie, if the model says so.
    pub known: Option<Known>,
    /// What the features of pictures come from, where others can compute them, too: the network is one that is named,
    /// not the model's own.
    pub pipeline: Option<Pipeline>,
    /// Where the model comes from, for messages.
    pub origin: String,
}

/// A class and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of the class in the order of the logits.
    pub class: usize,
    pub probability: f32,
}

impl Parts {
    /// The parts of the classifier in `model`. If the file holds a head alone, its backbone is `base`, or else the one the
    /// file names, which is downloaded without the user's token.
    ///
    /// # Errors
    /// If the model has no head, or its backbone can't be had or is another than it was trained on.
    pub fn new(
        model: Checkpoint,
        base: Option<&Source>,
        hub: &Hub,
        progress: hub::Progress,
        device: &Device,
    ) -> Result<Self> {
        let origin = &model.origin;
        let Some(metadata) = model.metadata.head.clone().filter(|_| model.has_head()) else {
            bail!("{origin}: has no classifier; train one with `xcept finetune`, or pass a model that has a head");
        };
        let head = Head::new(&model.tensors, device).with_context(|| origin.clone())?;
        let head = head.with_temperature(metadata.temperature).with_unit_length(metadata.unit_length);
        let known = Known::from_tensors(&model.tensors).with_context(|| origin.clone())?;
        let named = metadata.class_names.len();
        let ids = metadata.class_ids.as_ref().map_or(named, Vec::len);
        ensure!(
            (named, ids) == (head.classes()?, named),
            "{origin}: names {named} classes ({ids} ids), its head has {}; convert it again with --class-names",
            head.classes()?
        );
        model.check_head_inputs().with_context(|| origin.clone())?;
        let preprocessing = model.metadata.preprocessing;
        let origin = origin.clone();
        let named = base.map(Source::to_string).or_else(|| model.metadata.base.clone());
        let pipeline = named.filter(|_| !model.has_backbone()).map(|base| Pipeline {
            backbone: model.backbone_digest(),
            base,
            convention: model.metadata.convention,
            preprocessing,
            pool: metadata.pool,
        });
        let backbone = if model.has_backbone() { model } else { load_backbone(&model, base, hub, progress)? };
        Ok(Self { backbone, head, metadata, preprocessing, known, pipeline, origin })
    }
}

impl Classifier {
    /// # Errors
    /// If the backbone is incomplete.
    pub fn new(parts: Parts, device: &Device) -> Result<Self> {
        let Parts { backbone, head, metadata, preprocessing, known, pipeline, origin } = parts;
        let extractor = FeatureExtractor::new(&backbone, preprocessing, metadata.pool, device)?;
        Ok(Self { extractor, head, metadata, known, pipeline, origin, views: Views::Plain })
    }

    /// The same that looks at these views of each picture.
    pub fn with_views(self, views: Views) -> Self {
        Self { views, ..self }
    }

    /// What results call the model.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Names of the classes in the order of the logits.
    pub fn class_names(&self) -> &[String] {
        &self.metadata.class_names
    }

    /// The classes' WordNet ids, if they are ImageNet's.
    pub fn class_ids(&self) -> Option<&[String]> {
        self.metadata.class_ids.as_deref()
    }

    /// Where the pictures lie that the classifier was trained on.
    ///
    /// # Errors
    /// If the model does not say, with the remedy; `option` is what needs it.
    pub fn known(&self, option: &str) -> Result<&Known> {
        self.known.as_ref().with_context(|| {
            format!(
                "{}: keeps no statistics of its training pictures, which {option} needs; pass a model that this \
                 version's `xcept finetune` has trained on a dozen pictures of each class or more",
                self.origin
            )
        })
    }

    /// The share of known pictures that the model takes for known unless the user says otherwise; none keeps all.
    pub fn keep_known(&self) -> Option<f64> {
        self.metadata.keep_known.filter(|_| self.known.is_some())
    }

    /// What the features of pictures come from, if it is not the model's own network.
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_ref()
    }

    /// Index of the class that has this name, or this WordNet id.
    pub fn find_class(&self, name_or_id: &str) -> Option<usize> {
        self.metadata.find_class(name_or_id)
    }

    /// Reads and classifies `inputs` a batch at a time. `consume` gets each batch, in order, with
    /// the judgement of each picture or why it could not be read. Features that are in `cache` are not computed.
    ///
    /// # Errors
    /// Those of `consume`, and if the network refuses its input; not if the cache can't be written.
    pub fn classify(
        &self,
        inputs: &[Input],
        cache: Option<&mut Cache>,
        mut consume: impl FnMut(&[Input], Vec<Result<Judgement>>) -> Result<()>,
    ) -> Result<()> {
        let nothing = HashMap::new();
        let (known, mut writer) = match cache {
            Some(Cache { known, writer }) => (&*known, Some(writer)),
            None => (&nothing, None),
        };
        let keeps = writer.is_some();
        let prepare = |input: &Input| {
            let bytes = image::read(&input.path)?;
            let digest = keeps.then(|| Digest::of_bytes(&bytes));
            let known = digest.as_ref().and_then(|digest| known.get(digest));
            let is_mirrored = self.views == Views::Flip;
            let mut views: Vec<View> = known.map(View::Known).into_iter().collect();
            if known.is_none() || is_mirrored {
                let pixels = self.extractor.prepare(&bytes)?;
                let mirrored = is_mirrored.then(|| View::New(self.extractor.mirror(pixels.clone())));
                views.extend(known.is_none().then_some(View::New(pixels)));
                views.extend(mirrored);
            }
            Ok((digest, views))
        };
        batches::for_each(inputs, network::batch_size(), prepare, |batch, prepared| {
            let (digests, views): (Vec<_>, Vec<_>) = prepared.into_iter().map(separate).unzip();
            let features = self.features(views)?;
            if let Some(writer) = &mut writer {
                let rows = batch.iter().zip(digests).zip(&features).filter_map(|((input, digest), views)| {
                    let (digest, plain) = (digest?, views.as_ref().ok()?.first()?.clone());
                    let is_fresh = !known.contains_key(&digest);
                    Some((input.name(), digest, plain, is_fresh))
                });
                let rows = rows.collect();
                if let Err(error) = writer.add(rows) {
                    tracing::debug!("no longer kept: {error:#}");
                }
            }
            consume(batch, features.into_iter().map(|features| self.judge(&features?)).collect())
        })
    }

    /// Features of each view of the pictures that could be read, those that are not known all through the network at
    /// once, and the errors of the others in their places.
    fn features(&self, mut pictures: Vec<Result<Vec<View>>>) -> Result<Vec<Result<Vec<Vec<f32>>>>> {
        let take_pixels = |view: &mut View| match view {
            View::Known(_) => None,
            View::New(pixels) => Some(Ok(mem::take(pixels))),
        };
        let new = pictures.iter_mut().flatten().flatten().filter_map(take_pixels).collect();
        let mut computed = self.extractor.features(new)?.into_iter();
        let mut of_view = |view: View| match view {
            View::Known(features) => Ok(features.clone()),
            View::New(_) => computed.next().context("a view without features")?,
        };
        let of_picture = |views: Result<Vec<View>>| {
            // All of them before the first error ends it: each takes the next that was computed.
            let features: Vec<Result<Vec<f32>>> = views?.into_iter().map(&mut of_view).collect();
            features.into_iter().collect()
        };
        Ok(pictures.into_iter().map(of_picture).collect())
    }

    /// Judges a picture by the features of its views, the picture itself first. The distance is that of the picture
    /// itself, since the limit was set on pictures without their mirror images.
    fn judge(&self, views: &[Vec<f32>]) -> Result<Judgement> {
        let plain = views.first().context("a picture without features")?;
        let distance = self.known.as_ref().map(|known| known.distance(plain));
        let answers = views.iter().map(|features| self.head.answer(features)).collect::<Result<Vec<_>>>()?;
        let mean = |class: usize| answers.iter().map(|answer| answer[class]).sum::<f32>() / answers.len() as f32;
        Ok(Judgement { probabilities: (0..self.class_names().len()).map(mean).collect(), distance })
    }
}

/// A view of a picture on its way to its features.
enum View<'a> {
    Known(&'a Vec<f32>),
    /// The network's input.
    New(Vec<f32>),
}

/// The digest of a picture that could be read, beside what became of it.
fn separate<T>(read: Result<(Option<Digest>, T)>) -> (Option<Digest>, Result<T>) {
    match read {
        Ok((digest, views)) => (digest, Ok(views)),
        Err(error) => (None, Err(error)),
    }
}

fn load_backbone(model: &Checkpoint, base: Option<&Source>, hub: &Hub, progress: hub::Progress) -> Result<Checkpoint> {
    let origin = &model.origin;
    let (base, backbone) = match (base, &model.metadata.base) {
        (Some(base), _) => (base.to_string(), base.load(hub, progress)?),
        (None, Some(base)) => {
            let source: Source = base.parse().with_context(|| format!("{origin}: its backbone `{base}`"))?;
            (base.clone(), source.load(&hub.named_by(origin), progress)?)
        }
        (None, None) => bail!("{origin}: holds a head alone and does not name its backbone"),
    };
    let (expected, found) = (model.backbone_digest(), backbone.backbone_digest());
    ensure!(
        expected == found,
        "{origin}: the head was trained on the backbone {}, but `{base}` is {}; \
         pass that backbone, or train the head again with `xcept finetune -m {base}`",
        expected.short(),
        found.short()
    );
    Ok(backbone.with_convention(model.metadata.convention))
}

/// The `top` likeliest classes, likeliest first, equally likely ones by class.
pub fn likeliest(probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut predictions: Vec<Prediction> =
        probabilities.iter().enumerate().map(|(class, &probability)| Prediction { class, probability }).collect();
    predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.class.cmp(&b.class)));
    predictions.truncate(top);
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_classes_come_first_and_ties_keep_their_order() {
        let classes = |top| likeliest(&[0.1, 0.4, 0.4, 0.1], top).iter().map(|p| p.class).collect::<Vec<_>>();
        assert_eq!(classes(3), [1, 2, 0]);
        assert_eq!(classes(9), [1, 2, 0, 3]);
    }
}
