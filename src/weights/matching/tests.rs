//! Toy networks under many names: what is found, what is left, and what is refused.

use super::*;

type Named = Vec<(String, Vec<usize>)>;

fn tensor(name: &str, shape: &[usize]) -> (String, Vec<usize>) {
    (name.to_owned(), shape.to_vec())
}

fn norm(stem: &str, channels: usize) -> Named {
    ["weight", "bias", "running_mean", "running_var"].map(|tail| tensor(&format!("{stem}.{tail}"), &[channels])).into()
}

/// A stem and `blocks` alike blocks, each with a shortcut whose shapes are those of its second convolution.
fn network(blocks: usize) -> Named {
    let mut network = vec![tensor("stem.weight", &[8, 3, 3, 3])];
    network.extend(norm("stem_bn", 8));
    for block in 1..=blocks {
        network.push(tensor(&format!("block{block}.conv1.weight"), &[8, 8, 3, 3]));
        network.extend(norm(&format!("block{block}.bn1"), 8));
        network.push(tensor(&format!("block{block}.conv2.weight"), &[8, 8, 1, 1]));
        network.extend(norm(&format!("block{block}.bn2"), 8));
        network.push(tensor(&format!("block{block}.skip.weight"), &[8, 8, 1, 1]));
    }
    network
}

fn wanted(network: &Named) -> Vec<Wanted> {
    network.iter().map(|(name, shape)| Wanted { name: name.clone(), shape: shape.clone() }).collect()
}

fn renamed(network: &Named, rename: impl Fn(&str) -> String) -> Named {
    network.iter().map(|(name, shape)| (rename(name), shape.clone())).collect()
}

/// Finds `network` in `found` and passes if tensor `n` of it is the `n`th of those that `own` keeps.
#[track_caller]
fn assert_found(network: &Named, found: &Named, order: Order, own: impl Fn(&str) -> bool) -> Matching {
    let matching = find(&wanted(network), found, order).unwrap();
    let expected: Vec<usize> = (0..found.len()).filter(|index| own(&found[*index].0)).collect();
    assert_eq!(matching.indices, expected);
    let left: Vec<usize> = (0..found.len()).filter(|index| !own(&found[*index].0)).collect();
    assert_eq!(matching.leftovers, left);
    matching
}

/// By name, as a safetensors file lists its tensors; with the places where they were.
fn sorted(network: &Named) -> (Named, Vec<usize>) {
    let mut places: Vec<usize> = (0..network.len()).collect();
    places.sort_by(|a, b| network[*a].0.cmp(&network[*b].0));
    (places.iter().map(|place| network[*place].clone()).collect(), places)
}

/// Finds `network` in a file that has the tensors of `found`, which come in the same order, sorted by name.
#[track_caller]
fn assert_found_sorted(network: &Named, found: &Named) {
    let (file, places) = sorted(found);
    let matching = find(&wanted(network), &file, Order::Unknown).unwrap();
    let found: Vec<usize> = matching.indices.iter().map(|index| places[*index]).collect();
    assert_eq!(found, (0..network.len()).collect::<Vec<_>>());
}

#[test]
fn names_are_found_behind_any_prefix_with_anything_beside_them() {
    let network = network(2);
    for prefix in ["", "module.", "model.", "net.backbone.", "state_dict.module._orig_mod."] {
        let mut found = vec![tensor("criterion.weight", &[5]), tensor("optimizer.0.exp_avg", &[8, 3, 3, 3])];
        found.extend(renamed(&network, |name| format!("{prefix}{name}")));
        found.push(tensor("fc.weight", &[5, 8]));
        let own = |name: &str| {
            name.starts_with(prefix) && !["criterion", "optimizer", "fc."].iter().any(|n| name.starts_with(n))
        };
        let matching = assert_found(&network, &found, Order::Unknown, own);
        assert_eq!((matching.prefix.as_str(), matching.renamed.len()), (prefix, 0));
    }
}

#[test]
fn pointwise_kernels_may_lack_their_trailing_axes() {
    let network = network(1);
    let found: Named = network.iter().map(|(name, shape)| (name.clone(), plain(shape).to_vec())).collect();
    assert_found(&network, &found, Order::Unknown, |_| true);
}

#[test]
fn averaged_weights_go_before_the_raw_ones_and_other_copies_are_refused() {
    let network = network(2);
    let two = |a: &str, b: &str| {
        let mut found = renamed(&network, |name| format!("{a}{name}"));
        found.extend(renamed(&network, |name| format!("{b}{name}")));
        found
    };
    for (a, b) in [("state_dict.", "state_dict_ema.module."), ("model.", "ema."), ("", "model_ema.")] {
        let matching = assert_found(&network, &two(a, b), Order::Unknown, |name| name.starts_with(b));
        assert_eq!((matching.prefix.as_str(), matching.copies), (b, vec![a.to_owned()]));
    }
    // What an optimiser keeps is no network, though it is an average.
    let beside = two("", "optimizer.exp_avg.");
    assert_found(&network, &beside, Order::Unknown, |name| !name.starts_with("optimizer"));
    let copies = find(&wanted(&network), &two("student.", "teacher."), Order::Unknown);
    assert_eq!(copies, Err(Mismatch::Copies(vec!["student.".to_owned(), "teacher.".to_owned()])));
}

#[test]
fn a_layer_of_another_name_is_found_by_shape_and_place() {
    let network = network(3);
    // The only one of its shapes.
    let found = renamed(&network, |name| name.replace("stem.weight", "first_convolution.weight"));
    let matching = assert_found(&network, &found, Order::Unknown, |_| true);
    assert_eq!(matching.renamed, [0]);
    assert_found_sorted(&network, &found);
    // A whole block.
    assert_found_sorted(&network, &renamed(&network, |name| name.replace("block2", "middle")));
    // Two of three, told apart by their numbers.
    let found = renamed(&network, |name| name.replace("block2", "middle9").replace("block3", "middle10"));
    assert_found_sorted(&network, &found);
}

#[test]
fn a_network_of_other_names_is_found_by_its_shapes_and_numbers() {
    let network = network(12);
    let found = renamed(&network, |name| {
        let name = name.replace("stem", "entry.stem").replace("block", "layers.");
        format!(
            "net.{}",
            name.replace("conv1", "0")
                .replace("bn1", "1")
                .replace("conv2", "2")
                .replace("bn2", "3")
                .replace("skip", "4")
        )
    });
    assert_found_sorted(&network, &found);
    let mut beside = found.clone();
    beside.push(tensor("net.fc.weight", &[5, 8]));
    beside.push(tensor("criterion.weight", &[5]));
    assert_found(&network, &beside, Order::Definition, |name| name.starts_with("net.") && !name.contains("fc"));
}

#[test]
fn the_order_of_definition_decides_where_names_do_not() {
    let network = network(3);
    let found =
        renamed(&network, |name| name.replace("block1", "one").replace("block2", "two").replace("block3", "three"));
    assert_found(&network, &found, Order::Definition, |_| true);
    let ambiguous = find(&wanted(&network), &sorted(&found).0, Order::Unknown);
    assert!(matches!(ambiguous, Err(Mismatch::Ambiguous(_))), "{ambiguous:?}");
}

#[test]
fn what_could_be_two_things_is_refused() {
    let network = network(1);
    // `a` and `b` could each be the second convolution or the shortcut.
    let found = renamed(&network, |name| name.replace("conv2.weight", "b.weight").replace("skip", "a"));
    let ambiguous = find(&wanted(&network), &found, Order::Unknown);
    assert!(matches!(ambiguous, Err(Mismatch::Ambiguous(_))), "{ambiguous:?}");
    assert_found(&network, &found, Order::Definition, |_| true);
    // One is missing, and two could stand for it.
    let mut found = renamed(&network, |name| name.replace("stem.weight", "a.weight"));
    found.push(tensor("b.weight", &[8, 3, 3, 3]));
    let ambiguous = find(&wanted(&network), &found, Order::Definition);
    assert_eq!(ambiguous, Err(Mismatch::Ambiguous(0)));
    // The whole network twice, under other names.
    let other = |name: &str| name.replace("stem", "root").replace("block", "part");
    let mut found = renamed(&network, |name| format!("left.{}", other(name)));
    found.extend(renamed(&network, |name| format!("right.{}", other(name))));
    let copies = find(&wanted(&network), &found, Order::Unknown);
    assert_eq!(copies, Err(Mismatch::Copies(vec!["left.".to_owned(), "right.".to_owned()])));
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let network = network(2);
    let without = |missing: &str| network.iter().filter(|(name, _)| name != missing).cloned().collect::<Named>();
    let place = |of: &str| network.iter().position(|(name, _)| name == of).unwrap();
    let missing = place("block2.conv1.weight");
    let found = find(&wanted(&network), &without("block2.conv1.weight"), Order::Definition);
    assert_eq!(found, Err(Mismatch::Missing(vec![missing])));
    // A tensor of other shape does not stand in for it, nor does one of the same shape and another tail.
    for stranger in [tensor("x.weight", &[8, 8, 5, 5]), tensor("x.kernel", &[8, 8, 3, 3])] {
        let mut found = without("block2.conv1.weight");
        found.push(stranger);
        assert_eq!(find(&wanted(&network), &found, Order::Definition), Err(Mismatch::Missing(vec![missing])));
    }
    let mut found = network.clone();
    found[missing].1 = vec![8, 8, 5, 5];
    let misshapen = Mismatch::Misshapen { wanted: missing, found: missing };
    assert_eq!(find(&wanted(&network), &found, Order::Unknown), Err(misshapen));
    let nothing = find(&wanted(&network), &[tensor("x.weight", &[1])], Order::Unknown);
    assert_eq!(nothing, Err(Mismatch::Missing((0..network.len()).collect())));
}

#[test]
fn hostile_names_end_the_search() {
    let network = network(24);
    // Every way to give out the blocks fails only at the end.
    let mut found = renamed(&network, |name| format!("{}.{}", name.replace("block", "").replace('.', ""), "x.weight"));
    found
        .iter_mut()
        .enumerate()
        .for_each(|(index, (name, _))| *name = format!("{}{name}", (b'a' + (index % 26) as u8) as char));
    assert!(find(&wanted(&network), &found, Order::Definition).is_err());
}
