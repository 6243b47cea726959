//! Several targets, and sources of both families.

use std::time::Duration;

use frameloop::Address;
use frameloop::load::{Plan, Segment, Stop, Target};
use socket2::{Domain, Socket, Type};

use crate::support::{Server, patient};
use crate::{outcome, plan};

fn weighted(servers: [&Server; 2]) -> Vec<Target> {
    vec![Target { weight: 3, ..Target::new(servers[0].addr) }, Target::new(servers[1].addr)]
}

#[test]
fn connections_are_distributed_by_weight_over_threads_and_cohorts() {
    for threads in [1, 2, 3] {
        let servers = [(); 2].map(|()| Server::start(patient()));
        let targets = weighted([&servers[0], &servers[1]]);
        let outcome = outcome(&Plan { targets, threads, idle: 3, deaf: 1, drip: 4, ..plan(servers[0].addr) });
        let counts: Vec<_> = outcome.targets.iter().map(|target| (target.asked, target.up)).collect();
        assert_eq!(counts, [(11, 11), (3, 3)], "{threads}");
        assert_eq!((outcome.connecting.up, outcome.errors.total()), (18, 0));
        // With those that send a byte per second.
        assert_eq!(servers.each_ref().map(|server| server.stats().accepted), [14, 4], "{threads}");
        assert_eq!(outcome.targets[1].address, servers[1].addr.to_string());
    }
}

#[test]
fn all_segments_together_keep_the_weights() {
    let servers = [(); 2].map(|()| Server::start(patient()));
    let targets = weighted([&servers[0], &servers[1]]);
    let whole = Plan { targets, connections: 16, stop: Stop::Frames(160), ..plan(servers[0].addr) };
    for nth in 1..=3 {
        let outcome = outcome(&whole.share(Segment::new(nth, 3).unwrap()).unwrap());
        assert_eq!(outcome.errors.total(), 0, "{:?}", outcome.errors);
    }
    assert_eq!(servers.each_ref().map(|server| server.stats().accepted), [12, 4]);
}

#[test]
fn churn_goes_to_the_same_targets() {
    let servers = [(); 2].map(|()| Server::start(patient()));
    let targets = weighted([&servers[0], &servers[1]]);
    let churn = Plan { targets, connections: 8, churn: true, stop: Stop::Frames(200), ..plan(servers[0].addr) };
    let outcome = outcome(&churn);
    assert_eq!((outcome.frames, outcome.targets[0].up, outcome.targets[1].up), (200, 6, 2));
    assert!(servers.iter().all(|server| server.stats().accepted > 6));
}

#[test]
fn errors_are_counted_for_the_target_that_has_them() {
    let server = Server::start(patient());
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let refuses = holder.local_addr().unwrap().as_socket().unwrap();
    let targets = [server.addr, refuses].map(Target::new).to_vec();
    let outcome = outcome(&Plan { targets, ..plan(server.addr) });
    let [good, bad] = outcome.targets.as_slice() else { panic!("{:?}", outcome.targets) };
    assert_eq!((good.up, good.errors.total()), (5, 0));
    assert_eq!((bad.asked, bad.up, bad.errors.not_connected, bad.errors.total()), (5, 0, 5, 5));
    assert_eq!((outcome.frames, outcome.errors.not_connected), (1_000, 5));
    let failed: Vec<u64> = outcome.connecting.stages.iter().map(|stage| stage.errors()).collect();
    assert_eq!(failed, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1], "each tenth has a connection");
}

#[test]
fn unix_socket_and_tcp_are_targets_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let (tcp, unix) = (Server::start(patient()), Server::start_on_path(&path, patient()));
    let targets = vec![Target::new(tcp.addr), Target::new(Address::Unix(path.clone()))];
    let outcome = outcome(&Plan { targets, ..plan(tcp.addr) });
    assert_eq!((outcome.frames, outcome.errors.total()), (1_000, 0));
    assert_eq!((tcp.stats().accepted, unix.stats().accepted), (5, 5));
    assert_eq!(outcome.targets[1].address, format!("unix:{}", path.display()));
}

#[test]
fn sources_of_several_prefixes_and_families_are_used_in_turn() {
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let v4 = Server::start(patient().max_per_ip(Some(1)));
    let v6 = Server::start_on("[::1]:0", patient());
    let sources = "127.0.0.2/31,::1/128,127.0.1.0/30".parse().unwrap();
    let targets = [v4.addr, v6.addr].map(Target::new).to_vec();
    let outcome = outcome(&Plan { targets, sources, connections: 8, ..plan(v4.addr) });
    assert_eq!((outcome.connecting.up, outcome.errors.total()), (8, 0), "{:?}", outcome.connecting);
    // Four connections from four addresses.
    assert_eq!((v4.stats().accepted, v4.stats().refused.total(), v6.stats().accepted), (4, 0, 4));
}

#[test]
fn stages_of_connecting_hold_all_connections_in_their_order() {
    let server = Server::start(patient());
    let ramp = Plan {
        connections: 100,
        threads: 2,
        connect_rate: Some(500.0),
        stop: Stop::After(Duration::from_millis(50)),
        ..plan(server.addr)
    };
    let outcome = outcome(&ramp);
    let stages = &outcome.connecting.stages;
    assert_eq!(stages.iter().map(|stage| stage.connect.count()).collect::<Vec<_>>(), [10; 10]);
    assert!(stages.windows(2).all(|two| two[0].begun_ns < two[1].begun_ns), "{stages:?}");
    // 100 connections at 500 per second.
    assert!(stages[9].begun_ns >= 170_000_000 && stages[9].ended_ns <= outcome.connecting.took_ns, "{stages:?}");
}
