//! The kinds of latencies.

use serde::{Deserialize, Deserializer, Serialize};

/// The kinds of latencies; the tags of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    Connect,
    Service,
    Response,
}

impl Series {
    pub(crate) const ALL: [Self; 3] = [Self::Connect, Self::Service, Self::Response];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Service => "service",
            Self::Response => "response",
        }
    }

    /// What it measures, in the words of the table and of the page.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Connect => "from dialing to established",
            Self::Service => "from sending a frame to reading its response",
            Self::Response => "from when a frame was due to reading its response",
        }
    }
}

/// A value for each kind of latency; `null` in JSON where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(crate) struct Latency<T> {
    #[serde(deserialize_with = "present")]
    connect: Option<T>,
    #[serde(deserialize_with = "present")]
    service: Option<T>,
    #[serde(deserialize_with = "present")]
    response: Option<T>,
}

impl<T> Latency<T> {
    pub(crate) fn of(value: impl Fn(Series) -> Option<T>) -> Self {
        Self { connect: value(Series::Connect), service: value(Series::Service), response: value(Series::Response) }
    }

    pub(crate) const fn get(&self, series: Series) -> Option<&T> {
        match series {
            Series::Connect => self.connect.as_ref(),
            Series::Service => self.service.as_ref(),
            Series::Response => self.response.as_ref(),
        }
    }
}

/// Reads a member that may be `null` and may not be missing.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}
