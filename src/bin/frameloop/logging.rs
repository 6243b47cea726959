//! The log, on stderr: `RUST_LOG`, or `-v`, `-vv` and `-q`.
//!
//! Rule: a log line never makes its thread wait. Lines go through a bounded queue to a thread that writes them.
//!
//! Rule: what is asked for is logged: a filter applies to what it names, and the counters that a signal or a flag asks
//! for are silenced by `off` alone.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use clap::Args;
use clap::builder::BoolishValueParser;
use env_logger::{Builder, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Metadata, warn};

use crate::page::Color;
use crate::streams::{LineQueue, OnLoss, Stream};

/// How much to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct Verbosity {
    /// Log each connection (-v), or each step of each connection (-vv)
    ///
    /// By default a server logs warnings and counters, and a load logs errors only. RUST_LOG takes precedence where it names a
    /// level for frameloop or for everything (RUST_LOG=frameloop::conn=trace).
    #[arg(short, long, env = "FRAMELOOP_VERBOSE", action = clap::ArgAction::Count, global = true)]
    #[arg(conflicts_with = "quiet")]
    verbose: u8,
    /// Log errors only, and the counters requested by a signal or --stats-interval
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

/// The target of log lines, as of those of the library.
pub(crate) const TARGET: &str = "frameloop";

/// The target of the line of counters.
pub(crate) const STATS: &str = "frameloop::stats";

static QUEUE: OnceLock<LineQueue> = OnceLock::new();

/// Starts the thread that writes to stderr: [`say`] works, and panics are reported by it.
pub(crate) fn open() -> io::Result<()> {
    let on_loss = OnLoss { notice: |count| Some(dropped_notice(count)), failed: |_| {} };
    let queue = LineQueue::start("stderr", Stream(io::stderr()), on_loss)?;
    if QUEUE.set(queue).is_ok() {
        panic::set_hook(Box::new(report_panic));
    }
    Ok(())
}

/// Starts the log, at the `usual` level unless another is asked for. What other crates log below a warning is left out,
/// unless `RUST_LOG` asks for it.
pub(crate) fn start(verbosity: &Verbosity, usual: LevelFilter) {
    let (filters, refused) = usable(&env::var("RUST_LOG").unwrap_or_default());
    let mut builder = builder(&filters, verbosity.level(usual));
    let style = match Color::of(&io::stderr()) {
        Color::Always => WriteStyle::Always,
        Color::Never => WriteStyle::Never,
    };
    builder.format_timestamp_millis().write_style(style).target(Target::Pipe(Box::new(ToQueue))).init();
    for part in refused {
        warn!(target: TARGET, "RUST_LOG: ignored {part:?}: expected a level, MODULE=LEVEL or MODULE, separated by commas");
    }
}

/// The parts of `RUST_LOG` that can be parsed, and those that cannot: env_logger would write of these to stderr itself.
fn usable(filters: &str) -> (String, Vec<String>) {
    let is_usable = |part: &str| env_filter::Builder::new().try_parse(part).is_ok();
    let (kept, mut refused): (Vec<_>, Vec<_>) =
        directives(filters).map(str::to_owned).partition(|part| is_usable(part));
    let mut usable = kept.join(",");
    if let Some((_, pattern)) = filters.split_once('/') {
        let pattern = format!("/{pattern}");
        if is_usable(&pattern) { usable += &pattern } else { refused.push(pattern) }
    }
    (usable, refused)
}

/// What is logged at `level`, where the filters of `RUST_LOG` do not say otherwise.
fn builder(filters: &str, level: LevelFilter) -> Builder {
    let is_for_all = directives(filters).any(|directive| directive.parse::<LevelFilter>().is_ok());
    let with_filters = || {
        let mut builder = Builder::new();
        if !is_for_all {
            builder.filter_level(level.min(LevelFilter::Warn)).filter_module("frameloop", level);
        }
        builder.parse_filters(filters);
        builder
    };
    let mut builder = with_filters();
    let error = Metadata::builder().level(Level::Error).target(STATS).build();
    let names_stats = directives(filters).any(|directive| directive.starts_with(STATS));
    if with_filters().build().enabled(&error) && !names_stats {
        let at_least = if level > LevelFilter::Info { level } else { LevelFilter::Info };
        builder.filter_module(STATS, at_least);
    }
    builder
}

/// The parts of `RUST_LOG`: `level`, `module` or `module=level`; behind a slash, it has a pattern.
fn directives(filters: &str) -> impl Iterator<Item = &str> {
    filters.split('/').next().unwrap_or_default().split(',').map(str::trim)
}

/// How many lines stderr did not accept.
pub(crate) fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, LineQueue::dropped)
}

/// Writes to stderr what is no log line.
pub(crate) fn say(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(format!("{text}\n").as_bytes()),
        None => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Waits until everything is written, at most for `patience`. What became of it has nowhere to be reported.
pub(crate) fn finish(patience: Duration) {
    let _ = QUEUE.get().map(|queue| queue.finish(patience));
}

/// Hands the logger's lines to the queue.
struct ToQueue;

impl Write for ToQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(queue) = QUEUE.get() {
            queue.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped_notice(count: u64) -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let noun = if count == 1 { "line" } else { "lines" };
    format!("[{now} WARN  frameloop] dropped {count} log {noun} that stderr did not accept")
}

/// The standard hook's report, without its wait for stderr.
fn report_panic(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let mut text = format!("thread '{}' {info}", thread.name().unwrap_or("<unnamed>"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("\nstack backtrace:\n{backtrace}");
    }
    say(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_levels(filters: &str, expected: [(&str, LevelFilter); 3]) {
        let logger = builder(filters, LevelFilter::Info).build();
        for (target, max) in expected {
            for level in Level::iter() {
                let metadata = Metadata::builder().level(level).target(target).build();
                assert_eq!(logger.enabled(&metadata), level <= max, "RUST_LOG={filters:?}: {target} at {level}");
            }
        }
    }

    #[test]
    fn filter_of_another_crate_leaves_the_default_of_frameloop() {
        use LevelFilter::{Debug, Info, Trace, Warn};
        for filters in ["", " ", ",", "mio", "mio=trace"] {
            let mio = if filters.starts_with("mio") { Trace } else { Warn };
            assert_levels(filters, [("frameloop::conn", Info), ("mio", mio), (STATS, Info)]);
        }
        assert_levels("frameloop=debug", [("frameloop::conn", Debug), ("mio", Warn), (STATS, Info)]);
        assert_levels("frameloop::conn=debug", [("frameloop::conn", Debug), ("frameloop", Info), (STATS, Info)]);
    }

    #[test]
    fn only_filter_off_silences_the_counters() {
        use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
        assert_levels("error", [("frameloop::conn", Error), ("mio", Error), (STATS, Info)]);
        assert_levels("debug", [("frameloop::conn", Debug), ("mio", Debug), (STATS, Info)]);
        assert_levels("mio=trace,error", [("frameloop::conn", Error), ("mio", Trace), (STATS, Info)]);
        assert_levels("off", [("frameloop::conn", Off), ("mio", Off), (STATS, Off)]);
        assert_levels("frameloop=off", [("frameloop::conn", Off), ("mio", Warn), (STATS, Off)]);
    }

    #[test]
    fn invalid_parts_of_a_filter_are_ignored_one_by_one() {
        let (filters, refused) = usable("mio=loud, frameloop=debug,a=b=c/[");
        assert_eq!(filters, "frameloop=debug");
        assert_eq!(refused, ["mio=loud", "a=b=c", "/["]);
        assert_eq!(usable("warn,mio/accept"), ("warn,mio/accept".to_owned(), Vec::new()));
    }

    #[test]
    fn quiet_leaves_the_counters() {
        let logger = builder("", LevelFilter::Error).build();
        let is_enabled = |target| logger.enabled(&Metadata::builder().level(Level::Info).target(target).build());
        assert!(is_enabled(STATS) && !is_enabled("frameloop::conn"));
    }
}
