//! What each of the last seconds was like, as differences of the counters.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use frameloop::Stats;

use crate::admin::views::{Sample, Second, States};

/// How many samples are kept: five minutes.
pub(crate) const SAMPLES_MAX: usize = 300;

pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Sampler {
    epoch: Instant,
    samples: VecDeque<Sample>,
    last: (Instant, Stats),
    /// The longest delay of a probe since the last sample.
    lag: Duration,
}

impl Sampler {
    pub(crate) fn new(now: Instant, stats: Stats) -> Self {
        Self { epoch: now, samples: VecDeque::new(), last: (now, stats), lag: Duration::ZERO }
    }

    /// When the endpoint began.
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(crate) fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    /// Notes by how much a probe was late.
    pub(crate) fn note_lag(&mut self, lag: Duration) {
        self.lag = self.lag.max(lag);
    }

    /// Whether a second has passed since the last sample.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last.0) >= SAMPLE_INTERVAL
    }

    /// Takes a sample of a server. `states` are the connections by state, if they were counted.
    pub(crate) fn take(&mut self, now: Instant, stats: Stats, states: Option<States>) -> &Sample {
        let (then, before) = std::mem::replace(&mut self.last, (now, stats));
        let after = &self.last.1;
        let seconds = now.saturating_duration_since(then).as_secs_f64().max(1e-9);
        let rate = |after: u64, before: u64| after.saturating_sub(before) as f64 / seconds;
        let turns = after.turn_durations.since(&before.turn_durations);
        let turn = |quantile| (turns.count() > 0).then(|| turns.quantile(quantile).as_secs_f64());
        let closed_by = after.closed().map(|(kind, count)| (kind.name(), count - before.closed_by(kind)));
        let lints = after.lints().map(|(lint, count)| (lint.name(), count - before.lint(lint)));
        let sample = Sample {
            at: now.saturating_duration_since(self.epoch).as_secs_f64(),
            connections: after.connections,
            states,
            accepted: rate(after.accepted, before.accepted),
            closed: rate(after.closed_total(), before.closed_total()),
            frames_in: rate(after.frames_in, before.frames_in),
            frames_out: rate(after.frames_out, before.frames_out),
            bytes_in: rate(after.bytes_in, before.bytes_in),
            bytes_out: rate(after.bytes_out, before.bytes_out),
            buffered_bytes: after.buffered_bytes,
            turns: turns.count() as f64 / seconds,
            turn_p50: turn(0.5),
            turn_p99: turn(0.99),
            turn_max: turn(1.0),
            lag: std::mem::take(&mut self.lag).as_secs_f64(),
            closed_by: closed_by.filter(|(_, count)| *count > 0).collect(),
            lints: lints.filter(|(_, count)| *count > 0).collect(),
            latency: None,
        };
        self.push(sample)
    }

    /// Takes a sample of a load, whose connections are those of other reactors.
    pub(crate) fn take_of_run(&mut self, now: Instant, second: Second) -> &Sample {
        self.last.0 = now;
        let Second { connections, frames, bytes, latency } = second;
        let sample = Sample {
            at: now.saturating_duration_since(self.epoch).as_secs_f64(),
            connections,
            frames_in: frames,
            frames_out: frames,
            bytes_in: bytes,
            bytes_out: bytes,
            latency,
            ..Sample::default()
        };
        self.push(sample)
    }

    fn push(&mut self, sample: Sample) -> &Sample {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        &self.samples[self.samples.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_has_rates_of_its_second_and_only_new_counts() {
        let begun = Instant::now();
        let mut stats = Stats::default();
        stats.frames_in = 100;
        let mut sampler = Sampler::new(begun, stats.clone());
        sampler.note_lag(Duration::from_millis(3));
        sampler.note_lag(Duration::from_millis(2));
        assert!(!sampler.is_due(begun + Duration::from_millis(999)) && sampler.is_due(begun + SAMPLE_INTERVAL));
        (stats.frames_in, stats.bytes_in, stats.connections) = (300, 1_000, 7);
        let sample = sampler.take(begun + Duration::from_secs(2), stats.clone(), None);
        assert_eq!((sample.frames_in, sample.bytes_in, sample.connections, sample.at), (100.0, 500.0, 7, 2.0));
        assert_eq!((sample.lag, sample.turn_p50), (0.003, None));
        assert!(sample.closed_by.is_empty() && sample.lints.is_empty());
        let sample = sampler.take(begun + Duration::from_secs(3), stats, None);
        assert_eq!((sample.frames_in, sample.lag), (0.0, 0.0));
    }

    #[test]
    fn sample_of_a_load_has_its_second_and_nothing_of_the_endpoint() {
        let begun = Instant::now();
        let mut sampler = Sampler::new(begun, Stats::default());
        sampler.note_lag(Duration::from_millis(90));
        let second = Second { connections: 5, frames: 100.0, bytes: 6_800.0, latency: None };
        let sample = sampler.take_of_run(begun + SAMPLE_INTERVAL, second);
        assert_eq!((sample.connections, sample.frames_in, sample.bytes_out), (5, 100.0, 6_800.0));
        assert_eq!((sample.lag, sample.turns, sample.turn_max), (0.0, 0.0, None));
        assert!(!sampler.is_due(begun + SAMPLE_INTERVAL));
    }

    #[test]
    fn samples_of_five_minutes_are_kept() {
        let begun = Instant::now();
        let mut sampler = Sampler::new(begun, Stats::default());
        for second in 1..=400 {
            sampler.take(begun + Duration::from_secs(second), Stats::default(), None);
        }
        let (first, last) = (sampler.samples().front().unwrap().at, sampler.samples().back().unwrap().at);
        assert_eq!((sampler.samples().len(), first, last), (SAMPLES_MAX, 101.0, 400.0));
    }
}
