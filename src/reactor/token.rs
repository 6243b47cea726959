//! Tokens, which the readiness queue returns in its events to identify registrations.

use crate::id::{ConnId, ListenerId};

/// The subject of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Conn(ConnId),
    Listener(ListenerId),
    Source(u32),
    Waker,
}

/// How a token is divided: the lower half is the index, the upper half the generation. On 32 bits that leaves 16 for each.
///
/// Rule: every generation fits in a token, so that a token names exactly one connection. Generations wrap at this mask, and skip 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    half: u32,
}

impl Layout {
    pub(crate) const NATIVE: Self = Self { half: usize::BITS / 2 };

    #[cfg(test)]
    pub(crate) const OF_32_BITS: Self = Self { half: 16 };

    /// The highest generation that a token can carry.
    pub(crate) const fn generation_max(self) -> u32 {
        self.mask() as u32
    }

    const fn mask(self) -> usize {
        (1 << self.half) - 1
    }

    /// The waker has the highest token without a generation. Sources count down from below it, listeners up from 0.
    const fn waker(self) -> usize {
        self.mask()
    }

    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn subject(self, token: usize) -> Subject {
        let (source_0, sources_min) = (self.waker() - 1, self.mask() / 2);
        match (token >> self.half, token & self.mask()) {
            (0, low) if low == self.waker() => Subject::Waker,
            (0, low) if low > sources_min => Subject::Source((source_0 - low) as u32),
            (0, low) => Subject::Listener(ListenerId(low as u32)),
            (generation, index) => Subject::Conn(ConnId { index: index as u32, generation: generation as u32 }),
        }
    }

    pub(crate) fn token(self, subject: Subject) -> usize {
        match subject {
            Subject::Conn(id) => {
                debug_assert!(id.generation != 0 && id.generation as usize <= self.mask(), "{id} does not fit");
                ((id.generation as usize) << self.half) | id.index as usize
            }
            Subject::Listener(id) => id.0 as usize,
            Subject::Source(number) => self.waker() - 1 - number as usize,
            Subject::Waker => self.waker(),
        }
    }
}

impl Subject {
    pub(crate) fn of_token(token: usize) -> Self {
        Layout::NATIVE.subject(token)
    }

    pub(crate) fn token(self) -> usize {
        Layout::NATIVE.token(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_names_its_subject() {
        let subjects = [
            Subject::Conn(ConnId { index: 0, generation: 1 }),
            Subject::Conn(ConnId { index: 20_000, generation: 7 }),
            Subject::Listener(ListenerId(0)),
            Subject::Listener(ListenerId(3)),
            Subject::Source(0),
            Subject::Source(9),
            Subject::Waker,
        ];
        for layout in [Layout::OF_32_BITS, Layout::NATIVE] {
            for subject in subjects {
                assert_eq!(layout.subject(layout.token(subject)), subject);
            }
        }
    }
}
