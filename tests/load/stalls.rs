//! A result never hides a stall: what is not answered is counted, and its wait is in the latencies.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use frameloop::load::{Outcome, Plan, Progress, Stage, Stop, Unwatched, Watch, run};

use crate::double::{Double, echo, frame, swallow};
use crate::{outcome, plan};

/// How long answers are awaited after the end: every frame in flight then has waited for longer.
const GRACE: Duration = Duration::from_millis(300);

/// Four connections, half a second, little grace.
fn stalling(server: &Double) -> Plan {
    let stop = Stop::After(Duration::from_millis(500));
    Plan { connections: 4, stop, grace: GRACE, ..plan(server.addr) }
}

/// Answers 20 frames of each connection and no more.
fn stops_answering() -> Double {
    Double::start(|_, client| {
        echo(client, 20);
        swallow(client);
    })
}

/// Each frame of the result is in the latencies once, and the longest wait is their maximum.
#[track_caller]
fn assert_charged(outcome: &Outcome, unanswered: u64, what: &str) {
    assert_eq!(outcome.errors.unanswered, unanswered, "{what}: {:?}", outcome.errors);
    let latency = outcome.latency();
    assert_eq!(latency.len(), outcome.frames + outcome.frames_after_end + unanswered, "{what}");
    let wait = outcome.errors.unanswered_wait_max_ns;
    assert!(wait >= 300_000_000, "{what}: waited for {wait} ns");
    assert!(latency.max() >= wait, "{what}: {} ns is less than {wait}", latency.max());
    assert!(latency.value_at_quantile(1.0) >= wait && outcome.service.max() >= 300_000_000, "{what}");
    let of_intervals: u64 = outcome.intervals.iter().map(|interval| interval.service.count()).sum();
    assert_eq!(of_intervals, outcome.service.len(), "{what}: the intervals have them as well");
}

#[test]
fn server_that_stops_answering_is_charged_in_every_shape() {
    let server = stops_answering();
    let base = || stalling(&server);
    let warmup = Duration::from_millis(200);
    let shapes: [(&str, Plan, u64); 6] = [
        ("closed loop", base(), 4),
        ("depth", Plan { depth: 3, ..base() }, 12),
        ("threads", Plan { threads: 2, depth: 2, ..base() }, 8),
        ("a stall that begins in the warm-up", Plan { warmup, ..base() }, 4),
        ("cohorts", Plan { idle: 3, deaf: 1, drip: 1, ..base() }, 4),
        ("other sizes", Plan { payload_len: 0..=20_000, ..base() }, 4),
    ];
    for (what, plan, unanswered) in shapes {
        let outcome = outcome(&plan);
        assert_charged(&outcome, unanswered, what);
        let answered = if plan.warmup.is_zero() { 80 } else { 0 };
        assert_eq!((outcome.frames, outcome.frames_after_end), (answered, 0), "{what}");
        assert_eq!(outcome.ended_early, None, "{what}");
    }
}

#[test]
fn open_loop_charges_what_was_due_whether_it_was_sent_or_not() {
    let server = stops_answering();
    for threads in [1, 2] {
        let outcome = outcome(&Plan { rate: Some(1_000.0), threads, ..stalling(&server) });
        assert_charged(&outcome, 500 - 80, "open loop");
        assert_eq!(outcome.frames, 80);
    }
    // Of the warm-up nothing is in the result, but what is not answered is counted.
    let warmup = Duration::from_millis(200);
    let outcome = outcome(&Plan { rate: Some(1_000.0), warmup, ..stalling(&server) });
    let response = outcome.response.as_ref().unwrap();
    assert_eq!((response.len(), outcome.frames, outcome.errors.unanswered), (500, 0, 700 - 80));
    assert!(response.min() >= 300_000_000, "{}", response.min());
}

#[test]
fn stalled_churn_is_charged_for_frames_and_connections() {
    let server = Double::start(|number, client| if number < 30 { echo(client, 1) } else { swallow(client) });
    let outcome = outcome(&Plan { churn: true, ..stalling(&server) });
    assert_charged(&outcome, 4, "churn");
    assert_eq!(outcome.frames, 30);
}

#[test]
fn one_stalled_connection_among_many_is_not_lost_in_the_others() {
    let server = Double::start(|number, client| {
        echo(client, if number % 10 == 2 { 5 } else { usize::MAX });
        swallow(client);
    });
    let plan = Plan { connections: 10, ..stalling(&server) };
    let seen = outcome(&plan);
    assert_charged(&seen, 1, "one of ten");
    // The same with a number of frames: the others do their share, and it ends.
    let stop = Stop::Frames(2_000);
    let stall_timeout = Duration::from_millis(400);
    let seen = outcome(&Plan { stop, stall_timeout, ..plan });
    assert_charged(&seen, 1, "one of ten, by number");
    let why = seen.ended_early.as_deref().unwrap();
    assert!(why.contains("given up after 1999 of 2000 frames") && why.contains("400.00ms"), "{why}");
}

#[test]
fn run_for_a_number_of_frames_ends_when_none_is_answered() {
    let server = stops_answering();
    for (churn, rate) in [(false, None), (true, None), (false, Some(1_000.0))] {
        let stop = Stop::Frames(1_000);
        let outcome =
            outcome(&Plan { stop, churn, rate, stall_timeout: Duration::from_millis(400), ..stalling(&server) });
        assert!(outcome.ended_early.is_some() || churn, "{outcome:?}");
        if !churn {
            assert!(outcome.errors.unanswered >= 4, "{:?}", outcome.errors);
            assert!(outcome.latency().max() >= 300_000_000);
        }
    }
}

/// Ends the run once it is measured.
struct Interrupts(Stage);

impl Watch for Interrupts {
    fn on_progress(&mut self, progress: &Progress) {
        self.0 = progress.stage;
    }

    fn wants_end(&mut self) -> bool {
        self.0 == Stage::Measuring
    }
}

#[test]
fn interrupted_run_is_charged_as_well() {
    let server = stops_answering();
    // Within a tenth of a second, more is due than is answered.
    for rate in [None, Some(10_000.0)] {
        let stop = Stop::After(Duration::from_secs(3_600));
        let plan = Plan { stop, rate, ..stalling(&server) };
        let outcome = run(&plan, &mut Interrupts(Stage::Connecting)).unwrap();
        assert!(outcome.was_interrupted);
        assert!(outcome.errors.unanswered >= 4 && outcome.latency().max() >= 300_000_000, "{:?}", outcome.errors);
        assert_eq!(outcome.latency().len(), outcome.frames + outcome.frames_after_end + outcome.errors.unanswered);
    }
}

#[test]
fn stall_that_ends_after_the_run_is_in_the_latencies() {
    let server = Double::start(|_, client| {
        echo(client, 20);
        let Some(held) = frame(client) else { return };
        // What is tested is a stall over the end of the run.
        thread::sleep(Duration::from_millis(1_000));
        let _ = std::io::Write::write_all(client, &held);
        swallow(client);
    });
    let plan = Plan { grace: Duration::from_secs(30), ..stalling(&server) };
    let seen = outcome(&plan);
    assert_eq!((seen.frames, seen.frames_after_end, seen.errors.total()), (80, 4, 0), "{:?}", seen.errors);
    assert_eq!(seen.service.len(), 84);
    assert!(seen.service.max() >= 1_000_000_000, "{}", seen.service.max());
}

#[test]
fn server_that_goes_away_is_charged_until_then_and_named() {
    // It stalls for a while, and is then killed: all connections end.
    let is_killed = Arc::new(AtomicBool::new(false));
    let killed = Arc::clone(&is_killed);
    let server = Double::start(move |number, client| {
        echo(client, 20);
        if number == 3 {
            thread::sleep(Duration::from_millis(400));
            killed.store(true, Ordering::Release);
        }
        while !killed.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
        }
        reset(client);
    });
    let stop = Stop::After(Duration::from_secs(3_600));
    let outcome = run(&Plan { stop, ..stalling(&server) }, &mut Unwatched).unwrap();
    assert_charged(&outcome, 4, "killed");
    assert_eq!((outcome.frames, outcome.errors.ended), (80, 4), "{:?}", outcome.errors);
    let why = outcome.ended_early.unwrap();
    assert!(why.contains("the server ended all connections (4 ") && why.contains("of 3600.00s"), "{why}");
}

/// Ends a connection as the kernel does for a process that is killed with unread input.
fn reset(client: &TcpStream) {
    let socket = socket2::SockRef::from(client);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}
