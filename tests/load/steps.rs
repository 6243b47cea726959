//! Several steps of load on the same connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use frameloop::load::{Load, LoadError, Outcome, Plan, Step, Stop, Unwatched};

use crate::double::{Double, echo, frame, swallow};
use crate::plan;
use crate::support::PATIENCE;

#[track_caller]
fn step(load: &mut Load, step: Step) -> Outcome {
    load.step(&step, &mut Unwatched).unwrap()
}

/// An echo server that counts its clients.
fn counting() -> (Double, Arc<AtomicUsize>) {
    let clients = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&clients);
    let server = Double::start(move |_, client| {
        count.fetch_add(1, Ordering::Relaxed);
        echo(client, usize::MAX);
    });
    (server, clients)
}

#[test]
fn steps_of_rates_share_their_connections() {
    let (server, clients) = counting();
    for threads in [1, 3] {
        clients.store(0, Ordering::Relaxed);
        let plan = Plan { threads, idle: 2, ..plan(server.addr) };
        let mut load = Load::start(&plan).unwrap();
        for rate in [300.0, 900.0, 150.0] {
            let stop = Stop::After(Duration::from_millis(200));
            let outcome = step(&mut load, Step { rate: Some(rate), stop, ..Step::from(&plan) });
            let due = (rate / 5.0) as u64;
            assert_eq!((outcome.frames + outcome.frames_after_end, outcome.errors.total()), (due, 0), "{rate}");
            assert_eq!(outcome.response.unwrap().len(), due);
            assert_eq!((outcome.plan.rate, outcome.connecting.up), (Some(rate), 12));
            assert_eq!(outcome.generator.threads.len(), threads);
        }
        load.finish().unwrap();
        assert_eq!(clients.load(Ordering::Relaxed), 12);
    }
}

#[test]
fn steps_of_connections_open_and_close_the_difference() {
    let (server, clients) = counting();
    let plan = Plan { connections: 12, threads: 2, ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    for (connections, in_all) in [(3, 3), (12, 12), (5, 12), (8, 15)] {
        let outcome = step(&mut load, Step { connections, stop: Stop::Frames(300), ..Step::from(&plan) });
        assert_eq!((outcome.frames, outcome.errors.total()), (300, 0), "{connections}: {:?}", outcome.errors);
        let connecting = &outcome.connecting;
        assert_eq!((connecting.asked, connecting.up), (connections as u64, connections as u64));
        let target = &outcome.targets[0];
        assert_eq!((target.asked, target.up), (connections as u64, connections as u64));
        assert_eq!(clients.load(Ordering::Relaxed), in_all, "{connections}");
    }
    load.finish().unwrap();
}

#[test]
fn closed_and_open_loop_follow_each_other() {
    let (server, _) = counting();
    let plan = plan(server.addr);
    let mut load = Load::start(&plan).unwrap();
    for rate in [None, Some(1_000.0), None] {
        let outcome = step(&mut load, Step { rate, stop: Stop::Frames(200), ..Step::from(&plan) });
        assert_eq!((outcome.frames, outcome.errors.total()), (200, 0));
        assert_eq!(outcome.response.is_some(), rate.is_some());
    }
}

#[test]
fn response_to_an_earlier_step_is_late() {
    // The response to the third frame comes with that to the fourth.
    let server = Double::start(|_, client| {
        echo(client, 2);
        let frames = [frame(client), frame(client)].map(Option::unwrap_or_default);
        let _ = std::io::Write::write_all(client, &frames.concat());
        echo(client, usize::MAX);
    });
    let plan = Plan { connections: 1, grace: Duration::from_millis(20), ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    let stop = Stop::After(Duration::from_millis(100));
    let first = step(&mut load, Step { stop, ..Step::from(&plan) });
    assert_eq!((first.frames, first.errors.unanswered, first.late_replies), (2, 1, 0));
    let second = step(&mut load, Step { stop: Stop::Frames(10), ..Step::from(&plan) });
    assert_eq!((second.frames, second.errors.total(), second.late_replies), (10, 0, 1), "{:?}", second.errors);
}

#[test]
fn connection_that_owed_a_response_is_replaced_in_a_later_step() {
    // One of the first two clients gets no response, and its connection is kept open although it was closed at the other end.
    let server = Double::start(|number, client| {
        if number != 1 {
            return echo(client, usize::MAX);
        }
        swallow(client);
        std::thread::park_timeout(Duration::from_secs(3));
    });
    let plan = Plan { connections: 2, grace: Duration::from_millis(10), ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    let stop = Stop::After(Duration::from_millis(40));
    let first = step(&mut load, Step { stop, ..Step::from(&plan) });
    assert_eq!((first.errors.unanswered, first.errors.total()), (1, 1));
    // Of the two, the second is closed, and dialed again for the last step.
    for connections in [1, 2] {
        let outcome = step(&mut load, Step { connections, stop: Stop::Frames(200), ..Step::from(&plan) });
        let up = outcome.connecting.up;
        assert_eq!((outcome.frames, outcome.late_replies, up), (200, 0, connections as u64), "{:?}", outcome.errors);
        // If the first connection is the silent one, its response is still pending, and it sends no other.
        assert_eq!(outcome.errors.total(), outcome.errors.unanswered, "{:?}", outcome.errors);
    }
}

#[test]
fn connect_rate_holds_in_each_step() {
    let (server, _) = counting();
    let plan = Plan { connections: 21, connect_rate: Some(100.0), ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    let stop = Stop::After(Duration::from_millis(300));
    step(&mut load, Step { connections: 1, stop, ..Step::from(&plan) });
    // Nothing was dialed for 300 ms, in which 30 dials were due.
    let outcome = step(&mut load, Step { stop: Stop::Frames(100), ..Step::from(&plan) });
    let took = Duration::from_nanos(outcome.connecting.took_ns);
    assert!(took >= Duration::from_millis(190), "20 connections at 100 per second: {took:?}");
    assert_eq!(outcome.errors.total(), 0);
}

#[test]
fn load_that_is_dropped_closes_its_connections() {
    let (closed, is_closed) = std::sync::mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let server = Double::start(move |_, client| {
        echo(client, usize::MAX);
        closed.lock().unwrap().send(()).unwrap();
    });
    let plan = Plan { connections: 3, ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    step(&mut load, Step::from(&plan));
    drop(load);
    (0..3).for_each(|_| is_closed.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn lost_connections_are_dialed_again_for_the_next_step() {
    let server = Double::start(|number, client| echo(client, if number < 2 { 5 } else { usize::MAX }));
    let plan = Plan { connections: 2, ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    let first = step(&mut load, Step::from(&plan));
    assert_eq!((first.frames, first.errors.ended), (10, 2));
    assert!(first.ended_early.is_some());
    let second = step(&mut load, Step::from(&plan));
    assert_eq!((second.frames, second.errors.total(), second.connecting.up), (1_000, 0, 2));
}

#[test]
fn connection_lost_in_one_step_is_no_outage_of_the_next() {
    // The first two clients are closed after their first frames, and so are those that replace them.
    let server = Double::start(|number, client| echo(client, if number < 4 { 5 } else { usize::MAX }));
    let plan = Plan { connections: 2, reconnect: true, ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    let stop = Stop::After(Duration::from_millis(30));
    let first = step(&mut load, Step { stop, ..Step::from(&plan) });
    assert_eq!((first.outages.len(), first.outages[0].is_over), (1, false), "{:?}", first.outages);
    let second = step(&mut load, Step { connections: 1, stop: Stop::Frames(50), ..Step::from(&plan) });
    assert_eq!(second.frames, 50);
    assert!(second.outages.iter().all(|outage| outage.is_over && outage.connections == 1), "{:?}", second.outages);
}

#[test]
fn churn_goes_on_in_the_next_step() {
    let (server, clients) = counting();
    let plan = Plan { churn: true, connections: 3, stop: Stop::Frames(20), ..plan(server.addr) };
    let mut load = Load::start(&plan).unwrap();
    for _ in 0..2 {
        let outcome = step(&mut load, Step::from(&plan));
        assert_eq!((outcome.frames, outcome.errors.total()), (20, 0), "{:?}", outcome.errors);
    }
    load.finish().unwrap();
    assert!(clients.load(Ordering::Relaxed) >= 40);
}

#[test]
fn step_that_does_not_fit_the_plan_is_refused() {
    let (server, _) = counting();
    let plan = plan(server.addr);
    let mut load = Load::start(&plan).unwrap();
    let mut refused = |step: Step| match load.step(&step, &mut Unwatched) {
        Err(LoadError::Plan(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(Step { connections: 11, ..Step::from(&plan) }).contains("at most the 10 of the plan"));
    assert!(refused(Step { connections: 0, ..Step::from(&plan) }).contains("connections is 0"));
    assert!(refused(Step { rate: Some(0.0), ..Step::from(&plan) }).contains("rate is 0"));
    // The load can still be used.
    assert_eq!(step(&mut load, Step::from(&plan)).frames, 1_000);
}
