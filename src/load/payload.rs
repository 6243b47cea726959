//! The payloads that are sent, and must come back.
//!
//! A payload is a pure function of its connection's and its own number: a slice of one table of random bytes, at an offset
//! that is a hash of both. To make one is a copy, to check one a comparison, and no payload has to be stored.

use std::ops::RangeInclusive;

use crate::conn::frame::Frame;
use crate::load::outcome::FaultKind;

#[derive(Debug)]
pub(crate) struct Payloads {
    bytes: Vec<u8>,
    payload_len: RangeInclusive<u32>,
}

/// Offsets into the table. The chance that two payloads are equal, and mistaken for each other, is one in so many.
const OFFSETS: usize = 1 << 16;

impl Payloads {
    pub(crate) fn new(payload_len: RangeInclusive<u32>) -> Self {
        let len = OFFSETS + *payload_len.end() as usize;
        let byte = |at: u64| (mix((at / 8) ^ 0x5bd1_e995_7f4a_7c15) >> (at % 8 * 8)) as u8;
        Self { bytes: (0..len as u64).map(byte).collect(), payload_len }
    }

    #[inline]
    pub(crate) fn payload(&self, connection: u32, frame: u32) -> &[u8] {
        let hash = mix(u64::from(connection) << 32 | u64::from(frame));
        let offset = hash as usize % OFFSETS;
        &self.bytes[offset..offset + self.len_of(hash)]
    }

    /// Compares a response with the payload that was sent.
    #[inline]
    pub(crate) fn check(&self, connection: u32, frame: u32, received: &Frame<'_>) -> Result<(), FaultKind> {
        let expected = self.payload(connection, frame);
        if received.payload_len() != expected.len() {
            return Err(FaultKind::Length { expected: expected.len(), got: received.payload_len() });
        }
        let mut at = 0;
        for piece in received.payload_chunks() {
            let wanted = &expected[at..at + piece.len()];
            if piece != wanted {
                return Err(difference(at, wanted, piece));
            }
            at += piece.len();
        }
        Ok(())
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

#[cold]
fn difference(at: usize, expected: &[u8], got: &[u8]) -> FaultKind {
    let offset = expected.iter().zip(got).position(|(a, b)| a != b).unwrap_or(0);
    FaultKind::Byte { offset: at + offset, expected: expected[offset], got: got[offset] }
}

/// A bijection of 64 bits in which each bit depends on all: the finalizer of MurmurHash3 with the constants of Stafford's
/// "Better Bit Mixing", variant 13 (2011), as in SplitMix64.
#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::conn::frame::Body;
    use crate::wire::{HEADER_LEN, encode_header};

    fn check(payloads: &Payloads, connection: u32, frame: u32, payload: &[u8]) -> Result<(), FaultKind> {
        let mut bytes = encode_header(payload.len() as u32).to_vec();
        bytes.extend(payload);
        payloads.check(
            connection,
            frame,
            &Frame { body: Body::Whole { bytes: &bytes, at: 0 }, payload: HEADER_LEN..bytes.len() },
        )
    }

    #[test]
    fn lengths_fill_their_range_evenly() {
        let payloads = Payloads::new(10..=13);
        let mut counts = [0_u32; 4];
        (0..40_000).for_each(|frame| counts[payloads.payload(1, frame).len() - 10] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn payloads_differ_by_frame_and_by_connection() {
        let payloads = Payloads::new(64..=64);
        let payloads: HashSet<&[u8]> = (0..100)
            .flat_map(|conn| (0..10).map(move |frame| (conn, frame)))
            .map(|(c, f)| payloads.payload(c, f))
            .collect();
        // Two of a thousand may share one of 65,536 offsets.
        assert!(payloads.len() >= 980, "{}", payloads.len());
    }

    #[test]
    fn a_wrong_byte_and_a_wrong_length_are_named() {
        let payloads = Payloads::new(300..=300);
        let mut payload = payloads.payload(7, 9).to_vec();
        assert_eq!(check(&payloads, 7, 9, &payload), Ok(()));
        payload[260] ^= 1;
        let (expected, got) = (payload[260] ^ 1, payload[260]);
        assert_eq!(check(&payloads, 7, 9, &payload), Err(FaultKind::Byte { offset: 260, expected, got }));
        let length = FaultKind::Length { expected: 300, got: 299 };
        assert_eq!(check(&payloads, 7, 9, &payload[..299]), Err(length));
        assert_ne!(check(&payloads, 7, 10, payloads.payload(7, 9)), Ok(()));
    }

    #[test]
    fn an_empty_payload_is_what_it_is() {
        let payloads = Payloads::new(0..=0);
        assert_eq!(check(&payloads, 0, 0, &[]), Ok(()));
        assert_eq!(HEADER_LEN, 4);
    }
}
