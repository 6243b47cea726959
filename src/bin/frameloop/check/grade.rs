//! Cases are played one after the other, each on a server that still lives.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::check::cases::{Case, Level};
use crate::check::finding::Finding;
use crate::check::target::{Stop, Target};

/// What came of all cases.
#[derive(Debug)]
pub(crate) struct Grade {
    pub(crate) level: Level,
    pub(crate) cases: Vec<Graded>,
    pub(crate) took: Duration,
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Graded {
    pub(crate) case: &'static Case,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds,
    Fails(Finding),
    Skipped(String),
}

impl Grade {
    /// Plays these cases.
    pub(crate) fn of(target: &mut Target, cases: &[&'static Case], level: Level) -> Self {
        let (begun, bar) = (Instant::now(), bar(cases.len()));
        let mut lost_in = None;
        let mut graded = Vec::with_capacity(cases.len());
        for case in cases.iter().copied() {
            bar.set_message(case.name);
            let begun = Instant::now();
            let outcome = match lost_in {
                Some(case) => Outcome::Skipped(format!("nobody is served since {case}")),
                None if target.patience.left().is_zero() => Outcome::Skipped(OVER.into()),
                None => outcome(case, target, &mut lost_in),
            };
            graded.push(Graded { case, outcome, took: begun.elapsed() });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Self { level, cases: graded, took: begun.elapsed() }
    }

    pub(crate) fn failed(&self) -> usize {
        self.cases.iter().filter(|graded| matches!(graded.outcome, Outcome::Fails(_))).count()
    }

    pub(crate) fn skipped(&self) -> usize {
        self.cases.iter().filter(|graded| matches!(graded.outcome, Outcome::Skipped(_))).count()
    }

    /// How many were not played, or not to their end, because the time was over.
    pub(crate) fn out_of_time(&self) -> usize {
        self.cases.iter().filter(|graded| graded.outcome == Outcome::Skipped(OVER.into())).count()
    }

    pub(crate) fn played(&self) -> usize {
        self.cases.len() - self.skipped()
    }
}

/// Plays a case, and looks whether the server lives afterwards.
fn outcome(case: &'static Case, target: &mut Target, lost_in: &mut Option<&'static str>) -> Outcome {
    let played = (case.play)(target);
    if let Err(Stop::Skipped(reason)) = played {
        return Outcome::Skipped(reason);
    }
    let alive = target.is_alive().map_err(afterwards);
    // Without time left nobody could have been served, whatever the server did.
    if alive.is_err() && target.comes_back().is_err() && !target.patience.left().is_zero() {
        *lost_in = Some(case.name);
    }
    match played.and(alive.map_err(Stop::Fails)) {
        Ok(()) => Outcome::Holds,
        Err(_) if target.patience.left().is_zero() => Outcome::Skipped(OVER.into()),
        Err(Stop::Fails(finding)) if target.has_ended() => {
            Outcome::Fails(Finding { mistake: Some(ENDED.into()), ..finding })
        }
        Err(Stop::Fails(finding)) => Outcome::Fails(finding),
        Err(Stop::Skipped(reason)) => Outcome::Skipped(reason),
    }
}

/// A finding about the one who comes after a case.
fn afterwards(finding: Finding) -> Finding {
    let sent = format!("afterwards, on a new connection, {}", finding.sent);
    Finding { sent, mistake: None, ..finding }
}

/// On a terminal, what is being played.
fn bar(cases: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(cases as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

const ENDED: &str = "the server's process has ended in this case: what it said last may tell why";
/// Why a case is skipped that was asked for and could have been played.
pub(crate) const OVER: &str = "a minute was over";
