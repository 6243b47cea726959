//! Results of runs one after another, as one: intervals follow each other without the time between the runs, and totals are
//! summed exactly.
//!
//! `merge.rs` has the other case, several generators at the same time.

use frameloop::load::ThreadUse;

use crate::results::facts::Facts;
use crate::results::merge::bounded;
use crate::results::model::{Results, Slice};
use crate::results::summary::Run;

/// Makes one result of runs that followed each other, in their order; `None` without a run.
///
/// The measured time is the sum of the runs' measured times, so the rate is that of the time in which load was measured. A text
/// about one of several runs names it, as `run 2` for the `name` "run". Expectations and baselines of the runs are dropped.
///
/// Each run is summed before the next one is taken, as its histograms may take megabytes.
pub(crate) fn sequence(runs: impl IntoIterator<Item = Results>, name: &str) -> Option<Results> {
    let mut runs = runs.into_iter();
    let (first, mut second) = (runs.next()?, runs.next());
    let is_one = second.is_none();
    let mut figures: Vec<Run> = Vec::new();
    let mut all: Option<Results> = None;
    let each = std::iter::once(first).chain(std::iter::from_fn(|| second.take().or_else(|| runs.next())));
    for (run, number) in each.zip(1..) {
        if !is_one {
            figures.extend(run.each_run());
        }
        let run = Results { verdicts: Vec::new(), baseline: None, ..run };
        let run = if is_one { run } else { Results { facts: named(run.facts, name, number), ..run } };
        match &mut all {
            Some(all) => append(all, run),
            None => all = Some(run),
        }
    }
    let all = all?;
    let slices = bounded(all.slices);
    Some(Results { slices, runs: figures, ..all })
}

/// Adds the run that came next.
fn append(all: &mut Results, mut next: Results) {
    let begin = all.measured;
    all.slices.extend(next.slices.into_iter().map(|slice| Slice { begin: begin + slice.begin, ..slice }));
    all.measured = all.measured.saturating_add(next.measured);
    all.frames = all.frames.saturating_add(next.frames);
    // All histograms grow with what is added, so adding cannot fail.
    let _ = all.connect.add(&next.connect);
    let _ = all.service.add(&next.service);
    match (&mut all.response, next.response) {
        (Some(ours), Some(theirs)) => drop(ours.add(&theirs)),
        (ours @ None, theirs) => *ours = theirs,
        (Some(_), None) => {}
    }
    let threads = all.facts.generator.as_ref().map(|generator| generator.threads.clone());
    // Times of a run's facts count from its beginning.
    next.facts.outages.iter_mut().for_each(|outage| outage.begin += begin);
    let next_threads = next.facts.generator.as_ref().map(|generator| generator.threads.clone());
    all.facts.merge(next.facts);
    if let (Some(generator), Some(ours), Some(theirs)) = (&mut all.facts.generator, threads, next_threads) {
        generator.threads = of_each_thread(ours, &theirs);
    }
}

/// The threads of one run and of the next: a thread has the larger figures of both.
fn of_each_thread(mut ours: Vec<ThreadUse>, theirs: &[ThreadUse]) -> Vec<ThreadUse> {
    ours.extend(theirs.iter().skip(ours.len()));
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        ours.cpu = ours.cpu.into_iter().chain(theirs.cpu).reduce(f64::max);
        ours.turn_p99_ns = ours.turn_p99_ns.max(theirs.turn_p99_ns);
        ours.turn_max_ns = ours.turn_max_ns.max(theirs.turn_max_ns);
    }
    ours
}

/// The facts of a run whose texts name it.
fn named(mut facts: Facts, name: &str, number: u32) -> Facts {
    let texts = facts.taints.iter_mut().chain(&mut facts.faults).chain(&mut facts.ended_early);
    texts.for_each(|text| *text = format!("{name} {number}: {text}"));
    facts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::results::fixture;

    #[test]
    fn outages_are_at_the_time_of_their_run() {
        let all = sequence(vec![fixture::made(), fixture::made()], "run").unwrap();
        let begins: Vec<Duration> = all.facts.outages.iter().map(|outage| outage.begin).collect();
        let first = fixture::made().facts.outages[0].begin;
        assert_eq!(begins, [first, fixture::made().measured + first]);
    }

    #[test]
    fn runs_in_sequence_sum_frames_latencies_errors_and_time() {
        let runs = vec![fixture::made(), fixture::made(), fixture::made()];
        let one = fixture::made();
        let all = sequence(runs, "run").unwrap();
        assert_eq!(all.runs, vec![one.each_run().remove(0); 3]);
        assert_eq!((all.begun, all.measured, all.frames), (one.begun, 3 * one.measured, 3 * one.frames));
        assert_eq!((all.connect.len(), all.service.len()), (3 * one.connect.len(), 3 * one.service.len()));
        assert_eq!(all.response.map(|response| response.len()), one.response.map(|response| 3 * response.len()));
        assert_eq!(all.service.value_at_quantile(0.99), one.service.value_at_quantile(0.99));
        let facts = &all.facts;
        assert_eq!((facts.bytes, facts.errors.map(|errors| errors.total())), (Some(3 * 680_000), Some(18)));
        assert_eq!(facts.generator.as_ref().map(|all| (all.threads.len(), all.late)), Some((1, 21)));
        assert_eq!(facts.taints.len(), 3);
        assert!(facts.taints[1].starts_with("run 2: a thread"), "{:?}", facts.taints);
    }

    #[test]
    fn intervals_follow_each_other_without_a_gap() {
        let mut late = fixture::made();
        late.begun += Duration::from_secs(60);
        let all = sequence(vec![fixture::made(), late], "run").unwrap();
        let begins: Vec<u64> = all.slices.iter().map(|slice| slice.begin.as_secs()).collect();
        assert_eq!(begins, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn many_intervals_are_joined_as_in_a_long_run() {
        let all = sequence(vec![fixture::seconds(400), fixture::seconds(400)], "run").unwrap();
        assert_eq!(all.slices.len(), 400);
        assert!(all.slices.iter().all(|slice| slice.length == Duration::from_secs(2) && slice.frames == 100));
    }

    #[test]
    fn one_run_keeps_its_texts_and_its_server() {
        let all = sequence(vec![fixture::made()], "run").unwrap();
        assert_eq!(all.facts, fixture::made().facts);
        assert_eq!((all.runs.len(), all.each_run().len()), (0, 1));
        assert!(sequence(Vec::new(), "run").is_none());
    }

    #[test]
    fn different_threads_keep_the_larger_figures() {
        let mut slow = fixture::made();
        slow.facts.generator.as_mut().unwrap().threads[0].cpu = Some(0.99);
        let second = slow.facts.generator.as_ref().unwrap().threads[0];
        slow.facts.generator.as_mut().unwrap().threads.push(second);
        let all = sequence(vec![fixture::made(), slow], "run").unwrap();
        let threads = all.facts.generator.unwrap().threads;
        assert_eq!(threads.iter().map(|thread| thread.cpu).collect::<Vec<_>>(), [Some(0.99), Some(0.99)]);
    }
}
