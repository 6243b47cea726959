//! Endless durations: nothing expires, and nothing overflows.

use std::time::Duration;

use crate::address::Dial;
use crate::config::Config;
use crate::handler::Echo;
use crate::reactor::Turn;
use crate::sim::{Faults, Sim};
use crate::tests::sim::threats::{SECOND, Scene, frame, patient, sim_with_send_buffer};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Forever, and durations that no clock can count to.
const FOREVER: [Duration; 4] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_secs(u64::MAX / 2),
    Duration::from_nanos(u64::MAX).saturating_mul(1_000),
];

#[test]
fn drain_without_deadline_waits_for_stalled_peer() {
    for forever in FOREVER {
        let config = patient().drain_timeout(forever).linger_timeout(forever);
        let mut scene = Scene::with(sim_with_send_buffer(100), config, Echo);
        let peer = scene.connect();
        peer.send(&frame(&[7; 5_000]));
        scene.settle();
        scene.reactor.drain();
        for _ in 0..3 {
            scene.pass(CENTURY);
            assert_eq!(scene.stats().connections, 1, "{forever:?}");
        }
        peer.reset();
        assert_eq!(scene.sim.settle(&mut scene.reactor).unwrap(), Turn::Done);
        scene.is_empty();
    }
}

#[test]
fn a_drain_of_no_time_still_cuts_at_once() {
    let mut scene = Scene::with(sim_with_send_buffer(100), patient().drain_timeout(Duration::ZERO), Echo);
    let peer = scene.connect();
    peer.send(&frame(&[7; 5_000]));
    scene.settle();
    scene.reactor.drain();
    assert_eq!(scene.reactor.turn(None).unwrap(), Turn::Done);
    scene.is_empty();
}

#[test]
fn a_timeout_without_end_never_comes() {
    for forever in FOREVER {
        let all = Some(forever);
        let config = Config::builder().idle_timeout(all).frame_timeout(all).write_timeout(all);
        let config = config.linger_timeout(forever);
        let mut scene = Scene::with(sim_with_send_buffer(100), config, Echo);
        let [silent, dripping, stuck, served] = [(); 4].map(|()| scene.connect());
        dripping.send(&[0]);
        stuck.send(&frame(&[7; 5_000]));
        scene.settle();
        for _ in 0..3 {
            scene.pass(CENTURY);
            scene.call(&served, b"in time");
            assert_eq!(scene.stats().closed_total(), 0, "{forever:?}: {}", scene.stats());
        }
        // A deadline that never comes wakes nothing.
        scene.pass(10 * SECOND);
        let next = scene.reactor.next_deadline();
        assert!(next.is_none_or(|due| due - scene.sim.now() > CENTURY), "{forever:?}: {next:?}");
        drop(silent);
    }
}

#[test]
fn a_dial_without_end_is_waited_for_until_it_is_given_up() {
    let sim = Sim::with_faults(1, Faults { dial_unanswered: 1_000, ..Faults::default() });
    let mut scene = Scene::with(sim, Config::builder().connect_timeout(Duration::MAX), Echo);
    let dialed = scene.reactor.cx().dial(Dial::to(scene.sim.addr(1))).unwrap();
    for _ in 0..3 {
        scene.pass(CENTURY);
        assert_eq!((scene.stats().dialing, scene.reactor.next_deadline()), (1, None));
    }
    assert!(scene.reactor.cx().abort(dialed));
    scene.settle();
    assert_eq!(scene.stats().dialing, 0);
}

#[test]
fn a_timer_a_thousand_years_away_comes_then_and_not_before() {
    let mut scene = Scene::new(Config::builder());
    let at = scene.sim.now() + 10 * CENTURY;
    scene.reactor.cx().set_timer(at).unwrap();
    for _ in 0..9 {
        scene.pass(CENTURY);
        assert_eq!(scene.reactor.next_deadline(), Some(at));
    }
    scene.pass(CENTURY);
    assert_eq!(scene.reactor.next_deadline(), None);
}
