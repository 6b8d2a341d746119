//! Names of classes: ImageNet's, and how names are compared.
//!
//! `labels/imagenet.tsv` has a line for each class in the order of the logits: WordNet id and the
//! first lemma of its synset (Princeton WordNet 3.0, free to use with its notice), made distinct
//! where two classes share a lemma.

use unicode_normalization::UnicodeNormalization;

use crate::architecture::IMAGENET_CLASSES;

const IMAGENET: &str = include_str!("labels/imagenet.tsv");

/// WordNet ids and names in the order of the logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    pub ids: Vec<String>,
    pub names: Vec<String>,
}

/// ImageNet's 1,000 classes, if `classes` is their number.
pub fn imagenet(classes: usize) -> Option<Labels> {
    if classes != IMAGENET_CLASSES {
        return None;
    }
    let (ids, names) = IMAGENET.lines().filter_map(|line| line.split_once('\t')).map(owned).unzip();
    Some(Labels { ids, names })
}

fn owned((id, name): (&str, &str)) -> (String, String) {
    (id.to_owned(), name.to_owned())
}

/// A name with each accent joined to its letter (Unicode's NFC). A Mac stores them apart, other systems don't, and both
/// look the same.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_imagenet_class_has_its_own_id_and_name() {
        let labels = imagenet(IMAGENET_CLASSES).unwrap();
        assert_eq!((labels.ids.len(), labels.names.len()), (1000, 1000));
        assert_eq!((labels.ids[281].as_str(), labels.names[281].as_str()), ("n02123045", "tabby"));
        let distinct: std::collections::HashSet<_> = labels.names.iter().collect();
        assert_eq!(distinct.len(), 1000);
    }

    #[test]
    fn other_numbers_of_classes_are_not_imagenets() {
        assert_eq!(imagenet(999), None);
    }
}
