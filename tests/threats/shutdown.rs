//! Signals: how soon a server has ended. What its report says is in `tests/drain.rs`, and each figure in virtual time in
//! `src/tests/sim/threats/endings.rs`.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::assert_kept_once;
use crate::support::{Client, End, PAIR, Process, connect_and_ping, frame, payload};

const PROMISED: Duration = Duration::from_millis(100);
/// More than the kernel takes for a peer that does not read.
const STUCK_LEN: usize = 15 << 20;

/// A client with more pending output than the kernel accepts, which reads none of it.
fn stuck_reader(addr: SocketAddr) -> Client {
    let mut client = Client::connect_narrow(addr);
    client.send_bytes(&frame(&payload(9, STUCK_LEN)));
    client.stream.peek(&mut [0]).unwrap();
    client
}

#[test]
fn drain_with_stalled_reader_ends_100_ms_after_deadline() {
    const DRAIN: Duration = Duration::from_millis(400);
    let sent = frame(&payload(1, 1_000));
    assert_kept_once(DRAIN + PROMISED, || {
        let (server, addr) = Process::serve(&["--drain-timeout", "400ms"]);
        let (mut idle, mut half, stuck) = (connect_and_ping(addr), connect_and_ping(addr), stuck_reader(addr));
        half.send_bytes(&[&frame(b"before"), &sent[..500]].concat());
        half.expect(b"before");
        let begun = Instant::now();
        server.signal("TERM");
        assert_eq!(idle.end(), End::InOrder);
        assert!(TcpStream::connect(addr).is_err(), "it still accepts");
        drop(idle);
        half.send_bytes(&sent[500..]);
        half.expect(&payload(1, 1_000));
        assert_eq!(half.end(), End::InOrder);
        drop(half);
        let outcome = server.outcome();
        let taken = begun.elapsed();
        assert!(taken >= DRAIN, "it took {taken:?}: {outcome:?}");
        let (drained, cut, unsent) = outcome.drain_report();
        assert_eq!((drained, cut), (2, 1), "{outcome:?}");
        assert!(unsent > 0, "{outcome:?}");
        drop(stuck);
        taken
    });
}

#[test]
fn a_second_signal_ends_a_server_within_100_milliseconds() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        assert_kept_once(PROMISED, || {
            let (server, addr) = Process::serve(&["--drain-timeout", "1h"]);
            let (mut idle, stuck) = (connect_and_ping(addr), stuck_reader(addr));
            server.signal(first);
            assert_eq!(idle.end(), End::InOrder, "the first signal's drain has begun");
            drop(idle);
            thread::sleep(PAIR);
            let begun = Instant::now();
            server.signal(second);
            let outcome = server.outcome();
            let taken = begun.elapsed();
            let (drained, cut, unsent) = outcome.drain_report();
            assert!(drained + cut == 2 && cut >= 1 && unsent > 0, "{outcome:?}");
            drop(stuck);
            taken
        });
    }
}
