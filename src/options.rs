//! What the connections of a listener, or an outbound connection, have of their own: limits and framing.

use std::time::Duration;

use crate::config::{CHUNK_LEN, Config, ConfigError};
use crate::wire::{Framing, HEADER_LEN};

/// Holds the limits of a connection. Its listener or its [`Dial`](crate::Dial) sets them, and
/// [`Connection::set_limits`](crate::Connection::set_limits) changes them at any time, for example after authentication.
///
/// Connections with equal limits and framing share them, so they take no memory for each connection.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use frameloop::{Config, Limits};
///
/// let config = Config::default();
/// let before_login = Limits::of(&config).max_payload(1_024).idle_timeout(Some(Duration::from_secs(10)));
/// assert!(before_login.check(&config).is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "limits have no effect until a listener, a dial or a connection gets them"]
pub struct Limits {
    pub(crate) max_payload: u32,
    pub(crate) frames_in_parts: bool,
    pub(crate) output_high_water: usize,
    pub(crate) output_low_water: usize,
    pub(crate) pause_input_when_full: Option<bool>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) frame_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) write_rate_min: usize,
}

/// One setter for each field, with the field's documentation.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            }
        )*
    };
}

impl Limits {
    /// Returns the limits of a configuration, which connections have by default.
    pub fn of(config: &Config) -> Self {
        Self {
            max_payload: config.max_payload,
            frames_in_parts: false,
            output_high_water: config.output_high_water,
            output_low_water: config.output_low_water,
            pause_input_when_full: None,
            idle_timeout: config.idle_timeout,
            frame_timeout: config.frame_timeout,
            write_timeout: config.write_timeout,
            write_rate_min: config.write_rate_min,
        }
    }

    setters! {
        /// Sets the longest payload, in bytes; see [`ConfigBuilder::max_payload`](crate::ConfigBuilder::max_payload).
        max_payload: u32,
        /// Sets whether a frame longer than 68 KiB with its header is delivered in parts, by
        /// [`Handler::on_frame_part`](crate::Handler::on_frame_part). It takes no memory but the read buffer, so the longest payload may
        /// exceed [`ConfigBuilder::memory`](crate::ConfigBuilder::memory). Default `false`: each frame is collected.
        ///
        /// The frame timeout limits the whole frame, so long uploads need a longer one, or none.
        frames_in_parts: bool,
        /// Sets the high-water mark, in bytes; see [`ConfigBuilder::output_high_water`](crate::ConfigBuilder::output_high_water).
        output_high_water: usize,
        /// Sets the low-water mark, in bytes; see [`ConfigBuilder::output_low_water`](crate::ConfigBuilder::output_low_water).
        output_low_water: usize,
        /// Sets whether input pauses while pending output is above the high-water mark; see
        /// [`Connection::pause_input_when_full`](crate::Connection::pause_input_when_full). Default `None`: on accepted
        /// connections, and not on dialed ones.
        pause_input_when_full: Option<bool>,
        /// Sets how long no byte may move; see [`ConfigBuilder::idle_timeout`](crate::ConfigBuilder::idle_timeout).
        idle_timeout: Option<Duration>,
        /// Sets how long a frame may take; see [`ConfigBuilder::frame_timeout`](crate::ConfigBuilder::frame_timeout).
        frame_timeout: Option<Duration>,
        /// Sets the window in which the peer must read; see [`ConfigBuilder::write_timeout`](crate::ConfigBuilder::write_timeout).
        write_timeout: Option<Duration>,
        /// Sets how fast the peer must read, in bytes per second; see
        /// [`ConfigBuilder::write_rate_min`](crate::ConfigBuilder::write_rate_min).
        write_rate_min: usize,
    }

    /// Returns the longest payload, in bytes.
    #[must_use]
    pub fn max_payload_bytes(&self) -> u32 {
        self.max_payload
    }

    /// Returns the high-water mark, in bytes.
    #[must_use]
    pub fn output_high_water_bytes(&self) -> usize {
        self.output_high_water
    }

    /// Returns the low-water mark, in bytes.
    #[must_use]
    pub fn output_low_water_bytes(&self) -> usize {
        self.output_low_water
    }

    /// Checks the limits against the settings of a reactor.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first limit out of its range, its value, and the allowed values.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let error = |name, value: usize, allowed| Err(ConfigError::new(name, value, allowed));
        if self.output_high_water == 0 {
            return error("output_high_water", 0, "at least 1".to_owned());
        }
        if self.output_low_water >= self.output_high_water {
            return error("output_low_water", self.output_low_water, format!("at most {}", self.output_high_water - 1));
        }
        let room = config.memory.saturating_sub(HEADER_LEN + CHUNK_LEN);
        if !self.frames_in_parts && self.max_payload as usize > room && self.max_payload > config.max_payload {
            let allowed = format!(
                "at most {room}, for a frame and a chunk of {CHUNK_LEN} within the memory of {}; or any with frames_in_parts",
                config.memory
            );
            return error("max_payload", self.max_payload as usize, allowed);
        }
        let small_max = config.memory.saturating_sub(4 * CHUNK_LEN);
        if self.output_high_water > small_max.max(config.output_high_water) {
            let allowed = format!(
                "at most {small_max}, for it and 4 chunks of {CHUNK_LEN} within the memory of {}",
                config.memory
            );
            return error("output_high_water", self.output_high_water, allowed);
        }
        let timeouts = [
            ("idle_timeout", self.idle_timeout),
            ("frame_timeout", self.frame_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (name, timeout) in timeouts {
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(ConfigError::new(name, "0 s", "more than 0 s, or none"));
            }
        }
        Ok(())
    }

    /// Whether the deadlines of a connection are those of the configuration.
    pub(crate) fn has_timeouts_of(&self, config: &Self) -> bool {
        let timeouts = |limits: &Self| (limits.idle_timeout, limits.frame_timeout, limits.write_timeout);
        timeouts(self) == timeouts(config) && self.write_rate_min == config.write_rate_min
    }
}

/// Checks what the type of a framing does not limit.
pub(crate) fn check_framing(framing: Framing) -> Result<(), ConfigError> {
    match framing {
        Framing::Exact(0) => Err(ConfigError::new("framing", framing, "exact:1 or more")),
        Framing::Exact(_) | Framing::LengthPrefix(_) | Framing::Delimiter(_) | Framing::Raw => Ok(()),
    }
}

/// Describes a listener: what its connections have of their own, and its socket.
///
/// # Examples
///
/// ```
/// use frameloop::wire::Framing;
/// use frameloop::{Config, Echo, ListenOptions, Reactor};
///
/// let mut reactor = Reactor::new(Config::default(), Echo)?;
/// let any_port = "127.0.0.1:0".parse()?;
/// let lines = reactor.listen_with(&any_port, ListenOptions::default().framing(Framing::lines()).name("lines"))?;
/// let frames = reactor.listen_with(&any_port, ListenOptions::default())?;
/// assert_ne!((lines.id, lines.addr), (frames.id, frames.addr));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "options have no effect until a listener gets them"]
pub struct ListenOptions {
    pub(crate) framing: Framing,
    pub(crate) limits: Option<Limits>,
    pub(crate) backlog: Option<u32>,
    pub(crate) reuse_port: Option<bool>,
    pub(crate) mode: Option<u32>,
    pub(crate) name: String,
    pub(crate) max_connections: Option<usize>,
}

impl ListenOptions {
    /// Sets where a frame ends. Default [`Framing::default`]: a 4-byte big-endian length.
    pub fn framing(mut self, framing: impl Into<Framing>) -> Self {
        self.framing = framing.into();
        self
    }

    /// Sets the limits of the connections. Default: those of the [`Config`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the length of the listen queue; see [`ConfigBuilder::backlog`](crate::ConfigBuilder::backlog), which is the default.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// Sets `SO_REUSEPORT`; see [`ConfigBuilder::reuse_port`](crate::ConfigBuilder::reuse_port), which is the default.
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.reuse_port = Some(reuse_port);
        self
    }

    /// Sets the permissions of a Unix socket's file, such as `0o600`. By default the process's umask decides (`umask(2)`).
    ///
    /// On Linux the file never has more permissions than these, also not for a moment. They have no effect on other sockets.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the name of the listener, for log lines and for a handler that asks. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many connections of this listener may exist at a time, apart from all others: they do not count toward
    /// [`max_connections`](crate::ConfigBuilder::max_connections) and [`max_per_ip`](crate::ConfigBuilder::max_per_ip) of the
    /// reactor, and none of them is closed to make room for another client. At least 1. By default they count like any other.
    ///
    /// So clients that fill the server do not lock out those of this listener, such as an operator's, and the other way round. One
    /// more is closed at once and counted as refused.
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = Some(max_connections);
        self
    }

    /// The name, for a log line.
    pub(crate) fn named(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" ({})", self.name) }
    }

    /// Returns these options with what they leave to the configuration.
    pub(crate) fn or_of(mut self, config: &Config) -> Self {
        self.limits = self.limits.or_else(|| Some(Limits::of(config)));
        self.backlog = self.backlog.or(Some(config.backlog));
        self.reuse_port = self.reuse_port.or(Some(config.reuse_port));
        self
    }

    /// Checks the options against the settings of a reactor.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first option out of its range, its value, and the allowed values.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        check_framing(self.framing)?;
        if let Some(backlog) = self.backlog
            && !(1..=i32::MAX as u32).contains(&backlog)
        {
            return Err(ConfigError::new("backlog", backlog, format_args!("from 1 to {}", i32::MAX)));
        }
        if let Some(mode) = self.mode
            && mode > 0o777
        {
            return Err(ConfigError::new("mode", format_args!("{mode:#o}"), "at most 0o777"));
        }
        if self.max_connections == Some(0) {
            return Err(ConfigError::new("max_connections", 0, "at least 1"));
        }
        let max_payload = self.limits.map_or(config.max_payload, |limits| limits.max_payload);
        if let Framing::Exact(len) = self.framing
            && len > max_payload.into()
        {
            let allowed = format_args!("at most exact:{max_payload}, the longest payload").to_string();
            return Err(ConfigError::new("framing", self.framing, allowed));
        }
        self.limits.map_or(Ok(()), |limits| limits.check(config))
    }
}
