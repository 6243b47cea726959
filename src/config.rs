//! What a reactor may use: limits, budgets, water marks and deadlines.
//!
//! A [`Config`] is built by [`Config::builder`] and checked once, when it is built: what reaches the reactor can work.
//!
//! Rule: [`Duration::MAX`] means "forever" in every setting, and so does any other duration that the clock cannot count to.

use std::fmt;
use std::time::{Duration, Instant};

use crate::wire::HEADER_LEN;

/// The capacity of the largest chunk, in bytes: a frame with a payload of 64 KiB, with room to spare for the next header.
pub(crate) const CHUNK_LEN: usize = 68 << 10;

/// Settings of a reactor, checked to be consistent.
///
/// Every constructor sets every bound; nothing is unlimited by omission. A field is read by the method of its name on
/// [`ConfigBuilder`], which also documents it. [`Duration::MAX`] means "forever" in each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) max_payload: u32,
    pub(crate) max_connections: usize,
    pub(crate) max_per_ip: Option<usize>,
    pub(crate) ip_prefix: (u8, u8),
    pub(crate) memory: usize,
    pub(crate) output_high_water: usize,
    pub(crate) output_low_water: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) reclaim_idle: Option<Duration>,
    pub(crate) frame_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) write_rate_min: usize,
    pub(crate) linger_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_budget_bytes: usize,
    pub(crate) write_budget_bytes: usize,
    pub(crate) frame_budget: usize,
    pub(crate) turn_budget: usize,
    pub(crate) accept_budget: usize,
    pub(crate) dial_budget: usize,
    pub(crate) mailbox_max: usize,
    pub(crate) dials_max: usize,
    pub(crate) timers_max: usize,
    pub(crate) events_per_turn: usize,
    pub(crate) pool_bytes_max: usize,
    pub(crate) backlog: u32,
    pub(crate) reuse_port: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) spin: Duration,
}

impl Config {
    /// A builder that starts from the defaults.
    ///
    /// ```
    /// use std::time::Duration;
    /// use frameloop::Config;
    ///
    /// let config = Config::builder()
    ///     .max_payload(64 << 10)
    ///     .idle_timeout(Some(Duration::from_secs(60)))
    ///     .build()?;
    /// # Ok::<(), frameloop::ConfigError>(())
    /// ```
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The rule: a memory limit that lets a server start also lets every frame through that its other limits allow.
    ///
    /// The least such limit, in bytes: the longest frame and the chunk that it is read into last; or what a connection holds
    /// that has reached its high-water mark with shorter frames.
    #[must_use]
    pub fn memory_min(&self) -> usize {
        self.longest_frame_bytes().max(self.small_bytes_max())
    }

    /// What the longest frame takes while it is received.
    fn longest_frame_bytes(&self) -> usize {
        (self.max_payload as usize).saturating_add(HEADER_LEN + CHUNK_LEN)
    }

    fn check_memory(&self) -> Result<(), ConfigError> {
        let min = self.memory_min();
        if self.memory >= min {
            return Ok(());
        }
        let (why, other) = if min == self.longest_frame_bytes() {
            (format!("a frame of max_payload ({}) and a chunk", self.max_payload), "max_payload")
        } else {
            (format!("output up to output_high_water ({}) and 4 chunks", self.output_high_water), "output_high_water")
        };
        let allowed = format!("at least {min}, for {why} of {CHUNK_LEN}; raise it or lower {other}");
        Err(ConfigError::new("memory", self.memory, allowed))
    }

    /// The most buffer memory that a connection needs whose frames fit a chunk: output up to the high-water mark and a
    /// response, with a chunk to spare at either end of it, and a chunk of input.
    pub(crate) fn small_bytes_max(&self) -> usize {
        self.output_high_water.saturating_add(4 * CHUNK_LEN)
    }
}

impl Default for Config {
    /// The settings that [`Config::builder`] starts from.
    fn default() -> Self {
        Self {
            max_payload: 16 << 20,
            max_connections: 10_000,
            max_per_ip: None,
            ip_prefix: (32, 64),
            memory: 1 << 30,
            output_high_water: 64 << 10,
            output_low_water: 16 << 10,
            idle_timeout: None,
            reclaim_idle: Some(Duration::from_secs(30)),
            frame_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            write_rate_min: 4 << 10,
            linger_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            read_budget_bytes: 128 << 10,
            write_budget_bytes: 512 << 10,
            frame_budget: 2_048,
            turn_budget: 1 << 20,
            accept_budget: 64,
            dial_budget: 64,
            mailbox_max: 1 << 16,
            dials_max: 1 << 16,
            timers_max: 1 << 20,
            events_per_turn: 256,
            pool_bytes_max: 16 << 20,
            backlog: 4_096,
            reuse_port: false,
            keepalive: None,
            spin: Duration::ZERO,
        }
    }
}

/// The instant that is `wait` after `from`; `None` if it never comes.
pub(crate) fn after(from: Instant, wait: Duration) -> Option<Instant> {
    from.checked_add(wait)
}

/// Collects settings; [`build`](Self::build) checks them.
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder {
    config: Config,
}

/// One setter for each field, with the field's documentation.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.config.$name = $name;
                self
            }
        )*
    };
}

impl ConfigBuilder {
    setters! {
        /// The largest payload that a peer may announce, in bytes. Default 16 MiB; at most 4 GiB - 1.
        max_payload: u32,
        /// The most connections at a time; one more takes the place of an idle one ([`reclaim_idle`](Self::reclaim_idle)), or
        /// is refused and counted. Default 10,000.
        max_connections: usize,
        /// The most connections at a time from addresses that share a prefix, as long as [`ip_prefix`](Self::ip_prefix) says.
        /// Default `None`: no such limit.
        ///
        /// An IPv4 address mapped into IPv6 counts as the IPv4 address.
        max_per_ip: Option<usize>,
        /// The bits that [`max_per_ip`](Self::max_per_ip) compares, of an IPv4 address (1 to 32) and of an IPv6 address (1 to
        /// 128). Default 32 and 64: an IPv6 network of this size is what one client gets, and may choose its addresses from.
        ip_prefix: (u8, u8),
        /// The most bytes that the buffers of all connections may take together. Default 1 GiB; at least the longest frame
        /// and a chunk of 68 KiB, and no less than `output_high_water` and four chunks ([`Config::memory_min`]).
        ///
        /// Where it is reached, the connection that holds the most pending input and output is closed first, with
        /// [`CloseReason::Evicted`](crate::CloseReason::Evicted); connections that need little, and new ones, are served
        /// with what that frees. A handler that calls [`Frame::payload`](crate::Frame::payload) on a frame longer than a
        /// chunk takes one frame more while the callback runs.
        memory: usize,
        /// The high-water mark: unsent output, in bytes, at which reading from a peer pauses. Default 64 KiB.
        output_high_water: usize,
        /// The low-water mark: unsent output, in bytes, at which reading resumes. Default 16 KiB.
        output_low_water: usize,
        /// Closes a connection on which nothing moved for this long: no frame in either direction, and no byte of one.
        /// Default `None`: never.
        idle_timeout: Option<Duration>,
        /// When there are as many connections as [`max_connections`](Self::max_connections) allows, or the kernel has no
        /// descriptor for another, closes the accepted connection that has been idle longest for each client that is
        /// accepted, if it has been idle for this long, to the millisecond; with
        /// [`CloseReason::Reclaimed`](crate::CloseReason::Reclaimed). Default 30 s; `None`, or more than 52 days: never.
        ///
        /// A frame in either direction, an incomplete frame, pending output and unread input are activity.
        reclaim_idle: Option<Duration>,
        /// Closes a connection whose frame is not complete this long after its first byte. Default 30 s.
        frame_timeout: Option<Duration>,
        /// Closes a connection with a reset whose peer has pending output and accepts none of it, or less than
        /// [`write_rate_min`](Self::write_rate_min), over a window of this length. Default 30 s.
        ///
        /// Output is pending until the peer's kernel has acknowledged it, also when it has left for the kernel's
        /// send buffer. The first window begins when a write blocks, or when 64 KiB may be unacknowledged; each further one
        /// where the last has ended. So a peer that stops reading is closed within two windows, unless less than 64 KiB are
        /// unacknowledged.
        write_timeout: Option<Duration>,
        /// The least that a peer accepts of its pending output, in bytes per second, measured over windows of
        /// [`write_timeout`](Self::write_timeout); 0 is off. Default 4 KiB/s.
        ///
        /// A peer may fall behind by three quarters of what a window asks for, because what it reads is acknowledged in
        /// steps.
        write_rate_min: usize,
        /// How long, after our end of a stream was shut down, what the peer still sends is read and thrown away before
        /// the socket is closed. Default 1 s.
        ///
        /// Closing a socket with unread input makes the kernel send RST, which can destroy output that is still on its
        /// way (RFC 1122, section 4.2.2.13; RFC 9112, section 9.6).
        linger_timeout: Duration,
        /// How long a drain may take before what is left is cut; zero cuts at once. Default 5 s.
        drain_timeout: Duration,
        /// How long a connection that is dialed may take to be made. Default 10 s.
        connect_timeout: Duration,
        /// Reading from one connection stops for this turn once this many bytes were read. Default 128 KiB.
        read_budget_bytes: usize,
        /// Writing to one connection stops for this turn once this many bytes were written, and one call takes
        /// no more than these, rounded up to a chunk of 68 KiB. Default 512 KiB.
        write_budget_bytes: usize,
        /// The most frames of one connection that are handled in one turn. Default 2,048.
        frame_budget: usize,
        /// The most bytes that one turn reads and writes, for all connections together. Default 1 MiB; at least 16 KiB.
        ///
        /// What is left over waits for the next turn, in order, so that connections that became ready meanwhile have their
        /// turn. Less lets a small request wait for fewer bytes of others, for one more poll every so many bytes.
        turn_budget: usize,
        /// The most connections that each listener accepts in one turn. Default 64.
        accept_budget: usize,
        /// The most connections that are dialed in one turn. Default 64.
        dial_budget: usize,
        /// The most messages from other threads that wait for the handler; [`Handle::send`](crate::Handle::send) returns one
        /// beyond that to its sender. Default 65,536.
        mailbox_max: usize,
        /// The most dials that wait to be begun; [`Context::dial`](crate::Context::dial) refuses one beyond that. Default 65,536.
        dials_max: usize,
        /// The most timers that are set at a time; [`Context::set_timer`](crate::Context::set_timer) refuses one beyond that.
        /// Default 1,048,576.
        timers_max: usize,
        /// The most events that one poll returns. Default 256: with many more, what the kernel has just touched of a
        /// connection is no longer in the cache when its turn comes.
        events_per_turn: usize,
        /// The most bytes of unused buffers that are kept for reuse. Default 16 MiB.
        pool_bytes_max: usize,
        /// The listen queue's length (`listen(2)`; the kernel caps it, on Linux at `net.core.somaxconn`).
        /// Default 4,096.
        backlog: u32,
        /// Sets `SO_REUSEPORT`, so that several processes can listen on one port (`socket(7)`). Default off.
        reuse_port: bool,
        /// Probes a peer that has been silent for this long, from 1 s to 32,767 s in whole seconds (`SO_KEEPALIVE`,
        /// `tcp(7)`). Default `None`: off.
        ///
        /// Five probes follow, a fifth of this time apart but at least 1 s (`TCP_KEEPINTVL`, `TCP_KEEPCNT`). So a peer that
        /// has vanished is found within twice this time, or within 5 s more than this time if that is longer.
        keepalive: Option<Duration>,
        /// Polls without sleeping for this long before it blocks. Default zero.
        spin: Duration,
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting that cannot work, with what was asked for and what is allowed.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut c = self.config;
        // A probe that never comes.
        c.keepalive = c.keepalive.filter(|idle| *idle != Duration::MAX);
        let timeouts = [
            ("idle_timeout", c.idle_timeout),
            ("reclaim_idle", c.reclaim_idle),
            ("frame_timeout", c.frame_timeout),
            ("write_timeout", c.write_timeout),
            ("linger_timeout", Some(c.linger_timeout)),
            ("connect_timeout", Some(c.connect_timeout)),
        ];

        at_least("max_connections", c.max_connections, 1)?;
        at_most("max_connections", c.max_connections, CONNECTIONS_MAX)?;
        at_least("max_per_ip", c.max_per_ip.unwrap_or(1), 1)?;
        let (ipv4, ipv6) = c.ip_prefix;
        if !(1..=32).contains(&ipv4) || !(1..=128).contains(&ipv6) {
            return Err(ConfigError::new("ip_prefix", format_args!("{ipv4},{ipv6}"), "from 1,1 to 32,128"));
        }
        c.check_memory()?;
        at_least("output_high_water", c.output_high_water, 1)?;
        at_most("output_low_water", c.output_low_water, c.output_high_water - 1)?;
        for (name, value) in [
            ("read_budget_bytes", c.read_budget_bytes),
            ("write_budget_bytes", c.write_budget_bytes),
            ("frame_budget", c.frame_budget),
            ("accept_budget", c.accept_budget),
            ("dial_budget", c.dial_budget),
            ("mailbox_max", c.mailbox_max),
            ("dials_max", c.dials_max),
            ("timers_max", c.timers_max),
            ("events_per_turn", c.events_per_turn),
        ] {
            at_least(name, value, 1)?;
        }
        at_least("turn_budget", c.turn_budget, TURN_BUDGET_MIN)?;
        at_most("events_per_turn", c.events_per_turn, 1 << 20)?;
        at_least("backlog", c.backlog as usize, 1)?;
        at_most("backlog", c.backlog as usize, i32::MAX as usize)?;
        for (name, timeout) in timeouts {
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(ConfigError::new(name, "0 s", "more than 0 s, or none"));
            }
        }
        if let Some(idle) = c.keepalive
            && !KEEPALIVE.contains(&idle.as_secs())
        {
            let allowed = format_args!("from {} s to {} s", KEEPALIVE.start(), KEEPALIVE.end()).to_string();
            return Err(ConfigError::new("keepalive", format_args!("{idle:?}"), allowed));
        }
        Ok(c)
    }
}

/// A slot's index takes half of a token.
const CONNECTIONS_MAX: usize = (1 << (usize::BITS / 2)) - 16;

/// The least that a turn may move, in bytes: enough for each path through a turn to go on.
pub(crate) const TURN_BUDGET_MIN: usize = 16 << 10;

/// What the kernel takes as `TCP_KEEPIDLE`, in seconds: Linux allows up to `MAX_TCP_KEEPIDLE`.
const KEEPALIVE: std::ops::RangeInclusive<u64> = 1..=32_767;

/// A setting cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    observed: String,
    allowed: String,
}

impl ConfigError {
    fn new(setting: &'static str, observed: impl ToString, allowed: impl ToString) -> Self {
        Self { setting, observed: observed.to_string(), allowed: allowed.to_string() }
    }

    /// The name of the setting: that of the builder's method, and of the flag and the variable of `frameloop serve`, in their
    /// styles (`max_payload`, `--max-payload`, `FRAMELOOP_MAX_PAYLOAD`).
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, observed, allowed } = self;
        write!(f, "{setting} is {observed} and must be {allowed}")
    }
}

impl std::error::Error for ConfigError {}

fn at_least(setting: &'static str, observed: usize, min: usize) -> Result<(), ConfigError> {
    if observed < min {
        return Err(ConfigError::new(setting, observed, format_args!("at least {min}")));
    }
    Ok(())
}

fn at_most(setting: &'static str, observed: usize, max: usize) -> Result<(), ConfigError> {
    if observed > max {
        return Err(ConfigError::new(setting, observed, format_args!("at most {max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(builder: ConfigBuilder) -> String {
        match builder.build() {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_defaults_can_work() {
        assert_eq!(Config::builder().build(), Ok(Config::default()));
    }

    #[test]
    fn a_refusal_shows_the_observed_and_the_allowed_value() {
        let cases = [
            (Config::builder().max_connections(0), "max_connections is 0 and must be at least 1"),
            (Config::builder().max_per_ip(Some(0)), "max_per_ip is 0 and must be at least 1"),
            (Config::builder().ip_prefix((0, 64)), "ip_prefix is 0,64 and must be from 1,1 to 32,128"),
            (Config::builder().ip_prefix((33, 64)), "ip_prefix is 33,64 and must be from 1,1 to 32,128"),
            (Config::builder().ip_prefix((32, 0)), "ip_prefix is 32,0 and must be from 1,1 to 32,128"),
            (Config::builder().ip_prefix((32, 129)), "ip_prefix is 32,129 and must be from 1,1 to 32,128"),
            (
                Config::builder().max_payload(1 << 20).memory(1 << 20),
                "memory is 1048576 and must be at least 1118212, for a frame of max_payload (1048576) and a \
                 chunk of 69632; raise it or lower max_payload",
            ),
            (
                Config::builder().max_payload(100).memory(0),
                "memory is 0 and must be at least 344064, for output up to output_high_water (65536) and 4 \
                 chunks of 69632; raise it or lower output_high_water",
            ),
            (
                Config::builder().output_high_water(usize::MAX),
                "memory is 1073741824 and must be at least 18446744073709551615, for output up to \
                 output_high_water (18446744073709551615) and 4 chunks of 69632; raise it or lower output_high_water",
            ),
            (
                Config::builder().output_high_water(1_024).output_low_water(1_024),
                "output_low_water is 1024 and must be at most 1023",
            ),
            (Config::builder().output_high_water(0), "output_high_water is 0 and must be at least 1"),
            (Config::builder().frame_budget(0), "frame_budget is 0 and must be at least 1"),
            (Config::builder().backlog(0), "backlog is 0 and must be at least 1"),
            (
                Config::builder().frame_timeout(Some(Duration::ZERO)),
                "frame_timeout is 0 s and must be more than 0 s, or none",
            ),
            (
                Config::builder().keepalive(Some(Duration::from_millis(1))),
                "keepalive is 1ms and must be from 1 s to 32767 s",
            ),
            (
                Config::builder().keepalive(Some(Duration::from_secs(12 * 3_600))),
                "keepalive is 43200s and must be from 1 s to 32767 s",
            ),
        ];
        for (builder, expected) in cases {
            assert_eq!(refusal(builder), expected);
        }
    }

    #[test]
    fn a_duration_without_end_is_allowed_in_every_setting() {
        let forever = Some(Duration::MAX);
        let builder = Config::builder().idle_timeout(forever).frame_timeout(forever).write_timeout(forever);
        let builder = builder.linger_timeout(Duration::MAX).drain_timeout(Duration::MAX).connect_timeout(Duration::MAX);
        let config = builder.keepalive(forever).spin(Duration::MAX).build().unwrap();
        assert_eq!(config.keepalive, None, "a probe that never comes");
    }

    #[test]
    fn memory_limit_is_accepted_from_the_least_that_a_frame_needs() {
        for (payload, high) in
            [(0, 64 << 10), (1 << 20, 64 << 10), (16 << 20, 1), (u32::MAX, 64 << 10), (1_000, 8 << 20)]
        {
            let builder = || Config::builder().max_payload(payload).output_high_water(high).output_low_water(0);
            let min = builder().memory(usize::MAX).build().map(|config| config.memory_min());
            let Ok(min) = min else { panic!("{min:?}") };
            assert!(min >= payload as usize + HEADER_LEN + CHUNK_LEN && min >= high);
            assert!(builder().memory(min).build().is_ok());
            assert!(builder().memory(min - 1).build().is_err());
        }
        // What needs more than the default limit is refused as well, whatever was set.
        assert!(Config::builder().max_payload(1 << 30).build().is_err());
    }

    #[test]
    fn four_gib_minus_one_is_an_allowed_payload_len() {
        let builder = Config::builder().max_payload(u32::MAX).memory(8 << 30);
        assert!(builder.build().is_ok());
    }
}
