//! The last column of a log's line: a histogram, compressed, in base64.
//!
//! The decoder of `hdrhistogram` trusts what it is given: it sets aside as many bytes as a length says, and computes with
//! counts as they come. So what it is given is looked at first, and the checksum of the compressed bytes is made to count.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use frameloop::load::Recorded;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// What a column stands for; the error says what is wrong with it.
pub(crate) fn latencies(column: &str) -> Result<Recorded, &'static str> {
    let bytes = STANDARD.decode(column.trim_end()).map_err(|_| "the histogram is not base64")?;
    let plain = match be(&bytes, 0, 4) {
        Some(COOKIE_COMPRESSED) => inflated(&bytes)?,
        Some(COOKIE) => bytes,
        Some(_) => return Err("the histogram is of a kind that is not known (V2 is)"),
        None => return Err("the histogram is cut short"),
    };
    check(&plain)?;
    let decoded: Histogram<u64> =
        Deserializer::new().deserialize(&mut plain.as_slice()).map_err(|_| "the histogram is damaged")?;
    if decoded.max() > LATENCY_MAX {
        return Err("the histogram has a latency of more than a year");
    }
    if decoded.len() > COUNT_MAX {
        return Err("the histogram has more latencies than can be");
    }
    Ok(Recorded::of(&decoded))
}

/// A compressed histogram, decompressed; a checksum that does not fit is an error.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let compressed = bytes.get(8..).filter(|rest| be(bytes, 4, 4) == Some(rest.len() as u64));
    let mut plain = Vec::new();
    let mut decoder = ZlibDecoder::new(compressed.ok_or("the histogram is cut short")?).take(PLAIN_BYTES_MAX);
    decoder
        .read_to_end(&mut plain)
        .map_err(|_| "the histogram is damaged: its checksum or its compression is wrong")?;
    Ok(plain)
}

/// Whether the decoder can be given these bytes.
fn check(plain: &[u8]) -> Result<(), &'static str> {
    let field = |at, len| be(plain, at, len).ok_or("the histogram is cut short");
    let counts = plain.get(HEADER_LEN..).ok_or("the histogram is cut short")?;
    if field(0, 4)? != COOKIE || field(4, 4)? != counts.len() as u64 {
        return Err("the histogram is damaged: its header does not fit");
    }
    let (digits, low, high) = (field(12, 4)?, field(16, 8)?, field(24, 8)?);
    if digits > 5 || low == 0 || high > i64::MAX as u64 || low > high / 2 {
        return Err("the histogram is damaged: its range cannot be");
    }
    // A number of nine bytes is a count above 2^55.
    let mut run = 0;
    for byte in counts {
        run = if byte & 0x80 == 0 { 0 } else { run + 1 };
        if run > 7 {
            return Err("the histogram is damaged: it has a count that cannot be");
        }
    }
    Ok(())
}

/// The number, in network byte order, in `len` bytes from `at` on.
fn be(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + len)?;
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// The first four bytes of a V2 histogram, and of a compressed one.
const COOKIE: u64 = 0x1c84_9313;
const COOKIE_COMPRESSED: u64 = 0x1c84_9314;
const HEADER_LEN: usize = 40;
/// More than a histogram of five digits over all of 64 bits takes.
const PLAIN_BYTES_MAX: u64 = 64 << 20;
const LATENCY_MAX: u64 = 366 * 24 * 3_600 * 1_000_000_000;
const COUNT_MAX: u64 = 1 << 48;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::LazyLock;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    fn histogram() -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        (1..2_000_u64).for_each(|micros| histogram.record(micros * 1_000).unwrap());
        histogram
    }

    fn plain() -> Vec<u8> {
        static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(&histogram(), &mut bytes).unwrap();
            bytes
        });
        PLAIN.clone()
    }

    /// A column with these plain bytes, whose checksum fits.
    fn column(plain: &[u8]) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        let compressed = encoder.finish().unwrap();
        let mut bytes = vec![0x1c, 0x84, 0x93, 0x14];
        bytes.extend((0..4).rev().map(|at| (compressed.len() >> (8 * at)) as u8));
        bytes.extend(compressed);
        STANDARD.encode(bytes)
    }

    #[test]
    fn compressed_and_plain_histograms_are_read() {
        let expected = Recorded::of(&histogram());
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&histogram(), &mut bytes).unwrap();
        assert_eq!(latencies(&STANDARD.encode(bytes)).as_ref(), Ok(&expected));
        assert_eq!(latencies(&STANDARD.encode(plain())).as_ref(), Ok(&expected));
        assert_eq!(latencies(&column(&plain())).as_ref(), Ok(&expected));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(latencies("?"), Err("the histogram is not base64"));
        assert_eq!(latencies(""), Err("the histogram is cut short"));
        assert_eq!(latencies("AAAAAAAA"), Err("the histogram is of a kind that is not known (V2 is)"));
        let whole = column(&plain());
        assert_eq!(latencies(&whole[..whole.len() / 8 * 4]), Err("the histogram is cut short"));
        let mut endless = plain();
        endless[4] = 0xff;
        assert_eq!(latencies(&column(&endless)), Err("the histogram is damaged: its header does not fit"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_and_never_a_panic(at in 0_usize..2_000, bytes in prop::collection::vec(any::<u8>(), 1..12)) {
            let mut plain = plain();
            let at = at % plain.len();
            for (old, new) in plain[at..].iter_mut().zip(&bytes) {
                *old = *new;
            }
            let _ = latencies(&column(&plain)).map(|read| read.histogram());
            let _ = latencies(&STANDARD.encode(&plain));
        }

        #[test]
        fn a_bit_that_flips_under_the_checksum_is_found(at in 64_usize..100_000, bit in 0..8_u8) {
            let mut bytes = STANDARD.decode(column(&plain())).unwrap();
            let at = 10 + at % (bytes.len() - 10);
            bytes[at] ^= 1_u8 << bit;
            let read = latencies(&STANDARD.encode(&bytes));
            prop_assert!(read.is_err() || read == Ok(Recorded::of(&histogram())));
        }
    }
}
