//! What a load run does while it goes on: its progress is shown, its log is written, and signals end it.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use frameloop::load::{Interval, Progress, Start, Watch};

use crate::admin::load::RunEndpoint;
use crate::failure::Failure;
use crate::live::Live;
use crate::results::hlog::background::Background;
use crate::results::hlog::log::PartMark;
use crate::results::model::Results;
use crate::results::steps::StepFigures;
use crate::signals;

/// Shows the progress, writes the log, and ends the run on a signal; a second signal ends the program.
pub(crate) struct Watcher {
    live: Live,
    log: Option<Background>,
    admin: Option<RunEndpoint>,
    may_begin: Arc<AtomicBool>,
}

impl Watcher {
    /// With `is_paused`, the load may begin when a line comes on stdin, or a client of the endpoint says so.
    pub(crate) fn start(log: Option<Background>, admin: Option<RunEndpoint>, is_paused: bool) -> Result<Self, Failure> {
        let may_begin = Arc::new(AtomicBool::new(!is_paused));
        if is_paused {
            // A load that waits for its endpoint may have no stdin.
            wait_for_line(Arc::clone(&may_begin), admin.is_none())?;
        }
        Ok(Self { live: Live::start()?, log, admin, may_begin })
    }

    /// What begins next is one of several runs or steps, with this instance's share of its rate.
    pub(crate) fn next_part(&mut self, part: PartMark, rate: Option<f64>) {
        if let Some(log) = &mut self.log {
            log.next_part(part);
        }
        if let Some(admin) = &mut self.admin {
            admin.begin_step(&part, rate);
        }
    }

    /// A run or a step has ended: a line can be written.
    pub(crate) fn end_of_run(&mut self, results: &Results) {
        self.live.end();
        if let Some(log) = &mut self.log {
            log.end_of_part(results);
        }
    }

    /// A step has ended, and was judged if something is expected of it.
    pub(crate) fn end_of_step(&mut self, figures: &StepFigures, is_judged: bool) {
        if let Some(admin) = &mut self.admin {
            admin.end_step(figures, is_judged);
        }
    }

    /// Another run begins.
    pub(crate) fn next_run(&mut self) -> Result<(), Failure> {
        self.live = Live::start()?;
        Ok(())
    }

    /// Restores the terminal. Returns the log, which is not complete.
    pub(crate) fn end(mut self) -> Option<Background> {
        self.live.end();
        self.log
    }
}

/// From one look at a nonblocking stdin to the next.
const STDIN_PAUSE: Duration = Duration::from_millis(10);

/// Notes when a line has come on stdin, or its end if `takes_end`. Nothing of the line is kept.
fn wait_for_line(may_begin: Arc<AtomicBool>, takes_end: bool) -> Result<(), Failure> {
    let wait = move || {
        let outcome = loop {
            match io::stdin().lock().skip_until(b'\n') {
                // The program that made stdin nonblocking reads it in another way.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(STDIN_PAUSE),
                outcome => break outcome,
            }
        };
        let has_line = outcome.is_ok_and(|len| len > 0);
        may_begin.fetch_or(has_line || takes_end, Ordering::Release);
    };
    let started = thread::Builder::new().name("stdin".into()).spawn(wait);
    started.map(drop).map_err(|error| Failure::run(format_args!("cannot start a thread: {error}")))
}

impl Watch for Watcher {
    fn on_progress(&mut self, progress: &Progress) {
        self.live.show(progress);
        if let Some(log) = &mut self.log {
            log.progress(progress.stage);
        }
        if let Some(admin) = &mut self.admin {
            admin.on_progress(progress);
        }
    }

    fn on_start(&mut self, start: &Start) {
        if let Some(log) = &mut self.log {
            log.begin(start);
        }
    }

    fn on_interval(&mut self, interval: &Interval) {
        if let Some(log) = &mut self.log {
            log.interval(interval);
        }
        if let Some(admin) = &mut self.admin {
            admin.on_interval(interval);
        }
    }

    fn may_begin(&mut self) -> bool {
        let is_permitted = self.may_begin.load(Ordering::Acquire);
        self.admin.as_mut().map_or(is_permitted, |admin| admin.may_begin(is_permitted))
    }

    fn wants_end(&mut self) -> bool {
        signals::ends() > 0
    }
}
