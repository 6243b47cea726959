//! Lines of figures as plain text: for the screen, and for a summary that is printed once.
//!
//! Rule: where a line is too long, whole figures are left out, because a number that is cut is another number.

use std::collections::BTreeMap;

use crate::live::{Part, fitted};
use crate::results::figures;
use crate::top::ask::{Answer, Content};
use crate::top::model::{Connections, Info, Latency, Paused, Run, Sample, Seconds, Status, Text};

/// A label and figures, of which the highest ranks are left out first.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) label: &'static str,
    pub(super) parts: Vec<Part>,
    pub(super) is_alarm: bool,
}

/// The width of the labels.
pub(crate) const LABEL_LEN: usize = 12;

impl Line {
    fn new(label: &'static str, parts: Vec<Part>) -> Self {
        Self { label, parts, is_alarm: false }
    }

    /// The figures that fit into so many columns behind the label.
    pub(crate) fn figures(&self, columns: usize) -> String {
        fitted(&self.parts, columns.saturating_sub(LABEL_LEN))
    }
}

/// What is being watched: `frameloop 0.1.0 serve`, the address, and how it is.
pub(crate) fn header(name: &str, info: &Info, is_lost: bool) -> Vec<Part> {
    let state = if is_lost { "reconnecting" } else { info.state.as_str() };
    let mut parts = vec![(3, "frameloop ".to_owned())];
    if !info.version.as_str().is_empty() {
        parts.push((4, format!("{} ", info.version)));
    }
    parts.push((0, format!("{} ", info.mode)));
    parts.push((1, format!(" {name}")));
    if let Some(listener) = info.listeners.first() {
        let others = match info.listeners.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        parts.push((6, format!("  listening on {}{others}", listener.address)));
    }
    parts.push((5, format!("  up {}", figures::duration(whole_seconds(info.uptime).duration()))));
    parts.push((2, format!("  {state}")));
    parts
}

/// The figures of the last second, most important first.
pub(crate) fn totals(answer: &Answer) -> Vec<Line> {
    let sample = answer.samples.last().cloned().unwrap_or_default();
    let mut lines = match &answer.content {
        Content::Serve(connections) => vec![connected(&sample, connections, &answer.info)],
        Content::Load { .. } => Vec::new(),
    };
    lines.push(frames(&sample));
    lines.push(bytes(&sample, &answer.info));
    lines.push(turns(&sample));
    let span = span(answer);
    let closed = sums(&answer.samples, |sample| &sample.closed_by);
    let count = if closed.is_empty() { vec![(0, "none".to_owned())] } else { counted(&closed) };
    lines.push(with_span("closed", count, &span));
    let lints = sums(&answer.samples, |sample| &sample.lints);
    if !lints.is_empty() {
        lines.push(Line { is_alarm: true, ..with_span("lints", counted(&lints), &span) });
    }
    lines
}

fn connected(sample: &Sample, connections: &Connections, info: &Info) -> Line {
    let mut parts = vec![(0, count(connections.total))];
    if let Some(max) = info.limits.as_ref().and_then(|limits| limits.max_connections) {
        parts.push((3, format!(" of {}", count(max))));
    }
    parts.push((1, format!("  accepted {}/s  closed {}/s", rate(sample.accepted), rate(sample.closed))));
    if let Some(states) = &sample.states {
        let named = [
            ("dialing", states.dialing),
            ("open", states.open),
            ("half-closed", states.half_closed),
            ("finished", states.finished),
            ("closing", states.closing),
        ];
        let named = named.into_iter().filter(|(_, number)| *number > 0.0);
        let named: Vec<String> = named.map(|(name, number)| format!("{name} {}", count(number))).collect();
        if !named.is_empty() {
            parts.push((4, format!("  {}", named.join(", "))));
        }
    }
    if let Some(Paused { handler, backpressure }) = &connections.paused
        && handler + backpressure > 0.0
    {
        parts.push((2, format!("  paused {}", count(handler + backpressure))));
    }
    Line::new("connections", parts)
}

fn frames(sample: &Sample) -> Line {
    let parts = vec![(0, format!("{} in", rate(sample.frames_in))), (1, format!("  {} out", rate(sample.frames_out)))];
    Line::new("frames/s", parts)
}

fn bytes(sample: &Sample, info: &Info) -> Line {
    let mut parts = vec![
        (0, format!("{}/s in", figures::bytes(sample.bytes_in))),
        (1, format!("  {}/s out", figures::bytes(sample.bytes_out))),
        (2, format!("  buffered {}", figures::bytes(sample.buffered_bytes))),
    ];
    if let Some(memory) = info.limits.as_ref().and_then(|limits| limits.memory) {
        parts.push((3, format!(" of {}", figures::bytes(memory))));
    }
    Line::new("bytes", parts)
}

fn turns(sample: &Sample) -> Line {
    let mut parts = vec![(3, format!("{}/s", rate(sample.turns)))];
    let quantiles = [(2, "p50", sample.turn_p50), (1, "p99", sample.turn_p99), (0, "max", sample.turn_max)];
    for (rank, name, value) in quantiles {
        parts.push((rank, format!("  {name} {}", time(value))));
    }
    parts.push((4, format!("  lag {}", time(sample.lag))));
    Line::new("turns", parts)
}

/// The progress of a load, most important first.
pub(crate) fn progress(answer: &Answer, status: &Status, run: Option<&Run>) -> Vec<Line> {
    let Some(run) = run else { return without_run(answer, status) };
    let mut stage = vec![(0, run.stage.to_string()), (1, format!("  {}", time(Some(run.elapsed))))];
    if run.paused {
        stage.push((2, "  paused".into()));
    }
    if let Some(left) = run.left {
        stage.push((3, format!("  {} left", time(Some(left)))));
    }
    if let Some(step) = &run.step {
        let of = step.of.map_or_else(String::new, |of| format!(" of {}", count(of)));
        stage.push((4, format!("  step {}{of}: {} {}", count(step.index), step.unit, rate(step.target))));
    }
    let mut sent = vec![(0, format!("{} sent", count(run.sent)))];
    if let Some(due) = run.due {
        sent.push((2, format!(" of {} due", count(due))));
    }
    sent.push((3, format!("  {} late", count(run.late))));
    sent.push((1, format!("  {} complete", count(run.frames))));
    if let Some(target) = run.rate_target {
        sent.push((4, format!("  target {}/s", rate(target))));
    }
    let mut lines = vec![Line::new("stage", stage), up(run.connected, run.connections), Line::new("frames", sent)];
    lines.extend(run.latency.as_ref().map(latency));
    let mut errors = vec![(0, count(run.errors))];
    if !run.errors_by.is_empty() {
        errors.push((1, format!("  {}", named(&run.errors_by))));
    }
    lines.push(Line { is_alarm: run.errors > 0.0, ..Line::new("errors", errors) });
    lines
}

fn without_run(answer: &Answer, status: &Status) -> Vec<Line> {
    let paused = if status.paused { "  paused" } else { "" };
    let stage = Line::new("stage", vec![(0, format!("{}{paused}", status.stage))]);
    let measured = answer.samples.last().and_then(|sample| sample.latency.as_ref()).map(latency);
    [stage, up(status.connected, status.connections)].into_iter().chain(measured).collect()
}

fn up(connected: f64, connections: f64) -> Line {
    Line::new("connections", vec![(0, count(connected)), (1, format!(" of {}", count(connections)))])
}

fn latency(latency: &Latency) -> Line {
    let quantiles =
        [(2, "p50", latency.p50), (0, "p99", latency.p99), (3, "p99.9", latency.p999), (1, "max", latency.max)];
    let mut parts: Vec<Part> =
        quantiles.into_iter().map(|(rank, name, value)| (rank, format!("{name} {}  ", time(value)))).collect();
    parts.push((4, format!("({})", latency.kind)));
    Line::new("latency", parts)
}

/// How long the samples reach back.
fn span(answer: &Answer) -> String {
    let seconds = answer.interval.0.max(0.0) * answer.samples.len() as f64;
    time(Some(Seconds(seconds.round())))
}

fn with_span(label: &'static str, mut parts: Vec<Part>, span: &str) -> Line {
    let rank = parts.len();
    parts.push((rank, format!("  (in {span})")));
    Line::new(label, parts)
}

fn sums(samples: &[Sample], counts: impl Fn(&Sample) -> &BTreeMap<Text, f64>) -> BTreeMap<Text, f64> {
    let mut sums = BTreeMap::new();
    for (name, number) in samples.iter().flat_map(counts) {
        *sums.entry(name.clone()).or_default() += number;
    }
    sums
}

/// The names with the largest counts first.
fn by_count(counts: &BTreeMap<Text, f64>) -> Vec<(&Text, f64)> {
    let mut sorted: Vec<_> = counts.iter().map(|(name, number)| (name, *number)).collect();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
    sorted
}

/// A part for each of the largest counts; the smallest are left out first, where the line is too long.
fn counted(counts: &BTreeMap<Text, f64>) -> Vec<Part> {
    let sorted = by_count(counts).into_iter().take(NAMES_MAX).enumerate();
    sorted
        .map(|(at, (name, number))| (at, format!("{}{name} {}", if at == 0 { "" } else { ", " }, count(number))))
        .collect()
}

/// All names and counts.
fn named(counts: &BTreeMap<Text, f64>) -> String {
    by_count(counts).iter().map(|(name, number)| format!("{name} {}", count(*number))).collect::<Vec<_>>().join(", ")
}

/// The most names in a line: one less than there are ranks.
const NAMES_MAX: usize = 8;

/// A whole number.
pub(crate) fn count(number: f64) -> String {
    figures::count(number.max(0.0).round() as u64)
}

pub(crate) fn rate(number: f64) -> String {
    if number == number.trunc() { count(number) } else { figures::number(number.max(0.0)) }
}

/// A duration that may be unknown.
pub(crate) fn time(seconds: Option<Seconds>) -> String {
    match seconds {
        None => "-".into(),
        Some(Seconds(0.0)) => "0 s".into(),
        Some(seconds) if seconds.0 >= 120.0 => figures::duration(seconds.duration()),
        Some(seconds) => figures::latency(seconds.nanos().max(0.0)),
    }
}

fn whole_seconds(seconds: Seconds) -> Seconds {
    Seconds(seconds.0.max(0.0).trunc())
}
