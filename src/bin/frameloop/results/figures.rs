//! Figures, and their form for a reader: three significant digits, a fitting unit, thousands separated.

use std::time::Duration;

use frameloop::load::Recorded;
use hdrhistogram::Histogram;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

/// The figures of a set of latencies, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) count: u64,
    #[serde(rename = "min_ns")]
    pub(crate) min: u64,
    #[serde(rename = "mean_ns")]
    pub(crate) mean: f64,
    #[serde(rename = "p50_ns")]
    pub(crate) p50: u64,
    #[serde(rename = "p90_ns")]
    pub(crate) p90: u64,
    #[serde(rename = "p99_ns")]
    pub(crate) p99: u64,
    #[serde(rename = "p99_9_ns")]
    pub(crate) p99_9: u64,
    #[serde(rename = "p99_99_ns")]
    pub(crate) p99_99: u64,
    #[serde(rename = "max_ns")]
    pub(crate) max: u64,
}

impl Figures {
    /// The figures of a histogram; none if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(QUANTILES[0]),
            p90: histogram.value_at_quantile(QUANTILES[1]),
            p99: histogram.value_at_quantile(QUANTILES[2]),
            p99_9: histogram.value_at_quantile(QUANTILES[3]),
            p99_99: histogram.value_at_quantile(QUANTILES[4]),
            max: histogram.max(),
        })
    }

    /// The figures of a histogram of these latencies, in time linear in the number of different latencies. A histogram
    /// would be searched through its whole range.
    pub(crate) fn of_recorded(latencies: &Recorded) -> Option<Self> {
        let total = latencies.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(count));
        let (least, _) = latencies.iter().next().filter(|_| total > 0)?;
        let (mut sum, mut mean, mut max) = (0_u64, 0.0, 0);
        let targets = QUANTILES.map(|quantile| ((quantile * total as f64).ceil() as u64).max(1));
        let mut values = [0; QUANTILES.len()];
        for (value, count) in latencies.iter() {
            let (lowest, highest) = equivalent(value);
            mean += (lowest + (highest - lowest).div_ceil(2)) as f64 * count as f64 / total as f64;
            max = highest;
            for (at, target) in targets.iter().enumerate() {
                // The quantile is the first value at which the sum reaches the target.
                if sum < *target {
                    values[at] = highest;
                }
            }
            sum = sum.saturating_add(count);
        }
        let [p50, p90, p99, p99_9, p99_99] = values;
        Some(Self { count: total, min: equivalent(least).0, mean, p50, p90, p99, p99_9, p99_99, max })
    }

    /// The columns of a table, in the order of [`COLUMNS`].
    pub(crate) fn columns(&self) -> [u64; 7] {
        [self.min, self.p50, self.p90, self.p99, self.p99_9, self.p99_99, self.max]
    }
}

/// The least and the highest of the values that equal this one in three digits.
pub(crate) fn equivalent(value: u64) -> (u64, u64) {
    let width_log = (u64::BITS - value.leading_zeros()).saturating_sub(THREE_DIGITS_LOG);
    let mask = (1 << width_log) - 1;
    (value & !mask, value | mask)
}

/// Values of this many bits are all distinct: the least power of two from 2 * 10^3 on has eleven.
const THREE_DIGITS_LOG: u32 = 11;

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// The columns of a table of latencies.
pub(crate) const COLUMNS: [&str; 7] = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// A latency: `551 us`, `1.23 ms`.
pub(crate) fn latency(nanos: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")];
    // The unit fits the rounded number: 999.9 us are shown as 1.00 ms.
    let fits = |unit: &&(f64, &str)| nanos / unit.0 < 999.5;
    let (factor, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    let is_whole = *name == "ns" && nanos.fract() == 0.0;
    let number = if is_whole { format!("{nanos:.0}") } else { significant(nanos / factor) };
    format!("{number} {name}")
}

/// A duration: in the form of a latency, and from two minutes on as `1h 5m 3s`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration >= Duration::from_secs(120) {
        return humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    }
    latency(duration.as_secs_f64() * 1e9)
}

/// A rate, or another number that need not be whole: `87,193`, `12.3`, `0.00120`.
pub(crate) fn number(number: f64) -> String {
    if number >= 999.5 { count(number.round() as u64) } else { significant(number) }
}

/// Bytes per second, in powers of 1000: `5.93 MB/s`.
pub(crate) fn throughput(bytes_per_second: f64) -> String {
    format!("{} MB/s", number(bytes_per_second / 1e6))
}

/// Bytes, in powers of 1024: `4.20 KiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB")];
    let (factor, name) = UNITS.iter().find(|unit| bytes / unit.0 < 999.5).unwrap_or(&UNITS[3]);
    if *name == "B" { format!("{bytes:.0} B") } else { format!("{} {name}", significant(bytes / factor)) }
}

/// A whole number with its thousands separated: `871,930`.
pub(crate) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// A share, from 0 to 1, in percent: `71 %`, `0.12 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 || percent >= 9.95 { format!("{percent:.0} %") } else { format!("{} %", significant(percent)) }
}

/// A count and its noun: `1 connection`, `2 connections`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Three significant digits, without an exponent.
fn significant(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number:.0}");
    }
    // Rounded first, as 9.996 has one digit before the point and 10.0 has two.
    let rounded: f64 = format!("{number:.2e}").parse().unwrap_or(number);
    let magnitude = rounded.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
    format!("{rounded:.decimals$}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_latency_has_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0.0, "0 ns"),
            (7.0, "7 ns"),
            (999.0, "999 ns"),
            (1_000.0, "1.00 us"),
            (87_249.0, "87.2 us"),
            (551_000.0, "551 us"),
            (999_400.0, "999 us"),
            (999_600.0, "1.00 ms"),
            (9_996_000.0, "10.0 ms"),
            (1_234_567.0, "1.23 ms"),
            (61_500_000_000.0, "61.5 s"),
            (4_000_000_000_000.0, "4000 s"),
            (12.34, "12.3 ns"),
        ];
        for (nanos, shown) in cases {
            assert_eq!(latency(nanos), shown, "{nanos}");
        }
    }

    #[test]
    fn a_long_duration_is_hours_minutes_and_seconds() {
        for (seconds, shown) in [(10, "10.0 s"), (119, "119 s"), (120, "2m"), (3_903, "1h 5m 3s")] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn counts_and_rates_have_their_thousands_apart() {
        for (given, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (871_930, "871,930"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(given), shown);
        }
        for (given, shown) in [(0.0, "0"), (0.0012, "0.00120"), (12.34, "12.3"), (87_193.4, "87,193"), (999.6, "1,000")]
        {
            assert_eq!(number(given), shown);
        }
        assert_eq!(throughput(5_929_124.0), "5.93 MB/s");
        assert_eq!((bytes(17.0), bytes(4_300.0)), ("17 B".into(), "4.20 KiB".into()));
        assert_eq!((percent(0.714), percent(0.0012), percent(1.0)), ("71 %".into(), "0.120 %".into(), "100 %".into()));
        assert_eq!((counted(1, "frame"), counted(2_000, "frame")), ("1 frame".into(), "2,000 frames".into()));
    }

    #[test]
    fn the_figures_of_nothing_are_none() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Figures::of(&histogram), None);
        histogram.record_n(1_000, 99).unwrap();
        histogram.record(5_000).unwrap();
        let figures = Figures::of(&histogram).unwrap();
        assert_eq!(
            (figures.count, figures.min, figures.p50, figures.p99, figures.max),
            (100, 1_000, 1_000, 1_000, 5_003)
        );
    }

    proptest! {
        #[test]
        fn figures_of_recorded_latencies_equal_those_of_a_histogram(
            latencies in prop::collection::vec((0_u64..5_000, 0_u32..44, 1_u64..10_000), 0..60),
        ) {
            let mut histogram = crate::results::model::histogram();
            for (value, shift, count) in latencies {
                histogram.record_n(value << shift, count).unwrap();
            }
            prop_assert_eq!(Figures::of_recorded(&Recorded::of(&histogram)), Figures::of(&histogram));
        }
    }
}
