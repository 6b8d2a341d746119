//! The command line: what each subcommand is called with, and what it ends with.

mod audit;
mod bench;
mod classify;
mod convert;
mod data;
mod ending;
mod evaluate;
mod explain;
mod extract_features;
mod finetune;
mod info;
mod lr_find;
mod model;
mod similar;
mod training;
mod weights;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use candle_core::Device;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::image;
use crate::interrupt::{self, Interrupted, Signal};
use crate::kernel;
use crate::output::{self, Existing};
use crate::terminal::{self, Terminal};
use crate::weights::hub::{Hub, Unavailable};

/// Classify photographs, extract features and train classifiers with Xception
#[derive(Debug, Parser)]
#[command(name = "xcept", version, max_term_width = 100, after_help = EXIT_STATUS_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

const EXIT_STATUS_HELP: &str = "Exit status: 0 done; 1 failed; 2 wrong usage; 3 done, but some inputs could not be \
                                read; 4 a check did not hold; 5 weights unavailable; 129 hung up, 130 interrupted \
                                or 143 terminated by a signal, with what was done saved.";

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
    /// Threads to compute with [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Never touch the network
    #[arg(long, global = true)]
    offline: bool,
    /// No notes and no progress bars
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Say what is done in detail, on stderr
    #[arg(long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Classify(classify::Classify),
    ExtractFeatures(extract_features::ExtractFeatures),
    Finetune(Box<finetune::Finetune>),
    LrFind(Box<lr_find::LrFind>),
    Evaluate(evaluate::Evaluate),
    Explain(explain::Explain),
    Audit(audit::Audit),
    Similar(similar::Similar),
    Convert(convert::Convert),
    #[command(subcommand)]
    Weights(weights::Weights),
    Info(info::Info),
    Bench(bench::Bench),
}

/// What every command may use.
#[derive(Clone)]
struct Context {
    device: Device,
    hub: Hub,
    terminal: Terminal,
}

impl Context {
    /// The same for weights that `file` names and the user does not.
    fn named_by(&self, file: &Path) -> Self {
        Self { hub: self.hub.named_by(file.display()), ..self.clone() }
    }

    /// Writes a page into a folder that is made if it is not there, and says what to do with it.
    fn write_page(&self, folder: &Path, name: &str, existing: Existing, html: &str) -> Result<()> {
        let path = folder.join(name);
        output::make_folder(folder)?;
        output::write_atomically(&path, existing, html.as_bytes())?;
        self.terminal.note(format_args!("{}: open it in a browser", path.display()));
        Ok(())
    }
}

/// How a command that did not fail ended; the numbers are the program's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Done = 0,
    Failed = 1,
    WrongUsage = 2,
    SomeUnreadable = 3,
    CheckFailed = 4,
    WeightsUnavailable = 5,
    HungUp = Signal::HangUp.exit_status() as isize,
    Interrupted = Signal::Interrupt.exit_status() as isize,
    Terminated = Signal::Terminate.exit_status() as isize,
}

/// Options that contradict one another or make no sense; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

impl From<anyhow::Error> for WrongUsage {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Runs the program with `arguments`, the first being its name, and says how it ended. Errors
/// have been written to stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Status {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(help_or_error) => {
            // A closed pipe is no reason to complain.
            let _ = help_or_error.print();
            return if help_or_error.use_stderr() { Status::WrongUsage } else { Status::Done };
        }
    };
    execute(arguments).unwrap_or_else(|error| {
        let status = status_of(&error);
        if status != Status::Done {
            terminal::warn(format_args!("{error:#}"));
        }
        status
    })
}

fn execute(Arguments { command, global }: Arguments) -> Result<Status> {
    // Rayon's pool, too, takes its size from there when it is first used.
    kernel::prepare_process(global.threads.map(Into::into));
    interrupt::listen()?;
    trace(global.verbose);
    let terminal = Terminal { quiet: global.quiet };
    let hub = Hub::new(global.offline, move |note| terminal.note(note));
    let context = Context { device: global.device.open()?, hub, terminal };
    let ended = run_command(command, &context);
    note_stretched(context.terminal);
    ended
}

fn run_command(command: Command, context: &Context) -> Result<Status> {
    match command {
        Command::Classify(command) => command.run(context),
        Command::ExtractFeatures(command) => command.run(context),
        Command::Finetune(command) => command.run(context),
        Command::LrFind(command) => command.run(context),
        Command::Evaluate(command) => command.run(context),
        Command::Explain(command) => command.run(context),
        Command::Audit(command) => command.run(context),
        Command::Similar(command) => command.run(context),
        Command::Convert(command) => command.run(context),
        Command::Weights(command) => command.run(context),
        Command::Info(command) => command.run(context),
        Command::Bench(command) => command.run(context),
    }
}

/// A guess is not made in silence.
fn note_stretched(terminal: Terminal) {
    let count = image::stretched_files();
    if count > 0 {
        terminal.note(format_args!(
            "{} with samples that use only their lower bits and state no range: brightened to the bits in use",
            terminal::counted(count, "picture", "pictures")
        ));
    }
}

/// The status that an error means. A reader that closed the pipe had enough: that is no failure.
fn status_of(error: &anyhow::Error) -> Status {
    if output::is_closed_pipe(error) {
        Status::Done
    } else if let Some(Interrupted { signal, .. }) = error.chain().find_map(|cause| cause.downcast_ref()) {
        match signal {
            Signal::HangUp => Status::HungUp,
            Signal::Interrupt => Status::Interrupted,
            Signal::Terminate => Status::Terminated,
        }
    } else if error.chain().any(|cause| cause.is::<Unavailable>()) {
        Status::WeightsUnavailable
    } else if error.chain().any(|cause| cause.is::<WrongUsage>()) {
        Status::WrongUsage
    } else {
        Status::Failed
    }
}

/// Traces go to stderr as `RUST_LOG` asks, or at level debug with `--verbose`.
fn trace(verbose: bool) {
    let default = if verbose { "xcept=debug" } else { "off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default.parse().unwrap_or_default());
    let writer = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(FilterFn::new(has_no_secrets)).with(writer).init();
}

/// At level trace the HTTP client writes out the bytes of its requests, the token among them, and signed addresses.
fn has_no_secrets(metadata: &tracing::Metadata) -> bool {
    !(metadata.target().starts_with("ureq") && *metadata.level() == tracing::Level::TRACE)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceChoice {
    Auto,
    Cpu,
    Cuda(usize),
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "cuda" => DeviceChoice::Cuda(0),
            "metal" => DeviceChoice::Metal,
            _ => match text.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
                Some(number) => DeviceChoice::Cuda(number),
                None => bail!("expected auto, cpu, cuda, cuda:N or metal"),
            },
        })
    }
}

impl DeviceChoice {
    fn open(self) -> Result<Device> {
        let build = |feature: &str| {
            format!("this xcept has no {feature} device; build it with `cargo build --release --features {feature}`")
        };
        match self {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Cuda(number) => Device::new_cuda(number).with_context(|| build("cuda")),
            DeviceChoice::Metal => Device::new_metal(0).with_context(|| build("metal")),
            DeviceChoice::Auto if candle_core::utils::cuda_is_available() => Ok(Device::new_cuda(0)?),
            DeviceChoice::Auto if candle_core::utils::metal_is_available() => Ok(Device::new_metal(0)?),
            DeviceChoice::Auto => Ok(Device::Cpu),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn devices_are_told_by_name_and_number() {
        assert_eq!("cuda:3".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(3));
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }
}
