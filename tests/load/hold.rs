//! Connections that are held: silent, or with a frame per interval on each.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use frameloop::load::{Hold, Plan, Stop};

use crate::double::{Double, frame, swallow};
use crate::support::{Server, patient};
use crate::{outcome, plan};

/// Ten connections for a second.
fn held(plan: Plan, hold: Hold) -> Plan {
    Plan { hold: Some(hold), stop: Stop::After(Duration::from_secs(1)), ..plan }
}

/// Counts the frames of each client, by its number.
fn counting(manner: impl Fn(usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> (Double, Counts) {
    let counts = Counts::default();
    let theirs = Arc::clone(&counts);
    let server = Double::start(move |number, client| {
        while manner(number, client)
            && let Some(frame) = frame(client)
        {
            // Before the response, with which the run may end.
            *theirs.lock().unwrap().entry(number).or_default() += 1;
            let _ = client.write_all(&frame);
        }
    });
    (server, counts)
}

type Counts = Arc<Mutex<HashMap<usize, usize>>>;

#[test]
fn silent_connections_send_nothing_and_take_no_processor() {
    let server = Server::start(patient());
    for threads in [1, 2] {
        let outcome = outcome(&held(Plan { threads, idle: 3, ..plan(server.addr) }, Hold::Silent));
        let all = outcome.held.as_ref().unwrap();
        assert_eq!((all.to_end, all.lost, all.first_lost_ns, all.every_ns), (10, 0, None, None));
        assert_eq!((outcome.connecting.up, outcome.errors.total()), (13, 0));
        assert_eq!((outcome.frames, outcome.service.len(), outcome.response.is_none()), (0, 0, true));
        assert_eq!((outcome.measured, outcome.ended_early.as_deref()), (Duration::from_secs(1), None));
        let cpu = outcome.generator.cpu_max();
        assert!(cpu.is_none_or(|cpu| cpu < 0.2), "{cpu:?} of a processor");
    }
    assert_eq!(server.stats().frames_in, 0);
}

#[test]
fn each_connection_has_one_frame_per_interval() {
    for (threads, connections) in [(1, 10), (3, 10), (2, 1 + 6)] {
        let (server, counts) = counting(|_, _| true);
        let plan = Plan { threads, connections, ..plan(server.addr) };
        let outcome = outcome(&held(plan, Hold::Every(Duration::from_millis(200))));
        let counts = counts.lock().unwrap().clone();
        assert!(counts.len() == connections && counts.values().all(|count| *count == 5), "{threads}: {counts:?}");
        assert_eq!(outcome.response.as_ref().unwrap().len(), 5 * connections as u64);
        assert_eq!(outcome.errors.total(), 0, "{:?}", outcome.errors);
        assert_eq!(outcome.held.unwrap().every_ns, Some(200_000_000));
    }
}

#[test]
fn lost_connections_leave_the_interval_of_the_others() {
    let answered = |number: usize, client: &mut TcpStream| {
        if number >= 3 {
            return true;
        }
        if let Some(frame) = frame(client) {
            let _ = client.write_all(&frame);
        }
        false
    };
    let (server, counts) = counting(answered);
    let outcome = outcome(&held(plan(server.addr), Hold::Every(Duration::from_millis(200))));
    let counts = counts.lock().unwrap().clone();
    assert!(counts.len() == 7 && counts.values().all(|count| *count == 5), "{counts:?}");
    let all = outcome.held.as_ref().unwrap();
    assert_eq!((all.to_end, all.lost), (7, 3));
    assert!(all.first_lost_ns <= all.last_lost_ns && all.last_lost_ns < Some(1_000_000_000), "{all:?}");
    assert_eq!((outcome.errors.ended, outcome.ended.values().sum::<u64>()), (3, 3), "{:?}", outcome.ended);
    assert_eq!((outcome.connecting.up, outcome.connecting.turned_away, outcome.causes.len()), (10, 0, 0));
}

#[test]
fn silent_connections_that_are_dropped_are_reported_with_the_reason() {
    let server = Server::start(patient().idle_timeout(Some(Duration::from_secs(1))));
    let stop = Stop::After(Duration::from_secs(60));
    let outcome = outcome(&Plan { stop, ..held(plan(server.addr), Hold::Silent) });
    let all = outcome.held.as_ref().unwrap();
    assert_eq!((all.to_end, all.lost), (0, 10));
    assert!(all.first_lost_ns > Some(0), "{all:?}");
    assert_eq!(outcome.ended, [("peer finished".to_owned(), 10)].into());
    assert_eq!((outcome.errors.ended, outcome.errors.total()), (10, 10));
    assert_eq!((outcome.connecting.up, outcome.connecting.turned_away), (10, 0));
    let why = outcome.ended_early.as_deref().unwrap();
    assert!(why.contains("ended all connections (10 peer finished)"), "{why}");
}

#[test]
fn connections_that_close_before_the_measured_time_were_turned_away() {
    let server = Double::start(|number, client| {
        if number >= 4 {
            swallow(client);
        }
    });
    let plan = Plan { warmup: Duration::from_millis(300), ..plan(server.addr) };
    let outcome = outcome(&held(plan, Hold::Silent));
    let all = outcome.held.as_ref().unwrap();
    assert_eq!((all.to_end, all.lost), (6, 0));
    assert_eq!((outcome.connecting.up, outcome.connecting.turned_away), (6, 4));
    let lost: u64 = outcome.connecting.stages.iter().flat_map(|stage| stage.lost.values()).sum();
    assert_eq!(lost, 4, "{:?}", outcome.connecting.stages);
    assert!(outcome.causes[0].to_string().contains("limit of connections"), "{}", outcome.causes[0]);
}
