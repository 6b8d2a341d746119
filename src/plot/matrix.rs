//! A table of counts as a picture: a cell for each pair of classes, the fuller the more of its row is in it.

use anyhow::Result;
use kuva::render::color::Color;
use kuva::render::render::{Primitive, Scene, TextAnchor};

use super::text::{breadth, fitting};
use super::{PALETTE, TITLE_SIZE, png, svg};
use crate::terminal::thousands;

/// Counts by row and column, both of which are `names`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    pub title: &'a str,
    /// What rows and columns are.
    pub subtitle: &'a str,
    pub names: &'a [String],
    /// A row for each name, in it a count for each name.
    pub counts: &'a [Vec<usize>],
}

/// Of the letters below the title.
const SIZE: u32 = 12;
const MARGIN: f64 = 20.0;
/// Least breadth of a cell, and its height.
const CELL: f64 = 44.0;
/// Between a text and the lines around it.
const GAP: f64 = 8.0;
/// What a name may take up.
const NAME_ROOM: f64 = 150.0;
/// Of names that are broader than their column, in degrees.
const SLOPE: f64 = -45.0;

/// Where things stand.
struct Grid {
    left: f64,
    top: f64,
    cell: f64,
    is_sloped: bool,
}

impl Matrix<'_> {
    /// As an SVG document; its text is text, in DejaVu Sans where the viewer has it.
    pub fn svg(&self) -> String {
        svg(&self.scene())
    }

    /// As a PNG file, two pixels to an SVG unit.
    ///
    /// # Errors
    /// If the picture cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(&self.scene())
    }

    fn scene(&self) -> Scene {
        let names: Vec<String> = self.names.iter().map(|name| fitting(name, SIZE, NAME_ROOM)).collect();
        let broadest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let name = broadest(&mut names.iter().map(|name| breadth(name, SIZE)));
        let count = broadest(&mut self.counts.iter().flatten().map(|&count| breadth(&thousands(count), SIZE)));
        let cell = CELL.max(count + 2.0 * GAP);
        let is_sloped = name + GAP > cell;
        let rise = if is_sloped { name * SLOPE.to_radians().sin().abs() } else { 0.0 };
        let head = MARGIN + f64::from(TITLE_SIZE + SIZE) + 3.0 * GAP;
        let grid = Grid { left: MARGIN + name + GAP, top: head + rise + f64::from(SIZE) + GAP, cell, is_sloped };

        let title = fitting(self.title, TITLE_SIZE, super::ROOM);
        let columns = grid.left + cell * names.len() as f64 + rise;
        let text = MARGIN + breadth(&title, TITLE_SIZE).max(breadth(self.subtitle, SIZE));
        let (width, height) = (columns.max(text) + MARGIN, grid.top + CELL * names.len() as f64 + MARGIN);
        let mut scene = Scene::new(width.ceil(), height.ceil());
        scene.add(write(title, [MARGIN, MARGIN + f64::from(TITLE_SIZE)], TITLE_SIZE, TextAnchor::Start));
        scene.add(write(self.subtitle.to_owned(), [MARGIN, head - GAP], SIZE, TextAnchor::Start));
        for (index, (name, counts)) in names.iter().zip(self.counts).enumerate() {
            grid.head(&mut scene, index, name);
            grid.row(&mut scene, index, name, counts);
        }
        scene
    }
}

impl Grid {
    /// The name above a column.
    fn head(&self, scene: &mut Scene, column: usize, name: &str) {
        let at = [self.left + self.cell * (column as f64 + 0.5), self.top - GAP];
        let anchor = if self.is_sloped { TextAnchor::Start } else { TextAnchor::Middle };
        let mut text = write(name.to_owned(), at, SIZE, anchor);
        if let Primitive::Text { rotate, .. } = &mut text {
            *rotate = self.is_sloped.then_some(SLOPE);
        }
        scene.add(text);
    }

    /// The name before a row, and its cells.
    fn row(&self, scene: &mut Scene, row: usize, name: &str, counts: &[usize]) {
        let y = self.top + CELL * row as f64;
        let base = y + 0.5 * CELL + 0.35 * f64::from(SIZE);
        scene.add(write(name.to_owned(), [self.left - GAP, base], SIZE, TextAnchor::End));
        let sum = counts.iter().sum::<usize>().max(1);
        for (column, &count) in counts.iter().enumerate() {
            let x = self.left + self.cell * column as f64;
            let [fill, ink] = shade(count as f64 / sum as f64, row != column);
            scene.add(Primitive::Rect {
                x,
                y,
                width: self.cell,
                height: CELL,
                fill,
                stroke: Some(Color::from("#d0d0d0")),
                stroke_width: Some(1.0),
                opacity: None,
            });
            let mut text = write(thousands(count), [x + 0.5 * self.cell, base], SIZE, TextAnchor::Middle);
            if let Primitive::Text { color, .. } = &mut text {
                *color = Some(ink);
            }
            scene.add(text);
        }
    }
}

/// Colours of a cell and of the count in it: from white to the palette's blue, or for mistakes to its vermilion.
fn shade(share: f64, is_mistake: bool) -> [Color; 2] {
    let full = PALETTE[usize::from(is_mistake)];
    let channel = |at: usize| {
        let full = u8::from_str_radix(&full[at..at + 2], 16).map_or(0.0, f64::from);
        (255.0 + (full - 255.0) * share).round() as u8
    };
    let [red, green, blue] = [1, 3, 5].map(channel);
    // Black and white can be read equally well on a grey of about 0.5 (ITU-R BT.601's luma).
    let luma = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue);
    let ink = if luma < 127.5 { "#ffffff" } else { "#000000" };
    [Color::from(format!("#{red:02x}{green:02x}{blue:02x}")), Color::from(ink)]
}

fn write(content: String, [x, y]: [f64; 2], size: u32, anchor: TextAnchor) -> Primitive {
    Primitive::Text { x, y, content, size, anchor, rotate: None, bold: false, color: None }
}
