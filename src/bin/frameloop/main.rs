//! The command line: one file per subcommand, and this one, which selects them.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the run failed, 2 usage, 99 an expectation of a
//! load did not hold. Commands that a signal ends die by it, or as process 1 exit with 128 and its number.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod admin;
mod check;
mod completions;
mod connect;
mod environment;
mod exit;
mod failure;
mod live;
mod load;
mod logging;
mod machine;
mod man;
mod memory_limit;
mod output;
mod page;
#[cfg(all(test, feature = "tui"))]
mod reference;
mod report;
mod requests;
mod results;
mod search;
mod serve;
mod signals;
mod stages;
mod startup;
mod steps;
mod streams;
mod terminal;
mod text;
#[cfg(feature = "tui")]
mod top;
mod values;
mod watcher;
mod weighted;

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;

use crate::failure::Failure;
use crate::signals::Action;

/// A TCP server on one thread and one readiness loop, for frames with a 4-byte big-endian length
#[derive(Debug, Parser)]
#[command(name = "frameloop", version, subcommand_required = true, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    verbosity: logging::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Connect(connect::ConnectArgs),
    Load(Box<load::LoadArgs>),
    Check(check::CheckArgs),
    Report(report::ReportArgs),
    #[cfg(feature = "tui")]
    Top(top::TopArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

const EXAMPLES: &str = "\
Examples:
  frameloop serve                              echo on 127.0.0.1:7007
  frameloop connect                            a prompt, where a line is a frame
  echo hello | frameloop connect               a frame from a pipe, its reply on stdout
  frameloop load                               a server of its own under load, and what it did
  frameloop check                              a score card of the server on 127.0.0.1:7007
  frameloop completions bash > ~/.local/share/bash-completion/completions/frameloop
  frameloop man | man -l -

Every flag can also be given in the environment: --max-payload as FRAMELOOP_MAX_PAYLOAD, and so on. A typed flag overrides
the environment, and a variable that is empty, or false for a flag without a value, counts as unset.

Exit codes: 0 done, 1 the run failed, 2 usage, 99 a --expect did not hold. SIGINT and SIGTERM drain serve and end load
with its results; they end any other command (130 and 143 in a shell).";

fn main() -> ExitCode {
    // First of all, so that no signal finds the process unprepared, nor a thread that would take it.
    let started = signals::block().and_then(|blocked| {
        // The signals stay blocked, and pending, if that begins anew.
        memory_limit::share_one_heap();
        logging::open().map(|()| blocked)
    });
    let _pending = exit::Pending;
    let outcome = started.map_err(|error| Failure::run(format_args!("cannot start: {error}"))).and_then(run);
    outcome.map_or_else(|failure| exit::report(&failure), |()| ExitCode::SUCCESS)
}

fn run(blocked: signals::Blocked) -> Result<(), Failure> {
    let mut whole = command();
    let matches = environment::parse(&whole, env::args_os(), |name| env::var_os(name))?;
    let cli = Cli::from_arg_matches(&matches)?;
    // What a load's own server says of its clients is in the result.
    let usual = if matches!(cli.command, Command::Load(_)) { LevelFilter::Error } else { LevelFilter::Info };
    logging::start(&cli.verbosity, usual);
    let action = if matches!(cli.command, Command::Serve(_)) { Action::Quit } else { Action::Default };
    blocked.take(action).map_err(|error| Failure::run(format_args!("cannot take signals: {error}")))?;
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Report(args) => report::run(&args),
        #[cfg(feature = "tui")]
        Command::Top(args) => top::run(&args),
        Command::Completions(args) => completions::run(&args, whole.clone()),
        Command::Man(args) => man::run(&args, whole.clone()),
    };
    whole.build();
    let subcommand = matches.subcommand_name().and_then(|name| whole.find_subcommand_mut(name));
    outcome.map_err(|failure| match subcommand {
        Some(subcommand) => failure.with_usage_of(subcommand),
        None => failure,
    })
}

/// The whole command line, as it is parsed and documented.
///
/// What the environment of the moment holds has no place in a help text or a manual page.
fn command() -> clap::Command {
    fn hide(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide)
    }
    hide(Cli::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_can_be_given_in_the_environment() {
        for subcommand in command().get_subcommands() {
            for arg in subcommand.get_arguments().chain(command().get_arguments()) {
                let Some(long) = arg.get_long() else { continue };
                let name = format!("FRAMELOOP_{}", long.to_uppercase().replace('-', "_"));
                let env = arg.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(env, Some(name), "--{long} of {}", subcommand.get_name());
            }
        }
    }
}
