//! The counters as metrics of Prometheus: a snapshot at the moment of a scrape, so that nothing is counted twice.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. A counter that has a label exists for each of its values from the start, so
//! that its rate is 0 and not unknown.

use std::fmt;

use frameloop::wire::Protocol;
use frameloop::{Calls, CloseKind, Lint, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::admin::process::Process;

/// What is reported, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Without the endpoint's own connections.
    pub(crate) stats: Stats,
    /// The endpoint's own connections.
    pub(crate) clients: usize,
    pub(crate) process: Process,
    /// When the process began, in seconds since 1970.
    pub(crate) began: f64,
    pub(crate) is_draining: bool,
    pub(crate) is_accept_paused: bool,
    pub(crate) max_connections: usize,
    pub(crate) memory: usize,
    /// The longest delay of a probe in the last second, in seconds.
    pub(crate) lag: f64,
    pub(crate) log_lines_dropped: u64,
    pub(crate) run: Option<RunFigures>,
}

/// What is reported of a load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunFigures {
    pub(crate) connections: u64,
    pub(crate) connections_asked: u64,
    pub(crate) frames: u64,
    pub(crate) errors: u64,
}

/// The formats of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Text,
}

impl Format {
    /// The one that a client prefers: Prometheus asks for OpenMetrics, everything else gets text.
    pub(crate) fn of_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Upper bounds of the durations of turns, in seconds.
const TURN_BOUNDS: [f64; 18] =
    [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5];

impl Snapshot {
    pub(crate) fn encode(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut encoded = String::new();
        let outcome = match format {
            Format::OpenMetrics => text::encode(&mut encoded, &registry),
            Format::Text => prometheus_text::encode(&mut encoded, &registry),
        };
        // Writing to a string does not fail.
        debug_assert!(outcome.is_ok());
        encoded
    }

    fn encode_connections(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        encoder.gauge("connections", "Open connections, without those of the admin endpoint", stats.connections)?;
        encoder.gauge("admin_connections", "Open connections of the admin endpoint", self.clients as u64)?;
        encoder.gauge("connections_peak", "Largest number of open connections at a time", stats.connections_peak)?;
        encoder.gauge("connections_max", "Limit of connections", self.max_connections as u64)?;
        encoder.gauge("dials_in_progress", "Outbound connection attempts in progress", stats.dialing)?;
        encoder.counter("connections_accepted", "Connections accepted, without those refused", stats.accepted)?;
        encoder.counter("connections_dialed", "Outbound connections established", stats.dialed)?;
        encoder.counter("dials_failed", "Outbound connection attempts that failed", stats.dials_failed)?;
        let refused = &stats.refused;
        let refused = [
            ("max connections", refused.max_connections),
            ("max per ip", refused.max_per_ip),
            ("failed", refused.failed),
        ];
        encoder.counters(
            "connections_refused",
            "Connections closed as soon as they were accepted",
            "reason",
            refused,
        )?;
        let closed = CloseKind::ALL.map(|kind| (kind.name(), stats.closed_by(kind)));
        encoder.counters("connections_closed", "Connections that have ended", "reason", closed)?;
        let evicted = stats.closed_by(CloseKind::Evicted);
        encoder.counter("evictions", "Connections closed at the memory limit", evicted)?;
        let protocols = Protocol::ALL.map(|protocol| (protocol.name(), stats.looked_like(protocol)));
        encoder.counters(
            "foreign_protocols",
            "Connections closed because they looked like another protocol",
            "protocol",
            protocols,
        )?;
        encoder.counter(
            "accept_pauses",
            "Times that accepting paused for lack of descriptors or memory",
            stats.accept_pauses,
        )?;
        encoder.gauge("accept_paused", "Whether accepting is paused now", u64::from(self.is_accept_paused))?;
        encoder.gauge("draining", "Whether a drain has begun", u64::from(self.is_draining))
    }

    fn encode_traffic(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        let frames = [("in", stats.frames_in), ("out", stats.frames_out)];
        encoder.counters("frames", "Frames received whole, and frames queued for sending", "direction", frames)?;
        let dropped = &stats.dropped;
        let dropped = [("full", dropped.full), ("no memory", dropped.no_memory), ("closed", dropped.gone)];
        encoder.counters("frames_dropped", "Frames that were to be sent and were not queued", "reason", dropped)?;
        let bytes = [("in", stats.bytes_in), ("out", stats.bytes_out)];
        encoder.counters("bytes", "Bytes read and written", "direction", bytes)?;
        encoder.gauge("buffered_bytes", "Bytes of the buffers of all connections", stats.buffered_bytes)?;
        encoder.gauge("pooled_bytes", "Bytes of unused buffers that are kept", stats.pooled_bytes)?;
        encoder.gauge("memory_limit_bytes", "Limit of the buffers of all connections", self.memory as u64)?;
        encoder.counter("backpressure_pauses", "Times that reading paused at the high-water mark", stats.pauses)
    }

    fn encode_loop(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        encoder.histogram("turn_seconds", "Durations of turns, without the wait for events", &stats.turn_durations)?;
        encoder.gauge("turn_bytes_max", "Largest number of bytes moved in one turn", stats.turn_bytes_max)?;
        encoder.gauge("loop_lag_seconds", "Longest delay of a timer in the last second", self.lag)?;
        let budgets = [
            ("read", stats.read_budgets_spent),
            ("write", stats.write_budgets_spent),
            ("frame", stats.frame_budgets_spent),
            ("turn", stats.turn_budgets_spent),
        ];
        encoder.counters("budgets_spent", "Times that a budget was spent with more to do", "budget", budgets)?;
        let calls = [
            ("accept", stats.accepts),
            ("connect", stats.dials),
            ("read", stats.reads),
            ("write", stats.writes),
            ("shutdown", stats.shutdowns),
            ("register", stats.registrations),
        ];
        encoder.counter("polls", "Calls that waited for events", stats.polls)?;
        encoder.calls("calls", "System calls by result", &calls)?;
        encoder.counter("messages", "Messages delivered from other threads", stats.messages)?;
        encoder.counter("handler_panics", "Panics in callbacks", stats.handler_panics)?;
        let lints = Lint::ALL.map(|lint| (lint.name(), stats.lint(lint)));
        encoder.counters("lints", "Readiness mistakes that were noticed", "lint", lints)?;
        encoder.counter(
            "log_lines_suppressed",
            "Log lines about peers left out as similar",
            stats.log_lines_left_out,
        )?;
        encoder.counter("log_lines_dropped", "Log lines that stderr did not accept", self.log_lines_dropped)
    }

    fn encode_process(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let Process { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds } = self.process;
        encoder.prefix = "";
        if let Some(seconds) = cpu_seconds {
            encoder.counter("process_cpu_seconds", "Processor time of the process", seconds)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory", virtual_bytes),
            ("process_open_fds", "Open file descriptors", open_fds),
            ("process_max_fds", "Limit of file descriptors", max_fds),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder.gauge(name, help, value)?;
            }
        }
        encoder.gauge("process_start_time_seconds", "Start of the process since 1970", self.began)
    }
}

impl Collector for Snapshot {
    fn encode(&self, inner: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = Encoder { inner, prefix: "frameloop_" };
        encoder.info("build", "The build", &[("version", env!("CARGO_PKG_VERSION"))])?;
        match self.run {
            None => {
                self.encode_connections(&mut encoder)?;
                self.encode_traffic(&mut encoder)?;
                self.encode_loop(&mut encoder)?;
            }
            Some(run) => {
                encoder.gauge("load_connections", "Established connections", run.connections)?;
                encoder.gauge("load_connections_asked", "Connections to establish", run.connections_asked)?;
                encoder.counter("load_frames", "Frames with a response in the measured time", run.frames)?;
                encoder.counter("load_errors", "Errors of all kinds", run.errors)?;
            }
        }
        self.encode_process(&mut encoder)
    }
}

struct Encoder<'a> {
    inner: DescriptorEncoder<'a>,
    prefix: &'static str,
}

impl Encoder<'_> {
    fn counter<N: EncodeCounterValue + fmt::Debug>(&mut self, name: &str, help: &str, value: N) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let encoder = self.inner.encode_descriptor(&name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge<N: EncodeGaugeValue + fmt::Debug>(&mut self, name: &str, help: &str, value: N) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let encoder = self.inner.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// A counter for each value of a label.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let mut encoder = self.inner.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            let labels = [(label, value)];
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn calls(&mut self, name: &str, help: &str, calls: &[(&'static str, Calls)]) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let mut encoder = self.inner.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (call, counts) in calls {
            let results = [
                ("done", counts.done),
                ("would block", counts.would_block),
                ("interrupted", counts.interrupted),
                ("failed", counts.failed),
            ];
            for (result, count) in results {
                let labels = [("call", *call), ("result", result)];
                ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &'static str)]) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        self.inner.encode_descriptor(&name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn histogram(&mut self, name: &str, help: &str, durations: &frameloop::Histogram) -> fmt::Result {
        let name = format!("{}{name}", self.prefix);
        let mut counts = [0; TURN_BOUNDS.len() + 1];
        for (longest, count) in durations.buckets() {
            counts[TURN_BOUNDS.partition_point(|bound| *bound < longest.as_secs_f64())] += count;
        }
        let bounds = TURN_BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let mut encoder = self.inner.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(durations.sum().as_secs_f64(), durations.count(), &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn snapshot() -> Snapshot {
        let mut stats = Stats::default();
        (stats.connections, stats.frames_in) = (3, 7);
        stats.reads.would_block = 2;
        Snapshot {
            stats,
            clients: 2,
            process: Process::observe(),
            began: 1.5,
            is_draining: false,
            is_accept_paused: true,
            max_connections: 10,
            memory: 1_000,
            lag: 0.25,
            log_lines_dropped: 4,
            run: None,
        }
    }

    #[test]
    fn scrape_has_every_counter_in_both_formats() {
        let lines = [
            "frameloop_build_info{version=\"0.1.0\"} 1",
            "frameloop_connections 3",
            "frameloop_admin_connections 2",
            "frameloop_accept_paused 1",
            "frameloop_frames_total{direction=\"in\"} 7",
            "frameloop_connections_closed_total{reason=\"reset\"} 0",
            "frameloop_calls_total{call=\"read\",result=\"would block\"} 2",
            "frameloop_turn_seconds_bucket{le=\"+Inf\"} 0",
            "frameloop_turn_seconds_count 0",
            "frameloop_lints_total{lint=\"slow callback\"} 0",
            "frameloop_loop_lag_seconds 0.25",
            "frameloop_log_lines_dropped_total 4",
            "process_start_time_seconds 1.5",
        ];
        for format in [Format::OpenMetrics, Format::Text] {
            let text = snapshot().encode(format);
            for line in lines {
                assert!(text.lines().any(|other| other == line), "{format:?}: {line}\n{text}");
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
        assert!(snapshot().encode(Format::Text).contains("# TYPE frameloop_frames_total counter\n"));
        assert!(snapshot().encode(Format::OpenMetrics).contains("# TYPE frameloop_frames counter\n"));
    }

    /// The metrics of a scrape, as the table of the documentation has them: name, type and labels.
    fn described(snapshot: Snapshot) -> BTreeMap<String, (String, Vec<String>)> {
        let text = snapshot.encode(Format::Text);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let labels = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let rest = lines.find_map(|rest| rest.strip_prefix("_bucket").unwrap_or(rest).strip_prefix('{'));
            let pairs = rest.and_then(|rest| rest.split_once('}')).map_or("", |(pairs, _)| pairs).split(',');
            pairs.filter_map(|pair| pair.split_once('=')).map(|(label, _)| label.to_owned()).collect()
        };
        types.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), labels(name)))).collect()
    }

    #[test]
    fn every_metric_is_in_the_documentation_and_no_other() {
        let process = Process {
            cpu_seconds: Some(1.0),
            resident_bytes: Some(1),
            virtual_bytes: Some(1),
            open_fds: Some(1),
            max_fds: Some(1),
        };
        let run = Some(RunFigures::default());
        let mut encoded = described(Snapshot { process, ..snapshot() });
        encoded.extend(described(Snapshot { process, run, ..snapshot() }));
        let page = include_str!("../../../../docs/OPERATIONS.md");
        let section = page.split("\n### ").find(|section| section.starts_with("Metrics\n")).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
            (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
        });
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), encoded);
    }

    #[test]
    fn format_is_open_metrics_only_if_it_is_accepted() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::of_accept(prometheus), Format::OpenMetrics);
        assert_eq!(Format::of_accept("*/*"), Format::Text);
        assert_eq!(Format::of_accept(""), Format::Text);
    }

    #[test]
    fn load_has_its_own_figures() {
        let run = RunFigures { connections: 5, connections_asked: 6, frames: 7, errors: 8 };
        let text = Snapshot { run: Some(run), ..snapshot() }.encode(Format::Text);
        assert!(text.contains("frameloop_load_frames_total 7\n") && !text.contains("frameloop_connections "), "{text}");
    }
}
