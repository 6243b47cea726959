//! The end of the program: a failure is one line on stderr and an exit code, and the output is written.

use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::page::Color;
use crate::{logging, output, signals};

/// Reports the failure on stderr, and returns the exit code.
///
/// A closed stdout (`| head`) is no failure. If stderr is closed as well, only the exit code reports the failure.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Usage(error) if !error.use_stderr() => return show_help(error),
        Failure::Usage(error) => {
            let text = Color::of(&io::stderr()).apply(error.render().ansi().to_string());
            logging::say(text.trim_end());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
        Failure::Expectation => return ExitCode::from(EXPECTATION),
        Failure::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Failure::Stdout(error) => logging::say(&format!("error: cannot write to stdout: {error}")),
        Failure::Run(message) => logging::say(&format!("error: {message}")),
    }
    ExitCode::FAILURE
}

/// The outcome of a run whose results were printed: `verdict`, if it is a failure, whether stdout failed or not.
pub(crate) fn conclude(printed: Result<(), Failure>, verdict: Result<(), Failure>) -> Result<(), Failure> {
    match (printed, verdict) {
        (Err(not_printed), Err(failed)) => {
            report(&not_printed);
            Err(failed)
        }
        (printed, verdict) => verdict.and(printed),
    }
}

/// Prints help or the version, which clap returns as an error.
fn show_help(error: &clap::Error) -> ExitCode {
    let text = Color::of(&io::stdout()).apply(error.render().ansi().to_string());
    output::bytes(text.as_bytes()).err().map_or(ExitCode::SUCCESS, |failure| report(&failure))
}

/// Waits, when it is dropped, until the log is written.
#[derive(Debug)]
pub(crate) struct Pending;

impl Drop for Pending {
    fn drop(&mut self) {
        logging::finish(left_at_exit());
    }
}

/// How long the end of the process waits for its output.
const AT_EXIT: Duration = Duration::from_secs(1);

/// The same when a second signal has asked for the end.
const AT_SECOND_SIGNAL: Duration = Duration::from_millis(50);

/// The rest of the time that the end of the process waits for its output, counted from the first call.
pub(crate) fn left_at_exit() -> Duration {
    static UNTIL: OnceLock<Instant> = OnceLock::new();
    let patience = if signals::ends() > 1 { AT_SECOND_SIGNAL } else { AT_EXIT };
    UNTIL.get_or_init(|| Instant::now() + patience).saturating_duration_since(Instant::now())
}

/// The exit code of a usage error.
const USAGE: u8 = 2;

/// The exit code of a load whose expectations did not all hold.
const EXPECTATION: u8 = 99;
