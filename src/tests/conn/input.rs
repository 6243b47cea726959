use super::*;
use crate::wire::{HEADER_LEN, U32Be, encode_header};

#[test]
fn a_frame_longer_than_a_chunk_is_large_at_its_fourth_byte() {
    let next_len = |payload_len: usize| decode(U32Be, &encode_header(payload_len as u32), 0, 16 << 20);
    assert!(matches!(next_len(CHUNK_LEN - HEADER_LEN), Err(Stopped::Incomplete { .. })));
    let frame_len = CHUNK_LEN + 1;
    assert!(matches!(next_len(frame_len - HEADER_LEN), Err(Stopped::Large { frame_len: len, .. }) if len == frame_len));
}
