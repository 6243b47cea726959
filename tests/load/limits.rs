//! Why fewer connections came up than were asked for.

use std::net::SocketAddr;
use std::time::Duration;

use frameloop::Address;
use frameloop::load::{Plan, Stop, Target, Unwatched, run};
use socket2::{Domain, Socket, Type};

use crate::support::{Server, patient};
use crate::{outcome, plan};

/// A socket that is bound, and listens for `backlog` if there is one; it never accepts.
fn bound(backlog: Option<i32>) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    if let Some(backlog) = backlog {
        socket.listen(backlog).unwrap();
    }
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

#[test]
fn port_without_listener_is_named() {
    let (_socket, addr) = bound(None);
    let outcome = outcome(&plan(addr));
    assert_eq!((outcome.connecting.up, outcome.frames), (0, 0));
    assert_eq!(outcome.connecting.failed, [("refused".to_owned(), 10)].into());
    assert_eq!(outcome.errors.not_connected, 10);
    let cause = outcome.causes[0].to_string();
    assert!(cause.contains("10 connections: refused") && cause.contains("start the server"), "{cause}");
}

#[test]
fn a_listen_queue_that_is_full_is_named() {
    let (_socket, addr) = bound(Some(0));
    let grace = Duration::from_millis(100);
    let plan = Plan { connect_timeout: Duration::from_millis(1_500), stop: Stop::After(grace), grace, ..plan(addr) };
    let outcome = outcome(&plan);
    assert!(outcome.connecting.up <= 2, "{:?}", outcome.connecting);
    assert!(outcome.connecting.failed["timed out"] >= 8, "{:?}", outcome.connecting);
    let cause = outcome.causes[0].to_string();
    assert!(cause.contains("no answer within 1.5s"), "{cause}");
    #[cfg(target_os = "linux")]
    assert!(cause.contains("listen queues of this machine were full"), "{cause}");
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let server = Server::start(patient().max_per_ip(Some(2)));
    let sources = "127.0.0.1,127.0.0.2,127.0.1.0/30".parse().unwrap();
    let outcome = outcome(&Plan { sources, connections: 8, ..plan(server.addr) });
    assert_eq!((outcome.connecting.up, outcome.errors.total()), (8, 0));
    assert_eq!(server.stats().refused.total(), 0);
}

#[test]
fn a_server_of_few_connections_is_named_as_the_cause() {
    let server = Server::start(patient().max_connections(4));
    let outcome = outcome(&plan(server.addr));
    assert_eq!(outcome.connecting.turned_away, 6, "{:?}", outcome.connecting);
    assert!(outcome.causes[0].to_string().contains("--max-connections"));
}

#[test]
fn source_that_is_not_local_is_named_before_the_run() {
    let server = Server::start(patient());
    for sources in ["192.0.2.1", "127.0.0.1,192.0.2.1", "192.0.2.1/31"] {
        let plan = Plan { sources: sources.parse().unwrap(), ..plan(server.addr) };
        let error = run(&plan, &mut Unwatched).unwrap_err().to_string();
        let first = if sources.contains('/') { "192.0.2.0" } else { "192.0.2.1" };
        assert!(error.starts_with(&format!("source {first} is not an address of this machine")), "{error}");
    }
}

#[test]
fn run_against_a_missing_unix_socket_names_the_cause() {
    let path = std::env::temp_dir().join(format!("frameloop-limits-{}.sock", std::process::id()));
    let long = std::env::temp_dir().join("x".repeat(200));
    for (path, name, words) in [(path, "not found", "no such socket file"), (long, "path too long", "too long")] {
        let plan = Plan { targets: vec![Target::new(Address::Unix(path))], ..plan(([127, 0, 0, 1], 1).into()) };
        let outcome = outcome(&plan);
        assert_eq!(outcome.connecting.failed, [(name.to_owned(), 10)].into());
        assert!(outcome.causes[0].to_string().contains(words), "{}", outcome.causes[0]);
    }
}

#[test]
fn other_addresses_of_a_name_are_tried_when_the_first_refuses() {
    let server = Server::start(patient());
    let (_holder, refuses) = bound(None);
    let target = Target { other_addrs: vec![server.addr], ..Target::new(refuses) };
    let by_name = || Plan { targets: vec![target.clone()], ..plan(refuses) };
    for churn in [false, true] {
        let plan = Plan { churn, ..by_name() };
        let outcome = outcome(&plan);
        assert_eq!((outcome.connecting.up, outcome.frames, outcome.errors.total()), (10, 1_000, 0), "{outcome:?}");
    }
    // Each connection falls back while the first ones do; later ones know which address works.
    let idle = Plan { idle: 2, drip: 2, deaf: 2, ..by_name() };
    assert_eq!(outcome(&idle).connecting.up, 16);
}
