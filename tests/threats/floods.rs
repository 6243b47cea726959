//! Ten million frames without payload.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use frameloop::CloseReason;

use crate::support::{Client, PATIENCE, SLACK, Server, patient};

const BYTES: usize = 4 * 10_000_000;
const MEMORY: u64 = 1 << 20;

fn server(write_timeout: Option<Duration>) -> Server {
    let config = patient().max_payload(64 << 10).memory(MEMORY as usize);
    Server::start(config.write_timeout(write_timeout))
}

/// Samples how much is buffered until the client is done, and returns the maximum.
fn most_buffered_until(server: &Server, is_done: impl Fn() -> bool) -> u64 {
    let mut most = 0;
    while !is_done() {
        most = most.max(server.stats().buffered_bytes);
        // Each question is work for the server.
        thread::sleep(Duration::from_millis(1));
    }
    most
}

#[test]
fn unread_empty_frames_take_little_memory() {
    const DEADLINE: Duration = Duration::from_millis(500);
    let server = server(Some(DEADLINE));
    let mut client = Client::connect_narrow(server.addr);
    let begun = Instant::now();
    let (taken, has_ended, most) = thread::scope(|scope| {
        let flood = scope.spawn(|| client.stuff(&vec![0; BYTES], PATIENCE));
        let most = most_buffered_until(&server, || flood.is_finished());
        let (taken, has_ended) = flood.join().unwrap();
        (taken, has_ended, most)
    });
    println!("{taken} of {BYTES} bytes were taken, at most {most} buffered");
    // It is closed with no traffic: the flood waits for the server, which does not read.
    assert!(has_ended && taken < BYTES / 2, "{taken} bytes were taken");
    assert!((DEADLINE..DEADLINE + SLACK).contains(&begun.elapsed()));
    assert!(most <= MEMORY / 4, "{most} bytes were buffered");
    drop(client);
    let stats = server.stats_when_empty();
    assert_eq!(stats.closed_by(CloseReason::WriteTimeout.kind()), 1, "{stats}");
}

#[test]
fn ten_million_empty_frames_are_all_answered() {
    let server = server(None);
    let client = server.connect();
    let (mut reader, mut writer) = (client.clone_for_thread(), client);
    let read = AtomicU64::new(0);
    let begun = Instant::now();
    let most = thread::scope(|scope| {
        scope.spawn(move || {
            writer.send_bytes(&vec![0; BYTES]);
            writer.finish();
        });
        let peer = scope.spawn(|| {
            let (mut buf, zeros) = (vec![1; 1 << 20], vec![0; 1 << 20]);
            loop {
                match reader.stream.read(&mut buf).unwrap() {
                    0 => return,
                    len => {
                        assert!(buf[..len] == zeros[..len]);
                        read.fetch_add(len as u64, Ordering::Relaxed);
                    }
                }
            }
        });
        most_buffered_until(&server, || peer.is_finished())
    });
    println!("10,000,000 frames within {:?}, at most {most} bytes buffered", begun.elapsed());
    assert_eq!(read.into_inner(), BYTES as u64);
    assert!(most <= MEMORY / 4, "{most} bytes were buffered");
    let stats = server.stats_when_empty();
    assert_eq!((stats.frames_in, stats.frames_out), (10_000_000, 10_000_000), "{stats}");
}
