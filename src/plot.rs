//! Charts, as SVG and as PNG: curves over epochs, the learning-rate range test, and tables of counts.
//!
//! kuva draws the panels; what it gets is made harmless before (values that are not finite, odd
//! names), and axes, legend and clip names are ours, so that equal charts are equal bytes. Text in
//! a PNG is set in DejaVu Sans (licence of Bitstream Vera), which kuva carries: no font of the
//! machine is read.

mod axis;
mod caption;
mod legend;
mod matrix;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use anyhow::{Result, anyhow};
use kuva::RasterBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::scatter::ScatterPlot;
use kuva::plot::{LinePlot, LineStyle};
use kuva::render::annotations::{ReferenceLine, TextAnnotation};
use kuva::render::figure::Figure;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::{Primitive, Scene};

use axis::{Axis, drawable};
pub use caption::{Line, caption};
pub use matrix::Matrix;
use text::ROOM;

/// Panels side by side, with one legend below them.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    pub panels: Vec<Panel>,
}

/// One pair of axes with its curves.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    pub title: String,
    pub x_label: String,
    /// Stands below the title, where it can be read without turning one's head.
    pub y_label: String,
    pub x_scale: Scale,
    /// Whether y is a fraction, written in per cent.
    pub y_percent: bool,
    /// Where the y axis ends at the latest: a loss that explodes would flatten all the rest.
    pub y_max: Option<f64>,
    pub curves: Vec<Curve>,
    pub marks: Vec<Mark>,
}

/// Points joined in their order; curves of one name have one colour throughout the chart.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    pub name: String,
    pub dashed: bool,
    /// (x, y). Left out: what is not finite or past ±1e30, and x ≤ 0 on a logarithmic axis.
    pub points: Vec<(f64, f64)>,
    /// What share of all each point stands for, drawn as the area of a dot; no dots if empty.
    pub shares: Vec<f64>,
}

/// A vertical line, named in the legend.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    pub x: f64,
    pub label: String,
}

/// How x is spread over its axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// In whole steps if every x is whole, as epochs are.
    #[default]
    Linear,
    Log,
}

/// Size of a panel in SVG units.
const PANEL_WIDTH: f64 = 520.0;
const PANEL_HEIGHT: f64 = 380.0;
/// Pixels of the PNG per SVG unit.
const PIXELS_PER_UNIT: f32 = 2.0;
/// Of the title's letters; the labels' are smaller.
const TITLE_SIZE: u32 = 18;
const CURVE_WIDTH: f64 = 2.0;
const DASHES: &str = "8 6";
/// Radii of a point that stands for nothing, of one alone on its curve, and of one that stands for all.
const DOTS: [f64; 3] = [2.5, 4.0, 9.0];
/// Okabe and Ito's palette, told apart with every kind of colour vision (Wong, "Color blindness",
/// Nature Methods 8, 2011), without its yellow, which is too pale on white.
const PALETTE: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const MARK_COLOR: &str = "#555555";
const MARK_WIDTH: f64 = 1.5;
/// Marks differ by their dashes.
const MARK_DASHES: [&str; 3] = ["4 4", "12 4 3 4", "14 5"];

impl Chart {
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
        let nothing = [Panel::default()];
        let panels = if self.panels.is_empty() { &nothing[..] } else { &self.panels };
        let names = distinct(panels.iter().flat_map(|panel| &panel.curves).map(|curve| &curve.name));
        let marks = distinct(panels.iter().flat_map(|panel| &panel.marks).map(|mark| &mark.label));
        let color = |curve: &Curve| PALETTE[position(&names, &curve.name) % PALETTE.len()];
        let dashes = |mark: &Mark| MARK_DASHES[position(&marks, &mark.label) % MARK_DASHES.len()];

        let mut scene = Figure::new(1, panels.len())
            .with_cell_size(PANEL_WIDTH, PANEL_HEIGHT)
            .with_plots(panels.iter().map(|panel| panel.plots(color)).collect())
            .with_layouts(panels.iter().map(|panel| panel.layout(dashes)).collect())
            .render();
        name_clips(&mut scene);

        let mut entries = Vec::new();
        for panel in panels {
            entries.extend(panel.curves.iter().map(|curve| legend::Entry {
                name: text::fitting(&curve.name, legend::SIZE, ROOM),
                color: color(curve),
                width: CURVE_WIDTH,
                dashes: curve.dashed.then_some(DASHES),
            }));
        }
        for panel in panels {
            entries.extend(panel.marks.iter().map(|mark| legend::Entry {
                name: text::fitting(&mark.label, legend::SIZE, ROOM),
                color: MARK_COLOR,
                width: MARK_WIDTH,
                dashes: Some(dashes(mark)),
            }));
        }
        legend::draw(&mut scene, entries);
        scene
    }
}

impl Panel {
    fn points(&self, curve: &Curve) -> impl Iterator<Item = (f64, f64)> {
        curve.points.iter().copied().filter(|&point| self.draws(point))
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(|mark| drawable(mark.x, self.x_scale))
    }

    fn plots(&self, color: impl Fn(&Curve) -> &'static str) -> Vec<Plot> {
        // kuva leaves a panel out altogether that has no plot.
        let mut plots: Vec<Plot> = vec![LinePlot::new().into()];
        for curve in &self.curves {
            let points: Vec<(f64, f64)> = self.points(curve).collect();
            let radii = self.radii(curve, points.len());
            let dots = ScatterPlot::new().with_data(points.iter().copied().take(radii.len()));
            let style = if curve.dashed { LineStyle::Custom(DASHES.to_owned()) } else { LineStyle::Solid };
            let line = LinePlot::new().with_data(points).with_line_style(style);
            plots.push(line.with_color(color(curve)).with_stroke_width(CURVE_WIDTH).into());
            if !radii.is_empty() {
                plots.push(dots.with_color(color(curve)).with_sizes(radii).into());
            }
        }
        plots
    }

    /// Of the dots on the first of a curve's `points` that are drawn.
    fn radii(&self, curve: &Curve, points: usize) -> Vec<f64> {
        let [least, alone, most] = DOTS;
        if curve.shares.is_empty() {
            // A line through one point cannot be seen.
            return if points == 1 { vec![alone] } else { Vec::new() };
        }
        let drawn = curve.points.iter().zip(&curve.shares).filter(|(point, _)| self.draws(**point));
        drawn.map(|(_, share)| least + (most - least) * share.clamp(0.0, 1.0).sqrt()).collect()
    }

    fn draws(&self, (x, y): (f64, f64)) -> bool {
        drawable(x, self.x_scale) && drawable(y, Scale::Linear)
    }

    fn layout(&self, dashes: impl Fn(&Mark) -> &'static str) -> Layout {
        let points: Vec<(f64, f64)> = self.curves.iter().flat_map(|curve| self.points(curve)).collect();
        let xs: Vec<f64> = points.iter().map(|&(x, _)| x).chain(self.marks().map(|mark| mark.x)).collect();
        let ys: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
        let x = Axis::of_x(&xs, self.x_scale);
        let y = Axis::of_y(&ys, self.y_percent, self.y_max);
        let mut layout = Layout::new((x.min, x.max), (y.min, y.max))
            .with_x_axis_min(x.min)
            .with_x_axis_max(x.max)
            .with_y_axis_min(y.min)
            .with_y_axis_max(y.max)
            .with_y_tick_step(y.step)
            .with_y_tick_format(TickFormat::Custom(Arc::new(move |value| y.label(value))));
        let shown = |name: &str| Some(text::fitting(name, TITLE_SIZE, ROOM)).filter(|name| !name.is_empty());
        layout.title_size = TITLE_SIZE;
        layout.title = shown(&self.title);
        layout.subtitle = shown(&self.y_label);
        layout.x_label = shown(&self.x_label);
        layout.show_legend = false;
        layout = match self.x_scale {
            Scale::Log => layout.with_log_x(),
            Scale::Linear => layout
                .with_x_tick_step(x.step)
                .with_x_tick_format(TickFormat::Custom(Arc::new(move |value| x.label(value)))),
        };
        for mark in self.marks() {
            let line = ReferenceLine::vertical(mark.x).with_color(MARK_COLOR).with_dasharray(dashes(mark));
            layout = layout.with_reference_line(line.with_stroke_width(MARK_WIDTH));
        }
        if points.is_empty() {
            let middle = if self.x_scale == Scale::Log { (x.min * x.max).sqrt() } else { (x.min + x.max) / 2.0 };
            let remark = TextAnnotation::new("no values", middle, (y.min + y.max) / 2.0);
            layout = layout.with_annotation(remark.with_color(MARK_COLOR));
        }
        layout
    }
}

fn svg(scene: &Scene) -> String {
    SvgBackend::new().render_scene(scene)
}

fn png(scene: &Scene) -> Result<Vec<u8>> {
    let backend = RasterBackend::new().with_scale(PIXELS_PER_UNIT);
    backend.render_scene(scene).map_err(|error| anyhow!("chart: no PNG can be made of it: {error}"))
}

/// kuva numbers its clip rectangles through the life of the process; we, through a chart.
fn name_clips(scene: &mut Scene) {
    let mut count = 0;
    for element in &mut scene.elements {
        if let Primitive::ClipStart { id, .. } = element {
            let name = format!("clip{count}");
            for definition in &mut scene.defs {
                *definition = definition.replace(&format!("id=\"{id}\""), &format!("id=\"{name}\""));
            }
            *id = name;
            count += 1;
        }
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

fn position(names: &[&String], name: &String) -> usize {
    names.iter().position(|&other| other == name).unwrap_or(0)
}
