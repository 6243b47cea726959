//! The figures of a step, from its results: what it has shown, and why it failed.

use frameloop::load::GeneratorSide;

use crate::results::figures::{self, Figures};
use crate::results::model::Results;
use crate::results::steps::{Dimension, Failed, Limit, StepFigures};
use crate::results::verdict::{Unit, Verdict};

impl Failed {
    /// Why results have failed: an expectation does not hold, or there are errors, and none is about errors.
    pub(crate) fn of(results: &Results, is_about_errors: bool) -> Option<Self> {
        let failing: Vec<&Verdict> = results.verdicts.iter().filter(|verdict| !verdict.holds).collect();
        let mut reasons: Vec<String> =
            failing.iter().map(|verdict| format!("{}: observed {}", verdict.expression, verdict.observed())).collect();
        let errors = results.facts.errors.map_or(0, |errors| errors.total());
        let has_errors = errors > 0 && !is_about_errors;
        reasons.extend(has_errors.then(|| figures::counted(errors, "error")));
        if reasons.is_empty() {
            return None;
        }
        let cpu = results.facts.generator.as_ref().and_then(GeneratorSide::cpu_full);
        reasons
            .extend(cpu.map(|cpu| format!("a thread of the generator used {} of a processor", figures::percent(cpu))));
        let is_late = failing.iter().any(|verdict| verdict.is_about_generator);
        reasons.extend(is_late.then(|| "--allow-late accepts that".to_owned()));
        let first = if cpu.is_some() || is_late {
            Limit::Generator
        } else if has_errors || failing.iter().any(|verdict| verdict.unit == Unit::Count) {
            Limit::Errors
        } else if failing.iter().any(|verdict| verdict.unit == Unit::Ns) {
            Limit::Latency
        } else {
            Limit::Other
        };
        Some(Self { first, reasons })
    }
}

impl StepFigures {
    pub(crate) fn of(of: Dimension, load: f64, begin_s: f64, results: &Results, failed: Option<Failed>) -> Self {
        Self {
            of,
            load,
            begin_s,
            measured_s: results.measured.as_secs_f64(),
            frames: results.frames,
            frames_per_s: results.rate(),
            latency: Figures::of(results.latency().1),
            errors: results.facts.errors.map_or(0, |errors| errors.total()),
            failed,
        }
    }
}

/// The title of the plot of latencies against load, if there are steps.
pub(crate) fn plot_title(results: &Results) -> Option<String> {
    let of = results.steps.first()?.of;
    Some(format!("Percentiles of {} latency by {}", results.latency().0.name(), of.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::expect::{expectation, judge};
    use crate::results::fixture;
    use crate::results::steps::Highest;

    /// Why the results of the fixture fail, which have a p99 of 9.9 ms and 6 errors, without the generator's own limits.
    fn failed(expected: &[&str], is_about_errors: bool, change: impl FnOnce(&mut Results)) -> Option<Failed> {
        let mut results = fixture::made();
        results.facts.generator = Some(GeneratorSide::default());
        change(&mut results);
        let expected: Vec<_> = expected.iter().map(|text| expectation(text).unwrap()).collect();
        judge(&mut results, &expected, false);
        Failed::of(&results, is_about_errors)
    }

    #[test]
    fn reason_that_a_step_failed_is_named() {
        let first = |failed: Option<Failed>| failed.map(|failed| failed.first);
        assert_eq!(failed(&["p99<1s", "errors<9"], true, |_| {}), None);
        assert_eq!(first(failed(&["p99<1s"], false, |_| {})), Some(Limit::Errors));
        assert_eq!(first(failed(&["p99<1ms", "errors<9"], true, |_| {})), Some(Limit::Latency));
        assert_eq!(first(failed(&["p99<1ms", "errors<3"], true, |_| {})), Some(Limit::Errors));
        assert_eq!(first(failed(&["rate>2k", "errors<9"], true, |_| {})), Some(Limit::Other));
        let late = |results: &mut Results| results.facts.generator.as_mut().unwrap().late_p99_ns = 5_000_000;
        assert_eq!(first(failed(&["p99<1s", "errors<9"], true, late)), Some(Limit::Generator));
        let busy = failed(&["p99<1ms", "errors<9"], true, |results| {
            results.facts.generator = fixture::made().facts.generator;
        });
        let text = busy.unwrap().to_string();
        let reasons = "p99<1ms: observed 9.90 ms; a thread of the generator used 97 % of a processor";
        assert_eq!(text, format!("the generator itself ({reasons})"));
    }

    #[test]
    fn step_and_highest_load_are_one_line_each() {
        let results = fixture::made();
        let failed = Failed { first: Limit::Latency, reasons: vec!["p99<5ms: observed 9.90 ms".into()] };
        let step = StepFigures::of(Dimension::Rate, 1_200.0, 0.0, &results, Some(failed.clone()));
        let figures = "1,200/s: 1,000/s, p50 5.00 ms, p99 9.90 ms, p99.9 9.99 ms, 6 errors";
        assert_eq!(step.to_string(), format!("{figures}; failed: latency (p99<5ms: observed 9.90 ms)"));
        let mut highest = Highest {
            of: Dimension::Connections,
            load: Some(1_000.0),
            was_interrupted: false,
            failed_load: Some(1_200.0),
            failed: Some(failed),
        };
        let end = "at 1,200 connections the first to fail is latency (p99<5ms: observed 9.90 ms)";
        assert_eq!(highest.to_string(), format!("the highest load that held is 1,000 connections; {end}"));
        highest.load = None;
        assert_eq!(highest.to_string(), format!("no load held; {end}"));
    }
}
