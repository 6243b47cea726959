//! Connections that come and go in every way, many times: nothing of them is left.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};

use procfs_core::FromRead;
use procfs_core::process::SmapsRollup;

use crate::skip;
use crate::support::{Client, End, PATIENCE, Process, announcement, descriptors, frame, holds_within, payload};

/// Raises the number of cycles.
const CYCLES: &str = "FRAMELOOP_TEST_CYCLES";
const CYCLES_BY_DEFAULT: u64 = 20_000;
const KINDS: u64 = 8;
/// The kind of a run's last life.
const LAST: u64 = 1;
const THREADS: u64 = 4;

/// By how much the second half of the cycles may grow the process, in parts of its resident memory.
const SLOPE_MAX: f64 = 0.01;

/// One connection's life. [`reason`] returns the close reason under which it is counted.
fn live(mut client: Client, kind: u64) {
    match kind {
        // FIN: without a word, after a frame, and with the reply on its way.
        0 => finish(client),
        1 => {
            client.call(b"a frame");
            finish(client);
        }
        2 => {
            client.send(&payload(kind, 2_000));
            client.finish();
            client.expect(&payload(kind, 2_000));
            assert_eq!(client.end(), End::InOrder);
        }
        // FIN inside a header, and inside a frame.
        3 => {
            client.send_bytes(&announcement(70_000)[..2]);
            finish(client);
        }
        4 => {
            client.send_bytes(&frame(&payload(kind, 5_000))[..3_000]);
            finish(client);
        }
        // RST: after a frame, inside one, and with replies unread.
        5 => {
            client.call(b"a frame");
            client.reset();
        }
        6 => {
            client.send_bytes(&frame(&payload(kind, 200_000))[..80_000]);
            client.reset();
        }
        _ => {
            client.send(&payload(kind, 1_000));
            client.reset();
        }
    }
}

fn finish(mut client: Client) {
    client.finish();
    assert_eq!(client.end(), End::InOrder);
}

/// Many lives, on several threads, and one more at the end.
fn run(addr: SocketAddr, cycles: std::ops::Range<u64>) {
    let next = AtomicU64::new(cycles.start);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(cycle) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|cycle| *cycle < cycles.end) {
                    // Ports of one address would run out: those of a client that finished first stay taken for a minute.
                    let source = cycle / 1_000 % 250 + 1;
                    live(Client::connect_from([127, 0, 7, source as u8], addr), cycle % KINDS);
                }
            });
        }
    });
    // The listen queue is served in its order: when this one is, all have been accepted.
    live(Client::connect(addr), LAST);
}

/// A server whose buffers are mapped each by itself and unmapped when they are freed (`mallopt(3)`). In a common heap they
/// would leave gaps of some hundred kilobytes, now more, now fewer, which is more than is looked for.
fn serve_with_frugal_allocator() -> (Process, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameloop"));
    command.args(["serve", "-q", "--listen", "127.0.0.1:0"]).env_clear();
    Process::serve_by(command.env("MALLOC_MMAP_THRESHOLD_", "4096").env("MALLOC_TRIM_THRESHOLD_", "0"))
}

/// The least memory of its own that a process has while nothing is asked of it: buffers kept for reuse are given back by
/// halves, a second apart. Without the pages of its program, which come in when they are first run.
fn anonymous_at_rest(pid: u32) -> u64 {
    let samples = (0..40).map(|_| {
        thread::sleep(Duration::from_millis(100));
        resident(pid, "Anonymous")
    });
    samples.min().unwrap()
}

/// Resident memory of a process, in bytes. Not from `statm`, which is off by what each processor has yet to add
/// (`proc_pid_statm(5)`).
fn resident(pid: u32, what: &str) -> u64 {
    let rollup = SmapsRollup::from_file(format!("/proc/{pid}/smaps_rollup")).unwrap();
    rollup.memory_map_rollup.0[0].extension.map[what]
}

#[test]
fn cycles_of_fin_rst_and_mid_frame_leak_nothing() {
    let cycles: u64 = env::var(CYCLES).map_or(CYCLES_BY_DEFAULT, |cycles| cycles.replace('_', "").parse().unwrap());
    if std::net::TcpListener::bind("127.0.7.1:0").is_err() {
        return skip("127.0.0.0/8 is not this machine's as a whole");
    }
    let (server, addr) = serve_with_frugal_allocator();
    let baseline = descriptors(server.id());
    let [warm, end] = [0..cycles / 2, cycles / 2..cycles].map(|half| {
        run(addr, half);
        assert!(holds_within(PATIENCE, || descriptors(server.id()) == baseline));
        anonymous_at_rest(server.id())
    });
    let total = resident(server.id(), "Rss");
    let slope = (end as f64 - warm as f64) / total as f64;
    let figures = format!("{cycles} cycles: of {total} bytes, {warm} were its own after a half and {end} at the end");
    println!("{figures}: {:+.2} %", 100.0 * slope);
    assert!(slope <= SLOPE_MAX, "{figures}");
}
