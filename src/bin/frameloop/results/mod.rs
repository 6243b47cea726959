//! What becomes of a run's results: a summary to read, JSON, an interval log, a page.
//!
//! [`Results`] are made from the outcome of a run, or from logs of several. All that is shown is shown of them.

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
mod merge;
mod plots;
mod table;

use std::time::{Duration, SystemTime};

use frameloop::load::{Outcome, Recorded};
use hdrhistogram::Histogram;

use crate::failure::Failure;
use crate::page::Colour;
use crate::results::expect::{Expectation, Verdict};
use crate::results::facts::Facts;
use crate::{logging, output};

pub(crate) use crate::results::merge::merged;

/// What a run, or several at once, have seen.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    /// Whom it loaded, or the logs that it was read from.
    pub(crate) title: String,
    /// When what is measured began.
    pub(crate) begun: SystemTime,
    /// How long was measured.
    pub(crate) measured: Duration,
    /// Frames answered.
    pub(crate) frames: u64,
    pub(crate) connect: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
    /// Only in the open loop.
    pub(crate) response: Option<Histogram<u64>>,
    /// What went by second, in order.
    pub(crate) slices: Vec<Slice>,
    pub(crate) facts: Facts,
    /// What became of the expectations.
    pub(crate) verdicts: Vec<Verdict>,
    /// Earlier results to set these beside.
    pub(crate) baseline: Option<Box<Self>>,
}

/// A second of what was measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slice {
    /// When it began, from the beginning of what is measured.
    pub(crate) begin: Duration,
    pub(crate) length: Duration,
    /// Frames answered.
    pub(crate) frames: u64,
    /// Connections at its end, where that is known.
    pub(crate) connections: Option<u64>,
    /// What went wrong in it, where that is known.
    pub(crate) errors: Option<u64>,
    pub(crate) connect: Recorded,
    pub(crate) service: Recorded,
    pub(crate) response: Recorded,
}

impl Results {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let slices = outcome.intervals.iter().map(|interval| Slice {
            begin: interval.begin,
            length: interval.length,
            frames: interval.frames,
            connections: Some(interval.connections),
            errors: Some(interval.errors.total()),
            connect: interval.connect.clone(),
            service: interval.service.clone(),
            response: interval.response.clone(),
        });
        Self {
            title: outcome.plan.target.as_ref().map_or_else(String::new, ToString::to_string),
            begun: outcome.begun,
            measured: outcome.measured,
            frames: outcome.frames,
            connect: outcome.connect.clone(),
            service: outcome.service.clone(),
            response: outcome.response.clone(),
            slices: slices.collect(),
            facts: Facts::of(outcome),
            verdicts: Vec::new(),
            baseline: None,
        }
    }

    /// Sees whether what is expected holds; the verdicts are shown with the results. `true` if all do.
    pub(crate) fn judge(&mut self, expected: &[Expectation]) -> bool {
        self.verdicts = expected.iter().map(|expectation| expectation.judge(self)).collect();
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// Frames answered a second.
    pub(crate) fn rate(&self) -> f64 {
        self.per_second(self.frames)
    }

    /// Bytes of frames a second in one direction, where that is known.
    pub(crate) fn throughput(&self) -> Option<f64> {
        self.facts.bytes.map(|bytes| self.per_second(bytes))
    }

    /// The latency that a user of the server sees, and its name: response in the open loop, else service.
    pub(crate) fn latency(&self) -> (&'static str, &Histogram<u64>) {
        self.response.as_ref().map_or(("service", &self.service), |response| ("response", response))
    }

    /// Each latency that there is, with its name.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        let response = self.response.iter().map(|response| ("response", response));
        [("connect", &self.connect), ("service", &self.service)].into_iter().chain(response)
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measured.as_secs_f64().max(1e-9)
    }
}

impl Slice {
    /// Frames answered a second.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.length.as_secs_f64().max(1e-9)
    }

    /// The latency that a user of the server sees.
    pub(crate) fn latency(&self, is_open_loop: bool) -> &Recorded {
        if is_open_loop { &self.response } else { &self.service }
    }

    /// The same with latencies as a run keeps them of its intervals.
    pub(crate) fn reduced(self) -> Self {
        Self {
            connect: self.connect.reduced(),
            service: self.service.reduced(),
            response: self.response.reduced(),
            ..self
        }
    }

    /// Adds what was seen at the same time elsewhere, or right after it.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.errors = self.errors.zip(other.errors).map(|(ours, theirs)| ours.saturating_add(theirs));
        self.connect.merge(&other.connect);
        self.service.merge(&other.service);
        self.response.merge(&other.response);
    }
}

/// Prints results: the summary, or JSON; the summary goes to stderr where stdout is for another output.
pub(crate) fn show(results: &Results, as_json: bool, stdout_is_free: bool) -> Result<(), Failure> {
    if !stdout_is_free {
        logging::say(table::text(results, Colour::of(&std::io::stderr())).trim_end());
        Ok(())
    } else if as_json {
        output::line(&json::text(results).map_err(Failure::run)?)
    } else {
        output::bytes(table::text(results, Colour::of(&std::io::stdout())).as_bytes())
    }
}

/// A text from a log on one line, with nothing in it that moves the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What each latency is, in the words of the table and of the page.
const LATENCIES: [(&str, &str); 3] = [
    ("connect", "from dialling to being connected"),
    ("service", "from handing a frame to its connection to reading its answer"),
    ("response", "from when a frame was due to reading its answer"),
];

/// An empty histogram of nanoseconds with three digits, which grows with what it is given.
pub(crate) fn histogram() -> Histogram<u64> {
    Recorded::default().histogram()
}
