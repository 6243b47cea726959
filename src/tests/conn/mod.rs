//! The state machine of a connection, driven without a socket.
//!
//! A [`Socket`](crate::fuzzing::socket::Socket) plays a script and holds the connection to what it promises about system calls, a
//! [`Driver`](driver::Driver) stands in for the reactor and checks the invariants after every run, and a
//! [`Answerer`](sink::Answerer) for the handler. What must come out is said by [`Outlook`], in a few lines.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backpressure;
mod budgets;
mod closing;
mod costs;
mod deadlines;
mod drain;
mod driver;
mod endings;
mod faults;
mod half_close;
mod large;
mod limits;
mod partitions;
mod sink;
mod stress;

use crate::error::CloseReason;
use crate::wire::{FrameError, HEADER_LEN, announced_len, encode_header};

/// A frame with this payload.
fn frame_of(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

/// Frames with payloads of these lengths; each byte tells where it belongs.
fn stream(payload_lens: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (nth, &len) in payload_lens.iter().enumerate() {
        bytes.extend(encode_header(len as u32));
        bytes.extend((0..len).map(|at| (at * 7 + at / 256 + nth * 31 + 1) as u8));
    }
    bytes
}

/// Every way to cut `len` things, in order, into pieces of at least one.
fn compositions(len: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << len.saturating_sub(1)).map(move |cuts| {
        let mut pieces = vec![1];
        for at in 0..len - 1 {
            match cuts >> at & 1 {
                0 => *pieces.last_mut().unwrap() += 1,
                _ => pieces.push(1),
            }
        }
        pieces
    })
}

/// `bytes` in pieces of these lengths.
fn pieces<'a>(mut bytes: &'a [u8], lens: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    lens.iter().map(move |&len| {
        let (piece, rest) = bytes.split_at(len);
        bytes = rest;
        piece
    })
}

/// What must become of a peer that sends some bytes, then FIN, to a handler that answers every frame.
#[derive(Debug, PartialEq, Eq)]
struct Outlook {
    /// Whole frames.
    frames: usize,
    /// The bytes of the whole frames.
    whole: usize,
    reason: CloseReason,
}

impl Outlook {
    fn of(bytes: &[u8], max_payload: u32) -> Self {
        let (mut frames, mut whole) = (0, 0);
        let reason = loop {
            match announced_len(&bytes[whole..], max_payload) {
                Ok(Some(len)) if whole + HEADER_LEN + len as usize <= bytes.len() => {
                    frames += 1;
                    whole += HEADER_LEN + len as usize;
                }
                Ok(_) if whole == bytes.len() => break CloseReason::PeerFinished,
                Ok(_) => break CloseReason::TruncatedFrame { received: bytes.len() - whole },
                Err(error) => break CloseReason::FrameTooLong(error),
            }
        };
        Self { frames, whole, reason }
    }
}

fn too_long(bytes: &[u8], max_payload: u32) -> FrameError {
    announced_len(bytes, max_payload).unwrap_err()
}
