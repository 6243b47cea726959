//! The fuzzers' harnesses under proptest, and streams so short that every way to cut them can be tried.
//!
//! `PROPTEST_CASES` says how many cases; what fails is kept in `proptest-regressions/` and tried first next time.

mod corpus;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{connection, decoder, scene, script};
use crate::conn::chunk::CHUNK_LEN;
use crate::conn::state::State;
use crate::fuzzing::content::{Content, Rest};
use crate::fuzzing::driver::Driver;
use crate::fuzzing::scene::Scene;
use crate::fuzzing::script::{Setup, Step};
use crate::wire::{HEADER_LEN, encode_header};

proptest! {
    #[test]
    fn any_bytes_are_decoded_as_they_must_be(data in vec(any::<u8>(), 0..400)) {
        decoder(&data);
    }

    #[test]
    fn any_stream_of_frames_is_decoded_however_it_is_cut(data in streams()) {
        decoder(&data);
    }
}

proptest! {
    // Most scripts end a connection soon, so more of them are played than the usual 256.
    #![proptest_config(ProptestConfig::with_cases(2_000.max(ProptestConfig::default().cases)))]

    #[test]
    fn any_bytes_are_a_script_that_a_connection_survives(data in vec(any::<u8>(), 0..1_500)) {
        connection(&data);
    }
}

/// Scripts for [`decoder`](crate::fuzzing::decoder).
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        8 => 0..30_u32,
        2 => 0..6_000_u32,
        1 => CHUNK_LEN as u32 - 10..CHUNK_LEN as u32 + 2,
        1 => any::<u32>(),
    ];
    let cuts = vec(prop_oneof![0..20_u8, any::<u8>()], 0..16);
    (any::<u8>(), 0..160_u8, cuts, vec(frame, 0..12)).prop_map(|(limit, kib, cuts, frames)| {
        let mut data = vec![limit, kib, cuts.len() as u8];
        data.extend(cuts);
        for payload_len in frames {
            data.extend(encode_header(payload_len));
            data.extend((0..payload_len.min(6_000)).map(|at| at as u8));
        }
        data
    })
}

const LIMIT: u32 = 64;
const LEN: usize = 16;

/// Every stream of [`LEN`] bytes: frames, then a part of one, or a length over the limit. Any shorter one is the front of
/// one of these.
fn all_streams() -> Vec<Vec<u8>> {
    fn extend(stream: Vec<u8>, all: &mut Vec<Vec<u8>>) {
        let room = LEN - stream.len();
        if room == 0 {
            return all.push(stream);
        }
        // One whole frame more, the last of them being cut off by the end; and one that is too long.
        let last = room.saturating_sub(HEADER_LEN) as u32 + 1;
        for payload_len in (0..=last).chain([LIMIT, LIMIT + 1]) {
            let mut longer = stream.clone();
            longer.extend(encode_header(payload_len));
            longer.extend((0..payload_len).map(|at| at as u8 + 1));
            longer.truncate(LEN);
            let is_whole = longer.len() == stream.len() + HEADER_LEN + payload_len as usize;
            if is_whole {
                extend(longer, all);
            } else {
                longer.resize(LEN, 0);
                all.push(longer);
            }
        }
    }
    let mut all = Vec::new();
    extend(Vec::new(), &mut all);
    all
}

/// What can be seen of a connection.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    state: State,
    written_len: usize,
    held_bytes: (usize, usize),
    buffered_bytes: usize,
    awaits_frame: bool,
    wants_turn: bool,
}

fn receive(scene: &mut Scene, bytes: &[u8]) -> Seen {
    scene.take(&Step::Raw(bytes.to_vec()));
    scene.take(&Step::Deliver(bytes.len()));
    scene.take(&Step::Settle);
    let Driver { conn, socket, sink, .. } = &scene.driver;
    assert!(socket.written == sink.queued && sink.queued == sink.received);
    Seen {
        state: conn.state(),
        written_len: socket.written.len(),
        held_bytes: conn.held_bytes(),
        buffered_bytes: conn.buffered_bytes(),
        awaits_frame: conn.frame_since().is_some(),
        wants_turn: conn.wants_turn(),
    }
}

/// What a connection is after some bytes depends on the bytes alone: it is the same whether they came in one piece, in two
/// or in three. By induction over the pieces, every partition of every stream is the same as none.
///
/// (Every partition one by one, of some streams, is tried in the tests of `conn`.)
#[test]
fn every_partition_of_16_bytes_is_decoded_alike() {
    let setup = Setup { max_payload: LIMIT, ..script::of(&[]).0 };
    let streams = all_streams();
    assert!(streams.len() > 100);
    let mut scene = Scene::new(&setup);
    for bytes in streams {
        let mut whole = Vec::new();
        for len in 0..=LEN {
            let seen = receive(&mut scene, &bytes[..len]);
            let content = Content::of(&bytes[..len], LIMIT);
            assert_eq!(seen.written_len, content.whole_len());
            assert_eq!(seen.state == State::Open, matches!(content.rest, Rest::Part(_)));
            whole.push(seen);
            scene = scene.reconnect();
        }
        for first in 1..LEN {
            for second in first + 1..=LEN {
                for cuts in [0, first, second, LEN].windows(2) {
                    assert_eq!(receive(&mut scene, &bytes[cuts[0]..cuts[1]]), whole[cuts[1]], "{bytes:?}");
                }
                scene = scene.reconnect();
            }
        }
    }
}
