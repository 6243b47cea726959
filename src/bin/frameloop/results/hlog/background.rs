//! Writing the log of a run while it goes on, on a thread of its own.
//!
//! Rule: what is measured is written when it is measured, so that a run that is killed leaves all of it behind.
//!
//! Rule: a reader of the log that stops, or a disk that is slow, stops no run and no signal. The intervals wait in memory.
//!
//! Rule: a marked log has a line at least every few seconds, so that its reader can distinguish a run that has no interval to report from
//! one that is gone.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use frameloop::load::{Interval, Stage, Start};

use crate::failure::Failure;
use crate::results::file::{Destination, Output};
use crate::results::hlog::log::PartMark;
use crate::results::hlog::mark::Mark;
use crate::results::hlog::write::{self, Begin, End, Writer};
use crate::results::model::Results;

/// Writes a log while its run goes on.
#[derive(Debug)]
pub(crate) struct Background {
    parts: Sender<Part>,
    thread: JoinHandle<Result<Option<Written>, Failure>>,
    is_marked: bool,
    /// The run or step that begins next or is under way, if there are several.
    part: Option<PartMark>,
    /// The last stage that was written, and when the last part was.
    stage: Option<&'static str>,
    last: Instant,
}

#[derive(Debug)]
enum Part {
    Stage(&'static str),
    Begin(Box<Begin>),
    Interval(Box<Interval>),
    End(Box<End>),
}

/// A log that lacks its end.
#[derive(Debug)]
struct Written {
    output: Output,
    writer: Writer,
}

impl Background {
    pub(crate) fn start(destination: Destination, mark: Mark) -> io::Result<Self> {
        let (parts, received) = mpsc::channel();
        let is_marked = mark.is_in_each_line;
        let write = move || write(destination, mark, &received);
        let thread = thread::Builder::new().name("hlog".into()).spawn(write)?;
        Ok(Self { parts, thread, is_marked, part: None, stage: None, last: Instant::now() })
    }

    /// Notes the stage of a run.
    pub(crate) fn progress(&mut self, stage: Stage) {
        let name = stage.name();
        // Between runs, a log in a file says so too.
        let says_stage = self.is_marked || self.part.is_some_and(|part| part.number > 1);
        if says_stage && (self.stage != Some(name) || self.last.elapsed() >= QUIET_MAX) {
            self.stage = Some(name);
            self.send(Part::Stage(name));
        }
    }

    /// The run or step that begins next is one of several.
    pub(crate) fn next_part(&mut self, part: PartMark) {
        self.part = Some(part);
    }

    pub(crate) fn begin(&mut self, start: &Start) {
        self.send(Part::Begin(Box::new(Begin::of(start, self.part))));
    }

    /// A run or a step has ended. The end of a single one is that of the log.
    pub(crate) fn end_of_part(&mut self, results: &Results) {
        if self.part.is_some() {
            self.send(Part::End(Box::new(End::of(results))));
        }
    }

    pub(crate) fn interval(&mut self, interval: &Interval) {
        self.send(Part::Interval(Box::new(interval.clone())));
    }

    fn send(&mut self, part: Part) {
        self.last = Instant::now();
        // A thread that failed takes no more; `finish` returns its failure.
        let _ = self.parts.send(part);
    }

    /// Waits until all parts are written, then writes the end and gives the file its name.
    pub(crate) fn finish(self, results: &Results) -> Result<(), Failure> {
        drop(self.parts);
        let written = self.thread.join();
        let written = written.map_err(|_| Failure::run("cannot write the log: its thread has panicked"))??;
        let Some(Written { mut output, writer }) = written else { return Ok(()) };
        let end = if self.part.is_some() { writer.total(results) } else { writer.end(results) };
        put(&mut output, &end)?;
        output.finish()
    }
}

/// How long a marked log has no line at most.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Writes all parts. Returns the open file, or none if the run ended before it was measured.
fn write(destination: Destination, mark: Mark, parts: &Receiver<Part>) -> Result<Option<Written>, Failure> {
    if !mark.is_in_each_line {
        let Ok(Part::Begin(begin)) = parts.recv() else { return Ok(None) };
        return write_runs(destination.open()?, &begin, mark, parts).map(Some);
    }
    let mut output = destination.open()?;
    put(&mut output, &write::hello(&mark))?;
    for part in parts {
        match part {
            Part::Stage(name) => put(&mut output, &write::stage(&mark, name))?,
            Part::Begin(begin) => return write_runs(output, &begin, mark, parts).map(Some),
            // None comes before the begin.
            Part::Interval(_) | Part::End(_) => {}
        }
    }
    Ok(None)
}

/// Writes the head and all intervals, of one run or of several.
fn write_runs(mut output: Output, begin: &Begin, mark: Mark, parts: &Receiver<Part>) -> Result<Written, Failure> {
    let (mut writer, head) = Writer::begin(begin, mark.clone());
    put(&mut output, &head)?;
    for part in parts {
        match part {
            Part::Stage(name) => put(&mut output, &write::stage(&mark, name))?,
            Part::Interval(interval) => put(&mut output, &writer.interval(&interval))?,
            Part::Begin(begin) => put(&mut output, &writer.next(&begin))?,
            Part::End(end) => put(&mut output, &writer.end_of_part(&end))?,
        }
    }
    Ok(Written { output, writer })
}

fn put(output: &mut Output, bytes: &[u8]) -> Result<(), Failure> {
    output.write_all(bytes).map_err(|error| output.failure(&error))
}
