//! `frameloop report FILE.hlog...`: logs of load runs, read again, and several as one.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};

use crate::failure::Failure;
use crate::results::{self, hlog, html, merged};

/// Show the results of load runs again, from the logs that --hlog wrote; several logs are merged
///
/// Logs of several machines that loaded one server at the same time become one result: their intervals are set side by
/// side by the time of day, and their latencies are counted together, so that each percentile is of all frames.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Interval logs of HdrHistogram, as `frameloop load --hlog` writes them
    #[arg(required = true, value_name = "FILE.hlog", value_hint = ValueHint::FilePath)]
    logs: Vec<PathBuf>,
    /// Print one JSON object instead of the summary
    #[arg(long, env = "FRAMELOOP_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// Also write a page with plots, which needs nothing but itself
    #[arg(long, env = "FRAMELOOP_HTML", value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Set the results beside those of an earlier log
    #[arg(long, env = "FRAMELOOP_BASELINE", value_name = "FILE.hlog", value_hint = ValueHint::FilePath)]
    baseline: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  frameloop report run.hlog                               the summary again
  frameloop report a.hlog b.hlog c.hlog                   three machines as one
  frameloop report today.hlog --baseline monday.hlog      both, and the ratio
  frameloop report run.hlog --html run.html               a page with plots
  frameloop report run.hlog --json | jq .latency.service.p99_ns

Exit codes: 0 done, 1 a file cannot be read or written, 2 usage.";

pub(crate) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let mut results = merged(&args.logs.iter().map(|path| hlog::read(path)).collect::<Result<Vec<_>, _>>()?);
    if let Some(path) = &args.baseline {
        results.baseline = Some(Box::new(merged(&[hlog::read(path)?])));
    }
    // First, as a reader of stdout may go before its end.
    if let Some(path) = &args.html {
        html::write(path, &results)?;
    }
    results::show(&results, args.json)
}
