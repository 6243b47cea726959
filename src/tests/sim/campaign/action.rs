//! What a handler does in a callback, besides answering.

use crate::sim::Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Close,
    Abort,
    Panic,
    Pause,
    /// Sends to itself, to another, or to one that is dead.
    Send,
    Broadcast,
    CloseAnother,
    AbortAnother,
    PauseAnother,
    Detach,
    Finish,
    FinishAnother,
}

impl Action {
    const ALL: [Self; 13] = [
        Self::Nothing,
        Self::Close,
        Self::Abort,
        Self::Panic,
        Self::Pause,
        Self::Send,
        Self::Broadcast,
        Self::CloseAnother,
        Self::AbortAnother,
        Self::PauseAnother,
        Self::Detach,
        Self::Finish,
        Self::FinishAnother,
    ];

    /// The order in the first byte of a payload.
    pub(super) fn of_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Nothing)
    }

    /// What a frame asks for; seldom what ends its connection.
    pub(super) fn asked_for(rng: &mut Rng) -> Self {
        match rng.below(120) {
            0 => Self::Close,
            1 => Self::Abort,
            2 => Self::Panic,
            3 => Self::CloseAnother,
            4 => Self::AbortAnother,
            5 => Self::PauseAnother,
            6..=10 => Self::Pause,
            11..=15 => Self::Send,
            16 | 17 => Self::Broadcast,
            18 => Self::Detach,
            19 => Self::Finish,
            20 => Self::FinishAnother,
            _ => Self::Nothing,
        }
    }

    /// A random action in `per_mille` of 1,000 calls.
    pub(super) fn by_whim(rng: &mut Rng, per_mille: u16) -> Self {
        if rng.chance(per_mille) { Self::ALL[rng.below(Self::ALL.len())] } else { Self::Nothing }
    }
}
