//! Signals: long work asks here whether to stop, saves what is done and says [`Interrupted`].
//!
//! SIGINT (Ctrl-C), SIGTERM and SIGHUP end the program, but no temporary file is left. After [`install`] the first one
//! is a request, which [`check`] passes on; a later one ends the program at once. A signal that was ignored when the
//! program started stays ignored: so `nohup` works, and a background job of a shell script is not stopped by Ctrl-C.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::low_level;

use crate::{output, terminal};

/// Signals that come within this time are one: `timeout` sends its signal to the program and then to its group.
const TOGETHER: Duration = Duration::from_secs(1);
/// Time for the last message: a terminal that takes none must not keep the program alive.
const LAST_WORDS: Duration = Duration::from_millis(200);

static IS_REQUEST: AtomicBool = AtomicBool::new(false);
/// The first signal since then.
static REQUESTED: OnceLock<(Signal, Instant)> = OnceLock::new();

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    HangUp = 1,
    Interrupt = 2,
    Terminate = 15,
}

impl Signal {
    const ALL: [Signal; 3] = [Signal::HangUp, Signal::Interrupt, Signal::Terminate];

    fn number(self) -> i32 {
        self as i32
    }

    /// Exit status of a program that this signal ended, as shells give it.
    pub const fn exit_status(self) -> i32 {
        128 + self as i32
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::HangUp => "hung up",
            Signal::Interrupt => "interrupted",
            Signal::Terminate => "terminated",
        })
    }
}

/// The program was asked to stop; what was done is saved as the message says.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{signal}; {saved}")]
pub struct Interrupted {
    pub signal: Signal,
    saved: String,
}

/// Handles signals from now on. Call once, when no other thread changes the environment any more.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    let signals: Vec<i32> = Signal::ALL.into_iter().filter(|signal| !is_ignored(*signal)).map(Signal::number).collect();
    Ok(listen_to(&signals)?)
}

/// Makes the next signal a request, and one that comes later an end. A second call changes nothing.
pub fn install() {
    IS_REQUEST.store(true, Ordering::Relaxed);
}

/// Passes unless the program was asked to stop.
///
/// # Errors
/// [`Interrupted`] with `saved`, what becomes of the work so far.
pub fn check(saved: impl FnOnce() -> String) -> Result<()> {
    if let Some((signal, _)) = REQUESTED.get() {
        bail!(Interrupted { signal: *signal, saved: saved() });
    }
    Ok(())
}

/// A signal came; runs on a thread of its own.
fn receive(number: i32) {
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.number() == number) else { return };
    if !IS_REQUEST.load(Ordering::Relaxed) {
        output::settle_all();
        // As if nobody had listened: a shell's loop ends with a command that died of SIGINT.
        let _ = low_level::emulate_default_handler(number);
        low_level::exit(signal.exit_status());
    }
    let (first, time) = REQUESTED.get_or_init(|| (signal, Instant::now()));
    if time.elapsed() > TOGETHER {
        end_at_once(*first);
    }
}

fn end_at_once(signal: Signal) -> ! {
    let settled = output::settle_all();
    let kept: Vec<String> = settled.iter().map(|path| path.display().to_string()).collect();
    let kept = if kept.is_empty() { String::new() } else { format!("; the results so far are in {}", kept.join(", ")) };
    let (said, is_said) = mpsc::channel();
    thread::spawn(move || {
        terminal::warn(format_args!("{signal} twice, ended at once{kept}"));
        said.send(())
    });
    let _ = is_said.recv_timeout(LAST_WORDS);
    low_level::exit(signal.exit_status())
}

#[cfg(unix)]
fn listen_to(signals: &[i32]) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(receive))?;
    Ok(())
}

/// Other systems have no way to wait for a signal.
#[cfg(not(unix))]
fn listen_to(signals: &[i32]) -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    const PAUSE: Duration = Duration::from_millis(50);
    let arrived = Arc::new(AtomicUsize::new(0));
    for &signal in signals.iter().filter(|signal| **signal != Signal::HangUp.number()) {
        signal_hook::flag::register_usize(signal, Arc::clone(&arrived), signal as usize)?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        loop {
            receive(arrived.swap(0, Ordering::Relaxed) as i32);
            thread::sleep(PAUSE);
        }
    })?;
    Ok(())
}

/// Whether whoever started the program had it ignore the signal.
#[cfg(unix)]
fn is_ignored(signal: Signal) -> bool {
    ignored_by_status(signal).unwrap_or_else(|| ignored_by_child(signal))
}

#[cfg(not(unix))]
fn is_ignored(_: Signal) -> bool {
    false
}

/// As Linux tells it; nothing elsewhere.
#[cfg(unix)]
fn ignored_by_status(signal: Signal) -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (signal.number() - 1) & 1 == 1)
}

/// As a child finds it, which inherits what is ignored: it sends itself the signal, and goes on only if that is.
#[cfg(unix)]
fn ignored_by_child(signal: Signal) -> bool {
    use std::process::{Command, Stdio};

    let mut child = Command::new("/bin/sh");
    child.args(["-c", &format!("kill -{} $$", signal.number())]);
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().is_ok_and(|status| status.success())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the children of the test, to the numbers of the signals that they ignore.
    const IGNORED: &str = "XCEPT_TEST_IGNORED";

    #[test]
    fn a_signal_that_was_ignored_at_the_start_is_known_by_both_ways() {
        if let Ok(ignored) = std::env::var(IGNORED) {
            for signal in Signal::ALL {
                let expected = ignored.split(' ').any(|number| number == signal.number().to_string());
                assert_eq!(ignored_by_child(signal), expected, "{signal:?}");
                assert!(ignored_by_status(signal).is_none_or(|found| found == expected), "{signal:?}");
            }
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "interrupt::tests::a_signal_that_was_ignored_at_the_start_is_known_by_both_ways";
        // No shell can undo what was ignored when these tests began, by nohup or in the background of a script.
        let inherited = Signal::ALL.into_iter().filter(|signal| ignored_by_child(*signal));
        let inherited: Vec<String> = inherited.map(|signal| signal.number().to_string()).collect();
        for ignored in Signal::ALL.map(Signal::number) {
            let script = format!("trap '' {ignored}; exec \"$0\" --exact {name}");
            let mut child = Command::new("/bin/sh");
            let all = format!("{ignored} {}", inherited.join(" "));
            let output = child.args(["-c", &script]).arg(&this).env(IGNORED, all).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{ignored}: {said}");
        }
    }
}
