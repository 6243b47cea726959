//! `frameloop serve`: arguments to a reactor, and the loop around its turns.

use std::time::{Duration, Instant};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use frameloop::wire::Framing;
use frameloop::{Config, ConfigError, Interest, LintMode, ListenOptions, Listening, Reactor, Turn};
use log::{info, warn};

use crate::address::{self, Endpoint};
use crate::admin::endpoint::{Admin, Observed};
use crate::admin::listen::AdminArgs;
use crate::admin::served::Served;
use crate::admin::service::service;
use crate::admin::views::ReactorLimits;
use crate::environment::renamed;
use crate::failure::Failure;
use crate::memory_limit::MemoryLimit;
use crate::output::Announcements;
use crate::signals::{self, Action, Wake};
use crate::values::{self, on};
use crate::{exit, logging, machine, memory_limit};

/// Serve: echo every frame back to its sender
///
/// Each listener is printed as `listening on ADDR` on stdout once it accepts, and at the end of a drain what became of the
/// connections. Everything else goes to the log on stderr.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Address to listen on: IP:PORT, NAME:PORT or unix:PATH (repeatable)
    ///
    /// With port 0 the kernel chooses a port. For a name, the first of its addresses that can be bound is used. In
    /// FRAMELOOP_LISTEN, commas separate several.
    #[arg(long, env = "FRAMELOOP_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7007")]
    #[arg(value_delimiter = ',', value_parser = address::to_listen_on)]
    #[arg(value_hint = ValueHint::Hostname, help_heading = "Listening")]
    listen: Vec<Endpoint>,
    /// Where a frame ends, such as u32be, varint, lines or raw
    ///
    /// A length of 1, 2, 3, 4 or 8 bytes (u8, u16be, u16le, u24be, u24le, u32be, u32le, u64be, u64le) or varint, each with
    /// optional ,offset=N (bytes before the field), ,adjust=N (added to the length) and ,header (the payload includes it); a
    /// delimiter (lines, crlf, delim:HEX); exact:N bytes; or raw: whatever arrives.
    #[arg(long, env = "FRAMELOOP_FRAMING", value_name = "SPEC", default_value = "u32be")]
    #[arg(help_heading = "Listening")]
    framing: Framing,
    /// Length of the listen queue, in connections
    #[arg(long, env = "FRAMELOOP_BACKLOG", value_name = "COUNT", default_value = "4096")]
    #[arg(value_parser = values::count::<u32>, help_heading = "Listening")]
    backlog: u32,
    /// Let several processes listen on one port (SO_REUSEPORT)
    #[arg(long, env = "FRAMELOOP_REUSE_PORT", value_parser = BoolishValueParser::new(), help_heading = "Listening")]
    reuse_port: bool,

    /// Longest payload that a header may announce (at most 4GiB-1)
    ///
    /// A longer one closes the connection as soon as its header is complete; with a delimiter, as soon as so many bytes have come.
    #[arg(long, alias = "max-frame", env = renamed("FRAMELOOP_MAX_PAYLOAD", "FRAMELOOP_MAX_FRAME"))]
    #[arg(value_name = "SIZE", default_value = "16MiB")]
    #[arg(value_parser = values::size::<u32>, help_heading = "Limits")]
    max_payload: u32,
    /// Maximum number of connections [default: as many as open files allow]
    ///
    /// At startup the soft limit of open files is raised to the hard limit; the default is that number minus a reserve. When
    /// the server is full, --reclaim-idle applies; otherwise a new connection is closed at once and counted as refused.
    #[arg(long, env = "FRAMELOOP_MAX_CONNECTIONS", value_name = "COUNT")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Limits")]
    max_connections: Option<usize>,
    /// When full, close the connection idle longest, if this long (0 = off)
    ///
    /// The server is full at --max-connections, or when no descriptor is left. A connection is not idle if a frame passed in
    /// either direction within this time, or if it has an incomplete frame or pending output.
    #[arg(long, env = "FRAMELOOP_RECLAIM_IDLE", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = values::duration, help_heading = "Limits")]
    reclaim_idle: Duration,
    /// Maximum number of connections per address prefix (0 = unlimited)
    #[arg(long, env = "FRAMELOOP_MAX_PER_IP", value_name = "COUNT", default_value = "0")]
    #[arg(value_parser = values::count::<usize>, help_heading = "Limits")]
    max_per_ip: usize,
    /// Prefix lengths for --max-per-ip: IPv4 (1 to 32), IPv6 (1 to 128)
    ///
    /// Addresses with the same prefix are counted together. An IPv4-mapped IPv6 address counts as IPv4.
    #[arg(long, env = "FRAMELOOP_IP_PREFIX", value_name = "V4,V6", default_value = "32,64")]
    #[arg(value_parser = values::prefix_lens, help_heading = "Limits")]
    ip_prefix: (u8, u8),
    /// Memory for the buffers of all connections [default: a quarter of the smallest memory limit]
    ///
    /// At the limit, the connection that holds the most memory is closed. The default is a quarter of the smallest of physical
    /// memory, the limits of the cgroup (v1 or v2) and its parents, and RLIMIT_AS (4GiB if none can be read).
    #[arg(long, env = "FRAMELOOP_MEMORY", value_name = "SIZE")]
    #[arg(value_parser = values::size::<usize>, help_heading = "Limits")]
    memory: Option<usize>,
    /// Pending output at which reading pauses; it resumes at a quarter
    #[arg(long, env = "FRAMELOOP_OUTPUT_HIGH_WATER", value_name = "SIZE", default_value = "64KiB")]
    #[arg(value_parser = values::size::<usize>, help_heading = "Limits")]
    output_high_water: usize,

    /// Close a connection without traffic for this long (0 = off)
    ///
    /// Each byte in either direction counts as traffic.
    #[arg(long, env = "FRAMELOOP_IDLE_TIMEOUT", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Timeouts")]
    idle_timeout: Duration,
    /// Time from a frame's first byte to its last (0 = off)
    #[arg(long, env = "FRAMELOOP_FRAME_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = values::duration, help_heading = "Timeouts")]
    frame_timeout: Duration,
    /// Reset a connection whose peer does not read for this long (0 = off)
    ///
    /// A peer does not read if it acknowledges none of the pending output, or less than --write-rate-min. Progress is measured
    /// over windows of DURATION, so a stalled reader is disconnected within twice DURATION. Output of less than 64KiB may stay
    /// unacknowledged without a timeout.
    #[arg(long, env = "FRAMELOOP_WRITE_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = values::duration, help_heading = "Timeouts")]
    write_timeout: Duration,
    /// Bytes per second that a peer must read at least (0 = off)
    ///
    /// It applies while output is pending, and is measured over windows of --write-timeout.
    #[arg(long, env = "FRAMELOOP_WRITE_RATE_MIN", value_name = "SIZE", default_value = "4KiB")]
    #[arg(value_parser = values::size::<usize>, help_heading = "Timeouts")]
    write_rate_min: usize,
    /// Time for a drain after SIGINT or SIGTERM (0 = close everything at once)
    ///
    /// A second signal, at least 100ms later, stops the server immediately.
    #[arg(long, env = "FRAMELOOP_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = values::duration, help_heading = "Timeouts")]
    drain_timeout: Duration,
    /// Send TCP keepalive probes after this much silence (1s to 32767s, 0 = off)
    ///
    /// Five probes are sent, a fifth of DURATION apart (at least 1s). A peer that has vanished is disconnected within twice
    /// DURATION, or within DURATION + 5s if that is longer.
    #[arg(long, env = "FRAMELOOP_KEEPALIVE", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Timeouts")]
    keepalive: Duration,

    /// Bytes that one turn of the loop may read and write (16KiB or more)
    ///
    /// The rest waits for the next turn. A smaller budget shortens the wait of small requests behind large ones; a larger one
    /// saves some polls. The counters show the longest turn, in time and in bytes.
    #[arg(long, env = "FRAMELOOP_TURN_BUDGET", value_name = "SIZE", default_value = "1MiB")]
    #[arg(value_parser = values::size::<usize>, help_heading = "Running")]
    turn_budget: usize,
    /// Poll without sleeping for this long before blocking (0 = off)
    ///
    /// This trades processor time for latency.
    #[arg(long, env = "FRAMELOOP_SPIN", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Running")]
    spin: Duration,
    /// Interval at which a line of counters is logged (0 = off)
    ///
    /// SIGUSR1 logs the same line at any time.
    #[arg(long, env = "FRAMELOOP_STATS_INTERVAL", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Running")]
    stats_interval: Duration,
    /// Count and log readiness mistakes, such as slow callbacks
    ///
    /// Each is a warning that says what was observed, what to do, and which chapter of the book explains it. The line of counters
    /// has their numbers. With --lint the clock is read for each frame, which costs some throughput.
    #[arg(long, env = "FRAMELOOP_LINT", value_parser = BoolishValueParser::new(), help_heading = "Running")]
    lint: bool,

    #[command(flatten)]
    admin: AdminArgs,
    /// Time from readiness 503 to the end of accepting, when a drain begins (0 = none)
    ///
    /// Meanwhile /readyz of the admin endpoint answers 503, and clients are accepted and served, so that a load balancer can stop
    /// sending new ones. --drain-timeout begins behind it.
    #[arg(long, env = "FRAMELOOP_DRAIN_DELAY", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "Admin endpoint")]
    drain_delay: Duration,
}

const EXAMPLES: &str = "\
SIZE: 64, 64KiB, 1MiB (powers of 1024), 16mb (powers of 1000). DURATION: 250ms, 5s, 2m. COUNT: 10000, 10k, 1m.

Signals: SIGINT or SIGTERM drains; a second one, at least 100ms later, ends at once. SIGUSR1 logs the counters.

Examples:
  frameloop serve                                                  on 127.0.0.1:7007
  frameloop serve --listen 0.0.0.0:7007 --listen '[::]:7007'       IPv4 and IPv6, all interfaces
  frameloop serve --listen unix:/run/frameloop.sock                a Unix socket
  frameloop serve --max-payload 1MiB --max-per-ip 100 --idle-timeout 5m
  frameloop serve --framing lines                                  a line is a frame
  frameloop serve -vv                                              every step of every connection";

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let limit = MemoryLimit::of_this_process();
    let settings = args.settings(machine::raise_descriptor_limit(), &limit).map_err(|error| usage(&error))?;
    // Resolving a name can take long: meanwhile a signal ends the process at once. From here on it drains.
    let addresses = args.listen.iter().map(address::candidates).collect::<Result<Vec<_>, _>>()?;
    let admin = args.admin.place()?;
    signals::set(Action::Count);
    let mut reactor = Reactor::new(settings.config.clone(), Served::default())?;
    let mut wake = Wake::new().map_err(|error| Failure::run(format_args!("cannot take signals: {error}")))?;
    reactor.watch(&wake.source(), Interest::Readable)?;
    let mut bound = Vec::with_capacity(addresses.len());
    for (address, candidates) in args.listen.iter().zip(&addresses) {
        let options = ListenOptions::default().framing(args.framing);
        bound.push(address::listen(&mut reactor, address, candidates, &options)?);
    }
    let admin = match admin {
        Some(place) => {
            let observed = Observed::Server { limits: args.limits(&settings) };
            Some(place.listen(&mut reactor, &settings.config, settings.memory, observed)?)
        }
        None => None,
    };
    if let Some(endpoint) = &mut reactor.handler_mut().admin {
        bound.iter().for_each(|listening| endpoint.add_listener(listening.id, "", listening.addr.to_string()));
    }
    if args.memory.is_none() {
        limit.log_default(settings.memory);
    }

    logging::finish(LOG_PATIENCE);
    // Only now: a script that reads this line may connect, and may send a signal.
    let announcements = Announcements::start();
    for Listening { addr, .. } in bound {
        announcements.line(&format!("listening on {addr}"));
    }
    if let Some(addr) = admin {
        announcements.line(&format!("admin on {addr}"));
    }
    run_until_done(&mut reactor, &mut wake, args)?;
    logging::finish(LOG_PATIENCE);
    let report = reactor.drain_report();
    let (drained, cut, unsent) = (report.drained, report.cut, report.unsent_bytes);
    announcements.line(&format!("drained {drained} connections, cut {cut} ({unsent} bytes unsent)"));
    drop(reactor);
    // If output has to be waited for, a second signal ends that as well.
    signals::set(Action::CountOne(EXIT_UNWRITTEN));
    let announced = announcements.finish(exit::left_at_exit());
    if announced.is_ok() {
        signals::set(Action::CountOne(0));
    }
    announced
}

impl ServeArgs {
    /// What the admin endpoint reports of the settings.
    fn limits(&self, settings: &Settings) -> ReactorLimits {
        let seconds = |timeout: Duration| on(timeout).map(|timeout| timeout.as_secs_f64());
        ReactorLimits {
            max_connections: settings.connections,
            memory: settings.memory,
            output_high_water: self.output_high_water,
            output_low_water: self.output_high_water / 4,
            idle_timeout: seconds(self.idle_timeout),
            frame_timeout: seconds(self.frame_timeout),
            write_timeout: seconds(self.write_timeout),
            turn_budget: self.turn_budget,
        }
    }

    /// The reactor's settings for a process with this limit of open files and of memory.
    fn settings(&self, descriptors: u64, limit: &MemoryLimit) -> Result<Settings, ConfigError> {
        // The endpoint's connections need descriptors of their own.
        let listeners = self.listen.len() + self.admin.descriptors();
        let room = machine::connections_within(descriptors, listeners);
        let connections = self.max_connections.unwrap_or(room);
        if connections > room {
            let needed = machine::descriptors_for(connections, listeners);
            warn!(target: logging::TARGET,
                "--max-connections is {connections}, but the limit of {descriptors} open files has room for {room}: \
                 start with a hard limit of {needed} (LimitNOFILE={needed} in a unit, --ulimit nofile={needed} of a container, \
                 or ulimit -Hn {needed} with CAP_SYS_RESOURCE)"
            );
        }
        let builder = Config::builder()
            .max_payload(self.max_payload)
            .max_connections(connections)
            .reclaim_idle(on(self.reclaim_idle))
            .max_per_ip(Some(self.max_per_ip).filter(|max| *max > 0))
            .ip_prefix(self.ip_prefix)
            .output_high_water(self.output_high_water)
            .output_low_water(self.output_high_water / 4)
            .idle_timeout(on(self.idle_timeout))
            .frame_timeout(on(self.frame_timeout))
            .write_timeout(on(self.write_timeout))
            .write_rate_min(self.write_rate_min)
            .drain_timeout(self.drain_timeout)
            .turn_budget(self.turn_budget)
            .backlog(self.backlog)
            .reuse_port(self.reuse_port)
            .keepalive(on(self.keepalive))
            .spin(self.spin)
            .connection_counters(self.admin.is_given())
            .lint(match (self.lint, self.admin.is_given()) {
                (true, _) => LintMode::Log,
                (false, true) => LintMode::Count,
                (false, false) => LintMode::Off,
            });
        let memory = match self.memory {
            Some(memory) => memory,
            None => {
                let least = builder.clone().memory(usize::MAX).build()?.memory_min();
                memory_limit::default(limit, least)
            }
        };
        let config = builder.memory(memory).build()?;
        ListenOptions::default().framing(self.framing).check(&config)?;
        Ok(Settings { config, memory, connections })
    }
}

/// The settings of a reactor, and two of them that cannot be read back.
struct Settings {
    config: Config,
    /// The memory for buffers, in bytes.
    memory: usize,
    connections: usize,
}

/// Turns until a signal's drain is done, or a second signal's stop.
fn run_until_done(reactor: &mut Reactor<Served>, wake: &mut Wake, args: &ServeArgs) -> Result<(), Failure> {
    let stats_interval = on(args.stats_interval);
    let mut stats_due = stats_interval.map(|interval| Instant::now() + interval);
    let mut drain_due = None;
    let mut ends_seen = 0;
    loop {
        let ends = signals::ends();
        if ends > ends_seen {
            wake.clear();
            ends_seen = ends;
            if ends == 1 {
                drain_due = Some(begin_drain(reactor, args.drain_delay));
            } else {
                reactor.stop();
            }
        }
        let until = |due: Option<Instant>| due.map(|due| due.saturating_duration_since(Instant::now()));
        let until_drain = until(drain_due);
        if until_drain.is_some_and(|left| left.is_zero()) {
            drain_due = None;
            reactor.drain();
        }
        let until_stats = until(stats_due);
        let is_due = until_stats.is_some_and(|left| left.is_zero());
        if is_due {
            stats_due = stats_interval.map(|interval| Instant::now() + interval);
        }
        let is_asked_for = wake.take_report();
        if is_due || is_asked_for {
            let dropped = logging::dropped_lines();
            info!(target: logging::STATS, "{}; log lines dropped {dropped}", reactor.stats());
        }
        let until_answer = serve_admin(reactor).then_some(Duration::ZERO);
        let timeouts = [until_stats, wake.until_report(), until_drain.filter(|left| !left.is_zero()), until_answer];
        if let Turn::Done = reactor.turn(timeouts.into_iter().flatten().min())? {
            return Ok(());
        }
    }
}

/// Is not ready for more clients from now on. Returns when the drain is due.
fn begin_drain(reactor: &mut Reactor<Served>, delay: Duration) -> Instant {
    if let Some(admin) = &mut reactor.handler_mut().admin {
        admin.begin_drain();
    }
    if !delay.is_zero() {
        info!(target: logging::TARGET, "not ready from now on; the drain begins in {delay:?}");
    }
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now)
}

/// Lets the admin endpoint do what it has to. Returns whether it goes on without an event.
#[inline]
fn serve_admin(reactor: &mut Reactor<Served>) -> bool {
    let admin =
        |reactor: &Reactor<Served>, asks: fn(&Admin) -> bool| reactor.handler().admin.as_deref().is_some_and(asks);
    if admin(reactor, Admin::needs_service) {
        service(reactor);
    }
    admin(reactor, Admin::wants_turn)
}

/// How long a line for scripts waits for what was logged before it.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// The exit code when a last line is not written.
const EXIT_UNWRITTEN: i32 = 1;

/// A setting that cannot work, by the name of its flag: the same name, in the style of a flag.
fn usage(error: &ConfigError) -> Failure {
    let message = error.to_string();
    // An error may name other settings too, with what they ask for.
    let is_setting = |word: &&str| *word == error.setting() || word.contains('_');
    let flag = |word| if is_setting(&word) { format!("--{}", word.replace('_', "-")) } else { word.to_owned() };
    let message = message.split(' ').map(flag).collect::<Vec<_>>().join(" ");
    Failure::usage(message)
}
