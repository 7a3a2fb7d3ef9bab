//! Lines in a plane, as SVG and PNG.

use anyhow::{Context, Result};
use pfs_bench_figures::plot::{COLOURS, font};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (960, 600);
/// Where lines begin among the colours: with grey and black, for the links' own rate and raw TCP come first.
const FIRST_COLOUR: usize = COLOURS.len() - 2;

/// How axes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Both from 0.
    Linear,
    /// Both logarithmic.
    Logarithmic,
}

/// What axes say.
#[derive(Clone, Debug)]
pub struct Axes {
    /// Above.
    pub title: String,
    /// Below.
    pub x: String,
    /// At the left.
    pub y: String,
    /// How they go.
    pub scale: Scale,
}

/// A line with its points marked.
#[derive(Clone, Debug)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws `base.svg` and `base.png`.
pub fn draw(base: &Path, axes: &Axes, lines: &[Line]) -> Result<()> {
    font()?;
    let (svg, png) = (base.with_extension("svg"), base.with_extension("png"));
    on(&SVGBackend::new(&svg, SIZE).into_drawing_area(), axes, lines)
        .with_context(|| format!("draw {}", svg.display()))?;
    on(&BitMapBackend::new(&png, SIZE).into_drawing_area(), axes, lines)
        .with_context(|| format!("draw {}", png.display()))
}

fn on<B: DrawingBackend>(area: &DrawingArea<B, plotters::coord::Shift>, axes: &Axes, lines: &[Line]) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let most =
        |value: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| &line.points).map(value).fold(0.0, f64::max);
    let least = |value: fn(&(f64, f64)) -> f64| {
        lines.iter().flat_map(|line| &line.points).map(value).fold(f64::INFINITY, f64::min)
    };
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    match axes.scale {
        Scale::Linear => chart(area, axes, lines, 0.0..right * 1.05, 0.0..top * 1.1)?,
        Scale::Logarithmic => {
            let (left, bottom) = (least(|point| point.0), least(|point| point.1));
            chart(area, axes, lines, (left..right * 1.2).log_scale(), (bottom / 1.5..top * 2.0).log_scale())?;
        }
    }
    area.present()?;
    Ok(())
}

fn chart<B, X, Y>(area: &DrawingArea<B, plotters::coord::Shift>, axes: &Axes, lines: &[Line], x: X, y: Y) -> Result<()>
where
    B: DrawingBackend,
    B::ErrorType: 'static,
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut builder = ChartBuilder::on(area);
    builder.caption(&axes.title, ("sans-serif", 22)).margin(16).x_label_area_size(44).y_label_area_size(84);
    let mut chart = builder.build_cartesian_2d(x, y)?;
    let label = |value: &f64| number(*value);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(&axes.x).y_desc(&axes.y).label_style(("sans-serif", 15)).axis_desc_style(("sans-serif", 16));
    mesh.x_label_formatter(&label).y_label_formatter(&label).light_line_style(WHITE).draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.into_iter().cycle().skip(FIRST_COLOUR)) {
        let stroke = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), stroke))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], stroke));
        chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).label_font(("sans-serif", 15)).legend_area_size(34);
    legend.background_style(WHITE.mix(0.85)).border_style(RGBColor(0xcc, 0xcc, 0xcc)).draw()?;
    Ok(())
}

/// A number on an axis: no zeros that say nothing.
fn number(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(250.0), "250");
        assert_eq!(number(0.5), "0.5");
        assert_eq!(number(100_000.0), "1e5");
    }
}
