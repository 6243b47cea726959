//! The closed loop, the open loop and churn, against the library's own server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use frameloop::load::{Plan, Progress, Stop, Unwatched, Watch, run};

use crate::support::{Server, patient};
use crate::{outcome, plan};

#[test]
fn frame_count_is_exact_in_every_mode() {
    let server = Server::start(patient());
    let base = || plan(server.addr);
    let plans = [
        base(),
        Plan { depth: 7, ..base() },
        Plan { depth: 64, payload_len: 0..=100, ..base() },
        Plan { threads: 3, ..base() },
        Plan { payload_len: 100_000..=300_000, depth: 3, stop: Stop::Frames(200), ..base() },
        Plan { churn: true, stop: Stop::Frames(300), ..base() },
        Plan { rate: Some(20_000.0), ..base() },
        Plan { rate: Some(20_000.0), threads: 2, connections: 3, ..base() },
        Plan { connections: 1, stop: Stop::Frames(1), ..base() },
    ];
    for plan in plans {
        let Stop::Frames(frames) = plan.stop else { unreachable!() };
        let outcome = outcome(&plan);
        assert_eq!(outcome.frames, frames, "{plan:?}");
        assert_eq!(outcome.errors.total(), 0, "{plan:?}: {:?} {:?}", outcome.errors, outcome.faults);
        assert_eq!(outcome.service.len(), frames, "{plan:?}");
        assert_eq!(outcome.connecting.up, plan.connections as u64);
        assert_eq!(outcome.intervals.iter().map(|interval| interval.frames).sum::<u64>(), frames);
        assert!(outcome.causes.is_empty());
        assert_eq!(outcome.response.is_some(), plan.rate.is_some());
    }
}

#[test]
fn without_a_target_it_loads_a_server_of_its_own() {
    let outcome = outcome(&Plan { stop: Stop::Frames(5_000), warmup: Duration::ZERO, ..Plan::default() });
    assert_eq!((outcome.frames, outcome.errors.total()), (5_000, 0));
    let server = outcome.server.unwrap();
    assert!(server.calls_per_frame > 1.0, "{server:?}");
    assert!(outcome.plan.targets.len() == 1);
}

#[test]
fn idle_server_is_recognized_by_its_processor_time() {
    let server = Server::start(patient());
    let duration = Duration::from_millis(1_300);
    let outcome = outcome(&Plan { rate: Some(500.0), stop: Stop::After(duration), ..plan(server.addr) });
    assert_eq!(outcome.measured, duration);
    // 650 are due, all are answered, perhaps the last behind the end.
    assert_eq!(outcome.response.as_ref().unwrap().len(), 650);
    assert_eq!(outcome.intervals.len(), 2);
    assert_eq!(outcome.intervals[0].length, Duration::from_secs(1));
    assert_eq!(outcome.intervals[1].length, Duration::from_millis(300));
    assert_eq!(outcome.intervals[1].begin, Duration::from_secs(1));
}

#[test]
fn what_was_warmed_up_with_is_not_counted() {
    let server = Server::start(patient());
    let warmup = Duration::from_millis(200);
    let outcome = outcome(&Plan { warmup, rate: Some(1_000.0), stop: Stop::After(warmup), ..plan(server.addr) });
    assert_eq!(outcome.response.as_ref().unwrap().len(), 200);
    let answered = server.stats().frames_in;
    assert_eq!(answered, 400);
    assert_eq!(outcome.frames + outcome.frames_after_end, 200);
    assert!(outcome.frames >= 190, "{}", outcome.frames);
}

#[test]
fn connections_are_begun_at_their_rate() {
    let server = Server::start(patient());
    let plan = Plan { connections: 30, connect_rate: Some(100.0), stop: Stop::Frames(30), ..plan(server.addr) };
    let outcome = run(&plan, &mut Unwatched).unwrap();
    assert_eq!(outcome.connecting.up, 30);
    // The first at once, the thirtieth 290 ms later.
    assert!(outcome.connecting.took_ns >= 290_000_000, "{:?}", outcome.connecting);
    assert_eq!(outcome.connect.len(), 30);
}

/// Keeps the most errors that were shown at once.
#[derive(Default)]
struct MostErrors(u64);

impl Watch for MostErrors {
    fn on_progress(&mut self, progress: &Progress) {
        self.0 = self.0.max(progress.errors + progress.not_connected);
    }

    fn wants_end(&mut self) -> bool {
        false
    }
}

#[test]
fn failed_connect_counts_once_in_the_progress() {
    // It serves for half a second, so that the connections are up, and from then on nothing listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serving = thread::spawn(move || {
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            let Ok((mut stream, _)) = listener.accept() else { continue };
            stream.set_nonblocking(false).unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..len]);
                }
            });
        }
    });
    let stop = Stop::After(Duration::from_secs(3));
    let mut watch = MostErrors::default();
    let outcome = run(&Plan { churn: true, connections: 2, stop, ..plan(addr) }, &mut watch).unwrap();
    serving.join().unwrap();
    let total = outcome.errors.total();
    assert!(outcome.errors.not_connected > 0, "{:?}", outcome.errors);
    assert!(watch.0 > total / 4 && watch.0 <= total, "{} were shown of {:?}", watch.0, outcome.errors);
}
