//! Servers that go away and come back, and responses that come too late.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use frameloop::load::{LoadError, Plan, Stop, Unwatched, run};

use crate::double::{Double, echo, frame, swallow};
use crate::{outcome, plan};

const TIMEOUT: Duration = Duration::from_millis(60);

/// Holds the response to its first frame back until the second frame is there, and then echoes.
fn late_once() -> Double {
    Double::start(|_, client| {
        let frames = [frame(client), frame(client)].map(Option::unwrap_or_default);
        let _ = client.write_all(&frames.concat());
        echo(client, usize::MAX);
    })
}

#[test]
fn late_reply_is_counted_and_not_matched_to_the_next_request() {
    let server = late_once();
    let frames = Stop::Frames(20);
    let outcome = outcome(&Plan { connections: 1, stop: frames, request_timeout: Some(TIMEOUT), ..plan(server.addr) });
    assert_eq!((outcome.frames, outcome.late_replies), (20, 1));
    assert_eq!((outcome.errors.timed_out, outcome.errors.total()), (1, 1), "{:?}", outcome.errors);
    // The frame that timed out is charged with its wait.
    assert_eq!(outcome.service.len(), 21);
    assert!(outcome.service.max() >= TIMEOUT.as_nanos() as u64 * 99 / 100, "{}", outcome.service.max());
    assert!(outcome.errors.unanswered_wait_max_ns >= TIMEOUT.as_nanos() as u64);
}

#[test]
fn late_reply_in_the_open_loop_is_counted() {
    // With more than one frame in flight, each that is sent while the first is held back may time out.
    let server = Double::start(|number, client| {
        if number > 0 {
            return echo(client, usize::MAX);
        }
        let mut held = frame(client).unwrap_or_default();
        while let Some(next) = frame(client) {
            held.extend(next);
            // 20 frames at 200 per second are sent within 100 ms.
            if held.len() >= 20 * 68 {
                let _ = client.write_all(&std::mem::take(&mut held));
                return echo(client, usize::MAX);
            }
        }
    });
    let plan = Plan {
        connections: 1,
        rate: Some(200.0),
        stop: Stop::After(Duration::from_millis(500)),
        request_timeout: Some(TIMEOUT),
        ..plan(server.addr)
    };
    let outcome = outcome(&plan);
    let errors = &outcome.errors;
    assert_eq!(outcome.targets[0].errors, *errors, "by target too");
    assert!(errors.timed_out >= 1 && errors.total() == errors.timed_out, "{errors:?}");
    // On a busy machine, a frame may time out at the end, and its response come after it.
    assert!((1..=errors.timed_out).contains(&outcome.late_replies), "{} of {errors:?}", outcome.late_replies);
    assert_eq!(
        outcome.frames + outcome.frames_after_end + errors.timed_out,
        100,
        "each frame that was due is in the result once"
    );
    assert_eq!(outcome.response.unwrap().len(), 100);
}

#[test]
fn request_without_a_response_frees_its_place() {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let server = Double::start(move |_, client| {
        while frame(client).is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let plan = Plan {
        connections: 2,
        depth: 3,
        stop: Stop::After(Duration::from_millis(250)),
        request_timeout: Some(TIMEOUT),
        grace: Duration::ZERO,
        ..plan(server.addr)
    };
    let outcome = outcome(&plan);
    let errors = &outcome.errors;
    // Six places are refilled after 60, 120, 180 and 240 ms, or later on a busy machine.
    assert!(errors.timed_out >= 6, "{errors:?}");
    assert_eq!((errors.unanswered + errors.timed_out, outcome.frames), (errors.total(), 0), "{errors:?}");
}

#[test]
fn churn_closes_a_connection_whose_request_timed_out() {
    let server = Double::start(|number, client| if number == 0 { swallow(client) } else { echo(client, usize::MAX) });
    let plan = Plan {
        connections: 1,
        churn: true,
        stop: Stop::Frames(10),
        request_timeout: Some(TIMEOUT),
        ..plan(server.addr)
    };
    let outcome = outcome(&plan);
    assert_eq!((outcome.frames, outcome.errors.timed_out, outcome.errors.total()), (10, 1, 1));
}

#[test]
fn lost_connection_is_dialed_again() {
    let server = Double::start(|number, client| echo(client, if number == 0 { 10 } else { usize::MAX }));
    let frames = Stop::Frames(50);
    let outcome = outcome(&Plan { connections: 1, stop: frames, reconnect: true, ..plan(server.addr) });
    assert_eq!((outcome.frames, outcome.errors.ended), (50, 1), "{:?}", outcome.errors);
    let outage = outcome.outages[0];
    assert!(outcome.outages.len() == 1 && outage.is_over, "{:?}", outcome.outages);
    assert_eq!((outage.connections, outage.failed_dials), (1, 0));
    assert!(outage.length >= Duration::from_millis(50), "{outage:?}");
    assert_eq!(outcome.ended_early, None);
}

#[test]
fn server_that_closes_at_once_is_dialed_less_and_less_often() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let server = Double::start(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let duration = Stop::After(Duration::from_millis(1_200));
    let outcome = outcome(&Plan { connections: 1, stop: duration, reconnect: true, ..plan(server.addr) });
    // The waits are at least 50, 100, 200, 400 and 800 ms.
    let accepted = accepted.load(Ordering::Relaxed);
    assert!((2..=6).contains(&accepted), "{accepted}");
    assert_eq!(outcome.frames, 0);
    assert!(!outcome.outages.last().unwrap().is_over, "{:?}", outcome.outages);
}

/// How long a server is away.
const AWAY: Duration = Duration::from_millis(400);

/// An open loop of 1,500 frames on one connection, whose server is away after 100 of them.
#[cfg(target_os = "linux")]
fn through_an_outage(host: [u8; 4]) -> Plan {
    let stop = Stop::After(Duration::from_millis(1_500));
    Plan { connections: 1, rate: Some(1_000.0), stop, reconnect: true, ..plan(away_once(host, 100)) }
}

/// A server that echoes `frames` frames of its first client, is away, and returns.
#[cfg(target_os = "linux")]
fn away_once(host: [u8; 4], frames: usize) -> SocketAddr {
    // An address of its own: no other socket takes the port meanwhile.
    let listener = TcpListener::bind((std::net::Ipv4Addr::from(host), 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        echo(&mut client, frames);
        drop((listener, client));
        thread::sleep(AWAY);
        let listener = TcpListener::bind(addr).unwrap();
        let serve = |mut client: TcpStream| thread::spawn(move || echo(&mut client, usize::MAX));
        listener.incoming().for_each(|client| drop(client.map(serve)));
    });
    addr
}

#[test]
#[cfg(target_os = "linux")]
fn frames_that_are_due_in_an_outage_wait_for_its_end() {
    let outcome = outcome(&through_an_outage([127, 91, 0, 1]));
    let (errors, outages) = (&outcome.errors, &outcome.outages);
    assert!(outages.len() == 1 && outages[0].is_over && outages[0].failed_dials > 0, "{outages:?}");
    assert!(outages[0].length >= AWAY * 9 / 10, "{outages:?}");
    assert_eq!((errors.ended, errors.unanswered), (1, outages[0].frames), "{errors:?}");
    assert_eq!(outcome.frames + outcome.frames_after_end + errors.unanswered, 1_500);
    assert!(outcome.generator.late_p99_ns < AWAY.as_nanos() as u64 / 2, "the wait is not the generator's delay");
    let response = outcome.response.unwrap();
    assert_eq!(response.len(), 1_500, "each frame that was due is in the latencies once");
    assert!(response.max() >= AWAY.as_nanos() as u64 * 8 / 10, "an outage cannot be hidden: {}", response.max());
}

#[test]
#[cfg(target_os = "linux")]
fn frames_that_waited_too_long_in_an_outage_time_out() {
    let timeout = Some(Duration::from_millis(150));
    let outcome = outcome(&Plan { request_timeout: timeout, ..through_an_outage([127, 91, 0, 2]) });
    let errors = &outcome.errors;
    assert!(errors.timed_out >= 100, "{errors:?}");
    assert_eq!(outcome.frames + outcome.frames_after_end + errors.unanswered + errors.timed_out, 1_500, "{errors:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn server_that_is_away_at_the_beginning_is_dialed_again() {
    let listener = TcpListener::bind(("127.91.0.3", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    thread::spawn(move || {
        thread::sleep(AWAY / 2);
        let listener = TcpListener::bind(addr).unwrap();
        let serve = |mut client: TcpStream| thread::spawn(move || echo(&mut client, usize::MAX));
        listener.incoming().for_each(|client| drop(client.map(serve)));
    });
    let frames = Stop::Frames(100);
    let outcome = outcome(&Plan { connections: 2, stop: frames, reconnect: true, ..plan(addr) });
    assert_eq!((outcome.frames, outcome.errors.not_connected), (100, 2), "{:?}", outcome.errors);
}

#[test]
fn load_ends_after_the_grace_without_a_response() {
    let server = Double::start(|_, client| swallow(client));
    let plan = Plan {
        connections: 1,
        stop: Stop::After(Duration::from_millis(50)),
        grace: Duration::from_millis(20),
        ..plan(server.addr)
    };
    let errors = outcome(&plan).errors;
    assert_eq!((errors.unanswered, errors.total()), (1, 1));
    let wait = Duration::from_nanos(errors.unanswered_wait_max_ns);
    assert!(wait >= Duration::from_millis(70), "{wait:?}");
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let refused = |plan: Plan| match run(&plan, &mut Unwatched) {
        Err(LoadError::Plan(message)) => message,
        other => panic!("{other:?}"),
    };
    let base = plan(SocketAddr::from(([127, 0, 0, 1], 1)));
    let timeout = Some(TIMEOUT);
    assert!(refused(Plan { replies: 0, request_timeout: timeout, ..base.clone() }).contains("replies is 0"));
    assert!(refused(Plan { churn: true, reconnect: true, ..base.clone() }).contains("churn"));
    assert!(refused(Plan { request_timeout: Some(Duration::ZERO), ..base.clone() }).contains("request timeout is 0"));
    assert!(refused(Plan { grace: Duration::MAX, ..base }).contains("grace"));
}
