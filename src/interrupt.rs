//! Ctrl-C: long work asks here whether to stop, saves what is done and says [`Interrupted`].
//!
//! Until a command calls [`install`], Ctrl-C ends the program as it ends any other.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Exit status of a program that Ctrl-C ended: 128 + SIGINT.
pub const EXIT_STATUS: i32 = 130;

/// The user asked the program to stop; what was done is saved as the message says.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {saved}")]
pub struct Interrupted {
    saved: String,
}

/// Makes the first Ctrl-C a request and the second an end. A second call changes nothing.
///
/// # Errors
/// If the system refuses the handler.
pub fn install() -> Result<()> {
    let handler = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_STATUS);
        }
    };
    match ctrlc::set_handler(handler) {
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        result => Ok(result?),
    }
}

/// Passes unless the user asked to stop.
///
/// # Errors
/// [`Interrupted`] with `saved`, what becomes of the work so far.
pub fn check(saved: impl FnOnce() -> String) -> Result<()> {
    if REQUESTED.load(Ordering::Relaxed) {
        bail!(Interrupted { saved: saved() });
    }
    Ok(())
}
