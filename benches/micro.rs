//! What the parts of a connection cost a frame, in memory and without a kernel: the decoder, pending output, and the whole. And
//! what a broadcast costs on real sockets, next to reference counts and to a loop over the sockets without a reactor.
//!
//! `cargo bench --no-default-features --features micro --bench micro`

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frameloop::micro::{Echoing, Queue, decode_all};
use frameloop::wire::encode_header;
use frameloop::{Config, ConnId, Echo, Reactor};
use nix::time::{ClockId, clock_gettime};

/// Frames with such payloads, one after the other.
fn frames(payload_len: usize, count: usize) -> Vec<u8> {
    let frame = [&encode_header(payload_len as u32)[..], &vec![7; payload_len]].concat();
    frame.repeat(count)
}

fn decoder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decoder");
    let small = frames(32, 64);
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 frames of 32 B", |b| b.iter(|| decode_all(black_box(&small))));
    group.throughput(Throughput::Elements(1));
    group.bench_function("a header without its last byte", |b| b.iter(|| decode_all(black_box(&small[..3]))));
    let long = frames(64 << 10, 1);
    group.bench_function("a frame of 64 KiB", |b| b.iter(|| decode_all(black_box(&long))));
    group.finish();
}

fn output(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("output");
    group.throughput(Throughput::Elements(64));
    let all = usize::MAX;
    for (name, payload_len, write_len_max) in [
        ("64 frames of 32 B, one write", 32, all),
        ("64 frames of 32 B, 100 B a write", 32, 100),
        ("64 frames of 4 KiB, one write", 4 << 10, all),
        ("64 frames of 4 KiB, 10 KB a write", 4 << 10, 10_000),
    ] {
        let payload = vec![7; payload_len];
        let mut queue = Queue::new(write_len_max);
        group.bench_function(name, |b| {
            b.iter(|| {
                (0..64).for_each(|_| queue.append(black_box(&payload)));
                queue.flush()
            });
        });
    }
    group.finish();
}

fn connection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    for (name, payload_len, count) in [
        ("1 frame of 32 B", 32, 1),
        ("64 frames of 32 B", 32, 64),
        ("1 frame of 64 B", 64, 1),
        ("64 frames of 64 B", 64, 64),
        ("1 frame of 4 KiB", 4 << 10, 1),
        ("16 frames of 4 KiB", 4 << 10, 16),
        ("1 frame of 1 MiB", 1 << 20, 1),
    ] {
        let request = frames(payload_len, count);
        let mut echoing = Echoing::default();
        assert_eq!(echoing.exchange(&request), request.len());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| b.iter(|| echoing.exchange(black_box(&request))));
    }
    group.finish();
}

/// The time that `act` takes.
fn time(act: impl FnOnce()) -> Duration {
    let before = Instant::now();
    act();
    before.elapsed()
}

/// The processor time of `act` on this thread.
fn cpu_time(act: impl FnOnce()) -> Duration {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap();
    let before = now();
    act();
    now() - before
}

/// Both ends of connections over the loopback interface.
fn pairs(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let pair = || (TcpStream::connect(addr).unwrap(), listener.accept().unwrap().0);
    std::iter::repeat_with(pair).take(count).collect()
}

/// A reactor with many connections, and their peers.
struct Crowd {
    reactor: Reactor<Echo>,
    ids: Vec<ConnId>,
    peers: Vec<TcpStream>,
    /// The bytes of all frames that were sent.
    bytes_sent: u64,
}

impl Crowd {
    fn new(count: usize) -> Self {
        let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
        let (peers, ours): (Vec<_>, Vec<_>) = pairs(count).into_iter().unzip();
        let ids = ours.into_iter().map(|stream| reactor.adopt_stream(stream, &[]).unwrap()).collect();
        Self { reactor, ids, peers, bytes_sent: 0 }
    }

    fn broadcast(&mut self, payload: &Bytes) {
        let reached = self.reactor.cx().broadcast(self.ids.iter().copied(), payload.clone());
        assert_eq!(reached.queued, self.ids.len(), "{reached:?}");
        self.bytes_sent += (self.ids.len() * (4 + payload.len())) as u64;
    }

    /// Turns until the frame is written.
    fn write(&mut self) {
        while self.reactor.stats().bytes_out < self.bytes_sent {
            let _ = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn write_and_read(&mut self, payload: &Bytes) {
        self.write();
        read_all(&self.peers, 4 + payload.len());
    }
}

fn read_all(peers: &[TcpStream], frame_len: usize) {
    let mut frame = vec![0; frame_len];
    peers.iter().for_each(|mut peer| peer.read_exact(&mut frame).unwrap());
}

/// The call itself: its cost does not depend on the length of the payload.
///
/// Between two calls the frames are written and read, which leaves little of the connections in the cache. So the reference counts
/// are measured twice: alone, and in that state. The clock of the thread's processor time is a system call, which takes as long as the
/// call does; this one is not.
fn broadcast_call(criterion: &mut Criterion) {
    const CLIENTS: usize = 500;
    let mut group = criterion.benchmark_group("broadcast to 500");
    let payload = Bytes::from(vec![7; 32 << 10]);
    let mut clones = Vec::with_capacity(CLIENTS);
    let mut count = |payload: &Bytes| {
        let time = time(|| clones.extend((0..CLIENTS).map(|_| black_box(payload).clone())));
        clones.clear();
        time
    };
    group.bench_function("reference counts, alone", |b| {
        b.iter_custom(|iters| (0..iters).map(|_| count(&payload)).sum());
    });
    // The filter of the command applies to functions, not to what is before them.
    let mut crowd = None;
    group.bench_function("reference counts, after writing", |b| {
        let crowd = crowd.get_or_insert_with(|| Crowd::new(CLIENTS));
        b.iter_custom(|iters| {
            let run = |_| {
                let time = count(&payload);
                crowd.broadcast(&payload);
                crowd.write_and_read(&payload);
                time
            };
            (0..iters).map(run).sum()
        });
    });
    for (name, len) in [("the call, 32 KiB", 32 << 10), ("the call, 1 KiB", 1 << 10), ("the call, 256 B", 256)] {
        let payload = payload.slice(..len);
        group.bench_function(name, |b| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(CLIENTS));
            b.iter_custom(|iters| {
                let run = |_| {
                    let time = time(|| crowd.broadcast(&payload));
                    crowd.write_and_read(&payload);
                    time
                };
                (0..iters).map(run).sum()
            });
        });
    }
    group.finish();
}

/// A broadcast of 1 KiB until all is written, and a loop of `send` over as many sockets. Needs 18,000 descriptors.
fn broadcast_written(criterion: &mut Criterion) {
    const CLIENTS: usize = 9_000;
    let mut group = criterion.benchmark_group("1 KiB to 9,000");
    group.sample_size(10);
    let payload = Bytes::from(vec![7; 1 << 10]);
    let frame = frames(payload.len(), 1);
    let mut sockets = None;
    group.bench_function("a loop of send", |b| {
        let (peers, ours) = sockets.get_or_insert_with(|| {
            let (peers, ours): (Vec<_>, Vec<_>) = pairs(CLIENTS).into_iter().unzip();
            ours.iter().for_each(|stream: &TcpStream| stream.set_nonblocking(true).unwrap());
            (peers, ours)
        });
        b.iter_custom(|iters| {
            let run = |_| {
                let time = cpu_time(|| ours.iter().for_each(|mut stream| stream.write_all(&frame).unwrap()));
                read_all(peers, frame.len());
                time
            };
            (0..iters).map(run).sum()
        });
    });
    drop(sockets);
    let mut crowd = None;
    group.bench_function("broadcast and turns", |b| {
        let crowd = crowd.get_or_insert_with(|| Crowd::new(CLIENTS));
        b.iter_custom(|iters| {
            let run = |_| {
                let time = cpu_time(|| {
                    crowd.broadcast(&payload);
                    crowd.write();
                });
                read_all(&crowd.peers, frame.len());
                time
            };
            (0..iters).map(run).sum()
        });
    });
    group.finish();
}

criterion_group! {
    name = micro;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = decoder, output, connection, broadcast_call, broadcast_written
}
criterion_main!(micro);
