//! A small picture of every kind and tag of each format; `tests/data/images/kinds.py` made them and asked Pillow 13.

use std::collections::BTreeMap;

use super::*;

#[derive(Deserialize)]
pub(super) struct Expected {
    size: Option<[usize; 2]>,
    sha256: Option<String>,
    #[serde(default)]
    levels: u8,
    error: Option<String>,
}

/// What is wrong with our reading of a picture, if anything is.
pub(super) fn fault(folder: &str, name: &str, expected: &Expected) -> Option<String> {
    let decoded = decode_whole(&fixture(&format!("{folder}/{name}")));
    let picture = match (decoded, &expected.error) {
        (Ok(_), Some(start)) => return Some(format!("is read, expected the error `{start}…`")),
        (Err(error), None) => return Some(format!("is refused: {error:#}")),
        (Err(error), Some(start)) => {
            let error = format!("{error:#}");
            let is_right = error.starts_with(start.as_str()) && !error.contains('\n') && error.contains(';');
            return (!is_right).then(|| format!("says `{error}`, expected `{start}…` and a remedy"));
        }
        (Ok(picture), None) => picture,
    };
    let size = [picture.width, picture.height];
    if Some(size) != expected.size {
        return Some(format!("has {size:?} pixels, expected {:?}", expected.size));
    }
    if Some(sha256(&picture.pixels)) == expected.sha256 {
        return None;
    }
    let most = (expected.levels > 0).then(|| {
        let reference = decode_whole(&fixture(&format!("{folder}/expected/{name}.png"))).unwrap();
        assert_eq!(Some(sha256(&reference.pixels)), expected.sha256, "{name}: the expectation itself is damaged");
        picture.pixels.iter().zip(&reference.pixels).map(|(ours, theirs)| ours.abs_diff(*theirs)).max().unwrap()
    });
    match most {
        Some(most) if most <= expected.levels => None,
        Some(most) => Some(format!("is {most} levels off, allowed are {}", expected.levels)),
        None => Some("has other pixels".to_owned()),
    }
}

#[test]
fn every_kind_is_read_as_pillow_reads_it_or_refused_with_its_name() {
    let cases: BTreeMap<String, Expected> = expectations("kinds.json");
    assert!(cases.len() > 400);
    let faults: Vec<String> =
        cases.iter().filter_map(|(name, case)| Some(format!("{name} {}", fault("kinds", name, case)?))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
