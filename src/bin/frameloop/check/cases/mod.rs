//! The cases, in the order in which they are played: what can end a server comes late.

mod beside;
mod crowd;
mod ends;
mod exhaustion;
mod framing;
mod limits;
mod wording;

use crate::check::case::Case;
use crate::check::wire::Wire;

/// All cases.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let parts = [framing::CASES, ends::CASES, beside::CASES, crowd::CASES, limits::CASES, exhaustion::CASES];
    parts.into_iter().flatten()
}

/// All cases, in the words of a framing.
pub(crate) fn of(wire: &Wire) -> impl Iterator<Item = Case> {
    all().map(|case| wording::of(*case, wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_names_are_distinct_and_levels_in_order() {
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
