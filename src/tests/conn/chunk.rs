use super::*;

fn pool() -> ChunkPool {
    ChunkPool::new(1 << 20, 1 << 20)
}

#[test]
fn an_acquired_chunk_is_at_most_twice_as_large_as_asked() {
    let mut pool = pool();
    for len in (0..CHUNK_LEN).step_by(37).chain([512, 513, 32_768, 32_769, CHUNK_LEN]) {
        let chunk = pool.acquire(len);
        assert!(chunk.capacity() >= len);
        assert!(len == 0 || chunk.capacity() == capacity_for(len));
        assert!(chunk.capacity() <= 2 * len + 4_096, "{len} took {}", chunk.capacity());
        pool.release(chunk);
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn more_than_the_largest_chunk_comes_in_several() {
    assert_eq!(pool().acquire(1 << 20).capacity(), CHUNK_LEN);
    assert_eq!(capacity_for(2 * CHUNK_LEN + 1), 2 * CHUNK_LEN + CHUNK_LEN_MIN);
}

#[test]
fn room_ends_exactly_at_the_limit() {
    let mut pool = ChunkPool::new(1_024, 0);
    assert!(pool.has_room(1_024) && !pool.has_room(1_025));
    let first = pool.acquire(1_000);
    assert!(pool.has_room(0) && !pool.has_room(1));
    pool.release(first);
    assert!(pool.has_room(1_024));
}

#[test]
fn messages_leave_a_share_of_the_limit_to_the_connections() {
    let mut pool = ChunkPool::new(8_000, 0);
    assert!(pool.has_room_for_message(7_000) && !pool.has_room_for_message(7_001));
    assert!(!pool.has_room_for_message(usize::MAX));
}

#[test]
fn joined_frame_stays_within_limit_and_yields_to_chunks() {
    let mut pool = ChunkPool::new(4_096, 0);
    pool.put_joined(Vec::with_capacity(3_000));
    assert_eq!(pool.joined_bytes(), 3_000);
    assert!(pool.has_room(1_096));
    assert_eq!(pool.joined_bytes(), 3_000);
    assert!(pool.has_room(1_097));
    assert_eq!(pool.joined_bytes(), 0);
    let chunk = pool.acquire(2_000);
    pool.put_joined(Vec::with_capacity(2_049));
    assert_eq!(pool.joined_bytes(), 0);
    pool.release(chunk);
}

#[test]
fn saved_bytes_take_a_small_chunk_or_their_own() {
    let mut pool = pool();
    for len in [1, 511, 20_000, 32_768, 32_769, CHUNK_LEN] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut buffer = vec![0; CHUNK_LEN].into_boxed_slice();
        for start in [0, 100] {
            let range = start..CHUNK_LEN.min(start + len);
            let bytes = &bytes[..range.len()];
            buffer[range.clone()].copy_from_slice(bytes);
            let saved = pool.save(&mut buffer, range);
            assert_eq!(saved.as_slice(), bytes);
            assert!(saved.capacity() <= 2 * len + 4_096 && buffer.len() == CHUNK_LEN);
            assert_eq!(pool.used_bytes(), saved.capacity());

            let restored = pool.restore(saved, &mut buffer);
            assert_eq!(&buffer[restored], bytes);
            assert_eq!((buffer.len(), pool.used_bytes()), (CHUNK_LEN, 0));
        }
    }
}

#[test]
fn a_released_chunk_is_acquired_again_and_empty() {
    let mut pool = pool();
    let mut chunk = pool.acquire(CHUNK_LEN);
    chunk.append(b"old");
    pool.release(chunk);
    assert_eq!(pool.free_bytes(), CHUNK_LEN);
    assert!(pool.acquire(CHUNK_LEN).is_empty());
    assert_eq!(pool.free_bytes(), 0);
}

#[test]
fn no_more_is_kept_for_reuse_than_allowed() {
    let mut pool = ChunkPool::new(1 << 20, CHUNK_LEN);
    let chunks: Vec<Chunk> = (0..3).map(|_| pool.acquire(CHUNK_LEN)).collect();
    chunks.into_iter().for_each(|chunk| pool.release(chunk));
    assert_eq!((pool.free_bytes(), pool.used_bytes()), (CHUNK_LEN, 0));
}

#[test]
fn what_a_burst_left_is_given_back_and_what_is_used_stays() {
    let mut pool = pool();
    let burst: Vec<Chunk> = (0..8).map(|_| pool.acquire(CHUNK_LEN)).collect();
    burst.into_iter().for_each(|chunk| pool.release(chunk));
    for _ in 0..8 {
        pool.trim();
        let used = pool.acquire(CHUNK_LEN);
        pool.release(used);
    }
    assert_eq!(pool.free_bytes(), CHUNK_LEN);
    (0..2).for_each(|_| pool.trim());
    assert_eq!(pool.free_bytes(), 0);
}

#[test]
fn compacting_moves_the_bytes_and_gains_their_room() {
    let mut chunk = Chunk::with_capacity(8);
    chunk.append(b"abcdefgh");
    chunk.consume(5);
    chunk.compact();
    assert_eq!((chunk.as_slice(), chunk.spare_len()), (&b"fgh"[..], 5));
}
