//! The endpoint of a load: a reactor of its own, driven by the thread that waits for the generators anyway.

use std::time::Duration;

use frameloop::load::{Interval, Progress};
use frameloop::{Config, Reactor, Turn};

use crate::admin::endpoint::{Admin, Observed};
use crate::admin::listen::AdminArgs;
use crate::admin::run::{Run, Step, StepResult};
use crate::admin::served::Served;
use crate::admin::service::service;
use crate::failure::Failure;
use crate::logging;
use crate::results::hlog::log::PartMark;
use crate::results::steps::StepFigures;

/// The endpoint of a load.
pub(crate) struct RunEndpoint {
    reactor: Reactor<Served>,
    has_failed: bool,
}

/// A request takes three turns: one accepts its client, one reads it, and one writes its answer.
const TURNS_PER_LOOK: usize = 4;

impl RunEndpoint {
    /// Listens, if an address is given, and says where.
    pub(crate) fn start(args: &AdminArgs, is_paused: bool, rate: Option<f64>) -> Result<Option<Self>, Failure> {
        let Some(place) = args.place()? else { return Ok(None) };
        let config = Config::builder().memory(MEMORY).max_payload(0).build().map_err(Failure::run)?;
        let mut reactor = Reactor::new(config.clone(), Served::default())?;
        let observed = Observed::Run(Box::new(Run::new(is_paused, rate)));
        let addr = place.listen(&mut reactor, &config, MEMORY, observed)?;
        logging::say(&format!("admin on {addr}"));
        Ok(Some(Self { reactor, has_failed: false }))
    }

    /// Serves the clients that have come since the last look.
    fn look(&mut self) -> Result<(), frameloop::Error> {
        for _ in 0..TURNS_PER_LOOK {
            if self.reactor.turn(Some(Duration::ZERO))? == Turn::Done {
                break;
            }
            if self.reactor.handler().admin.as_deref().is_some_and(Admin::needs_service) {
                service(&mut self.reactor);
            }
        }
        Ok(())
    }

    fn run_mut(&mut self) -> Option<&mut Run> {
        self.reactor.handler_mut().admin.as_mut()?.run_mut()
    }

    /// Shows the progress, and serves clients. A failure to do so must not end the load.
    pub(crate) fn on_progress(&mut self, progress: &Progress) {
        if let Some(run) = self.run_mut() {
            run.note_progress(progress);
        }
        if self.has_failed {
            return;
        }
        if let Err(error) = self.look() {
            self.has_failed = true;
            log::warn!(target: logging::TARGET, "the admin endpoint has failed: {error}");
        }
    }

    pub(crate) fn on_interval(&mut self, interval: &Interval) {
        if let Some(run) = self.run_mut() {
            run.note_interval(interval);
        }
    }

    /// The load has got its permission to begin, or a client has given it.
    pub(crate) fn may_begin(&mut self, is_permitted: bool) -> bool {
        let Some(run) = self.run_mut() else { return is_permitted };
        if is_permitted {
            run.begin();
        }
        !run.is_paused()
    }

    /// A step begins, of which this instance has the `rate`.
    pub(crate) fn begin_step(&mut self, part: &PartMark, rate: Option<f64>) {
        let Some(run) = self.run_mut() else { return };
        if let Some(mark) = part.step {
            let (index, of) = (part.number as usize, part.asked.map(|asked| asked as usize));
            run.begin_step(Step { index, of, unit: mark.of.name(), target: mark.load }, rate);
        }
    }

    pub(crate) fn end_step(&mut self, figures: &StepFigures, is_judged: bool) {
        let Some(run) = self.run_mut() else { return };
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        run.end_step(StepResult {
            target: figures.load,
            rate: figures.frames_per_s,
            p50: figures.latency.map(|latency| seconds(latency.p50)),
            p99: figures.latency.map(|latency| seconds(latency.p99)),
            held: is_judged.then_some(figures.failed.is_none()),
        });
    }
}

/// Memory for the buffers of the endpoint's clients, in bytes.
const MEMORY: usize = 32 << 20;
