//! The legend: one row of names below the panels, more if they do not fit; it covers no curve.

use kuva::render::color::Color;
use kuva::render::render::{Primitive, Scene, TextAnchor};

use super::text::breadth;

/// A name with a piece of its line.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub color: &'static str,
    pub width: f64,
    pub dashes: Option<&'static str>,
}

/// Of the letters.
pub(super) const SIZE: u32 = 12;
const ROW_HEIGHT: f64 = 22.0;
const MARGIN: f64 = 16.0;
const SAMPLE: f64 = 34.0;
const SAMPLE_TO_NAME: f64 = 8.0;
const BETWEEN: f64 = 28.0;

impl Entry {
    fn breadth(&self) -> f64 {
        SAMPLE + SAMPLE_TO_NAME + breadth(&self.name, SIZE)
    }
}

/// Makes the scene higher by a legend, each entry once.
pub(super) fn draw(scene: &mut Scene, entries: Vec<Entry>) {
    let mut rows: Vec<(f64, Vec<Entry>)> = Vec::new();
    for entry in entries {
        if entry.name.is_empty() || rows.iter().any(|(_, row)| row.contains(&entry)) {
            continue;
        }
        let breadth = entry.breadth();
        match rows.last_mut() {
            Some((filled, row)) if *filled + BETWEEN + breadth <= scene.width - 2.0 * MARGIN => {
                *filled += BETWEEN + breadth;
                row.push(entry);
            }
            _ => rows.push((breadth, vec![entry])),
        }
    }
    for (filled, row) in rows {
        let mut x = (scene.width - filled) / 2.0;
        for entry in &row {
            draw_entry(scene, entry, x);
            x += entry.breadth() + BETWEEN;
        }
        scene.height += ROW_HEIGHT;
    }
    scene.height += MARGIN;
}

fn draw_entry(scene: &mut Scene, entry: &Entry, x: f64) {
    let y = scene.height + ROW_HEIGHT / 2.0;
    scene.add(Primitive::Line {
        x1: x,
        y1: y,
        x2: x + SAMPLE,
        y2: y,
        stroke: Color::from(entry.color),
        stroke_width: entry.width,
        stroke_dasharray: entry.dashes.map(str::to_owned),
    });
    scene.add(Primitive::Text {
        x: x + SAMPLE + SAMPLE_TO_NAME,
        // Half the height of a lower-case letter below the line.
        y: y + 0.35 * f64::from(SIZE),
        content: entry.name.clone(),
        size: SIZE,
        anchor: TextAnchor::Start,
        rotate: None,
        bold: false,
        color: None,
    });
}
