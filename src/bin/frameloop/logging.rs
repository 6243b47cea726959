//! The log, on stderr: `RUST_LOG`, or `-v`, `-vv` and `-q`.

use std::env;

use clap::Args;
use clap::builder::BoolishValueParser;
use log::LevelFilter;

/// How much to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct Verbosity {
    /// Log more: -v each connection, -vv each step of each connection
    ///
    /// Without it a server logs warnings and counters, and a load errors only. RUST_LOG, if set, decides instead (RUST_LOG=frameloop=trace).
    #[arg(short, long, env = "FRAMELOOP_VERBOSE", action = clap::ArgAction::Count, global = true)]
    #[arg(conflicts_with = "quiet")]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, env = "FRAMELOOP_QUIET", value_parser = BoolishValueParser::new(), global = true)]
    quiet: bool,
}

impl Verbosity {
    fn level(&self, usual: LevelFilter) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Error,
            (false, 0) => usual,
            (false, 1) => LevelFilter::Debug,
            (false, 2..) => LevelFilter::Trace,
        }
    }
}

/// Starts the log, at the `usual` level unless another is asked for. What other crates log below a warning is left out, unless `RUST_LOG` asks for it.
pub(crate) fn start(verbosity: &Verbosity, usual: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    match env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => builder.parse_filters(&filters),
        _ => {
            let level = verbosity.level(usual);
            builder.filter_level(level.min(LevelFilter::Warn)).filter_module("frameloop", level)
        }
    };
    builder.format_timestamp_millis().init();
}
