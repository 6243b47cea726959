//! Results in the text format of Prometheus, version 0.0.4: for its textfile collector, or a push gateway.
//!
//! Times are in seconds, the base unit of the format. All metrics are gauges of a run that is over, except the latencies, which are
//! summaries.

use std::fmt::Write;
use std::time::SystemTime;

use hdrhistogram::Histogram;

use crate::results::model::Results;

/// The quantiles of a latency; 0 is the least, and 1 the longest.
const QUANTILES: [f64; 7] = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// All metrics, each with its line end.
pub(crate) fn text(results: &Results) -> String {
    let mut text = Text { target: escaped(&results.title), out: String::new() };
    let begun = results.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.gauge("begun_timestamp_seconds", "When the measured time began, since 1970 (UTC).", begun.as_secs_f64());
    text.gauge("measured_seconds", "The length of the measured time.", results.measured.as_secs_f64());
    text.gauge("frames", "Frames with a response within the measured time.", results.frames as f64);
    text.gauge("frames_per_second", "Frames with a response per second.", results.rate());
    if let Some(bytes) = results.throughput() {
        text.gauge("bytes_per_second", "Bytes of responses per second.", bytes);
    }
    if let Some(connections) = &results.facts.connections {
        text.gauge("connections_asked", "Connections to establish.", connections.asked as f64);
        text.gauge("connections_up", "Connections that were established.", connections.up as f64);
    }
    if let Some(errors) = &results.facts.errors {
        text.head("errors", "Errors under load, by kind.", "gauge");
        let kinds = [
            ("not_connected", errors.not_connected),
            ("wrong", errors.wrong),
            ("ended", errors.ended),
            ("timed_out", errors.timed_out),
            ("unanswered", errors.unanswered),
        ];
        for (kind, count) in kinds {
            text.sample("errors", &format!(",kind=\"{kind}\""), count as f64);
        }
    }
    if let Some(generator) = &results.facts.generator {
        let late = generator.late_p99_ns as f64 / 1e9;
        text.gauge("late_p99_seconds", "The 99th percentile of how late frames were sent.", late);
    }
    text.latencies(results);
    text.out
}

struct Text {
    target: String,
    out: String,
}

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP frameloop_load_{name} {help}\n# TYPE frameloop_load_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.out, "frameloop_load_{name}{{target=\"{}\"{labels}}} {value}", self.target);
    }

    fn latencies(&mut self, results: &Results) {
        self.head("latency_seconds", "Latencies: connect, service and response.", "summary");
        for (series, histogram) in results.latencies().filter(|(_, histogram)| !histogram.is_empty()) {
            let label = format!(",series=\"{}\"", series.name());
            for quantile in QUANTILES {
                let labels = format!("{label},quantile=\"{quantile}\"");
                self.sample("latency_seconds", &labels, seconds(histogram, quantile));
            }
            let count = histogram.len() as f64;
            self.sample("latency_seconds_sum", &label, histogram.mean() * count / 1e9);
            self.sample("latency_seconds_count", &label, count);
        }
    }
}

fn seconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    let nanos = match quantile {
        0.0 => histogram.min(),
        1.0 => histogram.max(),
        _ => histogram.value_at_quantile(quantile),
    };
    nanos as f64 / 1e9
}

/// A label's value, between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    /// A sample of the format: a name, labels and a number.
    fn is_sample(line: &str) -> bool {
        let pattern = r#"^[a-z_][a-z0-9_]*\{[a-z]+="([^"\\\n]|\\["\\n])*"(,[a-z]+="[^"\\\n]*")*\} -?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$"#;
        regex::Regex::new(pattern).unwrap().is_match(line)
    }

    #[test]
    fn each_line_is_of_the_format_and_each_name_has_its_type_once() {
        let mut hostile = fixture::made();
        hostile.title = "a\"b\\c\nd".into();
        for results in [fixture::made(), fixture::closed_loop(), fixture::churn(), hostile] {
            let text = text(&results);
            let mut types = Vec::new();
            for line in text.lines() {
                match line.strip_prefix("# TYPE ") {
                    Some(name) => types.push(name.split(' ').next().unwrap()),
                    None => assert!(line.starts_with("# HELP frameloop_load_") || is_sample(line), "{line}"),
                }
                if !line.starts_with('#') {
                    let name = line.split('{').next().unwrap();
                    let name = name.trim_end_matches("_sum").trim_end_matches("_count");
                    assert_eq!(types.last(), Some(&name), "{line}");
                }
            }
            let count = types.len();
            types.sort_unstable();
            types.dedup();
            assert_eq!(types.len(), count);
            assert!(text.ends_with('\n') && text.contains("series=\"service\",quantile=\"0.99\"} "));
        }
    }

    #[test]
    fn values_are_those_of_the_results_in_base_units() {
        let results = fixture::made();
        let text = text(&results);
        let value = |name: &str| {
            let line =
                text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!((value("frameloop_load_frames{"), value("frameloop_load_frames_per_second{")), (10_000.0, 1_000.0));
        let target = escaped(&results.title);
        let p99 = value(&format!(
            "frameloop_load_latency_seconds{{target=\"{target}\",series=\"response\",quantile=\"0.99\"}}"
        ));
        assert!((0.0099..0.009_92).contains(&p99), "{p99}");
        let count = value(&format!("frameloop_load_latency_seconds_count{{target=\"{target}\",series=\"response\"}}"));
        assert_eq!(count, 10_000.0);
        assert_eq!(value(&format!("frameloop_load_errors{{target=\"{target}\",kind=\"wrong\"}}")), 2.0);
    }
}
