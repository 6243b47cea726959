//! Interval logs of HdrHistogram, version 1.3: a line a second a latency, which its own tools read and plot.
//!
//! Latencies are in nanoseconds; the column of maxima is in milliseconds, as those tools have it. What a run knows beside
//! its latencies is one comment, which they skip.

mod encoded;
mod input;
mod read;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use frameloop::load::Recorded;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::failure::Failure;
use crate::results::facts::Facts;
use crate::results::{Results, file};

pub(crate) use crate::results::hlog::read::{Unit, parse};

/// A log that was read.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The file's name.
    pub(crate) name: String,
    /// `None` if another program wrote it.
    pub(crate) facts: Option<Facts>,
    pub(crate) entries: Vec<Entry>,
    /// Which intervals it has besides, in words.
    pub(crate) skipped: Option<String>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) series: Series,
    pub(crate) begin: SystemTime,
    pub(crate) length: Duration,
    pub(crate) latencies: Recorded,
}

/// Which latency; the tags of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    Connect,
    Service,
    Response,
}

impl Series {
    pub(crate) const ALL: [Self; 3] = [Self::Connect, Self::Service, Self::Response];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Service => "service",
            Self::Response => "response",
        }
    }
}

/// Reads a log from a file, or from stdin as `-`. `unit` overrides the one that it states.
pub(crate) fn read(path: &Path, unit: Option<Unit>) -> Result<Log, Failure> {
    if path == Path::new("-") {
        return parse("stdin", io::stdin().lock(), unit).map_err(Failure::run);
    }
    let refusal = |error| Failure::run(format_args!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(refusal)?;
    if file.metadata().map_err(refusal)?.is_dir() {
        return Err(refusal(io::ErrorKind::IsADirectory.into()));
    }
    parse(&path.display().to_string(), file, unit).map_err(Failure::run)
}

/// Writes the log of a run's results to a file.
pub(crate) fn write(path: &Path, results: &Results) -> Result<(), Failure> {
    file::write(path, &text(results).map_err(Failure::run)?)
}

/// The log of a run's results.
///
/// Connections that were made before the measuring began are one line, placed right before it.
pub(crate) fn text(results: &Results) -> Result<Vec<u8>, String> {
    let took = results.facts.connections.as_ref().map_or(Duration::ZERO, |all| Duration::from_nanos(all.took_ns));
    let ramp = took.max(Duration::from_millis(1));
    // Whole seconds, so that the times of the intervals are read as they were measured.
    let head = Duration::from_secs(ramp.as_secs() + 1);
    let base = results.begun.checked_sub(head).ok_or("the time of day is before 1970")?;
    let mut lines = vec![(head - ramp, ramp, Series::Connect, before_the_load(results))];
    for slice in &results.slices {
        let begin = head + slice.begin;
        lines.push((begin, slice.length, Series::Connect, slice.connect.clone()));
        lines.push((begin, slice.length, Series::Service, slice.service.clone()));
        if results.response.is_some() {
            lines.push((begin, slice.length, Series::Response, slice.response.clone()));
        }
    }
    lines.retain(|(_, _, series, latencies)| *series != Series::Connect || latencies.count() > 0);

    let mut text = header(results, base)?;
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.with_max_value_divisor(NANOS_PER_MILLI);
    let mut writer = builder.begin_log_with(&mut text, &mut serializer).map_err(|error| error.to_string())?;
    for (begin, length, series, latencies) in lines {
        let histogram = latencies.histogram();
        let written = writer.write_histogram(&histogram, begin, length, Tag::new(series.name()));
        written.map_err(|error| error.to_string())?;
    }
    Ok(text)
}

/// What the tools expect at the top, and what a run knows beside its latencies.
fn header(results: &Results, base: SystemTime) -> Result<Vec<u8>, String> {
    let facts = serde_json::to_string(&results.facts).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(concat!("[Logged with frameloop ", env!("CARGO_PKG_VERSION"), "]"));
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment("[Latencies in nanoseconds, Interval_Max in milliseconds]");
    builder.add_comment(&format!("{FACTS_BEGIN}{facts}]"));
    // Readers leave out by default what is older than the start, so it is where the first line is.
    builder.with_start_time(base).with_base_time(base);
    let begun = builder.begin_log_with(&mut text, &mut serializer).map(drop);
    begun.map_err(|error| error.to_string())?;
    text.extend_from_slice(LEGEND);
    Ok(text)
}

/// The connections that are in the total and in no interval.
fn before_the_load(results: &Results) -> Recorded {
    let mut before = results.connect.clone();
    for slice in &results.slices {
        // What is not in the total leaves it as it is.
        let _ = before.subtract(slice.connect.histogram());
    }
    Recorded::of(&before)
}

/// The histogram of latencies that lie in several records.
pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Recorded>) -> Histogram<u64> {
    let mut sum = crate::results::histogram();
    all.for_each(|latencies| latencies.add_to(&mut sum));
    sum
}

/// The comment, without its `#`, that holds the facts of a run in JSON; it ends with a bracket.
const FACTS_BEGIN: &str = "[frameloop: ";
const LEGEND: &[u8] = b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
const NANOS_PER_MILLI: f64 = 1e6;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::results::fixture;

    fn log_of(results: &Results) -> Log {
        parse("run.hlog", text(results).unwrap().as_slice(), None).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for results in [fixture::open_loop(), fixture::closed_loop(), fixture::churn()] {
            let log = log_of(&results);
            assert_eq!(log.facts.as_ref(), Some(&results.facts));
            for (name, total) in results.latencies() {
                let of_series = log.entries.iter().filter(|entry| entry.series.name() == name);
                let again = sum(of_series.map(|entry| &entry.latencies));
                assert_eq!((again.len(), again.max(), again.min()), (total.len(), total.max(), total.min()), "{name}");
                assert_eq!(again.value_at_quantile(0.99), total.value_at_quantile(0.99), "{name}");
            }
            let lines = log.entries.iter().filter(|entry| entry.series == Series::Service).count();
            assert_eq!(lines, results.slices.len());
        }
    }

    #[test]
    fn the_header_is_what_the_format_asks_for() {
        let log = String::from_utf8(text(&fixture::open_loop()).unwrap()).unwrap();
        for line in
            ["#[Histogram log format version 1.3]", "#[StartTime: ", "#[BaseTime: ", "#[MaxValueDivisor: 1000000.000]"]
        {
            assert!(log.contains(&format!("\n{line}")), "no {line:?}");
        }
        let legend = log.lines().position(|line| line.starts_with("\"StartTimestamp\"")).unwrap();
        let first = log.lines().position(|line| line.starts_with("Tag=")).unwrap();
        assert!(legend < first);
    }

    #[test]
    fn times_of_day_and_lengths_outlive_the_log() {
        let results = fixture::open_loop();
        let log = log_of(&results);
        let first = log.entries.iter().find(|entry| entry.series == Series::Response).unwrap();
        let apart = first.begin.duration_since(results.begun).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(2), "{apart:?}");
        let apart = first.length.abs_diff(results.slices[0].length);
        assert!(apart < Duration::from_millis(1), "{apart:?}");
    }

    /// Node's `hdr-histogram-js` is another implementation; `HDR_HISTOGRAM_JS` is where it is, if `require` does not find it.
    #[test]
    fn another_implementation_reads_the_same_figures() {
        let results = fixture::open_loop();
        let path = std::env::temp_dir().join(format!("frameloop-hlog-{}.hlog", std::process::id()));
        write(&path, &results).unwrap();
        let outcomes = [
            Command::new("python3").args(["-c", READ_WITH_PYTHON]).arg(&path).output(),
            Command::new("node").args(["-e", READ_WITH_NODE]).arg(&path).output(),
        ];
        let _ = std::fs::remove_file(&path);
        for (tool, output) in ["python3 with hdrhistogram", "node with hdr-histogram-js"].iter().zip(outcomes) {
            let Some(output) = output.ok().filter(|output| output.status.code() != Some(77)) else {
                println!("skipped: there is no {tool}");
                continue;
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            let figures = String::from_utf8(output.stdout).unwrap();
            let expected = ["connect", "service", "response"].map(|name| {
                let (_, total) = results.latencies().find(|(latency, _)| *latency == name).unwrap();
                let quantile = |quantile| total.value_at_quantile(quantile);
                format!("{name} {} {} {} {}", total.len(), quantile(0.5), quantile(0.99), total.max())
            });
            assert_eq!(figures.lines().collect::<Vec<_>>(), expected, "{tool}: {stderr}");
        }
    }

    const READ_WITH_PYTHON: &str = "
import sys
try:
    from hdrh.log import HistogramLogReader
    from hdrh.histogram import HdrHistogram
except ImportError:
    sys.exit(77)
for tag in ('connect', 'service', 'response'):
    total = HdrHistogram(1, 3600 * 10**9, 3)
    reader = HistogramLogReader(sys.argv[1], total)
    while True:
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            break
        if histogram.get_tag() == tag:
            total.add(histogram)
    at = lambda percentile: int(total.get_value_at_percentile(percentile))
    print(tag, total.total_count, at(50), at(99), at(100))
";

    const READ_WITH_NODE: &str = "
let hdr;
try { hdr = require(process.env.HDR_HISTOGRAM_JS || 'hdr-histogram-js'); } catch { process.exit(77); }
const log = require('fs').readFileSync(process.argv[1], 'utf8');
for (const tag of ['connect', 'service', 'response']) {
    const reader = new hdr.HistogramLogReader(log);
    const total = hdr.build({ lowestDiscernibleValue: 1, highestTrackableValue: 3.6e12, numberOfSignificantValueDigits: 3 });
    for (let histogram; (histogram = reader.nextIntervalHistogram()) !== null;) {
        if (histogram.tag === tag) { total.add(histogram); }
    }
    const at = (percentile) => total.getValueAtPercentile(percentile);
    console.log(tag, total.totalCount, at(50), at(99), at(100));
}
";
}
