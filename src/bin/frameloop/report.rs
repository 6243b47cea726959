//! `frameloop report FILE.hlog...`: logs of load runs, read again, and several as one.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};

use crate::exit::conclude;
use crate::failure::Failure;
use crate::results::combine::combined;
use crate::results::expect::Expected;
use crate::results::file::Destination;
use crate::results::follow::{self, Require};
use crate::results::hlog::line::Unit;
use crate::results::hlog::log::Log;
use crate::results::hlog::read;
use crate::results::model::Results;
use crate::results::{self, Format, duplicates, earlier, html};

/// Show the results of load runs again, from the logs that --hlog wrote; several logs are merged
///
/// Logs of several machines that loaded one server at the same time become one result: their intervals are set side by
/// side by the time of day, and their latencies are counted together, so that each percentile is of all frames.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Interval logs of HdrHistogram, as written by --hlog (`-` = stdin)
    ///
    /// A log may be compressed with gzip. Intervals without a tag are service latencies. Intervals with tags other than
    /// connect, service and response are omitted, and the result says so.
    #[arg(required = true, value_name = "FILE.hlog", value_hint = ValueHint::FilePath)]
    logs: Vec<PathBuf>,
    /// Print one JSON object instead of the summary
    #[arg(long, env = "FRAMELOOP_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// Print one row per interval as CSV instead of the summary
    #[arg(long, env = "FRAMELOOP_CSV", value_parser = BoolishValueParser::new(), conflicts_with = "json")]
    csv: bool,
    /// Print the text format of Prometheus instead of the summary
    #[arg(long, env = "FRAMELOOP_PROMETHEUS", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with_all = ["json", "csv"])]
    prometheus: bool,
    /// Also write a self-contained page with plots (`-` = stdout)
    #[arg(long, env = "FRAMELOOP_HTML", value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Compare the results with those of an earlier log, or of the JSON of --json
    ///
    /// The content decides which it is. If both have at least two runs (`load --repeat`), each difference is compared with the spread of the
    /// runs.
    #[arg(long, env = "FRAMELOOP_BASELINE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    baseline: Option<PathBuf>,
    /// Unit of the latencies, for logs of other tools
    ///
    /// It overrides the unit that a log states. A log that states no unit cannot be read without it.
    #[arg(long, env = "FRAMELOOP_UNIT", value_enum)]
    unit: Option<Unit>,
    /// Accept several logs with the same latencies, and count them all
    #[arg(long, env = "FRAMELOOP_ALLOW_DUPLICATES", value_parser = BoolishValueParser::new())]
    allow_duplicates: bool,
    /// Merge the logs while they are written, and show a line per second
    ///
    /// A stream may have the lines of several generators, each with `load --hlog -`, also behind a prefix such as that of `parallel --tag`.
    /// The result comes when all streams have ended, on SIGINT, or when no generator has said anything for 60 s. A generator that says
    /// nothing for 5 s while others do is named (10 s if its log is not from stdout).
    #[arg(long, env = "FRAMELOOP_FOLLOW", value_parser = BoolishValueParser::new(), help_heading = "Following")]
    follow: bool,
    /// How many of the generators must have reported all that they measured
    ///
    /// With segments (`load --segment I/N`) there are N, else those that were seen. If there are too few, the exit code is 1. The figures of
    /// an incomplete generator are part of the sum, and the result names it.
    #[arg(
        long,
        env = "FRAMELOOP_REQUIRE",
        value_enum,
        default_value_t,
        requires = "follow",
        help_heading = "Following"
    )]
    require: Require,
    #[command(flatten)]
    expected: Expected,
}

const EXAMPLES: &str = "\
Examples:
  frameloop report run.hlog                               the summary again
  frameloop report a.hlog b.hlog c.hlog                   three machines as one
  frameloop report *.hlog --expect 'p99<5ms'              a promise, on the sum of several machines
  frameloop report today.hlog --baseline monday.hlog      both, and the ratio
  frameloop report run.hlog --html run.html               a page with plots
  frameloop report run.hlog --csv > run.csv               a row per second, for a spreadsheet
  frameloop report run.hlog --prometheus > load.prom      for the textfile collector
  frameloop report run.hlog --json | jq .latency.service.p99_ns
  frameloop report wrk2.hlog.gz --unit us                 another tool's log
  parallel -j0 --line-buffer frameloop load server:7007 --segment {}/3 --hlog - ::: 1 2 3 | frameloop report --follow -
  mkfifo a b; frameloop report --follow a b               two generators that write to a and to b

Exit codes: 0 done, 1 a file cannot be read or written, or --require is not met, 2 usage, 99 an expectation did not hold.";

pub(crate) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let inputs = || args.logs.iter().chain(&args.baseline);
    if inputs().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Failure::run("- is given more than once, and stdin can be read once; give a file for the others"));
    }
    let page = args.html.as_deref().map(Destination::of).transpose()?;
    let format = args.format();
    if let (Some(flag), true) = (format.flag(), page.as_ref().is_some_and(Destination::is_stdout)) {
        return Err(Failure::usage(format!("{flag} and --html are both written to stdout; give --html a file")));
    }
    if let Some(input) = inputs().find(|input| page.as_ref().is_some_and(|page| page.replaces(input))) {
        let name = input.display();
        return Err(Failure::usage(format_args!(
            "--html would replace the log {name}, which is read; give it another file"
        )));
    }
    let read = |path: &PathBuf| read::read(path, args.unit);
    let baseline = args.baseline.as_deref().map(|path| earlier::read(path, args.unit)).transpose()?;
    let (mut results, attended) = if args.follow {
        followed(args)?
    } else {
        let logs = args.logs.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat();
        args.check_duplicates(&logs)?;
        (combined(&logs), Ok(()))
    };
    results.baseline = baseline.map(Box::new);
    let holds = if args.expected.judge(&mut results) { Ok(()) } else { Err(Failure::Expectation) };
    // What is expected of the sum is expected of all of it.
    let verdict = attended.and(holds);
    let printed = results::show(&results, format, !page.as_ref().is_some_and(Destination::is_stdout));
    conclude(printed, conclude(page.map_or(Ok(()), |page| html::write(page, &results)), verdict))
}

/// The results of generators that were followed, and whether enough of them are complete.
fn followed(args: &ReportArgs) -> Result<(Results, Result<(), Failure>), Failure> {
    let followed = follow::follow(&args.logs, args.unit)?;
    let mut results = combined(&followed.logs);
    results.facts.taints.extend(followed.doubts);
    results.facts.was_interrupted |= followed.was_interrupted;
    let attended = followed.failure.map_or(Ok(()), Err).and(followed.attendance.judge(args.require));
    Ok((results, attended.and(args.check_duplicates(&followed.logs))))
}

impl ReportArgs {
    fn check_duplicates(&self, logs: &[Log]) -> Result<(), Failure> {
        if self.allow_duplicates { Ok(()) } else { duplicates::check(logs).map_err(Failure::run) }
    }

    fn format(&self) -> Format {
        match (self.json, self.csv, self.prometheus) {
            (true, _, _) => Format::Json,
            (false, true, _) => Format::Csv,
            (false, false, true) => Format::Prometheus,
            (false, false, false) => Format::Summary,
        }
    }
}
