//! The lines of a log.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use frameloop::load::{Interval, Recorded, Start};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::results::facts::Facts;
use crate::results::hlog::log::{
    Counts, FACTS_BEGIN, FIRST_FACTS_BEGIN, INSTANCE_BEGIN, INTERVAL_BEGIN, Named, PART_BEGIN, PartMark, STAGE_BEGIN,
    TOTAL_BEGIN, Total, WINDOW_BEGIN, Window,
};
use crate::results::hlog::mark::Mark;
use crate::results::model::{Results, Series};

/// Encodes a run as the lines of a log.
#[derive(Debug)]
pub(crate) struct Writer {
    begun: SystemTime,
    /// The time from which the lines count.
    base: SystemTime,
    is_open_loop: bool,
    mark: Mark,
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct End {
    window: Window,
    facts: Facts,
}

impl End {
    pub(super) fn of(results: &Results) -> Self {
        let window =
            Window { begun_ns: nanos_of(results.begun), measured_ns: nanos(results.measured), frames: results.frames };
        Self { window, facts: results.facts.clone() }
    }
}

/// The line with which a marked log begins, before its run.
pub(crate) fn hello(mark: &Mark) -> Vec<u8> {
    let mut text = Vec::new();
    json_comment(&mut text, mark, INSTANCE_BEGIN, &Named { name: mark.name.clone() });
    text
}

/// A line of a marked log that has no interval to report.
pub(crate) fn stage(mark: &Mark, stage: &str) -> Vec<u8> {
    let mut text = Vec::new();
    json_comment(&mut text, mark, STAGE_BEGIN, &stage);
    text
}

/// What is known when a run begins to measure.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) facts: Facts,
    pub(crate) begun: SystemTime,
    /// How long connecting took.
    pub(crate) took: Duration,
    /// The connections that were established before.
    pub(crate) connect: Recorded,
    pub(crate) is_open_loop: bool,
    /// Which of several runs or steps it is.
    pub(crate) part: Option<PartMark>,
}

impl Begin {
    pub(crate) fn of(start: &Start, part: Option<PartMark>) -> Self {
        Self {
            facts: Facts::of_start(start),
            begun: start.begun,
            took: start.took,
            connect: start.connect.clone(),
            is_open_loop: start.plan.has_schedule(),
            part,
        }
    }

    fn ramp(&self) -> Duration {
        self.took.max(Duration::from_millis(1))
    }
}

impl Writer {
    /// The head of the log, and the begin of its first run.
    pub(crate) fn begin(begin: &Begin, mark: Mark) -> (Self, Vec<u8>) {
        // Whole seconds, so that the intervals' times keep their fractions.
        let base = begin.begun - Duration::from_secs(begin.ramp().as_secs() + 1);
        let mut text = Vec::new();
        comment(&mut text, concat!("[Logged with frameloop ", env!("CARGO_PKG_VERSION"), "]"));
        comment(&mut text, "[Histogram log format version 1.3]");
        comment(&mut text, "[Latencies in nanoseconds, Interval_Max in milliseconds]");
        if !mark.is_in_each_line {
            text.extend(hello(&mark));
        }
        let mut writer = Self { begun: begin.begun, base, is_open_loop: begin.is_open_loop, mark };
        writer.begin_facts(&mut text, begin);
        let since_epoch = seconds(base.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        // Readers skip intervals before the start, so the start is that of the first line.
        comment(&mut text, &format!("[StartTime: {since_epoch} (seconds since epoch)]"));
        comment(&mut text, &format!("[BaseTime: {since_epoch} (seconds since epoch)]"));
        comment(&mut text, "[MaxValueDivisor: 1000000.000]");
        text.extend_from_slice(LEGEND);
        writer.begin_connections(&mut text, begin);
        (writer, text)
    }

    /// Another run or step begins.
    pub(crate) fn next(&mut self, begin: &Begin) -> Vec<u8> {
        let mut text = Vec::new();
        self.begin_facts(&mut text, begin);
        self.begin_connections(&mut text, begin);
        text
    }

    fn begin_facts(&mut self, text: &mut Vec<u8>, begin: &Begin) {
        (self.begun, self.is_open_loop) = (begin.begun, begin.is_open_loop);
        if let Some(part) = &begin.part {
            self.comment(text, PART_BEGIN, part);
        }
        self.comment(text, FIRST_FACTS_BEGIN, &begin.facts);
    }

    /// The connections that were established before the measured time.
    fn begin_connections(&self, text: &mut Vec<u8>, begin: &Begin) {
        if begin.connect.is_empty() {
            return;
        }
        let ramp = begin.ramp();
        if self.mark.is_in_each_line {
            // The time from which the line's time counts may be that of another log.
            let (begin_ns, length_ns) = (nanos_of(begin.begun - ramp), nanos(ramp));
            let counts = Counts { begin_ns, length_ns, ..Counts::default() };
            self.comment(text, INTERVAL_BEGIN, &counts);
        }
        self.line(text, Series::Connect, begin.begun - ramp, ramp, &begin.connect);
    }

    /// The lines of an interval.
    pub(crate) fn interval(&self, interval: &Interval) -> Vec<u8> {
        let mut text = Vec::new();
        let (begin, length) = (self.begun + interval.begin, interval.length);
        let counts = Counts {
            begin_ns: nanos_of(begin),
            length_ns: nanos(length),
            frames: interval.frames,
            bytes: interval.bytes,
            connections: interval.connections,
            errors: interval.errors,
        };
        self.comment(&mut text, INTERVAL_BEGIN, &counts);
        if !interval.connect.is_empty() {
            self.line(&mut text, Series::Connect, begin, length, &interval.connect);
        }
        self.line(&mut text, Series::Service, begin, length, &interval.service);
        if self.is_open_loop {
            self.line(&mut text, Series::Response, begin, length, &interval.response);
        }
        text
    }

    /// The end of a run, and of a log of one: the measured time and the facts.
    pub(crate) fn end(&self, results: &Results) -> Vec<u8> {
        self.end_of_part(&End::of(results))
    }

    pub(super) fn end_of_part(&self, end: &End) -> Vec<u8> {
        let mut text = Vec::new();
        self.comment(&mut text, WINDOW_BEGIN, &end.window);
        self.comment(&mut text, FACTS_BEGIN, &end.facts);
        text
    }

    /// The end of a log of several runs or steps: the facts of all.
    pub(crate) fn total(&self, results: &Results) -> Vec<u8> {
        let Results { facts, steps, highest, .. } = results;
        let total = Total { facts: facts.clone(), steps: steps.clone(), search: highest.clone() };
        let mut text = Vec::new();
        self.comment(&mut text, TOTAL_BEGIN, &total);
        text
    }

    fn line(&self, text: &mut Vec<u8>, series: Series, begin: SystemTime, length: Duration, latencies: &Recorded) {
        let histogram = latencies.histogram();
        let mut bytes = Vec::new();
        // Writing to memory cannot fail.
        let _ = V2DeflateSerializer::new().serialize(&histogram, &mut bytes);
        let begin = seconds(begin.duration_since(self.base).unwrap_or_default());
        let (length, max) = (seconds(length), histogram.max() as f64 / NANOS_PER_MILLI);
        let encoded = STANDARD.encode(bytes);
        let (tag, mark) = (series.name(), self.mark.suffix());
        text.extend_from_slice(format!("Tag={tag}{mark},{begin},{length},{max:.3},{encoded}\n").as_bytes());
    }

    fn comment(&self, text: &mut Vec<u8>, begin: &str, value: &impl serde::Serialize) {
        json_comment(text, &self.mark, begin, value);
    }
}

fn comment(text: &mut Vec<u8>, comment: &str) {
    text.extend_from_slice(format!("#{comment}\n").as_bytes());
}

fn json_comment(text: &mut Vec<u8>, mark: &Mark, begin: &str, value: &impl serde::Serialize) {
    // Serializing numbers and texts cannot fail.
    let json = serde_json::to_string(value).unwrap_or_default();
    let begin = begin.replacen("frameloop", &format!("frameloop{}", mark.suffix()), 1);
    comment(text, &format!("{begin}{json}]"));
}

fn seconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Since the epoch, up to the year 2554.
fn nanos_of(time: SystemTime) -> u64 {
    nanos(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

const LEGEND: &[u8] = b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
const NANOS_PER_MILLI: f64 = 1e6;
