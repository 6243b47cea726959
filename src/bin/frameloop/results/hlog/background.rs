//! The log of a run under way, written by a thread of its own.
//!
//! Rule: a reader of the log that stops, or a disk that is slow, stops no run and no signal. The intervals wait in memory.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use frameloop::load::{Interval, Start};

use crate::failure::Failure;
use crate::results::file::Destination;
use crate::results::hlog::write::LogFile;
use crate::results::model::Results;

/// Writes a log while the run goes on.
#[derive(Debug)]
pub(crate) struct Background {
    parts: Sender<Part>,
    thread: JoinHandle<LogFile>,
}

#[derive(Debug)]
enum Part {
    Start(Box<Start>),
    Interval(Box<Interval>),
}

impl Background {
    pub(crate) fn start(destination: Destination) -> io::Result<Self> {
        let (parts, received) = mpsc::channel();
        let thread = thread::Builder::new().name("hlog".into()).spawn(move || {
            let mut log = LogFile::Waiting(destination);
            for part in received {
                match part {
                    Part::Start(start) => log.start(&start),
                    Part::Interval(interval) => log.interval(&interval),
                }
            }
            log
        })?;
        Ok(Self { parts, thread })
    }

    pub(crate) fn begin(&self, start: &Start) {
        // If the thread has panicked, that is seen at the end.
        let _ = self.parts.send(Part::Start(Box::new(start.clone())));
    }

    pub(crate) fn interval(&self, interval: &Interval) {
        let _ = self.parts.send(Part::Interval(Box::new(interval.clone())));
    }

    /// Waits until everything is written, and writes what is known at the end.
    pub(crate) fn finish(self, results: &Results) -> Result<(), Failure> {
        drop(self.parts);
        match self.thread.join() {
            Ok(log) => log.finish(results),
            Err(_) => Err(Failure::run("cannot write the log: its thread has panicked")),
        }
    }
}
