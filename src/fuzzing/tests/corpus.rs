//! Scripts with a meaning: the seeds that the fuzzer of the decoder starts from, `fuzz/corpus/decoder/seed-*`, and steps of
//! a connection.
//!
//! `FRAMELOOP_WRITE_SEEDS=1 cargo test the_seeds` writes them anew, after the script's format has changed.
//! `FRAMELOOP_FUZZ_INPUT=<file> cargo test a_recorded` replays a file that a fuzzer has written, and prints its steps.

use std::fs;
use std::path::Path;

use super::*;
use crate::conn::chunk::CHUNK_LEN;
use crate::fuzzing::content::LONGEST;
use crate::fuzzing::sink::{Act, Style};

const DELIVER: Step = Step::Deliver(usize::MAX);
const READABLE: Step = Step::Event { readable: true, writable: false };
const WRITABLE: Step = Step::Event { readable: false, writable: true };

/// A limit's number, KiB to make the last frame whole, the lengths of the pieces, and frames with these payload lengths.
fn stream(limit: u8, kib: u8, lens: &[u8], payload_lens: &[u32]) -> Vec<u8> {
    let mut data = vec![limit, kib, lens.len() as u8];
    data.extend(lens);
    for &len in payload_lens {
        data.extend(encode_header(len));
        data.extend((0..len.min(300)).map(|at| at as u8 | 1));
    }
    data
}

fn decoder_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |lens: &[u8], bytes: &[u8]| [&[0, 0, lens.len() as u8], lens, bytes].concat();
    vec![
        ("empty", stream(0, 0, &[], &[])),
        ("one-frame", stream(0, 0, &[], &[5])),
        ("byte-by-byte", stream(0, 0, &[0], &[3, 0, 1])),
        ("no-payloads", stream(2, 0, &[4, 1], &[0; 12])),
        ("pieces-of-all-lengths", stream(1, 0, &[0, 1, 2, 3, 4, 5, 60, 200], &[100, 7, 0, 250])),
        ("cut-in-the-header", stream(0, 0, &[8, 1], &[5, 9])[..14].to_vec()),
        ("cut-in-the-payload", stream(0, 0, &[], &[5, 9])[..20].to_vec()),
        ("at-the-limit", stream(3, 0, &[6], &[7, 7])),
        ("over-the-limit", stream(3, 0, &[6], &[7, 8])),
        ("fills-a-chunk", stream(5, 70, &[255], &[(CHUNK_LEN - HEADER_LEN) as u32])),
        ("longer-than-a-chunk", stream(5, 80, &[210, 3], &[4, CHUNK_LEN as u32])),
        ("three-chunks", stream(6, 159, &[250], &[145_000])),
        ("http", raw(&[3], b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")),
        ("tls", raw(&[], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])),
        ("little-endian", raw(&[], b"\x05\0\0\0hello")),
    ]
}

// A table.
#[allow(clippy::too_many_lines)]
#[test]
fn connections_in_every_trouble_keep_their_promises() {
    let plain = script::of(&[]).0;
    let narrow = Setup { output_high_water: 60, low_quarters: 1, room: 0, ..plain.clone() };
    let large = Setup { max_payload: LONGEST as u32, ..plain.clone() };
    let frames = |count| vec![Step::Frame { payload_len: 30 }; count];
    let seed = |setup: &Setup, steps: &[&[Step]]| (setup.clone(), steps.concat());
    let scripts = [
        ("echo", seed(&plain, &[&frames(3), &[DELIVER, READABLE, Step::Fin, READABLE]])),
        (
            "partial-frame",
            seed(&plain, &[&frames(1), &[Step::Deliver(2), READABLE, Step::Deliver(9), READABLE, DELIVER, READABLE]]),
        ),
        (
            "backpressure",
            seed(&narrow, &[&frames(9), &[DELIVER, READABLE, Step::Room(50), WRITABLE, Step::Room(100), Step::Settle]]),
        ),
        (
            "large-frame",
            seed(
                &large,
                &[&[
                    Step::Frame { payload_len: LONGEST },
                    Step::Deliver(CHUNK_LEN),
                    READABLE,
                    Step::ShortRead(9),
                    DELIVER,
                    Step::Settle,
                ]],
            ),
        ),
        ("large-frame-behind-others", {
            let steps = [20_000, 10_000, LONGEST].map(|payload_len| Step::Frame { payload_len });
            seed(&large, &[&steps, &[Step::Deliver(CHUNK_LEN), READABLE, Step::Deliver(100), READABLE, DELIVER]])
        }),
        (
            "budgets",
            seed(
                &Setup { read_budget_bytes: 100, write_budget_bytes: 1, frame_budget: 2, ..plain.clone() },
                &[&frames(20), &[DELIVER, READABLE, Step::Turn, Step::Turn, Step::Settle]],
            ),
        ),
        ("half-close", {
            let setup = Setup { keeps_half_closed: true, is_talkative: true, ..plain.clone() };
            seed(&setup, &[&frames(1), &[DELIVER, Step::Fin, READABLE, Step::Send { payload_len: 8 }, Step::Close]])
        }),
        ("write-fails-before-the-end", {
            let both = Step::Event { readable: true, writable: true };
            seed(&plain, &[&frames(1), &[DELIVER, Step::TakeZero, Step::Fin, both]])
        }),
        ("reset", seed(&narrow, &[&frames(3), &[DELIVER, READABLE, Step::Reset, READABLE, WRITABLE]])),
        ("send-meets-reset", {
            let steps = [READABLE, Step::Reset, Step::Send { payload_len: 8 }, Step::Turn, Step::Settle];
            seed(&plain, &[&frames(1), &[DELIVER], &steps])
        }),
        (
            "pause",
            seed(
                &plain,
                &[
                    &frames(5),
                    &[
                        Step::Act(Act::Answer(Style::Echo)),
                        Step::Act(Act::Pause),
                        DELIVER,
                        READABLE,
                        Step::Pause(false),
                    ],
                ],
            ),
        ),
        (
            "drain",
            seed(
                &narrow,
                &[&frames(4), &[Step::Deliver(70), READABLE, Step::Drain, Step::Turn, DELIVER, Step::Settle]],
            ),
        ),
        ("interruptions", {
            let steps = [Step::Interrupt(3), Step::Block(2), Step::ShortRead(7), DELIVER, READABLE, Step::Settle];
            seed(&plain, &[&frames(4), &steps])
        }),
        ("deadlines", {
            let late = Step::Pass(10_000);
            let steps = [Step::Deliver(9), READABLE, Step::Pass(9_999), late.clone()];
            seed(&plain, &[&frames(2), &steps, &frames(2), &[DELIVER, READABLE, Step::Close, Step::Turn, late]])
        }),
        ("over-the-limit", seed(&plain, &[&frames(1), &[Step::Raw(vec![0xff; 9]), DELIVER, READABLE, Step::Fin]])),
        (
            "replies",
            seed(
                &Setup { answer: Act::Replies { count: 3, payload_len: 900 }, output_high_water: 1_000, ..narrow },
                &[&frames(3), &[DELIVER, READABLE, Step::Room(3_000), WRITABLE]],
            ),
        ),
        (
            "memory-limit",
            seed(
                &Setup { memory: 5_000, room: 0, answer: Act::Answer(Style::Copy), ..plain.clone() },
                &[&frames(200), &[DELIVER, Step::Settle]],
            ),
        ),
        ("panic-then-another", seed(&plain, &[&[Step::Act(Act::Panic)], &frames(2), &[DELIVER, READABLE], &frames(1)])),
    ];
    for (name, (setup, steps)) in scripts {
        println!("{name}");
        scene::play(&setup, &steps);
    }
}

#[test]
fn the_seeds_are_what_is_written_here_and_play() {
    let is_to_write = std::env::var_os("FRAMELOOP_WRITE_SEEDS").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decoder");
    for (name, data) in decoder_seeds() {
        decoder(&data);
        let path = folder.join(format!("seed-{name}"));
        if is_to_write {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &data).unwrap();
        }
        if folder.exists() {
            assert_eq!(fs::read(&path).ok(), Some(data), "{}: see the top of this test's file", path.display());
        }
    }
}

#[test]
fn a_recorded_script_plays() {
    let Some(path) = std::env::var_os("FRAMELOOP_FUZZ_INPUT") else { return };
    let data = fs::read(&path).unwrap();
    if path.to_string_lossy().contains("decoder") {
        return decoder(&data);
    }
    let (setup, steps) = script::of(&data);
    println!("{setup:#?}");
    steps.iter().for_each(|step| println!("{step:?}"));
    connection(&data);
}
