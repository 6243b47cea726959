//! The lines of a log.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use frameloop::load::{Interval, Recorded, Start};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::results::facts::Facts;
use crate::results::hlog::log::{
    Counts, FACTS_BEGIN, FIRST_FACTS_BEGIN, INSTANCE_BEGIN, INTERVAL_BEGIN, Named, STAGE_BEGIN, WINDOW_BEGIN, Window,
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

impl Writer {
    /// The head of the log of a run.
    pub(crate) fn of(start: &Start, mark: Mark) -> (Self, Vec<u8>) {
        let is_open_loop = start.plan.has_schedule();
        Self::begin(&Facts::of_start(start), start.begun, start.took, &start.connect, is_open_loop, mark)
    }

    /// The head of the log, and the connections that were established before the measured time.
    pub(crate) fn begin(
        facts: &Facts,
        begun: SystemTime,
        took: Duration,
        connect: &Recorded,
        is_open_loop: bool,
        mark: Mark,
    ) -> (Self, Vec<u8>) {
        let ramp = took.max(Duration::from_millis(1));
        // Whole seconds, so that the intervals' times keep their fractions.
        let base = begun - Duration::from_secs(ramp.as_secs() + 1);
        let mut text = Vec::new();
        comment(&mut text, concat!("[Logged with frameloop ", env!("CARGO_PKG_VERSION"), "]"));
        comment(&mut text, "[Histogram log format version 1.3]");
        comment(&mut text, "[Latencies in nanoseconds, Interval_Max in milliseconds]");
        if !mark.is_in_each_line {
            text.extend(hello(&mark));
        }
        json_comment(&mut text, &mark, FIRST_FACTS_BEGIN, facts);
        let since_epoch = seconds(base.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        // Readers skip intervals before the start, so the start is that of the first line.
        comment(&mut text, &format!("[StartTime: {since_epoch} (seconds since epoch)]"));
        comment(&mut text, &format!("[BaseTime: {since_epoch} (seconds since epoch)]"));
        comment(&mut text, "[MaxValueDivisor: 1000000.000]");
        text.extend_from_slice(LEGEND);
        let writer = Self { begun, base, is_open_loop, mark };
        if !connect.is_empty() {
            if writer.mark.is_in_each_line {
                // The time, as the comments above, of which the line's time counts, may be those of several logs.
                let (begin_ns, length_ns) = (nanos_of(begun - ramp), nanos(ramp));
                let counts = Counts { begin_ns, length_ns, ..Counts::default() };
                writer.comment(&mut text, INTERVAL_BEGIN, &counts);
            }
            writer.line(&mut text, Series::Connect, begun - ramp, ramp, connect);
        }
        (writer, text)
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

    /// The end of the log: the measured time and the facts.
    pub(crate) fn end(&self, results: &Results) -> Vec<u8> {
        let window =
            Window { begun_ns: nanos_of(results.begun), measured_ns: nanos(results.measured), frames: results.frames };
        let mut text = Vec::new();
        self.comment(&mut text, WINDOW_BEGIN, &window);
        self.comment(&mut text, FACTS_BEGIN, &results.facts);
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
