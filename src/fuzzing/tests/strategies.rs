//! Scripts by chance, more often sensible than bytes by chance are.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::conn::chunk::CHUNK_LEN;
use crate::fuzzing::script::{Act, BUDGETS, FRAMES, HIGH, LONGEST, MEMORY, PAYLOAD_LENS, ROOMS, Setup, Step};
use crate::wire::{HEADER_LEN, encode_header};

/// Scripts for [`decoder`](crate::fuzzing::decoder).
pub(super) fn streams() -> impl Strategy<Value = Vec<u8>> {
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

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let bytes = (select(&PAYLOAD_LENS[..]), select(&MEMORY[..]), select(&[0, 1 << 20][..]));
    let marks = (select(&HIGH[..]), 0..4_usize);
    let budgets = (select(&BUDGETS[..]), select(&BUDGETS[..]), select(&FRAMES[..]), select(&ROOMS[..]));
    let traits = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1));
    (bytes, marks, budgets, traits, act()).prop_map(|(bytes, (high, low), budgets, traits, answer)| Setup {
        max_payload: bytes.0,
        memory: bytes.1,
        pool_bytes_max: bytes.2,
        output_high_water: high,
        output_low_water: high / 4 * low,
        read_budget_bytes: budgets.0,
        write_budget_bytes: budgets.1,
        frame_budget: budgets.2,
        answer,
        keeps_half_closed: traits.0,
        is_talkative: traits.1,
        fails_shutdown: traits.2,
        room: budgets.3,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 0..120)
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 0..300_usize,
        4 => 0..6_000_usize,
        1 => 20_000..40_000_usize,
        1 => CHUNK_LEN - HEADER_LEN - 5..CHUNK_LEN + 5,
        1 => 0..LONGEST,
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Echo),
        4 => Just(Act::Copy),
        2 => Just(Act::Inspect),
        2 => Just(Act::Ignore),
        2 => (0..16_u8, 0..8_192_u16).prop_map(|(count, payload_len)| Act::Replies { count, payload_len }),
        2 => Just(Act::Pause),
        1 => select(&[Act::Close, Act::Abort, Act::Panic][..]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sides = || (any::<bool>(), any::<bool>());
    let stream = prop_oneof![
        6 => len().prop_map(|payload_len| Step::Frame { payload_len }),
        1 => vec(any::<u8>(), 0..20).prop_map(Step::Raw),
        4 => len().prop_map(Step::Deliver),
        4 => Just(Step::Deliver(usize::MAX)),
        4 => len().prop_map(Step::Room),
        1 => Just(Step::Room(usize::MAX)),
    ];
    let turns = prop_oneof![
        4 => sides().prop_map(|(readable, writable)| Step::Event { readable, writable }),
        1 => sides().prop_map(|(readable, writable)| Step::Spurious { readable, writable }),
        2 => Just(Step::Turn),
        2 => Just(Step::Settle),
    ];
    let trouble = prop_oneof![
        2 => any::<u8>().prop_map(Step::Interrupt),
        2 => (0..4_u8).prop_map(Step::Block),
        2 => any::<u8>().prop_map(Step::ShortRead),
        2 => act().prop_map(Step::Act),
        2 => any::<bool>().prop_map(Step::Pause),
        2 => (0..6_000_usize).prop_map(|payload_len| Step::Send { payload_len }),
        1 => any::<u16>().prop_map(Step::Pass),
    ];
    let ends = select(
        &[
            Step::Fin,
            Step::Fin,
            Step::Drain,
            Step::Drain,
            Step::Close,
            Step::Reset,
            Step::FailRead,
            Step::FailWrite,
            Step::TakeZero,
            Step::Cut,
        ][..],
    );
    prop_oneof![10 => stream, 10 => turns, 4 => trouble, 1 => ends]
}

/// Writes scripts: the reverse of [`of`](crate::fuzzing::script::of).
pub(super) mod scripts {
    use super::*;

    pub(in crate::fuzzing::tests) fn bytes_of(setup: &Setup, steps: &[Step]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let high = setup.output_high_water;
        bytes.push(index(&PAYLOAD_LENS, setup.max_payload));
        bytes.push(index(&HIGH, high));
        let traits = [setup.keeps_half_closed, setup.is_talkative, setup.fails_shutdown];
        bytes.push(traits.iter().rev().fold(0, |bits, &is_set| bits << 1 | u8::from(is_set)));
        bytes.push(index(&MEMORY, setup.memory));
        bytes.push(index(&[1 << 20, 0], setup.pool_bytes_max));
        bytes.push(setup.output_low_water.checked_div(high / 4).unwrap_or(0) as u8);
        bytes.push(index(&BUDGETS, setup.read_budget_bytes));
        bytes.push(index(&BUDGETS, setup.write_budget_bytes));
        bytes.push(index(&FRAMES, setup.frame_budget));
        put_act(&mut bytes, setup.answer);
        bytes.push(index(&ROOMS, setup.room));
        steps.iter().for_each(|step| put_step(&mut bytes, step));
        bytes
    }

    fn index<T: PartialEq + std::fmt::Debug>(choices: &[T], choice: T) -> u8 {
        match choices.iter().position(|other| *other == choice) {
            Some(index) => index as u8,
            None => panic!("{choice:?} is none of {choices:?}"),
        }
    }

    fn put_len(bytes: &mut Vec<u8>, len: usize) {
        let [.., high, middle, low] = len.to_be_bytes();
        match len {
            0..=0xff => bytes.extend([0, low]),
            0x100..=0xffff => bytes.extend([4, middle, low]),
            _ => bytes.extend([7, high, middle, low]),
        }
    }

    fn put_act(bytes: &mut Vec<u8>, act: Act) {
        match act {
            Act::Echo => bytes.push(0),
            Act::Copy => bytes.push(1),
            Act::Inspect => bytes.push(2),
            Act::Ignore => bytes.push(3),
            Act::Replies { count, payload_len } => {
                bytes.extend([4, count]);
                bytes.extend(payload_len.to_be_bytes());
            }
            Act::Pause => bytes.push(5),
            Act::Close => bytes.push(6),
            Act::Abort => bytes.push(7),
            Act::Panic => bytes.push(8),
        }
    }

    fn put_step(bytes: &mut Vec<u8>, step: &Step) {
        let sides = |readable, writable| u8::from(readable) | u8::from(writable) << 1;
        match *step {
            Step::Frame { payload_len } => {
                bytes.push(0);
                put_len(bytes, payload_len);
            }
            Step::Raw(ref raw) => {
                bytes.extend([1, raw.len() as u8]);
                bytes.extend(raw);
            }
            Step::Deliver(usize::MAX) => bytes.push(3),
            Step::Deliver(len) => {
                bytes.push(2);
                put_len(bytes, len);
            }
            Step::Room(usize::MAX) => bytes.push(5),
            Step::Room(len) => {
                bytes.push(4);
                put_len(bytes, len);
            }
            Step::Event { readable, writable } => bytes.extend([6, sides(readable, writable)]),
            Step::Spurious { readable, writable } => bytes.extend([7, sides(readable, writable)]),
            Step::Turn => bytes.push(8),
            Step::Settle => bytes.push(9),
            Step::Fin => bytes.push(10),
            Step::Reset => bytes.push(11),
            Step::FailRead => bytes.push(12),
            Step::FailWrite => bytes.push(13),
            Step::TakeZero => bytes.push(14),
            Step::Interrupt(count) => bytes.extend([15, count]),
            Step::Block(count) => bytes.extend([16, count]),
            Step::ShortRead(len) => bytes.extend([17, len]),
            Step::Act(act) => {
                bytes.push(18);
                put_act(bytes, act);
            }
            Step::Pause(is_paused) => bytes.extend([19, u8::from(!is_paused)]),
            Step::Send { payload_len } => {
                bytes.push(20);
                put_len(bytes, payload_len);
            }
            Step::Close => bytes.push(21),
            Step::Drain => bytes.push(22),
            Step::Cut => bytes.extend([23, 0]),
            Step::Pass(millis) => {
                bytes.extend([23, 1]);
                bytes.extend(millis.to_be_bytes());
            }
        }
    }
}
