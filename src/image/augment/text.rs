//! An augmentation as it is written on the command line: `crop=0.6,flip,rotation=15,jitter=0.2`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use super::Augmentation;

const PARTS: &str =
    "all or none alone, or some of crop=SHARE, flip, rotation=DEGREES and jitter=SHARE with commas between";
const CROP: &str = "the smallest share of the picture that is kept, above 0 and up to 1, such as crop=0.6";
const ROTATION: &str = "the largest angle in degrees, 0 to 180, such as rotation=15";
const JITTER: &str = "the largest change of the colours, 0 to below 1, such as jitter=0.2";

impl FromStr for Augmentation {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let mut augmentation = Self::NONE;
        let mut names = Vec::new();
        for part in text.split(',').map(str::trim) {
            let name = part.split_once('=').map_or(part, |(name, _)| name.trim_end());
            ensure!(!names.contains(&name), "`{name}` stands there twice, expected it once");
            names.push(name);
            augmentation.set(name, part)?;
        }
        Ok(augmentation)
    }
}

impl Augmentation {
    fn set(&mut self, name: &str, part: &str) -> Result<()> {
        match name {
            "crop" => self.crop = number(part, CROP, |share| share > 0.0 && share <= 1.0)?,
            "flip" if part == name => self.flip = true,
            "flip" => bail!("`{part}`: expected `flip` without a value"),
            "rotation" => self.rotation = number(part, ROTATION, |degrees| (0.0..=180.0).contains(&degrees))?,
            "jitter" => self.jitter = number(part, JITTER, |change| (0.0..1.0).contains(&change))?,
            _ => bail!("`{part}` is no augmentation, expected {PARTS}"),
        }
        Ok(())
    }
}

fn number(part: &str, expected: &str, is_allowed: impl Fn(f64) -> bool) -> Result<f64> {
    let value = part.split_once('=').and_then(|(_, value)| value.trim().parse().ok());
    match value {
        Some(value) if is_allowed(value) => Ok(value),
        _ => bail!("`{part}`: expected {expected}"),
    }
}

impl TryFrom<String> for Augmentation {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Augmentation> for String {
    fn from(augmentation: Augmentation) -> Self {
        augmentation.to_string()
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.crop < 1.0).then(|| format!("crop={}", self.crop)),
            self.flip.then(|| "flip".to_string()),
            (self.rotation > 0.0).then(|| format!("rotation={}", self.rotation)),
            (self.jitter > 0.0).then(|| format!("jitter={}", self.jitter)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "none".to_string() } else { parts.join(",") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Augmentation {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Augmentation>().unwrap_err().to_string()
    }

    #[test]
    fn parts_are_read_in_any_order() {
        let expected = Augmentation { crop: 0.5, flip: true, rotation: 30.0, jitter: 0.0 };
        assert_eq!(parse("rotation=30,crop=0.5,flip"), expected);
        assert_eq!(parse("flip, rotation = 30, crop=.5"), expected);
        assert_eq!(parse("all"), parse("crop=0.6,flip,rotation=15,jitter=0.2"));
    }

    #[test]
    fn parts_that_change_nothing_are_none() {
        for text in ["none", "crop=1", "rotation=0,jitter=0"] {
            assert!(parse(text).is_none());
            assert_eq!(parse(text).to_string(), "none");
        }
        assert!(!parse("flip").is_none());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["none", "flip", "crop=0.25,jitter=0.1", "crop=0.6,flip,rotation=15,jitter=0.2"] {
            assert_eq!(parse(text).to_string(), text);
        }
        let json = serde_json::to_string(&Augmentation::ALL).unwrap();
        assert_eq!(json, r#""crop=0.6,flip,rotation=15,jitter=0.2""#);
        assert_eq!(serde_json::from_str::<Augmentation>(&json).unwrap(), Augmentation::ALL);
        assert!(serde_json::from_str::<Augmentation>(r#""crop=7""#).is_err());
    }

    #[test]
    fn a_value_out_of_range_is_told_with_what_was_expected() {
        for text in ["crop=0", "crop=1.1", "crop=-0.5", "crop=NaN", "crop=much", "crop=", "crop"] {
            let expected = "the smallest share of the picture that is kept, above 0 and up to 1, such as crop=0.6";
            assert_eq!(refusal(text), format!("`{text}`: expected {expected}"));
        }
        for text in ["rotation=181", "rotation=-1", "rotation=inf", "rotation"] {
            let expected = "the largest angle in degrees, 0 to 180, such as rotation=15";
            assert_eq!(refusal(text), format!("`{text}`: expected {expected}"));
        }
        for text in ["jitter=1", "jitter=-0.1", "jitter=0,2"] {
            assert!(refusal(text).contains(if text == "jitter=0,2" { "`2` is no augmentation" } else { text }));
        }
        assert_eq!(refusal("flip=0.5"), "`flip=0.5`: expected `flip` without a value");
    }

    #[test]
    fn an_unknown_or_repeated_part_is_named() {
        let parts =
            "all or none alone, or some of crop=SHARE, flip, rotation=DEGREES and jitter=SHARE with commas between";
        for (text, part) in [("", ""), ("flip,", ""), ("mirror", "mirror"), ("flip,all", "all"), ("zoom=2", "zoom=2")] {
            assert_eq!(refusal(text), format!("`{part}` is no augmentation, expected {parts}"));
        }
        assert_eq!(refusal("flip,crop=0.5,crop=0.6"), "`crop` stands there twice, expected it once");
    }
}
