//! A listener whose connections are limited apart from all others.

use std::time::Duration;

use crate::config::Config;
use crate::handler::Echo;
use crate::options::ListenOptions;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Peer, Sim, SimNet};

const USUAL: u16 = 1;
const APART: u16 = 2;

struct Scene {
    sim: Sim,
    reactor: Reactor<Echo, SimNet>,
}

impl Scene {
    /// Two connections in all, from two of an address, and two more on another listener.
    fn new() -> Self {
        let sim = Sim::new(9);
        let config =
            Config::builder().max_connections(2).max_per_ip(Some(2)).reclaim_idle(Some(Duration::from_secs(1)));
        let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), Echo).unwrap();
        reactor.listen(&sim.addr(USUAL)).unwrap();
        let options = ListenOptions::default().max_connections(2).name("apart");
        reactor.listen_with(&sim.addr(APART), options).unwrap();
        Self { sim, reactor }
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn connect(&mut self, port: u16) -> Peer {
        let peer = self.sim.connect(port).unwrap();
        self.settle();
        peer
    }

    fn is_served(&mut self, peer: &Peer) -> bool {
        peer.send(b"\0\0\0\x02hi");
        self.settle();
        peer.receive() == b"\0\0\0\x02hi"
    }
}

#[test]
fn full_server_serves_a_listener_with_a_limit_of_its_own() {
    let mut scene = Scene::new();
    for ports in [[USUAL, APART], [APART, USUAL]] {
        let mut peers = Vec::new();
        for port in ports {
            let admitted = [scene.connect(port), scene.connect(port)];
            assert!(admitted.iter().all(|peer| scene.is_served(peer)), "{port}");
            let refused = scene.connect(port);
            assert!(!scene.is_served(&refused), "{port}");
            peers.extend(admitted);
        }
        assert!(peers.iter().all(|peer| scene.is_served(peer)));
        peers.iter().for_each(Peer::finish);
        scene.settle();
        assert_eq!(scene.reactor.stats().connections, 0);
    }
    assert_eq!(scene.reactor.stats().refused.max_connections, 4);
}

#[test]
fn idle_connection_apart_is_not_closed_for_another_client() {
    let mut scene = Scene::new();
    let apart = scene.connect(APART);
    let idle = [scene.connect(USUAL), scene.connect(USUAL)];
    scene.sim.advance(Duration::from_secs(2));
    scene.settle();
    let newcomer = scene.connect(USUAL);
    assert!(scene.is_served(&newcomer) && scene.is_served(&apart));
    assert_eq!(idle.iter().filter(|peer| peer.has_server_finished() || peer.is_reset()).count(), 1);
}

#[test]
fn connection_apart_outlives_its_listener_and_is_uncounted_once() {
    let mut scene = Scene::new();
    let options = ListenOptions::default().max_connections(1);
    let listening = scene.reactor.listen_with(&scene.sim.addr(3), options).unwrap();
    let apart = scene.connect(3);
    assert!(scene.reactor.unlisten(listening.id));
    assert!(scene.is_served(&apart));
    let usual = [scene.connect(USUAL), scene.connect(USUAL)];
    assert!(usual.iter().all(|peer| scene.is_served(peer)));
    apart.finish();
    scene.settle();
    let refused = scene.connect(USUAL);
    assert!(!scene.is_served(&refused));
}

#[test]
fn limit_of_no_connection_is_a_config_error() {
    let mut scene = Scene::new();
    let options = ListenOptions::default().max_connections(0);
    let error = scene.reactor.listen_with(&scene.sim.addr(3), options).unwrap_err();
    assert_eq!(error.to_string(), "max_connections is 0 and must be at least 1");
}
