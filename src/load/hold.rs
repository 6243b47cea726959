//! Connections that are held: kept for the duration of the run, and used rarely or never.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the connections do while they are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Hold {
    /// They send nothing.
    Silent,
    /// Each sends one frame per interval. The frames of all connections are spread evenly over the interval.
    Every(Duration),
}

impl Hold {
    /// Returns the interval between two frames of a connection; `None` if it sends nothing.
    #[must_use]
    pub fn every(self) -> Option<Duration> {
        match self {
            Self::Silent => None,
            Self::Every(every) => Some(every),
        }
    }
}

/// Counts the connections that were held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Held {
    /// Connections that were open when the load ended.
    pub to_end: u64,
    /// Connections that closed within the measured time; [`Outcome::ended`](crate::load::Outcome::ended) has the reasons.
    pub lost: u64,
    /// When the first and the last of them closed, from the beginning of the measured time, in nanoseconds.
    pub first_lost_ns: Option<u64>,
    /// The last one, likewise.
    pub last_lost_ns: Option<u64>,
    /// The interval between two frames of a connection, in nanoseconds. `None`: they sent nothing.
    pub every_ns: Option<u64>,
}

impl Held {
    /// Notes that a connection closed so many nanoseconds after the measured time began.
    pub(crate) fn on_lost(&mut self, after: u64) {
        self.merge(&Self { lost: 1, first_lost_ns: Some(after), last_lost_ns: Some(after), ..Self::default() });
    }

    /// Adds the counts of another thread or machine. Of two intervals between frames, the longer one stays.
    pub fn merge(&mut self, other: &Self) {
        self.to_end = self.to_end.saturating_add(other.to_end);
        self.lost = self.lost.saturating_add(other.lost);
        self.first_lost_ns = self.first_lost_ns.into_iter().chain(other.first_lost_ns).min();
        self.last_lost_ns = self.last_lost_ns.max(other.last_lost_ns);
        self.every_ns = self.every_ns.max(other.every_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_connections_have_the_first_and_the_last_time() {
        let mut held = Held { to_end: 3, every_ns: Some(10), ..Held::default() };
        [7, 5, 9].into_iter().for_each(|after| held.on_lost(after));
        let mut other = Held { to_end: 4, ..Held::default() };
        other.on_lost(2);
        held.merge(&other);
        let expected = Held { to_end: 7, lost: 4, first_lost_ns: Some(2), last_lost_ns: Some(9), every_ns: Some(10) };
        assert_eq!(held, expected);
    }
}
