//! `frameloop load --stages` and `--search`: steps of load on the same connections.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use frameloop::load::{Load, Outcome, Plan, Segment, Step, Stop};

use crate::failure::Failure;
use crate::results::expect::Expected;
use crate::results::figures;
use crate::results::hlog::log::{PartKind, PartMark, StepMark};
use crate::results::model::Results;
use crate::results::sequence::sequence;
use crate::results::steps::{Dimension, Failed, Highest, StepFigures};
use crate::search::{Found, Search};
use crate::stages::Stages;
use crate::watcher::Watcher;
use crate::{logging, machine, values};

/// Which steps a load has.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// Steps of the load, each with its duration: 10k:5s,20k:5s
    ///
    /// The loads are rates, in place of --rate, or with --stage-of connections numbers of connections, in place of --connections. Each step has
    /// its own warm-up. Steps follow each other when the last responses have come; with --start-at, each begins --warmup, --duration and
    /// --grace after the one before.
    #[arg(long, env = "FRAMELOOP_STAGES", value_name = "LIST", value_parser = values::stages)]
    #[arg(conflicts_with_all = ["duration", "frames", "repeat", "hold"], help_heading = "Steps")]
    stages: Option<Stages>,
    /// What the steps of --stages or --search change [default: rate]
    #[arg(long, env = "FRAMELOOP_STAGE_OF", value_name = "WHAT", value_enum, help_heading = "Steps")]
    stage_of: Option<Dimension>,
    /// Search for the highest load at which every --expect holds
    ///
    /// It begins at --rate or --connections, doubles until an expectation fails twice in a row, and bisects to within 5 %. The highest load is
    /// confirmed at the end. Each step takes --warmup and --duration. Without an --expect of errors, an error is a failure.
    #[arg(long, env = "FRAMELOOP_SEARCH", value_parser = BoolishValueParser::new(), requires = "expect")]
    #[arg(conflicts_with_all = ["stages", "frames", "repeat", "hold", "segment"], help_heading = "Steps")]
    search: bool,
}

/// The steps of a load.
#[derive(Debug)]
pub(crate) struct Steps {
    of: Dimension,
    kind: Kind,
    /// The plan of all segments.
    whole: Plan,
    segment: Segment,
}

#[derive(Debug)]
enum Kind {
    Stages(Vec<(f64, Duration)>),
    Search { first: u64, max: u64 },
}

/// The most frames per second that a plan may have.
const RATE_MAX: u64 = 1_000_000_000;

/// The most connections that a search goes up to, where the descriptors allow more.
const CONNECTIONS_MAX: usize = 1_000_000;

impl StepArgs {
    /// The plan of this segment, which has the most connections of all steps, and the steps.
    pub(crate) fn complete(&self, whole: Plan, segment: Option<Segment>) -> Result<(Plan, Option<Steps>), Failure> {
        let share = |plan: &Plan| match segment {
            Some(segment) => plan.share(segment),
            None => plan.check().map(|()| plan.clone()),
        };
        let of = self.stage_of.unwrap_or(Dimension::Rate);
        let (kind, whole) = match (&self.stages, self.search) {
            (Some(Stages(stages)), _) => {
                let kind = Kind::Stages(stages.clone());
                (kind, of_stages(whole, of, stages)?)
            }
            (None, true) => of_search(whole, of)?,
            (None, false) if self.stage_of.is_some() => {
                let message = "--stage-of needs steps: give --stages LIST or --search";
                return Err(Failure::usage(message));
            }
            (None, false) => return Ok((share(&whole)?, None)),
        };
        let plan = share(&whole)?;
        let steps = Steps { of, kind, whole, segment: segment.unwrap_or_default() };
        if let Kind::Stages(stages) = &steps.kind {
            for (load, duration) in stages {
                steps.step(*load, *duration)?;
            }
        }
        Ok((plan, Some(steps)))
    }
}

/// The plan of stages.
fn of_stages(whole: Plan, of: Dimension, stages: &[(f64, Duration)]) -> Result<Plan, Failure> {
    let most = stages.iter().map(|(load, _)| *load).fold(0.0, f64::max);
    match of {
        Dimension::Rate if whole.rate.is_some() => {
            Err(Failure::usage("--stages has the rates of the steps; leave out --rate, or give --stage-of connections"))
        }
        Dimension::Rate => Ok(Plan { rate: Some(most), ..whole }),
        Dimension::Connections => match stages.iter().find(|(load, _)| load.fract() != 0.0) {
            Some((load, _)) => Err(Failure::usage(format_args!(
                "--stages has a step of {load} connections; give whole numbers, or --stage-of rate"
            ))),
            None => Ok(Plan { connections: most as usize, ..whole }),
        },
    }
}

/// The plan of a search.
fn of_search(whole: Plan, of: Dimension) -> Result<(Kind, Plan), Failure> {
    match (of, whole.rate) {
        (Dimension::Rate, Some(rate)) if rate >= 1.0 => Ok((Kind::Search { first: rate as u64, max: RATE_MAX }, whole)),
        (Dimension::Rate, Some(rate)) => {
            Err(Failure::usage(format_args!("--search begins at --rate, which is {rate}/s and must be at least 1/s")))
        }
        (Dimension::Rate, None) => Err(Failure::usage(
            "--search begins at --rate, and there is none; give one, such as --rate 1k, or --stage-of connections",
        )),
        (Dimension::Connections, _) => {
            // The run's own server has the other ends of the connections.
            let ends = if whole.targets.is_empty() { 2 } else { 1 };
            let within = machine::connections_within(machine::raise_descriptor_limit(), 2 * whole.threads) / ends;
            let others = whole.connections_total() - whole.connections;
            let room = within.saturating_sub(others).min(CONNECTIONS_MAX);
            let (first, max) = (whole.connections, room.max(whole.connections));
            Ok((Kind::Search { first: first as u64, max: max as u64 }, Plan { connections: max, ..whole }))
        }
    }
}

/// What the steps that were made have shown.
#[derive(Default)]
struct Made {
    results: Vec<Results>,
    figures: Vec<StepFigures>,
    measured_s: f64,
}

impl Steps {
    pub(crate) fn is_search(&self) -> bool {
        matches!(self.kind, Kind::Search { .. })
    }

    /// A step of this segment.
    fn step(&self, load: f64, duration: Duration) -> Result<Step, Failure> {
        let step = match self.of {
            Dimension::Rate => Step { rate: Some(load), ..Step::from(&self.whole) },
            Dimension::Connections => Step { connections: load as usize, ..Step::from(&self.whole) },
        };
        Ok(Step { stop: Stop::After(duration), ..step }.share(self.segment, &self.whole)?)
    }

    /// Makes the steps on the connections of `plan`.
    pub(crate) fn run(&self, plan: &Plan, expected: &Expected, watcher: &mut Watcher) -> Result<Results, Failure> {
        let mut load = Load::start(plan)?;
        let mut made = Made::default();
        let highest = match &self.kind {
            Kind::Stages(stages) => {
                self.stages(stages, &mut load, &mut made, expected, watcher)?;
                None
            }
            Kind::Search { first, max } => {
                Some(self.search(Search::new(*first, *max), &mut load, &mut made, expected, watcher)?)
            }
        };
        load.finish()?;
        let Made { results, figures, .. } = made;
        summed(results, figures, highest)
    }

    fn stages(
        &self,
        stages: &[(f64, Duration)],
        load: &mut Load,
        made: &mut Made,
        expected: &Expected,
        watcher: &mut Watcher,
    ) -> Result<(), Failure> {
        let mut start_at = self.whole.start_at;
        for (value, duration) in stages {
            let step = Step { start_at, ..self.step(*value, *duration)? };
            let outcome = self.make(load, &step, *value, made, expected, watcher)?;
            if outcome.was_interrupted {
                break;
            }
            start_at = start_at.map(|at| at + self.whole.warmup + *duration + self.whole.grace);
        }
        Ok(())
    }

    fn search(
        &self,
        mut search: Search,
        load: &mut Load,
        made: &mut Made,
        expected: &Expected,
        watcher: &mut Watcher,
    ) -> Result<Highest, Failure> {
        let Stop::After(duration) = self.whole.stop else {
            return Err(Failure::usage("--search needs a --duration of its steps"));
        };
        let mut start_at = self.whole.start_at;
        let (found, was_interrupted) = loop {
            let value = search.load() as f64;
            let step = Step { start_at: start_at.take(), ..self.step(value, duration)? };
            let outcome = self.make(load, &step, value, made, expected, watcher)?;
            if outcome.was_interrupted {
                break (Found::Nothing, true);
            }
            let holds = made.figures.last().is_some_and(|figures| figures.failed.is_none());
            if let Some(found) = search.on_step(holds) {
                break (found, false);
            }
        };
        let highest = match found {
            Found::Highest(load) => Some(load as f64),
            Found::Nothing => None,
        };
        let (failed_load, failed) = first_failure(&made.figures, highest.unwrap_or(0.0)).unzip();
        Ok(Highest { of: self.of, load: highest, was_interrupted, failed_load, failed })
    }

    /// Makes a step, and writes its line.
    fn make(
        &self,
        load: &mut Load,
        step: &Step,
        value: f64,
        made: &mut Made,
        expected: &Expected,
        watcher: &mut Watcher,
    ) -> Result<Outcome, Failure> {
        if !made.results.is_empty() {
            watcher.next_run()?;
        }
        let number = made.results.len() as u32 + 1;
        let asked = if let Kind::Stages(stages) = &self.kind { Some(stages.len() as u32) } else { None };
        let mark = StepMark { of: self.of, load: value };
        watcher.next_part(PartMark { kind: PartKind::Step, number, asked, step: Some(mark) }, step.rate);
        let outcome = load.step(step, watcher)?;
        let mut results = Results::of(&outcome);
        watcher.end_of_run(&results);
        expected.judge(&mut results);
        let failed = Failed::of(&results, expected.is_about_errors());
        let figures = StepFigures::of(self.of, value, made.measured_s, &results, failed);
        made.measured_s += figures.measured_s;
        watcher.end_of_step(&figures, !results.verdicts.is_empty());
        logging::say(&format!("step {number}: {figures}"));
        made.results.push(results);
        made.figures.push(figures);
        Ok(outcome)
    }
}

/// The lowest load above `highest` that failed, and why it did the last time.
fn first_failure(figures: &[StepFigures], highest: f64) -> Option<(f64, Failed)> {
    let failed = figures.iter().rev().filter(|step| step.load > highest && step.failed.is_some());
    let lowest = failed.min_by(|one, other| one.load.total_cmp(&other.load))?;
    Some((lowest.load, lowest.failed.clone()?))
}

/// The results of all steps, with the verdicts of the one that decides: the confirmed one, the first that failed, or the last.
fn summed(results: Vec<Results>, steps: Vec<StepFigures>, highest: Option<Highest>) -> Result<Results, Failure> {
    let decides = match &highest {
        Some(highest) => steps.iter().rposition(|step| Some(step.load) == highest.load && step.failed.is_none()),
        None => steps.iter().position(|step| step.failed.is_some()),
    };
    let decides = decides.or(results.len().checked_sub(1));
    let verdicts = decides.map(|at| results[at].verdicts.clone()).unwrap_or_default();
    let last = results.last().map(|last| last.facts.clone()).unwrap_or_default();
    let taints = decides.map(|at| results[at].facts.taints.clone()).unwrap_or_default();
    let mut all = sequence(results, "step").ok_or_else(|| Failure::run("no step was made"))?;
    // The steps share their connections.
    all.facts.connections = last.connections;
    for target in &mut all.facts.targets {
        let of_last = last.targets.iter().find(|other| other.address == target.address);
        (target.asked, target.up) = of_last.map_or((0, 0), |of_last| (of_last.asked, of_last.up));
    }
    all.facts.configuration = last.configuration;
    if let Some(step) = steps.first() {
        all.facts.configuration.set(step.of.name(), figures::counted(steps.len() as u64, "step"));
    }
    if highest.is_some() {
        // Other steps state what limited them.
        all.facts.taints = taints;
    }
    // Steps are no repeated runs, and their figures do not show how much such runs differ.
    Ok(Results { runs: Vec::new(), verdicts, steps, highest, ..all })
}
