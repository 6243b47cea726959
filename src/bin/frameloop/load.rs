//! `frameloop load`: its arguments, the display of a run's progress, and where the results go.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use frameloop::Address;
use frameloop::load::{Hold, Outcome, Plan, Segment, Sources, Stop, Target};

use crate::address::{self, Endpoint};
use crate::admin::listen::AdminArgs;
use crate::admin::load::RunEndpoint;
use crate::exit::conclude;
use crate::failure::Failure;
use crate::requests::RequestArgs;
use crate::results::expect::Expected;
use crate::results::figures::Figures;
use crate::results::file::Destination;
use crate::results::hlog::background::Background;
use crate::results::hlog::log::{PartKind, PartMark};
use crate::results::hlog::mark::Mark;
use crate::results::model::Results;
use crate::results::sequence::sequence;
use crate::results::{self, Format, figures, html};
use crate::signals::{self, Action};
use crate::steps::StepArgs;
use crate::watcher::Watcher;
use crate::weighted::WeightedEndpoint;
use crate::{logging, machine, values};

/// Load: send frames to a server, check every byte that comes back, and measure
///
/// Without ADDR it starts its own server, on another thread, and loads that.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoadArgs {
    /// Servers to load: IP:PORT, NAME:PORT or unix:PATH, and =WEIGHT [default: its own]
    ///
    /// Connections go to several servers in turn. With A=3 B=1, three of four go to A; without a weight it is 1. A path that ends with = and
    /// digits needs a weight.
    #[arg(value_name = "ADDR[=WEIGHT]", value_hint = ValueHint::Hostname)]
    addrs: Vec<WeightedEndpoint>,

    /// Connections that carry the load
    #[arg(short, long, env = "FRAMELOOP_CONNECTIONS", value_name = "COUNT", default_value = "50")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Load")]
    connections: usize,
    /// Time to measure, after the warm-up
    ///
    /// After that the run waits for missing responses, up to --grace. A run takes at most the sum of --connect-timeout, --warmup,
    /// --duration, --grace, the time that --connect-rate needs, and the wait for --start-at or --paused.
    #[arg(short, long, env = "FRAMELOOP_DURATION", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = values::duration, help_heading = "Load")]
    duration: Duration,
    /// Number of frames to measure, instead of a duration
    ///
    /// The run ends early if no response arrives for 10 s.
    #[arg(short = 'n', long, env = "FRAMELOOP_FRAMES", value_name = "COUNT", conflicts_with = "duration")]
    #[arg(value_parser = values::count::<u64>, help_heading = "Load")]
    frames: Option<u64>,
    /// Payload length; A..B draws uniformly from A to B
    #[arg(short, long, env = "FRAMELOOP_SIZE", value_name = "SIZE", default_value = "64")]
    #[arg(value_parser = values::size_range, help_heading = "Load")]
    size: RangeInclusive<u32>,
    /// Frames in flight per connection (closed loop)
    #[arg(long, env = "FRAMELOOP_DEPTH", value_name = "COUNT", default_value = "1")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Load")]
    depth: usize,
    /// Frames per second on all connections together (open loop)
    ///
    /// Frames are due on a schedule that does not depend on the server. Response latency counts from the time when a frame was
    /// due, so a stall counts for every frame that was due during it.
    #[arg(short, long, env = "FRAMELOOP_RATE", value_name = "N/s", conflicts_with_all = ["depth", "churn"])]
    #[arg(value_parser = values::rate, help_heading = "Load")]
    rate: Option<f64>,
    /// Keep the connections for the duration, send nothing, and report drops
    #[arg(long, env = "FRAMELOOP_HOLD", value_parser = BoolishValueParser::new(), help_heading = "Load")]
    #[arg(conflicts_with_all = ["rate", "depth", "churn", "frames"])]
    hold: bool,
    /// With --hold, send one frame on each connection at this interval (0 = off)
    ///
    /// The frames of all connections are spread evenly over the interval, on a schedule as with --rate.
    #[arg(long, env = "FRAMELOOP_EVERY", value_name = "DURATION", default_value = "0", requires = "hold")]
    #[arg(value_parser = values::duration, help_heading = "Load")]
    every: Duration,
    /// Close each connection after one frame, and open another
    #[arg(long, env = "FRAMELOOP_CHURN", value_parser = BoolishValueParser::new(), conflicts_with = "depth")]
    #[arg(help_heading = "Load")]
    churn: bool,
    /// Time to load before measuring, once all connections are open
    #[arg(long, env = "FRAMELOOP_WARMUP", value_name = "DURATION", default_value = "1s")]
    #[arg(value_parser = values::duration, help_heading = "Load")]
    warmup: Duration,
    /// Time that a response may take (0 = any)
    ///
    /// It counts from sending a frame, or from when the frame was due if it cannot be sent. A frame without a response by then is an
    /// error, and the next one may be sent. Its response, when it comes, is counted as late and never matched to another frame.
    #[arg(long, env = "FRAMELOOP_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Load")]
    request_timeout: Duration,
    /// Time to wait for missing responses at the end
    #[arg(long, env = "FRAMELOOP_GRACE", value_name = "DURATION", default_value = "1s")]
    #[arg(value_parser = values::duration, help_heading = "Load")]
    grace: Duration,

    #[command(flatten)]
    steps: StepArgs,

    #[command(flatten)]
    requests: RequestArgs,

    /// Additional connections that send nothing
    #[arg(long, env = "FRAMELOOP_IDLE", value_name = "COUNT", default_value = "0")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Further connections")]
    idle: usize,
    /// Additional connections that send one byte per second
    #[arg(long, env = "FRAMELOOP_DRIP", value_name = "COUNT", default_value = "0")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Further connections")]
    drip: usize,
    /// Additional connections that send frames and never read
    #[arg(long, env = "FRAMELOOP_DEAF", value_name = "COUNT", default_value = "0")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Further connections")]
    deaf: usize,

    /// Connections to dial per second [default: as fast as they open]
    #[arg(long, env = "FRAMELOOP_CONNECT_RATE", value_name = "N/s")]
    #[arg(value_parser = values::rate, help_heading = "Connecting")]
    connect_rate: Option<f64>,
    /// Time that a connection may take to open
    #[arg(long, env = "FRAMELOOP_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = values::duration, help_heading = "Connecting")]
    connect_timeout: Duration,
    /// Dial lost connections again, after 50 to 100 ms, later up to 5 s
    ///
    /// The wait is random within its upper half, and doubles with each attempt without a response. A connection that fails at the beginning
    /// is dialed again too. In the open loop, frames that are due while no connection is open wait for one. The results list the outages.
    #[arg(long, env = "FRAMELOOP_RECONNECT", value_parser = BoolishValueParser::new(), conflicts_with = "churn")]
    #[arg(help_heading = "Connecting")]
    reconnect: bool,
    /// Addresses and networks of this machine to connect from, in turn
    ///
    /// One address has some 28,000 ports for one destination, and connecting becomes slow once half of them are in use. A
    /// target in 127.0.0.0/8 is dialed from several addresses of that network once a third of the ports is needed.
    #[arg(long, env = "FRAMELOOP_SOURCE", value_name = "CIDR,...", help_heading = "Connecting")]
    source: Option<Sources>,

    /// This instance's share of the load, such as 2/3 for the second of three, or auto
    ///
    /// It divides the connections, frames and rates that the other options give. `auto` takes rank and size from Open MPI
    /// (OMPI_COMM_WORLD_RANK and _SIZE), Slurm (SLURM_PROCID and SLURM_NTASKS) or a Kubernetes Indexed Job (JOB_COMPLETION_INDEX, and
    /// JOB_COMPLETIONS, which the manifest sets).
    #[arg(long, env = "FRAMELOOP_SEGMENT", value_name = "I/N", value_parser = values::segment, help_heading = "Running")]
    segment: Option<Segment>,
    /// Time at which the load begins, such as 2026-11-27T10:00:00Z
    ///
    /// Connections are established before. If that takes longer, the load begins as soon as it is done, and the summary says so. Keep the
    /// machines' clocks in sync (NTP).
    #[arg(long, env = "FRAMELOOP_START_AT", value_name = "TIME", value_parser = values::time, help_heading = "Running")]
    start_at: Option<SystemTime>,
    /// Connect, and wait for a line on stdin (or its end) before the load begins
    ///
    /// With --admin, a client of the endpoint can begin it too (PATCH /v1/status), and the end of stdin does not.
    #[arg(long, env = "FRAMELOOP_PAUSED", value_parser = BoolishValueParser::new(), help_heading = "Running")]
    paused: bool,
    /// Runs, one after another, as one result (1 to 100)
    ///
    /// Each run has its own connections, warm-up and duration or frames, and ends with a line on stderr. Frames, latencies, errors and
    /// connections are summed. --start-at and --paused apply to the first run. A signal ends the run under way and starts no other.
    #[arg(long, env = "FRAMELOOP_REPEAT", value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Running")]
    repeat: u32,
    /// Threads, each with its own loop
    #[arg(long, env = "FRAMELOOP_THREADS", value_name = "COUNT", default_value = "1")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Running")]
    threads: usize,
    /// Poll without sleeping for this long before blocking (0 = off)
    #[arg(long, env = "FRAMELOOP_SPIN", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Running")]
    spin: Duration,

    /// Print the result as one JSON object
    #[arg(long, env = "FRAMELOOP_JSON", value_parser = BoolishValueParser::new(), help_heading = "Results")]
    json: bool,
    /// Write latencies per second as a HdrHistogram interval log (`-` = stdout)
    ///
    /// During the run the log is FILE.partial; a run that is killed leaves it, and `frameloop report` reads it. With `-` the
    /// summary goes to stderr, and each line has this instance's name (`Tag=service@2/3`): its segment, or HOST:PID. `report
    /// --follow` merges such streams. Runs of --repeat and steps each begin with a comment, by which `report` separates them.
    #[arg(long, env = "FRAMELOOP_HLOG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Results")]
    hlog: Option<PathBuf>,
    /// Write a self-contained page with plots (`-` = stdout)
    #[arg(long, env = "FRAMELOOP_REPORT", value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Results")]
    report: Option<PathBuf>,
    #[command(flatten)]
    expected: Expected,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
SIZE: 64, 64KiB, 1MiB, 16mb. DURATION: 250ms, 5s, 2m. COUNT: 10000, 10k, 1m. N/s: 100, 10k, 0.5.

Examples:
  frameloop load                                               its own server, for ten seconds
  frameloop load 127.0.0.1:7007 -c 1000 -d 30s                 a thousand connections, each with a frame in flight
  frameloop load 127.0.0.1:7007 -r 20k                         20,000 frames per second, whatever the server does
  frameloop load 10.0.0.1:7007 -c 100k --source 10.0.0.16/29   more connections than one address has ports for
  frameloop load -d 5s --repeat 5                              five runs, to see how much they differ
  frameloop load 10.0.0.1:7007=3 10.0.0.2:7007                 two servers, the first with three of four connections
  frameloop load 10.0.0.1:7007 -c 10k --hold --every 30s       10,000 connections, each with a frame per half minute
  frameloop load --churn                                       a connection for each frame
  frameloop load 127.0.0.1:7007 -r 20k --hlog a.hlog --report a.html --expect 'p99<5ms'
  frameloop load 127.0.0.1:7007 -r 20k --segment 2/3 --hlog -   for report --follow, with two more

Exit codes: 0 done, 1 the run failed or saw errors, 2 usage, 99 an expectation did not hold.";

pub(crate) fn run(args: &LoadArgs) -> Result<(), Failure> {
    let whole = args.plan()?;
    let (plan, steps) = args.steps.complete(whole, args.segment)?;
    let Outputs { log, page, stdout_is_free } = Outputs::of(args)?;
    enough_descriptors(&plan, args.admin.descriptors(), machine::raise_descriptor_limit())?;
    let admin = RunEndpoint::start(&args.admin, args.paused, plan.rate)?;
    signals::set(Action::CountOne(EXIT_AT_ONCE));
    let log = log.map(|log| {
        let mark = Mark::of(args.segment, log.is_stdout());
        Background::start(log, mark)
    });
    let log = log.transpose();
    let log = log.map_err(|error| Failure::run(format_args!("cannot start a thread: {error}")))?;
    let mut watcher = Watcher::start(log, admin, args.paused)?;
    let results = match &steps {
        Some(steps) => steps.run(&plan, &args.expected, &mut watcher),
        None => repeated(plan, args.repeat, &mut watcher),
    };
    let log = watcher.end();
    // From here on a signal ends the program: writing results may have to wait for their reader.
    signals::set(Action::Default);
    let mut results = results?;
    let verdict = match &steps {
        Some(steps) if steps.is_search() => found(&results),
        Some(_) => verdict(&results, args, results.verdicts.iter().all(|verdict| verdict.holds)),
        None => {
            let holds = args.expected.judge(&mut results);
            verdict(&results, args, holds)
        }
    };
    // The output that needs no file comes first, so that results are not lost if a file cannot be written.
    let printed = results::show(&results, if args.json { Format::Json } else { Format::Summary }, stdout_is_free);
    let logged = log.map_or(Ok(()), |log| log.finish(&results));
    let paged = page.map_or(Ok(()), |page| html::write(page, &results));
    conclude(printed, conclude(logged, conclude(paged, verdict)))
}

/// Executes the plan so many times, one run after another. A signal ends the run under way, and no other begins.
fn repeated(mut plan: Plan, repeat: u32, watcher: &mut Watcher) -> Result<Results, Failure> {
    let mut runs = Vec::new();
    for number in 1..=repeat {
        if number > 1 {
            watcher.next_run()?;
        }
        if repeat > 1 {
            let mark = PartMark { kind: PartKind::Run, number, asked: Some(repeat), step: None };
            watcher.next_part(mark, plan.rate);
        }
        let outcome = frameloop::load::run(&plan, watcher)?;
        let results = Results::of(&outcome);
        watcher.end_of_run(&results);
        if repeat > 1 {
            logging::say(&line_of(&outcome, number, repeat));
        }
        runs.push(results);
        if outcome.was_interrupted || signals::ends() > 0 {
            break;
        }
        // That time has passed.
        plan.start_at = None;
    }
    let made = runs.len();
    let results = sequence(runs, "run").ok_or_else(|| Failure::run("no run was made"))?;
    Ok(if repeat > 1 { results.with_runs(made, repeat) } else { results })
}

/// The figures of one of several runs: `run 2 of 5: 87,249/s, p50 551 us, p99 1.23 ms, 0 errors`.
fn line_of(outcome: &Outcome, number: u32, repeat: u32) -> String {
    let latency = Figures::of(outcome.latency()).map_or_else(String::new, |latency| {
        let [p50, p99] = [latency.p50, latency.p99].map(|nanos| figures::latency(nanos as f64));
        format!(", p50 {p50}, p99 {p99}")
    });
    let (rate, errors) = (figures::number(outcome.rate()), figures::counted(outcome.errors.total(), "error"));
    format!("run {number} of {repeat}: {rate}/s{latency}, {errors}")
}

/// Where the results go, apart from the summary or the JSON.
struct Outputs {
    log: Option<Destination>,
    page: Option<Destination>,
    /// The summary goes to stdout, because no other output does.
    stdout_is_free: bool,
}

impl Outputs {
    fn of(args: &LoadArgs) -> Result<Self, Failure> {
        let log = args.hlog.as_deref().map(Destination::of).transpose()?;
        let page = args.report.as_deref().map(Destination::of).transpose()?;
        if let (Some(log), Some(page)) = (&log, &page)
            && log.is_same(page)
        {
            return Err(Failure::usage("--hlog and --report are written to the same file; give each its own"));
        }
        let is_stdout = |output: &Option<Destination>| output.as_ref().is_some_and(Destination::is_stdout);
        let on_stdout = [("--hlog", is_stdout(&log)), ("--report", is_stdout(&page))];
        let on_stdout = on_stdout.into_iter().find(|(_, is_stdout)| *is_stdout);
        if let (Some((flag, _)), true) = (on_stdout, args.json) {
            return Err(Failure::usage(format!("--json and {flag} are both written to stdout; give {flag} a file")));
        }
        Ok(Self { log, page, stdout_is_free: on_stdout.is_none() })
    }
}

/// The exit of a search.
fn found(results: &Results) -> Result<(), Failure> {
    match &results.highest {
        Some(highest) if highest.load.is_some() => Ok(()),
        Some(highest) if highest.was_interrupted => {
            Err(Failure::run("the search was interrupted before a load was confirmed"))
        }
        _ => Err(Failure::Expectation),
    }
}

/// The exit of the run: expectations decide, and if none is about errors, any error is a failure.
fn verdict(results: &Results, args: &LoadArgs, holds: bool) -> Result<(), Failure> {
    if !holds {
        return Err(Failure::Expectation);
    }
    let errors = results.facts.errors.map_or(0, |errors| errors.total());
    let is_about_errors = args.expected.is_about_errors();
    if errors > 0 && !is_about_errors {
        let noun = if errors == 1 { "error" } else { "errors" };
        return Err(Failure::run(format_args!("{} {noun}: see the summary", figures::count(errors))));
    }
    Ok(())
}

impl LoadArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let plan = Plan {
            targets: self.addrs.iter().map(target).collect::<Result<_, _>>()?,
            connections: self.connections,
            stop: self.frames.map_or(Stop::After(self.duration), Stop::Frames),
            payload_len: self.size.clone(),
            depth: self.depth,
            rate: self.rate,
            hold: self.hold.then(|| if self.every.is_zero() { Hold::Silent } else { Hold::Every(self.every) }),
            connect_rate: self.connect_rate,
            start_at: self.start_at,
            warmup: self.warmup,
            threads: self.threads,
            sources: self.source.clone().unwrap_or_default(),
            idle: self.idle,
            drip: self.drip,
            deaf: self.deaf,
            churn: self.churn,
            spin: self.spin,
            connect_timeout: self.connect_timeout,
            request_timeout: Some(self.request_timeout).filter(|timeout| !timeout.is_zero()),
            grace: self.grace,
            reconnect: self.reconnect,
            ..Plan::default()
        };
        self.requests.complete(plan)
    }
}

/// A server with its addresses: the one that is tried first, and the others of its name.
fn target(given: &WeightedEndpoint) -> Result<Target, Failure> {
    let target = match &given.endpoint {
        Endpoint::Unix(path) => Target::new(Address::Unix(path.clone())),
        Endpoint::Tcp(text) => {
            let mut addrs = address::resolve(text)?;
            let first = addrs.remove(0);
            Target { other_addrs: addrs, ..Target::new(first) }
        }
    };
    Ok(Target { weight: given.weight, ..target })
}

/// Checks that there are enough descriptors for all connections.
fn enough_descriptors(plan: &Plan, others: usize, limit: u64) -> Result<(), Failure> {
    // The run's own server has the other ends of the connections.
    let has_own_server = plan.targets.is_empty();
    let ends = if has_own_server { 2 } else { 1 };
    let needed = machine::descriptors_for(ends * plan.connections_total(), 2 * plan.threads + others);
    if needed <= limit {
        return Ok(());
    }
    let connections = plan.connections_total();
    let hint = if has_own_server { ", or load a server in a process of its own" } else { "" };
    Err(Failure::run(format_args!(
        "{connections} connections need {needed} open files, and the limit is {limit}: raise it (LimitNOFILE={needed} in a unit, \
         --ulimit nofile={needed} of a container, or ulimit -Hn {needed} with CAP_SYS_RESOURCE){hint}"
    )))
}

/// The exit code of a run that a second signal ended.
const EXIT_AT_ONCE: i32 = 1;
