//! Measurements: how long others wait alongside a flooder, and in a burst of connects.
//!
//! That they wait for a bounded amount of work is asserted in virtual time (`src/tests/sim/threats/fairness.rs`). How long that
//! takes depends on the machine, so it is measured only where `FRAMELOOP_TEST_TIMED` is set.

use std::io::{Read, Write, stderr};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, iter, process, thread};

use crate::streams::{Server, echo};
use crate::support::process::full_pipe;
use crate::support::{ADDR, Client, Process, addr_of_part, connect_and_ping, frame, part};
use crate::{ROUNDS, support};

const TIMED: &str = "FRAMELOOP_TEST_TIMED";
const PINGERS: usize = 100;

/// If measurements are asked for, waits until no other is under way; if not, a line says that the calling test is left out.
pub(crate) fn begin() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if env::var_os(TIMED).is_some() {
        return Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(stderr(), "left out: {test}, which is a measurement: set {TIMED}=1");
    None
}

/// The round trips of pingers who all ask at the same time, over and over while `goes_on` says so.
fn round_trips(pingers: &mut [Client], mut goes_on: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    let ping = frame(b"ping");
    for round in 0.. {
        if !goes_on(round) {
            break;
        }
        let asked: Vec<_> = pingers
            .iter_mut()
            .map(|pinger| {
                let asked = Instant::now();
                pinger.send_bytes(&ping);
                asked
            })
            .collect();
        for (pinger, asked) in pingers.iter_mut().zip(asked) {
            pinger.expect(b"ping");
            took.push(asked.elapsed());
        }
        thread::sleep(Duration::from_millis(2));
    }
    took.sort();
    took
}

pub(crate) fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// Keeps a server busy with frames of 4 MB until it is over.
fn flood(addr: SocketAddr, is_over: &AtomicBool) {
    let client = Client::connect(addr);
    let (mut reader, mut writer) = (client.clone_for_thread(), client);
    let flood = frame(&support::payload(1, 4 << 20));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut buf = vec![0; 1 << 20];
            while reader.stream.read(&mut buf).is_ok_and(|len| len > 0) {}
        });
        while !is_over.load(Ordering::Relaxed) {
            writer.send_bytes(&flood);
        }
        writer.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
}

#[test]
fn flooder_keeps_pingers_p99_within_twice_baseline() {
    const ASKED: usize = 300;
    let Some(_alone) = begin() else { return };
    let (_server, addr) = Process::serve(&["-q"]);
    let mut pingers: Vec<_> = iter::repeat_with(|| connect_and_ping(addr)).take(PINGERS).collect();
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        let baseline = p99(&round_trips(&mut pingers, |round| round < ASKED));
        let is_over = AtomicBool::new(false);
        let flooded = thread::scope(|scope| {
            scope.spawn(|| flood(addr, &is_over));
            let took = round_trips(&mut pingers, |round| round < ASKED);
            is_over.store(true, Ordering::Relaxed);
            p99(&took)
        });
        measured.push((baseline, flooded));
        if flooded <= 2 * baseline + Duration::from_millis(5) {
            return println!("p99 without and with the flooder: {measured:?}");
        }
    }
    panic!("p99 without and with the flooder: {measured:?}");
}

const BURST: usize = 20_000;
const PARTS: usize = 2;

/// Not a test of its own: a half of the burst.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_burst() {
    let Some(addr) = addr_of_part() else { return };
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // From an address for each thousand: of one, the kernel would look for free ports longer and longer.
    let source = |index: usize| [127, 9, (process::id() % 250 + 1) as u8, (index / 1_000 + 1) as u8];
    let mut connected: Vec<_> = (0..BURST / PARTS).map(|index| Client::connect_from(source(index), addr)).collect();
    println!("connected {}", connected.len());
    // Until it is killed; or until its parent is.
    let _ = connected[0].stream.read(&mut [0]);
}

#[test]
fn burst_of_20000_connects_keeps_p99_within_50_ms() {
    const PROMISED: Duration = Duration::from_millis(50);
    let Some(_alone) = begin() else { return };
    if rlimit::increase_nofile_limit(u64::MAX).unwrap() < (BURST / PARTS + 100) as u64 {
        return support::skip("a half of the burst needs more open files");
    }
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        // As many as there are descriptors are accepted, and later clients are refused.
        let (server, addr) = Process::serve(&["-q"]);
        let mut pingers: Vec<_> = iter::repeat_with(|| connect_and_ping(addr)).take(PINGERS).collect();
        let begun = Instant::now();
        let parts: Vec<_> =
            (0..PARTS).map(|_| Process::start(part("timed::part_of_a_burst").env(ADDR, addr.to_string()))).collect();
        let line = format!("connected {}", BURST / PARTS);
        let are_connected = || parts.iter().all(|part| part.has_shown(&line));
        let took = round_trips(&mut pingers, |_| !are_connected() && begun.elapsed() < support::PATIENCE);
        assert!(are_connected(), "the burst was not over within {:?}", support::PATIENCE);
        let figures = (p99(&took), took[took.len() - 1], begun.elapsed());
        measured.push(figures);
        parts.into_iter().for_each(drop);
        drop(server);
        if figures.0 <= PROMISED {
            return println!("p99, the longest and the whole burst: {measured:?}");
        }
    }
    panic!("p99, the longest and the whole burst: {measured:?}");
}

/// The p99 of a bystander's round trips on a server, over a second.
fn bystander(client: &mut std::os::unix::net::UnixStream) -> Duration {
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        echo(client);
        took.push(asked.elapsed());
    }
    took.sort();
    p99(&took)
}

/// Whether a bystander's p99 is at most a millisecond above that of a quiet server, in one of the rounds.
#[track_caller]
pub(crate) fn assert_close_to_quiet(mut round: impl FnMut() -> (Duration, Duration)) {
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        let (quiet, troubled) = round();
        measured.push((quiet, troubled));
        if troubled <= quiet + Duration::from_millis(1) {
            return println!("p99, quiet and troubled: {measured:?}");
        }
    }
    panic!("p99, quiet and troubled: {measured:?}");
}

/// Connects and resets until it is over: lines for the log.
fn noise(server: &Server, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let mut client = server.connect();
        let _ = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
        thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn unread_stderr_keeps_p99_within_1_ms() {
    let Some(_alone) = begin() else { return };
    assert_close_to_quiet(|| {
        let p99_with = |stderr: Stdio| {
            let server = Server::start(&["-v"], Stdio::null(), stderr);
            let mut client = server.connect();
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| noise(&server, &is_over));
                let p99 = bystander(&mut client);
                is_over.store(true, Ordering::Relaxed);
                p99
            })
        };
        let quiet = p99_with(Stdio::null());
        let (_reader, writer) = full_pipe();
        (quiet, p99_with(writer.into()))
    });
}

/// The p99 of a bystander without signals, and then while `signals` of them are sent as fast as `pause` lets them.
fn storm(stderr: impl Into<Stdio>, signals: u32, pause: Duration) -> (Duration, Duration) {
    let server = Server::start(&[], Stdio::null(), stderr);
    let mut client = server.connect();
    let quiet = bystander(&mut client);
    let troubled = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..signals {
                server.signal("USR1");
                thread::sleep(pause);
            }
        });
        bystander(&mut client)
    });
    (quiet, troubled)
}

#[test]
fn storm_of_sigusr1_keeps_p99_within_1_ms() {
    let Some(_alone) = begin() else { return };
    assert_close_to_quiet(|| storm(Stdio::null(), 200_000, Duration::ZERO));
    assert_close_to_quiet(|| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        // Read slowly, to the end.
        thread::spawn(move || {
            while reader.read(&mut [0; 64]).is_ok_and(|len| len > 0) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        storm(writer, 5_000, Duration::from_micros(100))
    });
}
