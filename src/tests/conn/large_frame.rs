use super::*;
use crate::conn::frame::{Body, Frame, Joined};
use crate::wire::{HEADER_LEN, encode_header};

fn stream(payload_lens: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &len in payload_lens {
        bytes.extend(encode_header(len as u32));
        bytes.extend((0..len).map(|i| i as u8));
    }
    bytes
}

#[test]
fn a_large_frame_takes_at_most_twice_the_bytes_received() {
    let mut pool = ChunkPool::new(1 << 30, 0);
    let bytes = stream(&[1 << 20]);
    for step in [1, 1_000, 100_000] {
        let mut first = pool.acquire(HEADER_LEN);
        first.append(&bytes[..HEADER_LEN]);
        let mut frame = LargeFrame::new(first, bytes.len(), HEADER_LEN, Framing::default());
        while frame.missing() > 0 {
            let at = frame.received();
            let needed = frame.room_needed();
            let used_before = pool.used_bytes();
            let spare = frame.spare_mut(&mut pool);
            let len = step.min(spare.len());
            spare[..len].copy_from_slice(&bytes[at..at + len]);
            frame.advance(len);
            assert_eq!(pool.used_bytes(), used_before + needed);
            let capacity: usize = frame.chunks.iter().map(Chunk::capacity).sum();
            assert!(capacity <= 2 * frame.received() + 4_096);
            assert_eq!(capacity, frame.capacity);
        }
        let joined: Vec<u8> = frame.chunks.iter().flat_map(Chunk::as_slice).copied().collect();
        assert_eq!(joined, bytes);
        frame.chunks.into_iter().for_each(|chunk| pool.release(chunk));
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn a_payload_is_the_same_in_one_piece_and_in_several() {
    let mut pool = ChunkPool::new(1 << 20, 0);
    // The second is shorter, so that nothing of the first may be left in the buffer in which both are joined.
    let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
    for payload_len in [100_000, 70_000] {
        let joined = Joined::with_buffer(buffer);
        bytes = stream(&[payload_len]);
        let mut chunks: VecDeque<Chunk> = bytes
            .chunks(40_000)
            .map(|piece| {
                let mut chunk = pool.acquire(piece.len());
                chunk.append(piece);
                chunk
            })
            .collect();
        let body = Body::Large { chunks: &mut chunks, frame_len: bytes.len(), joined: &joined };
        let frame = Frame { body, payload: HEADER_LEN..bytes.len() };
        assert_eq!(frame.payload_len(), payload_len);
        assert_eq!(frame.payload_chunks().collect::<Vec<_>>().concat(), &bytes[HEADER_LEN..]);
        assert_eq!(frame.payload(), &bytes[HEADER_LEN..]);
        buffer = joined.into_buffer();
    }

    let frame = Frame { body: Body::Whole { bytes: &bytes, at: 0 }, payload: HEADER_LEN..bytes.len() };
    assert_eq!(frame.payload_chunks().collect::<Vec<_>>(), [&bytes[HEADER_LEN..]]);
    assert_eq!(frame.payload(), &bytes[HEADER_LEN..]);
}
