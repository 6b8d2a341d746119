use super::*;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

fn open_at(folder: &tempfile::TempDir, level: Option<ClassLevel>) -> Result<Dataset> {
    Dataset::open(&[folder.path().to_owned()], level)
}

fn open(folder: &tempfile::TempDir) -> Dataset {
    open_at(folder, None).unwrap()
}

/// Path, split and class of each picture, as `path split/class`; what is unknown is `-`, and a stray has a `!`.
fn lines(folder: &tempfile::TempDir, level: Option<ClassLevel>) -> Vec<String> {
    let dataset = open_at(folder, level).unwrap();
    let line = |input: &Input| {
        let path = input.path.strip_prefix(folder.path()).unwrap().to_string_lossy();
        let (split, class) =
            (input.split.map_or("-", Split::name), input.class.map(|class| &dataset.class_names[class]));
        let stray = if input.is_stray { "!" } else { "" };
        format!("{path} {split}/{}{stray}", class.map_or("-", String::as_str))
    };
    dataset.inputs.iter().map(line).collect()
}

/// Files, and of each split (a name, or `-`) and class (or `-`), with a `!` for a stray.
#[track_caller]
fn assert_read(level: Option<ClassLevel>, expected: &[(&str, &str)]) -> Dataset {
    let folder = tree(&expected.iter().map(|(file, _)| *file).collect::<Vec<_>>());
    let (mut found, mut wanted) = (lines(&folder, level), Vec::new());
    wanted.extend(expected.iter().map(|(file, place)| format!("{file} {place}")));
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    open_at(&folder, level).unwrap()
}

#[test]
fn class_folders_label_their_pictures_in_byte_order() {
    let folder =
        tree(&["b/1.jpg", "a/2.PNG", "B/3.webp", "a/notes.txt", ".hidden/4.jpg", "a/.5.jpg", "__MACOSX/a/1.jpg"]);
    assert_eq!(open(&folder).class_names, ["B", "a", "b"]);
    assert_eq!(lines(&folder, None), ["B/3.webp -/B", "a/2.PNG -/a", "b/1.jpg -/b"]);
    assert_eq!(open(&folder).notes, ["passed over: 1 file that is no picture (1 .txt)"]);
}

#[test]
fn splits_are_known_by_their_names_and_by_what_lies_beside_them() {
    let cases: &[&[(&str, &str)]] = &[
        &[("train/cat/1.jpg", "train/cat"), ("valid/cat/2.jpg", "val/cat"), ("test/dog/deep/3.jpg", "test/dog")],
        &[("Train/cat/1.jpg", "train/cat"), ("Validation/cat/2.jpg", "val/cat"), ("TEST/dog/3.jpg", "test/dog")],
        &[("training/cat/1.jpg", "train/cat"), ("dev/dog/2.jpg", "val/dog"), ("testing/dog/3.jpg", "test/dog")],
        &[("train_set/cat/1.jpg", "train/cat"), ("eval-set/dog/2.jpg", "val/dog")],
        &[("train2017/cat/1.jpg", "train/cat"), ("val2017/dog/2.jpg", "val/dog")],
        &[
            ("Training/cat/1.jpg", "train/cat"),
            ("PublicTest/cat/2.jpg", "test/cat"),
            ("PrivateTest/dog/3.jpg", "test/dog"),
        ],
        // With a name of the data's own around the word.
        &[("intel_train/cat/1.jpg", "train/cat"), ("intel_test/dog/2.jpg", "test/dog")],
        // Both folders of a double, and pictures to predict.
        &[
            ("seg_train/seg_train/cat/1.jpg", "train/cat"),
            ("seg_test/seg_test/dog/2.jpg", "test/dog"),
            ("seg_pred/seg_pred/3.jpg", "test/-"),
        ],
        // An archive in a folder of its name.
        &[("fruits/fruits/Training/cat/1.jpg", "train/cat"), ("fruits/fruits/Test/dog/2.jpg", "test/dog")],
        &[("data/train/images/cat/1.jpg", "train/cat"), ("data/val/images/dog/2.jpg", "val/dog")],
        &[("TRAIN/cat/1.jpg", "train/cat"), ("Train/dog/2.jpg", "train/dog"), ("test/dog/3.jpg", "test/dog")],
        // One part alone.
        &[("test/cat/1.jpg", "test/cat"), ("test/dog/2.jpg", "test/dog")],
        // In the classes, and beside them.
        &[
            ("cat/train/1.jpg", "train/cat"),
            ("cat/test/2.jpg", "test/cat"),
            ("dog/train/3.jpg", "train/dog"),
            ("dog/4.jpg", "-/dog"),
        ],
        &[
            ("cat/1.jpg", "-/cat"),
            ("dog/2.jpg", "-/dog"),
            ("test/cat/3.jpg", "test/cat"),
            ("test/dog/4.jpg", "test/dog"),
        ],
        &[
            ("trainA/1.jpg", "train/A"),
            ("trainB/2.jpg", "train/B"),
            ("testA/3.jpg", "test/A"),
            ("testB/4.jpg", "test/B"),
        ],
        &[
            ("cat_train/1.jpg", "train/cat"),
            ("cat_val/2.jpg", "val/cat"),
            ("Dog Train/3.jpg", "train/Dog"),
            ("Dog Val/4.jpg", "val/Dog"),
        ],
        // Classes that are called like parts, in parts.
        &[("train/bus/1.jpg", "train/bus"), ("train/train/2.jpg", "train/train"), ("val/train/3.jpg", "val/train")],
        // Without labels.
        &[("train/cat/1.jpg", "train/cat"), ("train/dog/2.jpg", "train/dog"), ("test/3.jpg", "test/-")],
        &[("train/cat/1.jpg", "train/cat"), ("train/dog/2.jpg", "train/dog"), ("val/3.jpg", "val/-!")],
        &[("train/1.jpg", "train/-"), ("test/2.jpg", "test/-")],
    ];
    for expected in cases {
        assert_read(None, expected);
    }
}

#[test]
fn a_class_may_be_called_like_a_split() {
    let cases: &[&[(&str, &str)]] = &[
        &[("bus/1.jpg", "-/bus"), ("train/2.jpg", "-/train")],
        &[("bus/1.jpg", "-/bus"), ("train/2.jpg", "-/train"), ("tram/3.jpg", "-/tram")],
        &[("control/1.jpg", "-/control"), ("test/2.jpg", "-/test")],
        &[("valid/1.jpg", "-/valid"), ("invalid/2.jpg", "-/invalid")],
        &[
            ("bus/a/1.jpg", "-/bus"),
            ("bus/b/2.jpg", "-/bus"),
            ("train/a/3.jpg", "-/train"),
            ("train/b/4.jpg", "-/train"),
        ],
    ];
    for expected in cases {
        let notes = assert_read(None, expected).notes;
        assert!(notes[0].contains("is taken for a class, not for a split"), "{notes:?}");
    }
    for expected in [
        &[("steam_train/1.jpg", "-/steam_train"), ("freight_train/2.jpg", "-/freight_train")][..],
        &[("training shoes/1.jpg", "-/training shoes"), ("dress shoes/2.jpg", "-/dress shoes")],
        &[("test-tube/1.jpg", "-/test-tube"), ("beaker/2.jpg", "-/beaker")],
        &[("trainer/1.jpg", "-/trainer"), ("value/2.jpg", "-/value")],
    ] {
        assert_eq!(assert_read(None, expected).notes, [""; 0]);
    }
    assert_read(Some(ClassLevel::Top), &[("train/1.jpg", "-/train"), ("test/2.jpg", "-/test")]);
}

#[test]
fn where_a_name_may_be_a_split_or_a_class_the_error_says_so() {
    let folder = tree(&["train/cat/1.jpg", "holiday/2.jpg"]);
    let error = open_at(&folder, None).unwrap_err().to_string();
    for part in ["`train` is a class", "`holiday`", "rename it", "--classes top"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(list(&[folder.path().to_owned()]).unwrap().inputs.len(), 2);
    let expected = [("train/cat/1.jpg", "-/train"), ("holiday/2.jpg", "-/holiday")];
    assert_read(Some(ClassLevel::Top), &expected);
    let folder = tree(&["train/cat/1.jpg", "val/cat/2.jpg", "validation/cat/3.jpg"]);
    let error = open_at(&folder, None).unwrap_err().to_string();
    assert!(error.contains("several folders of validation pictures (`val`, `validation`)"), "{error}");
}

#[test]
fn what_lies_beside_splits_or_classes_keeps_no_label_and_takes_none_away() {
    let cases: &[&[(&str, &str)]] = &[
        &[("cover.jpg", "-/-!"), ("cat/1.jpg", "-/cat"), ("dog/2.jpg", "-/dog")],
        &[("cat/1.jpg", "-/cat"), ("cat/2.jpg", "-/cat"), ("3.jpg", "-/-!")],
        &[("cover.jpg", "-/-!"), ("train/cat/1.jpg", "train/cat"), ("val/cat/2.jpg", "val/cat")],
        &[("train/cat/1.jpg", "train/cat"), ("train/dog/2.jpg", "train/dog"), ("train/cover.jpg", "train/-!")],
        &[("train/cat/1.jpg", "train/cat"), ("test/cat/2.jpg", "test/cat"), ("holiday/3.jpg", "-/-!")],
    ];
    for expected in cases {
        assert_read(None, expected);
    }
    // Folders without pictures are no splits' neighbours.
    let folder = tree(&["train/cat/1.jpg", "labels/1.txt"]);
    assert_eq!(lines(&folder, None), ["train/cat/1.jpg train/cat"]);
}

#[test]
fn a_stray_picture_changes_the_meaning_of_no_folder_around() {
    let cases: &[&[(&str, &str)]] = &[
        &[("cover.jpg", "-/-!"), ("archive/train/cat/1.jpg", "train/cat"), ("archive/test/cat/2.jpg", "test/cat")],
        &[("cover.jpg", "-/-!"), ("archive/cat/1.jpg", "-/cat"), ("archive/dog/2.jpg", "-/dog")],
        &[
            ("docs/fig.jpg", "-/-!"),
            ("archive/train/cat/1.jpg", "train/cat"),
            ("archive/train/dog/2.jpg", "train/dog"),
            ("archive/test/cat/3.jpg", "test/cat"),
        ],
        &[
            ("train/cover.jpg", "train/-!"),
            ("train/train/cat/1.jpg", "train/cat"),
            ("train/train/dog/2.jpg", "train/dog"),
            ("test/test/cat/3.jpg", "test/cat"),
            ("test/test/dog/4.jpg", "test/dog"),
        ],
        // Neither does a folder beside those that name split and class.
        &[
            ("misc/1.jpg", "-/-!"),
            ("cat_train/1.jpg", "train/cat"),
            ("cat_test/2.jpg", "test/cat"),
            ("dog_train/3.jpg", "train/dog"),
            ("dog_test/4.jpg", "test/dog"),
            ("fish_train/5.jpg", "train/fish"),
        ],
        &[("intel_train/cat/1.jpg", "train/cat"), ("intel_test/cat/2.jpg", "test/cat"), ("other_pred/3.jpg", "-/-!")],
    ];
    for expected in cases {
        assert_read(None, expected);
    }
}

#[test]
fn folders_with_the_same_classes_and_a_word_for_a_part_are_splits() {
    for (train, split) in [
        ("train_augmented", "train"),
        ("asl_alphabet_train", "train"),
        ("train_en", "train"),
        ("rps-validation", "val"),
    ] {
        let file = |folder: &str, class: &str| format!("{folder}/{class}/1.jpg");
        let expected: Vec<(String, String)> = [(train, split), ("test", "test")]
            .into_iter()
            .flat_map(|(folder, split)| ["cat", "dog"].map(|class| (file(folder, class), format!("{split}/{class}"))))
            .collect();
        assert_read(None, &expected.iter().map(|(file, place)| (file.as_str(), place.as_str())).collect::<Vec<_>>());
    }
    // The part to train on may have the name of the data alone.
    assert_read(
        None,
        &[
            ("rps/paper/1.jpg", "train/paper"),
            ("rps/rock/2.jpg", "train/rock"),
            ("rps-test-set/paper/3.jpg", "test/paper"),
            ("rps-test-set/rock/4.jpg", "test/rock"),
            ("rps-validation/paper/5.jpg", "val/paper"),
            ("rps-validation/rock/6.jpg", "val/rock"),
        ],
    );
    // One class in two parts, and another in one: nothing says that these are splits.
    let expected =
        [("intel_train/1.jpg", "-/intel_train"), ("intel_test/2.jpg", "-/intel_test"), ("tram/3.jpg", "-/tram")];
    let notes = assert_read(None, &expected[..]).notes;
    assert!(notes[0].contains("`intel_test`, `intel_train` are taken for classes"), "{notes:?}");
    // A class without pictures stays one, also where the others hold their splits.
    let folder = tree(&["cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg", "eel/notes.txt"]);
    assert_eq!(open(&folder).class_names, ["cat", "dog", "eel"]);
}

#[test]
fn a_folder_that_repeats_the_classes_beside_it_is_no_class() {
    let expected = [
        ("Parasitized/1.jpg", "-/Parasitized"),
        ("Uninfected/2.jpg", "-/Uninfected"),
        ("cell_images/Parasitized/1.jpg", "-/-!"),
        ("cell_images/Uninfected/2.jpg", "-/-!"),
    ];
    let notes = assert_read(None, &expected).notes;
    assert!(notes[0].contains("cell_images: left out"), "{notes:?}");
}

#[test]
fn leaves_may_lie_in_the_splits_of_what_holds_them() {
    let tops = [
        ("amazon/train/bike/1.jpg", "train/amazon"),
        ("amazon/test/mug/2.jpg", "test/amazon"),
        ("dslr/train/bike/3.jpg", "train/dslr"),
        ("dslr/test/bike/4.jpg", "test/dslr"),
    ];
    let notes = assert_read(None, &tops).notes;
    assert!(
        notes[0].contains("`amazon`, `dslr`; --classes leaf takes the folders in them, `bike`, `mug`"),
        "{notes:?}"
    );
    let leaves = [
        ("amazon/train/bike/1.jpg", "train/bike"),
        ("amazon/test/mug/2.jpg", "test/mug"),
        ("dslr/train/bike/3.jpg", "train/bike"),
        ("dslr/test/bike/4.jpg", "test/bike"),
    ];
    assert_eq!(assert_read(Some(ClassLevel::Leaf), &leaves).class_names, ["bike", "mug"]);
}

#[test]
fn a_folder_with_more_pictures_than_its_folders_has_no_classes() {
    assert_read(None, &[("1.jpg", "-/-"), ("sub/2.jpg", "-/-")]);
    let expected = [("1.jpg", "-/-"), ("2.jpg", "-/-"), ("3.jpg", "-/-"), ("a/4.jpg", "-/-"), ("b/5.jpg", "-/-")];
    let notes = assert_read(None, &expected).notes;
    assert!(notes[0].contains("3 pictures lie beside its folders and 2 in them"), "{notes:?}");
    assert!(notes[0].contains("--classes top"), "{notes:?}");
    assert_read(Some(ClassLevel::Top), &[("1.jpg", "-/-!"), ("2.jpg", "-/-!"), ("a/4.jpg", "-/a")]);
}

#[test]
fn where_two_levels_could_be_the_classes_the_top_is_and_a_note_names_both() {
    let sites = [("cat/site1/1.jpg", "-/cat"), ("cat/site2/2.jpg", "-/cat"), ("dog/site1/3.jpg", "-/dog")];
    let notes = assert_read(None, &sites).notes;
    assert_eq!(notes.len(), 1);
    for part in ["`cat`, `dog`", "`site1`, `site2`", "--classes leaf"] {
        assert!(notes[0].contains(part), "{notes:?}");
    }
    assert_eq!(assert_read(Some(ClassLevel::Top), &sites).notes, [""; 0]);
    let leaves = sites.map(|(file, _)| (file, if file.contains("site1") { "-/site1" } else { "-/site2" }));
    assert_eq!(assert_read(Some(ClassLevel::Leaf), &leaves).class_names, ["site1", "site2"]);
    // In splits, too.
    let split = [
        ("train/cat/2019/1.jpg", "train/cat"),
        ("train/dog/2019/2.jpg", "train/dog"),
        ("val/dog/2020/3.jpg", "val/dog"),
    ];
    assert_eq!(assert_read(None, &split).notes.len(), 1);
    // A name that is everywhere says nothing, and folders of different names do neither.
    let camera = [("cat/100CANON/1.jpg", "-/cat"), ("dog/100CANON/2.jpg", "-/dog")];
    assert_eq!(assert_read(None, &camera).notes, [""; 0]);
    let kinds = [("cat/tabby/1.jpg", "-/cat"), ("cat/siam/2.jpg", "-/cat"), ("dog/3.jpg", "-/dog")];
    assert_eq!(assert_read(None, &kinds).notes, [""; 0]);
}

#[test]
fn a_folder_that_holds_everything_is_no_class() {
    let expected = [("flowers/daisy/1.jpg", "-/daisy"), ("flowers/rose/2.jpg", "-/rose")];
    let notes = assert_read(None, &expected).notes;
    assert!(notes[0].contains("--classes top takes `flowers`"), "{notes:?}");
    let top = expected.map(|(file, _)| (file, "-/flowers"));
    assert_read(Some(ClassLevel::Top), &top);
    assert_read(None, &[("flowers/1.jpg", "-/flowers")]);
}

#[test]
fn names_that_look_the_same_are_one_class() {
    let folder = tree(&["train/caf\u{e9}/1.jpg", "val/cafe\u{301}/2.jpg"]);
    assert_eq!(open(&folder).class_names, ["caf\u{e9}"]);
}

#[test]
fn a_class_folder_without_pictures_is_still_a_class() {
    let folder = tree(&["cat/1.jpg", "dog/notes.txt", "eel/2.jpg"]);
    assert_eq!(open(&folder).class_names, ["cat", "dog", "eel"]);
}

#[test]
fn files_that_are_no_pictures_are_counted_by_their_kind() {
    let folder = tree(&["a/1.jpg", "a/1.xmp", "a/2.xmp", "b/1.jpg", "b/film.mp4", "README", "c.txt", "d.db", "e.csv"]);
    let expected =
        "passed over: 7 files that are no pictures (2 .xmp, 1 without an extension, 1 .csv, 1 .db, 2 others)";
    assert_eq!(open(&folder).notes, [expected]);
    assert_eq!(list(&[folder.path().to_owned()]).unwrap().notes, [expected]);
}

#[test]
fn pictures_that_cannot_be_read_are_listed_by_name_and_by_content() {
    let folder = tree(&["a/b.jpg ", "a/c.jpg.", "a/IMG_1.HEIC", "a/d.avif", "a/e.NEF", "a/f.psd", "a/data", "a/g.dat"]);
    std::fs::write(folder.path().join("a/bare"), b"\xff\xd8\xff\xe0").unwrap();
    std::fs::write(folder.path().join("a/heic.bin"), b"\0\0\0\x18ftypheic\0\0\0\0heic").unwrap();
    let names: Vec<_> = lines(&folder, None).iter().map(|line| line.replace(" -/a", "")).collect();
    assert_eq!(
        names,
        ["a/IMG_1.HEIC", "a/b.jpg ", "a/bare", "a/c.jpg.", "a/d.avif", "a/e.NEF", "a/f.psd", "a/heic.bin"]
    );
}

#[test]
fn an_empty_folder_is_an_error_that_names_it() {
    let folder = tree(&["notes.txt"]);
    let error = open_at(&folder, None).unwrap_err().to_string();
    assert!(error.contains(&folder.path().display().to_string()) && error.contains("JPEG"), "{error}");
}

#[test]
fn a_path_that_does_not_exist_stays_an_input() {
    let dataset = Dataset::open(&["no/such.jpg".into()], None).unwrap();
    assert_eq!(dataset.inputs, [Input::unlabelled("no/such.jpg".into())]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_dangling_ones_stay_inputs() {
    let (target, folder) = (tree(&["x/1.jpg"]), tree(&["2.jpg"]));
    std::os::unix::fs::symlink(".", folder.path().join("again")).unwrap();
    std::os::unix::fs::symlink(target.path().join("x"), folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("gone.jpg")).unwrap();
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    let names = list(&[folder.path().to_owned()]).unwrap().inputs.into_iter().map(|input| input.path);
    let expected = ["2.jpg", "gone.jpg", "linked/1.jpg", "loop"].map(|name| folder.path().join(name));
    assert_eq!(names.collect::<Vec<_>>(), expected);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_above_a_class_adds_nothing_to_it() {
    let folder = tree(&["cat/1.jpg", "dog/2.jpg"]);
    std::os::unix::fs::symlink("..", folder.path().join("cat/up")).unwrap();
    std::os::unix::fs::symlink("../dog", folder.path().join("cat/beside")).unwrap();
    std::os::unix::fs::symlink("../cat", folder.path().join("dog/beside")).unwrap();
    let expected = ["cat/1.jpg -/cat", "cat/beside/2.jpg -/cat", "dog/2.jpg -/dog", "dog/beside/1.jpg -/dog"];
    assert_eq!(lines(&folder, None), expected);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_class_that_is_gone_is_a_class_that_cannot_be_read() {
    let folder = tree(&["cat/1.jpg"]);
    std::os::unix::fs::symlink("/nowhere/dog", folder.path().join("dog")).unwrap();
    assert_eq!(lines(&folder, None), ["cat/1.jpg -/cat", "dog -/dog"]);
}

#[cfg(unix)]
#[test]
fn classes_whose_names_are_not_text_are_not_taken_for_one() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tree(&["cat/1.jpg"]);
    let add = |name: &[u8]| {
        let class = folder.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir(&class).unwrap();
        std::fs::write(class.join("1.jpg"), "").unwrap();
    };
    add(b"caf\xe9");
    assert_eq!(open(&folder).class_names, ["caf\u{fffd}", "cat"]);
    add(b"caf\xe8");
    assert!(open_at(&folder, None).unwrap_err().to_string().contains("not UTF-8"));
}
