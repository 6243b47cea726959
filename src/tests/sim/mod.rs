//! Reactors on the simulated network: whole campaigns, and one fault at a time.

mod adopting;
mod apart;
mod broadcasting;
mod campaign;
mod detaching;
mod dialing;
mod edges;
mod ending;
mod fairness;
mod framing;
mod inspecting;
mod limits;
mod lints;
mod listening;
mod parts;
mod recording;
mod rejecting;
mod reply_parts;
mod threats;
mod timers;

use crate::sim::{Peer, Rng};

/// Sends `bytes` in pieces of any length up to `piece_max`. Returns what was received after all of them.
fn exchange(
    peer: &Peer,
    mut bytes: &[u8],
    piece_max: usize,
    rng: &mut Rng,
    mut receive: impl FnMut() -> Vec<u8>,
) -> Vec<u8> {
    let mut received = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(rng.between(1, piece_max).min(bytes.len()));
        peer.send(piece);
        bytes = rest;
        received.extend(receive());
    }
    received
}
