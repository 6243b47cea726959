//! What a run has measured: the same shape for every kind of row, as it is
//! kept in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// The figures that a row can have, in the order of their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// CPU time, in nanoseconds a message.
    CpuNs,
    /// The same, alongside a few idle connections.
    CpuNsFewIdle,
    /// The same, alongside many.
    CpuNsManyIdle,
    MessagesPerSecond,
    P50Us,
    P99Us,
    P999Us,
    MaxUs,
    /// From when a frame was sent, where the others count from when it was due.
    SentP50Us,
    GbPerSecond,
    /// Growth of resident memory, in bytes per connection.
    ResidentBytes,
    /// The same, of the server that was at the other ends.
    ServerResidentBytes,
    /// Bytes that the server and the kernel took from each peer that does not read.
    TakenBytes,
    /// Connections that the server had closed.
    Closed,
    /// System calls per message, without waits.
    CallsPerMessage,
    WaitsPerMessage,
    RegistrationsPerConnection,
    OtherCallsPerConnection,
    /// Messages per second, in the open loop.
    DuePerSecond,
    /// Those answered, by those due.
    Kept,
    ConnectedWithinSeconds,
}

/// One window.
pub(crate) type Sample = Vec<(Metric, f64)>;

/// All windows: a column of samples for each metric, in the order of the rounds.
pub(crate) type Columns = BTreeMap<Metric, Vec<f64>>;

pub(crate) fn columns(samples: Vec<Sample>) -> Columns {
    let mut columns = Columns::new();
    for (metric, value) in samples.into_iter().flatten() {
        // No figure here means anything beyond; and nothing is not less than nothing.
        columns.entry(metric).or_default().push((value * 1e3).round() / 1e3 + 0.0);
    }
    columns
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Measured(Columns),
    Failed(String),
}

impl Outcome {
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The samples of a metric; none when it was not measured.
    pub(crate) fn samples(&self, metric: Metric) -> Option<&[f64]> {
        match self {
            Self::Measured(columns) => columns.get(&metric).map(Vec::as_slice),
            Self::Failed(_) => None,
        }
    }

    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        Some(Spread::of(self.samples(metric)?.to_vec()))
    }
}

/// One row of work, and what each did at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) kind: String,
    pub(crate) of: Vec<(String, Outcome)>,
}

impl RowResult {
    pub(crate) fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.of.iter().find(|(other, _)| other == name).map(|(_, outcome)| outcome)
    }

    /// One by the other, of the same rounds.
    pub(crate) fn ratio(&self, metric: Metric, one: &str, other: &str) -> Option<Spread> {
        let samples = |name: &str| self.outcome(name)?.samples(metric);
        let (one, other) = (samples(one)?, samples(other)?);
        Some(Spread::of(one.iter().zip(other).map(|(one, other)| one / other).collect()))
    }
}

/// A server that took part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) version: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) command: String,
    /// In UTC.
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) conditions: Vec<String>,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) rows: Vec<RowResult>,
    /// One line for each server or row that could not be measured here.
    pub(crate) left_out: Vec<String>,
}
