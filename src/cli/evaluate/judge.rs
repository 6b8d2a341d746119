//! Pictures through the classifier, with a bar; what cannot be read is told at once.

use anyhow::{Result, bail};

use super::report::Unreadable;
use crate::classifier::{Classifier, Judgement};
use crate::cli::Context;
use crate::dataset::Input;
use crate::features::Cache;
use crate::{interrupt, terminal};

/// What the classifier says of each picture, in order; `truth` names the class of picture i.
pub fn judge<'a>(
    inputs: &[Input],
    truth: impl Fn(usize) -> &'a str,
    classifier: &Classifier,
    cache: Option<&mut Cache>,
    context: &Context,
) -> Result<Vec<Result<Judgement, Unreadable>>> {
    let bar = context.terminal.progress(inputs.len(), "pictures");
    interrupt::install();
    let mut outcomes = Vec::with_capacity(inputs.len());
    classifier.classify(inputs, cache, |batch, judgements| {
        interrupt::check(|| "nothing has been written".to_owned())?;
        for (input, judgement) in batch.iter().zip(judgements) {
            let unreadable = |error: anyhow::Error| {
                let path = input.name();
                bar.suspend(|| terminal::warn(format_args!("{}: {error:#}", terminal::printable(&path))));
                Unreadable { path, truth: truth(outcomes.len()).to_owned(), error: format!("{error:#}") }
            };
            let outcome = judgement.map_err(unreadable);
            outcomes.push(outcome);
        }
        bar.inc(batch.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    let unreadable = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if unreadable > 0 {
        context.terminal.note(format_args!("{unreadable} of {} pictures could not be read", inputs.len()));
    }
    Ok(outcomes)
}

/// Passes if any picture could be read.
pub fn ensure_any_readable(outcomes: &[Result<Judgement, Unreadable>]) -> Result<()> {
    if let Some(Err(Unreadable { path, error, .. })) = outcomes.first()
        && outcomes.iter().all(Result::is_err)
    {
        bail!("none of {} pictures could be read; the first: {path}: {error}", outcomes.len());
    }
    Ok(())
}
