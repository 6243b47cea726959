//! The reactor: one thread, one readiness queue, and every connection in a slot.

pub(crate) mod accept;
mod adopt;
pub(crate) mod budget;
pub(crate) mod callbacks;
pub(crate) mod connections;
mod counters;
pub(crate) mod deadline_kind;
pub(crate) mod deadlines;
mod dial;
pub(crate) mod drain_report;
pub(crate) mod event;
pub(crate) mod eviction;
pub(crate) mod finding;
pub(crate) mod handle;
pub(crate) mod inspect;
#[cfg(test)]
pub(crate) mod invariants;
mod lifecycle;
mod lint;
mod lint_turn;
mod linted_run;
mod listen;
pub(crate) mod listeners;
pub(crate) mod log_limit;
pub(crate) mod observer;
mod own_deadlines;
pub(crate) mod per_ip;
mod reach;
mod recheck;
mod reclaim;
mod record;
pub(crate) mod recording;
mod run;
mod run_queue;
mod sending;
mod slots;
mod timers;
pub(crate) mod token;
pub(crate) mod traced;
mod turn;
mod watch;
mod work;
mod write_progress;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Instant;

use log::info;

use crate::config::{Config, after};
use crate::conn::input::ReadBuffer;
use crate::conn::shared::Shared;
use crate::error::{CloseReason, Error};
use crate::handler::{Context, Handler};
use crate::net::{Mio, Net};
use crate::reach::Reach;
use crate::reactor::connections::Connections;
use crate::reactor::deadlines::Deadlines;
use crate::reactor::drain_report::DrainReport;
use crate::reactor::handle::{Handle, Mailbox};
use crate::reactor::lint::Lints;
use crate::reactor::listeners::Listeners;
use crate::reactor::log_limit::{LOOP, LogLimits};
use crate::reactor::observer::Recordings;
use crate::reactor::per_ip::PerIp;
use crate::reactor::reclaim::Reclaim;
use crate::reactor::token::Subject;
use crate::reactor::write_progress::WriteProgress;
use crate::stats::Stats;

/// Runs the connections of one [`Handler`], as a server and a client, on the thread that calls it.
///
/// There are three ways to drive it:
///
/// 1. [`run`](Self::run) returns when a drain or a stop is complete.
/// 2. [`turn`](Self::turn) polls once, and does everything for which the poll returned.
/// 3. Inside another loop: wait until the reactor's descriptor ([`AsFd`], [`AsRawFd`]) is readable, or until
///    [`next_deadline`](Self::next_deadline), and call `turn(Some(Duration::ZERO))`.
///
/// # Inside another loop
///
/// Rule: one turn for each report of the descriptor is enough, in a level-triggered loop (`poll(2)`) and in an edge-triggered one
/// (mio, `AsyncFd` of tokio), if the loop asks [`next_deadline`](Self::next_deadline) anew before each wait.
///
/// A turn takes all events, or leaves some behind because of [`events_per_turn`](crate::ConfigBuilder::events_per_turn). An
/// edge-triggered loop gets no further report of those. The same is true of work that a budget has postponed, and of what you ask
/// of the reactor between turns ([`cx`](Self::cx), [`drain`](Self::drain), [`stop`](Self::stop)). In all these cases
/// `next_deadline` has passed, so the loop does not wait.
///
/// A loop ends when `turn` returns [`Turn::Done`]. The examples `loop_poll`, `loop_mio`, `loop_calloop` and `loop_tokio` are
/// complete programs.
///
/// # How it ends
///
/// Rule: however the reactor ends, [`on_close`](Handler::on_close) is called exactly once for each connection that was opened, and
/// each dial gets its outcome exactly once.
///
/// | end | connections | dials and `listen` | handles |
/// |---|---|---|---|
/// | [`drain`](Self::drain) | those in the listen queues are accepted; frames that have arrived are delivered; [`on_drain`](Handler::on_drain) closes them, once their output is sent, or waits for the handler; the rest is aborted at the drain timeout, whatever the handler does | refused | work until the last connection has ended |
/// | [`stop`](Self::stop) | aborted in the next turn, or when the reactor is dropped | refused | fail after that turn |
/// | drop, in any state | aborted during the drop, with [`CloseReason::Cut`] | refused; dials in progress fail as canceled | fail |
///
/// A panic in a callback ends nothing but its connection, also during a drop.
///
/// # After a fork
///
/// After `fork(2)`, sockets and the paths of Unix sockets belong to the process that made them. A child that drops its copy of the
/// reactor closes its descriptors, and no connection ends. A child that drives the reactor, such as a daemon in the
/// background, owns what it accepts, dials and binds from then on. So a daemon forks between two turns, and listens after that.
///
/// # Examples
///
/// ```
/// use frameloop::{Config, Echo, Address, Reactor};
///
/// let mut reactor = Reactor::new(Config::default(), Echo)?;
/// let any_port: std::net::SocketAddr = "127.0.0.1:0".parse()?;
/// println!("listening on {}", reactor.listen(&Address::Tcp(any_port))?);
/// reactor.drain(); // from elsewhere: `reactor.handle()`
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reactor<H: Handler, N: Net = Mio> {
    config: Config,
    net: N,
    handler: H,
    read_buffer: ReadBuffer,
    shared: Shared,
    connections: Connections<N::Stream, H::State>,
    reclaim: Reclaim,
    listeners: Listeners<N::Listener>,
    per_ip: PerIp,
    deadlines: Deadlines,
    write_progress: WriteProgress,
    mailbox: Mailbox<H::Message>,
    log_limits: LogLimits,
    recordings: Recordings,
    /// `None` if the readiness lint is off.
    lints: Option<Box<Lints>>,
    life: Life,
    report: DrainReport,
    /// The number at which the search for the next source's number begins: a number is used again as late as possible.
    sources: u32,
    /// The last poll returned as many events as it may. There may be more, which do not wake another loop again.
    has_more_events: bool,
    trim_at: Option<Instant>,
}

/// Reports whether the reactor needs another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reactor that is done does nothing in further turns"]
pub enum Turn {
    /// The reactor is running, draining or stopping.
    Running,
    /// The drain or the stop is complete. Further turns do nothing.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Without a deadline, the drain waits for every connection.
    Draining {
        deadline: Option<Instant>,
    },
    Stopped,
}

impl<H: Handler> Reactor<H> {
    /// Creates a reactor on the operating system's sockets. It does not listen yet.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the kernel has no descriptor for a readiness queue.
    pub fn new(config: Config, handler: H) -> Result<Self, Error> {
        let net = Mio::new(&config).map_err(Error::Poll)?;
        Self::with_net(net, config, handler)
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Creates a reactor on a [`Net`], such as the simulated one of the feature `sim`. It does not listen yet.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if `net` cannot make a waker.
    pub fn with_net(mut net: N, config: Config, handler: H) -> Result<Self, Error> {
        let now = net.now();
        let lints = Lints::new(config.lint, now);
        let mailbox = Mailbox::new(&mut net, Subject::Waker.token(), config.mailbox_max).map_err(Error::Poll)?;
        Ok(Self {
            net,
            handler,
            deadlines: Deadlines::new(&config, now),
            write_progress: WriteProgress::default(),
            listeners: Listeners::default(),
            per_ip: PerIp::new(&config),
            connections: Connections::new(&config, now),
            reclaim: Reclaim::new(&config, now),
            read_buffer: ReadBuffer::new(),
            shared: Shared::new(&config, now),
            config,
            mailbox,
            log_limits: LogLimits::default(),
            recordings: Recordings::default(),
            lints,
            life: Life::Running,
            report: DrainReport::default(),
            sources: 0,
            has_more_events: false,
            trim_at: None,
        })
    }

    /// Returns the [`Context`] of a callback for use between turns: it dials, sets timers, and reaches all connections.
    pub fn cx(&mut self) -> Context<'_> {
        // A deadline that begins here must not include the time since the last turn.
        self.shared.now = self.net.now();
        Context::new(&mut self.connections, &mut self.shared)
    }

    /// Runs turns until a drain or a stop is complete. It blocks while there is nothing to do.
    ///
    /// Another thread ends it with [`Handle::drain`] or [`Handle::stop`], a callback with [`Context::drain`] or
    /// [`Context::stop`].
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the readiness queue fails.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn(None)? == Turn::Running {}
        Ok(())
    }

    /// Begins a drain: the reactor accepts the connections in the listen queues and stops listening, delivers the frames that
    /// have arrived, sends pending output, and closes each connection.
    ///
    /// It waits for connections that are paused, and for those whose handler has a reply to come
    /// ([`Handler::on_drain`]). Messages from a [`Handle`] are still delivered.
    ///
    /// The drain takes place in further turns. After [`drain_timeout`](crate::ConfigBuilder::drain_timeout) the connections that
    /// are left are aborted, and those with something to finish are listed in the [`DrainReport`]. A second call does nothing.
    pub fn drain(&mut self) {
        if self.life != Life::Running {
            return;
        }
        let now = self.net.now();
        let timeout = self.config.drain_timeout;
        let deadline = after(now, timeout);
        let connections = self.connections.slots.len();
        match deadline {
            Some(_) => info!(target: LOOP, "draining {connections} connections within {timeout:?}"),
            None => info!(target: LOOP, "draining {connections} connections, without a deadline"),
        }
        self.life = Life::Draining { deadline };
        self.connections.work.begin_end();
        self.listeners.pause(None);
        self.listeners.begin_close(None);
        self.shared.now = now;
        // In this call, so that a client whose connection was drained finds no listener, unless the queue is long.
        self.accept();
        self.connections.drain_all();
    }

    /// Stops the reactor: closes the listeners, and aborts all connections and dials in the next turn. Pending output is lost.
    pub fn stop(&mut self) {
        if self.life != Life::Stopped {
            if self.connections.slots.len() > 0 {
                info!(target: LOOP, "stopping, with {} connections", self.connections.slots.len());
            }
            self.life = Life::Stopped;
            self.connections.work.begin_end();
            self.close_listeners();
            self.connections.abort_all(CloseReason::Cut);
        }
    }

    /// Returns what the drain or the stop has done so far.
    #[must_use]
    pub fn drain_report(&self) -> &DrainReport {
        &self.report
    }

    /// Returns a snapshot of the counters, also after the reactor has finished. Other threads call [`Handle::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.connections.stats(&self.shared)
    }

    /// Returns whether accepting is paused, because the kernel had no descriptor or memory for another connection. It resumes by itself,
    /// within 100 ms or when a connection ends.
    #[must_use]
    pub fn is_accept_paused(&self) -> bool {
        self.listeners.paused_until().is_some()
    }

    /// Returns a handle for other threads, which send messages, drain, stop, and read the counters with it.
    #[must_use]
    pub fn handle(&self) -> Handle<H::Message> {
        self.mailbox.handle()
    }

    /// Returns the handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Returns the handler, to change it between turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Returns when the next turn is needed even if no event comes: the earliest deadline or timer. `None`: only an event
    /// needs one.
    ///
    /// If there is work without an event, it returns the instant at which the last turn began, which has passed. Each turn, and
    /// each other call of the reactor, may change it: ask anew before each wait of [another loop](Self#inside-another-loop).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() { Some(self.now()) } else { self.next_due() }
    }

    /// Returns the earliest deadline or timer.
    fn next_due(&self) -> Option<Instant> {
        let drain = match self.life {
            Life::Draining { deadline } => deadline,
            Life::Running | Life::Stopped => None,
        };
        let deadlines = [self.deadlines.next(), self.connections.work.timers.next(), drain];
        let lints = self.lints.as_ref().and_then(|lints| lints.due());
        let others = [self.listeners.paused_until(), self.trim_at, self.log_limits.due(), lints];
        deadlines.into_iter().chain(others).flatten().min()
    }

    fn outlook(&self) -> Turn {
        let is_empty = self.connections.slots.len() == 0 && self.listeners.is_closed();
        if is_empty && self.life != Life::Running { Turn::Done } else { Turn::Running }
    }

    /// Whether there is work for which no event will come.
    fn has_work(&self) -> bool {
        self.connections.work.is_waiting()
            || self.listeners.has_work()
            || self.mailbox.has_more()
            || self.has_more_events
            || self.outlook() == Turn::Done
    }

    /// Returns the instant at which this turn began.
    fn now(&self) -> Instant {
        self.shared.now
    }
}

impl<H: Handler, N: Net> Drop for Reactor<H, N> {
    /// Aborts all connections, and calls `on_close` for each.
    fn drop(&mut self) {
        self.mailbox.finish();
        self.shared.now = self.net.now();
        self.stop();
        self.reap();
    }
}

impl<H: Handler, N: Net + AsFd> AsFd for Reactor<H, N> {
    /// Returns the descriptor of the readiness queue, for another loop to wait on. It is readable while events wait in it.
    ///
    /// Only wait for it: what is read from it or registered with it is not the reactor's. [`Reactor`] has the rules for loops.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

impl<H: Handler, N: Net + AsFd> AsRawFd for Reactor<H, N> {
    /// Returns the descriptor of [`as_fd`](AsFd::as_fd), for loops that register a number.
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<H: Handler, N: Net> fmt::Debug for Reactor<H, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("connections", &self.connections.slots.len())
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}
