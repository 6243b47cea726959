//! The figures as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::child::{FLOOR, FRAMELOOP, PREVIOUS, SPINNING};
use crate::generator::OWN;
use crate::results::{Metric, Outcome, Results, RowResult};
use crate::stats::Spread;
use crate::table::Table;

const NONE: &str = "–";

pub(crate) fn markdown(results: &Results) -> String {
    let mut out = String::from("# frameloop beside its peers\n\n");
    for line in [&results.date, &results.machine, &results.command].into_iter().chain(&results.conditions) {
        line_of(&mut out, &format!("- {line}"));
    }
    for line in &results.left_out {
        line_of(&mut out, &format!("- {line}"));
    }
    let of = |kind: &str| results.rows.iter().filter(|row| row.kind == kind).collect::<Vec<_>>();
    section(&mut out, "Servers", &servers(results));
    section(
        &mut out,
        "Frameloop by the floor, and by the best of its peers: CPU time a message",
        &standing(&of("speed")),
    );
    section(&mut out, "This build relative to the previous one: CPU time per message", &progress(&of("speed")));
    section(&mut out, "CPU time of the server, ns a message", &overview(results, &of("speed"), Metric::CpuNs));
    section(&mut out, "What growth costs: a message with 10,000 connections by one with 50", &growth(results));
    section(&mut out, "Resident memory, bytes a connection", &overview(results, &of("memory"), Metric::ResidentBytes));
    for row in &results.rows {
        section(&mut out, &format!("{}: {}", row.kind, row.title), &detail(row));
    }
    out
}

// Writing to a String cannot fail.
fn line_of(out: &mut String, line: &str) {
    let _ = writeln!(out, "{line}");
}

/// Nothing for an empty table.
fn section(out: &mut String, title: &str, table: &Table) {
    if !table.is_empty() {
        let _ = write!(out, "\n## {title}\n\n{}", table.render());
    }
}

fn servers(results: &Results) -> Table {
    let mut table = Table::new(["server", "what", "version"]);
    for it in &results.entrants {
        table.row([it.name.clone(), it.title.clone(), it.version.clone()]);
    }
    table
}

/// Frameloop next to the two that matter.
fn standing(rows: &[&RowResult]) -> Table {
    let mut table = Table::new(["load", "frameloop, ns", "by the floor", "best peer", "by the best peer"]);
    for row in rows {
        let own = row.outcome(FRAMELOOP).and_then(|it| it.spread(Metric::CpuNs));
        let floor = row.ratio(Metric::CpuNs, FRAMELOOP, FLOOR);
        let (name, ratio) = best_peer(row).unzip();
        let name = name.unwrap_or(NONE).to_owned();
        table.row([row.title.clone(), cell(own, 0), cell(floor, 2), name, cell(ratio, 2)]);
    }
    table
}

/// This build relative to another one, window by window.
fn progress(rows: &[&RowResult]) -> Table {
    let mut table = Table::new(["load", "ratio (least–most)"]);
    for row in rows {
        if let Some(ratio) = row.ratio(Metric::CpuNs, FRAMELOOP, PREVIOUS) {
            table.row([row.title.clone(), cell(Some(ratio), 3)]);
        }
    }
    table
}

/// The peer that frameloop has the hardest time with, and its ratio to it.
fn best_peer(row: &RowResult) -> Option<(&str, Spread)> {
    let names = row.of.iter().map(|(name, _)| name.as_str());
    names
        .filter(|name| ![FRAMELOOP, PREVIOUS, SPINNING, FLOOR].contains(name))
        .filter_map(|name| Some((name, row.ratio(Metric::CpuNs, FRAMELOOP, name)?)))
        .max_by(|one, other| one.1.median.total_cmp(&other.1.median))
}

/// Medians only: servers down, rows of work across.
fn overview(results: &Results, rows: &[&RowResult], metric: Metric) -> Table {
    let mut table = Table::new(std::iter::once("server").chain(rows.iter().map(|row| row.title.as_str())));
    if rows.is_empty() {
        return table;
    }
    for server in &results.entrants {
        let median = |row: &&RowResult| {
            let spread = row.outcome(&server.name).and_then(|it| it.spread(metric));
            spread.map_or(NONE.to_owned(), |it| format!("{:.0}", it.median))
        };
        table.row(std::iter::once(server.name.clone()).chain(rows.iter().map(median)));
    }
    table
}

fn growth(results: &Results) -> Table {
    let mut table = Table::new(["server", "10,000 by 50"]);
    let find = |name: &str| results.rows.iter().find(|row| row.name == name);
    let (Some(few), Some(many)) = (find("64b-50"), find("64b-10k")) else { return table };
    for server in &results.entrants {
        let median = |row: &RowResult| Some(row.outcome(&server.name)?.spread(Metric::CpuNs)?.median);
        if let (Some(few), Some(many)) = (median(few), median(many)) {
            table.row([server.name.clone(), format!("{:.2}", many / few)]);
        }
    }
    table
}

/// All that was measured of one row: those that took part down, figures across.
fn detail(row: &RowResult) -> Table {
    let columns = |outcome: &Outcome| match outcome {
        Outcome::Measured(columns) => columns.keys().copied().collect(),
        Outcome::Failed(_) => Vec::new(),
    };
    let metrics: BTreeSet<Metric> = row.of.iter().flat_map(|(_, outcome)| columns(outcome)).collect();
    let own = if row.outcome(OWN).is_some() { OWN } else { FRAMELOOP };
    let ratio_of = metrics.contains(&Metric::CpuNs).then(|| format!("{own} by it"));
    let crowd_of = metrics.contains(&Metric::CpuNsManyIdle).then(|| "many by few".to_owned());
    let heads = metrics.iter().map(|metric| heading(*metric).0.to_owned());
    let mut table = Table::new(std::iter::once("server".to_owned()).chain(heads).chain(ratio_of).chain(crowd_of));
    for (name, outcome) in &row.of {
        let figures = metrics.iter().map(|metric| cell(outcome.spread(*metric), heading(*metric).1));
        let ratio = metrics.contains(&Metric::CpuNs).then(|| cell(row.ratio(Metric::CpuNs, own, name), 2));
        let crowd = metrics.contains(&Metric::CpuNsManyIdle).then(|| cell(beside_many(outcome), 2));
        let failed = match outcome {
            Outcome::Failed(error) => vec![format!("failed: {}", error.lines().next().unwrap_or_default())],
            Outcome::Measured(_) => figures.chain(ratio).chain(crowd).collect(),
        };
        table.row(std::iter::once(name.clone()).chain(failed));
    }
    table
}

/// What a message costs alongside many idle connections, relative to few.
fn beside_many(outcome: &Outcome) -> Option<Spread> {
    let (many, few) = (outcome.samples(Metric::CpuNsManyIdle)?, outcome.samples(Metric::CpuNsFewIdle)?);
    Some(Spread::of(many.iter().zip(few).map(|(many, few)| many / few).collect()))
}

/// The head of a column, and its digits behind the point.
fn heading(metric: Metric) -> (&'static str, usize) {
    match metric {
        Metric::CpuNs => ("CPU, ns a message", 0),
        Metric::CpuNsFewIdle => ("CPU, ns beside 100 idle", 0),
        Metric::CpuNsManyIdle => ("CPU, ns beside 15,000 idle", 0),
        Metric::MessagesPerSecond => ("messages/s", 0),
        Metric::P50Us => ("p50, µs", 0),
        Metric::P99Us => ("p99, µs", 0),
        Metric::P999Us => ("p99.9, µs", 0),
        Metric::MaxUs => ("longest, µs", 0),
        Metric::SentP50Us => ("p50 from sent, µs", 0),
        Metric::GbPerSecond => ("flood, GB/s", 2),
        Metric::ResidentBytes => ("resident, B a connection", 0),
        Metric::ServerResidentBytes => ("of the server, B a connection", 0),
        Metric::TakenBytes => ("taken of each, B", 0),
        Metric::Closed => ("closed", 0),
        Metric::CallsPerMessage => ("calls a message", 2),
        Metric::WaitsPerMessage => ("waits a message", 2),
        Metric::RegistrationsPerConnection => ("epoll_ctl a connection", 2),
        Metric::OtherCallsPerConnection => ("other calls a connection", 2),
        Metric::DuePerSecond => ("due/s", 0),
        Metric::Kept => ("kept", 3),
        Metric::ConnectedWithinSeconds => ("connected within, s", 2),
    }
}

/// The median, and the least and the greatest where they differ from it.
fn cell(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { median, min, max }) = spread else { return NONE.to_owned() };
    if min == max {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}
