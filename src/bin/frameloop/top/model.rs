//! The documents of an admin endpoint, as far as they are shown.
//!
//! Rule: text from the server is escaped where it is parsed, so nothing that is shown can control the terminal. A member that is
//! missing counts as null, and unknown members are ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::text::Form;

/// A text from the server, without anything that is not printable.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        // A tab is printable in a line, and moves everything in a table.
        Self(Form::Text.line_of(text.as_bytes()).replace('\t', "\\t"))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}

/// A number of seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub(super) struct Seconds(pub(super) f64);

impl Seconds {
    /// As a duration; zero for what is none.
    pub(super) fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }

    pub(super) fn nanos(self) -> f64 {
        self.0 * 1e9
    }
}

/// `/v1/info`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) mode: Text,
    pub(super) version: Text,
    pub(super) pid: f64,
    pub(super) uptime: Seconds,
    pub(super) state: Text,
    pub(super) listeners: Vec<Listener>,
    pub(super) limits: Option<Limits>,
}

impl Info {
    pub(super) fn is_load(&self) -> bool {
        self.mode.as_str() == "load"
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) address: Text,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) max_connections: Option<f64>,
    pub(super) memory: Option<f64>,
}

/// `/v1/samples`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Samples {
    pub(super) interval: Seconds,
    pub(super) samples: Vec<Sample>,
}

/// What happened within a second. Rates are per second.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub(super) connections: f64,
    pub(super) states: Option<States>,
    pub(super) accepted: f64,
    pub(super) closed: f64,
    pub(super) frames_in: f64,
    pub(super) frames_out: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) buffered_bytes: f64,
    pub(super) turns: f64,
    pub(super) turn_p50: Option<Seconds>,
    pub(super) turn_p99: Option<Seconds>,
    pub(super) turn_max: Option<Seconds>,
    pub(super) lag: Option<Seconds>,
    pub(super) closed_by: BTreeMap<Text, f64>,
    pub(super) lints: BTreeMap<Text, f64>,
    pub(super) latency: Option<Latency>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct States {
    pub(super) dialing: f64,
    pub(super) open: f64,
    pub(super) half_closed: f64,
    pub(super) finished: f64,
    pub(super) closing: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) p50: Option<Seconds>,
    pub(super) p99: Option<Seconds>,
    pub(super) p999: Option<Seconds>,
    pub(super) max: Option<Seconds>,
    pub(super) kind: Text,
}

/// `/connections?top=...`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub(super) total: f64,
    pub(super) paused: Option<Paused>,
    pub(super) top: Option<Vec<Conn>>,
}

/// How many connections are not being read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Paused {
    pub(super) handler: f64,
    pub(super) backpressure: f64,
}

/// A connection, in a list or from `/connections/ID`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Conn {
    pub(super) id: Text,
    pub(super) peer: Text,
    pub(super) local: Option<Text>,
    pub(super) listener: Option<Text>,
    pub(super) dialed: bool,
    pub(super) state: Text,
    pub(super) paused_by: Option<Text>,
    pub(super) pending_input: f64,
    pub(super) pending_output: f64,
    pub(super) buffered_bytes: f64,
    pub(super) output_high_water: f64,
    pub(super) output_low_water: f64,
    pub(super) max_payload: f64,
    pub(super) idle: Option<Seconds>,
    pub(super) age: Option<Seconds>,
    pub(super) frames_in: Option<f64>,
    pub(super) bytes_in: Option<f64>,
    pub(super) bytes_out: Option<f64>,
    pub(super) framing: Text,
    pub(super) deadlines: Vec<Deadline>,
    pub(super) closed: Option<Text>,
    pub(super) events: Option<Vec<Event>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deadline {
    pub(super) kind: Text,
    /// The time left.
    #[serde(rename = "in")]
    pub(super) left: Seconds,
    /// The timeout.
    pub(super) of: Seconds,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) at: Seconds,
    pub(super) kind: Text,
    pub(super) text: Text,
    pub(super) state: Text,
}

/// `/v1/status` of a load.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) paused: bool,
    pub(super) stage: Text,
    pub(super) connected: f64,
    pub(super) connections: f64,
}

/// The event `run` of a load.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    pub(super) stage: Text,
    pub(super) elapsed: Seconds,
    pub(super) left: Option<Seconds>,
    pub(super) connected: f64,
    pub(super) connections: f64,
    pub(super) paused: bool,
    pub(super) due: Option<f64>,
    pub(super) sent: f64,
    pub(super) late: f64,
    pub(super) frames: f64,
    pub(super) errors: f64,
    pub(super) errors_by: BTreeMap<Text, f64>,
    pub(super) rate_target: Option<f64>,
    pub(super) latency: Option<Latency>,
    pub(super) step: Option<Step>,
    pub(super) steps: Vec<StepDone>,
}

/// The step of load under way.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) index: f64,
    pub(super) of: Option<f64>,
    pub(super) unit: Text,
    pub(super) target: f64,
}

/// A step that has ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StepDone {
    pub(super) target: f64,
    pub(super) rate: f64,
    pub(super) p50: Option<Seconds>,
    pub(super) p99: Option<Seconds>,
    pub(super) held: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_server_cannot_control_the_terminal() {
        let conn: Conn =
            serde_json::from_str(r#"{"id":"\u001b[2J","peer":"a\tb\u0007\u202e","state":"Öpen"}"#).unwrap();
        assert_eq!((conn.id.as_str(), conn.state.as_str()), ("\\x1b[2J", "Öpen"));
        assert!(conn.peer.as_str().chars().all(|c| c.is_ascii_graphic()), "{:?}", conn.peer);
    }

    #[test]
    fn missing_null_and_unknown_members_are_no_error() {
        let info: Info = serde_json::from_str(r#"{"mode":"serve","new":{"a":[1]},"limits":{"memory":null}}"#).unwrap();
        assert!(!info.is_load() && info.limits.unwrap().memory.is_none());
        let sample: Sample = serde_json::from_str(r#"{"connections":1e300,"turn_p50":null,"states":null}"#).unwrap();
        assert_eq!(sample.connections, 1e300);
        assert_eq!(Seconds(-1.0).duration(), Duration::ZERO);
        assert_eq!(Seconds(1e300).duration(), Duration::ZERO);
    }
}
