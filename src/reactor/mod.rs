//! The loop: one thread, one readiness queue, every connection in a slot.

mod accept;
pub(crate) mod budget;
pub(crate) mod callbacks;
pub(crate) mod connections;
pub(crate) mod deadlines;
mod dial;
pub(crate) mod eviction;
pub(crate) mod handle;
pub(crate) mod histogram;
#[cfg(test)]
pub(crate) mod invariants;
mod lifecycle;
mod listeners;
pub(crate) mod log_limit;
pub(crate) mod per_ip;
mod recheck;
mod reclaim;
mod run;
mod run_queue;
mod slots;
pub(crate) mod stats;
mod timers;
pub(crate) mod token;
pub(crate) mod traced;
mod turn;
mod watch;
mod work;
mod write_progress;

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use log::{debug, info};

use crate::address::Address;
use crate::config::{Config, after};
use crate::conn::input::ReadBuffer;
use crate::conn::shared::Shared;
use crate::error::{CloseReason, Error};
use crate::handler::{Context, Handler};
use crate::net::{Mio, Net};
use crate::reactor::connections::Connections;
use crate::reactor::deadlines::Deadlines;
use crate::reactor::handle::{Handle, Mailbox};
use crate::reactor::listeners::Listeners;
use crate::reactor::log_limit::{LOOP, LogLimits};
use crate::reactor::per_ip::PerIp;
use crate::reactor::reclaim::Reclaim;
use crate::reactor::stats::Stats;
use crate::reactor::token::Subject;
use crate::reactor::write_progress::WriteProgress;

/// A TCP server on the thread that calls it, for one [`Handler`].
///
/// Rule: every connection that was opened gets its [`on_close`](Handler::on_close), and every dial its outcome, exactly once,
/// however the reactor ends:
///
/// | end | connections | dials and listening | its handles |
/// |---|---|---|---|
/// | [`drain`](Self::drain) | those that wait in the listen queues are accepted; what they sent is answered, output is flushed; the rest is closed at the drain timeout, whatever the handler does | refused from then on | work until the last connection has ended |
/// | [`stop`](Self::stop) | closed in the next turn, or when it is dropped | refused | fail after that turn |
/// | dropped, in any of these states | closed during the drop; `on_close` is called, with [`CloseReason::Cut`] | refused; open dials fail as cancelled | fail |
///
/// A panic in a callback ends nothing else, during a drop either.
///
/// Driven in one of three ways: [`run`](Self::run) until it is drained or stopped; [`turn`](Self::turn) by turn; or inside
/// another loop, which waits for its descriptor ([`AsRawFd`]) to be readable or for [`next_deadline`](Self::next_deadline),
/// and then calls `turn(Some(Duration::ZERO))`.
///
/// After a `fork(2)` the sockets and the paths of Unix sockets belong to the process that made them: a child that drops its
/// copy of the reactor closes descriptors and ends nothing. A child that drives it, as a daemon in the background does, owns
/// what it accepts, dials and binds from there on; so a daemon listens behind the fork, and forks between two turns.
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
    stats: Stats,
    log_limits: LogLimits,
    life: Life,
    report: DrainReport,
    /// Where the search for the next source's number begins, so that a number is used again as late as possible.
    sources: u32,
    /// The last poll returned as many events as it may: there may be others, for which another loop is not woken again.
    has_more_events: bool,
    trim_at: Option<Instant>,
}

/// Whether there will be another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reactor that is done does nothing in further turns"]
pub enum Turn {
    /// There will be more to do.
    Running,
    /// It was drained or stopped, and nothing is left.
    Done,
}

/// How a drain or a stop ended the connections that there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that closed after all their pending output was sent.
    pub drained: u64,
    /// Connections that ended otherwise: at the deadline, by the stop, or by their own fault meanwhile; and those that waited
    /// in a listen queue when the drain began and could not be accepted, for a limit or until the deadline. A queue that cannot
    /// be emptied counts as one.
    pub cut: u64,
    /// Output that was queued for those and not sent, in bytes.
    pub unsent_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Without a deadline, it waits for every connection.
    Draining {
        deadline: Option<Instant>,
    },
    Stopped,
}

impl<H: Handler> Reactor<H> {
    /// A reactor on the operating system's sockets, listening nowhere yet.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the kernel has no readiness queue for it.
    pub fn new(config: Config, handler: H) -> Result<Self, Error> {
        let net = Mio::new(&config).map_err(Error::Poll)?;
        Self::with_net(net, config, handler)
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// A reactor in a given world, listening nowhere yet.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if there is no waker to be had.
    pub fn with_net(mut net: N, config: Config, handler: H) -> Result<Self, Error> {
        let now = net.now();
        let mailbox = Mailbox::new(&mut net, Subject::Waker.token(), config.mailbox_max).map_err(Error::Poll)?;
        Ok(Self {
            net,
            handler,
            deadlines: Deadlines::new(&config, now),
            write_progress: WriteProgress::new(&config),
            listeners: Listeners::new(&config),
            per_ip: PerIp::new(&config),
            connections: Connections::new(&config, now),
            reclaim: Reclaim::new(&config, now),
            read_buffer: ReadBuffer::new(),
            shared: Shared::new(&config, now),
            config,
            mailbox,
            stats: Stats::default(),
            log_limits: LogLimits::default(),
            life: Life::Running,
            report: DrainReport::default(),
            sources: 0,
            has_more_events: false,
            trim_at: None,
        })
    }

    /// Binds and listens. Returns the address, with the port that the kernel chose if it was 0.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] with the address and what the kernel answered; [`Error::Ending`] while the reactor drains and after
    /// it has stopped.
    pub fn listen(&mut self, addr: &Address) -> Result<Address, Error> {
        if self.life != Life::Running || self.connections.work.is_end_requested() {
            return Err(Error::Ending { addr: addr.clone() });
        }
        let token = Subject::Listener(self.listeners.len()).token();
        let (listener, bound) = self
            .net
            .listen(addr, &self.config, token)
            .map_err(|source| Error::Listen { addr: addr.clone(), source })?;
        self.listeners.push(listener);
        debug!(target: LOOP, "listening on {bound}");
        Ok(bound)
    }

    /// All connections by their ids, and what else a handler can do: dial, set a timer. Between two turns.
    pub fn cx(&mut self) -> Context<'_> {
        // What waits for a deadline from here on must not count the time since the last turn.
        self.shared.now = self.net.now();
        Context::new(&mut self.connections, &mut self.shared)
    }

    /// Turns until it is drained or stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the readiness queue fails.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn(None)? == Turn::Running {}
        Ok(())
    }

    /// Accepts what waits in the listen queues and stops listening, answers what has come, flushes and closes; after the drain
    /// timeout what is left is cut.
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
        self.listeners.drain();
        self.shared.now = now;
        // Now, so that a client which has seen its end finds no listener, unless the queue is long.
        self.accept();
        self.connections.drain_all();
    }

    /// Closes everything at once.
    pub fn stop(&mut self) {
        if self.life != Life::Stopped {
            if self.connections.slots.len() > 0 {
                info!(target: LOOP, "stopping, with {} connections", self.connections.slots.len());
            }
            self.life = Life::Stopped;
            self.connections.work.begin_end();
            self.listeners.close();
            self.connections.abort_all(CloseReason::Cut);
        }
    }

    /// What the drain or stop has done so far.
    #[must_use]
    pub fn drain_report(&self) -> DrainReport {
        self.report
    }

    /// A snapshot of the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        let shared = &self.shared;
        stats.take_over(&shared.counts);
        stats.buffered_bytes = shared.pool.used_bytes() as u64;
        stats.pooled_bytes = (shared.pool.free_bytes() + shared.pool.joined_bytes()) as u64;
        stats.dialing = self.connections.slots.len() as u64 - stats.connections;
        stats
    }

    /// Something that talks to this reactor from other threads.
    #[must_use]
    pub fn handle(&self) -> Handle<H::Message> {
        self.mailbox.handle()
    }

    /// The handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to be changed between turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// When a turn is due even if nothing becomes ready; in the past if there is something to do already.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() { Some(self.now()) } else { self.next_due() }
    }

    /// When the earliest deadline or timer comes.
    fn next_due(&self) -> Option<Instant> {
        let drain = match self.life {
            Life::Draining { deadline } => deadline,
            Life::Running | Life::Stopped => None,
        };
        let deadlines = [self.deadlines.next(), self.connections.work.timers.next(), drain];
        let others = [self.listeners.paused_until(), self.trim_at, self.log_limits.due()];
        deadlines.into_iter().chain(others).flatten().min()
    }

    fn outlook(&self) -> Turn {
        let is_empty = self.connections.slots.len() == 0 && self.listeners.is_closed();
        if is_empty && self.life != Life::Running { Turn::Done } else { Turn::Running }
    }

    /// Whether there is something to do that no event will announce.
    fn has_work(&self) -> bool {
        self.connections.work.is_waiting()
            || self.listeners.has_work()
            || self.mailbox.has_more()
            || self.has_more_events
            || self.outlook() == Turn::Done
    }

    /// When this turn began.
    fn now(&self) -> Instant {
        self.shared.now
    }
}

impl<H: Handler, N: Net> Drop for Reactor<H, N> {
    /// Closes all connections, so that `on_close` is called for each.
    fn drop(&mut self) {
        self.mailbox.finish();
        self.shared.now = self.net.now();
        self.stop();
        self.reap();
    }
}

impl<H: Handler> AsRawFd for Reactor<H> {
    /// The readiness queue's descriptor, for another loop to wait on: readable when a turn has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.net.as_raw_fd()
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
