//! One connection: its state, its buffers against their limits, its deadlines, and what has happened to it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{LineGauge, Paragraph};

use crate::live::fitted;
use crate::results::figures;
use crate::top::app::{Detail, Fate};
use crate::top::model::{Conn, Deadline, Event};
use crate::top::view::holders::known;
use crate::top::view::lines::{count, time};
use crate::top::view::theme::Theme;

/// The most deadlines that are shown: there are no more kinds.
const DEADLINES_MAX: usize = 5;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, detail: &Detail, theme: Theme) {
    let columns = usize::from(area.width);
    let nothing = Conn::default();
    let conn = detail.conn.as_ref().unwrap_or(&nothing);
    let mut lines = vec![Line::styled(title(detail, conn, columns), theme.head())];
    if let Some(note) = note(detail) {
        lines.push(Line::styled(note, theme.alarm()));
    }
    if detail.conn.is_some() {
        lines.extend(facts(conn, columns).into_iter().map(Line::from));
    }
    let gauges = if detail.conn.is_some() { gauges(conn, theme) } else { Vec::new() };
    let heights = [lines.len(), gauges.len(), 1].map(|len| Constraint::Length(u16::try_from(len).unwrap_or(u16::MAX)));
    let [top, middle, head, rest] =
        Layout::vertical([heights[0], heights[1], heights[2], Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines), top);
    for (gauge, row) in gauges.into_iter().zip(middle.rows()) {
        frame.render_widget(gauge, row);
    }
    frame.render_widget(Line::styled(heading(detail), theme.head()), head);
    frame.render_widget(Paragraph::new(events(detail, rest.height, theme)), rest);
}

fn title(detail: &Detail, conn: &Conn, columns: usize) -> String {
    let mut parts = vec![(0, format!("connection {}", detail.id)), (1, format!("  {}", conn.peer))];
    if let Some(local) = &conn.local {
        let arrow = if conn.dialed { "dialed from" } else { "to" };
        parts.push((2, format!(" {arrow} {local}")));
    }
    if let Some(listener) = conn.listener.as_ref().filter(|listener| !listener.as_str().is_empty()) {
        parts.push((3, format!("  listener {listener}")));
    }
    fitted(&parts, columns)
}

/// Why what is shown is not the present.
fn note(detail: &Detail) -> Option<&'static str> {
    match detail.fate {
        Fate::Known => None,
        Fate::Unknown => Some("asking ..."),
        Fate::Stale if detail.conn.is_some() => Some("closed: the id is stale, and this was seen last (Esc goes back)"),
        Fate::Stale => Some("no connection has this id, or not any more (Esc goes back)"),
        Fate::Restarted => Some("the server has restarted: the connection is gone, the id stale"),
    }
}

fn facts(conn: &Conn, columns: usize) -> Vec<String> {
    let mut state = vec![(0, format!("state {}", conn.state))];
    if let Some(closed) = &conn.closed {
        state.push((1, format!(": {closed}")));
    }
    if let Some(paused_by) = &conn.paused_by {
        state.push((1, format!("  reading paused by {paused_by}")));
    }
    state.push((2, format!("  idle {}", time(conn.idle))));
    state.push((3, format!("  age {}", time(conn.age))));
    let moved = [
        (0, format!("frames {} in", known(conn.frames_in, count))),
        (
            1,
            format!(
                "  bytes {} in  {} out",
                known(conn.bytes_in, figures::bytes),
                known(conn.bytes_out, figures::bytes)
            ),
        ),
        (2, format!("  buffers {}", figures::bytes(conn.buffered_bytes))),
        (3, format!("  framing {}", conn.framing)),
    ];
    vec![fitted(&state, columns), fitted(&moved, columns)]
}

/// The pending bytes and the deadlines, each against its limit.
fn gauges(conn: &Conn, theme: Theme) -> Vec<LineGauge<'static>> {
    let low = figures::bytes(conn.output_low_water);
    let mut rows = vec![
        gauge(
            "pending output",
            conn.pending_output,
            conn.output_high_water,
            figures::bytes,
            &format!(", low water {low}"),
        ),
        gauge("pending input", conn.pending_input, conn.max_payload, figures::bytes, ""),
    ];
    for Deadline { kind, left, of } in conn.deadlines.iter().take(DEADLINES_MAX) {
        let seconds = |seconds| time(Some(crate::top::model::Seconds(seconds)));
        rows.push(gauge(&format!("{kind} deadline"), left.0, of.0, seconds, ""));
    }
    let colored = |(label, ratio, is_full): (String, f64, bool)| {
        let style = if is_full { theme.alarm() } else { theme.chart() };
        let gauge = LineGauge::default().label(label).ratio(ratio).filled_symbol("█").unfilled_symbol("░");
        gauge.filled_style(style).unfilled_style(theme.hint())
    };
    rows.into_iter().map(colored).collect()
}

/// The label of a gauge, its ratio, and whether the limit is reached.
fn gauge(name: &str, value: f64, limit: f64, form: impl Fn(f64) -> String, more: &str) -> (String, f64, bool) {
    let ratio = if limit > 0.0 { (value / limit).clamp(0.0, 1.0) } else { 0.0 };
    let label = format!("{name:<15}{:>9} of {}{more}", form(value), form(limit));
    (format!("{label:<LABEL$}"), ratio, value >= limit && limit > 0.0)
}

/// The width of the labels, so that the gauges begin in the same column.
const LABEL: usize = 57;

fn heading(detail: &Detail) -> String {
    match (detail.events_len(), detail.scroll) {
        (0, _) => "no events yet".into(),
        (len, 0) => format!("the last {len} events"),
        (len, scroll) => format!("the last {len} events, {scroll} of them below"),
    }
}

/// The newest events that fit, the oldest of them first.
fn events(detail: &Detail, height: u16, theme: Theme) -> Vec<Line<'static>> {
    let events: &[Event] = detail.conn.as_ref().and_then(|conn| conn.events.as_deref()).unwrap_or_default();
    let end = events.len() - detail.scroll.min(events.len().saturating_sub(1));
    let begin = end.saturating_sub(usize::from(height));
    let line = |event: &Event| {
        let text = format!("{:>12.4}  {:<9} {:<12} {}", event.at.0, event.kind, event.state, event.text);
        if event.kind.as_str() == "close" { Line::styled(text, theme.alarm()) } else { Line::from(text) }
    };
    events[begin..end].iter().map(line).collect()
}
