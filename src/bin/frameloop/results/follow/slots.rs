//! Intervals of several generators side by side, for the lines that are shown while they run.
//!
//! Rule: what is shown waits for no generator that is gone, nor for a clock that is wrong. The result is made from all intervals, shown
//! or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use frameloop::load::Recorded;

use crate::results::hlog::log::Entry;
use crate::results::model::Series;

/// The intervals that are not shown yet, by the second in which they began.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// When the first interval of all began.
    origin: Option<SystemTime>,
    open: BTreeMap<i64, Slot>,
    /// The last second that was shown.
    shown: Option<i64>,
    errors: u64,
}

#[derive(Debug, Default)]
struct Slot {
    length: Duration,
    frames: u64,
    /// Latencies with their counts, sorted when the second is shown.
    service: Vec<(u64, u64)>,
    response: Vec<(u64, u64)>,
    instances: BTreeSet<usize>,
}

/// A second of all generators.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Its end, from the beginning of the first.
    pub(crate) at: Duration,
    /// How many have reported it, of how many.
    pub(crate) reported: usize,
    pub(crate) expected: usize,
    pub(crate) frames_per_s: f64,
    /// The latency that a user sees.
    pub(crate) latencies: Recorded,
    /// So far.
    pub(crate) errors: u64,
}

impl Slots {
    /// Adds an interval. Returns the second that it is in, or how late it is if that was shown already.
    pub(super) fn add(&mut self, instance: usize, entry: &Entry) -> Result<i64, Duration> {
        let origin = *self.origin.get_or_insert(entry.begin);
        let second = nearest(origin, entry.begin);
        self.errors = self.errors.saturating_add(entry.counts.map_or(0, |counts| counts.errors.total()));
        if let Some(shown) = self.shown.filter(|shown| second <= *shown) {
            return Err(Duration::from_secs(shown.abs_diff(second) + 1));
        }
        let slot = self.open.entry(second).or_default();
        slot.instances.insert(instance);
        match entry.series {
            Series::Service => {
                let frames = entry.counts.map_or_else(|| entry.latencies.count(), |counts| counts.frames);
                slot.frames = slot.frames.saturating_add(frames);
                slot.length = slot.length.max(entry.length);
                slot.service.extend(entry.latencies.iter());
            }
            Series::Response => slot.response.extend(entry.latencies.iter()),
            Series::Connect => {}
        }
        Ok(second)
    }

    /// Takes the next second that all have reported, or that is too old to wait for. `reported` has the last second of each generator
    /// that runs.
    pub(super) fn next(&mut self, reported: impl Iterator<Item = i64>, expected: usize) -> Option<Row> {
        let (first, newest) = (*self.open.keys().next()?, *self.open.keys().next_back()?);
        let behind = reported.min().unwrap_or(i64::MAX);
        if behind < first && newest < first + WAIT {
            return None;
        }
        let (second, slot) = self.open.pop_first()?;
        self.shown = Some(second);
        let begin = Duration::from_secs(second.try_into().unwrap_or(0));
        let latencies = if slot.response.is_empty() { slot.service } else { slot.response };
        Some(Row {
            at: begin + slot.length,
            reported: slot.instances.len(),
            expected: expected.max(slot.instances.len()),
            frames_per_s: slot.frames as f64 / slot.length.as_secs_f64().max(1e-9),
            latencies: latencies.into_iter().collect(),
            errors: self.errors,
        })
    }
}

/// The second in which an interval began, counted from the origin: the nearest one, as generators do not begin at the same moment.
fn nearest(origin: SystemTime, begin: SystemTime) -> i64 {
    let half = Duration::from_millis(500);
    match begin.duration_since(origin) {
        Ok(after) => (after + half).as_secs() as i64,
        Err(before) => -((before.duration() + half).as_secs() as i64),
    }
}

/// A second is shown without those that have not reported it once another is this much later.
const WAIT: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(series: Series, begin_ms: u64, frames: u64) -> Entry {
        Entry {
            series,
            begin: SystemTime::UNIX_EPOCH + Duration::from_millis(100_000 + begin_ms),
            length: Duration::from_secs(1),
            latencies: [(1_000, frames)].into_iter().collect(),
            counts: None,
        }
    }

    #[test]
    fn second_is_shown_once_all_have_reported_it() {
        let mut slots = Slots::default();
        assert_eq!(slots.add(0, &entry(Series::Service, 0, 10)), Ok(0));
        assert_eq!(slots.next([0, -1].into_iter(), 2), None);
        // A generator that began before the first one.
        assert_eq!(slots.add(1, &entry(Series::Service, 0, 5)), Ok(0));
        let row = slots.next([0, 0].into_iter(), 2).unwrap();
        assert_eq!((row.reported, row.expected, row.frames_per_s), (2, 2, 15.0));
        assert_eq!((row.at, row.latencies.count()), (Duration::from_secs(1), 15));
        assert_eq!(slots.next([0, 0].into_iter(), 2), None);
        // One that ended is not waited for.
        assert_eq!(slots.add(0, &entry(Series::Service, 1_400, 1)), Ok(1));
        assert_eq!(slots.add(0, &entry(Series::Response, 1_400, 7)), Ok(1));
        let row = slots.next([1].into_iter(), 2).unwrap();
        assert_eq!((row.reported, row.frames_per_s, row.latencies.count()), (1, 1.0, 7), "response is what users see");
    }

    #[test]
    fn late_interval_is_not_waited_for_forever() {
        let mut slots = Slots::default();
        for second in 0..4 {
            assert_eq!(slots.add(0, &entry(Series::Service, 1_000 * second, 1)), Ok(second as i64));
        }
        let row = slots.next([3, -5].into_iter(), 2).unwrap();
        assert_eq!((row.at, row.reported), (Duration::from_secs(1), 1));
        assert_eq!(slots.next([3, -5].into_iter(), 2), None);
        assert_eq!(slots.add(1, &entry(Series::Service, 200, 1)), Err(Duration::from_secs(1)));
        let mut early = entry(Series::Service, 0, 1);
        early.begin -= Duration::from_secs(10);
        assert_eq!(slots.add(1, &early), Err(Duration::from_secs(11)));
    }
}
