//! What is sent in frames.

use crate::check::wire::Wire;

/// Distinct payloads: each is printable text that begins with its number.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    wire: Wire,
    block: Vec<u8>,
    next: u64,
}

impl Payloads {
    /// The same payloads for the same seed and framing.
    pub(crate) fn new(seed: u64, wire: Wire) -> Self {
        let mut state = seed;
        let mut block: Vec<u8> = (0..BLOCK_LEN).map(|_| b'!' + (random(&mut state) % 94) as u8).collect();
        wire.avoid(&mut block);
        Self { wire, block, next: random(&mut state) % 10_000 }
    }

    /// What frames are made of.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The next payload, of `len` bytes.
    pub(crate) fn payload(&mut self, len: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(len);
        while payload.len() < len {
            let part = self.block.len().min(len - payload.len());
            payload.extend_from_slice(&self.block[..part]);
        }
        let number = format!("{:08}", self.next);
        self.next += 1;
        let own = len.min(number.len());
        payload[..own].copy_from_slice(&number.as_bytes()[number.len() - own..]);
        self.wire.avoid(&mut payload[..own]);
        payload
    }

    /// The next frame, with a payload of `len` bytes, or as close to that as the framing allows.
    pub(crate) fn frame(&mut self, len: usize) -> Vec<u8> {
        let payload = self.payload(self.wire.payload_len(len));
        self.wire.frame(&payload)
    }

    /// As many frames as make up at least `total` bytes, with a payload of `len` bytes each.
    pub(crate) fn frames(&mut self, total: usize, len: usize) -> Vec<u8> {
        let mut frames = self.frame(len);
        for _ in 1..total.div_ceil(frames.len()) {
            frames.extend(self.frame(len));
        }
        frames
    }

    /// The first frame of a client with this number.
    pub(crate) fn first_of(&self, number: u64) -> Vec<u8> {
        let len = self.wire.payload_len("served 000000000".len());
        let width = len.saturating_sub("served ".len());
        let mut text = format!("served {number:0width$}").into_bytes();
        self.wire.avoid(&mut text);
        self.wire.frame(&text[text.len() - len..])
    }
}

/// The next number of the sequence `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long the text is that payloads repeat: coprime to the powers of two that buffers are long.
const BLOCK_LEN: usize = 65_521;

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(seed: u64, framing: &str) -> Payloads {
        Payloads::new(seed, Wire::of(framing).unwrap())
    }

    #[test]
    fn payloads_are_printable_differ_and_follow_from_the_seed() {
        let (mut one, mut same, mut other) = (payloads(1, "u32be"), payloads(1, "u32be"), payloads(2, "u32be"));
        let first = one.payload(100);
        assert!(first.iter().all(u8::is_ascii_graphic));
        assert_eq!(first, same.payload(100));
        assert_ne!(first, one.payload(100));
        assert_ne!(first, other.payload(100));
        assert_eq!((one.payload(0).len(), one.payload(3).len(), one.payload(200_000).len()), (0, 3, 200_000));
        assert_eq!(one.frames(1_000, 96).len(), 1_000);
    }

    #[test]
    fn delimiter_is_in_a_frame_only_at_its_end() {
        for (framing, delimiter) in [
            ("lines", &b"\n"[..]),
            ("delim:21", b"!"),
            ("delim:30", b"0"),
            ("delim:78", b"x"),
            ("delim:7a7a", b"zz"),
            ("delim:31303130", b"1010"),
        ] {
            let mut payloads = payloads(1, framing);
            for frame in [payloads.frame(70_000), payloads.frame(8), payloads.first_of(1_010)] {
                let found = frame.windows(delimiter.len()).position(|at| at == delimiter);
                assert_eq!(found, Some(frame.len() - delimiter.len()), "{framing}");
            }
            assert_ne!(payloads.frame(8), payloads.frame(8), "{framing}");
        }
    }

    #[test]
    fn first_frames_fit_and_differ_by_client() {
        assert_eq!(payloads(1, "u32be").first_of(7), b"\0\0\0\x10served 000000007");
        for (framing, len) in [("exact:64", 64), ("exact:2", 2), ("u8,adjust=-250", 6), ("raw", 16)] {
            let payloads = payloads(1, framing);
            assert_eq!(payloads.first_of(10).len(), len, "{framing}");
            assert_ne!(payloads.first_of(10), payloads.first_of(11), "{framing}");
        }
    }
}
