//! The settings of a reactor: limits, budgets, water marks and deadlines.
//!
//! [`ConfigBuilder::build`] checks them once, so a reactor only gets settings that can work.
//!
//! Rule: [`Duration::MAX`] means "forever" in every setting, and so does any other duration whose end an [`Instant`] cannot hold.

use std::fmt;
use std::time::{Duration, Instant};

use crate::lint::LintMode;
use crate::wire::HEADER_LEN;

/// The capacity of the largest chunk, in bytes: a frame with a payload of 64 KiB, with room to spare for the next header.
pub(crate) const CHUNK_LEN: usize = 68 << 10;

/// Holds the settings of a reactor, which were checked to be consistent.
///
/// [`Config::default`] has the defaults, and [`Config::builder`] changes them. The methods of [`ConfigBuilder`] document each
/// setting: its default, unit and range. Where a setting is a [`Duration`], [`Duration::MAX`] means "forever".
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
    pub(crate) connection_counters: bool,
    pub(crate) spin: Duration,
    pub(crate) lint: LintMode,
}

impl Config {
    /// Returns a builder that starts from the defaults.
    ///
    /// # Examples
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

    /// Returns the smallest [`memory`](ConfigBuilder::memory) that these settings allow, in bytes.
    ///
    /// Rule: a memory limit with which a server starts has room for every frame that its other limits allow. That is the
    /// longest frame and a chunk of 68 KiB, or output up to the high-water mark and four chunks, whichever is more.
    #[must_use]
    pub fn memory_min(&self) -> usize {
        self.longest_frame_bytes().max(self.small_bytes_max())
    }

    /// The buffers for the longest frame while it is received, in bytes.
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

    /// The most buffers that a connection needs if its frames fit a chunk, in bytes: output up to the high-water mark and a
    /// reply, a partly used chunk at either end of it, and a chunk of input.
    pub(crate) fn small_bytes_max(&self) -> usize {
        self.output_high_water.saturating_add(4 * CHUNK_LEN)
    }
}

impl Default for Config {
    /// Returns the settings that [`Config::builder`] starts from.
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
            connection_counters: false,
            spin: Duration::ZERO,
            lint: LintMode::Off,
        }
    }
}

/// Returns the instant `wait` after `from`; `None` if an [`Instant`] cannot hold it, which means "never".
pub(crate) fn after(from: Instant, wait: Duration) -> Option<Instant> {
    from.checked_add(wait)
}

/// Collects the settings of a [`Config`]; [`build`](Self::build) checks them.
///
/// A setting that is not called keeps its default. A value out of its range is reported by [`build`](Self::build).
///
/// # Examples
///
/// ```
/// use frameloop::Config;
///
/// let refused = Config::builder().output_high_water(1_024).build().unwrap_err();
/// assert_eq!(refused.setting(), "output_low_water");
/// assert_eq!(refused.to_string(), "output_low_water is 16384 and must be at most 1023");
/// ```
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
        /// Sets the longest payload that a peer may announce, in bytes. Default 16 MiB; from 0 to 4 GiB - 1.
        ///
        /// A longer frame closes the connection with [`CloseReason::FrameTooLong`](crate::CloseReason::FrameTooLong) as soon
        /// as its header has arrived.
        max_payload: u32,
        /// Sets how many connections may exist at a time, accepted and dialed. Default 10,000; from 1 to 2^32 - 16 (on 32-bit
        /// targets 2^16 - 16).
        ///
        /// One more takes the place of an idle one ([`reclaim_idle`](Self::reclaim_idle)); without one, it is closed immediately
        /// and counted as refused.
        max_connections: usize,
        /// Limits the accepted connections at a time from addresses with a common prefix, whose length is
        /// [`ip_prefix`](Self::ip_prefix). Default `None`: no limit. Otherwise at least 1.
        ///
        /// A further connection is closed immediately and counted as refused. An IPv4 address mapped into IPv6 counts as the IPv4
        /// address. Unix sockets have no address, and so no such limit.
        max_per_ip: Option<usize>,
        /// Sets how many leading bits of an address [`max_per_ip`](Self::max_per_ip) compares: of an IPv4 address (from 1 to
        /// 32) and of an IPv6 address (from 1 to 128). Default 32 and 64.
        ///
        /// A client usually has a whole IPv6 network of 64 bits, and can use any address in it.
        ip_prefix: (u8, u8),
        /// Limits the buffers of all connections together, in bytes. Default 1 GiB; at least [`Config::memory_min`], which
        /// is 16 MiB + 68 KiB + 4 with the other defaults.
        ///
        /// At the limit, the connection that holds the most pending input and output is closed, with
        /// [`CloseReason::Evicted`](crate::CloseReason::Evicted), until there is room for the others. A handler that calls
        /// [`Frame::payload`](crate::Frame::payload) on a frame longer than a chunk (68 KiB) uses one frame more than this
        /// limit while the callback runs.
        memory: usize,
        /// Sets the high-water mark: with this many bytes of pending output, sends return
        /// [`SendError::Full`](crate::SendError::Full), and input from an accepted connection pauses. Default 64 KiB; at
        /// least 1.
        output_high_water: usize,
        /// Sets the low-water mark: when pending output has fallen to this many bytes, input resumes, and
        /// [`Handler::on_writable`](crate::Handler::on_writable) is called. Default 16 KiB; from 0 to the high-water mark - 1.
        output_low_water: usize,
        /// Closes a connection on which no byte has moved in either direction for this long. Default `None`: never. Otherwise
        /// more than 0.
        ///
        /// A frame of which bytes keep arriving counts as activity.
        idle_timeout: Option<Duration>,
        /// Sets how long an accepted connection must have been idle before a new client may take its place. Default 30 s;
        /// `None`, or more than 52 days: never. Otherwise more than 0, counted in milliseconds.
        ///
        /// A place is needed when [`max_connections`](Self::max_connections) is reached, or when the kernel has no descriptor
        /// for another connection. Then the connection that has been idle longest is closed, with
        /// [`CloseReason::Reclaimed`](crate::CloseReason::Reclaimed). A frame in either direction, an incomplete frame,
        /// pending output and unread input are activity.
        reclaim_idle: Option<Duration>,
        /// Closes a connection whose frame is not complete this long after its first byte. Default 30 s; `None`: never.
        /// Otherwise more than 0.
        frame_timeout: Option<Duration>,
        /// Closes a connection with a reset if the peer accepts none of its pending output in a window of this length, or
        /// less than [`write_rate_min`](Self::write_rate_min). Default 30 s; `None`: never. Otherwise more than 0.
        ///
        /// Output is pending until the peer's kernel has acknowledged it, even if our kernel has taken it. The first window
        /// begins when a write would block, or when 64 KiB may be unacknowledged; each further window begins at the end of
        /// the previous one. So a peer that stops reading is closed within two windows, unless less than 64 KiB are
        /// unacknowledged.
        write_timeout: Option<Duration>,
        /// Sets how fast a peer must accept its pending output, in bytes per second. Default 4 KiB/s; 0 = off, then any
        /// progress is enough.
        ///
        /// The rate is measured over windows of [`write_timeout`](Self::write_timeout). What a peer reads is acknowledged in
        /// steps, so it may fall behind by three quarters of what a window requires.
        write_rate_min: usize,
        /// Sets how long input is still read and discarded after our FIN was sent, before the socket is closed. Default 1 s;
        /// more than 0. [`Duration::MAX`] waits until the peer closes.
        ///
        /// Closing a socket with unread input makes the kernel send RST, which can destroy output that is still in flight
        /// (RFC 1122, section 4.2.2.13; RFC 9112, section 9.6).
        linger_timeout: Duration,
        /// Sets how long a drain may take; then the connections that are left are aborted. Default 5 s; 0 aborts them
        /// immediately, and [`Duration::MAX`] waits for all of them.
        drain_timeout: Duration,
        /// Sets how long each connect attempt of a dial may take. Default 10 s; more than 0. [`Duration::MAX`] leaves the
        /// limit to the kernel.
        connect_timeout: Duration,
        /// Limits what is read from one connection in one turn, in bytes. Default 128 KiB; at least 1.
        read_budget_bytes: usize,
        /// Limits what is written to one connection in one turn, in bytes. Default 512 KiB; at least 1.
        ///
        /// One system call writes at most this many bytes, rounded up to a chunk of 68 KiB.
        write_budget_bytes: usize,
        /// Limits how many frames of one connection are delivered in one turn. Default 2,048; at least 1.
        frame_budget: usize,
        /// Limits what one turn reads and writes for all connections together, in bytes. Default 1 MiB; at least 16 KiB.
        ///
        /// Connections without a share keep their places for the next turn, so that a connection that becomes ready
        /// meanwhile is served soon. A smaller budget shortens the wait of a small request behind large ones, and costs more
        /// polls.
        turn_budget: usize,
        /// Limits how many connections each listener accepts in one turn. Default 64; at least 1.
        accept_budget: usize,
        /// Limits how many connect attempts begin in one turn. Default 64; at least 1.
        dial_budget: usize,
        /// Limits how many messages from other threads may wait for the handler; then
        /// [`Handle::send`](crate::Handle::send) returns [`HandleError::Full`](crate::HandleError::Full) with the message.
        /// Default 65,536; at least 1.
        mailbox_max: usize,
        /// Limits how many dials may wait for their first connect attempt; then [`Context::dial`](crate::Context::dial)
        /// returns an error. Default 65,536; at least 1.
        dials_max: usize,
        /// Limits how many timers may be set at a time; then [`Context::set_timer`](crate::Context::set_timer) returns an
        /// error. Default 1,048,576; at least 1.
        timers_max: usize,
        /// Limits how many events one poll returns. Default 256; from 1 to 1,048,576.
        ///
        /// With many more, what the kernel has touched of a connection has left the processor's cache before its turn.
        events_per_turn: usize,
        /// Limits how many bytes of unused buffers are kept for reuse. Default 16 MiB; 0 keeps none.
        pool_bytes_max: usize,
        /// Sets the length of the listen queue (`listen(2)`). Default 4,096; from 1 to 2^31 - 1.
        ///
        /// The kernel caps it, on Linux at `net.core.somaxconn`.
        backlog: u32,
        /// Sets `SO_REUSEPORT`, so that several processes can listen on one port (`socket(7)`). Default `false`.
        reuse_port: bool,
        /// Enables keepalive probes to a peer that has been silent for this long (`SO_KEEPALIVE`, `tcp(7)`). Default `None`:
        /// off. Otherwise from 1 s to 32,767 s; fractions of a second are dropped.
        ///
        /// Five probes follow, a fifth of this time apart but at least 1 s (`TCP_KEEPINTVL`, `TCP_KEEPCNT`). So a peer that
        /// has vanished is detected within twice this time, or within 5 s more than this time if that is longer.
        keepalive: Option<Duration>,
        /// Sets whether the frames and bytes of each connection are counted, for
        /// [`ConnectionInfo::counters`](crate::ConnectionInfo::counters). Default `false`. With `true` a
        /// connection takes 40 bytes more.
        connection_counters: bool,
        /// Sets how long a poll returns without sleeping before it blocks. Default 0: it blocks immediately.
        ///
        /// Spinning saves the latency of waking the thread, and uses a processor.
        spin: Duration,
        /// Sets whether the reactor looks for mistakes with readiness, such as slow callbacks, and whether it logs them: see
        /// [`Lint`](crate::Lint). Default [`LintMode::Off`].
        lint: LintMode,
    }

    /// Checks the settings, and returns them as a [`Config`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting out of its range, its value, and the allowed values.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut c = self.config;
        // A probe that is never sent.
        c.keepalive = c.keepalive.filter(|idle| *idle != Duration::MAX);
        let timeouts = [
            ("idle_timeout", c.idle_timeout),
            ("reclaim_idle", c.reclaim_idle),
            ("frame_timeout", c.frame_timeout),
            ("write_timeout", c.write_timeout),
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
        for (name, timeout) in [("linger_timeout", c.linger_timeout), ("connect_timeout", c.connect_timeout)] {
            if timeout.is_zero() {
                return Err(ConfigError::new(name, "0 s", "more than 0 s"));
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

/// A slot's index is half of a token.
const CONNECTIONS_MAX: usize = (1 << (usize::BITS / 2)) - 16;

/// The smallest budget of a turn, in bytes: every path through a turn makes progress with it.
pub(crate) const TURN_BUDGET_MIN: usize = 16 << 10;

/// The range of `TCP_KEEPIDLE`, in seconds: Linux allows up to `MAX_TCP_KEEPIDLE`.
const KEEPALIVE: std::ops::RangeInclusive<u64> = 1..=32_767;

/// Reports a setting out of its range: its name, its value, and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    observed: String,
    allowed: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, observed: impl ToString, allowed: impl ToString) -> Self {
        Self { setting, observed: observed.to_string(), allowed: allowed.to_string() }
    }

    /// Returns the name of the setting, which is the name of the builder's method.
    ///
    /// `frameloop serve` has a flag and a variable of the same name for most of them (`max_payload`, `--max-payload`,
    /// `FRAMELOOP_MAX_PAYLOAD`).
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
#[path = "tests/config.rs"]
mod tests;
