//! Whether what must be decoded from a stream is, however the stream is cut.

use crate::conn::chunk::CHUNK_LEN;
use crate::conn::state::State;
use crate::fuzzing::content::{Content, Rest};
use crate::fuzzing::scene::Scene;
use crate::fuzzing::script::{PAYLOAD_LENS, Setup, Step, of};
use crate::wire::{Decode, DecodeError, Decoded, HEADER_LEN, U32Be, announced_len};

/// Plays a decoder script: the limit; by how many KiB at most its last frame is made whole, so that short scripts can have
/// long frames; how many lengths of pieces there are, these lengths, and the stream.
pub(super) fn play(data: &[u8]) {
    let (head, rest) = data.split_at(data.len().min(3));
    let &[limit, kib, lens] = head else { return };
    let max_payload = PAYLOAD_LENS[limit as usize % PAYLOAD_LENS.len()];
    let (lens, stream) = rest.split_at(rest.len().min(lens as usize % 16));
    let mut bytes = stream[..stream.len().min(CHUNK_LEN)].to_vec();
    let missing = missing(&bytes, max_payload).min((kib as usize % 160) << 10);
    bytes.resize(bytes.len() + missing, 0);
    let lens: Vec<usize> = lens.iter().map(|&len| piece_len(len)).collect();

    let content = Content::of(&bytes, max_payload);
    decodes(&bytes, &content, max_payload);
    arrives(&bytes, &content, max_payload, &lens);
}

/// How much the last frame lacks.
fn missing(bytes: &[u8], max_payload: u32) -> usize {
    let rest = &bytes[Content::of(bytes, max_payload).whole_len()..];
    match announced_len(rest, max_payload) {
        Ok(Some(announced)) => HEADER_LEN + announced as usize - rest.len(),
        Ok(None) | Err(_) => 0,
    }
}

/// Any small length, and some larger ones.
fn piece_len(byte: u8) -> usize {
    if byte < 200 { usize::from(byte) + 1 } else { usize::from(byte - 199) << 10 }
}

/// At the front of every frame, a frame is seen at its last byte, and nothing before.
fn decodes(bytes: &[u8], content: &Content, max_payload: u32) {
    for frame in &content.frames {
        let frame_len = frame.len();
        let front = |len: usize| decode(&bytes[frame.start..][..len], max_payload);
        for len in 0..HEADER_LEN {
            assert_eq!(front(len), Ok(Decoded::UNKNOWN));
        }
        for len in [HEADER_LEN, HEADER_LEN + 1, frame_len / 2, frame_len - 1] {
            if (HEADER_LEN..frame_len).contains(&len) {
                assert_eq!(front(len), Ok(part_of(frame_len)), "{len} bytes of {frame_len}");
            }
        }
        assert_eq!(front(bytes.len() - frame.start), Ok(Decoded::Frame { frame_len, payload: HEADER_LEN..frame_len }));
    }
    let rest = &bytes[content.whole_len()..];
    let decoded = decode(rest, max_payload);
    match content.rest {
        Rest::Part(_) => assert!(matches!(decoded, Ok(Decoded::Partial { .. })), "{decoded:?}"),
        Rest::TooLong { announced } => {
            assert!(matches!(decoded, Err(DecodeError::TooLong(error)) if error.announced() == u64::from(announced)));
            assert_eq!(decode(&rest[..HEADER_LEN - 1], max_payload), Ok(Decoded::UNKNOWN));
        }
    }
}

fn decode(bytes: &[u8], max_payload: u32) -> Result<Decoded, DecodeError> {
    U32Be.decode(bytes, 0, max_payload)
}

fn part_of(frame_len: usize) -> Decoded {
    Decoded::Partial { frame_len: Some(frame_len), payload_start: HEADER_LEN, searched: 0 }
}

/// In pieces of these lengths, over and over (but not for ever), the stream is echoed frame by frame, each as soon as it is whole.
fn arrives(bytes: &[u8], content: &Content, max_payload: u32, lens: &[usize]) {
    let setup = Setup { max_payload, ..of(&[]).0 };
    let mut scene = Scene::new(&setup);
    let mut lens = lens.iter().copied().cycle().take(PIECES_MAX);
    let (mut frames, mut at) = (content.frames.iter().peekable(), 0);
    let mut whole_len = 0;
    while at < bytes.len() {
        let len = lens.next().unwrap_or(usize::MAX).min(bytes.len() - at);
        scene.take(&Step::Raw(bytes[at..at + len].to_vec()));
        scene.take(&Step::Deliver(len));
        scene.take(&Step::Settle);
        at += len;
        while let Some(frame) = frames.next_if(|frame| frame.end <= at) {
            whole_len = frame.end;
        }
        assert_eq!(scene.driver.socket.written.len(), whole_len, "of {at} bytes");
        let is_refused = matches!(content.rest, Rest::TooLong { .. }) && at >= content.whole_len() + HEADER_LEN;
        let is_open = scene.driver.conn.state() == State::Open;
        assert_eq!(is_open, !is_refused, "at {at} bytes: {:?}", scene.driver.conn);
        let held = if is_refused { 0 } else { at - whole_len };
        assert_eq!(scene.driver.conn.held_bytes(), (held, 0));
    }
    assert!(scene.driver.socket.written == bytes[..whole_len]);
    scene.take(&Step::Fin);
    scene.take(&Step::Settle);
    assert_eq!(scene.driver.conn.closed(), Some(content.reason(bytes, max_payload)));
    scene.finish();
}

/// Behind so many pieces the rest comes in one.
const PIECES_MAX: usize = 300;
