//! The outcome of a run, from the reports of its threads.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::load::causes::{Found, causes, slow_ports};
use crate::load::clock::{nanos, time_of_day};
use crate::load::counts::Counts;
use crate::load::fault::Fault;
use crate::load::hold::{Held, Hold};
use crate::load::outcome::{
    Cohort, CohortCounts, Connecting, Errors, GeneratorSide, Interval, Outage, Outcome, ServerSide, TargetCounts,
    ThreadUse,
};
use crate::load::phase::EndCause;
use crate::load::plan::{Plan, Stop};
use crate::load::ramp::RampStage;
use crate::load::recorded::histogram;
use crate::load::report::ThreadTotals;
use crate::load::target::TargetOrder;

/// The data that a run collected.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) up: u64,
    /// From the first dial to the last connection, in nanoseconds.
    pub(crate) connecting_took: u64,
    /// The most connections that carry load in a step.
    pub(crate) connections_max: usize,
    pub(crate) begun: Option<SystemTime>,
    pub(crate) was_interrupted: bool,
    /// How long after the time that was given the load has begun.
    pub(crate) late_start: Option<Duration>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) total: Option<Counts>,
    pub(crate) connect: Option<Histogram<u64>>,
    pub(crate) ends: Vec<ThreadTotals>,
    pub(crate) threads: Vec<ThreadUse>,
    /// The counts of slow senders: established, failed, ended by the server.
    pub(crate) drips: Option<(u64, u64, u64)>,
    pub(crate) server: Option<ServerSide>,
    pub(crate) overflows: Option<u64>,
    pub(crate) resident: (Option<u64>, Option<u64>),
}

/// A turn of the generator at least this long, in nanoseconds, and at least half of the longest latency, may be the latency
/// that was measured.
const LAG: u64 = 10_000_000;
/// A frame that is sent so much after it was due is late, in nanoseconds.
const LATE: u64 = 1_000_000;
/// The share of late frames above which the latencies are tainted.
const LATE_SHARE_MAX: f64 = 0.01;
const FAULTS_MAX: usize = 3;
/// With fewer connections, the growth of the resident memory is mostly that of the program itself.
const CONNECTIONS_TELLING: u64 = 1_000;

pub(crate) fn summary(plan: &Plan, seen: Seen) -> Outcome {
    let connecting = connecting(plan, &seen);
    let begin = seen.ends.iter().map(|end| end.window.0).min().unwrap_or_default();
    let end = seen.ends.iter().map(|end| end.window.1).max().unwrap_or_default();
    let measured = Duration::from_nanos(end - begin);
    let generator = generator(&seen, connecting.up);
    let (ended_early, frames_after_end) = (ended_early(plan, &seen, measured), sum(&seen, |end| end.after_end));
    let wait_max = seen.ends.iter().map(|end| end.wait_max).max().unwrap_or_default();
    let late_replies = sum(&seen, |end| end.late_replies);
    let found = found(&seen);
    let total = seen.total.unwrap_or_default();
    let longest = total.response.max().max(total.service.max());
    let mut taints = taints(plan, &generator, total.frames, longest);
    taints.extend(seen.late_start.map(|late| {
        format!("the load began {late:.2?} after the time that was given, when all connections were established")
    }));
    taints.extend(seen.ends.iter().find_map(|end| end.slow_pace).map(|pace| slow_ports(plan, &pace)));
    let mut errors = total.errors;
    seen.ends.iter().for_each(|end| errors.add(&end.errors));
    errors.not_connected = connecting.failed.values().sum();
    errors.unanswered_wait_max_ns = wait_max;
    Outcome {
        plan: plan.clone(),
        begun: seen.begun.unwrap_or_else(time_of_day),
        measured,
        was_interrupted: seen.was_interrupted,
        ended_early,
        causes: causes(plan, &connecting, &found),
        frames: total.frames,
        frames_after_end: if measured.is_zero() { 0 } else { frames_after_end },
        bytes: total.bytes,
        connect: seen.connect.unwrap_or_else(histogram),
        service: total.service,
        response: plan.has_schedule().then_some(total.response),
        errors,
        faults: seen.ends.iter().flat_map(|end| &end.faults).take(FAULTS_MAX).copied().collect::<Vec<Fault>>(),
        wrong: by_name(seen.ends.iter().map(|end| &end.wrong)),
        ended: by_name(seen.ends.iter().map(|end| &end.ended)),
        cohorts: cohorts(plan, &seen.ends, seen.drips),
        late_replies,
        outages: Outage::joined(seen.ends.iter().flat_map(|end| &end.outages).copied().collect()),
        targets: targets(plan, seen.connections_max, &seen.ends),
        held: plan.hold.map(|hold| held(hold, &seen.ends)),
        connecting,
        generator,
        server: seen.server,
        taints,
        intervals: seen.intervals,
    }
}

fn sum(seen: &Seen, of: fn(&ThreadTotals) -> u64) -> u64 {
    seen.ends.iter().map(of).sum()
}

/// The counts that distinguish the causes.
fn found(seen: &Seen) -> Found {
    let mut found = Found { overflows: seen.overflows, ..Found::default() };
    for end in &seen.ends {
        found.turned_away += end.turned_away;
        found.ended_unanswered += end.ended_unanswered;
        found.never_answered += end.never_answered;
        found.ended += end.ended.values().sum::<u64>();
        found.answered_len_max = found.answered_len_max.max(end.answered_len_max);
        found.lost_len_min = found.lost_len_min.into_iter().chain(end.lost_len_min).min();
    }
    found
}

/// Why the run ended early by itself.
///
/// Rule: a run that ends early reports how long it lasted and why.
fn ended_early(plan: &Plan, seen: &Seen, measured: Duration) -> Option<String> {
    let of = |cause| seen.ends.iter().filter(|end| end.cause == cause).count();
    let (lost, stalled, threads) = (of(EndCause::AllLost), of(EndCause::Stalled), plan.threads);
    let lasted = match plan.stop {
        Stop::After(duration) => format!("after {measured:.2?} of {duration:.2?}"),
        Stop::Frames(frames) => {
            let answered = seen.total.as_ref().map_or(0, |total| total.frames);
            format!("after {answered} of {frames} frames")
        }
    };
    if stalled > 0 {
        let timeout = plan.stall_timeout;
        return Some(format!(
            "the run was given up {lasted}, as no frame was answered for {timeout:.2?}: the server stalls, see what it waits for"
        ));
    }
    if lost == 0 || seen.up == 0 {
        // If no connection was established, the causes explain it.
        return None;
    }
    let reasons: Vec<String> = by_name(seen.ends.iter().map(|end| &end.ended))
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let part = if lost == threads { String::new() } else { format!(" of {lost} of the {threads} threads") };
    let reasons = reasons.join(", ");
    Some(format!(
        "the server ended all connections{part} ({reasons}), so the load ended {lasted}: see its log, or whether it still runs"
    ))
}

fn connecting(plan: &Plan, seen: &Seen) -> Connecting {
    let mut failed = by_name(seen.ends.iter().map(|end| &end.failed));
    if let Some((_, drips_failed @ 1.., _)) = seen.drips {
        failed.insert("drip".into(), drips_failed);
    }
    Connecting {
        asked: plan.connections_total() as u64,
        // Connections that the server refused were established and counted.
        up: seen.up.saturating_sub(sum(seen, |end| end.ended_up)),
        turned_away: sum(seen, |end| end.turned_away + end.ended_unanswered),
        failed,
        took_ns: seen.connecting_took,
        stages: seen.ends.iter().fold(Vec::new(), |mut stages, end| {
            RampStage::merge_all(&mut stages, &end.ramp);
            stages
        }),
    }
}

fn held(hold: Hold, ends: &[ThreadTotals]) -> Held {
    let mut held = Held { every_ns: hold.every().map(nanos), ..Held::default() };
    ends.iter().for_each(|end| held.merge(&end.held));
    held
}

/// Connections that carry no load have the numbers that follow those of all that may carry some.
fn targets(plan: &Plan, connections_max: usize, ends: &[ThreadTotals]) -> Vec<TargetCounts> {
    let order = TargetOrder::new(&plan.targets);
    let mut asked = vec![0; plan.targets.len()];
    let numbers = (0..plan.connections).chain(connections_max..connections_max + plan.idle + plan.deaf);
    numbers.for_each(|number| asked[order.target_of(plan.segment.number(number))] += 1);
    let of_targets = plan.targets.iter().zip(asked).enumerate();
    let counts = of_targets.map(|(index, (target, asked))| {
        let (mut up, mut errors) = (0, Errors::default());
        for tally in ends.iter().filter_map(|end| end.targets.get(index)) {
            up += tally.up.saturating_sub(tally.turned_away);
            errors.add(&tally.errors);
        }
        TargetCounts { address: target.address.to_string(), asked, up, errors }
    });
    counts.collect()
}

fn cohorts(plan: &Plan, ends: &[ThreadTotals], drips: Option<(u64, u64, u64)>) -> Vec<CohortCounts> {
    let count = |cohort| {
        let of_threads = ends.iter().flat_map(|end| &end.cohorts).filter(|(of, _, _)| *of == cohort);
        of_threads.fold((0, 0), |(up, ended), (_, more_up, more_ended)| (up + more_up, ended + more_ended))
    };
    let drips = drips.map_or((0, 0), |(up, _, ended)| (up, ended));
    [
        (Cohort::Idle, plan.idle, count(Cohort::Idle)),
        (Cohort::Drip, plan.drip, drips),
        (Cohort::Deaf, plan.deaf, count(Cohort::Deaf)),
    ]
    .into_iter()
    .filter(|(_, asked, _)| *asked > 0)
    .map(|(cohort, _, (up, ended))| CohortCounts { cohort, up, ended })
    .collect()
}

fn generator(seen: &Seen, up: u64) -> GeneratorSide {
    let mut lateness = histogram();
    for of_thread in seen.ends.iter().filter_map(|end| end.lateness.as_ref()) {
        // Its range grows with what is added.
        let _ = lateness.add(of_thread);
    }
    let grown = seen.resident.0.zip(seen.resident.1).map(|(before, after)| after.saturating_sub(before));
    GeneratorSide {
        threads: seen.threads.clone(),
        late: lateness.len() - lateness.count_between(0, LATE),
        late_p99_ns: lateness.value_at_quantile(0.99),
        late_max_ns: lateness.max(),
        bytes_per_connection: grown.filter(|_| up >= CONNECTIONS_TELLING).map(|grown| grown as f64 / up as f64),
        waits_for_port: seen.ends.iter().map(|end| end.waits_for_port).sum(),
    }
}

/// Why the figures may be those of the generator.
fn taints(plan: &Plan, generator: &GeneratorSide, frames: u64, longest: u64) -> Vec<String> {
    let mut taints = Vec::new();
    if let Some(fullest) = generator.cpu_full() {
        taints.push(format!(
            "a thread of the generator used {:.0} % of its processor: the server may be able to do more, and latencies \
             hold the generator's own delay (try --threads {}, or a lower --rate)",
            100.0 * fullest,
            plan.threads + 1
        ));
    }
    let lag = generator.threads.iter().map(|thread| thread.turn_max_ns).max().unwrap_or_default();
    // Connections that are held in silence have no latencies.
    if longest > 0 && lag >= LAG && 2 * lag >= longest {
        taints.push(format!(
            "a turn of the generator's own loop took {:.1} ms, and the longest latency is {:.1} ms: the longest may be the \
             generator's own delay",
            lag as f64 / 1e6,
            longest as f64 / 1e6
        ));
    }
    let late_share = generator.late as f64 / frames.max(1) as f64;
    if late_share > LATE_SHARE_MAX {
        taints.push(format!(
            "{} frames ({:.1} %) were sent more than 1 ms after they were due, up to {:.1} ms: their response latency holds \
             the generator's own delay",
            generator.late,
            100.0 * late_share,
            generator.late_max_ns as f64 / 1e6
        ));
    }
    taints
}

/// Counts of several threads, by name.
fn by_name<'a>(counts: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in counts.flatten() {
        *sum.entry((*name).to_owned()).or_default() += count;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tainted(cpu: f64, turn_max: Duration, late: u64) -> Vec<String> {
        let turn_max_ns = turn_max.as_nanos() as u64;
        let thread = ThreadUse { cpu: Some(cpu), turn_max_ns, ..ThreadUse::default() };
        let generator = GeneratorSide { threads: vec![thread], late, ..GeneratorSide::default() };
        taints(&Plan::default(), &generator, 1_000, 100_000_000)
    }

    #[test]
    fn full_processor_slow_loop_and_late_frames_taint_the_figures() {
        let fast = Duration::from_millis(1);
        assert_eq!(tainted(0.89, fast, 10), Vec::<String>::new());
        // Long, but not compared with what was measured.
        assert_eq!(tainted(0.5, Duration::from_millis(49), 0), Vec::<String>::new());
        for (cpu, turn_max, late, words) in [
            (0.9, fast, 0, "used 90 % of its processor"),
            (0.5, Duration::from_millis(50), 0, "took 50.0 ms, and the longest latency is 100.0 ms"),
            (0.5, fast, 11, "11 frames (1.1 %) were sent more than 1 ms after they were due"),
        ] {
            let taints = tainted(cpu, turn_max, late);
            assert!(taints.len() == 1 && taints[0].contains(words), "{taints:?}");
        }
    }
}
