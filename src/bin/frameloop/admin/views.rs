//! What the endpoint reports, as JSON: the shapes of connections, events and samples.
//!
//! Durations are in seconds, and times in seconds since the endpoint began.

use std::collections::BTreeMap;
use std::time::Instant;

use frameloop::{ConnectionInfo, ConnectionState, Deadline, ListenerId, PausedBy, RecordedEvent, Recording};
use serde::Serialize;

/// The endpoint of a process, and what it observes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Info {
    pub(crate) mode: &'static str,
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    pub(crate) uptime: f64,
    pub(crate) state: &'static str,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) limits: Option<ReactorLimits>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Listener {
    #[serde(skip)]
    pub(crate) id: ListenerId,
    pub(crate) name: &'static str,
    pub(crate) address: String,
}

/// The settings of a server that its figures are compared with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReactorLimits {
    pub(crate) max_connections: usize,
    pub(crate) memory: usize,
    pub(crate) output_high_water: usize,
    pub(crate) output_low_water: usize,
    pub(crate) idle_timeout: Option<f64>,
    pub(crate) frame_timeout: Option<f64>,
    pub(crate) write_timeout: Option<f64>,
    pub(crate) turn_budget: usize,
}

/// Connections by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct States {
    pub(crate) dialing: u64,
    pub(crate) open: u64,
    pub(crate) half_closed: u64,
    pub(crate) finished: u64,
    pub(crate) closing: u64,
}

impl States {
    pub(crate) fn count(&mut self, state: ConnectionState) {
        match state {
            ConnectionState::Open => self.open += 1,
            ConnectionState::HalfClosed => self.half_closed += 1,
            ConnectionState::Finished => self.finished += 1,
            _ => self.closing += 1,
        }
    }
}

/// Connections of which no frame is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Paused {
    pub(crate) handler: u64,
    pub(crate) backpressure: u64,
}

impl Paused {
    pub(crate) fn count(&mut self, paused_by: Option<PausedBy>) {
        match paused_by {
            Some(PausedBy::Handler) => self.handler += 1,
            Some(_) => self.backpressure += 1,
            None => {}
        }
    }
}

/// All connections, and some of them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Connections {
    pub(crate) total: u64,
    pub(crate) states: States,
    pub(crate) paused: Paused,
    pub(crate) top: Option<Vec<Connection>>,
}

/// One connection.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Connection {
    id: String,
    peer: String,
    local: Option<String>,
    listener: Option<&'static str>,
    dialed: bool,
    state: &'static str,
    paused_by: Option<&'static str>,
    pending_input: usize,
    pending_output: usize,
    buffered_bytes: usize,
    output_high_water: usize,
    output_low_water: usize,
    max_payload: u32,
    idle: f64,
    age: Option<f64>,
    frames_in: Option<u64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    framing: String,
    deadlines: Vec<RunningDeadline>,
    closed: Option<&'static str>,
    pub(crate) events: Option<Vec<Event>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunningDeadline {
    kind: &'static str,
    r#in: f64,
    of: f64,
}

impl RunningDeadline {
    pub(crate) fn of(deadline: &Deadline, now: Instant) -> Self {
        let left = deadline.at.saturating_duration_since(now);
        Self { kind: deadline.kind.name(), r#in: left.as_secs_f64(), of: deadline.timeout.as_secs_f64() }
    }
}

/// One event of a connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Event {
    seq: u64,
    at: f64,
    kind: &'static str,
    text: String,
    state: &'static str,
    pending_input: usize,
    pending_output: usize,
}

impl Event {
    pub(crate) fn of(recorded: &RecordedEvent, epoch: Instant) -> Self {
        Self {
            seq: recorded.seq,
            at: recorded.at.saturating_duration_since(epoch).as_secs_f64(),
            kind: recorded.event.name(),
            text: recorded.event.to_string(),
            state: recorded.state,
            pending_input: recorded.pending_input,
            pending_output: recorded.pending_output,
        }
    }
}

impl Connection {
    pub(crate) fn of(info: &ConnectionInfo, listeners: &[Listener]) -> Self {
        let listener = info.listener.and_then(|id| listeners.iter().find(|listener| listener.id == id));
        let counters = info.counters;
        Self {
            id: info.id.to_string(),
            peer: info.peer.to_string(),
            local: info.local.map(|local| local.to_string()),
            listener: listener.map(|listener| listener.name),
            dialed: info.is_dialed,
            state: info.state_name,
            // On its way to the end, nothing is read anyway.
            paused_by: info
                .paused_by
                .filter(|_| info.state != ConnectionState::Closing)
                .map(|by| if by == PausedBy::Handler { "handler" } else { "backpressure" }),
            pending_input: info.pending_input,
            pending_output: info.pending_output,
            buffered_bytes: info.buffered_bytes,
            output_high_water: info.limits.output_high_water_bytes(),
            output_low_water: info.limits.output_low_water_bytes(),
            max_payload: info.limits.max_payload_bytes(),
            idle: info.idle.as_secs_f64(),
            age: counters.map(|counters| counters.age.as_secs_f64()),
            frames_in: counters.map(|counters| counters.frames_in),
            bytes_in: counters.map(|counters| counters.bytes_in),
            bytes_out: counters.map(|counters| counters.bytes_out),
            framing: info.framing.to_string(),
            deadlines: Vec::new(),
            closed: None,
            events: None,
        }
    }

    /// Adds what is only reported of one connection at a time.
    pub(crate) fn with_detail(
        mut self,
        deadlines: Vec<RunningDeadline>,
        recording: &Recording,
        epoch: Instant,
        after: u64,
    ) -> Self {
        self.deadlines = deadlines;
        self.events = Some(recording.events_after(after).map(|event| Event::of(event, epoch)).collect());
        if let Some(reason) = recording.closed() {
            self.state = "Closed";
            self.paused_by = None;
            self.closed = Some(reason.name());
            (self.pending_input, self.pending_output, self.buffered_bytes) = (0, 0, 0);
        }
        self
    }
}

/// What a second was like.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) at: f64,
    pub(crate) connections: u64,
    pub(crate) states: Option<States>,
    pub(crate) accepted: f64,
    pub(crate) closed: f64,
    pub(crate) frames_in: f64,
    pub(crate) frames_out: f64,
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    pub(crate) buffered_bytes: u64,
    pub(crate) turns: f64,
    pub(crate) turn_p50: Option<f64>,
    pub(crate) turn_p99: Option<f64>,
    pub(crate) turn_max: Option<f64>,
    pub(crate) lag: f64,
    pub(crate) closed_by: BTreeMap<&'static str, u64>,
    pub(crate) lints: BTreeMap<&'static str, u64>,
    pub(crate) latency: Option<Latency>,
}

/// The last second of a load, with rates per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Second {
    pub(crate) connections: u64,
    pub(crate) frames: f64,
    /// In one direction.
    pub(crate) bytes: f64,
    pub(crate) latency: Option<Latency>,
}

/// Percentiles of a load's latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) kind: &'static str,
}
