//! Figures as people read them.

use std::time::Duration;

/// `87193` as `87,193`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds with three significant digits: `551 us`, `1.23 ms`, `12.0 s`.
pub(crate) fn latency(nanos: u64) -> String {
    let nanos = nanos as f64;
    let (value, unit) = match nanos {
        ..1e3 => return format!("{nanos} ns"),
        ..999.5e3 => (nanos / 1e3, "us"),
        ..999.5e6 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Seconds with one decimal, and minutes and hours where there are some: `8.0s`, `2m05s`, `1h02m`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (87_193, "87,193"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_latency_has_three_digits_and_a_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (9_999, "10.0 us"),
            (551_000, "551 us"),
            (999_600, "1.00 ms"),
            (1_234_000, "1.23 ms"),
            (12_000_000_000, "12.0 s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(latency(nanos), text);
        }
    }

    #[test]
    fn a_duration_is_as_long_as_it_must_be() {
        let cases = [(1_500, "1.5s"), (125_000, "2m05s"), (3_720_000, "1h02m")];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
