use super::*;
use crate::conn::payloads::COPY_LEN_MAX;
use crate::fuzzing::socket::{Room, Socket};
use crate::wire::HEADER_LEN;

/// Writes while the socket is said to be writable. Returns whether it still is.
fn write(output: &mut Output, socket: &mut impl Transport, budget: &mut Budget, pool: &mut ChunkPool) -> bool {
    let mut readiness = Readiness { writable: true, ..Readiness::default() };
    output.write(socket, &mut readiness, budget, LOW, pool).unwrap();
    readiness.writable
}

const HIGH: usize = 1_000;
const LOW: usize = 250;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7) as u8).collect()
}

fn chunk_of(bytes: &[u8], pool: &mut ChunkPool) -> Chunk {
    let mut chunk = pool.acquire(bytes.len());
    chunk.append(bytes);
    chunk
}

#[test]
fn appended_pieces_are_flushed_in_order() {
    for (len, piece, step) in
        [(3_000, 1_000, 1), (20_000, 7, 13), (200_000, 70_000, 100_000), (2_000_000, 200_000, 65_536)]
    {
        let all = bytes(len);
        let mut pool = ChunkPool::new(4 << 20, 0);
        let mut output = Output::default();
        for piece in all.chunks(piece) {
            output.append(piece, HIGH, &mut pool);
            output.check(HIGH, LOW);
        }
        let mut socket = Socket::new(0);
        while !output.is_empty() {
            socket.interrupt(1);
            socket.rooms.push_back(Room::Bytes(step));
            socket.make_room();
            socket.report(true, true);
            write(&mut output, &mut socket, &mut Budget::to_write(usize::MAX), &mut pool);
            output.check(HIGH, LOW);
        }
        assert!(socket.written == all);
        assert_eq!((output.len(), pool.used_bytes()), (0, 0));
    }
}

#[test]
fn small_pieces_lie_together_in_one_chunk() {
    let mut pool = ChunkPool::new(1 << 20, 0);
    let mut output = Output::default();
    for piece in bytes(2_000).chunks(36) {
        output.append(piece, HIGH, &mut pool);
    }
    assert_eq!(output.pieces.len(), 1);
    assert!(output.capacity() <= 2 * output.len() + 4_096);
}

#[test]
fn frames_lie_one_behind_the_other_whatever_room_is_left() {
    let mut pool = ChunkPool::new(16 << 20, 0);
    for payload_len in [0, 1, 300, 507, 508, 509, 4_000, CHUNK_LEN - HEADER_LEN, CHUNK_LEN, 2 * CHUNK_LEN] {
        let payload = bytes(payload_len);
        let mut output = Output::default();
        for _ in 0..40 {
            output.append_frame(&Enclosure::of_head(&[1, 2, 3, 4]), &payload, usize::MAX, &mut pool);
        }
        output.check(usize::MAX, LOW);
        let queued: Vec<u8> = output.pieces.iter().flat_map(|chunk| chunk.as_slice(&pool).to_vec()).collect();
        assert!(queued == [&[1, 2, 3, 4], payload.as_slice()].concat().repeat(40), "{payload_len}");
        assert!(output.capacity() <= 2 * output.len() + 4_096);
        output.release(&mut pool);
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn it_is_full_from_the_high_water_mark_to_the_low_one() {
    let mut pool = ChunkPool::new(1 << 20, 0);
    let mut output = Output::default();
    output.append(&bytes(HIGH - 1), HIGH, &mut pool);
    assert!(!output.is_full());
    output.append(&[1], HIGH, &mut pool);
    assert!(output.is_full());

    for (room, is_full) in [(HIGH - LOW - 1, true), (1, false)] {
        let mut socket = Socket::new(room);
        assert!(!write(&mut output, &mut socket, &mut Budget::to_write(usize::MAX), &mut pool));
        assert_eq!(output.is_full(), is_full);
        output.check(HIGH, LOW);
    }
}

#[test]
fn a_flush_ends_when_its_budget_is_spent() {
    let mut pool = ChunkPool::new(1 << 20, 0);
    let mut output = Output::default();
    output.append(&bytes(100), HIGH, &mut pool);
    output.append_chunks(&mut VecDeque::from([chunk_of(&bytes(50), &mut pool)]), HIGH);
    let mut socket = Socket::new(100);
    let mut budget = Budget::to_write(25);
    assert!(write(&mut output, &mut socket, &mut budget, &mut pool));
    assert_eq!((socket.written.len(), output.len(), budget.write_bytes), (100, 50, 0));
}

#[test]
fn one_write_takes_chunks_until_the_budget_is_crossed() {
    let all = bytes(20 * CHUNK_LEN);
    for (budget, sent) in [(1, 1), (CHUNK_LEN, 1), (CHUNK_LEN + 1, 2), (3 * CHUNK_LEN, 3), (usize::MAX, PIECES_MAX)] {
        let mut pool = ChunkPool::new(4 << 20, 0);
        let mut output = Output::default();
        output.append(&all, usize::MAX, &mut pool);
        let mut socket = Socket::new(usize::MAX);
        let mut readiness = Readiness::default();
        let accepted = output.write_front(&mut socket, &mut readiness, &mut Budget::to_write(budget), &pool);
        assert_eq!(accepted, Ok(sent * CHUNK_LEN), "{budget}");
        assert!(socket.written == all[..sent * CHUNK_LEN]);
    }
}

#[test]
fn append_never_takes_more_than_the_room_it_needs() {
    // A pool from which more than its limit is acquired fails an assertion.
    for before in [0, 1, 508, 511, 512, 513, 30_000, 60_000, CHUNK_LEN - 2, CHUNK_LEN, CHUNK_LEN + 10] {
        for sent in [0, before.min(1), before / 2, before.saturating_sub(1)] {
            for len in [0, 1, 5, 508, 600, 33_000, CHUNK_LEN - 4, CHUNK_LEN, 3 * CHUNK_LEN + 1] {
                let mut pool = ChunkPool::new(1 << 20, 0);
                let mut output = Output::default();
                output.append(&bytes(before), usize::MAX, &mut pool);
                output.consume(sent, &mut pool);
                let needed = output.room_needed(HEADER_LEN + len);
                pool.set_limit(pool.used_bytes() + needed);
                output.append_frame(&Enclosure::of_head(&[0; HEADER_LEN]), &bytes(len), usize::MAX, &mut pool);
                assert_eq!(output.capacity(), pool.used_bytes());
            }
        }
    }
}

#[test]
fn shared_payloads_are_flushed_between_copies_in_order() {
    for step in [1, 3, 4, 5, 1_000, 1_500, 4_096, 100_000, usize::MAX] {
        let mut pool = ChunkPool::new(4 << 20, 0);
        let mut outputs: [Output; 3] = Default::default();
        let mut expected = Vec::new();
        for round in 0..12 {
            let payload = bytes(COPY_LEN_MAX + 1 + round * 700);
            let mut shared = SharedPayload::new(payload.clone().into());
            // A copy before it, or not; bytes behind it, or not.
            let copied = &bytes(40)[..round % 3 * 20];
            let enclosure =
                if round % 2 == 0 { Enclosure::of_head(&[9, 8, 7, 6]) } else { Enclosure::of_tail(b"\r\n") };
            for output in &mut outputs {
                output.append(copied, usize::MAX, &mut pool);
                output.append_shared(&enclosure, &mut shared, usize::MAX, &mut pool);
                output.check(usize::MAX, LOW);
            }
            expected.extend([copied, enclosure.head(), &payload, enclosure.tail()].concat());
        }
        let once: usize = (0..12).map(|round| COPY_LEN_MAX + 1 + round * 700).sum();
        assert_eq!(pool.shared_counts(), (36, once));
        let own = outputs.iter().map(|output| output.capacity() - output.shared_counts().1).sum::<usize>();
        assert_eq!(pool.used_bytes(), own + once, "payloads count once");
        assert!(own < 3 * 12 * 2_048, "{own} bytes besides");

        // One reads all, one is closed with a part of its output, one reads after that.
        for (number, mut output) in outputs.into_iter().enumerate() {
            let mut socket = Socket::new(0);
            while !output.is_empty() && (number != 1 || socket.written.len() <= expected.len() / 2) {
                socket.rooms.push_back(Room::Bytes(step));
                socket.make_room();
                socket.report(true, true);
                write(&mut output, &mut socket, &mut Budget::to_write(usize::MAX), &mut pool);
                output.check(usize::MAX, LOW);
            }
            assert!(expected.starts_with(&socket.written), "{step}");
            assert!(number == 1 || socket.written.len() == expected.len(), "{step}");
            output.release(&mut pool);
        }
        assert_eq!((pool.used_bytes(), pool.shared_counts()), (0, (0, 0)));
    }
}

#[test]
fn header_and_shared_payload_are_sent_by_one_write() {
    let mut pool = ChunkPool::new(4 << 20, 0);
    let mut output = Output::default();
    let mut payload = SharedPayload::new(bytes(1 << 20).into());
    output.append_shared(&Enclosure::of_head(&[1, 2, 3, 4]), &mut payload, usize::MAX, &mut pool);
    let mut socket = Socket::new(usize::MAX);
    let mut readiness = Readiness::default();
    let accepted = output.write_front(&mut socket, &mut readiness, &mut Budget::to_write(usize::MAX), &pool);
    assert_eq!(accepted, Ok(4 + (1 << 20)));
    output.release(&mut pool);
}
