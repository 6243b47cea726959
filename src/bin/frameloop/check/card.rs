//! The score card, to read on a terminal of 80 columns: how each case ended, what is wrong, and how much that is.

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::grade::{Grade, Graded, Outcome};
use crate::check::target::Target;
use crate::page::{BOLD, GREEN, Page, RED, styled};
use crate::results::figures::{counted, latency};

/// The card with its styles, and a newline at the end of each line.
pub(crate) fn text(target: &Target, grade: &Grade) -> String {
    let mut card = Card::default();
    card.head(target, grade);
    for level in Level::ALL {
        card.level(level, grade);
    }
    for graded in &grade.cases {
        if let Outcome::Fails(finding) = &graded.outcome {
            card.failure(&graded.case, finding);
        }
    }
    card.score(grade);
    card.page.text
}

#[derive(Default)]
struct Card {
    page: Page,
}

impl Card {
    fn head(&mut self, target: &Target, grade: &Grade) {
        let server = styled(BOLD, &target.addr.to_string());
        let process = match target.process {
            Some(process) => format!(", process {}", process.pid),
            None => String::new(),
        };
        let framing = match target.wire() {
            wire if wire.is_default() => String::new(),
            wire => format!(", framing {wire}"),
        };
        let (cases, took) = (counted(grade.cases.len() as u64, "case"), latency(grade.took.as_nanos() as f64));
        self.page.line(&format!("{server}{process}{framing}: {cases} in {took}"));
    }

    fn level(&mut self, level: Level, grade: &Grade) {
        let mut cases = grade.cases.iter().filter(|graded| graded.case.level == level).peekable();
        if cases.peek().is_none() {
            return;
        }
        self.page.line("");
        self.page.line(&format!("{}: {}", styled(BOLD, level.name()), level.subject()));
        for graded in cases {
            self.case(graded);
        }
    }

    fn case(&mut self, graded: &Graded) {
        let name = graded.case.name;
        let took = latency(graded.took.as_nanos() as f64);
        match &graded.outcome {
            Outcome::Holds => self.page.line(&format!("  {}   {name:<27}{took:>9}", styled(GREEN, "holds"))),
            Outcome::Fails(_) => self.page.line(&format!("  {}  {name:<27}{took:>9}", styled(RED, "FAILED"))),
            Outcome::Skipped(reason) => {
                self.page.line(&format!("  skipped {name}"));
                self.page.wrapped("            ", reason);
            }
        }
    }

    /// What is wrong, why that matters, and where to read on.
    fn failure(&mut self, case: &Case, finding: &Finding) {
        self.page.line("");
        self.page.line(&format!("{} {}", styled(RED, "FAILED"), styled(BOLD, case.name)));
        let mistake = finding.mistake.as_deref().unwrap_or(case.mistake);
        let chapter = format!("docs/study/{}", case.chapter);
        let rows = [
            ("the case", case.does),
            ("why", case.why),
            ("sent", &finding.sent),
            ("expected", &finding.expected),
            ("came", &finding.came),
            ("likely", mistake),
            ("read", &chapter),
        ];
        for (name, text) in rows {
            self.page.wrapped(&format!("  {name:<10}"), text);
        }
    }

    /// The table at the end, and the sum of it.
    fn score(&mut self, grade: &Grade) {
        self.page.line("");
        self.page.line(&styled(BOLD, &format!("{:<14}{:>7}{:>8}{:>9}", "score", "holds", "failed", "skipped")));
        for level in Level::ALL {
            let count = |is: fn(&Outcome) -> bool| {
                let of_level = grade.cases.iter().filter(|graded| graded.case.level == level);
                of_level.filter(|graded| is(&graded.outcome)).count()
            };
            let holds = count(|outcome| *outcome == Outcome::Holds);
            let failed = count(|outcome| matches!(outcome, Outcome::Fails(_)));
            let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
            if holds + failed + skipped > 0 {
                self.page.line(&format!("{:<14}{holds:>7}{failed:>8}{skipped:>9}", level.name()));
            }
        }
        self.page.line("");
        let (failed, played) = (grade.failed(), counted(grade.played() as u64, "case"));
        let late = counted(grade.out_of_time() as u64, "case");
        let sum = match (failed, grade.played()) {
            (0, 0) => styled(BOLD, "Nothing was played."),
            (0, _) if grade.out_of_time() > 0 => {
                styled(RED, &format!("{played} played, and none failed; for {late} there was no time."))
            }
            (0, _) => styled(GREEN, &format!("All holds: {played} played, and none failed.")),
            _ => styled(RED, &format!("{failed} of {played} failed.")),
        };
        self.page.line(&sum);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cases;
    use crate::check::grade::OVER;
    use crate::check::patience::Patience;
    use crate::check::payloads::Payloads;
    use crate::check::wire::Wire;
    use crate::page::Color;

    fn target() -> Target {
        Target {
            addr: ([127, 0, 0, 1], 7_007).into(),
            patience: Patience::new(Duration::from_secs(1), Duration::from_secs(1)),
            max_payload: 1 << 24,
            process: None,
            frame_timeout: None,
            write_timeout: None,
            own_descriptors: 1_024,
            payloads: Payloads::new(1, Wire::of("u32be").unwrap()),
            served: std::sync::Arc::default(),
        }
    }

    /// The first case holds, the second was not played, and the third failed.
    fn grade() -> Grade {
        let finding =
            Finding::new("16 bytes in 16 writes: 00 00", "the same", "at offset 4 of 16 bytes: 31 instead of 30");
        let outcomes = [Outcome::Holds, Outcome::Skipped("it has no time ".repeat(9)), Outcome::Fails(finding)];
        let cases = cases::all().zip(outcomes);
        let cases = cases.map(|(case, outcome)| Graded { case: *case, outcome, took: Duration::from_micros(1_234) });
        Grade { level: Level::Basic, cases: cases.collect(), took: Duration::from_millis(12) }
    }

    fn plain(grade: &Grade) -> String {
        Color::Never.apply(text(&target(), grade))
    }

    #[test]
    fn card_shows_each_case_and_its_mistake() {
        let text = plain(&grade());
        assert!(text.starts_with("127.0.0.1:7007: 3 cases in 12.0 ms\n\nbasic: framing\n"), "{text}");
        assert!(text.contains("\n  holds   one-frame                    1.23 ms\n"), "{text}");
        assert!(text.contains("\n  FAILED  byte-at-a-time               1.23 ms\n"), "{text}");
        assert!(text.contains("\n  skipped zero-length\n            it has no time"), "{text}");
        assert!(text.contains("\n  came      at offset 4 of 16 bytes: 31 instead of 30\n"), "{text}");
        assert!(text.contains("\n  read      docs/study/partial-io.md\n"), "{text}");
        assert!(text.contains("\nbasic               1       1        1\n"), "{text}");
        assert!(text.ends_with("\n1 of 2 cases failed.\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn where_nothing_failed_the_sum_says_so() {
        let mut grade = grade();
        grade.cases.pop();
        grade.cases[1].outcome = Outcome::Skipped(OVER.into());
        let sum = "\n1 case played, and none failed; for 1 case there was no time.\n";
        assert!(plain(&grade).ends_with(sum));
        grade.cases.pop();
        assert!(plain(&grade).ends_with("\nAll holds: 1 case played, and none failed.\n"));
        grade.cases.clear();
        assert!(plain(&grade).ends_with("\nNothing was played.\n"));
    }
}
