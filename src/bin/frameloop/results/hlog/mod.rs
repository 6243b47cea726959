//! Interval logs of HdrHistogram, version 1.3: one line per second and latency, which its own tools read and plot.
//!
//! Latencies are in nanoseconds; the column of maxima is in milliseconds, as those tools expect. What a run knows besides
//! its latencies is in comments, which they skip.

pub(crate) mod background;
mod clock;
mod encoded;
pub(crate) mod input;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod mark;
mod parts;
pub(crate) mod read;
pub(crate) mod write;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use frameloop::load::Plan;

    use std::time::Duration;

    use crate::results::fixture;
    use crate::results::hlog::log::{Log, PartKind, PartMark};
    use crate::results::hlog::read::parse;
    use crate::results::model::{Results, Series, sum};
    use crate::results::sequence::sequence;

    /// A run in the open loop, and its log.
    fn logged() -> (Results, Vec<u8>) {
        fixture::logged(Plan { rate: Some(20_000.0), ..Plan::default() })
    }

    fn read(text: &[u8]) -> Log {
        parse("run.hlog", text, None).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let churn = Plan { churn: true, ..Plan::default() };
        for (results, text) in [logged(), fixture::logged(Plan::default()), fixture::logged(churn)] {
            let log = read(&text);
            assert_eq!(log.facts.as_ref(), Some(&results.facts));
            for (series, total) in results.latencies() {
                let of_series = log.entries.iter().filter(|entry| entry.series == series);
                let again = sum(of_series.map(|entry| &entry.latencies));
                assert_eq!(
                    (again.len(), again.max(), again.min()),
                    (total.len(), total.max(), total.min()),
                    "{series:?}"
                );
                assert_eq!(again.value_at_quantile(0.99), total.value_at_quantile(0.99), "{series:?}");
            }
            let lines = log.entries.iter().filter(|entry| entry.series == Series::Service).count();
            assert_eq!(lines, results.slices.len());
        }
    }

    #[test]
    fn the_header_is_what_the_format_asks_for() {
        let log = String::from_utf8(logged().1).unwrap();
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
        let (results, text) = logged();
        let log = read(&text);
        let of_first = |log: &Log| {
            let first = log.entries.iter().find(|entry| entry.series == Series::Response).unwrap();
            (first.begin, first.length)
        };
        assert_eq!(of_first(&log), (results.begun, results.slices[0].length), "to the nanosecond");
        // The lines alone, which other tools read, have milliseconds.
        let text = String::from_utf8(text).unwrap();
        let lines: String =
            text.lines().filter(|line| !line.starts_with("#[frameloop")).map(|line| format!("{line}\n")).collect();
        let (begin, length) = of_first(&read(lines.as_bytes()));
        let apart = begin.duration_since(results.begun).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(2), "{apart:?}");
        assert!(length.abs_diff(results.slices[0].length) < Duration::from_millis(1), "{length:?}");
    }

    #[test]
    fn log_of_a_run_that_was_killed_has_all_intervals_up_to_then() {
        let whole = fixture::log_of(&fixture::seconds(3));
        let mut cuts = 0;
        let begins = String::from_utf8(whole.clone()).unwrap();
        for (at, _) in begins.match_indices("#[frameloop interval") {
            // At the end of an interval, and within the next.
            for cut in [at, at + 10, at + 300] {
                let log = read(&whole[..cut.min(whole.len())]);
                assert!(log.window.is_none() && log.facts.is_some());
                let services = log.entries.iter().filter(|entry| entry.series == Series::Service).count();
                assert_eq!(services, cuts, "cut at {cut}");
            }
            cuts += 1;
        }
        assert_eq!(cuts, 3);
    }

    /// Node's `hdr-histogram-js` is another implementation; `HDR_HISTOGRAM_JS` is where it is, if `require` does not find it.
    #[test]
    fn another_implementation_reads_the_same_figures() {
        let (results, text) = logged();
        assert_others_read(&results, &text);
        let runs = [0, 60].map(|seconds| {
            let mut run = fixture::seconds(3);
            run.begun += Duration::from_secs(seconds);
            run
        });
        let part = |number| PartMark { kind: PartKind::Run, number, asked: Some(2), step: None };
        let parts: Vec<_> = runs.iter().cloned().zip((1..).map(part)).collect();
        let all = sequence(runs.to_vec(), "run").unwrap();
        assert_others_read(&all, &fixture::log_of_parts(&parts, &all, &fixture::mark()));
    }

    /// Other tools find the figures of the results in their log.
    fn assert_others_read(results: &Results, text: &[u8]) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("run.hlog");
        std::fs::write(&path, text).unwrap();
        let outcomes = [
            Command::new("python3").args(["-c", READ_WITH_PYTHON]).arg(&path).output(),
            Command::new("node").args(["-e", READ_WITH_NODE]).arg(&path).output(),
        ];
        for (tool, output) in ["python3 with hdrhistogram", "node with hdr-histogram-js"].iter().zip(outcomes) {
            let Some(output) = output.ok().filter(|output| output.status.code() != Some(77)) else {
                println!("skipped: there is no {tool}");
                continue;
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            let figures = String::from_utf8(output.stdout).unwrap();
            let expected = Series::ALL.map(|series| {
                let (name, total) = (series.name(), results.latency_of(series).unwrap());
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
