use super::*;

/// 20 epochs of the head, 15 of the network, as a run has them.
fn training(epochs: usize, head_epochs: usize) -> Chart {
    let curve = |name: &str, dashed, value: &dyn Fn(f64) -> f64| Curve {
        name: name.to_owned(),
        dashed,
        points: (1..=epochs).map(|epoch| (epoch as f64, value(epoch as f64))).collect(),
        ..Curve::default()
    };
    let tuned = |epoch: f64| if epoch > head_epochs as f64 { 1.0 } else { 0.0 };
    let train = |epoch: f64| 0.45 * (-0.08 * epoch).exp() + 0.05 - 0.03 * tuned(epoch) + 0.01 * (7.0 * epoch).sin();
    let valid = |epoch: f64| 0.40 * (-0.07 * epoch).exp() + 0.07 - 0.03 * tuned(epoch) + 0.015 * (5.0 * epoch).cos();
    let marks = vec![Mark { x: head_epochs as f64 + 0.5, label: "fine-tuning begins".to_owned() }];
    let panel = |title: &str, y_label: &str, y_percent, curves| Panel {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        y_percent,
        curves,
        marks: if head_epochs < epochs { marks.clone() } else { Vec::new() },
        ..Panel::default()
    };
    let loss = vec![curve("training", true, &train), curve("validation", false, &valid)];
    let accuracy = vec![
        curve("training", true, &|epoch| 1.0 - train(epoch) / 2.5),
        curve("validation", false, &|epoch| 1.0 - valid(epoch) / 2.2),
    ];
    Chart {
        panels: vec![
            panel("Loss", "cross-entropy", false, loss),
            panel("Accuracy", "share of photographs labelled right", true, accuracy),
        ],
    }
}

fn range_test() -> Chart {
    let loss = |rate: f64| 0.7 - 0.5 / (1.0 + 1e-3 / rate) + (rate / 0.08).powi(3);
    let rates = (0..200).map(|step| 10f64.powf(-6.0 + 6.0 * f64::from(step) / 199.0));
    Chart {
        panels: vec![Panel {
            title: "Learning-rate range test".to_owned(),
            x_label: "learning rate".to_owned(),
            y_label: "smoothed loss".to_owned(),
            x_scale: Scale::Log,
            y_max: Some(1.0),
            curves: vec![Curve {
                name: "loss".to_owned(),
                dashed: false,
                points: rates.map(|rate| (rate, loss(rate))).collect(),
                ..Curve::default()
            }],
            marks: vec![Mark { x: 1.2e-3, label: "suggested: 1.2e-3".to_owned() }],
            ..Panel::default()
        }],
    }
}

fn with_points(x_scale: Scale, points: Vec<(f64, f64)>) -> Chart {
    let curves = vec![Curve { name: "loss".to_owned(), dashed: true, points, ..Curve::default() }];
    let marks = [0.0, -1.0, 1.0, f64::NAN, f64::INFINITY, 1e300].map(|x| Mark { x, label: "mark".to_owned() });
    let panel = Panel { x_scale, curves, marks: marks.to_vec(), ..Panel::default() };
    Chart { panels: vec![panel.clone(), Panel { y_percent: true, y_max: Some(-5.0), ..panel }] }
}

fn decode(chart: &Chart) -> image::RgbaImage {
    image::load_from_memory(&chart.png().unwrap()).unwrap().to_rgba8()
}

fn has_color(picture: &image::RgbaImage, color: &str) -> bool {
    let channel = |at: usize| u8::from_str_radix(&color[at..at + 2], 16).unwrap();
    let wanted = [channel(1), channel(3), channel(5), 255];
    picture.pixels().filter(|pixel| pixel.0 == wanted).count() > 100
}

/// Names of the open elements, each closed in its turn; panics where XML is not well-formed.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let (content, tag) = rest.split_at(start);
        assert!(!content.contains('>'), "a stray > in {content:?}");
        for (at, _) in content.match_indices('&') {
            let entity = &content[at..];
            assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#"].iter().any(|known| entity.starts_with(known)));
        }
        let end = tag.find('>').expect("an element ends");
        let element = &tag[1..end];
        assert!(element.matches('"').count().is_multiple_of(2), "quotes in <{element}>");
        if let Some(name) = element.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !element.ends_with('/') && !element.starts_with(['?', '!']) {
            open.push(element.split_whitespace().next().unwrap());
        }
        rest = &tag[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    assert!(!svg.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{ffff}'));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn an_svg_is_well_formed_and_escapes_names() {
    let mut chart = training(35, 20);
    assert_well_formed(&chart.svg());
    chart.panels[0].title = "cats <&\"'> dogs".to_owned();
    chart.panels[0].curves[0].name = "a\u{1b}\u{0}\n\u{ffff}b]]>".to_owned();
    chart.panels[0].marks[0].label = "x".repeat(500);
    let svg = chart.svg();
    assert_well_formed(&svg);
    assert!(svg.contains("cats &lt;&amp;") && svg.contains("fine-tuning begins") && svg.contains("35<"));
}

#[test]
fn a_png_has_twice_the_svgs_size_and_every_colour() {
    for chart in [training(35, 20), training(1, 1), training(1000, 900), range_test()] {
        let picture = decode(&chart);
        let size = format!(r#"width="{}" height="{}""#, picture.width() / 2, picture.height() / 2);
        assert!(chart.svg().contains(&size), "{size}");
        assert_eq!(picture.get_pixel(0, 0).0, [255; 4]);
        assert!(chart.panels[0].curves.iter().zip(PALETTE).all(|(_, color)| has_color(&picture, color)));
        assert!(!has_color(&picture, PALETTE[2]));
    }
}

#[test]
fn equal_charts_are_equal_bytes() {
    let (first, second) = (training(35, 20), training(35, 20));
    assert!(first.svg() == second.svg() && first.png().unwrap() == second.png().unwrap());
}

#[test]
fn what_cannot_be_drawn_is_left_out() {
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    let whole = with_points(Scale::Linear, vec![(1.0, 0.5), (3.0, 0.25)]);
    let broken = with_points(
        Scale::Linear,
        vec![(1.0, 0.5), (2.0, nan), (nan, 1.0), (infinity, 0.0), (2.0, -infinity), (2.0, 1e300), (3.0, 0.25)],
    );
    assert!(broken.svg() == whole.svg());
}

/// Radii of the circles, in their order.
fn radii(svg: &str) -> Vec<f64> {
    svg.split("<circle ")
        .skip(1)
        .map(|circle| circle.split_once(" r=\"").unwrap().1.split('"').next().unwrap())
        .map(|r| r.parse().unwrap())
        .collect()
}

#[test]
fn a_point_that_stands_for_more_has_a_larger_dot() {
    let chart = |points: &[(f64, f64)], shares: &[f64]| {
        let mut chart = with_points(Scale::Linear, points.to_vec());
        chart.panels.truncate(1);
        chart.panels[0].curves[0].shares = shares.to_vec();
        chart
    };
    let points = [(0.1, 0.5), (0.2, f64::NAN), (0.5, 0.25), (0.9, 0.75)];
    assert_eq!(radii(&chart(&points, &[]).svg()), [0.0; 0]);
    let dotted = chart(&points, &[0.0, 0.75, 0.25, 1.0]);
    assert_eq!(radii(&dotted.svg()), [2.5, 2.5 + 6.5 / 2.0, 9.0]);
    assert_well_formed(&dotted.svg());
    assert!(decode(&dotted) != decode(&chart(&points, &[])));
    assert_eq!([radii(&chart(&points[..1], &[1.0]).svg()), radii(&chart(&points[..1], &[]).svg())], [[9.0], [4.0]]);
}

#[test]
fn degenerate_charts_are_drawn_all_the_same() {
    let points = [
        vec![],
        vec![(1.0, 0.5)],
        vec![(f64::NAN, f64::NAN)],
        vec![(1.0, 0.0); 3],
        vec![(0.0, 1e-300), (-5.0, 1e-300)],
        vec![(1e-30, -1e30), (1e30, 1e30)],
        vec![(-1e30, 1e30), (1.0, 1e30 * (1.0 - 1e-16))],
        vec![(1e9, 1e-20), (1e9 + 1.0, 2e-20)],
        vec![(1.0, 0.1 + 0.2), (2.0, 0.3)],
    ];
    for points in points {
        for scale in [Scale::Linear, Scale::Log] {
            let chart = with_points(scale, points.clone());
            assert_well_formed(&chart.svg());
            assert!(decode(&chart).width() > 100);
        }
    }
    assert!(Chart::default().svg().contains("no values"));
    assert!(!decode(&Chart::default()).pixels().all(|pixel| pixel.0 == [255; 4]));
}

#[test]
fn a_matrix_has_a_cell_for_each_pair_and_its_names_on_both_sides() {
    for (names, counts) in [
        (vec!["cat", "dog"], vec![vec![991, 9], vec![4, 996]]),
        (vec!["only"], vec![vec![0]]),
        (vec!["a <&\"'> b\u{1b}", "x"], vec![vec![0, 0], vec![1_234_567, 1]]),
        (vec!["a name that is longer than any column of cells"; 60], vec![vec![3; 60]; 60]),
    ] {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let matrix =
            Matrix { title: "Confusion matrix", subtitle: "rows are the truth", names: &names, counts: &counts };
        let svg = matrix.svg();
        assert_well_formed(&svg);
        let texts = 2 + 2 * names.len() + names.len() * names.len();
        assert_eq!(svg.matches("<text").count(), texts);
        let picture = image::load_from_memory(&matrix.png().unwrap()).unwrap().to_rgb8();
        assert!(svg.contains(&format!(r#"width="{}" height="{}""#, picture.width() / 2, picture.height() / 2)));
    }
}

#[test]
fn the_fuller_a_cell_the_darker_and_mistakes_have_their_own_colour() {
    let names = ["cat", "dog"].map(str::to_owned);
    let svg = |counts: [[usize; 2]; 2]| {
        Matrix { title: "", subtitle: "", names: &names, counts: &counts.map(|row| row.to_vec()) }.svg()
    };
    let extremes = svg([[7, 0], [7, 0]]);
    // Blue for the row that is all right, vermilion for the other, white for what never happened.
    for color in [PALETTE[0], PALETTE[1], "#ffffff"] {
        assert!(extremes.contains(&format!("fill=\"{color}\"")), "{color} is not in {extremes}");
    }
    assert!(!svg([[1, 1], [1, 1]]).contains(PALETTE[0]));
}
