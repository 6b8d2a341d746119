//! Names of files whose ending says what is written.

use std::path::Path;

use super::WrongUsage;

/// The ending of `path`, one of `known`.
pub fn of<'a>(path: &Path, known: &[&'a str]) -> Result<&'a str, WrongUsage> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    known.iter().copied().find(|known| Some(*known) == ending).ok_or_else(|| {
        let known: Vec<String> = known.iter().map(|known| format!(".{known}")).collect();
        WrongUsage(format!("{}: expected a name that ends in {}", path.display(), known.join(" or ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_kind_is_refused_with_those_that_are_known() {
        let of = |path: &str, known| super::of(Path::new(path), known).map_err(|error| error.to_string());
        assert_eq!(of("a/chart.b.svg", &["png", "svg"]), Ok("svg"));
        assert_eq!(of("a.jpg", &["png", "svg"]), Err("a.jpg: expected a name that ends in .png or .svg".to_owned()));
        assert_eq!(of("png", &["png"]), Err("png: expected a name that ends in .png".to_owned()));
    }
}
