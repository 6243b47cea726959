//! The readiness lint on real sockets: what a healthy server must not report, and mistakes that only a kernel shows.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use frameloop::{
    Config, Connection, Context, Frame, Handler, Interest, Lint, LintMode, Reactor, Readiness, SourceId, Stats,
};
use support::{Server, frame, payload};

fn counts(stats: &Stats) -> Vec<(Lint, u64)> {
    stats.lints().collect()
}

/// Sends `rounds` bursts of frames on a stream, and reads the echo of each.
fn exchange(mut stream: impl Read + Write, payload_len: usize, burst: usize, rounds: usize) {
    let bytes = frame(&payload(1, payload_len)).repeat(burst);
    let mut received = vec![0; bytes.len()];
    for _ in 0..rounds {
        stream.write_all(&bytes).unwrap();
        stream.read_exact(&mut received).unwrap();
        assert!(received == bytes);
    }
}

#[test]
fn echo_under_load_has_no_lints() {
    let server = Server::start(support::patient().lint(LintMode::Count));
    thread::scope(|scope| {
        for (payload_len, burst, rounds) in [(64, 1, 2_000), (64, 1, 2_000), (1, 500, 50), (30_000, 1, 200)] {
            let stream = std::net::TcpStream::connect(server.addr).unwrap();
            scope.spawn(move || exchange(stream, payload_len, burst, rounds));
        }
    });
    let stats = server.stats();
    assert_eq!((stats.frames_in, counts(&stats)), (2 * 2_000 + 500 * 50 + 200, vec![]));
}

/// The kernel reports room on a Unix socket each time that the peer has read a reply.
#[test]
fn echo_on_a_unix_socket_has_no_lints() {
    let path = std::env::temp_dir().join(format!("frameloop-lints-{}.sock", std::process::id()));
    let server = Server::start_on_path(&path, support::patient().lint(LintMode::Count));
    thread::scope(|scope| {
        for (payload_len, burst, rounds) in [(64, 1, 2_000), (100, 30, 100)] {
            let stream = UnixStream::connect(&path).unwrap();
            scope.spawn(move || exchange(stream, payload_len, burst, rounds));
        }
    });
    let stats = server.stats();
    assert_eq!((stats.frames_in, counts(&stats)), (2_000 + 30 * 100, vec![]));
}

/// Blocks in its callback.
struct Blocking;

impl Handler for Blocking {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        thread::sleep(Duration::from_millis(5));
        let _ = conn.reply_frame(frame);
    }
}

#[test]
fn callback_that_blocks_is_found_on_a_busy_machine_too() {
    let config = Config::builder().lint(LintMode::Count).build().unwrap();
    let mut reactor = Reactor::new(config, Blocking).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    reactor.adopt_stream(ours, b"").unwrap();
    // In a turn in which the thread was preempted, it may be missed.
    for _ in 0..1_000 {
        theirs.write_all(&frame(b"hi")).unwrap();
        let before = reactor.stats().frames_in;
        while reactor.stats().frames_in == before {
            let _ = reactor.turn(None).unwrap();
        }
        theirs.read_exact(&mut [0; 6]).unwrap();
        if reactor.stats().lint(Lint::SlowCallback) > 0 {
            return;
        }
    }
    panic!("{}", reactor.stats());
}

/// Reads what is there, and writes until the socket is full if it is to do so.
struct Pipe {
    stream: UnixStream,
    writes: bool,
}

impl Handler for Pipe {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}

    fn on_source(&mut self, _: &mut Context<'_>, _: SourceId, ready: Readiness) {
        let is_full = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        while ready.readable && !self.stream.read(&mut [0; 100]).is_err_and(is_full) {}
        while ready.writable && self.writes && !self.stream.write(&[7; 10_000]).is_err_and(is_full) {}
    }
}

/// Lets a descriptor become ready so often, in a way that `prompt` decides, and counts.
fn count_of_reports(reports: usize, writes: bool, mut prompt: impl FnMut(&mut UnixStream)) -> u64 {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let config = Config::builder().lint(LintMode::Count).build().unwrap();
    let handler = Pipe { stream: ours.try_clone().unwrap(), writes };
    let mut reactor = Reactor::new(config, handler).unwrap();
    let source = reactor.watch(&ours, Interest::Both).unwrap();
    for _ in 0..reports {
        prompt(&mut theirs);
        reactor.rewatch(source, Interest::Both).unwrap();
        let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let counts: Vec<_> = reactor.stats().lints().filter(|(lint, _)| *lint != Lint::SlowCallback).collect();
    counts.iter().for_each(|(lint, _)| assert_eq!(*lint, Lint::UnusedWriteInterest));
    counts.iter().map(|(_, count)| count).sum()
}

#[test]
fn room_that_a_source_leaves_unused_is_counted_each_hundred_times() {
    for (reports, count) in [(99, 0), (100, 1), (250, 2)] {
        assert_eq!(count_of_reports(reports, false, |_| {}), count, "{reports}");
    }
}

#[test]
fn source_that_writes_until_it_is_full_is_no_mistake() {
    // It is read up each time, so that there is room again.
    let read_up = |theirs: &mut UnixStream| while theirs.read(&mut [0; 10_000]).is_ok_and(|len| len > 0) {};
    assert_eq!(count_of_reports(250, true, read_up), 0);
}

#[test]
fn room_reported_together_with_input_is_no_mistake() {
    assert_eq!(count_of_reports(250, false, |theirs| theirs.write_all(b"hi").unwrap()), 0);
}
