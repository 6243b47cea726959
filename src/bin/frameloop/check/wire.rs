//! The grader's own idea of the wire. It shares nothing with the server's, so that a mistake in one is seen by the other.

/// How long a header is.
pub(crate) const HEADER_LEN: usize = 4;

/// The header that announces a payload of `len` bytes.
pub(crate) fn header(len: u32) -> [u8; HEADER_LEN] {
    [(len >> 24) as u8, (len >> 16) as u8, (len >> 8) as u8, len as u8]
}

/// A payload and its header.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
    frame.extend(header(payload.len() as u32));
    frame.extend(payload);
    frame
}

/// Distinct payloads: each is printable text that begins with its number.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    block: Vec<u8>,
    next: u64,
}

impl Payloads {
    /// The same payloads for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let block = (0..BLOCK_LEN).map(|_| b'!' + (random(&mut state) % 94) as u8).collect();
        Self { block, next: random(&mut state) % 10_000 }
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
        payload
    }

    /// The next frame, with a payload of `len` bytes.
    pub(crate) fn frame(&mut self, len: usize) -> Vec<u8> {
        frame(&self.payload(len))
    }

    /// As many frames as make up at least `total` bytes, with a payload of `len` bytes each.
    pub(crate) fn frames(&mut self, total: usize, len: usize) -> Vec<u8> {
        let count = total.div_ceil(HEADER_LEN + len);
        let frames: Vec<Vec<u8>> = (0..count).map(|_| self.frame(len)).collect();
        frames.concat()
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

    #[test]
    fn a_header_has_the_highest_byte_first() {
        assert_eq!(header(0x0102_0304), [1, 2, 3, 4]);
        assert_eq!(frame(b"abc"), b"\0\0\0\x03abc");
    }

    #[test]
    fn payloads_are_printable_differ_and_follow_from_the_seed() {
        let (mut one, mut same, mut other) = (Payloads::new(1), Payloads::new(1), Payloads::new(2));
        let first = one.payload(100);
        assert!(first.iter().all(u8::is_ascii_graphic));
        assert_eq!(first, same.payload(100));
        assert_ne!(first, one.payload(100));
        assert_ne!(first, other.payload(100));
        assert_eq!((one.payload(0).len(), one.payload(3).len(), one.payload(200_000).len()), (0, 3, 200_000));
        assert_eq!(one.frames(1_000, 96).len(), 1_000);
    }
}
