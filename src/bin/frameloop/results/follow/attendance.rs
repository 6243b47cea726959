//! Whether all generators that should be there have reported all that they measured.

use clap::ValueEnum;

use crate::failure::Failure;
use crate::results::instances::joined;

/// How many of the generators must be complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Require {
    /// Each of them
    #[default]
    All,
    /// More than half of them
    Majority,
}

/// The generators that should be there.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    pub(super) expected: usize,
    /// Those that are not complete, each with the reason.
    pub(super) lacking: Vec<(String, String)>,
}

impl Attendance {
    /// Whether enough are complete.
    pub(crate) fn judge(&self, require: Require) -> Result<(), Failure> {
        let complete = self.expected.saturating_sub(self.lacking.len());
        let is_majority = 2 * complete > self.expected;
        let (is_enough, remedy) = match require {
            Require::All if is_majority => (self.lacking.is_empty(), "; --require majority accepts that"),
            Require::All => (self.lacking.is_empty(), ""),
            Require::Majority => (is_majority, "; --require majority needs more than half of them"),
        };
        if is_enough {
            return Ok(());
        }
        let (lacking, expected, named) = (self.lacking.len(), self.expected, self.named());
        let verb = if lacking == 1 { "is" } else { "are" };
        Err(Failure::run(format_args!(
            "{lacking} of {expected} instances {verb} not complete: {named}; what they measured is part of the sum{remedy}"
        )))
    }

    /// The failure if nothing was measured.
    pub(super) fn nothing(&self) -> Failure {
        let named = self.named();
        Failure::run(format_args!("nothing was measured: {named}; follow what frameloop load writes with --hlog -"))
    }

    fn named(&self) -> String {
        let named: Vec<String> = self.lacking.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        joined(&named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(expected: usize, lacking: &[&str], require: Require) -> Option<String> {
        let lacking = lacking.iter().map(|name| ((*name).to_owned(), "it never came".to_owned())).collect();
        match (Attendance { expected, lacking }).judge(require) {
            Ok(()) => None,
            Err(Failure::Run(message)) => Some(message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_means_each_and_majority_more_than_half() {
        assert_eq!(judged(3, &[], Require::All), None);
        let message = judged(3, &["2/3"], Require::All).unwrap();
        let expected = "1 of 3 instances is not complete: 2/3 (it never came); what they measured is part of the sum";
        assert_eq!(message, format!("{expected}; --require majority accepts that"));
        assert!(judged(2, &["2/2"], Require::All).unwrap().ends_with("part of the sum"));
        assert_eq!(judged(3, &["2/3"], Require::Majority), None);
        for (expected, lacking) in [(3, &["2/3", "3/3"][..]), (2, &["2/2"]), (1, &["1/1"])] {
            let message = judged(expected, lacking, Require::Majority).unwrap();
            assert!(message.ends_with("needs more than half of them") && message.contains(lacking[0]), "{message}");
        }
    }
}
