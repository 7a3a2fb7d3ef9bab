//! Plots as SVG and PNG: lines over a logarithmic axis, and bars.
//!
//! Text is drawn out of one font file, so that no font library is needed and plots look the same everywhere.

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use std::sync::OnceLock;

const SIZE: (u32, u32) = (1000, 620);
/// Between the axis and the names of bars.
const NAME_GAP: i32 = 8;
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Colours that people with any sight tell apart (Okabe and Ito), ours first, grey and black last.
pub const COLOURS: [RGBColor; 8] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x77, 0x77, 0x77),
    RGBColor(0x00, 0x00, 0x00),
];

/// A line with its points and their intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Setting, median, lower and upper end.
    pub points: Vec<(u64, [f64; 3])>,
}

/// A bar in parts, from the bottom on.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Below it.
    pub name: String,
    /// The parts' heights.
    pub parts: Vec<f64>,
}

/// Makes the font known to the plot library. Everything that draws text calls this first.
pub fn font() -> Result<()> {
    static READ: OnceLock<Result<(), String>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let bytes = std::fs::read(FONT).map_err(|error| format!("{FONT}: {error}; install fonts-dejavu-core"))?;
        register_font("sans-serif", FontStyle::Normal, Vec::leak(bytes)).map_err(|_| format!("{FONT} is no font"))
    });
    read.clone().map_err(|error| anyhow!(error))
}

/// Draws `base.svg` and `base.png`: a place on the axis below for each setting, its name by `label`.
pub fn lines(base: &Path, title: &str, x: &str, y: &str, lines: &[Line], label: &dyn Fn(u64) -> String) -> Result<()> {
    font()?;
    let (svg, png) = (base.with_extension("svg"), base.with_extension("png"));
    let area = SVGBackend::new(&svg, SIZE).into_drawing_area();
    lines_on(&area, title, x, y, lines, label).with_context(|| format!("draw {}", svg.display()))?;
    let area = BitMapBackend::new(&png, SIZE).into_drawing_area();
    lines_on(&area, title, x, y, lines, label).with_context(|| format!("draw {}", png.display()))
}

/// Draws `base.svg` and `base.png`: a bar for each name, its parts in the legend. `rule` is a line across.
pub fn bars(base: &Path, title: &str, y: &str, parts: &[&str], bars: &[Bar], rule: Option<f64>) -> Result<()> {
    font()?;
    let (svg, png) = (base.with_extension("svg"), base.with_extension("png"));
    let area = SVGBackend::new(&svg, SIZE).into_drawing_area();
    bars_on(&area, title, y, parts, bars, rule).with_context(|| format!("draw {}", svg.display()))?;
    let area = BitMapBackend::new(&png, SIZE).into_drawing_area();
    bars_on(&area, title, y, parts, bars, rule).with_context(|| format!("draw {}", png.display()))
}

fn lines_on<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    x: &str,
    y: &str,
    all: &[Line],
    label: &dyn Fn(u64) -> String,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let mut settings: Vec<u64> = all.iter().flat_map(|line| line.points.iter().map(|(setting, _)| *setting)).collect();
    settings.sort_unstable();
    settings.dedup();
    let place = |setting: u64| settings.iter().position(|known| *known == setting).unwrap_or(0) as f64;
    let most = all.iter().flat_map(|line| line.points.iter().map(|(_, [_, _, high])| *high)).fold(0.0, f64::max);
    let right = (settings.len().max(2) - 1) as f64 + 0.3;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(52)
        .y_label_area_size(84)
        .build_cartesian_2d(-0.3..right, 0.0..most * 1.3)?;
    let name = |at: &f64| {
        let near = (at - at.round()).abs() < 1e-6 && *at >= 0.0;
        if near { settings.get(at.round() as usize).map_or(String::new(), |s| label(*s)) } else { String::new() }
    };
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(settings.len() * 2 + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .disable_x_mesh()
        .max_light_lines(1)
        .label_style(("sans-serif", 15))
        .draw()?;
    for (number, line) in all.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = || line.points.iter().map(|(setting, [value, ..])| (place(*setting), *value));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))?;
        chart.draw_series(line.points.iter().map(|(setting, [_, low, high])| {
            PathElement::new([(place(*setting), *low), (place(*setting), *high)], colour.stroke_width(1))
        }))?;
    }
    legend(&mut chart)?;
    Ok(area.present()?)
}

fn legend<'a, B: DrawingBackend + 'a, C: CoordTranslate>(chart: &mut ChartContext<'a, B, C>) -> Result<()>
where
    B::ErrorType: 'static,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}

fn bars_on<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    y: &str,
    parts: &[&str],
    bars: &[Bar],
    rule: Option<f64>,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let most = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(rule.unwrap_or(0.0), f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(150)
        .y_label_area_size(84)
        .build_cartesian_2d(-0.5..bars.len() as f64 - 0.5, 0.0..most * 1.25)?;
    chart
        .configure_mesh()
        .y_desc(y)
        .x_labels(0)
        .disable_x_mesh()
        .max_light_lines(1)
        .label_style(("sans-serif", 14))
        .draw()?;
    // Downwards: side by side the names of many bars would run into each other.
    let downwards = ("sans-serif", 14).into_font().transform(FontTransform::Rotate90);
    let downwards = TextStyle::from(downwards).pos(Pos::new(HPos::Left, VPos::Center));
    for (at, bar) in bars.iter().enumerate() {
        let (x, axis) = chart.backend_coord(&(at as f64, 0.0));
        area.draw(&Text::new(bar.name.clone(), (x, axis + NAME_GAP), downwards.clone()))?;
    }
    for (number, part) in parts.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let series = bars.iter().enumerate().map(|(at, bar)| {
            let bottom: f64 = bar.parts[..number].iter().sum();
            let (left, right) = (at as f64 - 0.3, at as f64 + 0.3);
            Rectangle::new([(left, bottom), (right, bottom + bar.parts[number])], colour.filled())
        });
        chart
            .draw_series(series)?
            .label(*part)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], colour.filled()));
    }
    if let Some(rule) = rule {
        let ends = [(-0.5, rule), (bars.len() as f64 - 0.5, rule)];
        chart.draw_series([PathElement::new(ends, BLACK.stroke_width(1))])?;
    }
    legend(&mut chart)?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_files_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("lines");
        let all = [
            Line { name: "pfs".to_owned(), points: vec![(1, [1.0, 0.5, 1.5]), (4, [3.0, 2.5, 3.5])] },
            Line { name: "other".to_owned(), points: vec![(1, [2.0, 2.0, 2.0])] },
        ];
        lines(&base, "title", "ranks", "MiB/s", &all, &|setting| format!("{setting} ranks")).unwrap();
        let svg = std::fs::read_to_string(base.with_extension("svg")).unwrap();
        assert!(svg.contains("title") && svg.contains("4 ranks") && svg.contains("other"));
        let base = directory.path().join("bars");
        let two = [
            Bar { name: "easy".to_owned(), parts: vec![0.2, 0.7, 0.1] },
            Bar { name: "hard".to_owned(), parts: vec![0.1, 0.8, 0.1] },
        ];
        bars(&base, "shares", "part", &["open", "transfer", "close"], &two, Some(1.0)).unwrap();
        let png = std::fs::read(base.with_extension("png")).unwrap();
        assert_eq!(&png[1..4], b"PNG");
        assert!(png.len() > 5000, "an empty picture is smaller");
    }
}
