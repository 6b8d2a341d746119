//! A sheet of training pictures as augmentation changes them.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::image;
use crate::output::{self, Existing};
use crate::train::{Data, Settings};

/// Pictures on the sheet, one in each row, and columns: the plain picture, then its views.
const ROWS: usize = 6;
const COLUMNS: usize = 7;

/// Writes the sheet, with pictures from all over the training part, as the first epochs will see them.
pub fn write(path: &Path, existing: Existing, data: &Data, settings: &Settings) -> Result<()> {
    let preprocessing = data.features.pipeline.preprocessing;
    let mut tiles = Vec::new();
    let count = ROWS.min(data.train.len());
    for index in 0..count {
        let row = data.train[index * data.train.len() / count];
        let read = || image::decode(&image::read(Path::new(&row.path))?, preprocessing.needed_side());
        let picture = read().with_context(|| row.path.clone())?;
        tiles.push(preprocessing.crop(&picture));
        for view in 0..COLUMNS - 1 {
            let view = settings.views.map_or(view, |views| view % views);
            let mut random = image::generator(settings.seed, &row.sha256.to_string(), view as u64);
            tiles.push(settings.augment.apply(&picture, &preprocessing, &mut random));
        }
    }
    output::write_atomically(path, existing, &image::png(&image::contact_sheet(&tiles, COLUMNS))?)
}
