//! The steps of a load, and what a search among them has found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::results::figures::{self, Figures};

/// What differs between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dimension {
    /// Frames per second
    Rate,
    /// Connections that carry the load
    Connections,
}

/// The figures of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepFigures {
    pub(crate) of: Dimension,
    pub(crate) load: f64,
    /// When its measured time began, from the beginning of the first step's, without the time between steps.
    pub(crate) begin_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    /// The latency that a user sees.
    pub(crate) latency: Option<Figures>,
    pub(crate) errors: u64,
    /// Why it failed; `None` if it held, or nothing was expected.
    pub(crate) failed: Option<Failed>,
}

/// Why a step has failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) first: Limit,
    pub(crate) reasons: Vec<String>,
}

/// What a load was limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The generator itself, so the server may do more.
    Generator,
    Errors,
    Latency,
    /// Another expectation, such as one of the rate.
    Other,
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Highest {
    pub(crate) of: Dimension,
    /// The highest load that held and was confirmed; `None` if none did, or the search was interrupted.
    pub(crate) load: Option<f64>,
    pub(crate) was_interrupted: bool,
    /// The lowest load that failed twice above it, and why.
    pub(crate) failed_load: Option<f64>,
    pub(crate) failed: Option<Failed>,
}

impl Dimension {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
        }
    }

    /// A load of this kind, for a reader.
    pub(crate) fn show(self, load: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", figures::number(load)),
            Self::Connections => figures::counted(load as u64, "connection"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator => "the generator itself",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Other => "an expectation",
        })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.first, self.reasons.join("; "))
    }
}

impl StepFigures {
    /// The cells of its row: those of [`HEADS`].
    pub(crate) fn cells(&self) -> Vec<String> {
        let latency = |of: fn(&Figures) -> u64| {
            self.latency.as_ref().map_or_else(|| "-".into(), |figures| figures::latency(of(figures) as f64))
        };
        let rate = format!("{}/s", figures::number(self.frames_per_s));
        let latencies =
            [latency(|figures| figures.p50), latency(|figures| figures.p99), latency(|figures| figures.p99_9)];
        let first = [self.of.show(self.load), rate].into_iter();
        first.chain(latencies).chain([figures::count(self.errors)]).collect()
    }
}

impl fmt::Display for StepFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [load, rate, p50, p99, p99_9, _] = <[String; 6]>::try_from(self.cells()).unwrap_or_default();
        let errors = figures::counted(self.errors, "error");
        write!(f, "{load}: {rate}, p50 {p50}, p99 {p99}, p99.9 {p99_9}, {errors}")?;
        self.failed.as_ref().map_or(Ok(()), |failed| write!(f, "; failed: {failed}"))
    }
}

impl fmt::Display for Highest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.load {
            Some(load) => write!(f, "the highest load that held is {}", self.of.show(load))?,
            None if self.was_interrupted => f.write_str("the search was interrupted")?,
            None => f.write_str("no load held")?,
        }
        if let Some((load, failed)) = self.failed_load.zip(self.failed.as_ref()) {
            write!(f, "; at {} the first to fail is {failed}", self.of.show(load))?;
        }
        Ok(())
    }
}

/// The heads of a table of steps.
pub(crate) const HEADS: [&str; 6] = ["load", "kept", "p50", "p99", "p99.9", "errors"];
