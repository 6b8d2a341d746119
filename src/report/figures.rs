//! Pictures and charts as parts of a page.

use ::image::codecs::jpeg::JpegEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::evaluate::Evaluation;
use crate::image::{self, Picture};
use crate::plot::{Chart, Curve, Matrix, Panel};

/// Of JPEGs; thumbnails need no more.
const QUALITY: u8 = 80;

/// A picture as a data URI of a JPEG, made smaller if a side is longer than `side`.
///
/// # Errors
/// If a side is 0 or longer than a JPEG's may be.
pub fn jpeg_uri(picture: &Picture, side: usize) -> Result<String> {
    let mut bytes = Vec::new();
    let Picture { width, height, pixels } = &image::fitting(picture, side);
    let size = || format!("a picture of {width}×{height} pixels cannot be written as JPEG");
    let (columns, rows) = (u32::try_from(*width).with_context(size)?, u32::try_from(*height).with_context(size)?);
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder.write_image(pixels, columns, rows, ExtendedColorType::Rgb8).with_context(size)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// An SVG document as a data URI: what is inside it cannot reach the page.
pub fn svg_uri(svg: &str) -> String {
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))
}

/// How often the classifier is right, against how sure it says to be.
pub fn reliability(evaluation: &Evaluation) -> Chart {
    let bins = || evaluation.reliability.iter().filter(|bin| bin.count > 0);
    let points = bins().map(|bin| (bin.confidence, bin.accuracy)).collect();
    // A line through bins of a few pictures would look like a trend.
    let shares = bins().map(|bin| bin.count as f64 / evaluation.pictures as f64).collect();
    let ideal = Curve {
        name: "as sure as right".to_owned(),
        dashed: true,
        points: vec![(0.0, 0.0), (1.0, 1.0)],
        ..Curve::default()
    };
    let name = "this classifier; the larger a dot, the more pictures".to_owned();
    let found = Curve { name, dashed: false, points, shares };
    Chart {
        panels: vec![Panel {
            title: "Reliability".to_owned(),
            x_label: "probability of the likeliest class".to_owned(),
            y_label: "share that is right".to_owned(),
            y_percent: true,
            curves: vec![ideal, found],
            ..Panel::default()
        }],
    }
}

/// A confusion matrix of more classes could not be read.
const MOST_IN_MATRIX: usize = 60;

/// How often each class was taken for each; none of more classes than can be read.
pub fn confusion_matrix(evaluation: &Evaluation) -> Option<Matrix<'_>> {
    (evaluation.class_names.len() <= MOST_IN_MATRIX).then_some(Matrix {
        title: "Confusion matrix",
        subtitle: "rows are the truth, columns the prediction",
        names: &evaluation.class_names,
        counts: &evaluation.confusion_matrix,
    })
}
