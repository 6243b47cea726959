//! The figures of results and of their runs, without their histograms. The JSON has them as they are, and is read again as a baseline.

use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::results::figures::Figures;
use crate::results::series::{Latency, Series, present};

/// The figures of one run, or of several as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) title: String,
    #[serde(with = "time")]
    pub(crate) begun: SystemTime,
    pub(crate) measured_s: f64,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    #[serde(deserialize_with = "present")]
    pub(crate) bytes_per_s: Option<f64>,
    pub(crate) latency: Latency<Figures>,
    /// Empty if they are not known: before format 3, JSON had none.
    #[serde(default)]
    pub(crate) runs: Vec<Run>,
}

/// The figures of one of the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    #[serde(with = "time")]
    pub(crate) begun: SystemTime,
    pub(crate) measured_s: f64,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    #[serde(deserialize_with = "present")]
    pub(crate) errors: Option<u64>,
    pub(crate) latency: Latency<Figures>,
}

/// Earlier results to compare with.
#[derive(Debug, Clone)]
pub(crate) struct Baseline {
    pub(crate) summary: Summary,
    /// Empty if the results come from JSON, which has none.
    pub(crate) histograms: Vec<(Series, Histogram<u64>)>,
    pub(crate) intervals: Vec<Span>,
}

/// The frames of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Span {
    /// From the beginning of the measured time.
    pub(crate) begin_s: f64,
    pub(crate) length_s: f64,
    pub(crate) frames: u64,
}

/// A time of day in JSON (RFC 3339).
mod time {
    use std::time::SystemTime;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refusal = |_| D::Error::custom("`begun` is not a time such as 2026-11-27T10:00:00.000Z");
        humantime::parse_rfc3339(&text).map_err(refusal)
    }
}
