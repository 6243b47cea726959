//! The figures as pictures: each server a dot, on a logarithmic scale, with a
//! line from the least to the greatest of the rounds.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::child::{FLOOR, FRAMELOOP, SPINNING};
use crate::failure::{Error, Result};
use crate::results::{Metric, Results, RowResult};
use crate::stats::Spread;

const PANEL: (u32, u32) = (420, 300);
const ACROSS: usize = 3;
const OWN: RGBColor = RGBColor(200, 60, 30);
const BOUND: RGBColor = RGBColor(130, 130, 130);
const PEER: RGBColor = RGBColor(40, 90, 150);
const FONT: &str = "sans-serif";

/// One panel: its title, and a figure for each name.
type Panel = (String, Vec<(String, Spread)>);

/// Writes every picture that there are figures for.
pub(crate) fn write(results: &Results, folder: &Path) -> Result<()> {
    let panels = |kind: &str, unit: &str, of: &dyn Fn(&RowResult, &str) -> Option<Spread>| -> Vec<Panel> {
        let rows = results.rows.iter().filter(|row| row.kind == kind);
        let panel = |row: &RowResult| {
            let dots = row.of.iter().filter_map(|(name, _)| Some((name.clone(), of(row, name)?)));
            (format!("{}: {unit}", row.title), dots.collect::<Vec<_>>())
        };
        rows.map(panel).filter(|(_, dots)| !dots.is_empty()).collect()
    };
    let plain = |metric| move |row: &RowResult, name: &str| row.outcome(name)?.spread(metric);
    let by_frameloop = |row: &RowResult, name: &str| row.ratio(Metric::CpuNs, name, FRAMELOOP);
    let pictures = [
        ("cpu.svg", panels("speed", "CPU a message, by frameloop's", &by_frameloop)),
        ("latency.svg", panels("speed", "p50, µs", &plain(Metric::P50Us))),
        ("memory.svg", panels("memory", "B a connection", &plain(Metric::ResidentBytes))),
        ("fairness.svg", panels("fairness", "p99 beside it, µs", &plain(Metric::P99Us))),
    ];
    for (name, panels) in pictures.iter().filter(|(_, panels)| !panels.is_empty()) {
        draw(&folder.join(name), panels).map_err(|error| format!("{name} could not be drawn: {error}"))?;
    }
    Ok(())
}

fn draw(path: &Path, panels: &[Panel]) -> Result<()> {
    let down = panels.len().div_ceil(ACROSS);
    let size = (PANEL.0 * u32::try_from(ACROSS)?, PANEL.1 * u32::try_from(down)?);
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    for (area, panel) in root.split_evenly((down, ACROSS)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present().map_err(text)?;
    drop(root);
    Ok(std::fs::write(path, compact(&svg))?)
}

/// The same picture without attributes that state a default, one line per label.
fn compact(svg: &str) -> String {
    let defaults = [" opacity=\"1\"", " stroke-width=\"1\"", "\n"];
    defaults.iter().fold(svg.to_owned(), |svg, default| svg.replace(default, "")).replace("<text", "\n<text")
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, (title, dots): &Panel) -> Result<()> {
    // From the top down, the first name first; a logarithm has no place for nothing at all.
    let height = dots.len() as f64;
    let least = dots.iter().map(|(_, it)| it.min.max(1e-1)).fold(f64::INFINITY, f64::min);
    let most = dots.iter().map(|(_, it)| it.max).fold(0.0, f64::max).max(least * 1.1);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 14))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(104)
        .build_cartesian_2d(((least / 1.3)..(most * 1.3)).log_scale(), -0.5..height - 0.5)
        .map_err(text)?;
    let name_at = |at: &f64| {
        let from_top = height - 1.0 - at;
        let is_whole = (from_top - from_top.round()).abs() < 1e-6;
        let name = dots.get(from_top.round() as usize).filter(|_| is_whole && from_top > -0.5);
        name.map_or(String::new(), |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(6)
        .y_labels(dots.len() * 2)
        .y_label_formatter(&name_at)
        .x_label_formatter(&|it| if *it < 10.0 { format!("{it:.1}") } else { format!("{it:.0}") })
        .label_style((FONT, 11))
        .draw()
        .map_err(text)?;
    let place = |index: usize| height - 1.0 - index as f64;
    let lines = dots.iter().enumerate().map(|(index, (name, it))| {
        let ends = [it.min.max(least), it.max.max(least)].map(|end| (end, place(index)));
        PathElement::new(ends, color_of(name).stroke_width(2))
    });
    chart.draw_series(lines).map_err(text)?;
    let marks = dots
        .iter()
        .enumerate()
        .map(|(index, (name, it))| Circle::new((it.median.max(least), place(index)), 4, color_of(name).filled()));
    chart.draw_series(marks).map_err(text)?;
    Ok(())
}

fn color_of(name: &str) -> RGBColor {
    match name {
        FRAMELOOP | SPINNING => OWN,
        FLOOR => BOUND,
        _ => PEER,
    }
}

/// Plotters' errors name their backend's; a line is enough here.
fn text(error: impl std::fmt::Display) -> Error {
    error.to_string().into()
}
