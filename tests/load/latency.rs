//! Which latency shows what.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use frameloop::load::{Plan, Stop};

use crate::double::{Double, echo};
use crate::{outcome, plan};

/// A server that stalls once, for a second, in the middle of the run.
fn stalls() -> Double {
    static LOCK: Mutex<()> = Mutex::new(());
    static FRAMES: AtomicUsize = AtomicUsize::new(0);
    Double::start(|_, client| {
        loop {
            let guard = LOCK.lock();
            if FRAMES.fetch_add(1, Ordering::Relaxed) == 400 {
                // The sleep is the stall that is tested, not a wait for something.
                thread::sleep(Duration::from_secs(1));
            }
            drop(guard);
            echo(client, 1);
            if client.peek(&mut [0]).is_ok_and(|len| len == 0) {
                return;
            }
        }
    })
}

#[test]
fn stall_of_a_second_is_charged_to_every_frame_due() {
    let server = stalls();
    let stop = Stop::After(Duration::from_secs(3));
    let outcome = outcome(&Plan { connections: 4, rate: Some(500.0), stop, ..plan(server.addr) });
    let response = outcome.response.as_ref().unwrap();
    assert_eq!(response.len(), 1_500, "everybody who was due");
    assert!(response.max() >= 900_000_000, "{} ns", response.max());
    // Half of those who were due in that second have waited for half a second: a sixth of all.
    let waited = response.count_between(450_000_000, u64::MAX / 2);
    assert!((150..=600).contains(&waited), "{waited} have waited for long");
    assert!(response.value_at_quantile(0.85) >= outcome.service.value_at_quantile(0.5));
    let slowest = outcome.intervals.iter().map(|interval| interval.response.histogram().max()).max().unwrap();
    assert!(slowest >= 900_000_000, "and the second in which it was shows it");
}
