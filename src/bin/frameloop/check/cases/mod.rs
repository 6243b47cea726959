//! The cases, in the order in which they are played: what can end a server comes late.

mod beside;
mod crowd;
mod ends;
mod exhaustion;
mod framing;
mod limits;

use clap::ValueEnum;
use serde::Serialize;

use crate::check::target::{Played, Target};

/// One thing that a server is asked for.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    /// What it does, in a sentence.
    pub(crate) does: &'static str,
    /// Why that matters, in a sentence.
    pub(crate) why: &'static str,
    /// What a server that fails has usually done wrong.
    pub(crate) mistake: &'static str,
    /// The file of the book's chapter.
    pub(crate) chapter: &'static str,
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

/// All cases.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let parts = [framing::CASES, ends::CASES, beside::CASES, crowd::CASES, limits::CASES, exhaustion::CASES];
    parts.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_levels_come_in_order() {
        let cases: Vec<&Case> = all().collect();
        assert!(cases.is_sorted_by_key(|case| case.level));
        let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn each_case_says_what_it_does_and_why_in_a_sentence() {
        for case in all() {
            for text in [case.does, case.why, case.mistake] {
                assert!(text.len() > 15 && !text.ends_with('.') && text.is_ascii(), "{}: {text}", case.name);
            }
            assert!(
                case.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                case.name
            );
        }
    }
}
