//! The modules of a file as the tree that their names are, and the search for a way through it that meets the wanted
//! modules in the network's order.
//!
//! A branch is left only when all of it is used, so `block3.skip` is never mixed with `block4`'s. Where the order of
//! the tensors is known, branches are tried in it and the first way is taken. Where it is not, numbered siblings go by
//! their numbers, all others in any order, and there must be one way only.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Order;

/// Steps after which a search gives up: names that say as little as that tell nothing.
const MAX_STEPS: usize = 100_000;

/// The tensors of a layer.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// The name without its last part, `block3.rep.1.conv1.`.
    pub stem: String,
    /// The last part of the name, the shape, and the index in the caller's list; sorted.
    pub members: Vec<(String, Vec<usize>, usize)>,
}

impl Module {
    /// What modules of the same kind share.
    pub fn signature(&self) -> Vec<(&str, &[usize])> {
        self.members.iter().map(|(tail, shape, _)| (tail.as_str(), shape.as_slice())).collect()
    }
}

/// The last parts of a module's name, as many as `depth`; a single number says nothing but the place.
fn tail(module: &Module, depth: usize) -> Option<&str> {
    let stem = module.stem.trim_end_matches(['.', '/']);
    let starts = stem.rmatch_indices(['.', '/']).map(|(at, _)| at + 1).chain(std::iter::once(0));
    let tail = &stem[starts.take(depth).last().unwrap_or_default()..];
    (!tail.bytes().all(|b| b.is_ascii_digit())).then_some(tail)
}

/// The outcome of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Solution {
    None,
    /// Pairs of the indices of wanted and found tensors, sorted.
    One(Vec<(usize, usize)>),
    Several,
}

/// Modules by their names.
pub(super) struct Tree {
    nodes: Vec<Node>,
    order: Order,
}

#[derive(Default)]
struct Node {
    name: String,
    children: Vec<usize>,
    /// The module of this name; such a node has no children, a module's own node is its parent's first child.
    module: Option<usize>,
}

impl Tree {
    pub fn of(modules: &[Module], order: Order) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], order };
        for (index, module) in modules.iter().enumerate() {
            let mut node = 0;
            for part in module.stem.split(['.', '/']).filter(|part| !part.is_empty()) {
                node = tree.child(node, part);
            }
            let leaf = tree.add(node, "");
            tree.nodes[leaf].module = Some(index);
        }
        if order == Order::Unknown {
            let names: Vec<String> = tree.nodes.iter().map(|node| node.name.clone()).collect();
            for node in &mut tree.nodes {
                node.children.sort_by(|a, b| natural(&names[*a], &names[*b]));
            }
        }
        tree
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        let children = &self.nodes[parent].children;
        let found = children.iter().copied().find(|child| self.nodes[*child].name == name);
        found.unwrap_or_else(|| self.add(parent, name))
    }

    fn add(&mut self, parent: usize, name: &str) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node { name: name.to_owned(), ..Node::default() });
        self.nodes[parent].children.push(index);
        index
    }

    /// Gives every wanted module one of those found, if it can be one whose name ends alike, in `4.conv1` or in `conv1`,
    /// whatever comes before.
    pub fn solve(&self, wanted: &[Module], found: &[Module]) -> Solution {
        let solutions = [2, 1, 0].into_iter().map(|depth| self.search(wanted, found, depth));
        solutions.into_iter().find(|solution| *solution != Solution::None).unwrap_or(Solution::None)
    }

    /// [`Self::solve`], where modules whose last names are wanted, up to `depth` of them, are for the wanted ones of these
    /// names only.
    fn search(&self, wanted: &[Module], found: &[Module], depth: usize) -> Solution {
        let names = (1..=depth).map(|depth| wanted.iter().filter_map(|module| tail(module, depth)).collect()).collect();
        let mut walk = Walk { tree: self, wanted, found, names, steps: 0, solutions: HashSet::new() };
        walk.on(vec![self.nodes[0].children.clone()], &mut Vec::new());
        let is_cut_short = walk.steps >= MAX_STEPS;
        let mut solutions = walk.solutions.into_iter();
        match (solutions.next(), solutions.next()) {
            (Some(_), Some(_)) => Solution::Several,
            (Some(_), None) if is_cut_short && self.order == Order::Unknown => Solution::Several,
            (Some(one), None) => Solution::One(pairs(&one, wanted, found)),
            (None, _) if is_cut_short => Solution::Several,
            (None, _) => Solution::None,
        }
    }
}

/// The tensors of matched modules, whose members are sorted alike.
fn pairs(assigned: &[usize], wanted: &[Module], found: &[Module]) -> Vec<(usize, usize)> {
    let modules = wanted.iter().zip(assigned.iter().map(|index| &found[*index]));
    let members = modules.flat_map(|(wanted, found)| wanted.members.iter().zip(&found.members));
    let mut pairs: Vec<_> = members.map(|((_, _, wanted), (_, _, found))| (*wanted, *found)).collect();
    pairs.sort_unstable();
    pairs
}

struct Walk<'a> {
    tree: &'a Tree,
    wanted: &'a [Module],
    found: &'a [Module],
    /// The ends of the wanted modules' names, of one part, of two, ….
    names: Vec<HashSet<&'a str>>,
    steps: usize,
    solutions: HashSet<Vec<usize>>,
}

impl Walk<'_> {
    /// Goes on with the branches that are begun, the innermost last, after the modules `assigned` so far.
    fn on(&mut self, mut begun: Vec<Vec<usize>>, assigned: &mut Vec<usize>) {
        begun.retain(|children| !children.is_empty());
        let Some(children) = begun.last() else {
            if assigned.len() == self.wanted.len() {
                self.solutions.insert(assigned.clone());
            }
            return;
        };
        for place in self.candidates(children) {
            self.steps += 1;
            let enough = if self.tree.order == Order::Definition { 1 } else { 2 };
            if self.steps >= MAX_STEPS || self.solutions.len() >= enough {
                return;
            }
            let mut next = begun.clone();
            let node = next.last_mut().map_or(0, |children| children.remove(place));
            match self.tree.nodes[node].module {
                Some(module) => {
                    let Some(wanted) = self.wanted.get(assigned.len()) else { return };
                    if self.suits(wanted, &self.found[module]) {
                        assigned.push(module);
                        self.on(next, assigned);
                        assigned.pop();
                    }
                }
                None => {
                    next.push(self.tree.nodes[node].children.clone());
                    self.on(next, assigned);
                }
            }
        }
    }

    fn suits(&self, wanted: &Module, found: &Module) -> bool {
        wanted.signature() == found.signature()
            && self.names.iter().zip(1..).all(|(names, depth)| {
                let name = tail(found, depth).filter(|name| names.contains(name));
                name.is_none() || name == tail(wanted, depth)
            })
    }

    /// Which of some siblings may come next, by their places.
    fn candidates(&self, children: &[usize]) -> Vec<usize> {
        if self.tree.order == Order::Definition {
            return (0..children.len()).collect();
        }
        // Of those that differ in their numbers only, the one with the lowest.
        let mut families = HashSet::new();
        let is_first = |place: &usize| families.insert(skeleton(&self.tree.nodes[children[*place]].name));
        (0..children.len()).filter(is_first).collect()
    }
}

/// A name with its numbers taken out.
fn skeleton(name: &str) -> Vec<&str> {
    parts(name).into_iter().map(|part| if part.starts_with(|c: char| c.is_ascii_digit()) { "" } else { part }).collect()
}

/// A name as runs of digits and of other characters.
fn parts(name: &str) -> Vec<&str> {
    let bytes = name.as_bytes();
    let is_end = |at: &usize| bytes[at - 1].is_ascii_digit() != bytes[*at].is_ascii_digit();
    let mut ends: Vec<usize> = (1..bytes.len()).filter(is_end).collect();
    ends.push(bytes.len());
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| &name[start..*end]).collect()
}

/// `block2` before `block10`.
pub(in crate::weights) fn natural(a: &str, b: &str) -> Ordering {
    let number = |part: &str| part.parse::<u64>();
    for (a, b) in parts(a).into_iter().zip(parts(b)) {
        let ordering = match (number(a), number(b)) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.len().cmp(&b.len()).then(a.cmp(b))
}
