//! What a server gives on a client's word, and what one client may take from the others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::check::case::{Case, Level};
use crate::check::finding::{Finding, bytes};
use crate::check::peer::{End, Peer};
use crate::check::process::Memory;
use crate::check::target::{Played, Stop, Target, growth, read};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "length-over-limit",
        level: Level::Hardened,
        does: "a header announces one byte more than --max-payload: the connection is closed before any payload is sent",
        why: "a limit that is checked after the payload has arrived is no limit",
        mistake: "there is no limit, or it is another than --max-payload says",
        chapter: LIMITS,
        play: length_over_limit,
    },
    Case {
        name: "announced-memory",
        level: Level::Hardened,
        does: "64 clients announce --max-payload, of 16 MiB at most, and send a byte: memory grows by less than a quarter of that",
        why: "a header costs its sender 4 bytes, and should not cost the server a frame",
        mistake: "a buffer is allocated for the whole payload once its header is there",
        chapter: LIMITS,
        play: announced_memory,
    },
    Case {
        name: "never-reads-memory",
        level: Level::Hardened,
        does: "a client pipelines and never reads: the server stops reading from it before it has taken 64 MiB",
        why: "unread replies must be stored somewhere: without backpressure in the server's memory",
        mistake: "the server reads on while the answers that were not taken pile up in its queue",
        chapter: "backpressure.md",
        play: never_reads_memory,
    },
    Case {
        name: "flood-beside",
        level: Level::Hardened,
        does: "a client sends empty frames as fast as it can; 20 frames of another, 40 ms apart, are each answered within a quarter of --timeout",
        why: "a socket that is filled as fast as it is read is never empty: without a budget its turn never ends",
        mistake: "a connection is read until WouldBlock, however long that takes, before the next has its turn",
        chapter: "fairness.md",
        play: flood_beside,
    },
    Case {
        name: "idle-memory",
        level: Level::Hardened,
        does: "500 clients had a frame of 16 KiB answered and are silent: each costs at most 32 KiB of resident memory",
        why: "most connections of a busy server are idle: their memory limits their number",
        mistake: "each connection keeps its buffers, or a thread with its stack, while it has nothing to do",
        chapter: "rung-2-thread-per-client.md",
        play: idle_memory,
    },
];

/// The last case of all: what it does to a server without a limit can end it.
pub(crate) const FOUR_GIB: Case = Case {
    name: "four-gib",
    level: Level::Hardened,
    does: "8 clients announce 4 GiB - 1 and send a byte: memory grows by less than 1 GiB, others are served",
    why: "a stray request of another protocol looks like this, and an attacker tries it first",
    mistake: "a buffer is allocated for the whole payload once its header is there, whatever the header says",
    chapter: LIMITS,
    play: four_gib,
};

fn length_over_limit(target: &mut Target) -> Played {
    let (wire, max) = (target.wire(), target.max_payload);
    let most = most_announced(target);
    let header = match (wire.header(u64::from(max) + 1), most) {
        (Some(header), _) => header,
        (None, None) if !wire.delimiter().is_empty() => return endless_payload(target),
        (None, Some(most)) if most != u64::from(max) => {
            let reason = format!(
                "a header of {wire} announces {most} bytes at most, and --max-payload is {max}: no length is over it"
            );
            return Err(Stop::Skipped(reason));
        }
        (None, Some(_)) => {
            let reason = "--max-payload is the most that a header can announce: no length is over it";
            return Err(Stop::Skipped(reason.into()));
        }
        (None, None) => return Err(announces_none(target)),
    };
    let mut peer = target.connect()?;
    peer.send(&header)?;
    Ok(peer.expect_end(End::Any, target.patience.usual())?)
}

/// The longest payload that a header can announce, in bytes, if there are headers.
fn most_announced(target: &Target) -> Option<u64> {
    let (shortest, longest) = target.wire().payload_lens().into_inner();
    target.wire().header(shortest).map(|_| longest)
}

fn announces_none(target: &Target) -> Stop {
    Stop::Skipped(format!("a frame of {} announces no length", target.wire()))
}

/// More than the longest payload, and no delimiter.
fn endless_payload(target: &mut Target) -> Played {
    let max = target.max_payload as usize;
    if max > ENDLESS_MAX {
        let reason = format!("--max-payload is {}, and {} at most are sent for this", bytes(max), bytes(ENDLESS_MAX));
        return Err(Stop::Skipped(reason));
    }
    // A limit may be one for the frame, with its delimiter, and a carriage return before that.
    let payload = target.payloads.payload(max + DELIMITED_MORE);
    let mut peer = target.connect()?;
    // It may be closed before all of it was sent.
    let _ = peer.send(&payload);
    Ok(peer.expect_end(End::Any, target.patience.usual())?)
}

fn announced_memory(target: &mut Target) -> Played {
    let most = most_announced(target).ok_or_else(|| announces_none(target))?;
    let len = u64::from(target.max_payload).min(16 << 20);
    let allowed = ANNOUNCERS as u64 * len.min(most) / 4;
    if allowed < NOISE {
        let flag = if most < len { format!("--framing {}", target.wire()) } else { format!("--max-payload {len}") };
        let reason = format!("with {flag} what can be announced is too little to be distinguished from other memory");
        return Err(Stop::Skipped(reason));
    }
    target.process()?;
    let mut peers = target.connect_crowd(ANNOUNCERS)?;
    announce(target, &mut peers, len.min(most), allowed)
}

fn four_gib(target: &mut Target) -> Played {
    let most = most_announced(target).ok_or_else(|| announces_none(target))?;
    let len = most.min(u32::MAX.into());
    if len < FOUR_GIB_ALLOWED {
        return Err(Stop::Skipped(format!("a header of {} announces {most} bytes at most", target.wire())));
    }
    let mut peers = target.connect_crowd(8)?;
    announce(target, &mut peers, len, FOUR_GIB_ALLOWED)
}

/// Announces `len` bytes on each connection, and sends one.
fn announce(target: &Target, peers: &mut [Peer], len: u64, allowed: u64) -> Played {
    let header = target.wire().header(len).unwrap_or_default();
    let before = target.process.map(|process| read(process.memory())).transpose()?;
    for peer in &mut *peers {
        // A server that refuses at the header may have ended the connection already.
        let _ = peer.send(&header).and_then(|()| peer.send(b"x"));
    }
    // A server that was not let run yet has allocated nothing. One that serves a later client has been.
    let served = target.connect_served();
    thread::sleep(SETTLING);
    let sent = format!("{} times {}", peers.len(), peers[0].sent());
    if let (Some(process), Some(before)) = (target.process, before) {
        let grown = growth(before, read(process.memory())?);
        if grown.resident.max(grown.data) >= allowed {
            return Err(grown_too_much(sent, grown, allowed).into());
        }
    }
    Ok(served.map(drop)?)
}

fn grown_too_much(sent: String, grown: Memory, allowed: u64) -> Finding {
    let came =
        format!("{} more are resident, and {} more are allocated", mebibytes(grown.resident), mebibytes(grown.data));
    Finding::new(sent, format!("the process grows by less than {}", mebibytes(allowed)), came)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn never_reads_memory(target: &mut Target) -> Played {
    let mut deaf = target.connect_narrow()?;
    let frames = target.long_frames();
    let mut taken = deaf.fill(&frames, TAKEN_MAX).unwrap_or(0);
    // A server that was not let run meanwhile has taken nothing. One that serves another client has been; if it serves none,
    // `never-reads-beside` fails.
    let _ = target.connect_served();
    taken += deaf.fill(&frames, TAKEN_MAX.saturating_sub(taken)).unwrap_or(0);
    if taken >= TAKEN_MAX {
        let expected = format!("less than {} are taken: sockets hold about 16 MiB", bytes(TAKEN_MAX as usize));
        return Err(
            Finding::new(deaf.sent(), expected, format!("{} were taken, and none read", mebibytes(taken))).into()
        );
    }
    Ok(())
}

fn flood_beside(target: &mut Target) -> Played {
    let mut bystander = target.connect_served()?;
    let flood = target.connect()?;
    let (writer, reader, end) = (flood.cloned()?, flood.cloned()?, flood.cloned()?);
    let empty = target.payloads.clone().frame(0);
    let empty = empty.repeat(FLOOD_LEN.div_ceil(empty.len()));
    let is_over = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        scope.spawn(|| write_forever(writer, &empty));
        scope.spawn(|| discard(reader, &is_over));
        thread::sleep(SETTLING);
        let served = (0..BYSTANDER_FRAMES).try_for_each(|_| {
            // The flood can pause for some milliseconds: a core is taken away, or a segment is sent again. A turn that ends
            // only then would let all frames pass that are sent one right after the other.
            thread::sleep(target.patience.at_most(BYSTANDER_PAUSE));
            let frame = target.payloads.frame(30);
            bystander.send(&frame)?;
            bystander.expect_within(&frame, target.patience.short())
        });
        is_over.store(true, Ordering::Relaxed);
        let _ = end.shutdown(Shutdown::Both);
        served
    });
    served?;
    Ok(())
}

/// Sends frames until the connection ends.
fn write_forever(mut stream: TcpStream, frames: &[u8]) {
    while stream.write_all(frames).is_ok() {}
}

/// Reads until the connection ends, or `is_over`: what a server sends on is read behind a shutdown as well.
fn discard(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut buffer = vec![0; 256 << 10];
    while !is_over.load(Ordering::Relaxed) && stream.read(&mut buffer).is_ok_and(|len| len > 0) {}
}

fn idle_memory(target: &mut Target) -> Played {
    let process = target.process()?;
    target.needs_connections(IDLE)?;
    let before = read(process.memory())?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut peer = target.connect()?;
        peer.echo(&target.payloads.frame(target.payload_len(16 << 10)))?;
        idle.push(peer);
    }
    let each = growth(before, read(process.memory())?).resident / IDLE;
    if each > IDLE_MAX {
        let sent = format!("{IDLE} times {}", idle[0].sent());
        let expected = format!("at most {IDLE_MAX} bytes of resident memory a connection that is idle");
        return Err(Finding::new(sent, expected, format!("{each} bytes")).into());
    }
    Ok(())
}

const LIMITS: &str = "rung-7-limits.md";

/// Time for a server to do what it does.
const SETTLING: Duration = Duration::from_millis(200);
const ANNOUNCERS: usize = 64;
/// Growth that says nothing: an allocator's, or a runtime's.
const NOISE: u64 = 32 << 20;
/// How much a server may grow when 4 GiB are announced.
const FOUR_GIB_ALLOWED: u64 = 1 << 30;
/// More is not sent to find out that there is a limit.
const ENDLESS_MAX: usize = 64 << 20;
/// More than a delimiter, and what may be stripped with it.
const DELIMITED_MORE: usize = 8;
/// How much a flood sends in one write.
const FLOOD_LEN: usize = 64 << 10;
const TAKEN_MAX: u64 = 64 << 20;
const BYSTANDER_FRAMES: usize = 20;
/// Longer than a flood is likely to pause.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(40);
const IDLE: u64 = 500;
const IDLE_MAX: u64 = 32 << 10;
