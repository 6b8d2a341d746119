//! Which names of folders mean a split: `train`, `Test`, `seg_train`, `train-set`, `val2017`, `PublicTest`.

use super::Split;
use crate::labels;

/// What a folder's name says of the pictures in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Split(Split),
    /// Pictures to predict, without labels.
    Unlabelled,
}

/// A name that has the word for a part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartName {
    pub part: Part,
    /// The word, in lower case.
    pub word: String,
    /// The words that belong neither to a part nor to data in general: `intel` of `intel_train`.
    pub rest: Vec<String>,
}

#[rustfmt::skip]
const WORDS: [(&str, Part); 55] = [
    ("train", Part::Split(Split::Train)), ("training", Part::Split(Split::Train)), ("trn", Part::Split(Split::Train)),
    ("trainval", Part::Split(Split::Train)), ("traindev", Part::Split(Split::Train)),
    ("val", Part::Split(Split::Val)), ("valid", Part::Split(Split::Val)), ("validation", Part::Split(Split::Val)),
    ("validate", Part::Split(Split::Val)), ("validating", Part::Split(Split::Val)), ("vali", Part::Split(Split::Val)),
    ("dev", Part::Split(Split::Val)), ("devel", Part::Split(Split::Val)), ("development", Part::Split(Split::Val)),
    ("eval", Part::Split(Split::Val)), ("evaluation", Part::Split(Split::Val)), ("evaluate", Part::Split(Split::Val)),
    ("test", Part::Split(Split::Test)), ("testing", Part::Split(Split::Test)), ("tst", Part::Split(Split::Test)),
    ("tests", Part::Split(Split::Test)), ("holdout", Part::Split(Split::Test)), ("heldout", Part::Split(Split::Test)),
    ("pred", Part::Unlabelled), ("predict", Part::Unlabelled), ("prediction", Part::Unlabelled),
    ("predictions", Part::Unlabelled), ("unlabeled", Part::Unlabelled), ("unlabelled", Part::Unlabelled),
    ("unsup", Part::Unlabelled), ("unsupervised", Part::Unlabelled), ("inference", Part::Unlabelled),
    ("holdouts", Part::Split(Split::Test)), ("trainning", Part::Split(Split::Train)),
    // In other languages, as composed letters and without accents.
    ("entrainement", Part::Split(Split::Train)), ("entraînement", Part::Split(Split::Train)),
    ("entrenamiento", Part::Split(Split::Train)), ("treino", Part::Split(Split::Train)),
    ("treinamento", Part::Split(Split::Train)), ("addestramento", Part::Split(Split::Train)),
    ("训练", Part::Split(Split::Train)), ("訓練", Part::Split(Split::Train)),
    ("validación", Part::Split(Split::Val)), ("validacion", Part::Split(Split::Val)),
    ("validação", Part::Split(Split::Val)), ("validacao", Part::Split(Split::Val)),
    ("validazione", Part::Split(Split::Val)), ("validierung", Part::Split(Split::Val)),
    ("验证", Part::Split(Split::Val)), ("驗證", Part::Split(Split::Val)),
    ("prueba", Part::Split(Split::Test)), ("pruebas", Part::Split(Split::Test)), ("teste", Part::Split(Split::Test)),
    ("测试", Part::Split(Split::Test)), ("測試", Part::Split(Split::Test)),
];

/// Words that say nothing of what the pictures show.
#[rustfmt::skip]
const GENERAL: [&str; 53] = [
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "picture", "pictures", "photo",
    "photos", "pic", "pics", "seg", "split", "splits", "folder", "dir", "small", "large", "full", "mini", "original",
    "orig", "raw", "resized", "cropped", "jpg", "jpeg", "png", "new", "final", "clean", "public", "private", "my", "the",
    "of", "for", "and", "copy", "input", "inputs", "x", "labeled", "labelled",
    "集", "数据", "數據", "图片", "圖片",
];

/// What a name says, if it has the word for one part in it.
pub(super) fn part_of(name: &str) -> Option<PartName> {
    let small: Vec<String> = words(name).iter().map(|word| word.to_lowercase()).collect();
    let found: Vec<(&str, Part)> = small.iter().filter_map(|word| part_word(word)).collect();
    let has = |split| found.iter().any(|(_, part)| *part == Part::Split(split));
    let (first, part) = *found.first()?;
    let (word, part) = match () {
        () if found.iter().all(|(_, other)| *other == part) => (first, part),
        // Both to train on; and a test set for use while developing.
        () if has(Split::Train) && has(Split::Val) && found.len() == 2 => ("trainval", Part::Split(Split::Train)),
        () if has(Split::Test) && found.iter().any(|(word, _)| *word == "dev") && found.len() == 2 => {
            ("test", Part::Split(Split::Test))
        }
        () => return None,
    };
    Some(PartName { part, word: word.to_owned(), rest: words_of_data(name) })
}

/// The words of a name that belong to the data: neither to a part nor to data in general.
pub(super) fn words_of_data(name: &str) -> Vec<String> {
    words(name).into_iter().filter(|word| is_of_data(&word.to_lowercase())).collect()
}

fn is_of_data(word: &str) -> bool {
    part_word(word).is_none() && !is_general(word)
}

/// Whether a name says nothing of what the pictures show: `images`, `dataset`.
pub(super) fn is_general_name(name: &str) -> bool {
    words(name).iter().all(|word| is_general(&word.to_lowercase()))
}

fn is_general(word: &str) -> bool {
    GENERAL.contains(&word) || word.chars().all(|c| c.is_ascii_digit())
}

/// The part that a word is for, also one that is written as one with a general word: `trainset`.
fn part_word(word: &str) -> Option<(&str, Part)> {
    let find = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, part)| *part);
    let stems = GENERAL.iter().filter(|general| general.len() > 2).filter_map(|general| word.strip_suffix(general));
    std::iter::once(word).chain(stems).find_map(|stem| Some((stem, find(stem)?)))
}

/// The words of a name: it is split at what is neither letter nor digit, between letters and digits, and where capitals
/// begin a word.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = labels::composed(name).chars().collect();
    let (mut words, mut word) = (Vec::new(), String::new());
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let next_is_small = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        let begins = before.is_some_and(|before| {
            before.is_numeric() != letter.is_numeric()
                || letter.is_uppercase() && (before.is_lowercase() || before.is_uppercase() && next_is_small)
        });
        if (begins || !letter.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.push(letter);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    joined(words)
}

/// What is written as one word or as two: `hold-out` as `holdout`.
fn joined(words: Vec<String>) -> Vec<String> {
    const PAIRS: [(&str, &str); 3] = [("hold", "out"), ("hold", "outs"), ("held", "out")];
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        match joined.last_mut() {
            Some(last) if PAIRS.contains(&(&*last.to_lowercase(), &*word.to_lowercase())) => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str) -> Option<Part> {
        part_of(name).filter(|name| name.rest.is_empty()).map(|name| name.part)
    }

    #[test]
    fn splits_are_known_in_any_case_with_the_usual_words_around_them() {
        #[rustfmt::skip]
        let names: [(Split, &[&str]); 3] = [
            (Split::Train, &[
                "train", "Train", "TRAIN", "training", "Training_Set", "train-set", "trainset", "TrainSet", "TRAINSet",
                "train_images", "trainImages", "seg_train", "dataset_train", "train data", "train2017", "train1", "x_train",
                "XTrain", "trainval", "train_val", "01-train", "training images",
            ]),
            (Split::Val, &["val", "Valid", "VALIDATION", "val_set", "validation-images", "dev", "eval", "valset", "val2017"]),
            (Split::Test, &["test", "Test", "testing", "dataset_test", "test set", "PublicTest", "PrivateTest", "test-dev2017", "hold-out", "Held_Out", "HoldOut"]),
        ];
        for (split, names) in names {
            for name in names {
                assert_eq!(plain(name), Some(Part::Split(split)), "{name}");
            }
        }
        let foreign = ["entrai\u{302}nement", "Validacio\u{301}n", "测试集", "訓練數據"].map(plain);
        assert_eq!(
            foreign,
            [Split::Train, Split::Val, Split::Test, Split::Train].map(|split| Some(Part::Split(split)))
        );
        assert_eq!(["seg_pred", "unlabeled"].map(plain), [Some(Part::Unlabelled); 2]);
    }

    #[test]
    fn other_words_are_kept_apart() {
        for name in
            ["cat", "trains", "trainer", "strain", "latest", "contest", "testament", "valley", "value", "device"]
        {
            assert_eq!(part_of(name), None, "{name}");
        }
        for (name, rest) in
            [("steam_train", "steam"), ("training shoes", "shoes"), ("test-tube", "tube"), ("intelTrain", "intel")]
        {
            assert_eq!(part_of(name).unwrap().rest, [rest], "{name}");
        }
        assert_eq!(part_of("val_test"), None);
    }

    #[test]
    fn general_names_say_nothing() {
        assert!(["images", "Dataset", "raw-data", "JPEG", "2019"].iter().all(|name| is_general_name(name)));
        assert!(!["cat", "cat_images", "site1"].iter().any(|name| is_general_name(name)));
    }
}
