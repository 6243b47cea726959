//! The share that one of several generators has of a load.

use std::fmt;
use std::str::FromStr;

/// One of several equal shares of a load: `2/3` is the second of three.
///
/// # Examples
///
/// ```
/// use frameloop::load::{Plan, Segment};
///
/// let segment: Segment = "2/3".parse()?;
/// let share = Plan { connections: 10, rate: Some(9_000.0), ..Plan::default() }.share(segment)?;
/// assert_eq!((share.connections, share.rate), (3, Some(3_000.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From 0.
    index: u32,
    count: u32,
}

impl Segment {
    /// Returns segment `nth` of `count`, from 1. `None` if there is no such segment, or more than 1,000 segments.
    #[must_use]
    pub fn new(nth: u32, count: u32) -> Option<Self> {
        let is_one = (1..=count).contains(&nth) && count <= COUNT_MAX;
        is_one.then(|| Self { index: nth - 1, count })
    }

    /// Returns whether it is all of a load.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.count == 1
    }

    /// How many segments there are.
    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// This segment's share of a number of things.
    pub(crate) fn share(self, whole: u64) -> u64 {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        whole / count + u64::from(index < whole % count)
    }

    /// The number, among those of all segments, of a connection of this one.
    pub(crate) fn number(self, number: usize) -> u32 {
        number as u32 * self.count + self.index
    }

    /// Where the schedule of this segment lies between two frames of its own: from 0 to less than 1.
    pub(crate) fn place(self) -> f64 {
        f64::from(self.index) / f64::from(self.count)
    }

    /// How long after the first frame of all segments the first of this one is due, in nanoseconds, at a rate of its own.
    pub(crate) fn offset(self, rate: f64) -> u64 {
        (1e9 / rate * self.place()) as u64
    }
}

impl Default for Segment {
    /// All of a load.
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

impl FromStr for Segment {
    type Err = String;

    /// Parses `I/N`: segment I, from 1, of N.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').and_then(|(nth, count)| Some((nth.parse().ok()?, count.parse().ok()?)));
        let segment = parts.and_then(|(nth, count)| Self::new(nth, count));
        segment.ok_or_else(|| format!("expected I/N, such as 2/3, with I from 1 to N, and N at most {COUNT_MAX}"))
    }
}

/// More than any load needs; the numbers of connections stay far below 2^32.
const COUNT_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: u32) -> impl Iterator<Item = Segment> {
        (1..=count).map(move |nth| Segment::new(nth, count).unwrap())
    }

    #[test]
    fn numbers_and_schedules_of_segments_interleave() {
        let mut numbers: Vec<u32> =
            segments(3).flat_map(|segment| (0..4).map(move |nth| segment.number(nth))).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..12).collect::<Vec<u32>>());
        // 3,000 frames per second in all: one is due every third of a millisecond.
        assert_eq!(segments(3).map(|segment| segment.offset(1_000.0)).collect::<Vec<u64>>(), [0, 333_333, 666_666]);
    }

    #[test]
    fn text_of_a_segment_is_read_as_the_same() {
        for text in ["1/1", "2/3", "1000/1000"] {
            assert_eq!(text.parse::<Segment>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "/", "1", "0/3", "4/3", "0/0", "1/0", "-1/3", "1/1001", "1/3/5", "a/b", "1 / 3", "1/4294967296"]
        {
            assert!(wrong.parse::<Segment>().unwrap_err().starts_with("expected I/N"), "{wrong}");
        }
    }
}
