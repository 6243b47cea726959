//! What a callback can do with the reactor, and with connections by their ids.

use std::fmt;
use std::time::Instant;

use crate::address::Dial;
use crate::conn::shared::Shared;
use crate::conn::sink::{Replies, Verdict};
use crate::error::{CloseReason, DialRefused, SendError, TimerRefused};
use crate::id::{ConnId, TimerId};
use crate::reach::{Broadcast, Command, End, Reach};

/// Gives a callback access to connections by their ids, to dials, timers, and the end of the reactor.
///
/// Callbacks about no connection get one; [`Connection::cx`](crate::Connection::cx) returns one in the others, and
/// [`Reactor::cx`](crate::Reactor::cx) between turns.
///
/// Rule: an id means the same wherever it is used. In a callback about a connection ([`Connection::cx`](crate::Connection::cx)), its own id works like
/// any other: a send to it is a reply. Only [`broadcast_all`](Self::broadcast_all) omits that connection.
pub struct Context<'a> {
    pub(crate) reach: &'a mut dyn Reach,
    pub(crate) about: About<'a>,
}

pub(crate) enum About<'a> {
    Reactor(&'a mut Shared),
    /// The connection is borrowed from its slot while it runs.
    Connection {
        id: ConnId,
        replies: Replies<'a>,
    },
}

impl<'a> Context<'a> {
    pub(crate) fn new(reach: &'a mut dyn Reach, shared: &'a mut Shared) -> Self {
        Self { reach, about: About::Reactor(shared) }
    }

    fn command(&mut self, to: ConnId, command: Command) -> bool {
        match &mut self.about {
            About::Connection { id, replies } if *id == to => command_own(to, replies, self.reach, command),
            About::Connection { .. } | About::Reactor(_) => self.reach.command(to, command),
        }
    }

    fn shared(&mut self) -> (&mut dyn Reach, &mut Shared) {
        let shared = match &mut self.about {
            About::Connection { replies, .. } => &mut *replies.shared,
            About::Reactor(shared) => shared,
        };
        (self.reach, shared)
    }

    /// Returns the instant at which this turn began; between turns, the instant of the call of
    /// [`Reactor::cx`](crate::Reactor::cx). It reads no clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.about {
            About::Connection { replies, .. } => replies.shared.now,
            About::Reactor(shared) => shared.now,
        }
    }

    /// Queues a frame with a copy of `payload` on the connection `to`.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the id is stale or the connection is closing; otherwise as for [`Connection::reply`](crate::Connection::reply). No
    /// connection is evicted to make room for the frame.
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        match &mut self.about {
            About::Connection { id, replies } if *id == to => replies.reply(payload),
            About::Connection { replies, .. } => self.reach.send(to, payload, replies.shared),
            About::Reactor(shared) => self.reach.send(to, payload, shared),
        }
    }

    /// Queues a frame with a copy of `payload` on every connection, except the one that the callback is about. Returns how
    /// many queued it.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        let (reach, shared) = self.shared();
        reach.broadcast_all(payload, shared)
    }

    /// Closes a connection once its pending output is flushed, and gives up a dial in progress. Returns `false` if the id is
    /// stale.
    pub fn close(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Close)
    }

    /// Closes a connection immediately, with a reset; its pending output is lost. Gives up a dial in progress.
    /// Returns `false` if the id is stale.
    pub fn abort(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Abort)
    }

    /// Pauses a connection, as [`Connection::pause`](crate::Connection::pause) does. Returns `false` if the id is stale.
    pub fn pause(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Pause)
    }

    /// Resumes a connection after [`pause`](Self::pause). Returns `false` if the id is stale.
    pub fn resume(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Resume)
    }

    /// Makes the reactor call [`Handler::on_wake`](crate::Handler::on_wake) for a connection when it runs next: once, however often this was called.
    /// Returns `false` if the id is stale.
    ///
    /// Use it instead of [`send`](Self::send) if the frames are to be produced only when they can be written.
    pub fn wake(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Wake)
    }

    /// Begins an outbound connection, and returns its id. It has the same limits and deadlines as an accepted connection.
    ///
    /// [`Handler::on_open`](crate::Handler::on_open) is called with this id when the connection is established; frames can be sent from then on. If the
    /// attempt fails, [`Handler::on_dial_failed`](crate::Handler::on_dial_failed) is called instead. The dial counts towards `max_connections` from now on.
    /// [`abort`](Self::abort) gives it up.
    ///
    /// # Errors
    ///
    /// [`DialRefused::Ending`] while the reactor drains and after it has stopped; [`DialRefused::TooMany`] if `dials_max` dials
    /// wait for their first attempt. Then there is no id, and no callback is called.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use frameloop::{Config, Dial, Echo, Reactor};
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let backend: std::net::SocketAddr = "127.0.0.1:7007".parse()?;
    /// let id = reactor.cx().dial(Dial::to(backend))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dial(&mut self, dial: Dial) -> Result<ConnId, DialRefused> {
        self.reach.dial(dial)
    }

    /// Sets a timer: [`Handler::on_timer`](crate::Handler::on_timer) is called once, in the first turn that begins at `at` or later.
    ///
    /// A poll sleeps in whole milliseconds, rounded up (`epoll_wait(2)`), so a timer can fire up to 1 ms late, and later if the
    /// loop is busy. A timer in the past fires in the next turn.
    ///
    /// # Errors
    ///
    /// [`TimerRefused::TooMany`] if `timers_max` timers are set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use frameloop::{Config, Echo, Reactor};
    /// # let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let mut cx = reactor.cx();
    /// let in_a_second = cx.now() + Duration::from_secs(1);
    /// let timer = cx.set_timer(in_a_second)?;
    /// assert!(cx.cancel_timer(timer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        let at = at.max(self.now());
        self.reach.set_timer(at)
    }

    /// Cancels a timer. Returns `false` if it has fired or was canceled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.reach.cancel_timer(timer)
    }

    /// Begins to drain the reactor, as [`Reactor::drain`](crate::Reactor::drain) does.
    pub fn drain(&mut self) {
        self.reach.end(End::Drain);
    }

    /// Stops the reactor, as [`Reactor::stop`](crate::Reactor::stop) does.
    pub fn stop(&mut self) {
        self.reach.end(End::Stop);
    }
}

/// Executes a command for the callback's own connection.
fn command_own(id: ConnId, replies: &mut Replies<'_>, reach: &mut dyn Reach, command: Command) -> bool {
    match command {
        Command::Close if *replies.verdict == Verdict::Continue => {
            *replies.verdict = Verdict::Close(CloseReason::ClosedByHandler);
        }
        Command::Close => {}
        Command::Abort => *replies.verdict = Verdict::Fail(CloseReason::AbortedByHandler),
        Command::Pause => replies.flow.is_paused = true,
        Command::Resume => replies.flow.is_paused = false,
        Command::Wake => return reach.command(id, command),
    }
    true
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
