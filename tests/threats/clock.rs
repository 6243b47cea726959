//! The kernel's own clock: waits of less than a millisecond, and of more of them than fit into 31 bits.

use std::time::{Duration, Instant};

use frameloop::{CloseReason, Config, Echo};

use crate::support::stepped::{Hooks, PATIENCE, Server};

const SUB_MILLISECOND: Duration = Duration::from_micros(999);
const DAYS_25: Duration = Duration::from_secs(25 * 24 * 3_600);

#[test]
fn wait_of_999_microseconds_sleeps_and_zero_returns() {
    let mut server = Server::new(Config::default(), Echo);
    for _ in 0..50 {
        let begun = Instant::now();
        let _ = server.reactor.turn(Some(SUB_MILLISECOND)).unwrap();
        assert!(begun.elapsed() >= SUB_MILLISECOND, "it returned after {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    for _ in 0..50 {
        let _ = server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_deadline_of_999_microseconds_is_awaited_asleep() {
    let config = Config::builder().frame_timeout(Some(SUB_MILLISECOND)).build().unwrap();
    let mut server = Server::new(config, Hooks::default());
    for count in 1..=20 {
        let client = server.connect();
        server.write(&client, &[0]);
        server.turn_until("the byte", |reactor| reactor.stats().bytes_in == count);
        let before = server.reactor.stats().polls;
        while server.log().closed.len() < count as usize {
            let _ = server.reactor.turn(None).unwrap();
        }
        assert_eq!(server.log().closed[count as usize - 1].1, CloseReason::FrameTimeout);
        // One poll that sleeps, and some for what comes by chance at the same time.
        let polls = server.reactor.stats().polls - before;
        assert!(polls <= 4, "{polls} polls");
    }
}

#[test]
fn a_wait_of_25_days_or_for_ever_lasts_until_something_happens() {
    const PAUSE: Duration = Duration::from_millis(30);
    let all = Some(DAYS_25);
    let config = Config::builder().idle_timeout(all).frame_timeout(all).write_timeout(all).build().unwrap();
    for timeout in [Some(DAYS_25), Some(Duration::from_millis(1 << 31)), Some(Duration::MAX), None] {
        let mut server = Server::new(config.clone(), Hooks::default());
        let client = server.connect();
        // Inside a frame, so that a deadline of each kind that can be is 25 days away.
        server.write(&client, &[0]);
        server.turn_until("the byte", |reactor| reactor.stats().bytes_in == 1);
        while server.reactor.next_deadline().is_some_and(|due| due < Instant::now() + DAYS_25 / 2) {
            let _ = server.turn();
        }
        let handle = server.reactor.handle();
        let (begun, polls) = (Instant::now(), server.reactor.stats().polls);
        let waker = std::thread::spawn(move || {
            // Not a wait for anything: this is what happens.
            std::thread::sleep(PAUSE);
            handle.send(Box::new(|_| {})).ok().unwrap();
        });
        while server.reactor.stats().messages == 0 {
            let _ = server.reactor.turn(timeout).unwrap();
        }
        let polls = server.reactor.stats().polls - polls;
        assert!(begun.elapsed() >= PAUSE && polls <= 2, "{timeout:?}: {polls} polls within {:?}", begun.elapsed());
        assert_eq!(server.log().closed, [], "{timeout:?}");
        waker.join().unwrap();
    }
}

#[test]
fn reactor_with_unlimited_settings_sleeps_and_drains() {
    let forever = Some(Duration::MAX);
    let config = Config::builder().idle_timeout(forever).frame_timeout(forever).write_timeout(forever);
    let config = config.linger_timeout(Duration::MAX).drain_timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let mut server = Server::new(config.keepalive(forever).build().unwrap(), Hooks::default());
    let client = server.connect();
    server.echo(&client, b"served");
    // Inside a frame, so that the drain waits for it.
    server.write(&client, &[0, 0, 0]);
    server.turn_until("the bytes", |reactor| reactor.stats().bytes_in == 10 + 3);
    server.reactor.drain();
    for _ in 0..5 {
        let _ = server.turn();
    }
    assert_eq!(server.reactor.stats().connections, 1, "it was cut");
    server.write(&client, &[1, b'x']);
    server.expect(&client, &[b"x"]);
    drop(client);
    server.reactor.run().unwrap();
    assert_eq!(server.reactor.drain_report().drained, 1);
}
