//! The results of a run, or of several at once.

use std::fmt;
use std::time::{Duration, SystemTime};

use frameloop::load::{Outcome, Recorded};
use hdrhistogram::Histogram;

use crate::results::configuration::targets;
use crate::results::facts::Facts;
use crate::results::figures::{self, Figures};
use crate::results::series::Latency;
pub(crate) use crate::results::series::Series;
use crate::results::steps::{Highest, StepFigures};
use crate::results::summary::{Baseline, Run, Span, Summary};
use crate::results::verdict::Verdict;

/// The results of a run, or of several at once.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    /// The address of the server, or the names of the logs.
    pub(crate) title: String,
    /// When the measured time began.
    pub(crate) begun: SystemTime,
    /// The length of the measured time.
    pub(crate) measured: Duration,
    /// Frames with a response within the measured time.
    pub(crate) frames: u64,
    pub(crate) connect: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
    /// Only in the open loop.
    pub(crate) response: Option<Histogram<u64>>,
    /// The measured time by second.
    pub(crate) slices: Vec<Slice>,
    /// The runs, if these are the results of several; empty for a single one.
    pub(crate) runs: Vec<Run>,
    pub(crate) facts: Facts,
    pub(crate) verdicts: Vec<Verdict>,
    /// The steps of the load, if it has some.
    pub(crate) steps: Vec<StepFigures>,
    /// What a search among them has found.
    pub(crate) highest: Option<Highest>,
    /// Earlier results to compare with.
    pub(crate) baseline: Option<Box<Baseline>>,
}

/// A second of the measured time. `None` stands for what a log does not state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slice {
    /// When it began, counted from the beginning of the measured time.
    pub(crate) begin: Duration,
    pub(crate) length: Duration,
    pub(crate) frames: u64,
    /// Connections at its end.
    pub(crate) connections: Option<u64>,
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
            title: targets(&outcome.plan),
            begun: outcome.begun,
            measured: outcome.measured,
            frames: outcome.frames,
            connect: outcome.connect.clone(),
            service: outcome.service.clone(),
            response: outcome.response.clone(),
            slices: slices.collect(),
            runs: Vec::new(),
            facts: Facts::of(outcome),
            verdicts: Vec::new(),
            steps: Vec::new(),
            highest: None,
            baseline: None,
        }
    }

    /// The same, with the number of runs that it is made of in its configuration.
    pub(crate) fn with_runs(mut self, made: usize, asked: u32) -> Self {
        let runs = if made == asked as usize { asked.to_string() } else { format!("{made} of {asked}") };
        // A signal may have come between two runs.
        self.facts.was_interrupted |= made < asked as usize;
        self.facts.configuration.merge(&[("runs", runs)].into_iter().collect());
        self
    }

    /// The figures of each run, at least one.
    pub(crate) fn each_run(&self) -> Vec<Run> {
        if !self.runs.is_empty() {
            return self.runs.clone();
        }
        vec![Run {
            begun: self.begun,
            measured_s: self.measured.as_secs_f64(),
            frames: self.frames,
            frames_per_s: self.rate(),
            errors: self.facts.errors.map(|errors| errors.total()),
            latency: self.figures(),
        }]
    }

    /// The figures of the whole, and of each run.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            title: self.title.clone(),
            begun: self.begun,
            measured_s: self.measured.as_secs_f64(),
            frames: self.frames,
            frames_per_s: self.rate(),
            bytes_per_s: self.throughput(),
            latency: self.figures(),
            runs: self.each_run(),
        }
    }

    /// These results as the earlier ones of a comparison.
    pub(crate) fn as_baseline(&self) -> Baseline {
        let spans = self.slices.iter().map(|slice| Span {
            begin_s: slice.begin.as_secs_f64(),
            length_s: slice.length.as_secs_f64(),
            frames: slice.frames,
        });
        let histograms = self.latencies().map(|(series, histogram)| (series, histogram.clone()));
        Baseline { summary: self.summary(), histograms: histograms.collect(), intervals: spans.collect() }
    }

    fn figures(&self) -> Latency<Figures> {
        Latency::of(|series| Figures::of(self.latency_of(series)?))
    }

    /// Frames with a response per second.
    pub(crate) fn rate(&self) -> f64 {
        self.per_second(self.frames)
    }

    /// Bytes of frames per second in one direction.
    pub(crate) fn throughput(&self) -> Option<f64> {
        self.facts.bytes.map(|bytes| self.per_second(bytes))
    }

    /// The latency that a user of the server sees: response in the open loop, else service.
    pub(crate) fn latency(&self) -> (Series, &Histogram<u64>) {
        self.response.as_ref().map_or((Series::Service, &self.service), |response| (Series::Response, response))
    }

    /// How late the generator was, if that is more than a tenth of the latency at the same percentile.
    pub(crate) fn lateness(&self) -> Option<Lateness> {
        let response = self.response.as_ref().filter(|response| !response.is_empty())?;
        let late_p99 = self.facts.generator.as_ref()?.late_p99_ns as f64;
        let lateness = Lateness { late_p99, p99: response.value_at_quantile(0.99) as f64 };
        (10.0 * late_p99 > lateness.p99).then_some(lateness)
    }

    /// A latency; `None` for response in the closed loop.
    pub(crate) fn latency_of(&self, series: Series) -> Option<&Histogram<u64>> {
        match series {
            Series::Connect => Some(&self.connect),
            Series::Service => Some(&self.service),
            Series::Response => self.response.as_ref(),
        }
    }

    /// All latencies of the results.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (Series, &Histogram<u64>)> {
        Series::ALL.into_iter().filter_map(|series| Some((series, self.latency_of(series)?)))
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measured.as_secs_f64().max(1e-9)
    }
}

/// The 99th percentiles of how late frames were sent, and of their response latency, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lateness {
    pub(crate) late_p99: f64,
    pub(crate) p99: f64,
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (late, p99) = (figures::latency(self.late_p99), figures::latency(self.p99));
        write!(
            f,
            "The generator was late: at p99, frames were sent {late} after they were due, more than a tenth of the response p99 of {p99}."
        )
    }
}

impl Slice {
    /// Frames with a response per second.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.length.as_secs_f64().max(1e-9)
    }

    pub(crate) fn recorded(&self, series: Series) -> &Recorded {
        match series {
            Series::Connect => &self.connect,
            Series::Service => &self.service,
            Series::Response => &self.response,
        }
    }

    /// Several consecutive slices as one.
    pub(crate) fn joined(slices: &[Self]) -> Self {
        let Some((first, others)) = slices.split_first() else { return Self::default() };
        let mut all = first.clone();
        for slice in others {
            all.frames = all.frames.saturating_add(slice.frames);
            all.errors = all.errors.zip(slice.errors).map(|(ours, theirs)| ours.saturating_add(theirs));
            all.connect.merge(&slice.connect);
            all.service.merge(&slice.service);
            all.response.merge(&slice.response);
            all.length += slice.length;
            all.connections = slice.connections;
        }
        all
    }

    /// The same with latencies as exact as those of a run's intervals.
    pub(crate) fn reduced(self) -> Self {
        Self {
            connect: self.connect.reduced(),
            service: self.service.reduced(),
            response: self.response.reduced(),
            ..self
        }
    }
}

/// An empty histogram of nanoseconds with three digits, which grows with what it is given.
pub(crate) fn histogram() -> Histogram<u64> {
    Recorded::default().histogram()
}

/// The histogram of latencies that lie in several records.
pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Recorded>) -> Histogram<u64> {
    let mut sum = histogram();
    all.for_each(|latencies| latencies.add_to(&mut sum));
    sum
}
