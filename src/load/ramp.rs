//! How connecting went, by tenth of the connections: a server that slows down while they come up shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Holds the figures of one tenth of the connections, in the order in which they were first dialed.
///
/// With several threads or generators it is a tenth of each, because they dial at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RampStage {
    /// Which tenth, from 1 to 10.
    pub tenth: u32,
    /// When the first of them was dialed, from the beginning of the run, in nanoseconds.
    pub begun_ns: u64,
    /// When the last of them was established or failed, in nanoseconds.
    pub ended_ns: u64,
    /// From a dial to the established connection.
    pub connect: ConnectTimes,
    /// Failed connect attempts, by the name of the error.
    pub failed: BTreeMap<String, u64>,
    /// Connections that the server closed before they carried a frame, by reason.
    pub lost: BTreeMap<String, u64>,
}

impl RampStage {
    /// Adds the same stage of another thread or machine.
    pub fn merge(&mut self, other: &Self) {
        self.begun_ns = self.begun_ns.min(other.begun_ns);
        self.ended_ns = self.ended_ns.max(other.ended_ns);
        self.connect.merge(&other.connect);
        for (ours, theirs) in [(&mut self.failed, &other.failed), (&mut self.lost, &other.lost)] {
            for (name, count) in theirs {
                let sum = ours.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Adds the stages of another thread or machine to those of the same tenth.
    pub(crate) fn merge_all(ours: &mut Vec<Self>, theirs: &[Self]) {
        for stage in theirs {
            match ours.iter_mut().find(|our| our.tenth == stage.tenth) {
                Some(our) => our.merge(stage),
                None => ours.push(stage.clone()),
            }
        }
        ours.sort_by_key(|stage| stage.tenth);
    }

    /// Returns the number of failed attempts and of connections that the server closed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failed.values().chain(self.lost.values()).fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn note_time(&mut self, since: u64, now: u64) {
        let is_first = self.ended_ns == 0;
        self.begun_ns = if is_first { since } else { self.begun_ns.min(since) };
        self.ended_ns = self.ended_ns.max(now);
    }
}

/// Counts connect times, in nanoseconds, rounded up by at most 3 %; the longest is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Document", into = "Document")]
pub struct ConnectTimes {
    counts: BTreeMap<u64, u64>,
    max: u64,
}

impl ConnectTimes {
    fn record(&mut self, nanos: u64) {
        *self.counts.entry(rounded(nanos)).or_default() += 1;
        self.max = self.max.max(nanos);
    }

    fn merge(&mut self, other: &Self) {
        for (nanos, count) in &other.counts {
            let sum = self.counts.entry(*nanos).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.max = self.max.max(other.max);
    }

    /// Returns how many connections were established.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the longest time, in nanoseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Returns the time that a share of the connections, from 0 to 1, does not exceed, in nanoseconds; 0 if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut sum = 0_u64;
        let found = self.counts.iter().find(|(_, count)| {
            sum = sum.saturating_add(**count);
            sum >= rank
        });
        found.map_or(self.max, |(nanos, _)| *nanos).min(self.max)
    }
}

/// A time rounded up to its first six bits: 32 steps for each power of two.
fn rounded(nanos: u64) -> u64 {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(6);
    nanos.checked_next_multiple_of(1 << shift).unwrap_or(u64::MAX)
}

/// The form of connect times in a document: figures for readers, and all counts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    max_ns: u64,
    /// Each time with its count.
    histogram: Vec<(u64, u64)>,
}

impl From<Document> for ConnectTimes {
    fn from(document: Document) -> Self {
        Self { counts: document.histogram.into_iter().collect(), max: document.max_ns }
    }
}

impl From<ConnectTimes> for Document {
    fn from(times: ConnectTimes) -> Self {
        Self {
            count: times.count(),
            p50_ns: times.quantile(0.5),
            p90_ns: times.quantile(0.9),
            p99_ns: times.quantile(0.99),
            max_ns: times.max,
            histogram: times.counts.into_iter().collect(),
        }
    }
}

/// The stages of one thread's ramp, while it connects.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    stages: [RampStage; STAGES],
}

/// So many stages have about the same number of connections each.
pub(crate) const STAGES: usize = 10;

impl Ramp {
    pub(crate) fn on_open(&mut self, stage: usize, since: u64, now: u64) {
        let stage = &mut self.stages[stage];
        stage.note_time(since, now);
        stage.connect.record(now - since);
    }

    pub(crate) fn on_failed(&mut self, stage: usize, name: &'static str, since: u64, now: u64) {
        let stage = &mut self.stages[stage];
        stage.note_time(since, now);
        *stage.failed.entry(name.into()).or_default() += 1;
    }

    /// The server has closed a connection before it carried a frame.
    pub(crate) fn on_lost(&mut self, stage: usize, reason: &'static str) {
        *self.stages[stage].lost.entry(reason.into()).or_default() += 1;
    }

    /// Those stages in which something was dialed.
    pub(crate) fn stages(self) -> Vec<RampStage> {
        let stages = self.stages.into_iter().zip(1..).map(|(stage, tenth)| RampStage { tenth, ..stage });
        stages.filter(|stage| stage.ended_ns > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_threads_add_up_by_tenth() {
        let of_thread = |at: u64| {
            let mut ramp = Ramp::default();
            ramp.on_open(0, at, at + 100);
            ramp.on_open(9, at + 1_000, at + 4_000);
            ramp.on_failed(9, "timed out", at + 1_000, at + 9_000);
            ramp.on_lost(9, "reset by the peer");
            ramp.stages()
        };
        let mut stages = of_thread(10);
        RampStage::merge_all(&mut stages, &of_thread(5));
        assert_eq!(stages.iter().map(|stage| stage.tenth).collect::<Vec<_>>(), [1, 10]);
        let last = &stages[1];
        assert_eq!((last.begun_ns, last.ended_ns, last.errors()), (1_005, 9_010, 4));
        assert_eq!((last.connect.count(), last.connect.max()), (2, 3_000));
        assert_eq!(last.lost["reset by the peer"], 2);
    }

    #[test]
    fn connect_times_keep_count_quantiles_and_maximum() {
        let mut times = ConnectTimes::default();
        (1..=1_000).for_each(|micros| times.record(micros * 1_000));
        assert_eq!((times.count(), times.max(), times.quantile(1.0)), (1_000, 1_000_000, 1_000_000));
        for (share, exact) in [(0.001, 1_000), (0.5, 500_000), (0.99, 990_000)] {
            let found = times.quantile(share);
            assert!(exact <= found && found <= exact + exact / 32, "{share}: {found}");
        }
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<ConnectTimes>(&text).unwrap(), times);
        assert_eq!(ConnectTimes::default().quantile(0.5), 0);
        assert_eq!(rounded(u64::MAX), u64::MAX);
    }
}
