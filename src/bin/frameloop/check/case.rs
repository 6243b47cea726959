//! What a case is.

use clap::ValueEnum;
use serde::Serialize;

use crate::check::target::{Played, Target};

/// One thing that a server is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    /// What it does, in a sentence.
    pub(crate) does: &'static str,
    /// Why that matters, in a sentence.
    pub(crate) why: &'static str,
    /// What a server that fails has usually done wrong.
    #[serde(skip)]
    pub(crate) mistake: &'static str,
    /// The file of the book's chapter.
    pub(crate) chapter: &'static str,
    #[serde(skip)]
    pub(crate) play: fn(&mut Target) -> Played,
}

/// How much is asked of a server; each level asks for those before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Framing
    Basic,
    /// Partial reads and writes, many clients, slow peers
    Nonblocking,
    /// Limits, deadlines, exhaustion
    Hardened,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Basic, Self::Nonblocking, Self::Hardened];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Nonblocking => "nonblocking",
            Self::Hardened => "hardened",
        }
    }

    /// What it is about.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Basic => "framing",
            Self::Nonblocking => "partial reads and writes, many clients, slow peers",
            Self::Hardened => "limits, deadlines, exhaustion",
        }
    }
}
