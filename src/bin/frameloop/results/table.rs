//! The summary, to read on a terminal of 80 columns.

use std::fmt::Write;

use frameloop::load::{Errors, Outage, ServerSide, ThreadUse};

use crate::page::{BOLD, GREEN, Page, RED, TIED, aligned, printable, styled};
use crate::results::compare::{self, Spread};
use crate::results::connections::{self, STAGE_HEADS, TARGET_HEADS};
use crate::results::facts::Facts;
use crate::results::figures::{self, COLUMNS, Figures, counted};
use crate::results::model::{Results, Series};
use crate::results::runs;
use crate::results::steps;

/// The summary with its styles, and a newline at the end of each line.
pub(crate) fn text(results: &Results) -> String {
    let mut table = Table::default();
    table.head(results);
    table.what_came(results);
    table.connections(&results.facts);
    table.steps(results);
    table.latencies(results);
    table.runs(results);
    table.server(results);
    table.generator(&results.facts);
    table.against_baseline(results);
    table.taints(&results.facts);
    table.verdicts(results);
    table.page.text
}

#[derive(Default)]
struct Table {
    page: Page,
}

impl Table {
    fn head(&mut self, results: &Results) {
        if let Some(lateness) = results.lateness() {
            self.page.wrapped("", &styled(RED, &lateness.to_string()));
        }
        let begun = humantime::format_rfc3339_seconds(results.begun).to_string();
        let begun = begun.replace('T', " ").replace('Z', " UTC");
        let title = styled(BOLD, &printable(&results.title));
        self.line(&format!("{title}, {begun}, {}", figures::duration(results.measured)));
        let rows = results.facts.configuration.rows();
        let rows: Vec<String> = rows.map(|(name, value)| format!("{name} {value}").replace(' ', TIED)).collect();
        if !rows.is_empty() {
            self.page.wrapped("", &printable(&rows.join(", ")));
        }
        if results.facts.was_interrupted {
            self.line("It was interrupted: the figures are of the time until then.");
        }
        if results.facts.is_partial {
            self.line(PARTIAL);
        }
        if let Some(why) = &results.facts.ended_early {
            self.page.wrapped("", &printable(why));
        }
        self.line("");
    }

    fn what_came(&mut self, results: &Results) {
        let facts = &results.facts;
        if let Some(connections) = &facts.connections {
            let (up, asked) = (figures::count(connections.up), figures::count(connections.asked));
            let took = figures::latency(connections.took_ns as f64);
            self.row("connections", &format!("{up} of {asked} up, after {took}"));
            self.causes(facts);
        }
        if let Some(held) = &facts.held {
            self.row("held", &connections::held(held, results.measured));
        }
        for cohort in &facts.cohorts {
            let ended = match cohort.ended {
                0 => "none ended by the server".into(),
                ended => format!("{} ended by the server", figures::count(ended)),
            };
            self.row(cohort.cohort.name(), &format!("{} up, {ended}", figures::count(cohort.up)));
        }
        if !connections::is_silent(facts) {
            self.frames(results);
        }
        if let Some(errors) = &facts.errors {
            self.errors(errors, facts);
        }
    }

    fn frames(&mut self, results: &Results) {
        let throughput = results.throughput().map(|bytes| format!(", {} each way", figures::throughput(bytes)));
        let rate = styled(BOLD, &format!("{}/s", figures::number(results.rate())));
        let frames = figures::count(results.frames);
        self.row("frames", &format!("{frames}, {rate}{}", throughput.unwrap_or_default()));
    }

    /// How connecting went by stage, and the counts of several targets.
    fn connections(&mut self, facts: &Facts) {
        let stages = connections::stage_rows(facts);
        if !stages.is_empty() {
            self.line("");
            let rows: Vec<_> = std::iter::once(STAGE_HEADS.map(str::to_owned).to_vec()).chain(stages).collect();
            self.aligned(&rows, &[20, 10, 11, 9, 9, 9, 8]);
            connections::stage_errors(facts).iter().for_each(|text| self.page.wrapped("  ", &printable(text)));
        }
        let targets = connections::target_rows(&facts.targets);
        if !targets.is_empty() {
            self.line("");
            let rows: Vec<_> = std::iter::once(TARGET_HEADS.map(str::to_owned).to_vec()).chain(targets).collect();
            self.aligned(&rows, &[32, 11, 11, 11]);
        }
        if facts.late_replies > 0 {
            self.row("late", &format!("{}, after their frames had timed out", counted(facts.late_replies, "response")));
        }
        for (at, outage) in outage_lines(facts).into_iter().enumerate() {
            let label = if at == 0 { format!("{:<12} ", "outages") } else { LABEL.to_owned() };
            self.page.wrapped(&label, &outage);
        }
    }

    fn causes(&mut self, facts: &Facts) {
        for cause in &facts.causes {
            let number = counted(cause.connections, "connection");
            let text = format!("{number} short: {}; {}", cause.limit, cause.lifted_by);
            self.page.wrapped(LABEL, &printable(&text));
        }
    }

    fn errors(&mut self, errors: &Errors, facts: &Facts) {
        let seen: Vec<String> = error_kinds(errors)
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(kind, number)| format!("{} {kind}", figures::count(number)))
            .collect();
        if seen.is_empty() {
            return self.row("errors", "none");
        }
        let total = styled(RED, &figures::count(errors.total()));
        self.row("errors", &format!("{total}: {}", seen.join(", ")));
        if let Some(waits) = unanswered_wait(errors) {
            self.page.wrapped(LABEL, &waits);
        }
        if facts.wrong.len() > 1 {
            let kinds: Vec<String> =
                facts.wrong.iter().map(|(kind, number)| format!("{} {kind}", figures::count(*number))).collect();
            self.page.wrapped(LABEL, &printable(&format!("wrong: {}", kinds.join(", "))));
        }
        for (reason, number) in &facts.ended {
            self.page.wrapped(LABEL, &printable(&format!("{} ended: {reason}", counted(*number, "connection"))));
        }
        for fault in &facts.faults {
            self.page.wrapped(LABEL, &printable(fault));
        }
    }

    fn steps(&mut self, results: &Results) {
        if results.steps.is_empty() {
            return;
        }
        self.line("");
        let mut rows = vec![cells("step", steps::HEADS.map(str::to_owned))];
        rows.extend(results.steps.iter().zip(1..).map(|(step, number)| {
            let name = format!("  {number}{}", if step.failed.is_some() { " failed" } else { "" });
            std::iter::once(name).chain(step.cells()).collect()
        }));
        self.aligned(&rows, &[10, 9, 9, 9, 9, 9, 7]);
        if let Some(highest) = &results.highest {
            self.page.wrapped("  ", &styled(BOLD, &highest.to_string()));
        }
    }

    fn latencies(&mut self, results: &Results) {
        self.line("");
        let mut rows = vec![cells("latency", COLUMNS.map(str::to_owned))];
        let is_silent = connections::is_silent(&results.facts);
        let shown_series = || results.latencies().filter(|(series, _)| !is_silent || *series == Series::Connect);
        rows.extend(shown_series().map(|(series, histogram)| {
            let figures = Figures::of(histogram).map(|figures| figures.columns().map(shown));
            cells(&format!("  {}", series.name()), figures.unwrap_or_else(|| COLUMNS.map(|_| "-".into())))
        }));
        self.aligned(&rows, &[10, 9, 9, 9, 9, 9, 9, 9]);
        for (series, histogram) in shown_series() {
            let (name, meaning) = (series.name(), series.meaning());
            self.page.wrapped("  ", &format!("{name}: {meaning} ({})", figures::count(histogram.len())));
        }
    }

    fn runs(&mut self, results: &Results) {
        let rows = runs::rows(results);
        if rows.is_empty() {
            return;
        }
        self.line("");
        let heads = runs::HEADS.map(str::to_owned).to_vec();
        self.aligned(&[vec![heads], rows].concat(), &[4, 13, 12, 10, 10, 10]);
    }

    fn server(&mut self, results: &Results) {
        let Some(server) = results.facts.server else { return };
        let ServerSide { turn_p50_ns, turn_p99_ns, turn_max_ns, .. } = server;
        self.line("");
        let mut rows = vec![
            cells("the server's own figures", ["p50", "p99", "max"].map(str::to_owned)),
            cells("  a turn of its loop", [turn_p50_ns, turn_p99_ns, turn_max_ns].map(shown)),
        ];
        let service = Figures::of(&results.service);
        let service = service.map(|figures| [figures.p50, figures.p99, figures.max].map(shown));
        rows.extend(service.map(|figures| cells("  service latency", figures)));
        self.aligned(&rows, &[28, 9, 9, 9]);
        self.line(&format!("  {}", costs(&server)));
    }

    fn generator(&mut self, facts: &Facts) {
        let lines = generator_lines(facts);
        if lines.is_empty() {
            return;
        }
        self.line("");
        self.line(&styled(BOLD, "the generator's own figures"));
        for line in lines {
            self.page.wrapped("  ", &line);
        }
    }

    fn against_baseline(&mut self, results: &Results) {
        let Some(baseline) = &results.baseline else { return };
        self.line("");
        let title = printable(&baseline.summary.title);
        self.line(&styled(BOLD, &format!("compared with the baseline, {title}")));
        let mut rows = vec![["", "this", "baseline", "ratio"].map(str::to_owned).to_vec()];
        let summary = results.summary();
        rows.extend(compare::rows(&summary, &baseline.summary).into_iter().map(|row| {
            let (this, earlier) = (row.unit.show(row.this), row.unit.show(row.baseline));
            vec![row.name.clone(), this, earlier, row.ratio_text()]
        }));
        for line in aligned(&rows, &[18, 14, 14, 9]) {
            self.line(&format!("  {line}"));
        }
        let spread = Spread::of(&summary, &baseline.summary);
        if let Some(text) = spread.unknown_text() {
            self.page.wrapped("  ", &text);
        }
        if let Spread::Known(differences) = &spread {
            self.line("");
            self.line(&styled(BOLD, &spread.title().to_lowercase()));
            for difference in differences {
                self.page.wrapped(&format!("  {:<13} ", difference.name), &difference.text());
            }
        }
    }

    fn taints(&mut self, facts: &Facts) {
        if facts.taints.is_empty() {
            return;
        }
        self.line("");
        self.line(&styled(RED, TAINTED));
        for taint in &facts.taints {
            self.page.wrapped("  ", &format!("- {}", printable(taint)));
        }
    }

    fn verdicts(&mut self, results: &Results) {
        if results.verdicts.is_empty() {
            return;
        }
        self.line("");
        self.line(&styled(BOLD, "expected"));
        for verdict in &results.verdicts {
            let (ansi, word) = if verdict.holds { (GREEN, "holds ") } else { (RED, "FAILED") };
            let word = styled(ansi, word);
            let (observed, wanted) = (verdict.observed(), verdict.wanted());
            self.line(&format!("  {word}  {:<22}  observed {observed}, wanted {wanted}", verdict.expression));
        }
    }

    /// Adds rows; the first has the heads of the columns.
    fn aligned(&mut self, rows: &[Vec<String>], usual: &[usize]) {
        for (at, line) in aligned(rows, usual).iter().enumerate() {
            let line = if at == 0 { styled(BOLD, line) } else { line.clone() };
            self.line(&line);
        }
    }

    fn row(&mut self, name: &str, text: &str) {
        self.line(&format!("{name:<12} {text}"));
    }

    fn line(&mut self, text: &str) {
        self.page.line(text);
    }
}

/// A row of a name and cells.
fn cells<const N: usize>(name: &str, others: [String; N]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(others).collect()
}

fn shown(nanos: u64) -> String {
    figures::latency(nanos as f64)
}

/// Each kind of error, with its count.
pub(crate) fn error_kinds(errors: &Errors) -> [(&'static str, u64); 5] {
    [
        ("not connected", errors.not_connected),
        ("wrong answers", errors.wrong),
        ("connections ended unasked", errors.ended),
        ("unanswered frames", errors.unanswered),
        ("timed out", errors.timed_out),
    ]
}

/// How the latencies account for unanswered frames.
pub(crate) fn unanswered_wait(errors: &Errors) -> Option<String> {
    let wait = figures::latency(errors.unanswered_wait_max_ns as f64);
    (errors.unanswered + errors.timed_out > 0 && errors.unanswered_wait_max_ns > 0)
        .then(|| format!("an unanswered frame has waited for up to {wait}; latencies hold these waits as lower bounds"))
}

/// The outages, as lines.
pub(crate) fn outage_lines(facts: &Facts) -> Vec<String> {
    let line = |outage: &Outage| {
        let (begin, length) = (figures::duration(outage.begin), figures::duration(outage.length));
        let end = if outage.is_over { "" } else { ", to the end" };
        let (connections, frames) = (counted(outage.connections, "connection"), counted(outage.frames, "frame"));
        let dials = counted(outage.failed_dials, "failed attempt");
        format!("from {begin} for {length}{end}: {connections} and {frames} lost, {dials} to connect")
    };
    let mut lines: Vec<String> = facts.outages.iter().take(OUTAGES_SHOWN).map(line).collect();
    let more = facts.outages.len().saturating_sub(OUTAGES_SHOWN);
    lines.extend((more > 0).then(|| format!("and {} more", figures::count(more as u64))));
    lines
}

/// So many outages are shown; the JSON has all.
const OUTAGES_SHOWN: usize = 10;

/// The server's costs per frame.
pub(crate) fn costs(server: &ServerSide) -> String {
    let mut text = format!("for each frame: {:.2} system calls", server.calls_per_frame);
    if let Some(nanos) = server.cpu_per_frame_ns {
        let _ = write!(text, ", {} of processor", figures::latency(nanos as f64));
    }
    if let Some(cpu) = server.cpu {
        let _ = write!(text, " ({} of one)", figures::percent(cpu));
    }
    text
}

/// The generator's own figures, as lines.
pub(crate) fn generator_lines(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(generator) = &facts.generator else { return lines };
    let threads = generator.threads.len() as u64;
    let longest = |of: fn(&ThreadUse) -> u64| generator.threads.iter().map(of).max();
    if let (Some(p99), Some(max)) = (longest(|thread| thread.turn_p99_ns), longest(|thread| thread.turn_max_ns)) {
        let cpu = generator.cpu_max().map(|cpu| format!(", the fullest with {} of a processor", figures::percent(cpu)));
        let (p99, max) = (figures::latency(p99 as f64), figures::latency(max as f64));
        let threads = counted(threads, "thread");
        lines.push(format!("{threads}{}; turns of the loop: p99 {p99}, max {max}", cpu.unwrap_or_default()));
    }
    if generator.late_p99_ns > 0 {
        let (p99, max) =
            (figures::latency(generator.late_p99_ns as f64), figures::latency(generator.late_max_ns as f64));
        lines.push(format!("frames sent after they were due: p99 {p99}, max {max}"));
    }
    if generator.late > 0 {
        let (late, max) = (counted(generator.late, "frame"), figures::latency(generator.late_max_ns as f64));
        lines.push(format!("{late} sent more than 1 ms after due, up to {max}"));
    }
    if let Some(bytes) = generator.bytes_per_connection {
        let whose = if facts.server.is_some() { ", of the generator and its server together" } else { "" };
        lines.push(format!("{} of memory for each connection{whose}", figures::bytes(bytes)));
    }
    if generator.waits_for_port > 0 {
        lines.push(format!("a connection waited for a free port {} times", figures::count(generator.waits_for_port)));
    }
    lines
}

pub(crate) const TAINTED: &str = "These figures are, in part, the generator's own and not the server's:";

pub(crate) const PARTIAL: &str = "The log ends before its run did: the figures are of the time until then.";

/// Blanks as wide as the names of rows.
const LABEL: &str = "             ";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::page::{Color, WIDTH};
    use crate::results::expect::{expectation, judge};
    use crate::results::fixture;

    fn plain(results: &Results) -> String {
        Color::Never.apply(text(results))
    }

    fn judged() -> Results {
        let mut results = fixture::made();
        let expected = ["p99<5ms", "rate>=900"].map(|text| expectation(text).unwrap());
        assert!(!judge(&mut results, &expected, false));
        results
    }

    #[test]
    fn the_summary_of_ten_seconds() {
        let mut results = judged();
        let mut earlier = fixture::made();
        earlier.title = "monday.hlog".into();
        earlier.measured *= 2;
        results.baseline = Some(Box::new(earlier.as_baseline()));
        let text = plain(&results);
        let expected = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/load-summary.txt"));
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_is_wide() {
        let mut real = fixture::open_loop();
        real.facts.taints = vec!["a rather long reason ".repeat(20)];
        for results in [real, judged(), fixture::closed_loop(), fixture::churn()] {
            let text = plain(&results);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        }
    }

    #[test]
    fn columns_of_a_baseline_never_touch_whatever_the_numbers_are() {
        let histogram = |nanos: &[u64]| {
            let mut histogram = crate::results::model::histogram();
            nanos.iter().for_each(|nanos| histogram.record(*nanos).unwrap());
            histogram
        };
        let year = 366 * 24 * 3_600_000_000_000;
        for (measured, earlier_measured) in [(1, u64::MAX / 2), (u64::MAX / 2, 1), (1, 1)] {
            for (nanos, earlier_nanos) in [([1, year], [year, year]), ([year, year], [1, 1])] {
                let mut results = fixture::made();
                results.frames = 1 << 48;
                results.measured = Duration::from_nanos(measured);
                results.service = histogram(&nanos);
                let mut earlier = results.clone();
                earlier.measured = Duration::from_nanos(earlier_measured);
                earlier.service = histogram(&earlier_nanos);
                results.baseline = Some(Box::new(earlier.as_baseline()));
                let text = plain(&results);
                let table: Vec<&str> =
                    text.lines().skip_while(|line| !line.starts_with("compared with the baseline")).collect();
                let (head, rate) = (table[1], table[2].split_whitespace().collect::<Vec<_>>());
                assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["this", "baseline", "ratio"]);
                assert!(rate.len() == 4 && rate[1].ends_with("/s") && rate[2].ends_with("/s"), "{text}");
                for row in table[3..].iter().take_while(|row| row.contains(" p") || row.contains(" m")) {
                    // A name of two words, two latencies with their units, and a ratio.
                    assert_eq!(row.split_whitespace().count(), 2 + 2 * 2 + 1, "{row}");
                    assert_eq!(row.len(), head.len(), "{text}");
                }
                let latencies = text.lines().find(|line| line.starts_with("  service ")).unwrap();
                assert_eq!(latencies.split_whitespace().count(), 1 + 2 * COLUMNS.len(), "{latencies}");
            }
        }
    }

    #[test]
    fn styles_are_applied_only_with_color() {
        let styled = text(&judged());
        assert!(styled.contains("\x1b[1m\x1b[31mFAILED\x1b[0m"), "{styled:?}");
        assert_eq!(Color::Always.apply(styled.clone()), styled);
        assert!(!Color::Never.apply(styled).contains('\x1b'));
    }

    #[test]
    fn where_nothing_came_back_there_are_dashes() {
        let mut results = fixture::made();
        results.service.reset();
        results.response = None;
        results.frames = 0;
        let text = plain(&results);
        assert!(text.contains("  service         -        -"), "{text}");
        assert!(text.contains("frames       0, 0/s"), "{text}");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let mut results = fixture::made();
        results.title = "a\x1b[2Jb\n".into();
        results.facts.faults = vec!["\x1b[2J".into()];
        let text = plain(&results);
        assert!(text.starts_with("a\u{fffd}[2Jb\u{fffd}, ") && !text.contains('\x1b'), "{text}");
    }
}
