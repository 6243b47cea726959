//! What must not hurt a server, on real sockets: each figure as an assertion. `src/tests/sim/threats/` has those that virtual time
//! makes exact.
//!
//! Figures of wall time depend on what else a machine does. A promise of milliseconds has several rounds to be kept in; what
//! is a measurement is left out, with a line that says so, unless `FRAMELOOP_TEST_TIMED` is set.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod capture;
mod clock;
mod endings;
mod floods;
mod lengths;
mod logs;
mod scrapes;
mod shutdown;
mod slow_readers;
mod streams;
mod timed;
mod turns;

use std::time::Duration;

/// How often a promise of milliseconds may be tried to be kept, on a machine that has other things to do.
const ROUNDS: usize = 5;

/// Whether a promise was kept in one of the rounds; otherwise prints all measurements.
#[track_caller]
fn assert_kept_once(promised: Duration, mut round: impl FnMut() -> Duration) {
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        taken.push(round());
        if taken.last().is_some_and(|taken| *taken <= promised) {
            return println!("{promised:?} were promised, it took {taken:?}");
        }
    }
    panic!("{promised:?} were promised, and it took {taken:?}");
}
