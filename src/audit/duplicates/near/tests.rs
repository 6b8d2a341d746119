//! Crowds of pictures whose layout is known, all of them near in features.

use super::*;
use crate::features::Row;
use crate::features::testing::{features, row};
use crate::image::{Facts, Picture};

const SIDE: usize = 64;

/// Gratings that no other picture has, on a layout (a bright disc) that all have, `strength` of 255 above it.
fn aligned(own: usize, strength: f32) -> Picture {
    let place = |index: usize| ((index % SIDE) as f32 / SIDE as f32 - 0.5, (index / SIDE) as f32 / SIDE as f32 - 0.5);
    let value = |index: usize| {
        let (x, y) = place(index);
        let disc = if (x + 0.1).hypot(y) < 0.35 { 180.0 } else { 20.0 };
        let angle = own as f32 * 2.4;
        let grating = ((10.0 + own as f32) * (x * angle.cos() + y * angle.sin())).sin();
        (disc + strength * grating).clamp(0.0, 255.0) as u8
    };
    Picture { width: SIDE, height: SIDE, pixels: (0..SIDE * SIDE).flat_map(|index| [value(index); 3]).collect() }
}

/// Saved anew: every pixel off by a little, each `time` in another way.
fn again(picture: &Picture, time: usize) -> Fingerprint {
    let hash = |index: usize| ((index as u32 + 4099 * time as u32).wrapping_mul(2_654_435_761) >> 16) % 7;
    let noise = |(index, value): (usize, &u8)| value.saturating_add(hash(index / 3) as u8);
    Fingerprint::of(&Picture { pixels: picture.pixels.iter().enumerate().map(noise).collect(), ..picture.clone() })
}

fn mirrored(picture: &Picture) -> Picture {
    let flipped = ::image::imageops::flip_horizontal(
        &::image::RgbImage::from_raw(SIDE as u32, SIDE as u32, picture.pixels.clone()).unwrap(),
    );
    Picture { pixels: flipped.into_raw(), ..picture.clone() }
}

/// The pairs found among pictures that are all neighbours of one another.
fn found(prints: Vec<Fingerprint>) -> Vec<(usize, usize, DuplicateKind)> {
    let all = |own: usize| (0..prints.len()).filter(move |row| *row != own);
    let neighbours: Vec<Vec<Neighbour>> =
        (0..prints.len()).map(|own| all(own).map(|row| Neighbour { row, cosine: 0.9 }).collect()).collect();
    let crowd = Crowd {
        rows: Vec::new(),
        centre: Centre::of(&[]),
        sample: (0..prints.len()).collect(),
        prints: prints.into_iter().enumerate().collect(),
    };
    let pairs = crowd.pairs(&candidates(&neighbours)).into_iter();
    pairs.map(|pair| (pair.first, pair.second, pair.kind)).collect()
}

#[test]
fn different_pictures_of_one_layout_are_not_duplicates_but_their_copies_are() {
    let pictures: Vec<Picture> = (0..14).map(|own| aligned(own, 14.0)).collect();
    let mut prints: Vec<Fingerprint> = pictures.iter().map(Fingerprint::of).collect();
    let alike = (1..14).filter(|other| prints[0].likeness(&prints[*other]).correlation >= SAME_PIXELS).count();
    assert_eq!(alike, 13, "the layout alone makes them one");
    assert_eq!(found(prints.clone()), []);
    prints.extend([again(&pictures[3], 0), again(&mirrored(&pictures[5]), 0)]);
    assert_eq!(found(prints), [(3, 14, DuplicateKind::SamePicture), (5, 15, DuplicateKind::Mirrored)]);
}

#[test]
fn many_copies_of_one_picture_among_few_others_are_found() {
    for others in [5, 12] {
        let mut prints: Vec<Fingerprint> = (1..=others).map(|own| Fingerprint::of(&aligned(own, 90.0))).collect();
        prints.push(Fingerprint::of(&aligned(0, 90.0)));
        prints.extend((0..4).map(|time| again(&aligned(0, 90.0), time)));
        let pairs = found(prints);
        assert!(pairs.len() == 10 && pairs.iter().all(|(first, ..)| *first >= others), "{pairs:?}");
    }
    let copies = found((0..30).map(|time| again(&aligned(2, 90.0), time)).collect());
    assert_eq!(copies.len(), 30 * 29 / 2, "nothing but copies tells of no layout");
}

#[test]
fn many_versions_of_one_picture_among_many_others_are_found() {
    // As alike as pictures of one layout, but it is theirs alone.
    let mut prints: Vec<Fingerprint> = (0..14).map(|own| Fingerprint::of(&aligned(own, 14.0))).collect();
    let sure = prints[1..].iter().filter(|print| prints[0].likeness(print).correlation > 0.998).count();
    assert_eq!(sure, 0);
    prints.extend((0..100).map(|other| {
        let value = |i: usize| ((i % SIDE * (other + 3)) ^ (i / SIDE * (2 * other + 1))) as u8;
        let pixels = (0..SIDE * SIDE).flat_map(|index| [value(index); 3]).collect();
        Fingerprint::of(&Picture { width: SIDE, height: SIDE, pixels })
    }));
    let pairs = found(prints);
    assert_eq!(pairs.iter().filter(|(_, second, _)| *second < 14).count(), 14 * 13 / 2);
}

#[test]
fn an_interrupt_is_heard_before_all_pictures_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let count = BATCH + 6;
    let picture = |own: usize| {
        let path = folder.path().join(format!("{own}.png"));
        let pixels = aligned(own, 14.0).pixels;
        ::image::RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).unwrap().save(&path).unwrap();
        row(path.to_str().unwrap(), None, None, &[1.0])
    };
    let features = features((0..count).map(picture).collect());
    let facts = |row: &Row| Some(Facts::read(&std::fs::read(&row.path).unwrap()).unwrap());
    let files = Files { facts: features.rows.iter().map(facts).collect(), ..Files::default() };
    let distinct: Vec<usize> = (0..count).collect();
    let neighbours: Vec<_> = (0..count).map(|own| vec![Neighbour { row: (own + 1) % count, cosine: 0.9 }]).collect();
    let mut heard = Vec::new();
    let hear = &mut |pictures| {
        heard.push(pictures);
        Ok(())
    };
    assert_eq!(near(&features, &distinct, &neighbours, &files, hear).unwrap(), []);
    assert_eq!(heard, [BATCH, 6, 0]);
    let mut calls = 0;
    let end = &mut |_| {
        calls += 1;
        anyhow::bail!("enough")
    };
    assert!(near(&features, &distinct, &neighbours, &files, end).is_err() && calls == 1);
}

#[test]
fn pixels_that_are_not_alike_outweigh_features_that_are() {
    let prints = vec![Fingerprint::of(&aligned(1, 100.0)), Fingerprint::of(&mirrored(&aligned(12, 100.0)))];
    assert_eq!(found(prints), []);
}

/// Rows that all point one way, each with a direction of its own.
fn rows(count: usize, shared: f32) -> Vec<Vec<f32>> {
    let row = |own: usize| (0..64).map(|i| if i == 63 { shared } else { f32::from(u8::from(i == own)) }).collect();
    (0..count).map(row).collect()
}

fn same_features(rows: &[Vec<f32>], first: usize, second: usize) -> bool {
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let cosine = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / crate::similarity::norm(a) / crate::similarity::norm(b)
    };
    let cosine = cosine(rows[first], rows[second]);
    let crowd = Crowd { centre: Centre::of(&rows), rows, prints: HashMap::new(), sample: Vec::new() };
    let pairs = crowd.pairs(&[(first, second, cosine)]);
    assert!(pairs.iter().all(|pair| pair.kind == DuplicateKind::SameFeatures));
    !pairs.is_empty()
}

#[test]
fn without_pixels_what_all_features_have_in_common_does_not_count() {
    // Any two have a cosine of 36 / 37.
    let mut crowd = rows(40, 6.0);
    assert!(!same_features(&crowd, 0, 1));
    crowd[39] = crowd[0].clone();
    crowd[39][50] = 0.2;
    assert!(same_features(&crowd, 0, 39));
    assert!(same_features(&rows(10, 6.0), 0, 1), "too few to tell what they have in common");
    assert!(!same_features(&rows(10, 3.0), 0, 1), "a cosine of 0.9 is no copy");
}
