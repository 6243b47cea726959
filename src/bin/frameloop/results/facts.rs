//! What a run knows of itself beside its latencies. It goes into the JSON as it is, and into a log as a comment, so that a
//! report of several logs still tells what went wrong and whose fault the figures are.

use std::collections::BTreeMap;
use std::time::Duration;

use frameloop::load::{GeneratorSide, Outcome, Plan, ServerSide, Start, Stop};
use serde::{Deserialize, Serialize};

use crate::results::configuration::Configuration;
use crate::results::figures;
use crate::results::hlog::Entry;

/// What a run knows of itself. `None` is: not known, as with a log that another program wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    pub(crate) configuration: Configuration,
    pub(crate) was_interrupted: bool,
    /// Why it ended before its time by itself, if it did.
    #[serde(default)]
    pub(crate) ended_early: Option<String>,
    /// The log ends before the run did, so not all is known of it.
    #[serde(default)]
    pub(crate) is_partial: bool,
    /// Frames that were answered after the end; they are in the latencies and not in the rate.
    #[serde(default)]
    pub(crate) frames_after_end: u64,
    /// Bytes of the frames answered, headers included, in one direction.
    pub(crate) bytes: Option<u64>,
    pub(crate) connections: Option<Connections>,
    pub(crate) errors: Option<Errors>,
    /// The first wrong answers.
    pub(crate) faults: Vec<String>,
    /// Connections that ended unasked, by reason.
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) cohorts: Vec<Cohort>,
    /// Why fewer connections came up than were asked for.
    pub(crate) causes: Vec<Cause>,
    /// Why the figures are, or may be, the generator's own.
    pub(crate) taints: Vec<String>,
    pub(crate) generator: Option<Generator>,
    pub(crate) server: Option<Server>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    pub(crate) asked: u64,
    pub(crate) up: u64,
    pub(crate) turned_away: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) took_ns: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Errors {
    pub(crate) total: u64,
    pub(crate) not_connected: u64,
    pub(crate) wrong: u64,
    pub(crate) ended: u64,
    pub(crate) unanswered: u64,
    /// The longest wait of a frame that was not answered.
    #[serde(default)]
    pub(crate) unanswered_wait_max_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cohort {
    pub(crate) name: String,
    pub(crate) up: u64,
    pub(crate) ended: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cause {
    pub(crate) connections: u64,
    pub(crate) limit: String,
    pub(crate) lifted_by: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generator {
    pub(crate) threads: Vec<Thread>,
    /// Frames handed over more than a millisecond after they were due.
    pub(crate) late: u64,
    pub(crate) late_max_ns: u64,
    /// By how much the resident memory grew while connecting, for each connection.
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) waits_for_port: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thread {
    /// The share of a processor.
    pub(crate) cpu: Option<f64>,
    pub(crate) turn_p99_ns: u64,
    pub(crate) turn_max_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) turn_p50_ns: u64,
    pub(crate) turn_p99_ns: u64,
    pub(crate) turn_max_ns: u64,
    pub(crate) calls_per_frame: f64,
    pub(crate) cpu_per_frame_ns: Option<u64>,
    pub(crate) cpu: Option<f64>,
}

impl Facts {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let cohorts = outcome.cohorts.iter().map(|(cohort, up, ended)| {
            let name = cohort.name().to_owned();
            Cohort { name, up: *up, ended: *ended }
        });
        let causes = outcome.causes.iter().map(|cause| Cause {
            connections: cause.connections,
            limit: cause.limit.clone(),
            lifted_by: cause.lifted_by.clone(),
        });
        Self {
            configuration: configuration(&outcome.plan),
            was_interrupted: outcome.was_interrupted,
            ended_early: outcome.ended_early.clone(),
            is_partial: false,
            frames_after_end: outcome.frames_after_end,
            bytes: Some(outcome.bytes),
            connections: Some(connections(outcome)),
            errors: Some(Errors::of(&outcome.errors, outcome.unanswered_wait_max)),
            faults: outcome.faults.iter().map(ToString::to_string).collect(),
            ended: by_name(&outcome.ended),
            cohorts: cohorts.collect(),
            causes: causes.collect(),
            taints: outcome.taints.clone(),
            generator: Some(generator(&outcome.generator, outcome.connecting.up)),
            server: outcome.server.as_ref().map(server),
        }
    }

    /// What is known of a run when it begins: what stays so if it is killed.
    pub(crate) fn of_start(start: &Start) -> Self {
        Self {
            configuration: configuration(&start.plan),
            is_partial: true,
            errors: Some(Errors::default()),
            bytes: Some(0),
            ..Self::default()
        }
    }

    /// The same with what the intervals say that were logged.
    pub(crate) fn with_counts(mut self, entries: &[Entry]) -> Self {
        for counts in entries.iter().filter_map(|entry| entry.counts) {
            self.bytes = self.bytes.map(|bytes| bytes.saturating_add(counts.bytes));
            self.errors = self.errors.map(|errors| errors.and(counts.errors));
        }
        self
    }

    /// Adds those of another log. `name` is that log's; what stays apart is told with it.
    pub(crate) fn merge(&mut self, other: Self) {
        self.configuration.merge(&other.configuration);
        self.was_interrupted |= other.was_interrupted;
        self.is_partial |= other.is_partial;
        self.frames_after_end = self.frames_after_end.saturating_add(other.frames_after_end);
        self.ended_early =
            either(self.ended_early.take(), other.ended_early, |ours, theirs| format!("{ours}; {theirs}"));
        self.bytes = self.bytes.zip(other.bytes).map(|(ours, theirs)| ours.saturating_add(theirs));
        self.connections = either(self.connections.take(), other.connections, Connections::and);
        self.errors = either(self.errors, other.errors, Errors::and);
        self.faults.extend(other.faults);
        add(&mut self.ended, other.ended);
        for cohort in other.cohorts {
            match self.cohorts.iter_mut().find(|ours| ours.name == cohort.name) {
                Some(ours) => {
                    ours.up = ours.up.saturating_add(cohort.up);
                    ours.ended = ours.ended.saturating_add(cohort.ended);
                }
                None => self.cohorts.push(cohort),
            }
        }
        self.causes.extend(other.causes);
        self.taints.extend(other.taints);
        self.generator = either(self.generator.take(), other.generator, Generator::and);
        // Each machine's own server is another one.
        self.server = None;
    }
}

impl Connections {
    fn and(mut self, other: Self) -> Self {
        self.asked = self.asked.saturating_add(other.asked);
        self.up = self.up.saturating_add(other.up);
        self.turned_away = self.turned_away.saturating_add(other.turned_away);
        add(&mut self.failed, other.failed);
        self.took_ns = self.took_ns.max(other.took_ns);
        self
    }
}

impl Errors {
    pub(crate) fn of(errors: &frameloop::load::Errors, wait_max: Duration) -> Self {
        Self {
            total: errors.total(),
            not_connected: errors.not_connected,
            wrong: errors.wrong,
            ended: errors.ended,
            unanswered: errors.unanswered,
            unanswered_wait_max_ns: nanos(wait_max),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            not_connected: self.not_connected.saturating_add(other.not_connected),
            wrong: self.wrong.saturating_add(other.wrong),
            ended: self.ended.saturating_add(other.ended),
            unanswered: self.unanswered.saturating_add(other.unanswered),
            unanswered_wait_max_ns: self.unanswered_wait_max_ns.max(other.unanswered_wait_max_ns),
        }
    }

    /// Each kind, with its number.
    pub(crate) fn kinds(&self) -> [(&'static str, u64); 4] {
        [
            ("not connected", self.not_connected),
            ("wrong answers", self.wrong),
            ("connections ended unasked", self.ended),
            ("unanswered frames", self.unanswered),
        ]
    }

    /// What the latencies hold of unanswered frames.
    pub(crate) fn waits(&self) -> Option<String> {
        let wait = figures::latency(self.unanswered_wait_max_ns as f64);
        (self.unanswered > 0 && self.unanswered_wait_max_ns > 0).then(|| {
            format!("an unanswered frame has waited for up to {wait}; latencies hold these waits as lower bounds")
        })
    }
}

impl Generator {
    fn and(mut self, other: Self) -> Self {
        self.threads.extend(other.threads);
        self.late = self.late.saturating_add(other.late);
        self.late_max_ns = self.late_max_ns.max(other.late_max_ns);
        self.bytes_per_connection = either(self.bytes_per_connection, other.bytes_per_connection, f64::max);
        self.waits_for_port = self.waits_for_port.saturating_add(other.waits_for_port);
        self
    }

    /// The fullest thread's share of a processor.
    pub(crate) fn cpu_max(&self) -> Option<f64> {
        self.threads.iter().filter_map(|thread| thread.cpu).reduce(f64::max)
    }
}

fn configuration(plan: &Plan) -> Configuration {
    let (min, max) = (*plan.payload_len.start(), *plan.payload_len.end());
    let size = if min == max { format!("{min} B") } else { format!("{min} to {max} B") };
    let stop = match plan.stop {
        Stop::After(duration) => ("duration", figures::duration(duration)),
        Stop::Frames(frames) => ("frames", figures::count(frames)),
    };
    let load = match plan.rate {
        Some(rate) => ("rate", format!("{} frames/s (open loop)", figures::number(rate))),
        None if plan.churn => ("load", "churn: a connection a frame".into()),
        None => ("depth", format!("{} (closed loop)", plan.depth)),
    };
    let target = plan.target.as_ref().map_or_else(|| "its own server".into(), ToString::to_string);
    let mut rows = vec![
        ("target", target),
        ("connections", figures::count(plan.connections as u64)),
        load,
        ("size", size),
        stop,
        ("warmup", figures::duration(plan.warmup)),
        ("threads", plan.threads.to_string()),
    ];
    let extras = [("idle", plan.idle), ("drip", plan.drip), ("deaf", plan.deaf)];
    rows.extend(extras.iter().filter(|(_, count)| *count > 0).map(|(name, at)| (*name, figures::count(*at as u64))));
    rows.extend(plan.connect_rate.map(|rate| ("connect rate", format!("{}/s", figures::number(rate)))));
    if !plan.sources.is_empty() {
        rows.push(("sources", format!("{} addresses", plan.sources.count())));
    }
    if plan.spin > Duration::ZERO {
        rows.push(("spin", figures::duration(plan.spin)));
    }
    Configuration::of(rows)
}

fn connections(outcome: &Outcome) -> Connections {
    let connecting = &outcome.connecting;
    Connections {
        asked: connecting.asked,
        up: connecting.up,
        turned_away: connecting.turned_away,
        failed: by_name(&connecting.failed),
        took_ns: nanos(connecting.took),
    }
}

fn generator(side: &GeneratorSide, up: u64) -> Generator {
    let threads = side.threads.iter().map(|thread| Thread {
        cpu: thread.cpu,
        turn_p99_ns: nanos(thread.turn_p99),
        turn_max_ns: nanos(thread.turn_max),
    });
    let grown = side.resident.map(|(before, after)| after.saturating_sub(before));
    Generator {
        threads: threads.collect(),
        late: side.late,
        late_max_ns: nanos(side.late_max),
        // With few connections it is what the program itself has grown by.
        bytes_per_connection: grown.filter(|_| up >= CONNECTIONS_TELLING).map(|grown| grown as f64 / up as f64),
        waits_for_port: side.waits_for_port,
    }
}

fn server(side: &ServerSide) -> Server {
    Server {
        turn_p50_ns: nanos(side.turn_p50),
        turn_p99_ns: nanos(side.turn_p99),
        turn_max_ns: nanos(side.turn_max),
        calls_per_frame: side.calls_per_frame,
        cpu_per_frame_ns: side.cpu_per_frame.map(nanos),
        cpu: side.cpu,
    }
}

fn by_name(counts: &[(&'static str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn add(sums: &mut BTreeMap<String, u64>, others: BTreeMap<String, u64>) {
    for (name, count) in others {
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// What is known of either, or both joined.
fn either<T>(ours: Option<T>, theirs: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(join(ours, theirs)),
        (ours, theirs) => ours.or(theirs),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// With so many connections, what memory has grown by tells what one takes.
const CONNECTIONS_TELLING: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            configuration: Configuration::of(vec![("size", "64 B".into())]),
            bytes: Some(100),
            connections: Some(Connections { asked: 10, up: 9, took_ns: 5, ..Connections::default() }),
            errors: Some(Errors { total: 3, wrong: 3, ..Errors::default() }),
            taints: vec!["slow".into()],
            generator: Some(Generator { late: 2, late_max_ns: 7, ..Generator::default() }),
            ..Facts::default()
        }
    }

    #[test]
    fn those_of_two_machines_add_up() {
        let mut sum = facts();
        sum.merge(facts());
        assert_eq!(sum.bytes, Some(200));
        assert_eq!(sum.connections.map(|all| (all.asked, all.up, all.took_ns)), Some((20, 18, 5)));
        assert_eq!(sum.errors.map(|all| (all.total, all.wrong)), Some((6, 6)));
        assert_eq!(sum.taints.len(), 2);
        assert_eq!(sum.generator.map(|all| (all.late, all.late_max_ns)), Some((4, 7)));
    }

    #[test]
    fn bytes_of_which_a_part_is_not_known_are_not_known() {
        let mut sum = facts();
        sum.merge(Facts::default());
        assert_eq!((sum.bytes, sum.errors.map(|all| all.total)), (None, Some(3)));
    }
}
