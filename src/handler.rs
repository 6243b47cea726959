//! The interface of a library user: the [`Handler`] trait, and what a handler can do in its callbacks.

mod context;

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

pub use crate::handler::context::{Context, NotForwarded};

use crate::address::PeerAddr;
use crate::conn::frame::Frame;
use crate::conn::io::Readiness;
use crate::conn::payloads::SharedPayload;
use crate::conn::sink::{Drain, Replies};
use crate::error::{CloseReason, DialError, SendError};
use crate::handler::context::About;
use crate::id::{ConnId, SourceId, TimerId};
use crate::net::Detached;
use crate::reach::{Broadcast, Reach, count};
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
    ///
    /// If this side has [finished](Connection::finish) before, both directions have ended: the connection closes after this call.
    fn on_half_close(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// Called when the reactor [drains](crate::Reactor::drain), once for each connection, when every frame that had arrived was
    /// delivered. Returns whether the connection may be closed.
    ///
    /// The default closes it once its pending output is sent. If a reply is still to come, return [`Drain::WhenClosed`], and close
    /// the connection after the reply: until then it stays open, frames are delivered, and sends are accepted. A farewell can be
    /// sent here.
    ///
    /// While a connection is [paused](Connection::pause), or a frame is incomplete, the drain waits before it calls this. In all
    /// cases the drain ends by its deadline, and [`DrainReport`](crate::DrainReport) has the connections that it aborted. If
    /// [`on_half_close`](Self::on_half_close) has kept the connection open, this is called too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use frameloop::{CloseReason, Connection, ConnId, Context, Drain, Frame, Handler};
    ///
    /// /// Gets its replies from another thread.
    /// #[derive(Default)]
    /// struct Jobs {
    ///     /// By connection: frames without a reply, and whether the last reply closes it.
    ///     clients: HashMap<ConnId, (usize, bool)>,
    /// }
    ///
    /// impl Handler for Jobs {
    ///     type State = ();
    ///     type Message = (ConnId, Vec<u8>);
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), _frame: Frame<'_>) {
    ///         self.clients.entry(conn.id()).or_default().0 += 1;
    ///         // Hand the payload to the other thread.
    ///     }
    ///
    ///     fn on_message(&mut self, cx: &mut Context<'_>, (id, reply): (ConnId, Vec<u8>)) {
    ///         let Some((unfinished, is_last)) = self.clients.get_mut(&id) else { return };
    ///         *unfinished -= 1;
    ///         let _ = cx.send(id, &reply);
    ///         if *unfinished == 0 && *is_last {
    ///             cx.close(id);
    ///         }
    ///     }
    ///
    ///     fn on_drain(&mut self, conn: &mut Connection<'_>, _state: &mut ()) -> Drain {
    ///         match self.clients.get_mut(&conn.id()) {
    ///             Some((1.., is_last)) => {
    ///                 *is_last = true;
    ///                 Drain::WhenClosed
    ///             }
    ///             _ => Drain::AtRest,
    ///         }
    ///     }
    ///
    ///     fn on_close(&mut self, _cx: &mut Context<'_>, id: ConnId, _state: (), _reason: &CloseReason) {
    ///         self.clients.remove(&id);
    ///     }
    /// }
    /// ```
    fn on_drain(&mut self, conn: &mut Connection<'_>, state: &mut Self::State) -> Drain {
        let _ = (conn, state);
        Drain::AtRest
    }

    /// Called when a connection has ended, exactly once for each [`on_open`](Self::on_open) that returned.
    ///
    /// The id is stale from here on: a send to it returns [`SendError::Closed`].
    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, state: Self::State, reason: &CloseReason) {
        let _ = (cx, id, state, reason);
    }

    /// Called after [`Connection::detach`] with the socket of the connection, at the end of the turn.
    /// [`on_close`](Self::on_close) follows, with [`CloseReason::Detached`].
    ///
    /// The id is stale already. The default drops the socket, which closes it.
    fn on_detach(&mut self, cx: &mut Context<'_>, id: ConnId, state: &mut Self::State, detached: Detached) {
        let _ = (cx, id, state, detached);
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
        let needed = self.replies.room_needed(HEADER_LEN + payload.len());
        self.not_queued(sent, needed, |replies| replies.reply(payload))
    }

    /// Queues a frame with `payload`, which is not copied unless it is short (512 bytes or less).
    ///
    /// A payload that several connections send counts once in [`memory`](crate::ConfigBuilder::memory) only if it is queued
    /// on them by one call: [`Context::broadcast`].
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply).
    pub fn reply_shared(&mut self, payload: Bytes) -> Result<(), SendError> {
        let mut payload = SharedPayload::new(payload);
        let sent = self.replies.reply_shared(&mut payload);
        if sent.is_ok() {
            return sent;
        }
        let needed = payload.room_needed(|len| self.replies.room_needed(len));
        self.not_queued(sent, needed, |replies| replies.reply_shared(&mut payload))
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
        let needed = self.replies.room_needed(frame.frame_len());
        self.not_queued(sent, needed, |replies| replies.queue_frame(&mut frame))
    }

    /// Handles a reply that was not queued. For lack of memory, evicts connections that would hold more than this one, and
    /// tries again. Counts the reply as dropped if it still was not queued.
    #[cold]
    fn not_queued(
        &mut self,
        sent: Result<(), SendError>,
        needed: usize,
        again: impl FnOnce(&mut Replies<'_>) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut sent = sent;
        if sent == Err(SendError::NoMemory) {
            let held = self.replies.buffered_bytes();
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
    ///
    /// A payload of more than 512 bytes is copied once for all of them; [`broadcast_all_shared`](Self::broadcast_all_shared) does
    /// not copy it.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        self.broadcast_all_with(&mut SharedPayload::of_slice(payload))
    }

    /// Queues a frame with `payload` on every connection, including this one, as [`Context::broadcast`] does on some. Returns
    /// how many queued it.
    pub fn broadcast_all_shared(&mut self, payload: Bytes) -> Broadcast {
        self.broadcast_all_with(&mut SharedPayload::new(payload))
    }

    fn broadcast_all_with(&mut self, payload: &mut SharedPayload<'_>) -> Broadcast {
        let mut reached = self.reach.broadcast_all(payload, self.replies.shared);
        let sent = self.replies.reply_shared(payload);
        count(&mut reached, self.replies.shared.count_refused(sent));
        reached
    }

    /// Closes this connection once its pending output is flushed. No further frame is delivered from it.
    pub fn close(&mut self) {
        self.replies.close();
    }

    /// Half-closes this connection: sends FIN once its pending output is flushed. Frames are still delivered, until the peer has
    /// finished too or the connection is closed.
    ///
    /// From now on a send returns [`SendError::Closed`], pending output does not pause the input, and
    /// [`Handler::on_writable`] is not called. When the peer finishes, [`Handler::on_half_close`] is called as always. Then both
    /// directions have ended, and the connection closes with [`CloseReason::PeerFinished`] when its output is sent.
    ///
    /// If the peer has finished before, this closes the connection, as [`close`](Self::close) does. It has no effect on a connection
    /// that is closing or finished. A peer that never finishes is closed by the idle timeout, if there is one: a timer of your own
    /// may close it earlier.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{Connection, Frame, Handler};
    ///
    /// /// Asks a backend one question, and collects the reply, which ends with FIN.
    /// struct Query;
    ///
    /// impl Handler for Query {
    ///     type State = Vec<u8>;
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Connection<'_>) -> Vec<u8> {
    ///         let _ = conn.reply(b"the question");
    ///         conn.finish();
    ///         Vec::new()
    ///     }
    ///
    ///     fn on_frame(&mut self, _conn: &mut Connection<'_>, reply: &mut Vec<u8>, frame: Frame<'_>) {
    ///         reply.extend_from_slice(frame.payload());
    ///     }
    ///
    ///     fn on_half_close(&mut self, _conn: &mut Connection<'_>, reply: &mut Vec<u8>) {
    ///         println!("the reply has {} bytes", reply.len());
    ///     }
    /// }
    /// ```
    pub fn finish(&mut self) {
        self.replies.finish();
    }

    /// Closes this connection immediately, with a reset (ABORT of RFC 9293, section 3.10.5). Its pending output is lost, and so is
    /// what the peer has not received yet.
    ///
    /// The peer sees RST, even if nothing was in flight. A Unix socket has no RST: its peer sees the end of the stream.
    pub fn abort(&mut self) {
        self.replies.abort();
    }

    /// Takes this connection out of the reactor, to hand its socket to other code: another loop, a thread, or a child process.
    ///
    /// No further frame is delivered, and nothing more is read. When the callback has returned, output that is pending is written as
    /// far as the socket accepts it. At the end of the turn [`Handler::on_detach`] gets the socket, with the bytes that were received
    /// and not delivered, and those that were not written. The reactor does not shut the socket down; it stays nonblocking.
    ///
    /// Detaching has no effect on a connection that is closing, or that was [finished](Self::finish). If the connection fails before the end of the turn, it ends for that
    /// reason, and `on_detach` is not called. To detach a connection from a callback about another one, call [`Context::wake`], and
    /// detach it in [`Handler::on_wake`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::TcpStream;
    ///
    /// use frameloop::{Connection, Context, ConnId, Detached, Frame, Handler};
    ///
    /// /// Serves commands, and gives connections that ask for a download to threads.
    /// struct Commands;
    ///
    /// impl Handler for Commands {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         match frame.payload() {
    ///             b"download" => conn.detach(),
    ///             _ => conn.close(),
    ///         }
    ///     }
    ///
    ///     fn on_detach(&mut self, _cx: &mut Context<'_>, _id: ConnId, _state: &mut (), detached: Detached) {
    ///         // `None` on a simulated network.
    ///         let Some(fd) = detached.fd else { return };
    ///         let stream = TcpStream::from(fd);
    ///         std::thread::spawn(move || {
    ///             stream.set_nonblocking(false)?;
    ///             // Write `detached.unsent`, then the file.
    ///             std::io::Result::Ok(())
    ///         });
    ///     }
    /// }
    /// ```
    pub fn detach(&mut self) {
        self.replies.detach();
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
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", self.peer).finish_non_exhaustive()
    }
}
