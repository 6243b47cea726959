//! Limits the log lines about peers, and counts the suppressed ones.
//!
//! Peers could cause a million log lines per second, so each place that logs about peers has a limit.
//!
//! Rule: a part of each limit is reserved for sources that had no line within the last second, so that a noisy peer hides no
//! other.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use log::warn;

use crate::address::PeerAddr;

/// The target of log lines about the reactor.
pub(crate) const LOOP: &str = "frameloop";
/// The target of log lines about one connection.
pub(crate) const CONN: &str = "frameloop::conn";

/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The most lines of one place in a window.
const LINES_MAX: usize = 10;

/// The most further lines in a window, each from a source that had no other line.
const RESERVE: usize = 20;

/// The limits of all places that log about peers.
#[derive(Debug)]
pub(crate) struct LogLimits {
    pub(crate) refused: LogLimit,
    pub(crate) accept_paused: LogLimit,
    pub(crate) closed_abruptly: LogLimit,
    pub(crate) cut: LogLimit,
    pub(crate) panicked: LogLimit,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            refused: LogLimit::new(LINES_MAX, RESERVE),
            accept_paused: LogLimit::new(1, 0),
            closed_abruptly: LogLimit::new(LINES_MAX, RESERVE),
            cut: LogLimit::new(LINES_MAX, RESERVE),
            panicked: LogLimit::new(LINES_MAX, RESERVE),
        }
    }
}

impl LogLimits {
    /// When [`report_suppressed`](Self::report_suppressed) has something to report.
    pub(crate) fn due(&self) -> Option<Instant> {
        let limits = [&self.refused, &self.closed_abruptly, &self.cut, &self.panicked];
        limits.into_iter().filter_map(LogLimit::due).min()
    }

    /// Logs how many lines were suppressed, and returns that number.
    ///
    /// Pauses of accepting are not reported: their one line per second is enough, and they are counted.
    pub(crate) fn report_suppressed(&mut self, now: Instant) -> u64 {
        let places = [
            (&mut self.refused, "refused connections"),
            (&mut self.closed_abruptly, "connections that ended abruptly"),
            (&mut self.cut, "connections that a drain cut"),
            (&mut self.panicked, "handler panics"),
        ];
        let mut total = 0;
        for (limit, place) in places {
            if let Some(count) = limit.left_out(now) {
                total += count;
                warn!(target: LOOP, "suppressed {count} similar messages ({place})");
            }
        }
        total
    }
}

/// The limit of one place.
#[derive(Debug)]
pub(crate) struct LogLimit {
    lines_max: usize,
    reserve: usize,
    /// The last lines that passed, at most `lines_max` and `reserve`.
    passed: VecDeque<Passed>,
    left_out: u64,
    // Invariant: set exactly while suppressed lines are not reported.
    left_out_since: Option<Instant>,
}

#[derive(Debug)]
struct Passed {
    at: Instant,
    source: Source,
    /// The line was one of the reserve.
    is_reserved: bool,
}

/// The peer that a line is about: an address together with its neighbors, which usually belong to the same customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6([u16; 4]),
    /// A Unix socket, or no peer.
    Local,
}

impl Source {
    pub(crate) fn of(peer: &PeerAddr) -> Self {
        match peer.ip() {
            Some(IpAddr::V4(ip)) => Self::V4(ip),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d])
            }
            None => Self::Local,
        }
    }
}

impl LogLimit {
    /// Passes at most `lines_max` lines in any second, and `reserve` more from sources that had none in it.
    pub(crate) const fn new(lines_max: usize, reserve: usize) -> Self {
        Self { lines_max, reserve, passed: VecDeque::new(), left_out: 0, left_out_since: None }
    }

    /// The limit of a place that logs about each of many peers.
    pub(crate) const fn of_peers() -> Self {
        Self::new(LINES_MAX, RESERVE)
    }

    /// Whether a line about `source` may be written now. A suppressed line is counted.
    pub(crate) fn passes(&mut self, now: Instant, source: Source) -> bool {
        while self.passed.front().is_some_and(|line| now >= line.at + WINDOW) {
            self.passed.pop_front();
        }
        let reserved = self.passed.iter().filter(|line| line.is_reserved).count();
        let is_new = self.passed.iter().all(|line| line.source != source);
        let has_room = self.passed.len() - reserved < self.lines_max;
        let passes = has_room || (is_new && reserved < self.reserve);
        if passes {
            self.passed.push_back(Passed { at: now, source, is_reserved: !has_room });
        } else {
            self.left_out += 1;
            self.left_out_since.get_or_insert(now);
        }
        passes
    }

    /// Returns how many lines were suppressed, one second after the first of them, and resets the count.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.due().is_some_and(|due| now >= due);
        is_due.then(|| {
            self.left_out_since = None;
            std::mem::take(&mut self.left_out)
        })
    }

    /// When [`left_out`](Self::left_out) has something to report.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.left_out_since.map(|since| since + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn source(ip: &str) -> Source {
        Source::of(&PeerAddr::from(SocketAddr::new(ip.parse().unwrap(), 7)))
    }

    #[test]
    fn ten_lines_a_second_pass_and_the_others_are_counted() {
        let begin = Instant::now();
        let mut limit = LogLimit::new(10, 20);
        let passed = (0..1_000).filter(|_| limit.passes(begin, Source::Local)).count();
        assert_eq!(passed, 10);
        assert_eq!(limit.left_out(begin), None);
        assert_eq!(limit.due(), Some(begin + WINDOW));
        assert_eq!(limit.left_out(begin + WINDOW), Some(990));
        assert_eq!((limit.left_out(begin + WINDOW), limit.due()), (None, None));
        assert!(limit.passes(begin + WINDOW, Source::Local));
    }

    #[test]
    fn no_second_has_more_than_ten_lines_wherever_it_begins() {
        let begin = Instant::now();
        // One line, nine at the end of its second, and then a flood.
        let early = [0].into_iter().chain([999; 9]).chain(1_000..5_000);
        let mut limit = LogLimit::new(10, 20);
        let mut passes = |ms: &u64| limit.passes(begin + Duration::from_millis(*ms), Source::Local);
        let passed: Vec<u64> = early.filter(|ms| passes(ms)).collect();
        assert!(passed.windows(11).all(|lines| lines[10] - lines[0] >= 1_000), "{passed:?}");
        // As many as there may be: ten in the first second, one when the first of them is a second old, and so on.
        assert_eq!(passed.len(), 10 + 1 + 3 * 10 + 1);
        assert_eq!(limit.left_out(begin + Duration::from_secs(5)), Some(10 + 4_000 - 42));
    }

    #[test]
    fn noisy_source_hides_no_line_of_others() {
        let begin = Instant::now();
        let noisy = source("192.0.2.1");
        // All at once at any time of a second, or spread over four: each other source has its line.
        for (first, step) in [(0, 0), (1, 0), (500, 0), (999, 0), (1_000, 0), (1_003, 0), (0, 200)] {
            let mut limit = LogLimit::new(LINES_MAX, RESERVE);
            let mut shown = 0;
            for half_ms in 0..10_000 {
                let now = begin + Duration::from_micros(500 * half_ms);
                limit.passes(now, noisy);
                for other in 0..20_u8 {
                    let at = 2 * (first + step * u64::from(other));
                    if at == half_ms {
                        shown += u32::from(limit.passes(now, source(&format!("198.51.100.{other}"))));
                    }
                }
            }
            assert_eq!(shown, 20, "from {first} ms, every {step} ms");
        }
    }

    #[test]
    fn noisy_sources_have_thirty_lines_per_second() {
        let begin = Instant::now();
        let mut limit = LogLimit::new(LINES_MAX, RESERVE);
        let mut passed = Vec::new();
        for ms in 0..5_000_u64 {
            let [.., high, low] = ms.to_be_bytes();
            let at = begin + Duration::from_millis(ms);
            if limit.passes(at, Source::V4(Ipv4Addr::new(198, 18, high, low))) {
                passed.push(ms);
            }
            assert!(limit.passed.len() <= LINES_MAX + RESERVE);
        }
        let most = LINES_MAX + RESERVE;
        assert!(passed.windows(most + 1).all(|lines| lines[most] - lines[0] >= 1_000), "{passed:?}");
    }

    #[test]
    fn source_is_an_ipv4_address_or_the_64_bits_of_an_ipv6_network() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(Source::of(&PeerAddr::UNNAMED), Source::Local);
    }
}
