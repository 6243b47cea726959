//! The results of load runs: a summary to read, JSON, an interval log, a page.
//!
//! [`Results`](model::Results) come from the outcome of a run, or from logs. Every output is a view of them.

mod compare;
mod configuration;
pub(crate) mod duplicates;
pub(crate) mod expect;
mod facts;
pub(crate) mod figures;
pub(crate) mod file;
#[cfg(test)]
mod fixture;
pub(crate) mod hlog;
pub(crate) mod html;
mod json;
pub(crate) mod merge;
pub(crate) mod model;
mod table;
mod verdict;

use std::io::{stderr, stdout};

use crate::failure::Failure;
use crate::page::Color;
use crate::results::model::Results;
use crate::{logging, output};

/// Prints results: the summary, or JSON; the summary goes to stderr where stdout is for another output.
pub(crate) fn show(results: &Results, as_json: bool, stdout_is_free: bool) -> Result<(), Failure> {
    if !stdout_is_free {
        logging::say(Color::of(&stderr()).apply(table::text(results)).trim_end());
        Ok(())
    } else if as_json {
        output::line(&json::text(results).map_err(Failure::run)?)
    } else {
        output::bytes(Color::of(&stdout()).apply(table::text(results)).as_bytes())
    }
}
