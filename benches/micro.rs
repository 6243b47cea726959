//! What the parts of a connection cost a frame, in memory and without a kernel: the decoder, pending output, and the whole.
//!
//! `cargo bench --no-default-features --features micro --bench micro`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frameloop::micro::{Echoing, Queue, decode_all};
use frameloop::wire::encode_header;

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

criterion_group! {
    name = micro;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = decoder, output, connection
}
criterion_main!(micro);
