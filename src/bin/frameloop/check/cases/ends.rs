//! Slow readers, and connections that end: in order, in the middle, and by force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::peer::{End, Peer};
use crate::check::target::{Played, Stop, Target};
use crate::check::wire::Wire;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "urgent-mark",
        level: Level::Nonblocking,
        does: "an urgent byte is sent in the middle of each of 1,000 frames: it is not part of them, and all are answered",
        why: "a read stops before an urgent byte, and what follows it is not reported again (tcp(7))",
        mistake: "a read that is shorter than its buffer is taken for the last one, edge-triggered",
        chapter: "edges-and-levels.md",
        play: urgent_mark,
    },
    Case {
        name: "slow-reader",
        level: Level::Nonblocking,
        does: "16 MiB of frames are pipelined, and the replies read slowly at first: all arrive, in order",
        why: "a full socket is ordinary: the rest must wait for a writable event",
        mistake: "WouldBlock of a write is taken for an error, or the part of a write that was not taken is lost",
        chapter: "backpressure.md",
        play: slow_reader,
    },
    Case {
        name: "half-close-owed",
        level: Level::Nonblocking,
        does: "8 MiB of frames and FIN are sent before a reply is read: every reply arrives, then FIN, and no RST",
        why: "a client that has sent all it has may still want to read: FIN ends one direction (RFC 9293, 3.6)",
        mistake: "the end of the input closes the connection, and the output that is still owed is thrown away",
        chapter: HALF_CLOSE,
        play: half_close_owed,
    },
    Case {
        name: "fin-in-header",
        level: Level::Nonblocking,
        does: "FIN comes after 2 bytes of a header: no reply, the connection is closed, others are served",
        why: "the rest will never arrive, and waiting for it wastes a descriptor",
        mistake: "a read of 0 bytes is not noticed inside a header",
        chapter: HALF_CLOSE,
        play: |target| ended_inside(target, 300, Wire::half_header),
    },
    Case {
        name: "fin-in-payload",
        level: Level::Nonblocking,
        does: "FIN comes in the middle of a payload: no reply, the connection is closed, others are served",
        why: "half a payload is not a frame, and the rest will never arrive",
        mistake: "a read of 0 bytes is not noticed inside a payload, or what came so far is answered",
        chapter: HALF_CLOSE,
        play: |target| ended_inside(target, 100, Wire::half_payload),
    },
    Case {
        name: "rst-in-header",
        level: Level::Nonblocking,
        does: "RST comes after 2 bytes of a header: others are served",
        why: "clients crash: one peer's error must close only its own connection",
        mistake: "an error of one connection's read leaves the loop, and with it everybody",
        chapter: HALF_CLOSE,
        play: |target| reset_inside(target, 300, Wire::half_header),
    },
    Case {
        name: "rst-in-payload",
        level: Level::Nonblocking,
        does: "RST comes in the middle of a payload: others are served",
        why: "clients crash: one peer's error must close only its own connection",
        mistake: "an error of one connection's read leaves the loop, and with it everybody",
        chapter: HALF_CLOSE,
        play: |target| reset_inside(target, 100, Wire::half_payload),
    },
    Case {
        name: "rst-with-output-owed",
        level: Level::Nonblocking,
        does: "a client pipelines, reads nothing and resets the connection: others are served",
        why: "a write to a connection that was reset is an error, or a signal (SIGPIPE) that ends a process",
        mistake: "an error of one connection's write leaves the loop, or SIGPIPE is neither ignored nor avoided",
        chapter: "backpressure.md",
        play: reset_with_output_owed,
    },
];

fn urgent_mark(target: &mut Target) -> Played {
    let (mut peer, mut other) = (target.connect()?, target.connect()?);
    let frames: Vec<Vec<u8>> = (0..1_000).map(|_| target.payloads.frame(40)).collect();
    let large = match target.payload_len(BUSY_LEN) {
        len if target.wire().payload_len(BUSY_LEN) == BUSY_LEN => target.payloads.frame(len),
        len => target.payloads.frames(BUSY_IN_PARTS, len),
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // A server that reads the first half before the second is there notices nothing. One that is busy does not,
        // sooner or later.
        let busy = scope.spawn(|| -> Result<(), Finding> {
            while !is_over.load(Ordering::Relaxed) {
                other.echo(&large)?;
            }
            Ok(())
        });
        let echoed = frames.iter().try_for_each(|frame| {
            let (first, rest) = frame.split_at(frame.len() / 2);
            peer.send_urgent(&[first, b"!"].concat())?;
            peer.send(rest)?;
            peer.expect(frame)
        });
        is_over.store(true, Ordering::Relaxed);
        echoed?;
        Ok(busy.join().unwrap_or(Ok(()))?)
    })
}

fn slow_reader(target: &mut Target) -> Played {
    let frames = target.stream(16 << 20)?;
    let mut peer = target.connect_narrow()?;
    peer.send_beside(&frames, false, |peer| {
        let (slow, rest) = frames.split_at(64 << 10);
        read_slowly(peer, slow, 4 << 10)?;
        peer.expect(rest)
    })?;
    Ok(())
}

fn half_close_owed(target: &mut Target) -> Played {
    let frames = target.stream(8 << 20)?;
    let wait = target.patience.usual();
    let mut peer = target.connect_narrow()?;
    peer.send_beside(&frames, true, |peer| {
        // The answers fill every buffer on their way, before the first is read.
        thread::sleep(FILLING);
        // And they stay full to the end: the server reads FIN while more output is pending than the socket accepts.
        read_slowly(peer, &frames, 128 << 10)?;
        peer.expect_end(End::Fin, wait)
    })?;
    Ok(())
}

/// Reads so much at a time, with pauses.
fn read_slowly(peer: &mut Peer, frames: &[u8], len: usize) -> Result<(), Finding> {
    for part in frames.chunks(len) {
        peer.expect(part)?;
        thread::sleep(SLOW_PAUSE);
    }
    Ok(())
}

/// Where a frame is cut; or why it cannot be.
type Cut = fn(&Wire, &[u8]) -> Result<usize, String>;

/// The part of a frame before the cut.
fn begun(target: &mut Target, len: usize, cut: Cut) -> Result<Vec<u8>, Stop> {
    let mut frame = target.payloads.frame(len);
    frame.truncate(cut(target.wire(), &frame).map_err(Stop::Skipped)?);
    Ok(frame)
}

fn ended_inside(target: &mut Target, len: usize, cut: Cut) -> Played {
    let begun = begun(target, len, cut)?;
    let mut peer = target.connect()?;
    peer.send(&begun)?;
    thread::sleep(PAUSE);
    peer.finish_sending();
    Ok(peer.expect_end(End::Any, target.patience.usual())?)
}

fn reset_inside(target: &mut Target, len: usize, cut: Cut) -> Played {
    let begun = begun(target, len, cut)?;
    let mut peer = target.connect()?;
    peer.send(&begun)?;
    // A server that has read them waits for the rest.
    thread::sleep(PAUSE);
    peer.reset();
    thread::sleep(PAUSE);
    Ok(())
}

fn reset_with_output_owed(target: &mut Target) -> Played {
    target.connect_deaf()?.reset();
    thread::sleep(PAUSE);
    Ok(())
}

const HALF_CLOSE: &str = "half-close.md";

/// Time for a server to have read what is there.
const PAUSE: Duration = Duration::from_millis(30);
/// Time for answers to fill all buffers.
const FILLING: Duration = Duration::from_millis(150);
/// How long a slow reader waits between two reads.
const SLOW_PAUSE: Duration = Duration::from_millis(5);
/// Keeps a server busy for some hundred microseconds.
const BUSY_LEN: usize = 256 << 10;
/// Where frames are shorter: so much fits into sockets before a reply is read.
const BUSY_IN_PARTS: usize = 32 << 10;
