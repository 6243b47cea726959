//! Random payloads.
//!
//! A payload is a pure function of its connection's and its own number: a slice of one table of random bytes, at an offset
//! that is a hash of both. To make one is a copy, to check one a comparison, and no payload has to be stored.

use std::ops::RangeInclusive;

#[derive(Debug)]
pub(crate) struct Payloads {
    bytes: Vec<u8>,
    payload_len: RangeInclusive<u32>,
}

/// Offsets into the table. The chance that two payloads are equal, and mistaken for each other, is one in so many.
const OFFSETS: usize = 1 << 16;

impl Payloads {
    /// Payloads of these lengths. If some bytes are to be `avoided`, they are printable and contain none of them.
    pub(crate) fn new(payload_len: RangeInclusive<u32>, avoided: &[u8]) -> Self {
        let len = OFFSETS + *payload_len.end() as usize;
        let byte = |at: u64| (mix((at / 8) ^ 0x5bd1_e995_7f4a_7c15) >> (at % 8 * 8)) as u8;
        let mut bytes: Vec<u8> = (0..len as u64).map(byte).collect();
        if !avoided.is_empty() {
            let allowed: Vec<u8> = (b'!'..=b'~').filter(|byte| !avoided.contains(byte)).collect();
            bytes.iter_mut().for_each(|byte| *byte = allowed[usize::from(*byte) % allowed.len()]);
        }
        Self { bytes, payload_len }
    }

    #[inline]
    pub(crate) fn payload(&self, connection: u32, frame: u32) -> &[u8] {
        let hash = mix(u64::from(connection) << 32 | u64::from(frame));
        let offset = hash as usize % OFFSETS;
        &self.bytes[offset..offset + self.len_of(hash)]
    }

    #[inline]
    fn len_of(&self, hash: u64) -> usize {
        let (min, max) = (*self.payload_len.start(), *self.payload_len.end());
        if min == max {
            return min as usize;
        }
        // The high half of the hash, scaled to the range; the low half has chosen the offset.
        let span = u64::from(max - min) + 1;
        min as usize + (((hash >> 32) * span) >> 32) as usize
    }
}

/// A bijection of 64 bits in which each bit depends on all: the finalizer of MurmurHash3 with the constants of Stafford's
/// "Better Bit Mixing", variant 13 (2011), as in SplitMix64.
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lengths_fill_their_range_evenly() {
        let payloads = Payloads::new(10..=13, b"");
        let mut counts = [0_u32; 4];
        (0..40_000).for_each(|frame| counts[payloads.payload(1, frame).len() - 10] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn payloads_differ_by_frame_and_by_connection() {
        let payloads = Payloads::new(64..=64, b"");
        let payloads: HashSet<&[u8]> = (0..100)
            .flat_map(|conn| (0..10).map(move |frame| (conn, frame)))
            .map(|(c, f)| payloads.payload(c, f))
            .collect();
        // Two of a thousand may share one of 65,536 offsets.
        assert!(payloads.len() >= 980, "{}", payloads.len());
    }

    #[test]
    fn bytes_to_be_avoided_are_in_no_payload() {
        for avoided in [&b"\n"[..], b"az", b"!~  "] {
            let payloads = Payloads::new(1_000..=1_000, avoided);
            let bytes = (0..200).flat_map(|frame| payloads.payload(3, frame));
            assert!(bytes.copied().all(|byte| byte.is_ascii_graphic() && !avoided.contains(&byte)));
        }
    }
}
