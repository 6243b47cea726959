//! A run ends in its time whatever the server does: connecting, the warm-up, the duration, and the wait for answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use frameloop::load::{Plan, Progress, Stage, Stop, Watch, run};

use crate::double::{Double, frame, swallow};
use crate::{outcome, plan};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const WARMUP: Duration = Duration::from_millis(50);
const DURATION: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_millis(300);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(10);

/// Loads a server in every shape, and returns how many frames were answered in each.
#[track_caller]
fn assert_ends_in_time(name: &str, addr: SocketAddr) -> Vec<u64> {
    let plan = Plan {
        connections: 4,
        warmup: WARMUP,
        stop: Stop::After(DURATION),
        connect_timeout: CONNECT_TIMEOUT,
        grace: GRACE,
        stall_timeout: GRACE,
        ..plan(addr)
    };
    let shapes = [
        ("closed loop", plan.clone()),
        ("depth", Plan { depth: 8, ..plan.clone() }),
        ("open loop", Plan { rate: Some(500.0), ..plan.clone() }),
        ("churn", Plan { churn: true, ..plan.clone() }),
        ("two threads", Plan { threads: 2, ..plan.clone() }),
        ("a number of frames", Plan { stop: Stop::Frames(1_000_000), ..plan.clone() }),
        ("cohorts", Plan { idle: 2, drip: 2, deaf: 2, ..plan }),
    ];
    shapes
        .into_iter()
        .map(|(shape, plan)| {
            let begun = Instant::now();
            let outcome = outcome(&plan);
            let (took, documented) = (begun.elapsed(), CONNECT_TIMEOUT + WARMUP + DURATION + GRACE);
            assert!(took < documented + SLACK, "{shape}, with a server that {name}: {took:?}");
            outcome.frames
        })
        .collect()
}

/// Sends bytes, a pause between them, until the client is gone.
fn send(client: &mut TcpStream, bytes: &[u8], pause: Duration) {
    while client.write_all(bytes).is_ok() {
        thread::sleep(pause);
    }
}

#[test]
fn run_ends_in_time_with_a_server_that_sends_forever() {
    let floods = Double::start(|_, client| send(client, &[7; 64 << 10], Duration::ZERO));
    assert_eq!(assert_ends_in_time("sends forever", floods.addr), [0; 7]);
    let frames = Double::start(|_, client| send(client, &[0; 64 << 10], Duration::ZERO));
    assert_eq!(assert_ends_in_time("sends empty frames forever", frames.addr), [0; 7]);
    let right = Double::start(|_, client| {
        if let Some(frame) = frame(client) {
            let _ = client.write_all(&frame);
            send(client, &[0; 64 << 10], Duration::ZERO);
        }
    });
    assert_ends_in_time("answers once and sends forever", right.addr);
}

#[test]
fn run_ends_in_time_with_a_server_that_drips() {
    let drips = Double::start(|_, client| {
        // The right answer, but it takes longer than the run.
        if let Some(frame) = frame(client) {
            let pause = Duration::from_millis(40);
            for byte in frame {
                if client.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(pause);
            }
        }
    });
    assert_eq!(assert_ends_in_time("drips", drips.addr), [0; 7]);
}

#[test]
fn run_ends_in_time_with_a_server_that_stays_silent() {
    let silent = Double::start(|_, client| swallow(client));
    assert_eq!(assert_ends_in_time("is silent", silent.addr), [0; 7]);
}

#[test]
fn run_ends_in_time_with_a_server_that_accepts_nothing() {
    // The system connects for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(assert_ends_in_time("accepts nothing", listener.local_addr().unwrap()), [0; 7]);
}

/// Lets the load begin, or interrupts the run, once it has waited for three calls.
#[derive(Default)]
struct Paused {
    waited: usize,
    is_interrupt: bool,
}

impl Watch for Paused {
    fn on_progress(&mut self, progress: &Progress) {
        if progress.stage == Stage::Waiting {
            assert_eq!(progress.up, progress.asked);
            assert!(progress.last.is_none(), "{progress:?}");
            self.waited += 1;
        }
    }

    fn may_begin(&mut self) -> bool {
        !self.is_interrupt && self.waited >= 3
    }

    fn wants_end(&mut self) -> bool {
        self.is_interrupt && self.waited >= 3
    }
}

/// A server that answers every frame.
fn echoes() -> Double {
    Double::start(|_, client| {
        while let Some(held) = frame(client) {
            if client.write_all(&held).is_err() {
                return;
            }
        }
    })
}

#[test]
fn load_waits_for_the_permission_to_begin() {
    let server = echoes();
    for (rate, threads) in [(None, 1), (Some(10_000.0), 2)] {
        let mut watch = Paused::default();
        let outcome = run(&Plan { rate, threads, ..plan(server.addr) }, &mut watch).unwrap();
        assert!(watch.waited >= 3);
        assert_eq!((outcome.frames, outcome.ended_early.as_deref()), (1_000, None), "{outcome:?}");
    }
    let mut watch = Paused { is_interrupt: true, ..Paused::default() };
    let outcome = run(&plan(server.addr), &mut watch).unwrap();
    assert!(outcome.was_interrupted && outcome.frames == 0, "{outcome:?}");
}

#[test]
fn load_begins_at_its_time() {
    let server = echoes();
    let is_late = |outcome: &frameloop::load::Outcome| outcome.taints.iter().any(|taint| taint.contains("began"));
    for (rate, warmup) in [(None, Duration::ZERO), (Some(10_000.0), WARMUP)] {
        let start_at = SystemTime::now() + Duration::from_millis(300);
        let outcome = outcome(&Plan { start_at: Some(start_at), rate, warmup, ..plan(server.addr) });
        assert!(outcome.begun >= start_at + warmup - Duration::from_millis(5), "{outcome:?}");
        assert!(outcome.frames >= 1_000 && !is_late(&outcome), "{outcome:?}");
    }
    let start_at = Some(SystemTime::now() - Duration::from_secs(3));
    let outcome = outcome(&Plan { start_at, ..plan(server.addr) });
    assert!(outcome.frames == 1_000 && is_late(&outcome), "{outcome:?}");
}
