//! The last column of a log's line: a histogram, compressed, in base64.
//!
//! The decoder of `hdrhistogram` allocates counts for the whole range that a histogram claims, 50 MB for a line of a
//! hundred bytes. So the counts are decoded here, and only those that are present.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use frameloop::load::Recorded;

use crate::results::figures::equivalent;
use crate::results::hlog::input::Budget;

/// Decodes a column whose values are in units of `unit` nanoseconds.
///
/// Values are rounded up to three digits, as those of all results are.
pub(crate) fn latencies(column: &str, unit: u64, budget: &mut Budget) -> Result<Recorded, &'static str> {
    let bytes = STANDARD.decode(column.trim_end()).map_err(|_| "the histogram is not base64")?;
    let plain = match be(&bytes, 0, 4) {
        Some(COOKIE_COMPRESSED) => {
            let compressed = bytes.get(8..).filter(|rest| be(&bytes, 4, 4) == Some(rest.len() as u64));
            budget.inflate(compressed.ok_or("the histogram is cut short")?)?
        }
        Some(COOKIE) => bytes,
        Some(_) => return Err("the histogram is of a kind that is not known (V2 is)"),
        None => return Err("the histogram is cut short"),
    };
    let layout = Layout::of(&plain)?;
    let mut pairs: Vec<(u64, u64)> = Vec::new();
    let mut index = 0_u64;
    let mut numbers = plain.get(HEADER_LEN..).unwrap_or_default();
    while !numbers.is_empty() {
        let (count, zeros) = match number(&mut numbers).ok_or("the histogram is damaged: it ends inside a count")? {
            // A run of zero counts.
            zeros if zeros < 0 => (0, zeros.unsigned_abs()),
            count => (count.unsigned_abs(), 0),
        };
        if count > 0 {
            let value = layout.highest_value(index).and_then(|value| value.checked_mul(unit));
            let value = value.filter(|value| *value <= LATENCY_MAX);
            let (_, value) = equivalent(value.ok_or("the histogram has a latency of more than a year")?);
            match pairs.last_mut() {
                Some((last, sum)) if *last == value => *sum = sum.saturating_add(count),
                _ => pairs.push((value, count)),
            }
        }
        index = index.saturating_add(zeros.max(1));
        if index > layout.len {
            return Err("the histogram is damaged: it has counts beyond its range");
        }
    }
    Ok(pairs.into_iter().collect())
}

/// The values of a histogram: linear up to 2 * 10^digits, and from there on half as many per doubling.
struct Layout {
    /// The number of counts.
    len: u64,
    /// The logarithm of the number of counts per doubling.
    half_log: u32,
    /// The logarithm of the least difference between two values.
    unit_log: u32,
}

impl Layout {
    /// Reads the layout from a histogram's header.
    fn of(plain: &[u8]) -> Result<Self, &'static str> {
        let field = |at, len| be(plain, at, len).ok_or("the histogram is cut short");
        let counts_len = plain.len().checked_sub(HEADER_LEN).ok_or("the histogram is cut short")?;
        if field(0, 4)? != COOKIE || field(4, 4)? != counts_len as u64 {
            return Err("the histogram is damaged: its header does not fit");
        }
        if field(8, 4)? != 0 || field(32, 8)? != 1.0_f64.to_bits() {
            return Err("the histogram is shifted or scaled, which is not known here");
        }
        let (digits, low, high) = (field(12, 4)?, field(16, 8)?, field(24, 8)?);
        let digits = u32::try_from(digits).ok().filter(|digits| *digits <= 5);
        let is_range = low > 0 && high <= i64::MAX as u64 && low <= high / 2;
        let digits = digits.filter(|_| is_range).ok_or("the histogram is damaged: its range cannot be")?;
        let half_log = (2 * 10_u64.pow(digits)).next_power_of_two().ilog2() - 1;
        let unit_log = low.ilog2();
        if half_log + 1 + unit_log > 63 {
            return Err("the histogram is damaged: its range cannot be");
        }
        // The linear part has twice as many counts as a doubling.
        let doublings = (high.ilog2() + 1).saturating_sub(half_log + 1 + unit_log);
        Ok(Self { len: u64::from(doublings + 2) << half_log, half_log, unit_log })
    }

    /// The highest value that is counted at an index.
    fn highest_value(&self, index: u64) -> Option<u64> {
        let half = 1 << self.half_log;
        let (doubling, within) = if index < 2 * half { (0, index) } else { (index / half - 1, index % half + half) };
        let width_log = u32::try_from(doubling).ok()? + self.unit_log;
        let end = (u128::from(within) + 1).checked_shl(width_log)?;
        u64::try_from(end - 1).ok()
    }
}

/// Takes the next number off `bytes`: seven bits per byte, the least first, and all eight of the ninth; zigzag-encoded.
fn number(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let is_last = at == 8 || byte & 0x80 == 0;
        let bits = if at == 8 { *byte } else { byte & 0x7f };
        number |= u64::from(bits) << (7 * at);
        if is_last {
            break;
        }
    }
    Some(((number >> 1) as i64) ^ -((number & 1) as i64))
}

/// The big-endian number of `len` bytes at `at`.
fn be(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + len)?;
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// The first four bytes of a V2 histogram, and of a compressed one.
const COOKIE: u64 = 0x1c84_9313;
const COOKIE_COMPRESSED: u64 = 0x1c84_9314;
const HEADER_LEN: usize = 40;
const LATENCY_MAX: u64 = 366 * 24 * 3_600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::LazyLock;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    fn read(column: &str) -> Result<Recorded, &'static str> {
        latencies(column, 1, &mut Budget::of(column.len()))
    }

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
        assert_eq!(read(&STANDARD.encode(bytes)).as_ref(), Ok(&expected));
        assert_eq!(read(&STANDARD.encode(plain())).as_ref(), Ok(&expected));
        assert_eq!(read(&column(&plain())).as_ref(), Ok(&expected));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(read("?"), Err("the histogram is not base64"));
        assert_eq!(read(""), Err("the histogram is cut short"));
        assert_eq!(read("AAAAAAAA"), Err("the histogram is of a kind that is not known (V2 is)"));
        let whole = column(&plain());
        assert_eq!(read(&whole[..whole.len() / 8 * 4]), Err("the histogram is cut short"));
        let mut endless = plain();
        endless[4] = 0xff;
        assert_eq!(read(&column(&endless)), Err("the histogram is damaged: its header does not fit"));
    }

    #[test]
    fn values_are_read_in_their_unit_and_rounded_up_to_three_digits() {
        let column = column(&plain());
        let micros = latencies(&column, 1_000, &mut Budget::of(0)).unwrap();
        assert_eq!(micros.count(), 1_999);
        let (first, last) = (micros.iter().next().unwrap(), micros.iter().last().unwrap());
        assert_eq!((first.0, last.0), (equivalent(1_000_000).1, equivalent(1_999_871_000).1));
        assert_eq!((equivalent(0), equivalent(2_047), equivalent(5_000)), ((0, 0), (2_047, 2_047), (5_000, 5_003)));
        assert_eq!(
            latencies(&column, u64::MAX / 100, &mut Budget::of(0)),
            Err("the histogram has a latency of more than a year")
        );
    }

    #[test]
    fn a_range_costs_nothing_and_counts_beyond_it_are_refused() {
        let mut plain = plain();
        plain[15] = 5;
        plain[24..32].copy_from_slice(&(i64::MAX as u64).to_be_bytes());
        assert!(read(&column(&plain)).is_ok());
        // Three digits up to 2,000 take 3,072 counts at most.
        let range = |low: u64, high: u64| {
            let mut bytes = [&[0; 16][..], &low.to_be_bytes(), &high.to_be_bytes(), &1.0_f64.to_be_bytes()].concat();
            bytes[..4].copy_from_slice(&(COOKIE as u32).to_be_bytes());
            bytes[15] = 3;
            bytes
        };
        let of = |low, high| Layout::of(&range(low, high)).map(|layout| layout.len);
        assert_eq!((of(1, 2_000), of(1, 2_047), of(1, 2_048)), (Ok(2_048), Ok(2_048), Ok(3_072)));
        for (low, high) in [(0, 10), (6, 10), (1, 1), (1, 1 << 63), (1 << 60, 1 << 62)] {
            assert_eq!(of(low, high), Err("the histogram is damaged: its range cannot be"), "{low} {high}");
        }
        let mut over = range(1, 2_000);
        // 2,048 zeros, and a one.
        over.extend([0xff, 0x1f, 0x02]);
        over[7] = 3;
        assert_eq!(read(&STANDARD.encode(&over)), Err("the histogram is damaged: it has counts beyond its range"));
    }

    #[test]
    fn what_a_histogram_is_decompressed_to_has_a_bound() {
        let mut bomb = plain();
        bomb.resize(4 << 20, 0);
        let column = column(&bomb);
        let error = latencies(&column, 1, &mut Budget::of(column.len())).unwrap_err();
        assert!(error.contains("far longer"), "{error}");
    }

    /// What the crate's own decoder makes of it.
    fn reference(plain: &[u8]) -> Recorded {
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &*plain).unwrap();
        histogram.iter_recorded().map(|at| (equivalent(at.value_iterated_to()).1, at.count_at_value())).collect()
    }

    proptest! {
        #[test]
        fn every_histogram_is_read_as_its_own_decoder_reads_it(
            digits in 0_u8..=5,
            low in 1_u64..5_000,
            values in prop::collection::vec((1_u64..50, 0_u32..50, 1_u64..1_000_000), 0..50),
        ) {
            let mut histogram = Histogram::<u64>::new_with_bounds(low, 1 << 56, digits).unwrap();
            for (value, shift, count) in values {
                histogram.record_n((value << shift).min(LATENCY_MAX / 2), count).unwrap();
            }
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
            prop_assert_eq!(read(&STANDARD.encode(&bytes)), Ok(reference(&bytes)));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_and_never_a_panic(at in 0_usize..2_000, bytes in prop::collection::vec(any::<u8>(), 1..12)) {
            let mut plain = plain();
            let at = at % plain.len();
            for (old, new) in plain[at..].iter_mut().zip(&bytes) {
                *old = *new;
            }
            let _ = read(&column(&plain)).map(|read| read.histogram());
            let _ = read(&STANDARD.encode(&plain));
        }

        #[test]
        fn a_bit_that_flips_under_the_checksum_is_found(at in 64_usize..100_000, bit in 0..8_u8) {
            let mut bytes = STANDARD.decode(column(&plain())).unwrap();
            let at = 10 + at % (bytes.len() - 10);
            bytes[at] ^= 1_u8 << bit;
            let read = read(&STANDARD.encode(&bytes));
            prop_assert!(read.is_err() || read == Ok(Recorded::of(&histogram())));
        }
    }
}
