//! Many addresses of one client, counted as one.

use std::net::{IpAddr, Ipv6Addr};

use crate::tests::sim::threats::{PORT, Scene, patient};

const MAX: usize = 5;

/// As many addresses of a /64 as there are connections, from the `first` on.
fn from_network(network: u64, count: u64) -> impl Iterator<Item = IpAddr> {
    (0..count).map(move |low| Ipv6Addr::from_bits((u128::from(network) << 64) | u128::from(low)).into())
}

#[test]
fn a_thousand_addresses_of_one_ipv6_network_count_as_one() {
    let mut scene = Scene::new(patient().max_per_ip(Some(MAX)));
    let mut admitted = Vec::new();
    for network in [0x2001_0db8_0000_0001, 0x2001_0db8_0000_0002] {
        let peers: Vec<_> = from_network(network, 1_000).map(|ip| scene.sim.connect_from(PORT, ip).unwrap()).collect();
        scene.settle();
        admitted.extend(peers.into_iter().filter(|peer| !peer.has_server_finished()));
    }
    assert_eq!((admitted.len(), scene.sim.open_sockets()), (2 * MAX, 2 * MAX));
    let stats = scene.stats();
    assert_eq!((stats.accepted, stats.refused.max_per_ip), (2 * MAX as u64, 2 * (1_000 - MAX as u64)));

    // One has gone, and one more is let in, whatever its address in that network is.
    admitted[0].reset();
    scene.settle();
    let mut of_first = from_network(0x2001_0db8_0000_0001, 2_000).skip(1_500);
    let [next, refused] = [(); 2].map(|()| scene.sim.connect_from(PORT, of_first.next().unwrap()).unwrap());
    scene.settle();
    scene.call(&next, b"let in");
    assert!(refused.has_server_finished());
}

#[test]
fn mapped_ipv4_addresses_count_as_ipv4_addresses() {
    let mut scene = Scene::new(patient().max_per_ip(Some(1)));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let first = scene.sim.connect_from(PORT, ip("::ffff:192.0.2.1")).unwrap();
    let same = scene.sim.connect_from(PORT, ip("192.0.2.1")).unwrap();
    let other = scene.sim.connect_from(PORT, ip("::ffff:192.0.2.2")).unwrap();
    scene.settle();
    scene.call(&first, b"first");
    scene.call(&other, b"another address");
    assert!(same.has_server_finished());
}
