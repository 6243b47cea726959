//! Reactors inside other loops, next to other threads, and next to each other: the examples of that, under load and with budgets
//! that leave work behind in every turn.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../examples/loop_calloop.rs"]
mod loop_calloop;
#[allow(dead_code, unreachable_pub)]
#[path = "../examples/loop_mio.rs"]
mod loop_mio;
#[allow(dead_code, unreachable_pub)]
#[path = "../examples/loop_poll.rs"]
mod loop_poll;
#[allow(dead_code, unreachable_pub)]
#[path = "../examples/loop_tokio.rs"]
mod loop_tokio;
mod support;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use frameloop::{Address, Config, Connection, Frame, Handler, Reactor};
use support::process::Process;
use support::{Client, End, example, frame, payload};

type Drive = fn(Reactor<Sleepy>, UnixStream) -> Result<(), Box<dyn Error>>;

/// Echoes, and stops the loop for a while if the payload is [`WAIT`].
struct Sleepy;

const WAIT: &[u8] = b"wait";

impl Handler for Sleepy {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
        if frame.payload() == WAIT {
            thread::sleep(Duration::from_millis(100));
        }
        conn.reply_frame(frame).unwrap();
    }
}

/// Drives a reactor whose turns take one event and deliver one frame at a time: the outer loop is to give it a turn for each of
/// them, although the descriptor reports most of them once, together.
#[track_caller]
fn lose_no_wakeup(drive: Drive) {
    let frame_timeout = Duration::from_millis(150);
    let config = Config::builder().events_per_turn(1).frame_budget(1).frame_timeout(Some(frame_timeout));
    let mut reactor = Reactor::new(config.build().unwrap(), Sleepy).unwrap();
    let Address::Tcp(addr) = reactor.listen(&"127.0.0.1:0".parse().unwrap()).unwrap() else { panic!("no TCP address") };
    let (quit, far_end) = UnixStream::pair().unwrap();
    let outer = thread::spawn(move || drive(reactor, quit).map_err(|error| error.to_string()));

    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(addr)).collect();
    // One report of the descriptor for the events of all clients, each of which takes a turn of its own.
    clients[0].send(WAIT);
    clients.iter_mut().for_each(|client| client.send(b"sent meanwhile"));
    clients[0].expect(WAIT);
    clients.iter_mut().for_each(|client| client.expect(b"sent meanwhile"));
    for round in 0..10 {
        let frames = [0, 1, 2].map(|seed| payload(round * 3 + seed, 100));
        let bytes = frames.each_ref().map(|payload| frame(payload)).concat();
        clients.iter_mut().for_each(|client| client.send_bytes(&bytes));
        for client in &mut clients {
            frames.iter().for_each(|payload| client.expect(payload));
        }
    }
    // More than the budgets of many turns, in both directions.
    let large = payload(1, 4 << 20);
    let mut writer = clients[0].clone_for_thread();
    let sent = large.clone();
    let writer = thread::spawn(move || writer.send(&sent));
    clients[0].expect(&large);
    writer.join().unwrap();
    // Nothing but a deadline asks for this turn.
    let began = Instant::now();
    clients[1].send_bytes(&[0, 0]);
    assert_eq!(clients[1].end(), End::InOrder);
    assert!(began.elapsed() >= frame_timeout);

    drop(far_end);
    clients.remove(1);
    for client in &mut clients {
        assert_eq!(client.end(), End::InOrder);
    }
    assert_eq!(outer.join().unwrap(), Ok(()));
}

#[test]
fn poll_loop_loses_no_wakeup() {
    lose_no_wakeup(loop_poll::drive);
}

#[test]
fn mio_loop_loses_no_wakeup() {
    lose_no_wakeup(loop_mio::drive);
}

#[test]
fn calloop_loop_loses_no_wakeup() {
    lose_no_wakeup(loop_calloop::drive);
}

#[test]
fn tokio_loop_loses_no_wakeup() {
    lose_no_wakeup(loop_tokio::drive);
}

/// An example, and the addresses on which it listens.
fn start(name: &str, listeners: usize) -> (Process, Vec<SocketAddr>) {
    let process = Process::start(Command::new(example(name)).stdin(Stdio::piped()));
    let addrs = (0..listeners).map(|_| process.listening_on().parse().unwrap()).collect();
    (process, addrs)
}

/// Closes standard input: the example drains and ends.
#[track_caller]
fn drain(mut process: Process, mut clients: Vec<Client>) -> String {
    process.close_stdin();
    for client in &mut clients {
        assert_eq!(client.end(), End::InOrder);
    }
    let outcome = process.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    outcome.stdout
}

#[test]
fn examples_echo_and_drain_when_stdin_closes() {
    for name in ["loop_poll", "loop_mio", "loop_calloop", "loop_tokio", "thread_with_handle"] {
        let (process, addrs) = start(name, 1);
        let mut client = Client::connect(addrs[0]);
        client.call(name.as_bytes());
        drain(process, vec![client]);
    }
}

#[test]
fn lines_of_another_thread_reach_all_clients() {
    let (mut process, addrs) = start("thread_with_handle", 1);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(addrs[0])).collect();
    clients.iter_mut().for_each(|client| client.call(b"accepted"));
    process.stdin().write_all(b"first\nsecond\n").unwrap();
    for client in &mut clients {
        client.expect(b"first");
        client.expect(b"second");
    }
    assert_eq!(drain(process, clients), "sent to 3 clients\nsent to 3 clients\n");
}

#[test]
fn reactors_on_one_thread_have_limits_of_their_own() {
    let (process, addrs) = start("two_reactors", 2);
    let mut clients: Vec<_> = addrs.iter().map(|addr| Client::connect(*addr)).collect();
    for round in 0..50 {
        clients.iter_mut().for_each(|client| client.send(&payload(round, 60)));
        clients.iter_mut().for_each(|client| client.expect(&payload(round, 60)));
    }
    clients[0].call(&payload(1, 65));
    let mut refused = Client::connect(addrs[1]);
    refused.send(&payload(1, 65));
    assert_ne!(refused.receive(), Ok(payload(1, 65)));
    clients[1].call(b"served");
    drain(process, clients);
}

#[test]
fn reactors_on_two_threads_share_a_port() {
    let (process, addrs) = start("reactor_per_thread", 1);
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(addrs[0])).collect();
    clients.iter_mut().for_each(|client| client.call(b"accepted by one of them"));
    let shown = drain(process, clients);
    let number = |line: &str| line.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    let accepted: Vec<u64> = shown.lines().map(number).collect();
    assert_eq!((accepted.len(), accepted.iter().sum::<u64>()), (2, 40));
    // The kernel chooses by a hash of the addresses: that all 40 hash alike has a chance of 1 to 2^39.
    assert!(!accepted.contains(&0), "{accepted:?}");
}
