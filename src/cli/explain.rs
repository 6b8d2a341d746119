//! `xcept explain`: where in the pictures a classifier looks.

mod names;
mod show;
mod tile;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::model::ClassifierArguments;
use super::{Context, Status, WrongUsage, data};
use crate::classifier::{Parts, Prediction};
use crate::dataset::Input;
use crate::explain::{Explained, Explainer};
use crate::image::{self, Picture};
use crate::output::{self, Existing};
use crate::weights::HeadMetadata;
use crate::{interrupt, plot, terminal};

/// Show where in pictures a classifier looks
#[derive(Debug, Args)]
pub struct Explain {
    /// Pictures and folders (with all below them)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    classifier: ClassifierArguments,
    /// Folder for the pictures with their heat maps, NAME.png for each picture; made if it is not there
    #[arg(long, short, value_name = "DIR", required_unless_present = "show")]
    output: Option<PathBuf>,
    /// What speaks for this class, by name or WordNet id [default: the likeliest of each picture]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Block whose output is weighed
    #[arg(long, default_value = "block14")]
    layer: Layer,
    /// All pictures small on one sheet, grid.png, instead of a file for each
    #[arg(long, requires = "output")]
    grid: bool,
    /// Show the pictures on the terminal, as well as it can
    #[arg(long)]
    show: bool,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

/// The blocks that see enough of the picture to speak for a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layer {
    Block13,
    Block14,
}

impl Layer {
    /// Keras' number.
    fn block(self) -> usize {
        match self {
            Layer::Block13 => 13,
            Layer::Block14 => 14,
        }
    }
}

/// A line of JSON on stdout.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    model: &'a str,
    label: &'a str,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// Name of the sheet.
const GRID: &str = "grid.png";
/// Longest side of a picture on the sheet, in pixels.
const GRID_SIDE: usize = 320;
/// A sheet of more pictures would be larger than viewers open.
const MOST_ON_GRID: usize = 400;

impl Explain {
    pub fn run(self, context: &Context) -> Result<Status> {
        let inputs = data::list(&self.paths, context)?;
        self.check(inputs.len())?;
        let outputs = self.outputs(&inputs)?;
        let parts = self.classifier.open_parts(context)?;
        let class = self.class.as_deref().map(|name| find_class(name, &parts)).transpose()?;
        let metadata = parts.metadata.clone();
        let explainer = Explainer::new(parts, self.layer.block(), &context.device)?;
        self.output.as_deref().map(output::make_folder).transpose()?;

        let bar = context.terminal.progress(inputs.len(), "pictures");
        interrupt::install();
        let (mut tiles, mut unreadable, mut stopped) = (Vec::new(), 0, Ok(()));
        for (index, input) in inputs.iter().enumerate() {
            stopped = interrupt::check(|| self.kept(tiles.len()).to_owned());
            if stopped.is_err() {
                break;
            }
            let path = input.name();
            let explained = image::read(&input.path).and_then(|bytes| explainer.overlay(&bytes, self.side(), class));
            // A bar and results may share a terminal.
            bar.suspend(|| {
                match explained {
                    Ok(explained) => tiles.extend(self.keep(&path, explained, outputs.get(index), &metadata)?),
                    Err(error) => {
                        unreadable += 1;
                        terminal::warn(format_args!("{}: {error:#}", terminal::printable(&path)));
                    }
                }
                anyhow::Ok(())
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if let (Some(sheet), false) = (outputs.first(), tiles.is_empty()) {
            self.write(sheet, &image::contact_sheet(&tiles, image::screen_columns(&tiles)))?;
        }
        stopped?;
        Ok(if unreadable > 0 { Status::SomeUnreadable } else { Status::Done })
    }

    fn check(&self, pictures: usize) -> Result<()> {
        if self.show && !std::io::stdout().is_terminal() {
            bail!(WrongUsage("--show needs a terminal to show pictures on; pass -o DIR to write them".to_owned()));
        }
        if self.grid && pictures > MOST_ON_GRID {
            bail!(WrongUsage(format!(
                "--grid holds {MOST_ON_GRID} pictures, not {pictures}; name fewer, or leave --grid out"
            )));
        }
        Ok(())
    }

    /// What becomes of the work if it is interrupted, with `tiles` pictures for the sheet.
    fn kept(&self, tiles: usize) -> &'static str {
        match (&self.output, self.grid) {
            (Some(_), false) => "the pictures so far have been written",
            (Some(_), true) if tiles > 0 => "the sheet has the pictures so far",
            _ => "nothing has been written",
        }
    }

    /// Sides that a photograph needs: written at its own size, shown and put on a sheet it is small.
    fn side(&self) -> usize {
        if self.grid || self.output.is_none() { GRID_SIDE } else { usize::MAX }
    }

    /// Writes, shows and tells what was found; returns the picture if it is to go on the sheet.
    fn keep(
        &self,
        path: &str,
        explained: Explained,
        output: Option<&PathBuf>,
        metadata: &HeadMetadata,
    ) -> Result<Option<Picture>> {
        let Explained { overlaid, prediction: Prediction { class, probability }, .. } = explained;
        let label = &metadata.class_names[class];
        let share = format!("  {}", terminal::percent(probability.into()));
        let caption = plot::Line { cut: label, kept: &share };
        if self.show {
            show::show(&tile::captioned(image::fitting(&overlaid, GRID_SIDE), caption)?)?;
        }
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let tile = self.grid.then(|| tile::tile(&overlaid, GRID_SIDE, &name, caption)).transpose()?;
        if let (Some(output), false) = (output, self.grid) {
            self.write(output, &tile::captioned(overlaid, caption)?)?;
        }
        let output = output.map(|output| output.display().to_string());
        let printed = print(&Line { path, model: &metadata.name, label, probability, output });
        // The files were asked for, whether or not anybody reads on.
        if self.output.is_some() {
            output::unless_closed(printed)?
        } else {
            printed?
        }
        Ok(tile)
    }

    fn write(&self, path: &Path, picture: &Picture) -> Result<()> {
        output::write_atomically(path, Existing::of(self.overwrite), &image::png(picture)?)
    }

    /// The file of each picture, or the sheet's for all of them.
    fn outputs(&self, inputs: &[Input]) -> Result<Vec<PathBuf>> {
        let Some(folder) = &self.output else { return Ok(Vec::new()) };
        let paths = || inputs.iter().map(|input| input.path.as_path());
        let names: Vec<String> =
            if self.grid { vec![GRID.to_owned(); inputs.len()] } else { names::distinct(paths()).collect() };
        // On a sheet all have one file.
        let files = if self.grid { &names[..names.len().min(1)] } else { &names };
        output::refuse_unwritable_in(folder, files, Existing::of(self.overwrite), None)?;
        let files: Vec<PathBuf> = files.iter().map(|name| folder.join(name)).collect();
        output::refuse_inputs(&files, paths().chain(self.classifier.files()))?;
        Ok(names.iter().map(|name| folder.join(name)).collect())
    }
}

fn find_class(name: &str, parts: &Parts) -> Result<usize> {
    const SHOWN: usize = 10;
    let unknown = || {
        let HeadMetadata { name: model, class_names, .. } = &parts.metadata;
        let shown = class_names[..class_names.len().min(SHOWN)].join(", ");
        let rest = if class_names.len() > SHOWN { ", …; see `xcept info MODEL`" } else { "" };
        WrongUsage(terminal::printable(&format!("--class {name}: no class of {model} ({shown}{rest})")))
    };
    Ok(parts.metadata.find_class(name).ok_or_else(unknown)?)
}

fn print(line: &Line) -> Result<()> {
    if std::io::stdout().is_terminal() {
        let output = line.output.as_deref().map_or(String::new(), |output| format!("  {output}"));
        let (path, share) = (terminal::printable(line.path), terminal::percent(line.probability.into()));
        let label = terminal::printable(line.label);
        terminal::result(format_args!("{path}  {label}  {share}{}", terminal::printable(&output)))?;
    } else {
        terminal::result(serde_json::to_string(line)?)?;
    }
    Ok(terminal::Stdout::lock().flush()?)
}
