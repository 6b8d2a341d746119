//! A decoder that panics costs its picture and nothing else.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use anyhow::{Result, anyhow};

thread_local! {
    /// Whether a panic on this thread is one of a decoder, about which nothing is printed.
    static IS_ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder for a file of the format `name`. A panic becomes an error of that file, and is only traced.
pub(super) fn isolated<T>(name: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(silence_isolated_panics);
    let was_isolated = IS_ISOLATED.replace(true);
    // Nothing that the decoder may have left half done outlives it.
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    IS_ISOLATED.set(was_isolated);
    outcome.unwrap_or_else(|_| {
        Err(anyhow!("damaged {name}: its decoder failed; copy the file again, or convert it to JPEG or PNG"))
    })
}

fn silence_isolated_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if IS_ISOLATED.get() {
            tracing::debug!("a decoder panicked: {panic}");
        } else {
            default(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file_and_the_next_file_is_read() {
        let error = isolated("PNG", || -> Result<()> { panic!("index out of bounds") }).unwrap_err().to_string();
        assert_eq!(error, "damaged PNG: its decoder failed; copy the file again, or convert it to JPEG or PNG");
        assert_eq!(isolated("PNG", || Ok(7)).unwrap(), 7);
        assert!(!IS_ISOLATED.get(), "a panic elsewhere on this thread would be silent");
    }
}
