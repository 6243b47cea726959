//! How a run ends when it does not end well: one line on stderr, and an exit code.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use frameloop::client::ClientError;

use crate::page::Color;
use crate::{logging, output};

/// Why the program ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments cannot work; also help and version, which clap hands over as errors.
    Usage(Box<clap::Error>),
    /// The run failed; what to say about it, in one line.
    Run(String),
    /// An expectation of a load did not hold; the results say which.
    Expectation,
    /// Stdout took no more.
    Stdout(io::Error),
}

impl Failure {
    /// A failure of the run, with what to say about it.
    pub(crate) fn run(message: impl ToString) -> Self {
        Self::Run(message.to_string())
    }

    /// Reports the failure on stderr, and returns the exit code.
    ///
    /// A reader that has seen enough of stdout (`| head`) is no failure. If stderr is gone as well, the exit code alone
    /// has to tell.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) if !error.use_stderr() => return show_help(error),
            Self::Usage(error) => {
                let text = Color::of(&io::stderr()).apply(error.render().ansi().to_string());
                logging::say(text.trim_end());
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
            }
            Self::Expectation => return ExitCode::from(EXPECTATION),
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Stdout(error) => logging::say(&format!("error: cannot write to stdout: {error}")),
            Self::Run(message) => logging::say(&format!("error: {message}")),
        }
        ExitCode::FAILURE
    }
}

/// What a run comes to whose results were printed: `verdict`, if it is a failure, whatever became of stdout.
pub(crate) fn conclude(printed: Result<(), Failure>, verdict: Result<(), Failure>) -> Result<(), Failure> {
    match (printed, verdict) {
        (Err(not_printed), Err(failed)) => {
            not_printed.report();
            Err(failed)
        }
        (printed, verdict) => verdict.and(printed),
    }
}

/// A usage error of a subcommand, as the parser of arguments reports its own.
pub(crate) fn usage(subcommand: &str, message: &str) -> Failure {
    let mut command = crate::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(subcommand) => subcommand.error(ErrorKind::ValueValidation, message).into(),
        None => command.error(ErrorKind::ValueValidation, message).into(),
    }
}

/// Prints help or the version, which clap returns as an error.
fn show_help(error: &clap::Error) -> ExitCode {
    let text = Color::of(&io::stdout()).apply(error.render().ansi().to_string());
    output::bytes(text.as_bytes()).err().map_or(ExitCode::SUCCESS, |failure| failure.report())
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<frameloop::Error> for Failure {
    fn from(error: frameloop::Error) -> Self {
        Self::run(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::run(error)
    }
}

/// The exit code of a usage error.
const USAGE: u8 = 2;

/// The exit code of a load whose expectations did not all hold.
const EXPECTATION: u8 = 99;
