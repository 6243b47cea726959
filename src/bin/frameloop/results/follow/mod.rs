//! `frameloop report --follow`: the logs of several generators, merged while they are written.
//!
//! Rule: the result is made by the code that makes it from files, from the same lines. What is shown before is an excerpt.
//!
//! Rule: memory grows with the intervals of all generators, as that of `report` of their files does. What was read and not yet merged is
//! bounded.

mod attendance;
mod display;
mod instance;
mod merger;
mod slots;
mod source;

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::failure::Failure;
pub(crate) use crate::results::follow::attendance::{Attendance, Require};
use crate::results::follow::display::Display;
use crate::results::follow::instance::{Instance, Lack};
use crate::results::follow::merger::{Merger, Source};
use crate::results::follow::source::{Lines, Part, Sources};
use crate::results::hlog::line::Unit;
use crate::results::hlog::log::Log;
use crate::results::instances;
use crate::signals::{self, Action};

/// What generators have logged until their streams ended, or a signal came.
pub(crate) struct Followed {
    pub(crate) logs: Vec<Log>,
    pub(crate) attendance: Attendance,
    /// What is doubtful about the logs, besides what they state themselves.
    pub(crate) doubts: Vec<String>,
    pub(crate) was_interrupted: bool,
    /// A stream could not be read.
    pub(crate) failure: Option<Failure>,
}

/// Merges streams until all have ended.
pub(crate) fn follow(paths: &[PathBuf], unit: Option<Unit>) -> Result<Followed, Failure> {
    signals::set(Action::CountOne(EXIT_AT_ONCE));
    let sources = Sources::open(paths)?;
    let mut merger = Merger::new(sources.names.clone(), unit);
    let display = Display::new();
    let was_interrupted = merge(&sources, &mut merger, &display);
    show(&mut merger, &display);
    display.end();
    // From here on a signal ends the program: writing results may have to wait for their reader.
    signals::set(Action::Default);
    finish(merger, was_interrupted)
}

/// Merges until the end. Returns whether a signal was it.
fn merge(sources: &Sources, merger: &mut Merger, display: &Display) -> bool {
    let mut lines: Vec<Lines> = sources.names.iter().map(|_| Lines::default()).collect();
    let mut running = sources.names.len();
    let mut ticked = Instant::now();
    // A pipe may have no writer yet.
    let since = sources.are_files.then_some(ticked);
    while running > 0 {
        let received = sources.parts.recv_timeout(TICK);
        let now = Instant::now();
        match received {
            Ok((at, Part::Bytes(bytes))) => {
                lines[at].add(&bytes, |line| merger.line(at, &line, now));
                if merger.is_complete(at) {
                    sources.conclude(at);
                }
            }
            Ok((at, part)) => {
                lines[at].end(|line| merger.line(at, &line, now));
                merger.end(at, if let Part::Failed(error) = part { Some(error.to_string()) } else { None });
                running -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        if now.duration_since(ticked) >= TICK {
            ticked = now;
            merger.tick(now);
        }
        show(merger, display);
        if signals::ends() > 0 {
            return true;
        }
        if merger.is_abandoned(since, now) {
            merger.abandon();
            return false;
        }
    }
    false
}

fn show(merger: &mut Merger, display: &Display) {
    merger.take_messages().iter().for_each(|message| display.say(message));
    while let Some(row) = merger.next_row() {
        display.show(&row);
    }
}

/// The logs, and what they lack.
fn finish(mut merger: Merger, was_interrupted: bool) -> Result<Followed, Failure> {
    merger.sort();
    let attendance = attendance(&merger, was_interrupted);
    let mut doubts = doubts(&merger, was_interrupted);
    let failure = merger.sources.iter().find_map(|source| source.failure.as_ref()).map(Failure::run);
    let mut logs = Vec::new();
    for log in merger.instances.into_iter().filter(|instance| !instance.is_duplicate).filter_map(Instance::log) {
        match log {
            Ok(log) => logs.push(log),
            Err(error) => doubts.push(error),
        }
    }
    match logs.as_slice() {
        [] => return Err(failure.unwrap_or_else(|| attendance.nothing())),
        // The sum of several logs states it.
        [_] => doubts.extend(instances::missing_doubt(logs.iter())),
        _ => {}
    }
    Ok(Followed { logs, attendance, doubts, was_interrupted, failure })
}

/// What a generator lacks, apart from what a signal has cut off.
fn lack(instance: &Instance, was_interrupted: bool) -> Option<Lack> {
    let is_cut_off = was_interrupted && instance.is_running() && !instance.is_silent;
    instance.lack().filter(|_| !is_cut_off)
}

fn doubts(merger: &Merger, was_interrupted: bool) -> Vec<String> {
    let mut doubts: Vec<String> = merger.sources.iter().filter_map(Source::left_out).collect();
    for instance in merger.come() {
        doubts.extend(instance.silences.iter().cloned());
        let lack = lack(instance, was_interrupted).filter(|lack| !lack.is_stated);
        doubts.extend(lack.map(|lack| format!("{}: {}", instance.name, lack.why)));
    }
    doubts
}

fn attendance(merger: &Merger, was_interrupted: bool) -> Attendance {
    let lack = |instance: &Instance| Some((instance.name.clone(), lack(instance, was_interrupted)?.why));
    let mut lacking: Vec<(String, String)> = merger.come().filter_map(lack).collect();
    let never = instances::missing(merger.come().map(|instance| instance.name.as_str()));
    lacking.extend(never.into_iter().map(|name| (name, "it never came".into())));
    let is_without = |at: usize| !merger.instances.iter().any(|instance| instance.source == at && instance.has_come());
    let without = merger.sources.iter().enumerate().filter(|(at, _)| is_without(*at));
    let without: Vec<(String, String)> =
        without.map(|(_, source)| (source.name.clone(), source.why_nothing())).collect();
    let expected = merger.expected + without.len();
    lacking.extend(without);
    Attendance { expected, lacking }
}

/// How often generators are checked for silence, and signals are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The exit code after a second signal.
const EXIT_AT_ONCE: i32 = 1;

#[cfg(test)]
mod tests;
