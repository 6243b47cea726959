//! The connections that hold the most, as a table.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text;
use ratatui::widgets::{Cell, Row, Table, TableState};

use crate::results::figures;
use crate::top::app::App;
use crate::top::ask::Content;
use crate::top::model::Conn;
use crate::top::view::lines::{count, time};
use crate::top::view::theme::Theme;

/// A column: its head, its width, from which width of the screen on it is shown, and its cells.
pub(crate) struct Column {
    head: &'static str,
    width: u16,
    from: u16,
    is_number: bool,
    cell: fn(&Conn) -> String,
}

const PEER: &str = "peer";
const STATE: &str = "state";

pub(crate) const COLUMNS: [Column; 12] = [
    Column { head: "id", width: 9, from: 0, is_number: false, cell: |conn| conn.id.to_string() },
    // It takes the room that is left.
    Column { head: PEER, width: 21, from: 0, is_number: false, cell: |conn| conn.peer.to_string() },
    Column { head: STATE, width: 12, from: 80, is_number: false, cell: state },
    Column { head: "in", width: 8, from: 80, is_number: true, cell: |conn| figures::bytes(conn.pending_input) },
    Column { head: "out", width: 8, from: 80, is_number: true, cell: |conn| figures::bytes(conn.pending_output) },
    Column { head: "bytes", width: 8, from: 0, is_number: true, cell: |conn| figures::bytes(conn.buffered_bytes) },
    Column { head: "idle", width: 8, from: 80, is_number: true, cell: |conn| time(conn.idle) },
    Column { head: "age", width: 10, from: 92, is_number: true, cell: |conn| time(conn.age) },
    Column { head: "paused by", width: 12, from: 106, is_number: false, cell: paused_by },
    Column { head: "frames in", width: 11, from: 118, is_number: true, cell: |conn| known(conn.frames_in, count) },
    Column {
        head: "bytes in",
        width: 8,
        from: 128,
        is_number: true,
        cell: |conn| known(conn.bytes_in, figures::bytes),
    },
    Column {
        head: "bytes out",
        width: 9,
        from: 138,
        is_number: true,
        cell: |conn| known(conn.bytes_out, figures::bytes),
    },
];

/// The table of a summary as text, with its head. Numbers are aligned to the right, so the peer, of any length, is the last column.
pub(crate) fn table(conns: &[&Conn]) -> Vec<Vec<String>> {
    let is_peer = |column: &&Column| column.head == PEER;
    let columns: Vec<_> =
        COLUMNS.iter().filter(|column| !is_peer(column)).chain(COLUMNS.iter().filter(is_peer)).collect();
    let cell = |column: &Column, conn: &Conn| match column.head {
        // Whether it is paused has a column of its own.
        STATE => conn.state.to_string(),
        _ => Some((column.cell)(conn)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into()),
    };
    let head = columns.iter().map(|column| column.head.replace(' ', "-")).collect();
    let row = |conn: &&Conn| columns.iter().map(|column| cell(column, conn)).collect();
    [head].into_iter().chain(conns.iter().map(row)).collect()
}

/// What is above the table: how many there are, and how they are chosen.
pub(super) fn title(app: &App) -> String {
    let Content::Serve(connections) = &app.answer.content else { return String::new() };
    let all = connections.top.as_ref().map_or(0, Vec::len);
    let shown = app.rows().len();
    let filter = if app.filter.is_empty() { String::new() } else { format!(" that match {:?}", app.filter) };
    format!("{shown} of the {all} first by {}{filter}", app.ask().order.name())
}

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let columns: Vec<(&Column, u16)> = columns(frame.area().width);
    let cell = |text: String, column: &Column, width: u16| {
        let text = text::Text::from(cut(text, usize::from(width)));
        Cell::from(if column.is_number { text.right_aligned() } else { text })
    };
    let head = columns.iter().map(|(column, width)| cell(column.head.into(), column, *width));
    let head = Row::new(head).style(theme.head());
    let rows = app.rows();
    let row = |conn: &&Conn| Row::new(columns.iter().map(|(column, width)| cell((column.cell)(conn), column, *width)));
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(rows.iter().map(row), widths).header(head).row_highlight_style(theme.selected());
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(Some(app.at)));
}

/// The columns for a screen of this width, and the width of each: the peer takes what the others leave.
fn columns(screen: u16) -> Vec<(&'static Column, u16)> {
    let shown = || COLUMNS.iter().filter(move |column| column.from <= screen);
    let taken: u16 = shown().map(|column| column.width + 1).sum::<u16>() - 1;
    let rest = screen.saturating_sub(taken);
    shown().map(|column| (column, column.width + if column.head == PEER { rest } else { 0 })).collect()
}

/// A text that does not fit ends in a mark: an address that is cut is another address.
fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn state(conn: &Conn) -> String {
    let paused = if conn.paused_by.is_some() { " paused" } else { "" };
    format!("{}{paused}", conn.state)
}

fn paused_by(conn: &Conn) -> String {
    conn.paused_by.as_ref().map_or_else(String::new, ToString::to_string)
}

pub(super) fn known(number: Option<f64>, form: fn(f64) -> String) -> String {
    number.map_or_else(|| "-".into(), form)
}
