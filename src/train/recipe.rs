//! Settings that others have published, by name.
//!
//! Sources: F. Chollet, "Xception", 2017, section 4 (`paper-imagenet`, `paper-jft`); the well-known
//! experiment with 4,000 pictures of Kaggle's Dogs vs. Cats in Keras (`cats-vs-dogs`).

use super::optimizer::OptimizerKind;
use super::schedule::{Every, Schedule};
use super::settings::{BatchNormMode, HeadTraining, Settings, Unfreeze};
use crate::image::Augmentation;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Recipe {
    /// A dense head on frozen features, then five epochs of the whole network at SGD 0.005, momentum 0.1,
    /// Nesterov, with augmentation
    CatsVsDogs,
    /// SGD with momentum 0.9, rate 0.045 × 0.94 every 2 epochs, weight decay 1e-5, dropout 0.5 before the
    /// classifier, averaged weights
    PaperImagenet,
    /// RMSprop with momentum 0.9, rate 0.001 × 0.9 every 3 million pictures, weight decay 1e-5, no dropout,
    /// averaged weights
    PaperJft,
}

impl Recipe {
    pub fn settings(self) -> Settings {
        let whole_network = Settings { head: HeadTraining::Epochs, unfreeze: Unfreeze::From(1), ..Settings::default() };
        let paper = Settings {
            hidden: Vec::new(),
            batch_norm: BatchNormMode::Train,
            momentum: 0.9,
            weight_decay: 1e-5,
            ema: Some(0.999),
            ..whole_network.clone()
        };
        match self {
            Recipe::CatsVsDogs => {
                Settings { momentum: 0.1, nesterov: true, augment: Augmentation::ALL, ..whole_network }
            }
            Recipe::PaperImagenet => Settings {
                learning_rate: 0.045,
                finetune_learning_rate: 0.045,
                schedule: Schedule::Step { factor: 0.94, every: Every::Epochs(2.0) },
                ..paper
            },
            Recipe::PaperJft => Settings {
                optimizer: OptimizerKind::Rmsprop,
                learning_rate: 0.001,
                finetune_learning_rate: 0.001,
                schedule: Schedule::Step { factor: 0.9, every: Every::Pictures(3e6) },
                dropout: 0.0,
                ..paper
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_makes_sense_and_names_what_it_sets() {
        for (recipe, part) in [
            (Recipe::CatsVsDogs, "finetune_learning_rate = 0.005"),
            (Recipe::PaperImagenet, "schedule = \"step=0.94/2epochs\""),
            (Recipe::PaperJft, "schedule = \"step=0.9/3000000pictures\""),
        ] {
            let settings = recipe.settings();
            settings.check().unwrap();
            assert!(toml::to_string(&settings).unwrap().contains(part), "{recipe:?}");
        }
    }
}
