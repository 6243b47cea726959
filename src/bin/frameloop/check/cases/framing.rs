//! Frames in a stream: wherever it is cut, and however much of it comes at once.

use std::thread;
use std::time::Duration;

use crate::check::case::{Case, Level};
use crate::check::finding::bytes;
use crate::check::peer::End;
use crate::check::target::{Played, Stop, Target};
use crate::check::wire::Shape;

/// The three cases of a header in two writes differ in where it is cut.
macro_rules! header_split {
    ($name:literal, $how:literal, $play:expr) => {
        Case {
            name: $name,
            level: Level::Basic,
            does: concat!("a header is sent as ", $how, ", each of three times"),
            why: "TCP does not keep the 4 bytes of a header together",
            mistake: "a read of up to 4 bytes is taken for a read of 4 bytes",
            chapter: PARTIAL_IO,
            play: $play,
        }
    };
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "one-frame",
        level: Level::Basic,
        does: "a frame of 258 bytes, sent in one write, comes back",
        why: "this is the protocol: 4 bytes of length, big-endian, and then the payload, in both directions",
        mistake: "the length is read or written in the machine's byte order, or the answer has no header",
        chapter: PARTIAL_IO,
        play: one_frame,
    },
    Case {
        name: "zero-length",
        level: Level::Basic,
        does: "an empty frame gets an empty reply: alone, and between two others",
        why: "a length of 0 is valid: a frame of 4 bytes, and not the end of the stream",
        mistake: "a read into no room, or a length of 0, is taken for the end of the stream",
        chapter: "rung-6-frames.md",
        play: zero_length,
    },
    Case {
        name: "byte-at-a-time",
        level: Level::Basic,
        does: "a frame is sent in writes of one byte, a few milliseconds apart",
        why: "TCP has no messages: a read returns what has arrived so far, which may be one byte",
        mistake: "what one read gave is taken for a whole header, or for a whole frame",
        chapter: PARTIAL_IO,
        play: byte_at_a_time,
    },
    header_split!("header-1-3", "1 byte, and then 3", |target| header_in_two(target, 1)),
    header_split!("header-2-2", "2 bytes, and then 2", |target| header_in_two(target, 2)),
    header_split!("header-3-1", "3 bytes, and then 1", |target| header_in_two(target, 3)),
    Case {
        name: "every-split",
        level: Level::Basic,
        does: "three frames of 0, 1 and 3 bytes are split in two at every position, each on its own connection",
        why: "wherever the network splits the stream, the frames are the same",
        mistake: "some state is lost between two reads: a header in part, a payload in part, or what lay behind a frame",
        chapter: PARTIAL_IO,
        play: every_split,
    },
    Case {
        name: "coalesced",
        level: Level::Basic,
        does: "1,000 small frames in one write get 1,000 replies, in order",
        why: "one read may return many frames, and no further event wakes the server for the rest",
        mistake: "only the first frame of a read is answered, or a read that did not empty the socket is not followed by another",
        chapter: PARTIAL_IO,
        play: coalesced,
    },
    Case {
        name: "whole-then-part",
        level: Level::Basic,
        does: "a whole frame and half of the next arrive together: the first is answered now, the second once it is whole",
        why: "a client may wait for that reply before it sends the rest",
        mistake: "a frame waits until the buffer ends where a frame ends, or the half behind it is thrown away",
        chapter: PARTIAL_IO,
        play: whole_then_part,
    },
    Case {
        name: "half-frame",
        level: Level::Basic,
        does: "a header and half a payload get no reply until the other half is there",
        why: "a frame is delivered when it is whole: half a request is not a request",
        mistake: "the server gives back bytes as they come: an echo of bytes, and not of frames",
        chapter: PARTIAL_IO,
        play: half_frame,
    },
    Case {
        name: "binary-payload",
        level: Level::Basic,
        does: "a payload has every byte value, line ends, zeros, invalid UTF-8 and bytes that look like headers",
        why: "a payload is bytes: only its length says where it ends",
        mistake: "the payload is taken for text: decoded, trimmed, or ended at a zero or a line end",
        chapter: "rung-6-frames.md",
        play: binary_payload,
    },
    Case {
        name: "large-frame",
        level: Level::Basic,
        does: "a frame of 8 MiB, or of --max-payload if that is less, and a small one behind it",
        why: "no socket buffer holds it: it takes many reads, and many writes",
        mistake: "a read or a write that took a part is taken for the whole, or the socket is not read until it is empty",
        chapter: PARTIAL_IO,
        play: large_frame,
    },
    Case {
        name: "fin-after-frames",
        level: Level::Basic,
        does: "after three frames and their replies the client sends FIN: the server's own FIN must follow",
        why: "a connection that is never closed costs a descriptor for as long as the server runs",
        mistake: "a read of 0 bytes is not taken for the end of the stream, and the socket is never closed",
        chapter: "half-close.md",
        play: fin_after_frames,
    },
];

fn one_frame(target: &mut Target) -> Played {
    let frame = target.payloads.frame(258);
    Ok(target.connect()?.echo(&frame)?)
}

fn zero_length(target: &mut Target) -> Played {
    let (wire, shortest) = (target.wire(), target.payload_len(0));
    if shortest > 0 {
        return Err(Stop::Skipped(format!("a payload of {wire} has {} or more", bytes(shortest))));
    }
    let empty = wire.frame(b"");
    let mut peer = target.connect()?;
    peer.echo(&empty)?;
    let three = [&target.payloads.frame(10)[..], &empty, &target.payloads.frame(10)].concat();
    Ok(peer.echo(&three)?)
}

fn byte_at_a_time(target: &mut Target) -> Played {
    let mut peer = target.connect()?;
    let frame = target.payloads.frame(12);
    for part in bytes_of(&frame).filter(|part| !part.is_empty()) {
        peer.send(part)?;
        thread::sleep(APART);
    }
    Ok(peer.expect(&frame)?)
}

/// The bytes of a frame one by one; of a long one, those in the middle at once.
fn bytes_of(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (frame.len() / 2).min(ENDS);
    let (first, rest) = frame.split_at(ends);
    let (middle, last) = rest.split_at(rest.len() - ends);
    first.chunks(1).chain([middle]).chain(last.chunks(1))
}

fn header_in_two(target: &mut Target, first: usize) -> Played {
    // A server that is not let run meanwhile reads both parts at once: it does not miss all of them.
    for _ in 0..3 {
        let frame = target.payloads.frame(300);
        let (first, rest) = frame.split_at(target.wire().after(&frame, first).map_err(Stop::Skipped)?);
        let mut peer = target.connect()?;
        peer.send(first)?;
        thread::sleep(PAUSE);
        peer.send(rest)?;
        peer.expect(&frame)?;
    }
    Ok(())
}

fn every_split(target: &mut Target) -> Played {
    let (mut stream, mut edges) = (Vec::new(), vec![0]);
    for len in [0, 1, 3] {
        let frame = target.payloads.frame(len);
        edges.push(stream.len() + target.wire().head_len(&frame).unwrap_or(0));
        stream.extend(frame);
        edges.push(stream.len());
    }
    // Which is all of a stream of short frames.
    let is_close = |cut: &usize| edges.iter().any(|edge| edge.abs_diff(*cut) <= CLOSE);
    for cut in (0..=stream.len()).filter(is_close) {
        let mut peer = target.connect()?;
        let (first, second) = stream.split_at(cut);
        if !first.is_empty() {
            peer.send(first)?;
            thread::sleep(APART * 2);
        }
        if !second.is_empty() {
            peer.send(second)?;
        }
        peer.expect(&stream)?;
    }
    Ok(())
}

fn coalesced(target: &mut Target) -> Played {
    let mut frames = Vec::new();
    // A client that sends much more than this has to read meanwhile.
    for number in 0..1_000 {
        if number >= 2 && frames.len() >= COALESCED {
            break;
        }
        frames.extend(target.payloads.frame(8 + number % 9));
    }
    Ok(target.connect()?.echo(&frames)?)
}

fn whole_then_part(target: &mut Target) -> Played {
    let (first, second) = (target.payloads.frame(40), target.payloads.frame(60));
    target.wire().half_payload(&second).map_err(Stop::Skipped)?;
    let mut peer = target.connect()?;
    let (half, rest) = second.split_at(second.len() / 2);
    peer.send(&[&first[..], half].concat())?;
    peer.expect(&first)?;
    peer.send(rest)?;
    Ok(peer.expect(&second)?)
}

fn half_frame(target: &mut Target) -> Played {
    let frame = target.payloads.frame(100);
    let (half, rest) = frame.split_at(target.wire().half_payload(&frame).map_err(Stop::Skipped)?);
    let mut peer = target.connect()?;
    peer.send(half)?;
    peer.expect_nothing(QUIET)?;
    peer.send(rest)?;
    Ok(peer.expect(&frame)?)
}

fn binary_payload(target: &mut Target) -> Played {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let text = b"\r\n\r\n\0\0line\n\xff\xfe\xc3\x28\xed\xa0\x80";
    let wire = target.wire();
    let headers = [0, 5, u32::MAX].map(|len| wire.header(len.into()).unwrap_or_default()).concat();
    let mut payload = [&all[..], text, &headers, b"\n"].concat();
    wire.avoid(&mut payload);
    payload.extend(beginnings(wire.delimiter()));
    // As many frames as it takes.
    let len = target.payload_len(payload.len());
    let whole = payload.len().next_multiple_of(len);
    let payload: Vec<u8> = payload.into_iter().cycle().take(whole).collect();
    let frames: Vec<u8> = payload.chunks(len).flat_map(|payload| wire.frame(payload)).collect();
    Ok(target.connect()?.echo(&frames)?)
}

/// A delimiter that is broken off after each of its bytes, and the beginning of one right before the next.
fn beginnings(delimiter: &[u8]) -> Vec<u8> {
    let Some((last, begun)) = delimiter.split_last() else { return Vec::new() };
    let other = (0..=u8::MAX).find(|byte| !delimiter.contains(byte)).unwrap_or_default();
    let mut payload: Vec<u8> = (0..=begun.len()).flat_map(|len| [&begun[..len], &[other]].concat()).collect();
    // Of a delimiter of equal bytes, it would be the end.
    payload.extend(begun.iter().take(1).filter(|first| *first != last || begun.iter().any(|byte| byte != last)));
    payload
}

fn large_frame(target: &mut Target) -> Played {
    if target.wire().shape() == Shape::Raw {
        return Err(Stop::Skipped("with raw, no frame is larger than a read".into()));
    }
    let len = target.payload_len(LARGE);
    // Before it connects: a server may have a deadline for a client that is silent.
    let (large, small) = (target.payloads.frame(len), target.payloads.frame(20.min(len)));
    let mut peer = target.connect_narrow()?;
    peer.send(&large)?;
    // The answer fills every buffer on its way, before the first byte of it is read.
    thread::sleep(PAUSE);
    peer.expect(&large)?;
    Ok(peer.echo(&small)?)
}

fn fin_after_frames(target: &mut Target) -> Played {
    let mut peer = target.connect()?;
    let frames = [20; 3].map(|len| target.payloads.frame(len)).concat();
    peer.echo(&frames)?;
    peer.finish_sending();
    Ok(peer.expect_end(End::Fin, target.patience.usual())?)
}

const PARTIAL_IO: &str = "partial-io.md";

/// So far apart that a server reads them one by one.
const APART: Duration = Duration::from_millis(4);
/// Time for a server to have read what is there.
const PAUSE: Duration = Duration::from_millis(30);
/// How long nothing may come.
const QUIET: Duration = Duration::from_millis(250);
/// How many bytes at each end of a frame are sent one by one, which takes less time than a server gives a frame.
const ENDS: usize = 16;
/// How far from the ends of frames and headers a stream is cut.
const CLOSE: usize = 10;
/// What the buffers of sockets hold in any case.
const COALESCED: usize = 32 << 10;
/// More than the buffers of a socket hold: 4 MiB to send and 6 MiB to receive at most by default (tcp(7)).
const LARGE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_hold_no_whole_delimiter() {
        for delimiter in [&b"\n"[..], b"\r\n", b"\r\n\r\n", b"zz", b"aba", b"abab"] {
            let frame = [&beginnings(delimiter), delimiter].concat();
            let found = frame.windows(delimiter.len()).position(|at| at == delimiter);
            assert_eq!(found, Some(frame.len() - delimiter.len()), "{delimiter:?}");
        }
        assert_eq!(beginnings(b"\r\n"), b"\0\r\0\r");
        assert_eq!(beginnings(b""), b"");
    }

    #[test]
    fn bytes_of_a_long_frame_are_one_by_one_at_its_ends() {
        let lens = |len: usize| bytes_of(&vec![7; len]).map(<[u8]>::len).filter(|len| *len > 0).collect::<Vec<_>>();
        assert_eq!((lens(16), lens(3)), (vec![1; 16], vec![1; 3]));
        assert_eq!(lens(200), [&[1; 16][..], &[168], &[1; 16]].concat());
    }
}
