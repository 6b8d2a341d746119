//! Where a command's features come from: a file of them, or a folder whose features are made on the way and kept.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::model::PipelineArguments;
use super::{Context, WrongUsage, extract_features};
use crate::classifier::Classifier;
use crate::dataset::{self, ClassLevel, Dataset, Input};
use crate::features::{Cache, Extraction, Features, Pipeline};
use crate::weights::{self, Pool};
use crate::{network, output, terminal};

/// What commands work on unless told otherwise.
pub const DEFAULT_DATA: &str = "features.safetensors";

/// Which folders are classes.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ClassesArgument {
    /// The folders that are classes where several could be: top, those right in DATA or in its splits, or leaf, those
    /// that hold the pictures [default: what the names and the other folders suggest, otherwise top]
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    pub classes: Option<ClassLevel>,
}

/// The pictures that `paths` name, with the classes that their folders give them; notes say how the folders were read.
pub fn open(paths: &[PathBuf], classes: ClassesArgument, context: &Context) -> Result<Dataset> {
    let dataset = Dataset::open(paths, classes.classes)?;
    say_notes(&dataset, context);
    Ok(dataset)
}

/// The pictures that `paths` name, without labels.
pub fn list(paths: &[PathBuf], context: &Context) -> Result<Vec<Input>> {
    let dataset = dataset::list(paths)?;
    say_notes(&dataset, context);
    Ok(dataset.inputs)
}

fn say_notes(dataset: &Dataset, context: &Context) {
    dataset.notes.iter().for_each(|note| context.terminal.note(note));
}

/// A line for each picture that has no class, the first of many, among others that have one.
pub fn warn_of_strays<'a>(paths: impl ExactSizeIterator<Item = &'a str>) {
    const NAMED: usize = 20;
    let further = paths.len().saturating_sub(NAMED);
    for path in paths.take(NAMED) {
        terminal::warn(format_args!(
            "{}: lies in no class folder and is left out; move it into that of its class",
            terminal::printable(path)
        ));
    }
    if further > 0 {
        let further = terminal::counted(further, "further picture lies", "further pictures lie");
        terminal::warn(format_args!("{further} in no class folder"));
    }
}

/// Where the features come from.
#[derive(Debug, Args)]
pub struct DataArguments {
    /// A folder of class folders, or a features file
    #[arg(value_name = "DATA", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Where features of a folder are kept for the next run [default: xcept's cache folder]
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    #[command(flatten)]
    pub classes: ClassesArgument,
    #[command(flatten)]
    pub pipeline: PipelineArguments,
}

impl DataArguments {
    /// A file or folder, without further options.
    pub fn of(data: &Path) -> Self {
        let (classes, pipeline) = (ClassesArgument::default(), PipelineArguments::default());
        Self { data: data.to_owned(), features: None, classes, pipeline }
    }

    pub fn check(&self) -> Result<(), WrongUsage> {
        let kept = self.features.as_ref().map(|_| "--features");
        let kept = kept.or(self.classes.classes.map(|_| "--classes"));
        if let (true, Some(option)) = (self.data.is_file(), kept.or_else(|| self.pipeline.first_given())) {
            let data = self.data.display();
            let text = format!("{option}: the features in {data} are made already; pass their folder instead");
            return Err(WrongUsage(text));
        }
        Ok(())
    }

    /// The files that this reads, but for pictures.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        [self.data.as_path()].into_iter().chain(self.features.as_deref()).chain(self.pipeline.model_file())
    }

    /// Features from the file, or of the folder's pictures if they pass `check`, which stands before the work; and the
    /// pictures that could not be read, each with the reason.
    pub fn features(
        &self,
        check: impl FnOnce(&Dataset) -> Result<()>,
        overwrite: bool,
        context: &Context,
    ) -> Result<(Features, Vec<(String, String)>)> {
        let (features, unreadable) =
            if self.data.is_file() { read(&self.data)? } else { self.extract(check, overwrite, context)? };
        let data = self.data.display();
        ensure!(features.pipeline.pool != Pool::None, "{data}: holds maps, not vectors; extract with --pool avg");
        Ok((features, unreadable))
    }

    fn extract(
        &self,
        check: impl FnOnce(&Dataset) -> Result<()>,
        overwrite: bool,
        context: &Context,
    ) -> Result<(Features, Vec<(String, String)>)> {
        if !self.data.is_dir() {
            bail!(
                "{}: no such file or folder; pass a folder of class folders, or make a features file with \
                 `xcept extract-features`",
                self.data.display()
            );
        }
        let dataset = open(std::slice::from_ref(&self.data), self.classes, context)?;
        check(&dataset)?;
        self.features_of(&dataset, overwrite, context)
    }

    /// Features of `dataset`, as which the folder was read; and the pictures that could not be read, each with the reason.
    pub fn features_of(
        &self,
        dataset: &Dataset,
        overwrite: bool,
        context: &Context,
    ) -> Result<(Features, Vec<(String, String)>)> {
        let (_, pipeline, extractor) = self.pipeline.open(context)?;
        let output = match &self.features {
            Some(file) => file.clone(),
            None => cached_features(&self.data, &pipeline)?,
        };
        context.terminal.note(format_args!("features are kept in {}", output.display()));
        let extraction = Extraction {
            dataset,
            pipeline,
            output: &output,
            batch_size: network::batch_size(),
            overwrite: overwrite || self.features.is_none(),
        };
        let outcome = extract_features::extract(&extraction, &extractor, context)?;
        Ok((outcome.features, outcome.unreadable))
    }
}

/// Features from a file, and the pictures whose rows can't be used, each with the reason; a line says so on stderr.
pub fn read(path: &Path) -> Result<(Features, Vec<(String, String)>)> {
    let mut features = Features::read(path)?;
    let unusable = features.take_not_finite();
    if let (true, Some((picture, reason))) = (features.rows.is_empty(), unusable.first()) {
        bail!("{}: none of {} rows can be used; the first: {picture}: {reason}", path.display(), unusable.len());
    }
    extract_features::warn_of(&unusable);
    Ok((features, unusable))
}

/// What is kept of the features of one folder's pictures for a classifier whose network others use, too. Nothing where
/// several paths are given, or where it can't be written: then everything is computed.
pub fn cache(paths: &[PathBuf], classifier: &Classifier) -> Option<Cache> {
    let [folder] = paths else { return None };
    let pipeline = classifier.pipeline().filter(|_| folder.is_dir())?;
    let open = || Cache::open(&cached_features(folder, pipeline)?, pipeline);
    open().inspect_err(|error| tracing::debug!("no cache of features: {error:#}")).ok()
}

/// Keeps what was computed for the pictures of the one folder that `paths` name; where that can't be done, the next
/// command computes it again.
pub fn keep(cache: Option<Cache>, paths: &[PathBuf], classes: ClassesArgument) {
    let Some(cache) = cache else { return };
    if let Err(error) = cache.writer.finish(|| Dataset::open(paths, classes.classes)) {
        tracing::debug!("features are not kept: {error:#}");
    }
}

/// A file in the user's cache folder for this folder of pictures and this pipeline.
fn cached_features(data: &Path, pipeline: &Pipeline) -> Result<PathBuf> {
    let data = data.canonicalize().with_context(|| data.display().to_string())?;
    let key = format!("{} {}", data.display(), serde_json::to_string(pipeline)?);
    let digest = weights::Digest::of_bytes(key.as_bytes());
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = output::cache_folder("features")?;
    Ok(folder.join(format!("{name}-{}.safetensors", digest.short())))
}
