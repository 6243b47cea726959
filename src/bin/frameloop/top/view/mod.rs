//! The screen, as a function of what is shown and the size of the terminal.

mod detail;
mod help;
pub(super) mod holders;
pub(super) mod lines;
mod run;
#[cfg(test)]
mod tests;
mod theme;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Size};
use ratatui::text::{self, Span};
use ratatui::widgets::{Paragraph, RenderDirection, Sparkline, Wrap};

pub(super) use self::theme::Theme;
use crate::live::{Part, fitted};
use crate::results::figures;
use crate::top::app::App;
use crate::top::ask::Content;
use crate::top::view::lines::{LABEL_LEN, Line, rate};

/// The smallest terminal that there is a layout for.
const LEAST: Size = Size { width: 40, height: 10 };

/// Draws all of the screen.
pub(super) fn render(frame: &mut Frame<'_>, app: &App, theme: Theme) {
    let area = frame.area();
    if area.width < LEAST.width || area.height < LEAST.height {
        let (have, least) = (area.as_size(), LEAST);
        let text = format!("terminal too small: {have}, at least {least}");
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    }
    let note = note(app);
    let heights = [1, u16::from(note.is_some())].map(Constraint::Length);
    let [head, second, body, foot] =
        Layout::vertical([heights[0], heights[1], Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let header = fitted(&lines::header(&app.name, &app.answer.info, app.fault.is_some()), usize::from(area.width));
    frame.render_widget(text::Line::styled(format!("{header:<0$}", usize::from(area.width)), theme.selected()), head);
    if let Some(note) = note {
        frame.render_widget(text::Line::styled(note, theme.alarm()), second);
    }
    if app.shows_help {
        frame.render_widget(help::page(theme), body);
    } else if let Some(shown) = &app.detail {
        detail::render(frame, body, shown, theme);
    } else {
        overview(frame, body, app, theme);
    }
    frame.render_widget(footer(app, usize::from(area.width), theme), foot);
}

/// Why what is shown is not the present.
fn note(app: &App) -> Option<String> {
    let silence = figures::duration(Duration::from_secs(app.silence.as_secs()));
    match &app.fault {
        Some(fault) => Some(format!("reconnecting ... {fault}; last response {silence} ago")),
        None if app.silence >= app.interval + SILENCE => Some(format!("no response for {silence}")),
        None => None,
    }
}

/// How long an answer may be late before the screen says so.
const SILENCE: Duration = Duration::from_secs(3);

fn overview(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let mut shown = match &app.answer.content {
        Content::Serve(_) => Vec::new(),
        Content::Load { status } => lines::progress(&app.answer, status, app.run.as_ref()),
    };
    shown.extend(lines::totals(&app.answer));
    // At least a head and three rows of the table; on a large screen, everything.
    let room = usize::from(area.height).saturating_sub(5).clamp(1, shown.len());
    let chart = match area.height {
        0..20 => 0,
        20..32 => 3,
        _ => 6,
    };
    let heights = [u16::try_from(room).unwrap_or(u16::MAX), chart, 1].map(Constraint::Length);
    let [totals, middle, title, rest] =
        Layout::vertical([heights[0], heights[1], heights[2], Constraint::Fill(1)]).areas(area);
    let lines: Vec<text::Line<'_>> =
        shown.iter().take(room).map(|line| styled(line, usize::from(area.width), theme)).collect();
    frame.render_widget(Paragraph::new(lines), totals);
    history(frame, middle, app, theme);
    if app.answer.info.is_load() {
        if let Some(run) = &app.run {
            run::render(frame, rest, run, theme);
        }
        return;
    }
    frame.render_widget(text::Line::styled(holders::title(app), theme.head()), title);
    holders::render(frame, rest, app, theme);
}

fn styled(line: &Line, columns: usize, theme: Theme) -> text::Line<'static> {
    let figures = line.figures(columns);
    let figures = if line.is_alarm { Span::styled(figures, theme.alarm()) } else { Span::raw(figures) };
    text::Line::from(vec![Span::styled(format!("{:<LABEL_LEN$}", line.label), theme.label()), figures])
}

/// The frames per second of the last minutes, the newest to the right.
fn history(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let samples = &app.answer.samples;
    if area.height == 0 || samples.is_empty() {
        return;
    }
    let label = u16::try_from(LABEL_LEN).unwrap_or(u16::MAX);
    let [left, right] = Layout::horizontal([Constraint::Length(label), Constraint::Fill(1)]).areas(area);
    let newest = samples.iter().rev().take(usize::from(right.width));
    let rates: Vec<u64> = newest.map(|sample| sample.frames_in.max(0.0).round() as u64).collect();
    let max = rates.iter().copied().max().unwrap_or_default();
    let texts = ["frames/s in".to_owned(), format!("max {}", rate(max as f64))];
    let texts = texts.map(|text| text::Line::styled(text, theme.label()));
    frame.render_widget(Paragraph::new(texts.to_vec()), left);
    let line = Sparkline::default().data(rates).max(max.max(1)).direction(RenderDirection::RightToLeft);
    frame.render_widget(line.style(theme.chart()), right);
}

/// The keys that matter here, as many as fit.
fn footer(app: &App, columns: usize, theme: Theme) -> text::Line<'static> {
    if app.is_typing {
        let parts = [(0, format!("filter: {}_", app.filter)), (1, "  (Enter keeps it, Esc clears it)".to_owned())];
        return text::Line::from(fitted(&parts, columns));
    }
    let keys: &[(usize, &str)] = if app.shows_help {
        &[(0, "any key leaves the help"), (1, "  q quit")]
    } else if app.detail.is_some() {
        &[(0, "Esc back"), (3, "  arrows scroll"), (1, "  ? help"), (2, "  q quit")]
    } else if app.answer.info.is_load() {
        &[(0, "q quit"), (1, "  ? help")]
    } else {
        &[(0, "q quit"), (1, "  ? help"), (2, "  Enter detail"), (3, "  / filter"), (4, "  b bytes  a age  i idle")]
    };
    let parts: Vec<Part> = keys.iter().map(|(rank, text)| (*rank, (*text).to_owned())).collect();
    text::Line::styled(fitted(&parts, columns), theme.hint())
}
