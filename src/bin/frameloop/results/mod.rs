//! The results of load runs: a summary to read, JSON, an interval log, a page.
//!
//! [`Results`](model::Results) come from the outcome of a run, or from logs. Every output is a view of them.

pub(crate) mod combine;
mod compare;
mod configuration;
mod connections;
mod csv;
pub(crate) mod duplicates;
pub(crate) mod earlier;
pub(crate) mod expect;
mod facts;
pub(crate) mod figures;
pub(crate) mod file;
#[cfg(test)]
mod fixture;
pub(crate) mod follow;
pub(crate) mod hlog;
pub(crate) mod html;
mod instances;
mod json;
mod judged;
pub(crate) mod merge;
pub(crate) mod model;
mod prometheus;
mod runs;
pub(crate) mod sequence;
pub(crate) mod series;
pub(crate) mod steps;
pub(crate) mod summary;
mod table;
mod verdict;
mod welch;

use std::io::{stderr, stdout};

use crate::failure::Failure;
use crate::page::Color;
use crate::results::model::Results;
use crate::{logging, output};

/// A form in which results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Summary,
    Json,
    Csv,
    Prometheus,
}

impl Format {
    /// The flag that selects it.
    pub(crate) fn flag(self) -> Option<&'static str> {
        match self {
            Self::Summary => None,
            Self::Json => Some("--json"),
            Self::Csv => Some("--csv"),
            Self::Prometheus => Some("--prometheus"),
        }
    }
}

/// Prints results on stdout; where that is for another output, a summary on stderr.
pub(crate) fn show(results: &Results, format: Format, stdout_is_free: bool) -> Result<(), Failure> {
    if !stdout_is_free {
        logging::say(Color::of(&stderr()).apply(table::text(results)).trim_end());
        return Ok(());
    }
    match format {
        Format::Summary => output::bytes(Color::of(&stdout()).apply(table::text(results)).as_bytes()),
        Format::Json => output::line(&json::text(results).map_err(Failure::run)?),
        Format::Csv => output::bytes(csv::text(results).as_bytes()),
        Format::Prometheus => output::bytes(prometheus::text(results).as_bytes()),
    }
}
