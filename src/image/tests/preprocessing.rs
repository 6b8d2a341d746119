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
            let preprocessing = Preprocessing { convention, interpolation: case.interpolation, size: case.size };
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
        let preprocessing =
            Preprocessing { convention: Convention::Timm, interpolation: case.interpolation, size: case.size };
        let scaled = preprocessing.apply(&pattern(case.from));
        let bytes: Vec<u8> = scaled.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), case.timm_f32, "{:?} {preprocessing:?}", case.from);
    }
}

#[test]
fn black_is_minus_one_and_white_is_one() {
    let picture = Picture { width: 2, height: 1, pixels: vec![0, 0, 0, 255, 255, 255] };
    let preprocessing = Preprocessing { convention: Convention::Keras, interpolation: Interpolation::Nearest, size: 2 };
    assert_eq!(preprocessing.apply(&picture), [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0].repeat(2));
}

#[test]
fn preprocessing_survives_the_journey_through_a_model_file() {
    let preprocessing =
        Preprocessing { convention: Convention::Timm, interpolation: Interpolation::Bilinear, size: 150 };
    let json = serde_json::to_string(&preprocessing).unwrap();
    assert_eq!(json, r#"{"convention":"timm","interpolation":"bilinear","size":150}"#);
    assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), preprocessing);
}
