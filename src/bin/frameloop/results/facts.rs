//! What is known of a run besides its latencies. The JSON has it as it is, and a log as a comment, so that a report of several
//! logs shows what failed and whether the generator limited the figures.

use std::collections::BTreeMap;

use frameloop::load::{
    Cause, CohortCounts, Connecting, Errors, GeneratorSide, Held, Outage, Outcome, ServerSide, Start, TargetCounts,
};
use serde::{Deserialize, Serialize};

use crate::results::configuration::Configuration;

/// The facts of a run, in the library's own types. A run knows all of them; `None` stands for what a log does not state,
/// because another program wrote it or its run was killed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    pub(crate) configuration: Configuration,
    pub(crate) was_interrupted: bool,
    #[serde(default)]
    pub(crate) ended_early: Option<String>,
    /// Whether the log ends before its run did.
    #[serde(default)]
    pub(crate) is_partial: bool,
    #[serde(default)]
    pub(crate) frames_after_end: u64,
    /// Responses to frames that had timed out.
    #[serde(default)]
    pub(crate) late_replies: u64,
    #[serde(default)]
    pub(crate) outages: Vec<Outage>,
    pub(crate) bytes: Option<u64>,
    pub(crate) connections: Option<Connecting>,
    pub(crate) errors: Option<Errors>,
    /// Wrong responses by kind.
    #[serde(default)]
    pub(crate) wrong: BTreeMap<String, u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) cohorts: Vec<CohortCounts>,
    /// The connections by target.
    #[serde(default)]
    pub(crate) targets: Vec<TargetCounts>,
    /// The connections that were held.
    #[serde(default)]
    pub(crate) held: Option<Held>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) taints: Vec<String>,
    pub(crate) generator: Option<GeneratorSide>,
    pub(crate) server: Option<ServerSide>,
}

impl Facts {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self {
            configuration: Configuration::of(&outcome.plan),
            was_interrupted: outcome.was_interrupted,
            ended_early: outcome.ended_early.clone(),
            is_partial: false,
            frames_after_end: outcome.frames_after_end,
            late_replies: outcome.late_replies,
            outages: outcome.outages.clone(),
            bytes: Some(outcome.bytes),
            connections: Some(outcome.connecting.clone()),
            errors: Some(outcome.errors),
            wrong: outcome.wrong.clone(),
            faults: outcome.faults.iter().map(ToString::to_string).collect(),
            ended: outcome.ended.clone(),
            cohorts: outcome.cohorts.clone(),
            targets: outcome.targets.clone(),
            held: outcome.held.clone(),
            causes: outcome.causes.clone(),
            taints: outcome.taints.clone(),
            generator: Some(outcome.generator.clone()),
            server: outcome.server,
        }
    }

    /// The facts that are known when a run begins, and remain if it is killed.
    pub(crate) fn of_start(start: &Start) -> Self {
        Self {
            configuration: Configuration::of(&start.plan),
            is_partial: true,
            errors: Some(Errors::default()),
            bytes: Some(0),
            ..Self::default()
        }
    }

    /// Adds the facts of another log.
    pub(crate) fn merge(&mut self, other: Self) {
        self.configuration.merge(&other.configuration);
        self.was_interrupted |= other.was_interrupted;
        self.is_partial |= other.is_partial;
        self.frames_after_end = self.frames_after_end.saturating_add(other.frames_after_end);
        self.late_replies = self.late_replies.saturating_add(other.late_replies);
        self.outages.extend(other.outages);
        self.outages = Outage::joined(std::mem::take(&mut self.outages));
        merge(&mut self.ended_early, other.ended_early, |ours, theirs| *ours = format!("{ours}; {theirs}"));
        self.bytes = self.bytes.zip(other.bytes).map(|(ours, theirs)| ours.saturating_add(theirs));
        merge(&mut self.connections, other.connections, Connecting::merge);
        merge(&mut self.errors, other.errors, |ours, theirs| ours.add(&theirs));
        self.faults.extend(other.faults);
        add(&mut self.wrong, other.wrong);
        add(&mut self.ended, other.ended);
        for theirs in other.cohorts {
            match self.cohorts.iter_mut().find(|ours| ours.cohort == theirs.cohort) {
                Some(ours) => {
                    ours.up = ours.up.saturating_add(theirs.up);
                    ours.ended = ours.ended.saturating_add(theirs.ended);
                }
                None => self.cohorts.push(theirs),
            }
        }
        TargetCounts::merge_all(&mut self.targets, other.targets);
        merge(&mut self.held, other.held, |ours, theirs| ours.merge(&theirs));
        self.causes.extend(other.causes);
        self.taints.extend(other.taints);
        merge(&mut self.generator, other.generator, GeneratorSide::merge);
        // Each machine has a server of its own.
        self.server = None;
    }
}

/// Adds counts by name.
fn add(ours: &mut BTreeMap<String, u64>, theirs: BTreeMap<String, u64>) {
    for (name, count) in theirs {
        let sum = ours.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// Joins what is known of both, or keeps what is known of one.
fn merge<T>(ours: &mut Option<T>, theirs: Option<T>, join: impl FnOnce(&mut T, T)) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => join(ours, theirs),
        (ours @ None, theirs) => *ours = theirs,
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    #[test]
    fn merge_of_two_machines_adds_their_facts() {
        let one = fixture::made().facts;
        let mut sum = one.clone();
        sum.merge(one.clone());
        assert_eq!(sum.bytes, Some(2 * 680_000));
        assert_eq!(sum.connections.map(|all| (all.asked, all.up, all.took_ns)), Some((200, 198, 12_300_000)));
        assert_eq!(sum.errors.map(|all| (all.total(), all.wrong)), Some((12, 4)));
        assert_eq!((sum.taints.len(), sum.ended["reset by the peer"], sum.cohorts[0].up), (2, 8, 20));
        assert_eq!(sum.generator.map(|all| (all.threads.len(), all.late, all.late_max_ns)), Some((2, 14, 2_500_000)));
        assert_eq!(sum.server, None);
    }

    #[test]
    fn merge_with_unknown_bytes_leaves_the_sum_unknown() {
        let mut sum = fixture::made().facts;
        sum.merge(Facts::default());
        assert_eq!((sum.bytes, sum.errors.map(|all| all.total())), (None, Some(6)));
    }
}
