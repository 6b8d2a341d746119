//! Finds a network's tensors among those of a file, whatever the file calls them.
//!
//! ```text
//! every name behind one prefix, `net.backbone.`?  ──yes──▶ done
//! else, for what is called otherwise, in the prefix's scope (or any branch of the names that could hold all of it):
//!     modules with the same tails and shapes, and the same own name if there is one that fits, each branch of the names
//!     taken as a whole, in the network's order
//! ```
//!
//! A match must be the only one: two copies of the network, or two orders that fit, are an error. No network is known
//! here; whoever asks gives the list of tensors that are wanted.

#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, HashMap, HashSet};

pub(super) use self::tree::natural;
use self::tree::{Module, Solution, Tree};

/// Words in a prefix that say that what follows are averaged weights, or another copy of the network.
const AVERAGED: [&str; 5] = ["ema", "swa", "averaged", "average", "avg"];

/// A tensor that the network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub shape: Vec<usize>,
}

/// What the sequence of a file's tensors says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They come in the order in which the network was built.
    Definition,
    /// Nothing, only the numbers in names do.
    Unknown,
}

/// Where the wanted tensors are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// For each wanted tensor its index in the file.
    pub indices: Vec<usize>,
    /// What the file puts before the network's names.
    pub prefix: String,
    /// Indices of wanted tensors that the file calls otherwise.
    pub renamed: Vec<usize>,
    /// Indices in the file of what the network does not want.
    pub leftovers: Vec<usize>,
    /// Prefixes of other copies of the network, whole or in large part; these are among the leftovers.
    pub copies: Vec<String>,
}

impl Matching {
    /// Whether a tensor of this name lies in another copy of the network, one inside this one's branch of the names.
    pub fn is_copied(&self, name: &str) -> bool {
        self.copies.iter().any(|copy| copy.len() > self.prefix.len() && name.starts_with(copy.as_str()))
    }
}

/// Why there is no match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Indices of the wanted tensors that are not there.
    Missing(Vec<usize>),
    /// Found by its name, with another shape.
    Misshapen { wanted: usize, found: usize },
    /// Several copies of the network behind these prefixes, none of which goes before the others.
    Copies(Vec<String>),
    /// More than one way to give out what is called otherwise, such as this wanted tensor.
    Ambiguous(usize),
}

/// Finds `wanted` among `found`, a file's names and shapes. Averaged weights go before the raw ones beside them.
///
/// # Errors
/// If it is not there, or there is more than one way to see it.
pub fn find<S: AsRef<str>>(wanted: &[Wanted], found: &[(S, Vec<usize>)], order: Order) -> Result<Matching, Mismatch> {
    let search = Search { wanted, found: found.iter().map(|(n, s)| (n.as_ref(), s.as_slice())).collect(), order };
    let scopes = search.scopes();
    let whole: Vec<&str> =
        scopes.iter().filter(|(_, scope)| scope.fits == wanted.len()).map(|(prefix, _)| *prefix).collect();
    if !whole.is_empty() {
        let prefix = preferred(&whole)?;
        let indices = scopes[prefix].indices.values().copied().collect();
        return Ok(search.matching(indices, prefix, &scopes));
    }
    let best = scopes.iter().max_by_key(|(prefix, scope)| (scope.fits, std::cmp::Reverse(prefix.len())));
    let Some((prefix, scope)) = best.filter(|(_, scope)| 2 * scope.fits > wanted.len()) else {
        return search.by_structure(&scopes);
    };
    let (indices, prefix) = (search.complete(prefix, scope)?, *prefix);
    Ok(search.matching(indices, prefix, &scopes))
}

/// The one of several prefixes to take: the averaged weights'.
fn preferred<'a>(prefixes: &[&'a str]) -> Result<&'a str, Mismatch> {
    // An optimiser keeps averages of gradients by the same names.
    let is_of_optimizer = |prefix: &&str| prefix.to_lowercase().split(['.', '/']).any(|part| part.starts_with("optim"));
    let networks: Vec<&str> = prefixes.iter().copied().filter(|prefix| !is_of_optimizer(prefix)).collect();
    let prefixes = if networks.is_empty() { prefixes } else { &networks };
    let averaged: Vec<&str> = prefixes.iter().copied().filter(|prefix| is_averaged(prefix)).collect();
    match (prefixes, averaged.as_slice()) {
        ([only], _) | (_, [only]) => Ok(only),
        _ => Err(Mismatch::Copies(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect())),
    }
}

fn is_averaged(prefix: &str) -> bool {
    prefix.split(['.', '/', '_']).any(|word| AVERAGED.contains(&word.to_lowercase().as_str()))
}

/// Whether a tensor of this shape is what is wanted; pointwise kernels may lack their trailing 1×1.
pub fn fits(found: &[usize], wanted: &[usize]) -> bool {
    found == wanted || (found.len() == 2 && plain(wanted) == found)
}

/// A shape without a kernel's trailing 1×1.
fn plain(shape: &[usize]) -> &[usize] {
    match shape {
        [plain @ .., 1, 1] if plain.len() == 2 => plain,
        shape => shape,
    }
}

struct Search<'a> {
    wanted: &'a [Wanted],
    found: Vec<(&'a str, &'a [usize])>,
    order: Order,
}

/// What stands behind one prefix under the network's own names.
#[derive(Default)]
struct Scope {
    /// Of the wanted tensor and of the file's.
    indices: BTreeMap<usize, usize>,
    /// How many of them have the right shape.
    fits: usize,
}

impl<'a> Search<'a> {
    /// Every prefix behind which there is one of the wanted names.
    fn scopes(&self) -> BTreeMap<&'a str, Scope> {
        let places: HashMap<&str, usize> =
            self.wanted.iter().enumerate().map(|(index, wanted)| (wanted.name.as_str(), index)).collect();
        let mut scopes: BTreeMap<&str, Scope> = BTreeMap::new();
        for (index, (name, shape)) in self.found.iter().enumerate() {
            let starts = std::iter::once(0).chain(name.match_indices(['.', '/']).map(|(at, _)| at + 1));
            for start in starts {
                let Some(&place) = places.get(&name[start..]) else { continue };
                let scope = scopes.entry(&name[..start]).or_default();
                scope.indices.insert(place, index);
                scope.fits += usize::from(fits(shape, &self.wanted[place].shape));
            }
        }
        scopes
    }

    /// The whole of a scope in which some tensors are called otherwise.
    fn complete(&self, prefix: &str, scope: &Scope) -> Result<Vec<usize>, Mismatch> {
        for (&wanted, &found) in &scope.indices {
            if !fits(self.found[found].1, &self.wanted[wanted].shape) {
                return Err(Mismatch::Misshapen { wanted, found });
            }
        }
        let missing = || (0..self.wanted.len()).filter(|place| !scope.indices.contains_key(place));
        let inside: Vec<usize> =
            (0..self.found.len()).filter(|index| self.found[*index].0.starts_with(prefix)).collect();
        match self.solve_around(&scope.indices, &inside) {
            Solution::One(pairs) => Ok(pairs.into_iter().map(|(_, found)| found).collect()),
            Solution::None => Err(Mismatch::Missing(missing().collect())),
            Solution::Several => Err(Mismatch::Ambiguous(missing().next().unwrap_or_default())),
        }
    }

    /// The network in the one branch of the names that could hold all of it.
    fn by_structure(&self, scopes: &BTreeMap<&str, Scope>) -> Result<Matching, Mismatch> {
        let all: Vec<usize> = (0..self.wanted.len()).collect();
        let missing = || {
            let best = scopes.values().max_by_key(|scope| scope.fits);
            let is_missing = |place: &usize| best.is_none_or(|scope| !scope.indices.contains_key(place));
            Mismatch::Missing(all.iter().copied().filter(is_missing).collect())
        };
        let (mut matches, mut is_ambiguous) = (BTreeMap::new(), false);
        for prefix in self.branches() {
            let inside: Vec<usize> =
                (0..self.found.len()).filter(|index| self.found[*index].0.starts_with(prefix.as_str())).collect();
            // What has its own name is taken first, unless the rest does not fit around it.
            let named = scopes.get(prefix.as_str()).map(|scope| self.named(scope)).unwrap_or_default();
            let solution = match self.solve_around(&named, &inside) {
                Solution::None => self.solve(&all, &inside),
                solution => solution,
            };
            match solution {
                Solution::One(pairs) => drop(matches.insert(prefix, pairs)),
                Solution::Several => is_ambiguous = true,
                Solution::None => {}
            }
        }
        let prefixes: Vec<&str> = matches.keys().map(String::as_str).collect();
        if prefixes.is_empty() {
            return Err(if is_ambiguous { Mismatch::Ambiguous(0) } else { missing() });
        }
        let prefix = preferred(&prefixes)?;
        let indices = matches[prefix].iter().map(|(_, found)| *found).collect();
        let mut matching = self.matching(indices, prefix, scopes);
        matching.copies.extend(prefixes.iter().filter(|other| **other != prefix).map(|other| (*other).to_owned()));
        Ok(matching)
    }

    /// Pairs of tensors of the same name and shape.
    fn named(&self, scope: &Scope) -> BTreeMap<usize, usize> {
        let fits = |(wanted, found): &(&usize, &usize)| fits(self.found[**found].1, &self.wanted[**wanted].shape);
        scope.indices.iter().filter(fits).map(|(wanted, found)| (*wanted, *found)).collect()
    }

    /// [`Self::solve`] for what is not among the `named` pairs, with those.
    fn solve_around(&self, named: &BTreeMap<usize, usize>, inside: &[usize]) -> Solution {
        let missing: Vec<usize> = (0..self.wanted.len()).filter(|place| !named.contains_key(place)).collect();
        let taken: HashSet<usize> = named.values().copied().collect();
        let rest: Vec<usize> = inside.iter().copied().filter(|index| !taken.contains(index)).collect();
        match self.solve(&missing, &rest) {
            Solution::One(pairs) => {
                let mut all = named.clone();
                all.extend(pairs);
                Solution::One(all.into_iter().collect())
            }
            solution => solution,
        }
    }

    /// Prefixes with all the modules that are wanted behind them, of those within one another the longest.
    fn branches(&self) -> Vec<String> {
        let wanted = self.modules_wanted(&(0..self.wanted.len()).collect::<Vec<_>>());
        let wanted = counts(&wanted);
        let modules = self.modules_found(&(0..self.found.len()).collect::<Vec<_>>());
        let mut inside: HashMap<&str, HashMap<_, usize>> = HashMap::new();
        for module in modules.iter().filter(|module| wanted.contains_key(&module.signature())) {
            let stem = module.stem.as_str();
            let ends = stem.match_indices(['.', '/']).map(|(at, _)| at + 1);
            for prefix in std::iter::once(0).chain(ends).map(|end| &stem[..end]) {
                *inside.entry(prefix).or_default().entry(module.signature()).or_default() += 1;
            }
        }
        let holds_all = |found: &HashMap<Vec<(&str, &[usize])>, usize>| {
            wanted.iter().all(|(s, n)| found.get(s).is_some_and(|m| m >= n))
        };
        let mut branches: Vec<&str> =
            inside.iter().filter(|(_, found)| holds_all(found)).map(|(prefix, _)| *prefix).collect();
        branches.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        let mut longest: Vec<String> = Vec::new();
        for branch in branches {
            if !longest.iter().any(|inner| inner.starts_with(branch)) {
                longest.push(branch.to_owned());
            }
        }
        longest
    }

    /// Pairs of wanted and found tensors, every one of `missing`, none twice.
    fn solve(&self, missing: &[usize], rest: &[usize]) -> Solution {
        let wanted = self.modules_wanted(missing);
        let expected = counts(&wanted);
        let mut found = self.modules_found(rest);
        found.retain(|module| expected.contains_key(&module.signature()));
        let counted = counts(&found);
        if expected.iter().any(|(signature, count)| counted.get(signature).is_none_or(|found| found < count)) {
            return Solution::None;
        }
        if counted != expected {
            return Solution::Several;
        }
        Tree::of(&found, self.order).solve(&wanted, &found)
    }

    fn modules_wanted(&self, places: &[usize]) -> Vec<Module> {
        let tensor = |place: &usize| (*place, self.wanted[*place].name.as_str(), plain(&self.wanted[*place].shape));
        modules(places.iter().map(tensor))
    }

    fn modules_found(&self, indices: &[usize]) -> Vec<Module> {
        modules(indices.iter().map(|index| (*index, self.found[*index].0, plain(self.found[*index].1))))
    }

    fn matching(&self, indices: Vec<usize>, prefix: &str, scopes: &BTreeMap<&str, Scope>) -> Matching {
        let taken: HashSet<usize> = indices.iter().copied().collect();
        let is_renamed = |place: &usize| {
            self.found[indices[*place]].0.strip_prefix(prefix) != Some(self.wanted[*place].name.as_str())
        };
        let is_copy = |(other, scope): &(&&str, &Scope)| **other != prefix && 2 * scope.fits > self.wanted.len();
        Matching {
            renamed: (0..indices.len()).filter(is_renamed).collect(),
            leftovers: (0..self.found.len()).filter(|index| !taken.contains(index)).collect(),
            prefix: prefix.to_owned(),
            copies: scopes.iter().filter(is_copy).map(|(other, _)| (*other).to_owned()).collect(),
            indices,
        }
    }
}

/// Tensors with the same name but for its last part, in order.
fn modules<'a>(tensors: impl Iterator<Item = (usize, &'a str, &'a [usize])>) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, name, shape) in tensors {
        let at = name.rfind(['.', '/']).map_or(0, |at| at + 1);
        let place = *places.entry(&name[..at]).or_insert(modules.len());
        if place == modules.len() {
            modules.push(Module { stem: name[..at].to_owned(), members: Vec::new() });
        }
        modules[place].members.push((name[at..].to_owned(), shape.to_vec(), index));
    }
    modules.iter_mut().for_each(|module| module.members.sort());
    modules
}

/// How many modules there are of each kind.
fn counts(modules: &[Module]) -> HashMap<Vec<(&str, &[usize])>, usize> {
    let mut counts = HashMap::new();
    for module in modules {
        *counts.entry(module.signature()).or_default() += 1;
    }
    counts
}
