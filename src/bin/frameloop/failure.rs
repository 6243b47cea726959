//! How a run ends when it does not end well: one line on stderr, and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use frameloop::client::ClientError;

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

    /// Says what there is to say, and gives the exit code.
    ///
    /// A reader that has seen enough of stdout (`| head`) is no failure. If stderr is gone as well, the exit code alone
    /// has to tell.
    pub(crate) fn report(&self) -> ExitCode {
        let message = match self {
            Self::Usage(error) => {
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
            }
            Self::Expectation => return ExitCode::from(EXPECTATION),
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Stdout(error) => format!("cannot write to stdout: {error}"),
            Self::Run(message) => message.clone(),
        };
        let _ = writeln!(io::stderr(), "error: {message}");
        ExitCode::FAILURE
    }
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
