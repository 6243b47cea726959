//! The steps of a load, as a table.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table};

use crate::top::model::{Run, StepDone};
use crate::top::view::lines::{rate, time};
use crate::top::view::theme::Theme;

/// The last steps that have ended, as many as fit.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, run: &Run, theme: Theme) {
    if run.steps.is_empty() {
        return;
    }
    let cells = |texts: [String; 5]| texts.map(|text| Cell::from(Text::from(text).right_aligned()));
    let head = ["target", "rate", "p50", "p99", "held"].map(str::to_owned);
    let room = usize::from(area.height.saturating_sub(1));
    let first = run.steps.len().saturating_sub(room);
    let row = |step: &StepDone| {
        let held = match step.held {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let row = Row::new(cells([rate(step.target), rate(step.rate), time(step.p50), time(step.p99), held.into()]));
        if step.held == Some(false) { row.style(theme.alarm()) } else { row }
    };
    let rows = run.steps[first..].iter().map(row);
    let table = Table::new(rows, [Constraint::Length(11); 5]).header(Row::new(cells(head)).style(theme.head()));
    frame.render_widget(table, area);
}
