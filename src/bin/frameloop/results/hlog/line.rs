//! The fields of a log's lines and comments.

use std::time::Duration;

use clap::ValueEnum;

use crate::page::printable;

/// The unit of the latencies in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    Ns,
    Us,
    Ms,
}

impl Unit {
    pub(super) const fn nanos(self) -> u64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
        }
    }

    /// The unit that a comment names.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "nanoseconds" | "ns" => Some(Self::Ns),
            "microseconds" | "us" => Some(Self::Us),
            "milliseconds" | "ms" => Some(Self::Ms),
            _ => None,
        }
    }
}

/// The fields of an interval's line.
pub(super) struct Fields<'a> {
    pub(super) tag: Option<&'a str>,
    pub(super) start: Duration,
    pub(super) length: Duration,
    pub(super) histogram: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a str) -> Result<Self, String> {
        let (tag, fields) = match line.strip_prefix("Tag=") {
            Some(rest) => rest.split_once(',').map(|(tag, fields)| (Some(tag), fields)).ok_or(NO_LINE)?,
            None => (None, line),
        };
        let mut fields = fields.splitn(4, ',');
        let (Some(start), Some(length), Some(max), Some(histogram)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(NO_LINE.into());
        };
        let seconds_of = |what: &str, text: &str| {
            let refusal =
                || format!("the interval's {what}, `{}`, is not a number of seconds such as 1.500", quoted(text));
            seconds(text).ok_or_else(refusal)
        };
        let (start, length) = (seconds_of("start", start)?, seconds_of("length", length)?);
        if length > YEAR {
            return Err(format!("the interval is {} s long, more than a year", length.as_secs()));
        }
        if max.trim().parse::<f64>().is_err() {
            return Err(format!("the interval's maximum, `{}`, is not a number", quoted(max)));
        }
        Ok(Self { tag, start, length, histogram })
    }
}

/// The time in a comment; `what` is its name.
pub(super) fn time_of(what: &str, text: &str) -> Result<Duration, String> {
    let number = text.split([' ', ']']).next().unwrap_or_default();
    let refusal = || format!("{what}, `{}`, is not seconds since 1970 such as 1795315208.948", quoted(number));
    seconds(number).filter(|time| *time < TIME_MAX).ok_or_else(refusal)
}

/// A number of seconds, as digits with or without a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // Digits beyond nanoseconds are dropped.
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

/// The first characters of a text from a log.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = printable(text).chars().take(TEXT_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

pub(crate) const NO_LINE: &str = "neither a comment nor an interval of a histogram log";
pub(super) const YEAR: Duration = Duration::from_secs(366 * 24 * 3_600);
pub(super) const TIME_MAX: Duration = Duration::from_secs(530 * 366 * 24 * 3_600);
/// The most characters of a text from a log that an error shows.
const TEXT_MAX: usize = 40;
