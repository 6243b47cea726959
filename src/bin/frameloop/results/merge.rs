//! Logs of several machines as one result: intervals side by side by the time of day, totals summed exactly.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use frameloop::load::Recorded;

use crate::results::facts::Facts;
use crate::results::hlog::log::{Entry, Log};
use crate::results::instances;
use crate::results::model::{Results, Series, Slice, sum};

/// When a log begins and ends.
pub(crate) type LogSpan = (SystemTime, SystemTime);

/// Merges at least one log into one result; each log is of one run, and has a line of service latency.
pub(crate) fn merged<L: Borrow<Log>>(logs: &[L]) -> Results {
    let logs: Vec<&Log> = logs.iter().map(Borrow::borrow).collect();
    let spans: Vec<LogSpan> = logs.iter().map(|log| span(log)).collect();
    let begun = spans.iter().map(|(begin, _)| *begin).min().unwrap_or(SystemTime::UNIX_EPOCH);
    let end = spans.iter().map(|(_, end)| *end).max().unwrap_or(begun);
    let total = |series: Series| {
        let entries = logs.iter().flat_map(|log| &log.entries);
        sum(entries.filter(|entry| entry.series == series).map(|entry| &entry.latencies))
    };
    let service = total(Series::Service);
    let is_open_loop = logs.iter().flat_map(|log| &log.entries).any(|entry| entry.series == Series::Response);
    Results {
        title: logs.iter().map(|log| log.name.as_str()).collect::<Vec<_>>().join(", "),
        begun,
        measured: end.duration_since(begun).unwrap_or_default(),
        frames: logs.iter().map(|log| frames(log)).fold(0, u64::saturating_add),
        connect: total(Series::Connect),
        service,
        response: is_open_loop.then(|| total(Series::Response)),
        slices: slices(&logs, begun),
        runs: Vec::new(),
        facts: facts_of(&logs, &spans),
        verdicts: Vec::new(),
        steps: Vec::new(),
        highest: None,
        baseline: None,
    }
}

/// The frames of the measured time. A log that states them may have more in its latencies.
fn frames(log: &Log) -> u64 {
    if let Some(window) = &log.window {
        return window.frames;
    }
    let of_service = log.entries.iter().filter(|entry| entry.series == Series::Service);
    of_service.map(frames_of).fold(0, u64::saturating_add)
}

fn frames_of(entry: &Entry) -> u64 {
    entry.counts.map_or_else(|| entry.latencies.count(), |counts| counts.frames)
}

/// The measured time of a log. Connections may have been established before.
pub(crate) fn span(log: &Log) -> LogSpan {
    if let Some(window) = &log.window {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_nanos(window.begun_ns);
        return (begin, begin + Duration::from_nanos(window.measured_ns));
    }
    let measured = || log.entries.iter().filter(|entry| entry.series != Series::Connect);
    let begin = measured().map(|entry| entry.begin).min().unwrap_or(SystemTime::UNIX_EPOCH);
    let end = measured().map(|entry| entry.begin + entry.length).max().unwrap_or(begin);
    (begin, end)
}

/// The intervals of all logs, in slots as long as the coarsest log's intervals.
fn slices(logs: &[&Log], begun: SystemTime) -> Vec<Slice> {
    let width = logs.iter().map(|log| usual_length(log)).max().unwrap_or_default().max(Duration::from_millis(1));
    let mut slots: BTreeMap<u128, Slot<'_>> = BTreeMap::new();
    for &log in logs {
        for (number, slot) in slots_of(log, begun, width) {
            match slots.get_mut(&number) {
                Some(all) => all.add(slot),
                None => drop(slots.insert(number, slot)),
            }
        }
    }
    bounded(slots.into_values().map(|slot| slot.slice()).collect())
}

/// Joins 1, 2, 4, ... slices, so that there are no more than a run keeps, with latencies as exact as those of a run.
pub(crate) fn bounded(slices: Vec<Slice>) -> Vec<Slice> {
    let mut together = 1;
    while slices.len().div_ceil(together) > SLICES_MAX {
        together *= 2;
    }
    slices.chunks(together).map(|slices| Slice::joined(slices).reduced()).collect()
}

/// The intervals that a run keeps (`Outcome::intervals`).
const SLICES_MAX: usize = 600;

/// One log's intervals by slot. A slot is as long as all the intervals in it together.
fn slots_of<'a>(log: &'a Log, begun: SystemTime, width: Duration) -> BTreeMap<u128, Slot<'a>> {
    let mut slots: BTreeMap<u128, Slot<'a>> = BTreeMap::new();
    for entry in &log.entries {
        // Connections that were established before are in the total only.
        let Ok(begin) = entry.begin.duration_since(begun) else { continue };
        let nearest = (begin.as_nanos() + width.as_nanos() / 2) / width.as_nanos();
        let slot = slots.entry(nearest).or_insert_with(|| Slot { begin, ..Slot::default() });
        slot.begin = slot.begin.min(begin);
        if entry.series == Series::Service {
            slot.length += entry.length;
        }
        slot.entries.push(entry);
    }
    // Without a line of service latency there is no length, and so no rate.
    slots.retain(|_, slot| !slot.length.is_zero());
    slots
}

/// Intervals that become one slice. They are collected first, so that their latencies are sorted once.
#[derive(Default)]
struct Slot<'a> {
    begin: Duration,
    length: Duration,
    entries: Vec<&'a Entry>,
}

impl Slot<'_> {
    /// Adds the intervals of another log at the same time.
    fn add(&mut self, mut other: Self) {
        self.begin = self.begin.min(other.begin);
        self.length = self.length.max(other.length);
        self.entries.append(&mut other.entries);
    }

    fn slice(&self) -> Slice {
        let of = |series| -> Recorded {
            let entries = self.entries.iter().filter(|entry| entry.series == series);
            entries.flat_map(|entry| entry.latencies.iter()).collect()
        };
        let services = || self.entries.iter().copied().filter(|entry| entry.series == Series::Service);
        let connections = |entry: &Entry| entry.counts.map(|counts| counts.connections);
        Slice {
            begin: self.begin,
            length: self.length,
            frames: services().map(frames_of).fold(0, u64::saturating_add),
            // Several intervals may be of one generator or of several, so their connections cannot be added.
            connections: services().next().filter(|_| services().count() == 1).and_then(connections),
            errors: services().map(|entry| Some(entry.counts?.errors.total())).sum(),
            connect: of(Series::Connect),
            service: of(Series::Service),
            response: of(Series::Response),
        }
    }
}

/// The median length of a log's intervals, as the last may be short and one may have been late.
fn usual_length(log: &Log) -> Duration {
    let of_service = |entry: &&Entry| entry.series == Series::Service;
    let mut lengths: Vec<Duration> = log.entries.iter().filter(of_service).map(|entry| entry.length).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

/// The facts of all logs.
pub(crate) fn facts_of(logs: &[&Log], spans: &[LogSpan]) -> Facts {
    let is_one = logs.len() == 1;
    let mut sum: Option<Facts> = None;
    let mut unknown = Vec::new();
    let begun = spans.iter().map(|(begin, _)| *begin).min().unwrap_or(SystemTime::UNIX_EPOCH);
    for (log, (begin, _)) in logs.iter().zip(spans) {
        let Some(facts) = &log.facts else {
            unknown.push(format!(
                "{} holds latencies only: its errors, and what of its figures is its generator's own, are not known",
                log.name
            ));
            continue;
        };
        let mut facts = facts.clone();
        let after = begin.duration_since(begun).unwrap_or_default();
        facts.outages.iter_mut().for_each(|outage| outage.begin += after);
        if !is_one {
            let texts = facts.taints.iter_mut().chain(&mut facts.faults);
            texts.chain(&mut facts.ended_early).for_each(|text| *text = format!("{}: {text}", log.name));
        }
        match &mut sum {
            Some(sum) => sum.merge(facts),
            None => sum = Some(facts),
        }
    }
    let mut facts = sum.unwrap_or_default();
    if !unknown.is_empty() {
        // The bytes of some logs are not those of all.
        facts.bytes = None;
    }
    facts.taints.extend(unknown);
    let skipped = logs.iter().filter_map(|log| Some(format!("{}: {}", log.name, log.skipped.as_ref()?)));
    facts.taints.extend(skipped);
    if !is_one {
        facts.taints.extend(instances::doubts(logs));
    }
    if are_apart(spans) {
        facts.taints.push(
            "the logs are not of the same time: the rate is over all the time from the first to the last, also where \
             nothing ran (are the machines' clocks set?)"
                .into(),
        );
    }
    facts
}

/// Whether one of several logs begins when another has ended.
pub(crate) fn are_apart(spans: &[LogSpan]) -> bool {
    let last_begin = spans.iter().map(|(begin, _)| *begin).max();
    let first_end = spans.iter().map(|(_, end)| *end).min();
    spans.len() > 1 && last_begin >= first_end
}

#[cfg(test)]
mod tests {
    use frameloop::load::Plan;

    use super::*;
    use crate::results::fixture;
    use crate::results::hlog::read::parse;

    const BEGUN: SystemTime = SystemTime::UNIX_EPOCH;

    /// A log with an interval of a second, each with so many latencies, from `begin` milliseconds on.
    fn log(name: &str, begin: u64, counts: &[u64]) -> Log {
        let entries = counts.iter().zip(0..).map(|(count, second)| {
            let mut histogram = crate::results::model::histogram();
            histogram.record_n(1_000 * (second + 1), *count).unwrap();
            Entry {
                series: Series::Service,
                begin: BEGUN + Duration::from_millis(begin + 1_000 * second),
                length: Duration::from_secs(1),
                latencies: Recorded::of(&histogram),
                counts: None,
            }
        });
        Log { name: name.into(), facts: Some(Facts::default()), entries: entries.collect(), ..Log::default() }
    }

    #[test]
    fn intervals_of_two_machines_align_by_time_of_day() {
        let results = merged(&[log("a", 1_000, &[10, 20, 30]), log("b", 2_300, &[1, 2])]);
        assert_eq!(results.frames, 63);
        assert_eq!(results.begun, BEGUN + Duration::from_secs(1));
        assert_eq!(results.measured, Duration::from_millis(3_300));
        let frames: Vec<u64> = results.slices.iter().map(|slice| slice.frames).collect();
        assert_eq!(frames, [10, 21, 32]);
        assert!(results.slices.iter().all(|slice| slice.length == Duration::from_secs(1)));
        assert_eq!(results.facts.taints, Vec::<String>::new());
    }

    #[test]
    fn coarser_intervals_of_one_log_decide() {
        let mut coarse = log("b", 1_000, &[100]);
        coarse.entries[0].length = Duration::from_secs(4);
        let results = merged(&[log("a", 1_000, &[10, 20, 30, 40]), coarse]);
        let slices: Vec<_> = results.slices.iter().map(|slice| (slice.frames, slice.length.as_secs())).collect();
        // From half of a slot on, an interval is nearer to the next.
        assert_eq!(slices, [(130, 4), (70, 2)]);
    }

    #[test]
    fn logs_of_other_times_and_programs_are_reported() {
        let mut foreign = log("b", 100_000, &[5]);
        foreign.facts = None;
        let facts = merged(&[log("a", 0, &[5]), foreign]).facts;
        assert!(facts.taints.iter().any(|taint| taint.contains("not of the same time")), "{:?}", facts.taints);
        assert!(facts.taints.iter().any(|taint| taint.starts_with("b holds latencies only")), "{:?}", facts.taints);
    }

    #[test]
    fn one_log_gives_the_results_that_it_was_written_from() {
        let (results, text) = fixture::logged(Plan { rate: Some(20_000.0), ..Plan::default() });
        let log = parse("a.hlog", text.as_slice(), None).unwrap();
        let again = merged(&[log]);
        assert_eq!((again.frames, again.slices.len()), (results.frames, results.slices.len()));
        assert_eq!(again.facts, results.facts);
        assert_eq!(again.latency().1.len(), results.latency().1.len());
        assert_eq!(again.connect.len(), results.connect.len());
        assert_eq!((again.begun, again.measured), (results.begun, results.measured), "to the nanosecond");
    }

    #[test]
    fn message_about_one_of_several_logs_names_it() {
        let mut first = log("a", 0, &[5]);
        first.facts = Some(Facts { taints: vec!["slow".into()], ..Facts::default() });
        assert_eq!(merged(&[first.clone()]).facts.taints, ["slow"]);
        assert_eq!(merged(&[first, log("b", 0, &[5])]).facts.taints, ["a: slow"]);
    }
}
