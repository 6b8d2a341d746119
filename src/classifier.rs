//! A classifier: backbone, head, class names and preprocessing, from one model file.
//!
//! A file that holds a head alone names the backbone that its features came from; any other
//! backbone is refused, for its features would look right and mean something else.

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;

use crate::head::Head;
use crate::network::FeatureExtractor;
use crate::weights::{
    Checkpoint, HeadMetadata, Source,
    hub::{self, Hub},
};

#[derive(Debug)]
pub struct Classifier {
    extractor: FeatureExtractor,
    head: Head,
    metadata: HeadMetadata,
}

/// A class and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of the class in the order of the logits.
    pub class: usize,
    pub probability: f32,
}

impl Classifier {
    /// The classifier that `model` holds, with the backbone it names where it has none of its own.
    ///
    /// # Errors
    /// If the model has no head, or its backbone can't be had or is another than it was trained on.
    pub fn new(model: Checkpoint, hub: &Hub, progress: hub::Progress, device: &Device) -> Result<Self> {
        let origin = &model.origin;
        let Some(metadata) = model.metadata.head.clone().filter(|_| model.has_head()) else {
            bail!("{origin}: has no classifier; train one with `xcept finetune`, or pass a model that has a head");
        };
        let head = Head::new(&model.tensors, device).with_context(|| origin.clone())?;
        let named = metadata.class_names.len();
        let ids = metadata.class_ids.as_ref().map_or(named, Vec::len);
        ensure!(
            (named, ids) == (head.classes()?, named),
            "{origin}: names {named} classes ({ids} ids), its head has {}; convert it again with --class-names",
            head.classes()?
        );
        let backbone = if model.has_backbone() { None } else { Some(load_backbone(&model, hub, progress)?) };
        let preprocessing = model.metadata.preprocessing;
        let extractor =
            FeatureExtractor::new(backbone.as_ref().unwrap_or(&model), preprocessing, metadata.pool, device)?;
        Ok(Self { extractor, head, metadata })
    }

    pub fn extractor(&self) -> &FeatureExtractor {
        &self.extractor
    }

    /// What results call the model.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    pub fn class_name(&self, class: usize) -> &str {
        &self.metadata.class_names[class]
    }

    /// The class's WordNet id, if it is one of ImageNet's.
    pub fn class_id(&self, class: usize) -> Option<&str> {
        self.metadata.class_ids.as_ref().map(|ids| ids[class].as_str())
    }

    /// The `top` likeliest classes of each picture, likeliest first.
    ///
    /// Shapes: each of `pixels` [size,size,3] as [`crate::image::Preprocessing::apply`] makes them.
    ///
    /// # Errors
    /// If the network refuses its input.
    pub fn classify(&self, pixels: &[&[f32]], top: usize) -> Result<Vec<Vec<Prediction>>> {
        let features = self.extractor.forward(pixels)?;
        let probabilities = self.head.probabilities(&features)?.to_vec2::<f32>()?;
        Ok(probabilities.iter().map(|row| likeliest(row, top)).collect())
    }
}

fn load_backbone(model: &Checkpoint, hub: &Hub, progress: hub::Progress) -> Result<Checkpoint> {
    let origin = &model.origin;
    let base = model.metadata.base.as_deref();
    let base = base.with_context(|| format!("{origin}: holds a head alone and does not name its backbone"))?;
    let source: Source = base.parse().with_context(|| format!("{origin}: its backbone `{base}`"))?;
    let backbone = source.load(hub, progress)?;
    let (expected, found) = (model.backbone_digest(), backbone.backbone_digest());
    ensure!(
        expected == found,
        "{origin}: the head was trained on the backbone {}, but `{base}` is {}; \
         train it again with `xcept finetune -m {base}`",
        expected.short(),
        found.short()
    );
    Ok(backbone.with_convention(model.metadata.convention))
}

/// Sorted by falling probability, equal ones by class.
fn likeliest(probabilities: &[f32], top: usize) -> Vec<Prediction> {
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
