//! A run ends in its time whatever the server does: connecting, the warm-up, the duration, and the wait for answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use frameloop::load::{Plan, Stop};

use crate::double::{Double, frame, swallow};
use crate::{outcome, plan};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const WARMUP: Duration = Duration::from_millis(50);
const DURATION: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_millis(300);
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
        patience: PATIENCE,
        stall_timeout: PATIENCE,
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
            let (took, documented) = (begun.elapsed(), CONNECT_TIMEOUT + WARMUP + DURATION + PATIENCE);
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
