//! The ids of connections, timers and watched descriptors.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

/// Identifies a connection while it lives; afterwards the id is stale, and never names another connection.
///
/// It is displayed as the number of a slot and a generation, such as `7.1`. The slot of an ended connection is used again, with
/// the next generation. Generations repeat after 2^32 - 1 connections in the same slot (65,535 on 32-bit targets).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// The id of no connection.
    pub(crate) const NONE: Self = Self { index: 0, generation: 0 };
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl FromStr for ConnId {
    type Err = ConnIdError;

    /// Parses what [`Display`](fmt::Display) writes, such as `7.1`. Whether there is such a connection shows only when the id is used.
    fn from_str(text: &str) -> Result<Self, ConnIdError> {
        let number =
            |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        let parsed = text.split_once('.').map(|(index, generation)| (number(index), number(generation)));
        match parsed {
            Some((Some(index), Some(generation))) if generation > 0 => Ok(Self { index, generation }),
            Some(_) | None => Err(ConnIdError(())),
        }
    }
}

/// Reports a text that is no [`ConnId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnIdError(());

impl fmt::Display for ConnIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a connection is two numbers, such as 7.1")
    }
}

impl std::error::Error for ConnIdError {}

/// Identifies a descriptor that [`Reactor::watch`](crate::Reactor::watch) watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub(crate) u32);

/// Identifies a timer that [`Context::set_timer`](crate::Context::set_timer) has set. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    pub(crate) at: Instant,
    /// Distinguishes timers for the same instant.
    pub(crate) number: u64,
}

/// Identifies a listener of a reactor. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) u32);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conn_id_is_parsed_as_it_is_displayed() {
        for (text, parsed) in [("7.1", Some((7, 1))), ("0.4294967295", Some((0, u32::MAX)))] {
            let id = text.parse().ok().map(|ConnId { index, generation }| (index, generation));
            assert_eq!(id, parsed, "{text}");
            assert_eq!(text.parse::<ConnId>().unwrap().to_string(), text);
        }
        for text in ["", ".", "7", "7.", ".1", "7.0", "7.1.1", "+7.1", "7.-1", " 7.1", "4294967296.1", "7.4294967296"] {
            assert_eq!(text.parse::<ConnId>(), Err(ConnIdError(())), "{text}");
        }
    }
}
