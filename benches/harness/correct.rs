//! `--check`: whether each server answers as it should, over real sockets.
//!
//! What is measured is worth something only where every server does the same
//! work. A check is a client that a correct server satisfies and a hasty one
//! does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::child::{Bench, Priority};
use crate::failure::Result;
use crate::proc;

/// Starts and checks them all, a line each; false when one of them fails.
pub(crate) fn run(bench: &Bench) -> Result<bool> {
    let mut all_hold = true;
    for peer in bench.peers() {
        let title = format!("{} ({}; {})", peer.name, peer.title, peer.version);
        let server = bench.start(peer, Priority::NONE);
        all_hold &= told(&title, server.and_then(|server| check(server.address()?, server.pid())));
    }
    bench.left_out.iter().for_each(|line| println!("{line}"));
    Ok(all_hold)
}

fn told(title: &str, checked: Result<()>) -> bool {
    match &checked {
        Ok(()) => println!("{title}: all {} checks hold", CHECKS.len()),
        Err(error) => println!("{title}: {error}"),
    }
    checked.is_ok()
}

/// All checks of one server.
///
/// # Errors
///
/// Names the first that does not hold.
pub(crate) fn check(address: SocketAddr, pid: u32) -> Result<()> {
    for (name, holds) in CHECKS {
        let client = connect(address).map_err(|error| format!("{name}: not connected: {error}"))?;
        holds(client, pid).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

type Check = (&'static str, fn(TcpStream, u32) -> Result<()>);

static CHECKS: [Check; 8] = [
    ("a header in two segments", |client, _| in_segments(client, &frame(300), &[2, 4, 150])),
    ("a frame byte by byte", |client, _| in_segments(client, &frame(40), &[1; 44])),
    ("many frames in one segment", |client, _| at_once(client, &frames((0..1_000).map(|nth| nth % 100)))),
    ("empty frames", |client, _| at_once(client, &frames([0, 0, 5, 0]))),
    ("large frames", |client, _| at_once(client, &frames([MIB, 7, 8 * MIB, 0, MIB]))),
    ("pipelined, and read late", slow_reader),
    ("half-close", half_close),
    ("pipelined, and never read", never_reads),
];

const MIB: usize = 1024 * 1024;

/// A server that has not moved for so long does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Enough to meet a server's next read.
const PAUSE: Duration = Duration::from_millis(5);

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// Sends pieces of these lengths, and what is left; the reply is the same.
fn in_segments(mut client: TcpStream, bytes: &[u8], lens: &[usize]) -> Result<()> {
    let mut rest = bytes;
    for len in lens {
        let (piece, behind) = rest.split_at(*len);
        client.write_all(piece)?;
        std::thread::sleep(PAUSE);
        rest = behind;
    }
    client.write_all(rest)?;
    expect(&mut client, bytes)
}

/// Sends everything in one go, and reads at the same time.
fn at_once(client: TcpStream, bytes: &[u8]) -> Result<()> {
    exchange(&client, bytes, Duration::ZERO, || Ok(()))
}

fn slow_reader(client: TcpStream, _: u32) -> Result<()> {
    let bytes = frames((0..24_000).map(|nth| nth % 2_048));
    exchange(&client, &bytes, Duration::from_millis(500), || Ok(()))
}

/// All that was asked is answered, and then the server ends as well.
fn half_close(client: TcpStream, _: u32) -> Result<()> {
    // More than sockets hold: replies still wait when the end is read.
    let bytes = frames((0..640).map(|nth| 32 * nth));
    exchange(&client, &bytes, Duration::from_millis(300), || Ok(client.shutdown(Shutdown::Write)?))?;
    match (&client).read(&mut [0])? {
        0 => Ok(()),
        _ => Err("more came back than was sent".into()),
    }
}

fn never_reads(mut client: TcpStream, pid: u32) -> Result<()> {
    const MOST: usize = 256 * MIB;
    const GROWTH_MAX: u64 = 64 * MIB as u64;
    let bytes = frame(64 * 1024);
    let before = proc::resident_bytes(pid)?;
    client.set_write_timeout(Some(Duration::from_secs(1)))?;
    for _ in 0..MOST / bytes.len() {
        match client.write_all(&bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // A server may also end such a connection.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let growth = proc::resident_bytes(pid)?.saturating_sub(before);
    if growth >= GROWTH_MAX {
        return Err(format!("resident memory grew by {} MiB", growth / MIB as u64).into());
    }
    Ok(())
}

/// Sends all these bytes, then does as `then` says; meanwhile, but `late`,
/// reads as many and compares them.
fn exchange(client: &TcpStream, bytes: &[u8], late: Duration, then: impl Fn() -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let (mut reader, mut writer) = (client.try_clone()?, client.try_clone()?);
        let read = scope.spawn(move || {
            std::thread::sleep(late);
            // An error with a source cannot leave its thread.
            expect(&mut reader, bytes).map_err(|error| error.to_string())
        });
        writer.write_all(bytes)?;
        then()?;
        Ok(read.join().map_err(|_| "the reader panicked")??)
    })
}

fn expect(client: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = 0;
    while seen < bytes.len() {
        let most = buffer.len().min(bytes.len() - seen);
        let count = match client.read(&mut buffer[..most]) {
            Ok(0) => return Err(format!("closed after {seen} of {} bytes", bytes.len()).into()),
            Ok(count) => count,
            Err(error) => return Err(format!("after {seen} of {} bytes: {error}", bytes.len()).into()),
        };
        if buffer[..count] != bytes[seen..seen + count] {
            return Err(format!("other bytes came back than were sent, after {seen}").into());
        }
        seen += count;
    }
    Ok(())
}

fn frame(payload_len: usize) -> Vec<u8> {
    frames([payload_len])
}

/// Frames with these lengths; the value of a byte shows its position.
fn frames(payload_lens: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload_len in payload_lens {
        bytes.extend((payload_len as u32).to_be_bytes());
        let at = bytes.len();
        bytes.extend((at..at + payload_len).map(|place| (place ^ place >> 8 ^ place >> 16) as u8));
    }
    bytes
}
