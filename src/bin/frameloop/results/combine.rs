//! Logs as one result, with the runs or the steps that they have.
//!
//! Rule: run i of one log is paired with run i of the others. The runs of each log follow each other (`sequence.rs`), and the pairs are at the
//! same time (`merge.rs`).

use std::borrow::Cow;
use std::time::SystemTime;

use crate::results::facts::Facts;
use crate::results::figures;
use crate::results::hlog::log::{Log, PartKind, PartMark, StepMark};
use crate::results::instances::{joined, segment};
use crate::results::merge::{LogSpan, are_apart, facts_of, merged, span};
use crate::results::model::Results;
use crate::results::sequence::sequence;
use crate::results::steps::{Highest, StepFigures};

/// Makes one result of at least one log.
pub(crate) fn combined(logs: &[Log]) -> Results {
    let Some(kind) = logs.iter().find_map(kind) else { return merged(logs) };
    let most = logs.iter().map(|log| parts(log).len()).max().unwrap_or_default();
    let paired: Vec<Vec<&Log>> =
        (0..most).map(|at| logs.iter().filter_map(|log| parts(log).get(at)).collect()).collect();
    let mut steps = Steps { logs, made: Vec::new(), begin_s: 0.0 };
    let each = paired.iter().map(|logs| {
        let results = merged(logs);
        steps.add(logs, &results);
        results
    });
    let Some(all) = sequence(each, kind.name()) else { return merged(logs) };
    let mut facts = whole_facts(logs);
    facts.taints.extend(doubts(logs, &paired, kind));
    let (steps, highest) = (steps.made, highest(logs));
    let mut runs = all.runs;
    match kind {
        // A run that some generators did not make is not one of the load.
        PartKind::Run => runs.truncate(logs.iter().map(|log| parts(log).len()).min().unwrap_or_default()),
        PartKind::Step => runs.clear(),
    }
    Results { runs, facts, steps, highest, ..all }
}

/// What a log repeats.
fn kind(log: &Log) -> Option<PartKind> {
    log.parts.first().and_then(|part| part.mark).map(|mark| mark.kind)
}

/// The runs of a log: its own, or itself.
fn parts(log: &Log) -> &[Log] {
    if log.parts.is_empty() { std::slice::from_ref(log) } else { &log.parts }
}

/// The facts of all logs, each with what it states of itself as a whole.
fn whole_facts(logs: &[Log]) -> Facts {
    let wholes: Vec<Cow<'_, Log>> = logs.iter().map(with_facts).collect();
    let wholes: Vec<&Log> = wholes.iter().map(AsRef::as_ref).collect();
    let spans: Vec<LogSpan> = logs.iter().map(whole_span).collect();
    facts_of(&wholes, &spans)
}

/// From the begin of the first run to the end of the last.
fn whole_span(log: &Log) -> LogSpan {
    // One that was killed before it measured has no time.
    let spans = || parts(log).iter().map(span).filter(|(begin, _)| *begin > SystemTime::UNIX_EPOCH);
    let (begin, end) = (spans().map(|(begin, _)| begin).min(), spans().map(|(_, end)| end).max());
    begin.zip(end).unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH))
}

/// The log with its facts, also if it ends before its load did.
fn with_facts(log: &Log) -> Cow<'_, Log> {
    if log.facts.is_some() || log.parts.is_empty() {
        return Cow::Borrowed(log);
    }
    let (count, name) = (log.parts.len(), kind(log).unwrap_or(PartKind::Run).name());
    let mut facts =
        sequence(log.parts.iter().map(|part| merged(&[part])), name).map(|all| all.facts).unwrap_or_default();
    facts.is_partial = true;
    if let Some(PartMark { kind, asked, step, .. }) = log.parts.last().and_then(|part| part.mark) {
        let of = asked.map_or_else(String::new, |asked| format!(" of {asked}"));
        match (kind, step) {
            (PartKind::Step, Some(step)) => {
                facts.configuration.set(step.of.name(), figures::counted(count as u64, "step"));
            }
            _ => facts.configuration.set("runs", format!("{count}{of}")),
        }
    }
    Cow::Owned(Log { name: log.name.clone(), instance: log.instance.clone(), facts: Some(facts), ..Log::default() })
}

/// What is doubtful about the pairs.
fn doubts(logs: &[Log], paired: &[Vec<&Log>], kind: PartKind) -> Vec<String> {
    let mut doubts = Vec::new();
    let counts: Vec<(usize, Option<PartKind>)> = logs.iter().map(|log| (parts(log).len(), self::kind(log))).collect();
    if counts.iter().any(|count| *count != counts[0]) {
        let one = |(log, (count, kind)): (&Log, &(usize, Option<PartKind>))| {
            format!("{} has {}", log.name, figures::counted(*count as u64, kind.unwrap_or(PartKind::Run).name()))
        };
        let shown: Vec<String> = logs.iter().zip(&counts).take(NAMED_MAX).map(one).collect();
        let more = if logs.len() > NAMED_MAX { ", ..." } else { "" };
        doubts.push(format!(
            "the logs are not of the same {}s: {}{more}; those of the same number are paired, and only those that all logs have count as \
             {0}s of the load",
            kind.name(),
            shown.join(", ")
        ));
    }
    let are_apart = |(logs, _): &(&Vec<&Log>, u32)| are_apart(&logs.iter().map(|log| span(log)).collect::<Vec<_>>());
    let apart: Vec<String> = paired.iter().zip(1..).filter(are_apart).map(|(_, number)| number.to_string()).collect();
    if !apart.is_empty() {
        doubts.push(format!(
            "these {}s were not at the same time in all logs: {}; the rate of each is over all the time from its first begin to its last end",
            kind.name(),
            joined(&apart)
        ));
    }
    if logs.len() > 1 && logs.iter().any(|log| log.search.is_some()) {
        doubts.push("the result of a search is that of one generator, and is left out of the sum of several".into());
    }
    doubts
}

/// The figures of the steps that all logs have.
struct Steps<'a> {
    logs: &'a [Log],
    made: Vec<StepFigures>,
    begin_s: f64,
}

impl Steps<'_> {
    /// Adds the next step; `results` are those of its pieces.
    fn add(&mut self, pieces: &[&Log], results: &Results) {
        let marks: Option<Vec<StepMark>> = pieces.iter().map(|log| log.mark?.step).collect();
        let Some(marks) = marks.filter(|marks| marks.len() == self.logs.len()) else { return };
        let Some(first) = marks.first() else { return };
        // Segments state the load of all; other generators each have their own.
        let are_segments = pieces.iter().all(|log| log.instance.as_deref().and_then(segment).is_some());
        let is_shared = marks.len() == 1 || are_segments && marks.iter().all(|mark| mark == first);
        let load = if is_shared { first.load } else { marks.iter().map(|mark| mark.load).sum() };
        // A step has failed if it has for one of the generators.
        let at = self.made.len();
        let failed = self.logs.iter().find_map(|log| log.steps.get(at)?.failed.clone());
        let step = StepFigures::of(first.of, load, self.begin_s, results, failed);
        self.begin_s += step.measured_s;
        self.made.push(step);
    }
}

/// What the search of the only log has found.
fn highest(logs: &[Log]) -> Option<Highest> {
    if let [log] = logs { log.search.clone() } else { None }
}

/// So many logs are named in a line.
const NAMED_MAX: usize = 5;

#[cfg(test)]
mod tests;
