//! Deadlines to the nanosecond, and clocks that step.

use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::Echo;
use crate::sim::{Sim, SimNet};
use crate::tests::sim::threats::{SECOND, Scene, frame, sim_with_send_buffer};
use crate::wire::encode_header;

const NANOSECOND: Duration = Duration::from_nanos(1);
const DAYS_25: Duration = Duration::from_secs(25 * 24 * 3_600);

#[test]
fn slow_frame_closes_at_deadline_counted_from_first_byte() {
    let timeout = Config::default().frame_timeout.unwrap();
    let long = [&encode_header(1 << 20)[..], &[7; 100]].concat();
    // In a header, in a payload, in one that is too long for a chunk.
    let slow = [(SECOND * 10, frame(&[7])), (SECOND, frame(&[7; 100])), (SECOND, long)];
    for (pace, bytes) in slow {
        let mut scene = Scene::new(Config::builder());
        let (dripping, other, honest) = (scene.connect(), scene.connect(), scene.connect());
        let began = scene.sim.now();
        let late = began + timeout;
        let mut drops = bytes.iter();
        while scene.sim.now() + SECOND < late {
            let since = (scene.sim.now() - began).as_nanos();
            if since.is_multiple_of(pace.as_nanos()) {
                dripping.send(&[*drops.next().unwrap()]);
            }
            // A client that sends a frame in two parts, each second, is in time.
            honest.send(&frame(b"honest")[..5]);
            scene.call(&other, b"unharmed");
            scene.pass(SECOND);
            honest.send(&frame(b"honest")[5..]);
            scene.settle();
            assert_eq!(honest.receive(), frame(b"honest"));
        }
        scene.pass(late - scene.sim.now() - NANOSECOND);
        assert_eq!(scene.stats().connections, 3, "it is not late yet");
        // One turn at the deadline: that is the tick.
        scene.sim.advance(NANOSECOND);
        scene.turn();
        assert_eq!((scene.stats().connections, scene.closed(&CloseReason::FrameTimeout)), (2, 1));
        scene.call(&other, b"unharmed");
        scene.call(&honest, b"unharmed");
        assert!(dripping.receive().is_empty());
    }
}

#[test]
fn the_deadline_of_a_silent_peer_wakes_the_reactor_by_itself() {
    let timeout = Config::default().frame_timeout.unwrap();
    for bytes in [&[0][..], &encode_header(5), &encode_header(1 << 20), b"\0\0\0\x05hell"] {
        let mut scene = Scene::new(Config::builder());
        let peer = scene.connect();
        peer.send(bytes);
        scene.settle();
        let polls = scene.stats().polls;
        let waited = scene.sleep_until(|stats| stats.connections == 0);
        assert_eq!((waited, scene.closed(&CloseReason::FrameTimeout)), (timeout, 1));
        // Some turns give unused buffers back, a second apart.
        assert!(scene.stats().polls - polls < 40, "{}", scene.stats());
    }
}

/// A peer that will be late in one way, and has until then all of a timeout.
fn late_peer(reason: CloseReason, timeout: Duration) -> (Scene<Echo>, crate::sim::Peer) {
    let config = Config::builder().frame_timeout(None).write_timeout(None);
    let config = match reason {
        CloseReason::FrameTimeout => config.frame_timeout(Some(timeout)),
        CloseReason::WriteTimeout => config.write_timeout(Some(timeout)),
        _ => config.idle_timeout(Some(timeout)),
    };
    let mut scene = Scene::with(sim_with_send_buffer(100), config, Echo);
    let peer = scene.connect();
    match reason {
        CloseReason::FrameTimeout => peer.send(&[0, 0]),
        CloseReason::WriteTimeout => peer.send(&frame(&[7; 5_000])),
        _ => {}
    }
    scene.settle();
    (scene, peer)
}

const LATE: [CloseReason; 3] = [CloseReason::FrameTimeout, CloseReason::WriteTimeout, CloseReason::IdleTimeout];

#[test]
fn a_clock_that_stands_still_brings_nothing_due() {
    for reason in LATE {
        let (mut scene, _peer) = late_peer(reason, NANOSECOND);
        for _ in 0..1_000 {
            scene.pass(Duration::ZERO);
        }
        assert_eq!((scene.stats().connections, scene.closed(&reason)), (1, 0), "{reason}");
        scene.pass(NANOSECOND);
        assert_eq!((scene.stats().connections, scene.closed(&reason)), (0, 1), "{reason}");
    }
}

#[test]
fn deadlines_of_999_us_and_25_days_expire_exactly() {
    for timeout in [Duration::from_micros(999), Duration::from_micros(1_001), DAYS_25, DAYS_25 + NANOSECOND] {
        for reason in LATE {
            let (mut scene, _peer) = late_peer(reason, timeout);
            scene.pass(timeout - NANOSECOND);
            assert_eq!((scene.stats().connections, scene.closed(&reason)), (1, 0), "{timeout:?}, {reason}");
            let polls = scene.stats().polls;
            assert_eq!(scene.sleep_until(|stats| stats.connections == 0), NANOSECOND);
            let turns = scene.stats().polls - polls;
            assert_eq!((scene.closed(&reason), turns), (1, 1), "{timeout:?}, {reason}");
            scene.is_empty();
        }
    }
}

#[test]
fn clock_step_of_25_days_expires_everything_once() {
    for reason in LATE {
        let (mut scene, _peer) = late_peer(reason, 30 * SECOND);
        scene.pass(DAYS_25);
        assert_eq!((scene.stats().connections, scene.closed(&reason)), (0, 1), "{reason}");
        let next = scene.connect();
        scene.call(&next, b"as before");
        if reason == CloseReason::FrameTimeout {
            next.send(&[0]);
            scene.settle();
            assert_eq!(scene.sleep_until(|stats| stats.connections == 0), 30 * SECOND);
        }
    }
}

/// A world whose clock goes back has a defect. It is not one that a reactor dies of.
#[test]
fn a_clock_that_goes_back_closes_and_delays_nothing() {
    for reason in LATE {
        let (mut scene, _peer) = late_peer(reason, 30 * SECOND);
        let began = scene.sim.now();
        scene.pass(20 * SECOND);
        scene.sim.world.borrow_mut().now -= 15 * SECOND;
        let other = scene.connect();
        scene.call(&other, b"served in the past");
        assert_eq!(scene.stats().connections, 2, "{reason}");
        scene.sleep_until(|stats| stats.closed_by(reason.kind()) == 1);
        assert_eq!(scene.sim.now() - began, 30 * SECOND, "{reason}");
    }
}

#[test]
fn deadlines_still_expire_in_time_after_a_clock_went_back() {
    let mut scene = Scene::new(Config::builder().idle_timeout(Some(30 * SECOND)));
    let began = scene.sim.now();
    let first = scene.connect();
    scene.pass(20 * SECOND);
    scene.call(&first, b"active at 20 s");
    scene.sim.world.borrow_mut().now -= 15 * SECOND;
    let other = scene.connect();
    scene.call(&other, b"active at 5 s");
    scene.sleep_until(|stats| stats.connections == 1);
    assert_eq!((scene.sim.now() - began, other.has_server_finished()), (35 * SECOND, true));
    scene.sleep_until(|stats| stats.connections == 0);
    assert_eq!(scene.sim.now() - began, 50 * SECOND);
}

#[test]
fn the_clock_of_the_kernels_side_never_goes_back() {
    use crate::net::{Mio, Net};
    fn is_ordered<N: Net>(net: &N) -> bool {
        let instants: Vec<_> = (0..10_000).map(|_| net.now()).collect();
        instants.is_sorted()
    }
    assert!(is_ordered(&Mio::new(&Config::default()).unwrap()));
    assert!(is_ordered::<SimNet>(&Sim::new(1).net()));
}
