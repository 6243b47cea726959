//! Why fewer connections came up than were asked for.

use std::net::SocketAddr;
use std::time::Duration;

use frameloop::load::{Plan, Stop};
use socket2::{Domain, Socket, Type};

use crate::support::{Server, patient};
use crate::{outcome, plan};

/// A socket that is bound, and listens for `backlog` if there is one; nobody accepts.
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
fn a_port_where_nobody_listens_is_named() {
    let (_socket, addr) = bound(None);
    let outcome = outcome(&plan(addr));
    assert_eq!((outcome.connecting.up, outcome.frames), (0, 0));
    assert_eq!(outcome.connecting.failed, [("refused", 10)]);
    assert_eq!(outcome.errors.not_connected, 10);
    let cause = outcome.causes[0].to_string();
    assert!(cause.contains("10 connections: refused") && cause.contains("start the server"), "{cause}");
}

#[test]
fn a_listen_queue_that_is_full_is_named() {
    let (_socket, addr) = bound(Some(0));
    let patience = Duration::from_millis(100);
    let plan =
        Plan { connect_timeout: Duration::from_millis(1_500), stop: Stop::After(patience), patience, ..plan(addr) };
    let outcome = outcome(&plan);
    assert!(outcome.connecting.up <= 2, "{:?}", outcome.connecting);
    let (name, count) = outcome.connecting.failed[0];
    assert!(name == "timed out" && count >= 8, "{:?}", outcome.connecting);
    let cause = outcome.causes[0].to_string();
    assert!(cause.contains("no answer within 1.5s"), "{cause}");
    #[cfg(target_os = "linux")]
    assert!(cause.contains("listen queues of this machine were full"), "{cause}");
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let server = Server::start(patient().connections_per_ip_max(Some(2)));
    let sources = "127.0.0.1,127.0.0.2,127.0.1.0/30".parse().unwrap();
    let outcome = outcome(&Plan { sources, connections: 8, ..plan(server.addr) });
    assert_eq!((outcome.connecting.up, outcome.errors.total()), (8, 0));
    assert_eq!(server.stats().refused.total(), 0);
}

#[test]
fn a_server_of_few_connections_is_named_as_the_cause() {
    let server = Server::start(patient().connections_max(4));
    let outcome = outcome(&plan(server.addr));
    assert_eq!(outcome.connecting.turned_away, 6, "{:?}", outcome.connecting);
    assert!(outcome.causes[0].to_string().contains("--max-connections"));
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let server = Server::start(patient());
    let outcome = outcome(&Plan { sources: "192.0.2.1".parse().unwrap(), ..plan(server.addr) });
    assert_eq!(outcome.connecting.failed, [("no port", 10)]);
    let cause = outcome.causes[0].to_string();
    assert!(cause.contains("--source gives 1 addresses"), "{cause}");
}
