//! Several steps of load on the same connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use frameloop::load::{Load, LoadError, Outcome, Plan, Step, Stop, Unwatched};

use crate::double::{Double, echo, frame};
use crate::plan;

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
        assert_eq!(connecting.asked, connections as u64);
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
