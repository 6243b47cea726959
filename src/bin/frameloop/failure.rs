//! Why the program ends early.

use std::io;

use clap::error::ErrorKind;
use frameloop::client::ClientError;
use frameloop::load::LoadError;

/// Why the program ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments cannot work; also help and version, which clap returns as errors.
    Usage(Box<clap::Error>),
    /// The run failed, with a message of one line.
    Run(String),
    /// An expectation of a load did not hold; the results say which.
    Expectation,
    /// Stdout took no more.
    Stdout(io::Error),
}

impl Failure {
    /// A failure of the run, with its message.
    pub(crate) fn run(message: impl ToString) -> Self {
        Self::Run(message.to_string())
    }

    /// A usage error that the parser of arguments cannot see.
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self::Usage(Box::new(clap::Error::raw(ErrorKind::ValueValidation, message.to_string())))
    }

    /// The same with the usage of its command, unless it has one.
    pub(crate) fn with_usage_of(self, command: &mut clap::Command) -> Self {
        match self {
            Self::Usage(error) => Self::Usage(Box::new(error.format(command))),
            other => other,
        }
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

/// A plan that cannot work is a usage error.
impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Plan(message) => Self::usage(message),
            error => Self::run(error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::run(error)
    }
}
