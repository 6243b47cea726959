//! The state machine of a connection, driven without a socket.
//!
//! A [`Socket`](crate::fuzzing::socket::Socket) plays a script and holds the connection to what it promises about system calls, a
//! [`Driver`](crate::fuzzing::driver::Driver) stands in for the reactor and checks the invariants after every run, and a
//! [`ScriptedSink`](crate::fuzzing::sink::ScriptedSink) for the handler. What must come out is said by
//! [`Content`](crate::fuzzing::content::Content).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backpressure;
mod budgets;
mod closing;
mod costs;
mod deadlines;
mod drain;
mod endings;
mod faults;
mod finishing;
mod half_close;
mod large;
mod limits;
mod partitions;

use crate::wire::{FrameError, announced_len, encode_header};

/// A frame with this payload.
fn frame_of(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

/// Frames with payloads of these lengths; each byte depends on its position.
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

fn too_long(bytes: &[u8], max_payload: u32) -> FrameError {
    announced_len(bytes, max_payload).unwrap_err()
}
