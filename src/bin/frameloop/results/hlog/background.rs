//! Writing the log of a run while it goes on, on a thread of its own.
//!
//! Rule: what is measured is written when it is measured, so that a run that is killed leaves all of it behind.
//!
//! Rule: a reader of the log that stops, or a disk that is slow, stops no run and no signal. The intervals wait in memory.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use frameloop::load::{Interval, Start};

use crate::failure::Failure;
use crate::results::file::{Destination, Output};
use crate::results::hlog::write::Writer;
use crate::results::model::Results;

/// Writes a log while its run goes on.
#[derive(Debug)]
pub(crate) struct Background {
    parts: Sender<Part>,
    thread: JoinHandle<Result<Option<Output>, Failure>>,
}

#[derive(Debug)]
enum Part {
    Start(Box<Start>),
    Interval(Box<Interval>),
}

impl Background {
    pub(crate) fn start(destination: Destination) -> io::Result<Self> {
        let (parts, received) = mpsc::channel();
        let thread = thread::Builder::new().name("hlog".into()).spawn(move || write(destination, &received))?;
        Ok(Self { parts, thread })
    }

    pub(crate) fn begin(&self, start: &Start) {
        // A thread that failed takes no more; `finish` returns its failure.
        let _ = self.parts.send(Part::Start(Box::new(start.clone())));
    }

    pub(crate) fn interval(&self, interval: &Interval) {
        let _ = self.parts.send(Part::Interval(Box::new(interval.clone())));
    }

    /// Waits until all parts are written, then writes the end and gives the file its name.
    pub(crate) fn finish(self, results: &Results) -> Result<(), Failure> {
        drop(self.parts);
        let written = self.thread.join();
        let output = written.map_err(|_| Failure::run("cannot write the log: its thread has panicked"))??;
        let Some(mut output) = output else { return Ok(()) };
        put(&mut output, &Writer::end(results))?;
        output.finish()
    }
}

/// Writes all parts. Returns the open file, or none if the run ended before it was measured.
fn write(destination: Destination, parts: &Receiver<Part>) -> Result<Option<Output>, Failure> {
    let Ok(Part::Start(start)) = parts.recv() else { return Ok(None) };
    let mut output = destination.open()?;
    let (writer, head) = Writer::of(&start);
    put(&mut output, &head)?;
    for part in parts {
        if let Part::Interval(interval) = part {
            put(&mut output, &writer.interval(&interval))?;
        }
    }
    Ok(Some(output))
}

fn put(output: &mut Output, bytes: &[u8]) -> Result<(), Failure> {
    output.write_all(bytes).map_err(|error| output.failure(&error))
}
