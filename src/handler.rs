//! The interface of a library user: the [`Handler`] trait, and what a handler can do in its callbacks.

use std::fmt;
use std::time::Instant;

use crate::address::{Dial, PeerAddr};
use crate::conn::frame::Frame;
use crate::conn::io::Readiness;
use crate::conn::shared::Shared;
use crate::conn::sink::{Replies, Verdict};
use crate::error::{CloseReason, DialError, DialRefused, SendError, TimerRefused};
use crate::id::{ConnId, SourceId, TimerId};
use crate::reach::{Broadcast, Command, End, Reach, count};
use crate::wire::HEADER_LEN;

/// Handles the frames and the other events of a reactor.
///
/// All callbacks run on the thread that drives the reactor, one at a time. While one runs, no other connection is served, so a
/// callback must not block.
///
/// A callback that panics closes its own connection only, if panics unwind (`panic = "unwind"`, Rust's default). Each panic is
/// counted ([`Stats::handler_panics`](crate::Stats::handler_panics)), and logged as a warning with the callback's name.
///
/// # Examples
///
/// ```
/// use frameloop::{Connection, Frame, Handler};
///
/// /// Replies to each frame with the number of frames that its connection has sent.
/// struct Count;
///
/// impl Handler for Count {
///     type State = u64;
///     type Message = ();
///
///     fn on_open(&mut self, _conn: &mut Connection<'_>) -> u64 {
///         0
///     }
///
///     fn on_frame(&mut self, conn: &mut Connection<'_>, count: &mut u64, _frame: Frame<'_>) {
///         *count += 1;
///         let _ = conn.reply(&count.to_be_bytes());
///     }
/// }
/// ```
pub trait Handler {
    /// The state of one connection. [`on_open`](Self::on_open) returns it, and [`on_close`](Self::on_close) gets it back.
    type State;

    /// The messages that other threads send through a [`Handle`](crate::Handle). Use `()` if there are none.
    type Message: Send + 'static;

    /// Called when a connection was accepted, or when a dialed one is established. Returns the connection's state.
    ///
    /// Frames may be sent here. If this panics, the connection is closed; [`on_close`](Self::on_close) is not called, because
    /// there is no state.
    fn on_open(&mut self, conn: &mut Connection<'_>) -> Self::State;

    /// Called with each complete frame, in the order of arrival.
    ///
    /// On an accepted connection it is not called while pending output is above the high-water mark. So the first reply to a
    /// frame is always queued, unless the memory limit has no room for it ([`SendError::NoMemory`]). There is always room to
    /// send the frame back with [`Connection::reply_frame`].
    ///
    /// On a dialed connection it is also called above the mark, and then a reply returns [`SendError::Full`]: see
    /// [`Connection::pause_input_when_full`].
    fn on_frame(&mut self, conn: &mut Connection<'_>, state: &mut Self::State, frame: Frame<'_>);

    /// Called when pending output had reached the high-water mark and has fallen to the low-water mark: there is room again.
    fn on_writable(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// Called after [`Context::wake`] was called for this connection. Replies from here are written in the same turn.
    fn on_wake(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// Called when the peer has half-closed the connection (FIN): it sends no more, and may still read.
    ///
    /// Every complete frame was delivered before. On a paused connection with frames left, it is called after the connection
    /// was resumed, which has to happen within the write timeout.
    ///
    /// The default closes the connection once its pending output is flushed. If your replies come later, for example from
    /// another thread, do nothing here, and close the connection after the last reply.
    fn on_half_close(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// Called when a connection has ended, exactly once for each [`on_open`](Self::on_open) that returned.
    ///
    /// The id is stale from here on: a send to it returns [`SendError::Closed`].
    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, state: Self::State, reason: &CloseReason) {
        let _ = (cx, id, state, reason);
    }

    /// Called when an outbound connection attempt has failed.
    ///
    /// For each id that [`Context::dial`] returned, either this or [`on_open`](Self::on_open) is called, exactly once.
    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        let _ = (cx, id, error);
    }

    /// Called when a timer fires that [`Context::set_timer`] has set.
    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        let _ = (cx, timer);
    }

    /// Called with each message that another thread sent with [`Handle::send`](crate::Handle::send).
    fn on_message(&mut self, cx: &mut Context<'_>, message: Self::Message) {
        let _ = (cx, message);
    }

    /// Called when a descriptor that [`Reactor::watch`](crate::Reactor::watch) watches has become ready.
    ///
    /// The report is edge-triggered: read or write until `EAGAIN`, or no further report comes before
    /// [`Reactor::rewatch`](crate::Reactor::rewatch). `ready` says what may succeed. It is a hint: a call may still return
    /// `EAGAIN`. After an error or a hang-up both directions are ready, whatever the interest is.
    fn on_source(&mut self, cx: &mut Context<'_>, source: SourceId, ready: Readiness) {
        let _ = (cx, source, ready);
    }
}

/// Sends each frame back as it came, without a copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Handler for Echo {
    type State = ();
    type Message = std::convert::Infallible;

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    // One read can bring hundreds of small frames: a call for each would be a large part of their cost.
    #[inline(always)]
    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        // The first reply to a frame is always queued, unless the connection is ending anyway.
        let _ = conn.reply_frame(frame);
    }
}

/// Gives a callback access to its connection, and by their ids to all others.
pub struct Connection<'a> {
    pub(crate) id: ConnId,
    pub(crate) peer: &'a PeerAddr,
    pub(crate) replies: Replies<'a>,
    pub(crate) reach: &'a mut dyn Reach,
}

impl Connection<'_> {
    /// Returns the id of the connection.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Returns the address of the peer.
    #[must_use]
    pub fn peer_addr(&self) -> &PeerAddr {
        self.peer
    }

    /// Returns the instant at which this turn began. It reads no clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.replies.shared.now
    }

    /// Queues a frame with a copy of `payload`. It is written when the callback has returned, together with other replies.
    ///
    /// If the memory limit has no room for the frame, connections that would hold more than this one are evicted first.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the frame was not queued: pending output is above the high-water mark, the connection is closing, the
    /// payload is too long, or there is no memory. The connection continues.
    pub fn reply(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.replies.reply(payload);
        if sent.is_ok() {
            return sent;
        }
        self.not_queued(sent, HEADER_LEN + payload.len(), |replies| replies.reply(payload))
    }

    /// Queues the frame as it came. Nothing is copied as long as every frame is sent back like this, in order.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply). The first reply to a frame on an accepted connection fails only if the connection is
    /// closing.
    #[inline]
    pub fn reply_frame(&mut self, frame: Frame<'_>) -> Result<(), SendError> {
        match self.replies.echo(&frame) {
            Some(sent) => sent,
            None => self.queue_frame(frame),
        }
    }

    #[cold]
    fn queue_frame(&mut self, mut frame: Frame<'_>) -> Result<(), SendError> {
        let sent = self.replies.queue_frame(&mut frame);
        if sent.is_ok() {
            return sent;
        }
        self.not_queued(sent, frame.frame_len(), |replies| replies.queue_frame(&mut frame))
    }

    /// Handles a reply that was not queued. For lack of memory, evicts connections that would hold more than this one, and
    /// tries again. Counts the reply as dropped if it still was not queued.
    #[cold]
    fn not_queued(
        &mut self,
        sent: Result<(), SendError>,
        frame_len: usize,
        again: impl FnOnce(&mut Replies<'_>) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut sent = sent;
        if sent == Err(SendError::NoMemory) {
            let (held, needed) = (self.replies.buffered_bytes(), self.replies.room_needed(frame_len));
            if self.reach.make_room(self.id, held, needed, self.replies.shared) {
                sent = again(&mut self.replies);
            }
        }
        self.replies.shared.count_refused(sent)
    }

    /// Queues a frame with a copy of `payload` on any connection, this one or another.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply); [`SendError::Closed`] if the id is stale. No connection is evicted for a frame to
    /// another connection.
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        if to == self.id { self.reply(payload) } else { self.reach.send(to, payload, self.replies.shared) }
    }

    /// Queues a frame with a copy of `payload` on every connection, including this one. Returns how many queued it.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        let mut reached = self.reach.broadcast_all(payload, self.replies.shared);
        let sent = self.replies.reply(payload);
        count(&mut reached, self.replies.shared.count_refused(sent));
        reached
    }

    /// Closes this connection once its pending output is flushed. No further frame is delivered from it.
    pub fn close(&mut self) {
        if *self.replies.verdict == Verdict::Continue {
            *self.replies.verdict = Verdict::Close(CloseReason::ClosedByHandler);
        }
    }

    /// Closes this connection immediately, with a reset. Its pending output is lost.
    pub fn abort(&mut self) {
        *self.replies.verdict = Verdict::Fail(CloseReason::AbortedByHandler);
    }

    /// Pauses this connection: no further frame is delivered from it, and nothing is read, until [`resume`](Self::resume).
    ///
    /// Pending output is still written, and timeouts still apply.
    pub fn pause(&mut self) {
        self.replies.flow.is_paused = true;
    }

    /// Resumes this connection after [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.replies.flow.is_paused = false;
    }

    /// Sets whether input pauses when pending output has reached the high-water mark, until it has fallen to the low-water
    /// mark. Default: `true` on accepted connections, `false` on dialed ones.
    ///
    /// If both peers of a connection pause like this, each waits for the other forever. So one of them has to read on. With
    /// `false`, [`Handler::on_frame`] is also called above the mark, and then a reply returns [`SendError::Full`].
    pub fn pause_input_when_full(&mut self, pauses: bool) {
        self.replies.flow.pause_input_when_full = pauses;
    }

    /// Returns the [`Context`], which reaches all connections by their ids, dials, and sets timers.
    pub fn cx(&mut self) -> Context<'_> {
        Context { reach: &mut *self.reach, about: About::Connection { id: self.id, replies: self.replies.reborrow() } }
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
}

/// Gives a callback access to connections by their ids, to dials, timers, and the end of the reactor.
///
/// Callbacks about no connection get one; [`Connection::cx`] returns one in the others, and
/// [`Reactor::cx`](crate::Reactor::cx) between turns.
///
/// Rule: an id means the same wherever it is used. In a callback about a connection ([`Connection::cx`]), its own id works like
/// any other: a send to it is a reply. Only [`broadcast_all`](Self::broadcast_all) omits that connection.
pub struct Context<'a> {
    reach: &'a mut dyn Reach,
    about: About<'a>,
}

enum About<'a> {
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
            About::Connection { id, replies } if *id == to => Connection::command_own(to, replies, self.reach, command),
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
    /// [`SendError::Closed`] if the id is stale or the connection is closing; otherwise as for [`Connection::reply`]. No
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

    /// Pauses a connection, as [`Connection::pause`] does. Returns `false` if the id is stale.
    pub fn pause(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Pause)
    }

    /// Resumes a connection after [`pause`](Self::pause). Returns `false` if the id is stale.
    pub fn resume(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Resume)
    }

    /// Makes the reactor call [`Handler::on_wake`] for a connection when it runs next: once, however often this was called.
    /// Returns `false` if the id is stale.
    ///
    /// Use it instead of [`send`](Self::send) if the frames are to be produced only when they can be written.
    pub fn wake(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Wake)
    }

    /// Begins an outbound connection, and returns its id. It has the same limits and deadlines as an accepted connection.
    ///
    /// [`Handler::on_open`] is called with this id when the connection is established; frames can be sent from then on. If the
    /// attempt fails, [`Handler::on_dial_failed`] is called instead. The dial counts towards `max_connections` from now on.
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

    /// Sets a timer: [`Handler::on_timer`] is called once, in the first turn that begins at `at` or later.
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

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
