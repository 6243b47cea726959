//! Results for tests: of real runs, and made up.

use std::time::{Duration, SystemTime};

use frameloop::load::{Hold, Interval, Plan, Progress, Recorded, Start, Stop, Unwatched, Watch, run};

use crate::results::facts::Facts;
use crate::results::hlog::log::PartMark;
use crate::results::hlog::mark::Mark;
use crate::results::hlog::write::{Begin, Writer};
use crate::results::model::{Results, Slice, histogram};
use crate::results::steps::{Dimension, Failed, Highest, Limit, StepFigures};

/// A run in the closed loop on a server of its own.
pub(crate) fn closed_loop() -> Results {
    run_of(Plan::default())
}

/// A run in the open loop.
pub(crate) fn open_loop() -> Results {
    run_of(Plan { rate: Some(20_000.0), ..Plan::default() })
}

/// A run with a connection per frame.
pub(crate) fn churn() -> Results {
    run_of(Plan { churn: true, ..Plan::default() })
}

/// A run in which connections are held.
pub(crate) fn held(hold: Hold) -> Results {
    let plan = Plan {
        connections: 4,
        hold: Some(hold),
        stop: Stop::After(Duration::from_millis(100)),
        warmup: Duration::ZERO,
        ..Plan::default()
    };
    Results::of(&run(&plan, &mut Unwatched).unwrap())
}

fn run_of(plan: Plan) -> Results {
    logged(plan).0
}

/// A run of a thousand frames, and its log.
pub(crate) fn logged(plan: Plan) -> (Results, Vec<u8>) {
    let plan = Plan { connections: 4, stop: Stop::Frames(1_000), warmup: Duration::ZERO, ..plan };
    let mut log = Log::default();
    let results = Results::of(&run(&plan, &mut log).unwrap());
    let end = log.writer.unwrap().end(&results);
    log.text.extend(end);
    (results, log.text)
}

/// The log of results that were not logged during a run.
pub(crate) fn log_of(results: &Results) -> Vec<u8> {
    marked_log_of(results, mark())
}

/// A generator's name that is in the head of its log only.
pub(crate) fn mark() -> Mark {
    Mark { name: "host:1".into(), is_in_each_line: false }
}

/// The same with the name of its generator.
pub(crate) fn marked_log_of(results: &Results, mark: Mark) -> Vec<u8> {
    part_of(results, &mark, None, &mut None)
}

/// The log of several runs or steps, of which `all` are the sum.
pub(crate) fn log_of_parts(parts: &[(Results, PartMark)], all: &Results, mark: &Mark) -> Vec<u8> {
    let mut writer = None;
    let each = parts.iter().flat_map(|(results, part)| part_of(results, mark, Some(*part), &mut writer));
    let mut text: Vec<u8> = each.collect();
    text.extend(writer.unwrap().total(all));
    text
}

/// The lines of a run. The first one makes the writer of the log.
fn part_of(results: &Results, mark: &Mark, part: Option<PartMark>, last: &mut Option<Writer>) -> Vec<u8> {
    let took = results.facts.connections.as_ref().map_or(Duration::ZERO, |all| Duration::from_nanos(all.took_ns));
    let mut before = results.connect.clone();
    for slice in &results.slices {
        // A latency that is not in the total leaves it unchanged.
        let _ = before.subtract(slice.connect.histogram());
    }
    let before = Recorded::of(&before);
    let is_open_loop = results.response.is_some();
    let facts = Facts { is_partial: true, ..results.facts.clone() };
    let begin = Begin { facts, begun: results.begun, took, connect: before, is_open_loop, part };
    let (writer, mut text) = match last.take() {
        Some(mut writer) => {
            let text = writer.next(&begin);
            (writer, text)
        }
        None => Writer::begin(&begin, mark.clone()),
    };
    for slice in &results.slices {
        let mut interval = Interval::default();
        (interval.begin, interval.length) = (slice.begin, slice.length);
        interval.frames = slice.frames;
        interval.connections = slice.connections.unwrap_or_default();
        interval.errors.ended = slice.errors.unwrap_or_default();
        interval.connect = slice.connect.clone();
        interval.service = slice.service.clone();
        interval.response = slice.response.clone();
        text.extend(writer.interval(&interval));
    }
    text.extend(writer.end(results));
    *last = Some(writer);
    text
}

/// Logs to memory.
#[derive(Default)]
struct Log {
    writer: Option<Writer>,
    text: Vec<u8>,
}

impl Watch for Log {
    fn on_progress(&mut self, _: &Progress) {}

    fn on_start(&mut self, start: &Start) {
        let (writer, text) = Writer::begin(&Begin::of(start, None), mark());
        self.writer = Some(writer);
        self.text = text;
    }

    fn on_interval(&mut self, interval: &Interval) {
        self.text.extend(self.writer.as_ref().unwrap().interval(interval));
    }

    fn wants_end(&mut self) -> bool {
        false
    }
}

/// Ten seconds in the open loop with a thousand frames each, evenly from 1 to 10,000 us, and with every kind of fact.
pub(crate) fn made() -> Results {
    seconds(10)
}

/// The same with any number of seconds, which repeat after ten; with more than ten, each has fewer frames.
pub(crate) fn seconds(seconds: u64) -> Results {
    let frames = if seconds > 10 { 50 } else { 1_000 };
    let ten: Vec<Slice> = (0..10).map(|second| slice(second, frames)).collect();
    let slices: Vec<Slice> = ten
        .iter()
        .cycle()
        .zip(0..seconds)
        .map(|(slice, second)| Slice {
            begin: Duration::from_secs(second),
            errors: Some(u64::from(second == 3)),
            ..slice.clone()
        })
        .collect();
    let mut results = Results {
        title: "127.0.0.1:7007".into(),
        begun: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        measured: Duration::from_secs(seconds),
        frames: slices.iter().map(|slice| slice.frames).sum(),
        connect: histogram(),
        service: histogram(),
        response: Some(histogram()),
        slices,
        runs: Vec::new(),
        facts: facts(),
        verdicts: Vec::new(),
        steps: Vec::new(),
        highest: None,
        baseline: None,
    };
    (100..200).for_each(|micros| results.connect.record(micros * 1_000).unwrap());
    for slice in &results.slices {
        slice.service.add_to(&mut results.service);
        results.response.iter_mut().for_each(|response| slice.response.add_to(response));
    }
    results
}

fn slice(second: u64, frames: u64) -> Slice {
    let (mut service, mut response) = (histogram(), histogram());
    for nth in 0..frames {
        let micros = 1 + second + nth * 10_000 / frames;
        service.record(micros * 100).unwrap();
        response.record(micros * 1_000).unwrap();
    }
    Slice {
        begin: Duration::from_secs(second),
        length: Duration::from_secs(1),
        frames,
        connections: Some(99),
        errors: None,
        connect: Recorded::default(),
        service: Recorded::of(&service),
        response: Recorded::of(&response),
    }
}

/// The results of a search: one step held, and one failed.
pub(crate) fn stepped() -> Results {
    let mut results = made();
    let failed = Failed { first: Limit::Latency, reasons: vec!["p99<5ms: observed 9.90 ms".into()] };
    results.steps = vec![
        StepFigures::of(Dimension::Rate, 500.0, 0.0, &results, None),
        StepFigures::of(Dimension::Rate, 1_000.0, 10.0, &results, Some(failed.clone())),
    ];
    results.highest = Some(Highest {
        of: Dimension::Rate,
        load: Some(500.0),
        was_interrupted: false,
        failed_load: Some(1_000.0),
        failed: Some(failed),
    });
    results
}

fn facts() -> Facts {
    let facts = r#"{
        "configuration": {
            "target": "127.0.0.1:7007",
            "connections": "100",
            "rate": "1,000 frames/s (open loop)",
            "size": "64 B"
        },
        "was_interrupted": true,
        "frames_after_end": 4,
        "late_replies": 2,
        "outages": [{
            "begin_ns": 2500000000, "length_ns": 1250000000, "is_over": true,
            "connections": 9, "frames": 12, "failed_dials": 30
        }],
        "bytes": 680000,
        "connections": {"asked": 100, "up": 99, "turned_away": 0, "failed": {"refused": 1}, "took_ns": 12300000},
        "errors": {"not_connected": 1, "wrong": 2, "ended": 0, "unanswered": 3, "unanswered_wait_max_ns": 2500000000},
        "faults": ["connection 7, frame 3: byte 5 of the payload is 0x2a, and 0x2b was sent"],
        "ended": {"reset by the peer": 4},
        "cohorts": [{"name": "idle", "up": 10, "ended": 1}],
        "causes": [{
            "connections": 1,
            "limit": "refused, as nobody listens there or a firewall says so",
            "lifted_by": "start the server, or correct the address"
        }],
        "taints": ["a thread of the generator used 97 % of its processor"],
        "generator": {
            "threads": [{"cpu": 0.97, "turn_p99_ns": 120000, "turn_max_ns": 4000000}],
            "late": 7, "late_max_ns": 2500000, "bytes_per_connection": 1536.0, "waits_for_port": 2
        },
        "server": {
            "turn_p50_ns": 33000, "turn_p99_ns": 120000, "turn_max_ns": 1200000,
            "calls_per_frame": 2.04, "cpu_per_frame_ns": 8100, "cpu": 0.71
        }
    }"#;
    serde_json::from_str(facts).unwrap()
}
