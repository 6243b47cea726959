//! The upload example: frames that are longer than the memory, in parts, to a client that reads and to one that does not.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::{env, thread};

use support::{PATIENCE, Process, example};

fn serve() -> (Process, SocketAddr) {
    let mut command = Command::new(example("upload"));
    command.arg("127.0.0.1:0").stdin(Stdio::piped());
    Process::serve_by(&mut command)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A block of a frame, which differs from the others.
fn block(number: usize) -> Vec<u8> {
    (number as u64 * 31 + 7).to_be_bytes().iter().copied().cycle().take(BLOCK).collect()
}

const BLOCK: usize = 64 << 10;

/// `FRAMELOOP_TEST_UPLOAD_MIB` is the length of the frame; 4095 is the longest.
#[test]
fn long_frame_is_echoed_in_little_memory() {
    let mib: usize = env::var("FRAMELOOP_TEST_UPLOAD_MIB").map_or(64, |text| text.parse().unwrap());
    let blocks = mib * (1 << 20) / BLOCK;
    let (process, addr) = serve();
    let before = process.proc_status().vmhwm.unwrap();
    let stream = connect(addr);
    let header = u32::try_from(mib << 20).unwrap().to_be_bytes();
    thread::scope(|scope| {
        let mut writer = &stream;
        scope.spawn(move || {
            writer.write_all(&header).unwrap();
            (0..blocks).for_each(|number| writer.write_all(&block(number)).unwrap());
            // Another frame follows directly.
            writer.write_all(b"\0\0\0\x03end").unwrap();
        });
        let (mut reader, mut received) = (&stream, vec![0; BLOCK]);
        reader.read_exact(&mut received[..4]).unwrap();
        assert_eq!(received[..4], header);
        for number in 0..blocks {
            reader.read_exact(&mut received).unwrap();
            assert!(received == block(number), "block {number} differs");
        }
        reader.read_exact(&mut received[..7]).unwrap();
        assert_eq!(received[..7], *b"\0\0\0\x03end");
    });
    let peak = process.proc_status().vmhwm.unwrap();
    println!("a frame of {mib} MiB: {before} KiB of resident memory before, at most {peak} KiB");
    assert!(peak < before + 4_096, "{before} KiB before, then {peak} KiB");
}

#[test]
fn drain_completes_a_frame_that_has_begun() {
    let (mut process, addr) = serve();
    let mut client = connect(addr);
    client.write_all(&(1_u32 << 20).to_be_bytes()).unwrap();
    client.write_all(&block(0)).unwrap();
    let mut received = vec![0; 4 + BLOCK];
    client.read_exact(&mut received).unwrap();
    process.close_stdin();
    // The listener is closed once the drain has begun.
    while TcpStream::connect(addr).is_ok() {
        thread::yield_now();
    }
    (1..16).for_each(|number| client.write_all(&block(number)).unwrap());
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest == (1..16).flat_map(block).collect::<Vec<u8>>());
    drop(client);
    assert_eq!(process.outcome().code, Some(0));
}
