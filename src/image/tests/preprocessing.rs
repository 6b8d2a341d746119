//! What the network is given, against Keras' squash and timm's evaluation transform.

use super::*;

#[derive(Deserialize)]
struct Prepared {
    from: [usize; 2],
    size: usize,
    interpolation: Interpolation,
    keras: String,
    timm: String,
    timm_f32: String,
}

#[test]
fn the_network_sees_the_pixels_that_timm_and_keras_show_it() {
    let cases: Vec<Prepared> = expectations("preprocess.json");
    assert!(cases.len() >= 100);
    for case in cases {
        let picture = pattern(case.from);
        for (convention, expected) in [(Convention::Keras, case.keras), (Convention::Timm, case.timm)] {
            let preprocessing = Preprocessing::of(convention, case.interpolation, case.size);
            let seen = preprocessing.crop(&picture);
            assert_eq!((seen.width, seen.height), (case.size, case.size));
            assert_eq!(sha256(&seen.pixels), expected, "{:?} {preprocessing:?}", case.from);
        }
    }
}

#[test]
fn samples_are_scaled_as_numpy_scales_them_in_f32() {
    let cases: Vec<Prepared> = expectations("preprocess.json");
    for case in cases.into_iter().filter(|case| case.size == 71) {
        let preprocessing = Preprocessing::of(Convention::Timm, case.interpolation, case.size);
        let scaled = preprocessing.apply(&pattern(case.from));
        let bytes: Vec<u8> = scaled.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), case.timm_f32, "{:?} {preprocessing:?}", case.from);
    }
}

#[test]
fn black_is_minus_one_and_white_is_one() {
    let picture = Picture { width: 2, height: 1, pixels: vec![0, 0, 0, 255, 255, 255] };
    let preprocessing = Preprocessing::of(Convention::Keras, Interpolation::Nearest, 2);
    assert_eq!(preprocessing.apply(&picture), [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0].repeat(2));
}

#[derive(Deserialize)]
struct Normalised {
    from: [usize; 2],
    preprocessing: Preprocessing,
    f32: String,
}

#[test]
fn the_networks_input_is_that_of_torchvision_timm_and_keras_bit_for_bit() {
    let cases: Vec<Normalised> = expectations("normalise.json");
    assert_eq!(cases.len(), 44);
    for Normalised { from, preprocessing, f32 } in cases {
        preprocessing.check().unwrap();
        let bytes: Vec<u8> = preprocessing.apply(&pattern(from)).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), f32, "{from:?} {preprocessing:?}");
    }
}

#[test]
fn preprocessing_survives_the_journey_through_a_model_file() {
    let preprocessing = Preprocessing::of(Convention::Timm, Interpolation::Bilinear, 150);
    let json = serde_json::to_string(&preprocessing).unwrap();
    assert_eq!(
        json,
        r#"{"resize":{"crop":0.8975},"interpolation":"bilinear","size":150,"normalisation":{"mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"channels":"rgb"}}"#
    );
    let others = [
        Preprocessing { resize: Resize::Shorter(232), ..preprocessing },
        Preprocessing { resize: Resize::Squash, ..preprocessing },
        Preprocessing {
            normalisation: Normalisation { mean: [0.1; 3], std: [1.0 / 255.0; 3], channels: Channels::Bgr },
            ..preprocessing
        },
    ];
    for preprocessing in others.into_iter().chain([preprocessing]) {
        let json = serde_json::to_string(&preprocessing).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), preprocessing);
    }
}

#[test]
fn what_earlier_versions_wrote_reads_as_what_it_meant() {
    for (name, convention) in [("keras", Convention::Keras), ("timm", Convention::Timm)] {
        let old = format!(r#"{{"convention":"{name}","interpolation":"bicubic","size":299}}"#);
        let new = Preprocessing::of(convention, Interpolation::Bicubic, 299);
        assert_eq!(serde_json::from_str::<Preprocessing>(&old).unwrap(), new);
    }
    let neither = serde_json::from_str::<Preprocessing>(r#"{"interpolation":"bicubic","size":299}"#);
    assert!(neither.unwrap_err().to_string().contains("`resize`"));
}

#[test]
fn crops_that_cut_the_same_are_equal_however_they_are_written() {
    let crop =
        |resize, size| Preprocessing { resize, ..Preprocessing::of(Convention::Keras, Interpolation::Bilinear, size) };
    assert_eq!(crop(Resize::Crop(0.875), 224), crop(Resize::Shorter(256), 224));
    assert_ne!(crop(Resize::Crop(0.875), 224), crop(Resize::Shorter(257), 224));
    assert_ne!(crop(Resize::Crop(1.0), 224), crop(Resize::Squash, 224));
    assert_eq!(crop(Resize::Shorter(256), 224).with_size(112), crop(Resize::Shorter(128), 112));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let plain = Preprocessing::of(Convention::Timm, Interpolation::Bicubic, 299);
    let std =
        |std| Preprocessing { normalisation: Normalisation { std: [0.5, std, 0.5], ..plain.normalisation }, ..plain };
    let resize = |resize| Preprocessing { resize, ..plain };
    for (preprocessing, expected) in [
        (std(0.0), "std above 0"),
        (std(f64::NAN), "std above 0"),
        (resize(Resize::Crop(1.5)), "brought to 199 pixels"),
        (resize(Resize::Crop(0.0)), "expected 299 to 16384"),
        (resize(Resize::Crop(f64::NAN)), "brought to 0 pixels"),
        (resize(Resize::Shorter(298)), "brought to 298 pixels"),
        (plain.with_size(70), "its input is 70×70 pixels"),
    ] {
        let error = preprocessing.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(plain.check().is_ok());
}

#[test]
fn a_preprocessing_reads_as_what_it_does() {
    let plain = Preprocessing::of(Convention::Timm, Interpolation::Bicubic, 299);
    assert_eq!(plain.to_string(), "shorter side 333, centre 299×299, bicubic, samples of -1 to 1");
    let caffe = Normalisation { mean: [0.4076, 0.458, 0.485], std: [1.0 / 255.0; 3], channels: Channels::Bgr };
    let other = Preprocessing { resize: Resize::Squash, normalisation: caffe, ..plain };
    assert_eq!(
        other.to_string(),
        "squashed to 299×299, bicubic, mean 0.4076 0.4580 0.4850, std 0.0039 0.0039 0.0039, BGR"
    );
}
