//! What a library user writes: a [`Handler`], and what it can do from its callbacks.

use std::fmt;
use std::time::Instant;

use crate::address::{Dial, PeerAddr};
use crate::conn::frame::Frame;
use crate::conn::shared::Shared;
use crate::conn::sink::{Replies, Verdict};
use crate::error::{CloseReason, DialError, DialRefused, SendError, TimerRefused};
use crate::id::{ConnId, SourceId, TimerId};
use crate::wire::HEADER_LEN;

/// Answers frames.
///
/// All callbacks run on the reactor's thread, one at a time; while one runs, no other connection is served. A callback
/// that panics ends its own connection only, where panics unwind (`panic = "unwind"`, Rust's default). Each panic is
/// counted ([`Stats::handler_panics`](crate::Stats::handler_panics)) and logged as a warning with the callback's name.
///
/// ```
/// use frameloop::{Connection, Frame, Handler};
///
/// /// Answers each frame with the number of frames that its connection has sent.
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
    /// What is kept for each connection, from [`on_open`](Self::on_open) to [`on_close`](Self::on_close).
    type State;

    /// What other threads send through a [`Handle`](crate::Handle).
    type Message: Send + 'static;

    /// A connection was accepted, or one that was dialed is made. What this returns is kept for it.
    ///
    /// A frame may be sent at once. If this panics, the connection is closed, and as it was never open,
    /// [`on_close`](Self::on_close) is not called.
    fn on_open(&mut self, conn: &mut Connection<'_>) -> Self::State;

    /// A whole frame came.
    ///
    /// On an accepted connection this is not called while the outbox is over its high watermark, so the first reply is
    /// queued, unless it is so long that the memory limit has no room for it ([`SendError::NoMemory`]). Sending the frame back
    /// with [`Connection::reply_frame`] always has room. On a dialed connection it is called above the mark too, and then
    /// replies are refused: see [`Connection::pause_input_when_full`].
    fn on_frame(&mut self, conn: &mut Connection<'_>, state: &mut Self::State, frame: Frame<'_>);

    /// The outbox had reached its high watermark, and has fallen to its low one: there is room again.
    fn on_writable(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// [`Context::wake`] was called for this connection, and what is replied now goes out at once.
    fn on_wake(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// The peer has sent FIN and may still read.
    ///
    /// Every whole frame was delivered before. On a connection that is paused this is called at once if there is none left;
    /// otherwise after it has resumed, for which it has the write timeout.
    ///
    /// By default the connection is closed once its pending output is flushed. A handler that answers later, for example from
    /// another thread, keeps it open by doing nothing here, and closes it when it has answered.
    fn on_half_close(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The connection has ended. Called exactly once for each [`on_open`](Self::on_open) that returned.
    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, state: Self::State, reason: &CloseReason) {
        let _ = (cx, id, state, reason);
    }

    /// An outbound connection attempt failed. Each [`Context::dial`] that returned an id ends in this or
    /// in [`on_open`](Self::on_open) for that id, once.
    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        let _ = (cx, id, error);
    }

    /// A timer fired.
    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        let _ = (cx, timer);
    }

    /// Another thread sent a message.
    fn on_message(&mut self, cx: &mut Context<'_>, message: Self::Message) {
        let _ = (cx, message);
    }

    /// A descriptor given to [`Reactor::watch`](crate::Reactor::watch) became readable.
    ///
    /// The report is an edge: it comes once, and again only after the descriptor was read until it would block.
    fn on_source(&mut self, cx: &mut Context<'_>, source: SourceId) {
        let _ = (cx, source);
    }
}

/// Answers each frame with itself, from where it lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Handler for Echo {
    type State = ();
    type Message = std::convert::Infallible;

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    // Small frames come by the hundred in one fill: a call for each would be a good part of what they cost.
    #[inline(always)]
    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        // The first reply to a frame is always queued, unless the connection is ending anyway.
        let _ = conn.reply_frame(frame);
    }
}

/// What became of a broadcast: how many connections it was for, by what each got of it.
///
/// No connection ends because of a broadcast. One on which the frame is not queued goes on without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Connections on which the frame is queued.
    pub queued: usize,
    /// Connections that have not read what they were sent before, on which it is not queued ([`SendError::Full`]).
    pub full: usize,
    /// Connections for which the memory limit has no room, on which it is not queued ([`SendError::NoMemory`]).
    pub no_memory: usize,
    /// Connections that are ending, or have ended in this turn, on which it is not queued ([`SendError::Closed`]).
    pub gone: usize,
}

/// One connection, during a callback about it; and, by their ids, all others.
pub struct Connection<'a> {
    pub(crate) id: ConnId,
    pub(crate) peer: &'a PeerAddr,
    pub(crate) replies: Replies<'a>,
    pub(crate) reach: &'a mut dyn Reach,
}

impl Connection<'_> {
    /// The connection's id.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> &PeerAddr {
        self.peer
    }

    /// When this turn began, by the reactor's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.replies.shared.now
    }

    /// Queues a frame with a copy of `payload`.
    ///
    /// If the memory limit has no room for it, connections that hold more than this one would are evicted; if there are
    /// none, it is not queued ([`SendError::NoMemory`]), and the connection goes on.
    pub fn reply(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.replies.reply(payload);
        if sent.is_ok() {
            return sent;
        }
        self.not_queued(sent, HEADER_LEN + payload.len(), |replies| replies.reply(payload))
    }

    /// Queues the frame as it came. Nothing is copied as long as frames are answered so, in their order.
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

    /// A reply that is not queued: for want of memory it is tried again, once connections are evicted that hold more than
    /// this one would; if it is not queued even so, that is counted.
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
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        if to == self.id { self.reply(payload) } else { self.reach.send(to, payload, self.replies.shared) }
    }

    /// Queues a frame with a copy of `payload` on every connection, this one included. None is closed for it.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        let mut reached = self.reach.broadcast_all(payload, self.replies.shared);
        let sent = self.replies.reply(payload);
        count(&mut reached, self.replies.shared.count_refused(sent));
        reached
    }

    /// Closes this connection once its pending output is flushed. No further frame of it is delivered.
    pub fn close(&mut self) {
        if *self.replies.verdict == Verdict::Continue {
            *self.replies.verdict = Verdict::Close(CloseReason::ClosedByHandler);
        }
    }

    /// Closes this connection at once; its pending output is lost.
    pub fn abort(&mut self) {
        *self.replies.verdict = Verdict::Fail(CloseReason::AbortedByHandler);
    }

    /// Delivers no further frame of this connection, and reads no more from it, until it is resumed.
    pub fn pause(&mut self) {
        self.replies.flow.is_paused = true;
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.replies.flow.is_paused = false;
    }

    /// Sets whether input pauses while this connection's pending output is above the high watermark, until it has fallen to
    /// the low one. It does on accepted connections, and does not on those that were dialed.
    ///
    /// Two peers that both stop reading because of what they have to send wait for each other forever, so one of them has
    /// to read on. With this off, [`Handler::on_frame`] is also called above the mark, and a reply to that frame is then
    /// refused with [`SendError::Full`].
    pub fn pause_input_when_full(&mut self, pauses: bool) {
        self.replies.flow.pause_input_when_full = pauses;
    }

    /// All connections by their ids, and what else the reactor can do.
    pub fn cx(&mut self) -> Context<'_> {
        Context { reach: &mut *self.reach, about: About::Connection { id: self.id, replies: self.replies.reborrow() } }
    }

    /// Does what was said of this connection by its id.
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

/// Connections by their ids, and what else the reactor can do.
///
/// Rule: an id means the same wherever it is used. In a callback about a connection ([`Connection::cx`]) its own id is
/// answered for like any other: a send to it is a reply. Only [`broadcast_all`](Self::broadcast_all) leaves that connection out.
pub struct Context<'a> {
    reach: &'a mut dyn Reach,
    about: About<'a>,
}

/// What the callback is about.
enum About<'a> {
    /// No connection.
    Reactor(&'a mut Shared),
    /// A connection, which is out of its slot while it runs.
    Connection { id: ConnId, replies: Replies<'a> },
}

impl<'a> Context<'a> {
    /// In a callback about no connection.
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

    /// When this turn began, by the reactor's clock; between two turns ([`Reactor::cx`](crate::Reactor::cx)), when
    /// this was made.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.about {
            About::Connection { replies, .. } => replies.shared.now,
            About::Reactor(shared) => shared.now,
        }
    }

    /// Queues a frame with a copy of `payload`.
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        match &mut self.about {
            About::Connection { id, replies } if *id == to => replies.reply(payload),
            About::Connection { replies, .. } => self.reach.send(to, payload, replies.shared),
            About::Reactor(shared) => self.reach.send(to, payload, shared),
        }
    }

    /// Queues a frame with a copy of `payload` on every connection but the one that the callback is about, if any. None is
    /// closed for it.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        let (reach, shared) = self.shared();
        reach.broadcast_all(payload, shared)
    }

    /// Closes a connection once its pending output is flushed. Returns whether there is such a connection.
    pub fn close(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Close)
    }

    /// Closes a connection at once; its pending output is lost. Returns whether there is such a connection.
    pub fn abort(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Abort)
    }

    /// Delivers no further frame of a connection, and reads no more from it, until it is resumed. Returns whether there
    /// is such a connection.
    pub fn pause(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Pause)
    }

    /// Ends a [`pause`](Self::pause). Returns whether there is such a connection.
    pub fn resume(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Resume)
    }

    /// Lets [`Handler::on_wake`] be called for a connection when it runs next: once, however often this is called before.
    /// Returns whether there is such a connection.
    ///
    /// Unlike with [`send`](Self::send), what is sent then need not be known yet, and is written right behind the callback.
    pub fn wake(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Wake)
    }

    /// Begins an outbound connection. The connection is a client's: the same state machine, limits and deadlines.
    ///
    /// It has its id from now on, and takes a place among the connections; a frame can be sent once
    /// [`Handler::on_open`] is called with that id. If it cannot be made, [`Handler::on_dial_failed`] is.
    /// [`abort`](Self::abort) gives it up.
    ///
    /// # Errors
    ///
    /// [`DialRefused::Ending`] while the reactor drains and after it has stopped, [`DialRefused::TooMany`] while as many
    /// dials wait to be begun as `dials_max` allows. Then there is no id, and no callback.
    pub fn dial(&mut self, dial: Dial) -> Result<ConnId, DialRefused> {
        self.reach.dial(dial)
    }

    /// Calls [`Handler::on_timer`], once, in the first turn that begins at `at` or later.
    ///
    /// A poll sleeps in whole milliseconds, rounded up (`epoll_wait(2)`), so that a turn can come a millisecond late.
    /// An instant that has passed counts as now: the timer fires in the next turn.
    ///
    /// # Errors
    ///
    /// [`TimerRefused::TooMany`] while as many timers are set as `timers_max` allows.
    pub fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        let at = at.max(self.now());
        self.reach.set_timer(at)
    }

    /// Takes a timer away. Returns whether it was set, and not due before.
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

/// What a handler wants of a connection that is not the one it is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Close,
    Abort,
    Pause,
    Resume,
    Wake,
}

/// How a reactor is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Drain,
    Stop,
}

/// The connections of a reactor, whatever their sockets are.
pub(crate) trait Reach {
    fn send(&mut self, to: ConnId, payload: &[u8], shared: &mut Shared) -> Result<(), SendError>;
    fn broadcast_all(&mut self, payload: &[u8], shared: &mut Shared) -> Broadcast;
    /// Evicts connections that hold more than one would that has `held` bytes of buffers and needs `needed` more, until
    /// there is room for these. Returns whether there is.
    fn make_room(&mut self, of: ConnId, held: usize, needed: usize, shared: &mut Shared) -> bool;
    fn command(&mut self, id: ConnId, command: Command) -> bool;
    fn dial(&mut self, dial: Dial) -> Result<ConnId, DialRefused>;
    fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused>;
    fn cancel_timer(&mut self, timer: TimerId) -> bool;
    fn end(&mut self, end: End);
}

/// Counts one connection of a broadcast.
pub(crate) fn count(reached: &mut Broadcast, sent: Result<(), SendError>) {
    match sent {
        Ok(()) => reached.queued += 1,
        Err(SendError::Full) => reached.full += 1,
        Err(SendError::NoMemory) => reached.no_memory += 1,
        Err(SendError::Closed) => reached.gone += 1,
        Err(SendError::TooLong { .. }) => {}
    }
}
