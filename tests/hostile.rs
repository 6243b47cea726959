//! Peers that break off, dawdle, flood, lie, or speak something else; and others beside them that notice nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use frameloop::wire::Protocol;
use frameloop::{CloseReason, Stats};

use support::{Client, End, PATIENCE, RESET, SLACK, Server, announcement, closed_by, frame, patient, payload};

/// Long enough that a machine with other things to do does not miss it by chance, short enough to be waited for.
const DEADLINE: Duration = Duration::from_millis(700);

const KIB: u64 = 1 << 10;

/// Calls the server all the while that something else happens to it.
fn with_bystander<R>(server: &Server, scene: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    let mut bystander = server.connect();
    bystander.call(b"first");
    thread::scope(|scope| {
        let bystander = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                bystander.call(&payload(1, 100));
                slowest = slowest.max(begun.elapsed());
                assert!(bystander.read_within(Duration::from_millis(2), &mut [0]).is_none());
            }
            slowest
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(scene));
        is_over.store(true, Ordering::Relaxed);
        let slowest = bystander.join().unwrap();
        assert!(slowest < SLACK, "a bystander waited {slowest:?}");
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sends frames until the server's and the client's socket buffers are full and the server reads no more.
fn stuff_until_full(client: &mut Client, frames: &[u8]) -> usize {
    let (taken, has_ended) = client.stuff(frames, Duration::from_millis(300));
    assert!(!has_ended, "closed after {taken} bytes");
    taken
}

/// Waits until for a while nothing moves: whoever can write has been stopped.
fn stats_at_rest(server: &Server, mut meanwhile: impl FnMut(&Stats)) -> Stats {
    let mut last = (0, 0);
    let mut moved_at = Instant::now();
    server.stats_when(|stats| {
        meanwhile(stats);
        let now = (stats.bytes_in, stats.bytes_out);
        if std::mem::replace(&mut last, now) != now {
            moved_at = Instant::now();
        }
        moved_at.elapsed() > Duration::from_millis(300)
    })
}

#[test]
fn a_peer_that_goes_away_with_replies_unread_is_counted_as_abrupt() {
    let server = Server::start(patient());
    with_bystander(&server, || {
        let mut client = Client::connect_narrow(server.addr);
        stuff_until_full(&mut client, &frame(&payload(1, 1_000)));
        // Closed with input unread: the kernel sends RST.
        drop(client);
        server.stats_when(|stats| stats.connections == 1);
    });
    assert_eq!(closed_by(&server.stats_when_empty(), RESET), 1);
}

#[test]
fn a_peer_that_never_reads_takes_bounded_memory_and_is_closed_by_the_write_deadline() {
    const HIGH: u64 = 64 * KIB;
    for payload_len in [0, 100, 65_536, 1 << 20] {
        let server = Server::start(patient().output_high_water(HIGH as usize).write_timeout(Some(DEADLINE)));
        let mut client = Client::connect_narrow(server.addr);
        let frame_len = payload_len as u64 + 4;
        let frames = frame(&payload(1, payload_len)).repeat(1 + 100_000 / frame_len as usize);
        let (mut most_owed, mut most_buffered) = (0, 0);
        let begun = Instant::now();
        let (taken, has_ended) = thread::scope(|scope| {
            let peer = scope.spawn(|| client.stuff(&frames, PATIENCE));
            while !peer.is_finished() {
                let stats = server.stats();
                most_owed = most_owed.max(stats.frames_out * frame_len - stats.bytes_out);
                most_buffered = most_buffered.max(stats.buffered_bytes);
                thread::yield_now();
            }
            peer.join().unwrap()
        });
        let elapsed = begun.elapsed();
        assert!(has_ended && taken > 0, "{taken} bytes of frames of {payload_len} were taken");
        assert!((DEADLINE..DEADLINE + SLACK).contains(&elapsed), "closed after {elapsed:?}");
        // It stops at the high watermark, and the kernel takes some more; at the low one it would go on.
        assert!((HIGH / 4..HIGH + frame_len).contains(&most_owed), "{most_owed} bytes of {payload_len} each were owed");
        // A read brings up to a chunk (68 KiB), of which a part may be owed by now, and a part wait to be answered: each of
        // the two lies in a chunk of its own.
        let bound = 2 * 68 * KIB + 2 * payload_len as u64;
        assert!(most_buffered <= bound, "{most_buffered} bytes were buffered, for frames of {payload_len}");

        drop(client);
        let stats = server.stats_when_empty();
        assert_eq!(stats.closed_by(CloseReason::WriteTimeout.kind()), 1, "{stats}");
        assert!(stats.pauses > 0, "{stats}");
    }
}

#[test]
fn a_peer_that_reads_a_little_and_stops_again_takes_no_more_memory_each_time() {
    let server = Server::start(patient());
    let mut client = Client::connect_narrow(server.addr);
    let mut writer = client.clone_for_thread();
    let frames = frame(&payload(1, 100)).repeat(1_000);
    let mut buffered = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(move || writer.stuff(&frames, PATIENCE));
        for read_len in [0, 50_000, 50_000, 100_000, 20_000, 50_000, 60_000] {
            client.stream.read_exact(&mut vec![0; read_len]).unwrap();
            buffered.push(stats_at_rest(&server, |_| {}).buffered_bytes);
        }
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
        writer.join().unwrap();
    });
    assert!(buffered.iter().all(|bytes| *bytes <= 128 * KIB), "{buffered:?}");
    drop(client);
    server.stats_when_empty();
}

/// Nothing but the server's own clock wakes it here.
#[test]
fn a_peer_that_falls_silent_inside_a_frame_is_closed_by_the_frame_deadline() {
    let server = Server::start(patient().frame_timeout(Some(DEADLINE)));
    for bytes in [&[0][..], &announcement(5), &announcement(1 << 20), b"\0\0\0\x05hell"] {
        let mut client = server.connect();
        let begun = Instant::now();
        client.send_bytes(bytes);
        let end = client.end();
        let elapsed = begun.elapsed();
        assert!((DEADLINE..DEADLINE + SLACK).contains(&elapsed), "{end:?} after {elapsed:?}");
    }
    assert_eq!(server.stats_when_empty().closed_by(CloseReason::FrameTimeout.kind()), 4);
}

#[test]
fn a_connection_without_a_frame_is_closed_by_the_idle_deadline_and_one_with_frames_is_not() {
    let server = Server::start(patient().idle_timeout(Some(DEADLINE)));
    with_bystander(&server, || {
        let begun = Instant::now();
        let (mut silent, mut silent_later) = (server.connect(), server.connect());
        silent_later.call(b"one frame");
        for client in [&mut silent, &mut silent_later] {
            assert_eq!(client.end(), End::InOrder);
            let elapsed = begun.elapsed();
            assert!((DEADLINE..DEADLINE + SLACK).contains(&elapsed), "closed after {elapsed:?}");
        }
    });
    let stats = server.stats_when_empty();
    assert_eq!(stats.closed_by(CloseReason::IdleTimeout.kind()), 2, "{stats}");
    assert_eq!(closed_by(&stats, support::PEER_FINISHED), 1, "the bystander was not closed: {stats}");
}

#[test]
fn another_protocol_is_closed_and_counted_by_its_name() {
    let client_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let openings: [(&[u8], Protocol); 6] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Protocol::Http),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Protocol::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http),
        (&client_hello, Protocol::Tls),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Protocol::Ssh),
        (b"\x05\0\0\0hello", Protocol::LittleEndian),
    ];
    let server = Server::start(patient());
    for (opening, protocol) in openings {
        let before = server.stats().looked_like(protocol);
        let mut client = server.connect();
        client.send_bytes(opening);
        assert_eq!(client.end(), End::InOrder, "{protocol}");
        drop(client);
        server.stats_when(|stats| stats.looked_like(protocol) == before + 1);
    }
    let stats = server.stats_when_empty();
    assert_eq!(closed_by(&stats, "frame too long"), 6, "{stats}");
    assert_eq!(Protocol::ALL.map(|protocol| stats.looked_like(protocol)), [3, 1, 1, 1]);
}

#[test]
fn a_hundred_clients_that_pipeline_and_never_read_take_at_most_128_kibibytes_each() {
    const CLIENTS: u64 = 100;
    let server = Server::start(patient());
    let frames = frame(&payload(1, 1_000)).repeat(100);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect_narrow(server.addr)).collect();
    for client in &clients {
        client.stream.set_nonblocking(true).unwrap();
    }
    // All write in turn, until nobody's socket takes more.
    let mut taken = vec![0; clients.len()];
    let mut most = 0;
    let stats = stats_at_rest(&server, |stats| {
        for (client, taken) in clients.iter_mut().zip(&mut taken) {
            while let Some(len) = write_now(client, &frames[*taken % frames.len()..]) {
                *taken += len;
            }
        }
        most = most.max(stats.buffered_bytes);
    });
    assert!(stats.pauses >= CLIENTS, "{stats}");
    assert!(most > CLIENTS * 32 * KIB, "only {most} bytes are buffered: {stats}");
    assert!(most <= CLIENTS * 128 * KIB, "{most} bytes are buffered: {stats}");
    drop(clients);
    server.stats_when_empty();
}

/// Writes what the socket takes at once.
fn write_now(client: &mut Client, bytes: &[u8]) -> Option<usize> {
    match client.stream.write(bytes) {
        Ok(len) => Some(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}
