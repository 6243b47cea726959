//! Pending output against a queue of bytes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use proptest::prelude::*;

use crate::conn::chunk::{CHUNK_LEN, ChunkPool};
use crate::conn::io::{Budget, Readiness, Transport};
use crate::conn::output::Output;

/// Pending output and its model.
struct Pair {
    output: Output,
    pool: ChunkPool,
    model: Model,
    is_full: bool,
    high: usize,
    low: usize,
}

/// Bytes in order.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    taken: usize,
}

impl Model {
    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

/// What is done to pending output.
#[derive(Debug, Clone)]
enum Op {
    /// So many bytes are copied to its end.
    Append(usize),
    /// So many are moved to its end, in chunks of their own.
    Move(usize),
    /// The socket takes so many, this budget permitting.
    Flush { room: usize, budget: usize },
}

/// Compares what is written with the model, up to its room.
struct Socket<'a> {
    model: &'a mut Model,
    room: usize,
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room);
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= len;
        assert!(self.model.bytes[self.model.taken..].starts_with(&bytes[..len]), "other bytes than queued");
        self.model.taken += len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Transport for Socket<'_> {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pair {
    fn new(high: usize, low: usize, memory: usize) -> Self {
        let pool = ChunkPool::new(memory, 0);
        Self { output: Output::default(), pool, model: Model::default(), is_full: false, high, low }
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        let nth = self.model.bytes.len();
        (nth..nth + len).map(|nth| (nth * 7 + nth / 256) as u8).collect()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(len) => self.append(len),
            Op::Move(len) => self.move_in(len),
            Op::Flush { room, budget } => self.flush(room, budget),
        }
        self.check();
    }

    fn append(&mut self, len: usize) {
        let bytes = self.bytes(len);
        if self.pool.has_room(self.output.room_needed(len)) {
            self.output.append(&bytes, self.high, &mut self.pool);
            self.note(&bytes);
        }
    }

    fn move_in(&mut self, len: usize) {
        let bytes = self.bytes(len);
        let mut chunks = VecDeque::new();
        for piece in bytes.chunks(CHUNK_LEN) {
            if !self.pool.has_room(CHUNK_LEN) {
                break;
            }
            let mut chunk = self.pool.acquire(piece.len());
            chunk.append(piece);
            chunks.push_back(chunk);
        }
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        self.output.append_chunks(&mut chunks, self.high);
        self.note(&bytes[..len]);
    }

    fn note(&mut self, bytes: &[u8]) {
        self.model.bytes.extend(bytes);
        self.is_full |= self.model.len() >= self.high;
    }

    fn flush(&mut self, room: usize, budget: usize) {
        let before = self.model.len();
        let mut socket = Socket { model: &mut self.model, room };
        let mut left = Budget::to_write(budget);
        let mut readiness = Readiness { writable: true, ..Readiness::default() };
        self.output.write(&mut socket, &mut readiness, &mut left, self.low, &mut self.pool).unwrap();
        let sent = before - self.model.len();
        assert_eq!(left.write_bytes, budget.saturating_sub(sent));
        // A write is not cut short for the budget, but none begins without any.
        let is_expected = match (self.output.is_empty(), readiness.writable) {
            (true, _) => sent == before,
            (false, false) => sent == room,
            (false, true) => sent >= budget && sent < budget.max(1) + CHUNK_LEN,
        };
        assert!(is_expected, "{readiness}, {sent} of {before} sent, room for {room}, a budget of {budget}");
        if sent > 0 {
            self.is_full &= self.model.len() > self.low;
        }
    }

    fn check(&self) {
        self.output.check(self.high, self.low);
        assert_eq!((self.output.len(), self.output.is_full()), (self.model.len(), self.is_full));
        assert_eq!(self.output.is_empty(), self.model.len() == 0);
        assert_eq!(self.output.capacity(), self.pool.used_bytes());
    }

    fn release(mut self) {
        self.flush(usize::MAX, usize::MAX);
        self.output.release(&mut self.pool);
        self.check();
        assert_eq!(self.pool.used_bytes(), 0);
    }
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![8 => 1..700_usize, 1 => 1..3 * CHUNK_LEN];
    let budget = prop_oneof![4 => Just(usize::MAX), 1 => 0..1_000_usize];
    prop_oneof![
        4 => len().prop_map(Op::Append),
        1 => len().prop_map(Op::Move),
        3 => (prop_oneof![Just(0), len()], budget).prop_map(|(room, budget)| Op::Flush { room, budget }),
    ]
}

proptest! {
    #[test]
    fn output_is_a_queue_of_bytes(
        high in prop_oneof![1..2_000_usize, Just(CHUNK_LEN), Just(1 << 18)],
        low in 0..1_000_usize,
        memory in prop_oneof![3 => Just(1 << 30), 1 => 0..1_usize << 18],
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let mut pair = Pair::new(high, low.min(high - 1), memory);
        ops.iter().for_each(|op| pair.apply(op));
        pair.release();
    }
}

/// The pieces of the `nth` way to cut `len` things, in order; there are 2^(len - 1).
fn partition(len: usize, nth: u32) -> impl Iterator<Item = usize> {
    let mut at = 0;
    (1..=len).filter(move |&end| end == len || nth >> (end - 1) & 1 == 1).map(move |end| {
        let piece = end - at;
        at = end;
        piece
    })
}

const LEN: usize = 16;

#[test]
fn every_partition_of_sixteen_bytes_goes_out_in_order() {
    for nth in 0..1 << (LEN - 1) {
        let mut queued = Pair::new(10, 3, 1 << 20);
        let mut taken = Pair::new(10, 3, 1 << 20);
        taken.apply(&Op::Append(LEN));
        for (index, piece) in partition(LEN, nth).enumerate() {
            queued.apply(&if index % 2 == 0 { Op::Append(piece) } else { Op::Move(piece) });
            taken.apply(&Op::Flush { room: piece, budget: usize::MAX });
        }
        queued.release();
        taken.release();
    }
}

#[test]
fn every_partition_of_both_sides_of_eight_bytes_goes_out_in_order() {
    for ins in 0..1 << 7 {
        for outs in 0..1 << 7 {
            let mut pair = Pair::new(5, 2, 1 << 20);
            let mut outs = partition(8, outs);
            for piece in partition(8, ins) {
                pair.apply(&Op::Append(piece));
                if let Some(room) = outs.next() {
                    pair.apply(&Op::Flush { room, budget: usize::MAX });
                }
            }
            outs.for_each(|room| pair.apply(&Op::Flush { room, budget: usize::MAX }));
            pair.release();
        }
    }
}
