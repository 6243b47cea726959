//! The figures of results and of their runs, without their histograms. The JSON has them as they are.

use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::results::figures::Figures;
use crate::results::series::{Latency, Series};

/// The figures of one run, or of several as one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) title: String,
    #[serde(serialize_with = "time")]
    pub(crate) begun: SystemTime,
    pub(crate) measured_s: f64,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) bytes_per_s: Option<f64>,
    pub(crate) latency: Latency<Figures>,
    /// At least one.
    pub(crate) runs: Vec<Run>,
}

/// The figures of one of the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Run {
    #[serde(serialize_with = "time")]
    pub(crate) begun: SystemTime,
    pub(crate) measured_s: f64,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) errors: Option<u64>,
    pub(crate) latency: Latency<Figures>,
}

/// Earlier results to compare with.
#[derive(Debug, Clone)]
pub(crate) struct Baseline {
    pub(crate) summary: Summary,
    pub(crate) histograms: Vec<(Series, Histogram<u64>)>,
    pub(crate) intervals: Vec<Span>,
}

/// The frames of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// From the beginning of the measured time.
    pub(crate) begin_s: f64,
    pub(crate) length_s: f64,
    pub(crate) frames: u64,
}

/// A time of day in JSON (RFC 3339).
fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
