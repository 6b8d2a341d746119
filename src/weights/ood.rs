//! Names and shapes of what a head says of the pictures it was trained on (`ood`: out of distribution).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::check::MAX_HEAD_ELEMENTS;
use crate::architecture::FEATURES;

/// Mean features of the classes, [K,2048].
pub const MEANS: &str = "ood.means";
/// The strongest directions of the covariance, [r,2048].
pub const COMPONENTS: &str = "ood.components";
/// Along the components, then along every other direction, [r+1].
pub const VARIANCES: &str = "ood.variances";
/// Distances within which equal shares of known pictures lie.
pub const QUANTILES: &str = "ood.quantiles";
/// How many: the least distance, then one for each thousandth.
pub const SHARES: usize = 1001;

/// Whether a tensor of this name is one of them.
pub fn is_ood_tensor(name: &str) -> bool {
    [MEANS, COMPONENTS, VARIANCES, QUANTILES].contains(&name)
}

/// Takes them out of `rest`, where they are there for a classifier with so many `outputs`.
///
/// # Errors
/// If one is missing or misshapen, by name.
pub(super) fn check(rest: &mut BTreeMap<&str, &[usize]>, outputs: usize) -> Result<()> {
    if !rest.keys().any(|name| is_ood_tensor(name)) {
        return Ok(());
    }
    let mut take = |name: &str| rest.remove(name).with_context(|| format!("missing tensor `{name}`"));
    let components = take(COMPONENTS)?;
    let count = components.first().copied().unwrap_or(0);
    ensure!(
        components == [count, FEATURES] && count <= FEATURES,
        "tensor `{COMPONENTS}` is {components:?}, expected [directions, {FEATURES}]"
    );
    // A single output tells two classes apart.
    let classes = outputs.max(2);
    ensure!(classes <= MAX_HEAD_ELEMENTS / FEATURES, "a head of {classes} classes is too large");
    for (name, expected) in [(MEANS, vec![classes, FEATURES]), (VARIANCES, vec![count + 1]), (QUANTILES, vec![SHARES])]
    {
        let shape = take(name)?;
        ensure!(shape == expected, "tensor `{name}` is {shape:?}, expected {expected:?}");
    }
    Ok(())
}
