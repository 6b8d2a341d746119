//! Inputs prepared beside the work that consumes them, in order, a batch at a time.

use std::sync::mpsc::sync_channel;

use anyhow::Result;
use rayon::prelude::*;

/// Batches that may wait, prepared, for the consumer; with the two in hand they bound the memory.
const WAITING: usize = 1;

/// Calls `prepare` on every input on rayon's threads and `consume` with each batch of inputs and
/// what became of them, in order, on the calling thread, while the next batch is prepared.
///
/// # Errors
/// The first error of `consume`; no further batch is consumed.
pub fn for_each<T: Sync, P: Send>(
    inputs: &[T],
    batch_size: usize,
    prepare: impl Fn(&T) -> P + Sync,
    mut consume: impl FnMut(&[T], Vec<P>) -> Result<()>,
) -> Result<()> {
    let batches = || inputs.chunks(batch_size.max(1));
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let prepare = &prepare;
        scope.spawn(move || {
            for batch in batches() {
                let prepared: Vec<P> = batch.par_iter().map(prepare).collect();
                if sender.send(prepared).is_err() {
                    return; // the consumer gave up
                }
            }
        });
        batches().zip(receiver).try_for_each(|(batch, prepared)| consume(batch, prepared))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_is_consumed_once_and_in_order() {
        let inputs: Vec<usize> = (0..103).collect();
        for batch_size in [1, 4, 200] {
            let mut seen = Vec::new();
            let consume = |batch: &[usize], prepared: Vec<usize>| {
                assert!(batch.len() <= batch_size && batch.iter().zip(&prepared).all(|(i, p)| p == &(2 * i)));
                seen.extend_from_slice(batch);
                Ok(())
            };
            for_each(&inputs, batch_size, |i| 2 * i, consume).unwrap();
            assert_eq!(seen, inputs);
        }
    }

    #[test]
    fn an_error_of_the_consumer_ends_the_work() {
        let inputs: Vec<usize> = (0..1000).collect();
        let mut consumed = 0;
        let result = for_each(
            &inputs,
            10,
            |i| *i,
            |_, _| {
                consumed += 1;
                anyhow::bail!("enough")
            },
        );
        assert_eq!((result.unwrap_err().to_string().as_str(), consumed), ("enough", 1));
    }
}
