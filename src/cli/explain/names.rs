//! Names of the pictures that are written, from those that are read.

use std::collections::HashSet;
use std::path::Path;

/// A name for each path, `kitten.png` for `a/kitten.jpg`; one that was given away gets a number, `kitten-2.png`.
/// A file system may take upper and lower case for the same.
pub fn distinct<'a>(paths: impl Iterator<Item = &'a Path>) -> impl Iterator<Item = String> {
    let mut taken = HashSet::new();
    paths.map(move |path| {
        let stem = path.file_stem().map_or_else(|| "picture".into(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let mut names = std::iter::once(stem.clone()).chain(numbered);
        let name = names.find(|name| taken.insert(name.to_lowercase())).unwrap_or(stem);
        format!("{name}.png")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_one_name_do_not_overwrite_each_other() {
        let paths = ["a/cat.jpg", "b/cat.png", "a/Cat.gif", "cat-2.jpg", "dog.tar.jpg"].map(Path::new);
        let names: Vec<String> = distinct(paths.into_iter()).collect();
        assert_eq!(names, ["cat.png", "cat-2.png", "Cat-3.png", "cat-2-2.png", "dog.tar.png"]);
    }
}
