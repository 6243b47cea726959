//! The end of a server with clients connected: what is under way is finished, what is stuck is cut, and the report is exact.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use frameloop::{Address, Config, Echo, Reactor};
use support::{Client, End, PATIENCE, Server, frame, patient, payload};

#[test]
fn a_drain_answers_what_has_come_and_then_closes() {
    let server = Server::start(patient());
    let (mut idle, mut half, mut large) = (server.connect(), server.connect(), server.connect());
    idle.call(b"nothing more");
    let (sent, sent_large) = (frame(&payload(1, 1_000)), payload(2, 8 << 20));
    half.send_bytes(&sent[..500]);
    large.send(&sent_large);
    server.stats_when(|stats| stats.bytes_in == 16 + 500 + 4 + (8 << 20));

    server.drain();
    assert_eq!(idle.end(), End::InOrder);
    drop(idle);
    half.send_bytes(&sent[500..]);
    half.expect(&payload(1, 1_000));
    assert_eq!(half.end(), End::InOrder);
    drop(half);
    large.expect(&sent_large);
    assert_eq!(large.end(), End::InOrder);
    drop(large);
    let report = server.report();
    assert_eq!((report.drained, report.cut, report.unsent_bytes), (3, 0, 0));
}

#[cfg(feature = "cli")]
#[test]
fn signal_right_after_start_drains_no_connection() {
    let (server, _) = support::Process::serve(&["--drain-timeout", "1h"]);
    server.signal("TERM");
    assert_eq!(server.outcome().drain_report(), (0, 0, 0));
}

/// Each has sent a frame before the drain begins, and none is accepted by then.
#[test]
fn clients_in_the_listen_queue_are_answered_over_tcp_and_unix() {
    const COUNT: usize = 200;
    let path = std::env::temp_dir().join(format!("frameloop-drain-{}.sock", std::process::id()));
    for addr in [Address::Tcp(([127, 0, 0, 1], 0).into()), Address::Unix(path.clone())] {
        for is_by_handle in [false, true] {
            let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
            let bound = reactor.listen(&addr).unwrap();
            let mut clients: Vec<_> = (0..COUNT)
                .map(|_| match &bound {
                    Address::Tcp(addr) => Client::connect(*addr),
                    Address::Unix(path) => {
                        let stream = TcpStream::from(OwnedFd::from(UnixStream::connect(path).unwrap()));
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        Client { stream }
                    }
                    other => panic!("{other}"),
                })
                .collect();
            clients.iter_mut().for_each(|client| client.send(b"before the drain"));
            if is_by_handle {
                reactor.handle().drain().unwrap();
            } else {
                reactor.drain();
            }
            let thread = std::thread::spawn(move || {
                reactor.run().unwrap();
                reactor.drain_report().clone()
            });
            for mut client in clients {
                client.expect(b"before the drain");
                assert_eq!(client.end(), End::InOrder);
            }
            let report = thread.join().unwrap();
            assert_eq!((report.drained, report.cut), (COUNT as u64, 0), "{bound}");
            assert!(!path.exists());
        }
    }
}
