//! The runs or steps in a log, while it is read.

use crate::results::facts::Facts;
use crate::results::hlog::log::{Entry, Log, PartMark, Total, Window};

/// The run under way, and those before it. A log without marks has one.
#[derive(Debug, Default)]
pub(super) struct Parts {
    ended: Vec<Part>,
    pub(super) open: Part,
    total: Option<Total>,
}

/// A run or a step.
#[derive(Debug, Default)]
pub(super) struct Part {
    mark: Option<PartMark>,
    pub(super) facts: Option<Facts>,
    /// The facts that were known when it began.
    pub(super) first_facts: Option<Facts>,
    pub(super) window: Option<Window>,
    /// The number of entries before its first.
    begin: usize,
}

impl Parts {
    /// A run or a step begins, after so many entries.
    pub(super) fn begin(&mut self, mark: PartMark, entries: usize) -> Result<(), String> {
        let (name, number) = (mark.kind.name(), mark.number);
        let Some(last) = self.open.mark else {
            if entries > 0 || self.has_begun() {
                return Err(format!(
                    "{name} {number} begins after intervals that are of none: lines are missing or out of order"
                ));
            }
            if number != 1 {
                return Err(format!("{name} {number} begins, and none before it: lines are missing or out of order"));
            }
            self.open = Part { mark: Some(mark), ..Part::default() };
            return Ok(());
        };
        let next = last.number.saturating_add(1);
        if self.total.is_some() {
            return Err(format!("{name} {number} begins after the end of the log: give each log as its own file"));
        }
        if last.kind != mark.kind || number != next {
            let expected = last.kind.name();
            return Err(format!(
                "{name} {number} begins, and {expected} {next} was to come: lines are missing, twice there or out of order"
            ));
        }
        if number > PARTS_MAX {
            return Err(format!("{name} {number} begins, and a log has at most {PARTS_MAX}"));
        }
        if let Some(missing) = self.open.missing_end() {
            return Err(missing);
        }
        let begun = Part { mark: Some(mark), begin: entries, ..Part::default() };
        self.ended.push(std::mem::replace(&mut self.open, begun));
        Ok(())
    }

    /// All runs or steps have ended.
    pub(super) fn end(&mut self, total: Total) -> Result<(), String> {
        if self.open.mark.is_none() {
            return Err("the end of several runs, and none has begun: lines are missing or out of order".into());
        }
        if let Some(missing) = self.open.missing_end() {
            return Err(missing);
        }
        if self.total.replace(total).is_some() {
            return Err("the end of a second log: give each log as its own file".into());
        }
        Ok(())
    }

    /// Whether one has begun to measure.
    pub(super) fn has_begun(&self) -> bool {
        self.open.first_facts.is_some() || !self.ended.is_empty()
    }

    pub(super) fn has_ended(&self) -> bool {
        if self.open.mark.is_some() { self.total.is_some() } else { self.open.facts.is_some() }
    }

    /// Whether there are marks.
    pub(super) fn are_marked(&self) -> bool {
        self.open.mark.is_some()
    }

    /// Whether one has ended, and none has begun to measure since.
    pub(super) fn are_between(&self) -> bool {
        self.are_marked() && (self.open.facts.is_some() || self.open.first_facts.is_none())
    }

    /// Completes a log with its entries.
    pub(super) fn complete(self, log: Log, mut entries: Vec<Entry>) -> Log {
        let Self { ended, open, total } = self;
        if open.mark.is_none() {
            return open.complete(log, entries);
        }
        let mut parts = Vec::new();
        for part in ended.into_iter().chain([open]).rev() {
            let entries = entries.split_off(part.begin);
            // The last one may have no more than its mark.
            if part.first_facts.is_some() || !entries.is_empty() {
                let (name, instance) = (log.name.clone(), log.instance.clone());
                parts.push(part.complete(Log { name, instance, ..Log::default() }, entries));
            }
        }
        parts.reverse();
        let Some(Total { facts, steps, search }) = total else { return Log { parts, ..log } };
        Log { parts, facts: Some(facts), steps, search, ..log }
    }
}

impl Part {
    /// What is wrong if something follows: it has begun to measure, and its end is not there.
    fn missing_end(&self) -> Option<String> {
        let mark = self.mark.filter(|_| self.first_facts.is_some() && self.facts.is_none())?;
        Some(format!("{} {} has no end: lines are missing or out of order", mark.kind.name(), mark.number))
    }

    fn complete(self, log: Log, entries: Vec<Entry>) -> Log {
        let Self { mark, facts, first_facts, window, .. } = self;
        let facts = facts.or_else(|| first_facts.map(|facts| with_counts(facts, &entries)));
        Log { mark, facts, window, entries, ..log }
    }
}

/// More than a load has.
const PARTS_MAX: u32 = 10_000;

/// The facts of a run that was killed: those of its begin, and the counts of its intervals.
fn with_counts(mut facts: Facts, entries: &[Entry]) -> Facts {
    for counts in entries.iter().filter_map(|entry| entry.counts) {
        facts.bytes = facts.bytes.map(|bytes| bytes.saturating_add(counts.bytes));
        facts.errors.iter_mut().for_each(|errors| errors.add(&counts.errors));
    }
    facts
}
