//! Peers that read slowly, or not at all, in front of send buffers that hide it.

use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::Echo;
use crate::sim::Peer;
use crate::tests::sim::threats::{SECOND, Scene, frame, sim_with_send_buffer};

/// What the kernel holds for a fast network (`net.ipv4.tcp_wmem`), and what it holds in the beginning.
const SEND_BUFFERS: [usize; 2] = [4 << 20, 16 << 10];

/// A peer with more pending output than it reads in a test, in the outbox and in the kernel.
fn with_pending_output(send_buffer: usize, timeout: Duration, rate: usize) -> (Scene<Echo>, Peer) {
    let config = Config::builder().write_timeout(Some(timeout)).write_rate_min(rate).frame_timeout(None);
    let mut scene = Scene::with(sim_with_send_buffer(send_buffer), config, Echo);
    let peer = scene.connect();
    feed(&peer, 28 << 20);
    scene.settle();
    (scene, peer)
}

fn feed(peer: &Peer, bytes: usize) {
    let frame = frame(&[7; 64 << 10]);
    (0..bytes / frame.len()).for_each(|_| peer.send(&frame));
}

/// Reads `bytes` each `pace`, and returns after how long the connection was closed, if it was within `patience`.
fn read_until_closed(
    scene: &mut Scene<Echo>,
    peer: &Peer,
    (bytes, pace): (usize, Duration),
    patience: Duration,
) -> Option<Duration> {
    let began = scene.sim.now();
    while scene.sim.now() - began < patience {
        let mut left = bytes;
        while left > 0 {
            let received = peer.receive_some(left).len();
            assert!(received > 0, "{left} of {bytes} bytes are not there");
            left -= received;
            scene.settle();
        }
        scene.pass(pace);
        if scene.stats().connections == 0 {
            return Some(scene.sim.now() - began);
        }
    }
    None
}

#[test]
fn reader_of_8_kib_per_timeout_is_closed_within_3_windows() {
    for send_buffer in SEND_BUFFERS {
        for timeout in [3 * SECOND, 5 * SECOND, 30 * SECOND] {
            for reads_per_timeout in [1, 8] {
                let (mut scene, peer) = with_pending_output(send_buffer, timeout, Config::default().write_rate_min);
                let read = ((8 << 10) / reads_per_timeout as usize, timeout / reads_per_timeout);
                let closed = read_until_closed(&mut scene, &peer, read, 10 * timeout);
                let windows = closed.map(|after| after.as_secs_f64() / timeout.as_secs_f64());
                assert!(windows.is_some_and(|windows| windows <= 3.0), "{send_buffer}, {timeout:?}: {windows:?}");
                assert_eq!(scene.closed(&CloseReason::WriteTimeout), 1);
                assert!(peer.is_reset());
                scene.is_empty();
            }
        }
    }
}

#[test]
fn steady_reader_above_the_rate_outlives_the_write_timeout() {
    for send_buffer in SEND_BUFFERS {
        for timeout in [3 * SECOND, 30 * SECOND] {
            for rate in [5_000, 10_000, 20_000, 100_000] {
                for pace in [SECOND / 10, SECOND, 2 * SECOND] {
                    let (mut scene, peer) = with_pending_output(send_buffer, timeout, Config::default().write_rate_min);
                    let read = ((f64::from(rate) * pace.as_secs_f64()) as usize, pace);
                    let closed = read_until_closed(&mut scene, &peer, read, 8 * timeout);
                    assert_eq!(closed, None, "{rate} B/s each {pace:?}, {timeout:?}, {send_buffer}");
                }
            }
        }
    }
}

#[test]
fn steady_reader_of_64_kib_per_second_gets_all_of_16_mib() {
    for send_buffer in SEND_BUFFERS {
        let config = Config::builder().write_timeout(Some(3 * SECOND)).frame_timeout(None);
        let mut scene = Scene::with(sim_with_send_buffer(send_buffer), config, Echo);
        let peer = scene.connect();
        let sent = frame(&[7; 16 << 20]);
        peer.send(&sent);
        scene.settle();
        let mut received = 0;
        while received < sent.len() {
            received += peer.receive_some(64 << 10).len();
            scene.settle();
            scene.pass(SECOND);
            assert_eq!(scene.stats().connections, 1, "closed behind {received} bytes");
        }
        // All is acknowledged: nothing is left to wake up for, however long it stays.
        scene.pass(10 * SECOND);
        scene.pass(10 * SECOND);
        assert_eq!(scene.reactor.next_deadline(), None);
        assert_eq!(scene.stats().connections, 1);
    }
}

#[test]
fn reader_without_rate_stays_for_a_byte_per_window() {
    let timeout = 30 * SECOND;
    let (mut scene, peer) = with_pending_output(4 << 20, timeout, 0);
    assert_eq!(read_until_closed(&mut scene, &peer, (1, timeout), 8 * timeout), None);
    let stopped = scene.sim.now();
    scene.sleep_until(|stats| stats.connections == 0);
    assert!(scene.sim.now() - stopped <= 2 * timeout);
}

#[test]
fn unread_replies_in_kernel_close_after_write_timeout() {
    for replies in [100, 1_000, 10_000] {
        let config = Config::builder().frame_timeout(None);
        let mut scene = Scene::with(sim_with_send_buffer(16 << 20), config, Echo);
        let peer = scene.connect();
        let began = scene.sim.now();
        (0..replies).for_each(|_| peer.send(&frame(&[7; 1_000])));
        scene.settle();
        assert_eq!(scene.stats().buffered_bytes, 0, "all of it is in the kernel");
        scene.sleep_until(|stats| stats.connections == 0);
        assert_eq!(Some(scene.sim.now() - began), Config::default().write_timeout);
        assert_eq!(scene.closed(&CloseReason::WriteTimeout), 1);
        assert!(peer.is_reset());
        scene.is_empty();
    }
}

#[test]
fn peer_costs_no_more_than_64_kib_in_the_kernel_unwatched() {
    let mut scene = Scene::with(sim_with_send_buffer(16 << 20), Config::builder(), Echo);
    let peer = scene.connect();
    for _ in 0..1_000 {
        peer.send(&frame(b"unread"));
        scene.settle();
        scene.pass(SECOND);
    }
    // 10,000 bytes: too few to look after.
    assert_eq!((scene.stats().connections, scene.reactor.next_deadline()), (1, None));
    peer.send(&frame(&[7; 60_000]));
    scene.settle();
    assert_eq!(scene.sleep_until(|stats| stats.connections == 0), Config::default().write_timeout.unwrap());
}

/// A window for it would give each poll a timeout.
#[test]
fn reader_of_small_replies_is_unwatched_and_bounded() {
    for len in [64, 4_096, 12_000] {
        let mut scene = Scene::with(sim_with_send_buffer(16 << 20), Config::builder(), Echo);
        let peer = scene.connect();
        for number in 0..2_000 {
            peer.send(&frame(&vec![7; len]));
            scene.settle();
            assert_eq!(scene.reactor.next_deadline(), None, "behind {number} replies of {len} bytes");
            assert_eq!(peer.receive().len(), len + 4);
        }
        // It reads no more.
        let replies_unwatched = (64 << 10) / (len + 4);
        for _ in 0..=replies_unwatched {
            peer.send(&frame(&vec![7; len]));
            scene.settle();
        }
        assert_eq!(scene.sleep_until(|stats| stats.connections == 0), Config::default().write_timeout.unwrap());
    }
}

#[test]
fn reader_that_catches_up_within_each_window_stays_open() {
    let timeout = 30 * SECOND;
    let config = Config::builder().write_timeout(Some(timeout)).frame_timeout(None);
    let mut scene = Scene::with(sim_with_send_buffer(4 << 20), config, Echo);
    let peer = scene.connect();
    for _ in 0..100 {
        // Far less than the rate asks for, and read with some delay.
        peer.send(&frame(&[7; 20_000]));
        scene.settle();
        scene.pass(timeout / 2 + SECOND);
        assert_eq!(peer.receive().len(), 20_004);
        scene.pass(timeout / 2);
        assert_eq!(scene.stats().connections, 1);
    }
}

#[test]
fn frame_in_progress_counts_as_activity_for_the_idle_timeout() {
    let timeout = SECOND;
    for (len, frame_timeout) in [(300_000, None), (3_000, None), (300_000, Some(10 * SECOND))] {
        let config = Config::builder().idle_timeout(Some(timeout)).frame_timeout(frame_timeout);
        let mut scene = Scene::with(sim_with_send_buffer(1 << 20), config, Echo);
        let peer = scene.connect();
        let sent = frame(&vec![7; len]);
        for part in sent.chunks(sent.len() / 10 + 1) {
            scene.pass(timeout * 9 / 10);
            peer.send(part);
            scene.settle();
        }
        assert_eq!(scene.stats().frames_in, 1, "a frame of {len} bytes was closed");
        // One that stops on its way is idle.
        peer.send(&sent[..1_000]);
        scene.settle();
        assert_eq!(scene.sleep_until(|stats| stats.connections == 0), timeout);
        assert_eq!(scene.closed(&CloseReason::IdleTimeout), 1);
    }
}
