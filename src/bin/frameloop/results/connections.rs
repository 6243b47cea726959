//! How connections came up and whether they stayed, as rows for the summary and the page.

use std::time::Duration;

use frameloop::load::{Connecting, Held, RampStage, TargetCounts};

use crate::results::facts::Facts;
use crate::results::figures;

/// The connections that were held: how many, for how long, and how many closed when.
pub(crate) fn held(held: &Held, measured: Duration) -> String {
    let asked = figures::count(held.to_end.saturating_add(held.lost));
    let text = format!("{} of {asked} for {}", figures::count(held.to_end), figures::duration(measured));
    let at = |nanos: Option<u64>| figures::latency(nanos.unwrap_or_default() as f64);
    match held.lost {
        0 => format!("{text}, none lost"),
        1 => format!("{text}; 1 lost after {}", at(held.first_lost_ns)),
        lost => format!(
            "{text}; {} lost, after {} to {}",
            figures::count(lost),
            at(held.first_lost_ns),
            at(held.last_lost_ns)
        ),
    }
}

/// Whether nothing was sent, so that there are no frames and no latencies of frames.
pub(crate) fn is_silent(facts: &Facts) -> bool {
    facts.held.as_ref().is_some_and(|held| held.every_ns.is_none())
}

pub(crate) const TARGET_HEADS: [&str; 4] = ["targets", "up", "of", "errors"];

/// A row per target if there are several. Of many, those with errors, and how many there are of the others.
pub(crate) fn target_rows(targets: &[TargetCounts]) -> Vec<Vec<String>> {
    if targets.len() < 2 {
        return Vec::new();
    }
    let has_errors = |target: &TargetCounts| target.errors.total() > 0 || target.up != target.asked;
    let is_long = targets.len() > TARGETS_MAX;
    let shown = targets.iter().filter(|target| !is_long || has_errors(target)).take(TARGETS_MAX);
    let mut rows: Vec<Vec<String>> = shown
        .map(|target| {
            let errors = match target.errors.total() {
                0 => "none".into(),
                errors => figures::count(errors),
            };
            vec![format!("  {}", target.address), figures::count(target.up), figures::count(target.asked), errors]
        })
        .collect();
    let rest = targets.len() - rows.len();
    if rest > 0 {
        let others: Vec<&TargetCounts> = match rows.len() {
            TARGETS_MAX => targets.iter().filter(|target| has_errors(target)).skip(TARGETS_MAX).collect(),
            _ => Vec::new(),
        };
        let sum = |of: fn(&TargetCounts) -> u64| {
            let healthy = targets.iter().filter(|target| !has_errors(target));
            healthy.chain(others.iter().copied()).map(of).fold(0, u64::saturating_add)
        };
        let errors = match sum(|target| target.errors.total()) {
            0 => "none".into(),
            errors => figures::count(errors),
        };
        let name = if rows.is_empty() { "  all" } else { "  others:" };
        let (up, asked) = (sum(|target| target.up), sum(|target| target.asked));
        rows.push(vec![format!("{name} {rest}"), figures::count(up), figures::count(asked), errors]);
    }
    rows
}

pub(crate) const STAGE_HEADS: [&str; 7] = ["connecting, by tenth", "up", "per second", "p50", "p99", "max", "errors"];

/// A row per tenth of the connections, where that says more than the totals; then what failed in each.
pub(crate) fn stage_rows(facts: &Facts) -> Vec<Vec<String>> {
    let Some(connecting) = facts.connections.as_ref().filter(|all| is_informative(facts, all)) else {
        return Vec::new();
    };
    let row = |stage: &RampStage| {
        let connect = &stage.connect;
        let time = |nanos: u64| if connect.count() == 0 { "-".into() } else { figures::latency(nanos as f64) };
        let seconds = Duration::from_nanos(stage.ended_ns.saturating_sub(stage.begun_ns)).as_secs_f64().max(1e-9);
        vec![
            format!("  {}", stage.tenth),
            figures::count(connect.count()),
            figures::number(connect.count() as f64 / seconds),
            time(connect.quantile(0.5)),
            time(connect.quantile(0.99)),
            time(connect.max()),
            if stage.errors() == 0 { "none".into() } else { figures::count(stage.errors()) },
        ]
    };
    connecting.stages.iter().map(row).collect()
}

/// What failed in which tenth.
pub(crate) fn stage_errors(facts: &Facts) -> Vec<String> {
    let Some(connecting) = facts.connections.as_ref().filter(|all| is_informative(facts, all)) else {
        return Vec::new();
    };
    let failing = connecting.stages.iter().filter(|stage| stage.errors() > 0);
    let text = |stage: &RampStage| {
        let of = |(name, count): (&String, &u64), what: &str| format!("{} {what}{name}", figures::count(*count));
        let failed = stage.failed.iter().map(|pair| of(pair, ""));
        let lost = stage.lost.iter().map(|pair| of(pair, "closed: "));
        format!("tenth {}: {}", stage.tenth, failed.chain(lost).collect::<Vec<_>>().join(", "))
    };
    failing.map(text).collect()
}

/// Rule: the stages are shown if connecting had a rate or a part of the connections failed, or if it slowed down.
fn is_informative(facts: &Facts, connecting: &Connecting) -> bool {
    let stages = &connecting.stages;
    let up: u64 = stages.iter().map(|stage| stage.connect.count()).fold(0, u64::saturating_add);
    let has_errors = stages.iter().any(|stage| stage.errors() > 0);
    let has_rate = facts.configuration.rows().any(|(name, _)| name == "connect rate");
    let p99s = || stages.iter().map(|stage| stage.connect.quantile(0.99));
    let (fastest, slowest) = (p99s().min().unwrap_or_default(), p99s().max().unwrap_or_default());
    let slows_down = slowest >= SLOW && slowest >= SLOWER * fastest;
    up >= CONNECTIONS_MIN && (has_rate || has_errors || slows_down)
}

/// So many targets have a row each.
const TARGETS_MAX: usize = 16;
/// With fewer connections, a tenth says little.
const CONNECTIONS_MIN: u64 = 100;
/// Connecting slows down if the p99 of a tenth is at least so long, in nanoseconds, and so many times that of another.
const SLOW: u64 = 10_000_000;
const SLOWER: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    fn target(number: usize, errors: u64) -> TargetCounts {
        let text = format!(
            r#"{{"address": "10.0.0.1:{number}", "asked": 10, "up": 10, "errors": {{"not_connected": 0, "wrong": 0,
               "ended": {errors}, "unanswered": 0}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn many_targets_are_summed_and_those_with_errors_are_shown() {
        let rows = |count: usize, failing: usize| {
            let targets: Vec<TargetCounts> =
                (0..count).map(|number| target(number, u64::from(number < failing))).collect();
            target_rows(&targets).into_iter().map(|row| row.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(rows(1, 1), Vec::<String>::new());
        assert_eq!(rows(2, 1), ["  10.0.0.1:0 10 10 1", "  10.0.0.1:1 10 10 none"]);
        assert_eq!(rows(16, 0).len(), 16);
        assert_eq!(rows(17, 0), ["  all 17 170 170 none"]);
        assert_eq!(rows(51, 1), ["  10.0.0.1:0 10 10 1", "  others: 50 500 500 none"]);
        assert_eq!(rows(51, 20)[16], "  others: 35 350 350 4");
    }

    #[test]
    fn held_connections_are_one_line() {
        let mut all = Held::default();
        all.to_end = 998;
        let second = Duration::from_secs(10);
        assert_eq!(held(&all, second), "998 of 998 for 10.0 s, none lost");
        (all.lost, all.first_lost_ns, all.last_lost_ns) = (2, Some(3_200_000_000), Some(3_210_000_000));
        assert_eq!(held(&all, second), "998 of 1,000 for 10.0 s; 2 lost, after 3.20 s to 3.21 s");
    }

    #[test]
    fn stages_are_shown_when_a_part_failed_or_connecting_slowed_down() {
        let stage = |tenth: u32, millis: u64, failed: &str| {
            format!(
                r#"{{"tenth": {tenth}, "begun_ns": 0, "ended_ns": 1000000000, "failed": {{{failed}}}, "lost": {{}},
                   "connect": {{"count": 100, "p50_ns": 1, "p90_ns": 1, "p99_ns": 1, "max_ns": {0},
                   "histogram": [[{0}, 100]]}}}}"#,
                millis * 1_000_000
            )
        };
        let facts = |stages: [String; 2]| {
            let mut facts = fixture::made().facts;
            let stages = serde_json::from_str(&format!("[{}]", stages.join(","))).unwrap();
            facts.connections.as_mut().unwrap().stages = stages;
            facts
        };
        assert!(stage_rows(&facts([stage(1, 5, ""), stage(2, 6, "")])).is_empty());
        let slow = stage_rows(&facts([stage(1, 5, ""), stage(2, 20, "")]));
        assert_eq!(slow[1].join(" "), "  2 100 100 20.0 ms 20.0 ms 20.0 ms none");
        let failing = facts([stage(1, 5, ""), stage(2, 6, r#""timed out": 3, "refused": 1"#)]);
        assert_eq!(stage_rows(&failing)[1][6], "4");
        assert_eq!(stage_errors(&failing), ["tenth 2: 1 refused, 3 timed out"]);
    }
}
