//! The plan of a run.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use crate::config::Config;
use crate::error::Error;
use crate::load::check::Check;
use crate::load::clock::time_of_day;
use crate::load::hold::Hold;
use crate::load::request::{Payload, Requests};
use crate::load::segment::Segment;
use crate::load::sources::Sources;
use crate::load::target::{self, Target, source_mistake};
use crate::load::template::Template;
use crate::wire::{Enclosure, Framing};

/// Describes a run. [`Plan::default`] has the defaults of `frameloop load`.
///
/// [`Plan::check`] lists what is allowed, and [`run`](crate::load::run) calls it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_structs)]
pub struct Plan {
    /// The servers to load; the connections go to them in turn, by weight. Default: none, and the run starts its own, on a thread of this
    /// process and a port that the kernel chooses.
    pub targets: Vec<Target>,
    /// Connections that carry the load. Default 50; at least 1, and at most 100,000,000 with the other cohorts.
    pub connections: usize,
    /// When the load ends. Default: after 10 s.
    pub stop: Stop,
    /// Where a frame ends, in both directions. Default: a 4-byte big-endian length.
    ///
    /// With [`Framing::Raw`], a response that is compared with its request is as long as that; otherwise it is what one read returns.
    pub framing: Framing,
    /// What requests are made of. Default: random bytes.
    pub payload: Payload,
    /// The length of random payloads, in bytes, drawn evenly from the range. Default 64.
    pub payload_len: RangeInclusive<u32>,
    /// Payloads that each connection sends before it carries load, and waits for a response to each. Default: none.
    pub hello: Vec<Vec<u8>>,
    /// Responses to each request. Default 1; 0 sends only, and from 0 to 65,535.
    pub replies: u16,
    /// What each response must be. Default: the echo of the request.
    pub check: Check,
    /// Frames in flight on each connection in the closed loop. Default 1; at least 1, and 1 in the open loop or with churn.
    pub depth: usize,
    /// Frames per second for all connections together, from 0.001 to 10^9: the open loop. Default `None`: the closed loop.
    pub rate: Option<f64>,
    /// Whether the connections are held: kept until the end, silent or with a frame per interval on each. Default `None`. Not with a
    /// rate, churn, more than one frame in flight, or a number of frames.
    pub hold: Option<Hold>,
    /// Connections to dial per second, from 0.001 to 10^9. Default `None`: as fast as they open.
    pub connect_rate: Option<f64>,
    /// Which share of several generators' load this plan is: set by [`Plan::share`]. Default: all of it.
    pub segment: Segment,
    /// When the load begins, at most a year from now; if connecting takes longer, as soon as that is done. Default `None`: as soon as that
    /// is done.
    pub start_at: Option<SystemTime>,
    /// How long the load runs before the measured time begins. Default 1 s.
    pub warmup: Duration,
    /// Threads, each with its own reactor. Default 1; from 1 to `connections`.
    pub threads: usize,
    /// Addresses of this machine to connect from, in turn. Default: none, the kernel chooses.
    pub sources: Sources,
    /// Further connections that send nothing. Default 0.
    pub idle: usize,
    /// Further connections that send a byte per second of a frame that never ends. Default 0.
    pub drip: usize,
    /// Further connections that send frames and never read. Default 0.
    pub deaf: usize,
    /// Whether to close each connection after one frame, and open another. Default `false`. Not in the open loop.
    pub churn: bool,
    /// How long to poll without sleeping before a thread blocks. Default 0.
    pub spin: Duration,
    /// How long each connect attempt may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a response may take from when its frame was sent, or from when that was due if it could not be sent. Then the frame
    /// counts as timed out, and the next one may be sent; its response is counted as late when it comes. Default `None`: any time.
    pub request_timeout: Option<Duration>,
    /// How long to wait for responses after the last frame was sent. Default 1 s.
    pub grace: Duration,
    /// Whether to dial lost connections again, after 50 to 100 ms and then twice as long after each failure, at most 5 s. Default `false`:
    /// a lost connection remains lost. Not for slow senders ([`drip`](Self::drip)).
    pub reconnect: bool,
    /// With [`Stop::Frames`], the run ends early when no response arrives for this long. Default 10 s.
    pub stall_timeout: Duration,
}

/// Determines when the load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Stop {
    /// After this long, not counting the warm-up.
    After(Duration),
    /// After this many responses, not counting those of the warm-up.
    Frames(u64),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            connections: 50,
            stop: Stop::After(Duration::from_secs(10)),
            framing: Framing::default(),
            payload: Payload::Random,
            payload_len: 64..=64,
            hello: Vec::new(),
            replies: 1,
            check: Check::Echo,
            depth: 1,
            rate: None,
            hold: None,
            connect_rate: None,
            segment: Segment::default(),
            start_at: None,
            warmup: Duration::from_secs(1),
            threads: 1,
            sources: Sources::default(),
            idle: 0,
            drip: 0,
            deaf: 0,
            churn: false,
            spin: Duration::ZERO,
            connect_timeout: Duration::from_secs(10),
            request_timeout: None,
            grace: Duration::from_secs(1),
            reconnect: false,
            stall_timeout: Duration::from_secs(10),
        }
    }
}

impl Plan {
    /// Returns the number of connections of all cohorts.
    #[must_use]
    pub fn connections_total(&self) -> usize {
        self.connections + self.idle + self.drip + self.deaf
    }

    /// Returns whether frames are due on a schedule: at a rate, or on connections that are held.
    #[must_use]
    pub fn has_schedule(&self) -> bool {
        self.rate.is_some() || self.hold.and_then(Hold::every).is_some()
    }

    /// Returns the plan of one segment of this load.
    ///
    /// The shares of all segments add up to the connections, frames and rates of this plan, and their schedules interleave: together they
    /// are one open loop, if they start at the same time ([`Plan::start_at`]).
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] if the share has no connection or no frame, or is not an allowed plan for another reason.
    pub fn share(&self, segment: Segment) -> Result<Self, LoadError> {
        let share = |whole| segment.share(whole);
        let parts = f64::from(segment.count());
        let plan = Self {
            segment,
            connections: share(self.connections as u64) as usize,
            idle: share(self.idle as u64) as usize,
            drip: share(self.drip as u64) as usize,
            deaf: share(self.deaf as u64) as usize,
            stop: match self.stop {
                Stop::Frames(frames) => Stop::Frames(share(frames)),
                Stop::After(duration) => Stop::After(duration),
            },
            rate: self.rate.map(|rate| rate / parts),
            connect_rate: self.connect_rate.map(|rate| rate / parts),
            ..self.clone()
        };
        self.check()?;
        let none = |name, of| {
            Err(LoadError::Plan(format!("segment {segment} has none of the {of} {name}: give fewer segments")))
        };
        match (plan.connections, plan.stop, self.stop) {
            (0, ..) => none("connections", self.connections as u64),
            (_, Stop::Frames(0), Stop::Frames(of)) => none("frames", of),
            _ => plan.check().map(|()| plan),
        }
    }

    /// Checks that the values are in their ranges and fit together.
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] with the name of the value, the value, and what is allowed.
    pub fn check(&self) -> Result<(), LoadError> {
        let (connections, threads, depth) = (self.connections, self.threads, self.depth);
        let (total, has_rate, has_hold) = (self.connections_total(), self.rate.is_some(), self.hold.is_some());
        let (min, max) = (self.payload_len.start(), self.payload_len.end());
        let zero = |name, value| (value == 0, format!("{name} is 0 and must be at least 1"));
        let rate = |name, rate: Option<f64>| {
            let rate = rate.unwrap_or(RATE_MIN);
            let is_bad = !(RATE_MIN..=RATE_MAX).contains(&rate);
            (is_bad, format!("{name} is {rate} a second and must be from {RATE_MIN} to {RATE_MAX}"))
        };
        let mistakes = [
            zero("connections", connections),
            zero("depth", depth),
            zero("threads", threads),
            (threads > connections, format!("threads is {threads} and must be at most the {connections} connections")),
            (total > CONNECTIONS_MAX, format!("connections are {total} in all and must be at most {CONNECTIONS_MAX}")),
            rate("rate", self.rate),
            rate("connect rate", self.connect_rate),
            (min > max, format!("size is {min}..{max}, and must begin with the smaller")),
            (
                self.churn && self.reconnect,
                "churn dials each connection anew: it cannot be combined with reconnect".into(),
            ),
            (self.churn && has_rate, "churn has no schedule: it cannot be combined with a rate".into()),
            (
                self.churn && depth > 1,
                format!("depth is {depth} and must be 1 with churn, where a connection has one frame"),
            ),
            (has_rate && depth > 1, format!("depth is {depth} and must be 1 with a rate, where the schedule decides")),
            (has_hold && has_rate, "hold has a schedule of its own: it cannot be combined with a rate".into()),
            (has_hold && self.churn, "hold keeps the connections: it cannot be combined with churn".into()),
            (
                has_hold && depth > 1,
                format!("depth is {depth} and must be 1 with hold, where a frame is due per interval"),
            ),
            (
                has_hold && matches!(self.stop, Stop::Frames(_)),
                "hold ends after a duration: it cannot be combined with a number of frames".into(),
            ),
            (self.hold == Some(Hold::Every(Duration::ZERO)), "the interval of hold is 0 s and must be more".into()),
            (self.stop == Stop::After(Duration::ZERO), "duration is 0 s and must be more".into()),
            (self.stop == Stop::Frames(0), "frames is 0 and must be at least 1".into()),
        ];
        let mistake = mistakes.into_iter().find_map(|(is_made, message)| is_made.then_some(message));
        let of_targets = || target::mistake(&self.targets).or_else(|| source_mistake(&self.targets, &self.sources));
        match mistake.or_else(|| self.too_long()).or_else(of_targets) {
            Some(message) => Err(LoadError::Plan(message)),
            None => self.check_requests(),
        }
    }

    /// Rule: a time of the plan is at most a year, so that sums of times are numbers of nanoseconds.
    fn too_long(&self) -> Option<String> {
        let until_start = self.start_at.and_then(|at| at.duration_since(time_of_day()).ok());
        let duration = match self.stop {
            Stop::After(duration) => duration,
            Stop::Frames(_) => Duration::ZERO,
        };
        let times = [
            ("time until the start", until_start.unwrap_or_default()),
            ("warmup", self.warmup),
            ("duration", duration),
            ("spin", self.spin),
            ("connect timeout", self.connect_timeout),
            ("request timeout", self.request_timeout.unwrap_or_default()),
            ("grace", self.grace),
            ("stall timeout", self.stall_timeout),
            ("interval of hold", self.hold.and_then(Hold::every).unwrap_or_default()),
        ];
        let (name, time) = times.into_iter().find(|(_, time)| *time > TIME_MAX)?;
        Some(format!("{name} is {} s and must be at most {} s", time.as_secs(), TIME_MAX.as_secs()))
    }

    /// Rule: a request that is not one frame of the framing is an error before anything starts.
    fn check_requests(&self) -> Result<(), LoadError> {
        let framing = self.framing;
        let (min, max) = (u64::from(*self.payload_len.start()), u64::from(*self.payload_len.end()));
        let fits = framing.whole_payload_lens();
        let (is_random, is_raw) = (self.payload == Payload::Random, framing == Framing::Raw);
        let is_empty = matches!(&self.payload, Payload::Templates { list, .. } if list.is_empty());
        let mistakes = [
            (framing.check().is_err(), format!("framing is {framing} and must be exact:1 or more")),
            (is_empty, "there is no payload: give at least one".into()),
            (
                is_random && !(fits.contains(&min) && fits.contains(&max)),
                format!("size is {min}..{max} and must be from {} to {} with {framing}", fits.start(), fits.end()),
            ),
            (
                is_random && matches!(framing, Framing::Exact(len) if (min, max) != (len, len)),
                format!("size is {min}..{max} and must be that of {framing}"),
            ),
            (
                is_random && is_raw && min == 0,
                "size is 0 and must be at least 1 with raw, where an empty request has no bytes".into(),
            ),
            (
                is_raw && self.is_compared() && self.reply_len().is_none(),
                "raw has no boundaries between responses: give requests of one length, or another check".into(),
            ),
            (
                is_raw && self.is_compared() && !self.hello.is_empty(),
                "raw has no boundaries between responses: with hello, give another check than echo and len".into(),
            ),
            (
                is_raw && !self.is_compared() && (self.depth > 1 || self.replies > 1 || self.has_schedule()),
                "raw has no boundaries between responses: without echo or len, give no depth, rate or replies".into(),
            ),
            (
                self.replies > 1 && matches!(self.check, Check::Echo),
                format!("replies is {}, and the echo of a request is 1: give another check", self.replies),
            ),
            (
                self.replies == 0 && self.request_timeout.is_some(),
                "request timeout needs a response to wait for: replies is 0 and must be at least 1".into(),
            ),
            (self.request_timeout == Some(Duration::ZERO), "request timeout is 0 s and must be more".into()),
            (
                is_raw && !self.is_compared() && self.request_timeout.is_some(),
                "raw has no boundaries between responses: without echo or len, give no request timeout".into(),
            ),
            (self.replies == 0 && self.churn, "churn waits for a response: replies is 0 and must be at least 1".into()),
        ];
        match mistakes.into_iter().find(|(is_made, _)| *is_made) {
            Some((_, message)) => Err(LoadError::Plan(message)),
            None => self.check_hello().and_then(|()| self.requests(0).map(drop)),
        }
    }

    fn check_hello(&self) -> Result<(), LoadError> {
        for (number, payload) in self.hello.iter().enumerate() {
            let mut frame = Vec::new();
            let problem = match self.framing.encode(payload, &mut frame) {
                Ok(()) if frame.is_empty() => "it has no bytes".to_owned(),
                Ok(()) => continue,
                Err(error) => error.to_string(),
            };
            return Err(LoadError::Plan(format!("hello {} is no frame of {}: {problem}", number + 1, self.framing)));
        }
        Ok(())
    }

    /// Whether responses are compared with their requests.
    fn is_compared(&self) -> bool {
        matches!(self.check, Check::Echo | Check::Len) && self.replies > 0
    }

    /// The requests of a run that has begun so many nanoseconds after 1970.
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] if a payload is not one frame of the framing.
    pub(crate) fn requests(&self, epoch_ns: u64) -> Result<Requests, LoadError> {
        Requests::new(self.framing, &self.payload, &self.payload_len, &self.check, epoch_ns).map_err(LoadError::Plan)
    }

    /// The length of all requests, if they have the same.
    fn reply_len(&self) -> Option<u64> {
        let lens = match &self.payload {
            Payload::Random => vec![*self.payload_len.start() as usize, *self.payload_len.end() as usize],
            Payload::Templates { list, .. } => list.iter().map(Template::len).collect(),
        };
        let first = *lens.first()?;
        lens.iter().all(|len| *len == first).then_some(first as u64)
    }

    /// The framing of responses.
    pub(crate) fn reply_framing(&self) -> Framing {
        match self.reply_len().filter(|_| self.framing == Framing::Raw && self.is_compared()) {
            Some(len) => Framing::Exact(len),
            None => self.framing,
        }
    }

    /// The most bytes that are sent as one payload.
    pub(crate) fn request_len_max(&self) -> usize {
        let request = match &self.payload {
            // With a header or a delimiter where they belong to the payload.
            Payload::Random => *self.payload_len.end() as usize + usize::from(u8::MAX) + Enclosure::LEN_MAX,
            Payload::Templates { list, .. } => list.iter().map(Template::len).max().unwrap_or(0),
        };
        self.hello.iter().map(Vec::len).fold(request, usize::max)
    }

    /// The bytes with which a connection begins.
    pub(crate) fn hello_len(&self) -> usize {
        self.hello.iter().map(|payload| payload.len() + Enclosure::LEN_MAX).sum()
    }

    /// The longest payload of a response that is accepted.
    pub(crate) fn response_len_max(&self) -> u32 {
        let expected = match &self.check {
            Check::Echo | Check::Len => 0,
            Check::Equals(bytes) => bytes.len(),
            Check::Any | Check::Prefix(_) | Check::Regex(_) => UNKNOWN_LEN_MAX,
        };
        u32::try_from(expected.max(self.request_len_max())).unwrap_or(u32::MAX).max(Config::default().max_payload)
    }
}

/// The longest response that is not known beforehand, in bytes.
const UNKNOWN_LEN_MAX: usize = 256 << 20;
/// Fits the `u32` of a connection's number, and is far more than a machine has ports for.
const CONNECTIONS_MAX: usize = 100_000_000;
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1e9;
/// The longest time of a plan.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reports why a run could not start, or failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// A value of the plan is not allowed. The message explains it.
    Plan(String),
    /// A reactor could not be created, or failed.
    Reactor(Error),
    /// A source is not an address of this machine.
    SourceNotLocal(IpAddr),
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(message) => f.write_str(message),
            Self::Reactor(error) => error.fmt(f),
            Self::SourceNotLocal(source) => write!(
                f,
                "source {source} is not an address of this machine: give --source addresses that `ip address` shows, or add \
                 it there"
            ),
            Self::Thread(error) => write!(f, "a thread could not be started: {error}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Plan(_) | Self::SourceNotLocal(_) => None,
            Self::Reactor(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Reactor(error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::address::Address;

    #[test]
    fn invalid_plan_error_names_value_and_allowed_range() {
        let plan = Plan::default;
        let cases = [
            (Plan { connections: 0, ..plan() }, "connections is 0 and must be at least 1"),
            (Plan { threads: 51, ..plan() }, "threads is 51 and must be at most the 50 connections"),
            (Plan { rate: Some(0.0), ..plan() }, "rate is 0 a second and must be from 0.001 to 1000000000"),
            (
                Plan { churn: true, rate: Some(1.0), ..plan() },
                "churn has no schedule: it cannot be combined with a rate",
            ),
            (Plan { stop: Stop::Frames(0), ..plan() }, "frames is 0 and must be at least 1"),
            (
                Plan { warmup: Duration::from_secs(31_536_001), ..plan() },
                "warmup is 31536001 s and must be at most 31536000 s",
            ),
            (
                Plan { stop: Stop::After(Duration::MAX), ..plan() },
                "duration is 18446744073709551615 s and must be at most 31536000 s",
            ),
        ];
        let unix = vec![Target::new(Address::Unix("/run/a.sock".into()))];
        let v6 = vec![Target::new("[::1]:7".parse::<SocketAddr>().unwrap())];
        let sources = |text: &str| text.parse::<Sources>().unwrap();
        let of_sources = [
            (
                Plan { sources: sources("127.0.0.2"), targets: unix, ..plan() },
                "a source address is for TCP, and the target is unix:/run/a.sock: leave --source out",
            ),
            (
                Plan { sources: sources("127.0.0.0/8"), targets: v6.clone(), ..plan() },
                "source 127.0.0.1 is IPv4 and the target [::1]:7 is IPv6: give --source addresses of the target's family",
            ),
            (
                Plan { sources: sources("127.0.0.1,::1"), ..plan() },
                "source ::1 is IPv6 and the target the run's own server is IPv4: give --source addresses of the target's \
                 family",
            ),
        ];
        for (plan, expected) in cases.into_iter().chain(of_sources) {
            assert_eq!(plan.check().unwrap_err().to_string(), expected);
        }
        let in_days = |days: u64| Some(time_of_day() + Duration::from_secs(days * 24 * 60 * 60));
        assert!(Plan { start_at: in_days(364), ..plan() }.check().is_ok());
        let error = Plan { start_at: in_days(366), ..plan() }.check().unwrap_err().to_string();
        assert!(error.starts_with("time until the start is 316"), "{error}");
        assert!(plan().check().is_ok());
        let name = Target { other_addrs: vec![([127, 0, 0, 1], 7).into()], ..v6[0].clone() };
        for targets in [vec![name], [v6, vec![Target::new(SocketAddr::from(([127, 0, 0, 1], 7)))]].concat()] {
            assert!(Plan { sources: sources("127.0.0.1,::1"), targets, ..plan() }.check().is_ok());
        }
    }

    #[test]
    fn hold_excludes_other_shapes_of_load() {
        let plan = Plan::default;
        let hold = Some(Hold::Silent);
        let cases = [
            (
                Plan { hold, rate: Some(1.0), ..plan() },
                "hold has a schedule of its own: it cannot be combined with a rate",
            ),
            (Plan { hold, churn: true, ..plan() }, "hold keeps the connections: it cannot be combined with churn"),
            (
                Plan { hold, depth: 2, ..plan() },
                "depth is 2 and must be 1 with hold, where a frame is due per interval",
            ),
            (
                Plan { hold, stop: Stop::Frames(5), ..plan() },
                "hold ends after a duration: it cannot be combined with a number of frames",
            ),
            (
                Plan { hold: Some(Hold::Every(Duration::ZERO)), ..plan() },
                "the interval of hold is 0 s and must be more",
            ),
            (
                Plan { hold: Some(Hold::Every(Duration::MAX)), ..plan() },
                "interval of hold is 18446744073709551615 s and must be at most 31536000 s",
            ),
        ];
        for (plan, expected) in cases {
            assert_eq!(plan.check().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        let whole = Plan {
            connections: 103,
            idle: 5,
            drip: 1,
            deaf: 2,
            stop: Stop::Frames(1_001),
            rate: Some(700.0),
            connect_rate: Some(70.0),
            ..Plan::default()
        };
        for count in [1, 2, 3, 7, 103] {
            let shares: Vec<Plan> =
                (1..=count).map(|nth| whole.share(Segment::new(nth, count).unwrap()).unwrap()).collect();
            let sum = |of: fn(&Plan) -> usize| shares.iter().map(of).sum::<usize>();
            assert_eq!((sum(|plan| plan.connections), sum(Plan::connections_total)), (103, 111), "{count}");
            let frames = sum(|plan| if let Stop::Frames(frames) = plan.stop { frames as usize } else { 0 });
            assert_eq!(frames, 1_001, "{count}");
            let rate: f64 = shares.iter().filter_map(|plan| plan.rate).sum();
            assert!((rate - 700.0).abs() < 1e-6, "{count}: {rate}");
        }
    }

    #[test]
    fn share_of_nothing_is_an_error() {
        let error = |nth, whole: &Plan| whole.share(Segment::new(nth, 3).unwrap()).unwrap_err().to_string();
        let whole = Plan { connections: 2, ..Plan::default() };
        assert!(whole.share(Segment::new(2, 3).unwrap()).is_ok());
        assert_eq!(error(3, &whole), "segment 3/3 has none of the 2 connections: give fewer segments");
        let whole = Plan { stop: Stop::Frames(1), ..Plan::default() };
        assert_eq!(error(2, &whole), "segment 2/3 has none of the 1 frames: give fewer segments");
        let whole = Plan { connections: 9, threads: 4, ..Plan::default() };
        assert_eq!(error(1, &whole), "threads is 4 and must be at most the 3 connections");
        let whole = Plan { connections: 0, ..Plan::default() };
        assert_eq!(error(1, &whole), "connections is 0 and must be at least 1");
    }
}
