//! What a callback can do with the connection that it is about.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::address::PeerAddr;
use crate::config::ConfigError;
use crate::conn::flags::Flag;
use crate::conn::frame::Frame;
use crate::conn::payloads::SharedPayload;
use crate::conn::sink::Replies;
use crate::error::SendError;
use crate::handler::context::{About, Context};
use crate::id::{ConnId, ListenerId};
use crate::options::{Limits, check_framing};
use crate::reach::{Broadcast, Reach, count};
use crate::wire::{Enclosure, Framing};

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

    /// Returns our address, by a system call; `None` for a Unix socket. [`Context::inspect`] returns more.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.replies.local.and_then(|end| end.addr())
    }

    /// Returns how many bytes are queued and not written.
    #[must_use]
    pub fn pending_output(&self) -> usize {
        self.replies.pending_bytes()
    }

    /// Returns the listener that accepted the connection; `None` if it was dialed or adopted.
    #[must_use]
    pub fn listener(&self) -> Option<ListenerId> {
        self.replies.shared.profiles.profile(self.replies.rules.profile).listener
    }

    /// Returns the [name](crate::ListenOptions::name) of that listener, also after it was closed; empty if it has none.
    #[must_use]
    pub fn listener_name(&self) -> &str {
        self.listener().map_or("", |id| self.replies.shared.profiles.name_of(id))
    }

    /// Returns the framing of the connection.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.replies.rules.framing
    }

    /// Changes the framing, in both directions: that of the bytes after the current frame, and of the replies from now on.
    ///
    /// It applies to all input that was not delivered yet. Only a frame longer than 68 KiB of which a part has arrived is still
    /// completed as it began.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for [`Exact(0)`](Framing::Exact); the framing stays as it is. A length above the longest payload is accepted
    /// here: the connection closes with [`CloseReason::FrameTooLong`](crate::CloseReason::FrameTooLong) when a byte of that frame has come.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::wire::Framing;
    /// use frameloop::{Connection, Frame, Handler};
    ///
    /// /// Commands are lines. After `put N` comes a body of N bytes.
    /// struct Store;
    ///
    /// impl Handler for Store {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let next = match (conn.framing(), frame.payload().strip_prefix(b"put ")) {
    ///             (Framing::Exact(_), _) => Framing::lines(),
    ///             (_, Some(len)) => str::from_utf8(len).ok().and_then(|len| len.parse().ok()).map_or(Framing::lines(), Framing::Exact),
    ///             (_, None) => Framing::lines(),
    ///         };
    ///         if conn.set_framing(next).is_err() {
    ///             conn.close();
    ///         }
    ///     }
    /// }
    /// ```
    pub fn set_framing(&mut self, framing: impl Into<Framing>) -> Result<(), ConfigError> {
        let framing = framing.into();
        check_framing(framing)?;
        self.replies.set_framing(framing);
        Ok(())
    }

    /// Returns the limits of the connection.
    pub fn limits(&self) -> Limits {
        *self.replies.shared.profiles.limits(self.replies.rules.profile)
    }

    /// Changes the limits, for example after authentication. They apply from the next frame on, and to the output that is pending.
    /// If a timeout changes, the deadlines of the connection begin anew at the end of its turn.
    ///
    /// With [`Limits::pause_input_when_full`] of `None`, it stays as [`pause_input_when_full`](Self::pause_input_when_full) has set it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a limit is out of its range; the limits stay as they are.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), ConfigError> {
        limits.check(&self.replies.shared.config)?;
        self.replies.set_limits(limits);
        Ok(())
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
        let needed = self.replies.room_needed(self.replies.rules.enclosure_len_max() + payload.len());
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
        let around = self.replies.rules.enclosure_len_max();
        let needed = payload.room_needed(around, |len| self.replies.room_needed(len));
        self.not_queued(sent, needed, |replies| replies.reply_shared(&mut payload))
    }

    /// Begins a reply of `payload_len` bytes, whose payload comes in parts. The bytes before the payload are queued with its first part.
    ///
    /// Queue the payload with [`reply_part`](Self::reply_part), in this callback and in later ones. Until it is complete, every other
    /// frame for this connection is refused with [`SendError::ReplyUnfinished`], also one that another connection's callback sends. A
    /// drain waits for the reply. The connection may be closed meanwhile, and then the peer gets a truncated frame: the default of
    /// [`Handler::on_half_close`](crate::Handler::on_half_close) closes, so a handler with unfinished replies overrides it.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply).
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{Connection, Frame, Handler, SendError};
    ///
    /// /// Replies with as many zeros as the client asks for, in pieces that the client reads.
    /// struct Zeros;
    ///
    /// impl Zeros {
    ///     fn go_on(&self, conn: &mut Connection<'_>) {
    ///         while conn.unfinished_reply() > 0 {
    ///             let len = conn.unfinished_reply().min(16 << 10);
    ///             match conn.reply_part(&vec![0; len]) {
    ///                 Ok(()) => {}
    ///                 // `on_writable` is called when there is room again.
    ///                 Err(SendError::Full) => return,
    ///                 Err(_) => return conn.abort(),
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// impl Handler for Zeros {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let asked = str::from_utf8(frame.payload()).ok().and_then(|digits| digits.parse().ok());
    ///         match asked.map(|len| conn.begin_reply(len)) {
    ///             Some(Ok(())) => {
    ///                 // Until the reply is complete, no other frame can be replied to.
    ///                 conn.pause();
    ///                 self.go_on(conn);
    ///             }
    ///             Some(Err(_)) | None => conn.close(),
    ///         }
    ///         if conn.unfinished_reply() == 0 {
    ///             conn.resume();
    ///         }
    ///     }
    ///
    ///     fn on_writable(&mut self, conn: &mut Connection<'_>, _state: &mut ()) {
    ///         self.go_on(conn);
    ///         if conn.unfinished_reply() == 0 {
    ///             conn.resume();
    ///         }
    ///     }
    /// }
    /// ```
    pub fn begin_reply(&mut self, payload_len: usize) -> Result<(), SendError> {
        let sent = self.replies.begin_reply(payload_len);
        let needed = self.replies.room_needed(self.replies.rules.enclosure_len_max());
        self.not_queued(sent, needed, |replies| replies.begin_reply(payload_len))
    }

    /// Queues a copy of the next part of the payload of the reply that was [begun](Self::begin_reply). The last part completes it.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply); the reply stays unfinished, and the part can be queued again. After [`SendError::Full`],
    /// [`Handler::on_writable`](crate::Handler::on_writable) is called when there is room. [`SendError::TooLong`] if less than this part
    /// is missing, or no reply was begun.
    pub fn reply_part(&mut self, part: &[u8]) -> Result<(), SendError> {
        let sent = self.replies.reply_part(part);
        if sent.is_ok() {
            return sent;
        }
        let needed = self.replies.room_needed(part.len() + Enclosure::LEN_MAX);
        self.not_queued(sent, needed, |replies| replies.reply_part(part))
    }

    /// Returns how many bytes of the payload of the reply that was [begun](Self::begin_reply) are not queued; 0 if there is none.
    #[must_use]
    pub fn unfinished_reply(&self) -> usize {
        self.replies.unfinished().unwrap_or(0)
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
    /// As for [`reply`](Self::reply); [`SendError::Closed`](crate::SendError::Closed) if the id is stale. No connection is evicted for a frame to
    /// another connection.
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        if to == self.id { self.reply(payload) } else { self.reach.send(to, payload, self.replies.shared) }
    }

    /// Queues a frame with a copy of `payload` on every connection, including this one. Returns how many queued it.
    ///
    /// The payload is copied once for all of them, and a short one (512 bytes or less) for this one, and for each that has pending input
    /// or output; [`broadcast_all_shared`](Self::broadcast_all_shared) takes a longer one without a copy.
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
    /// From now on a send returns [`SendError::Closed`](crate::SendError::Closed), pending output does not pause the input, and
    /// [`Handler::on_writable`](crate::Handler::on_writable) is not called. When the peer finishes, [`Handler::on_half_close`](crate::Handler::on_half_close) is called as always. Then both
    /// directions have ended, and the connection closes with [`CloseReason::PeerFinished`](crate::CloseReason::PeerFinished) when its output is sent.
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
    /// far as the socket accepts it. At the end of the turn [`Handler::on_detach`](crate::Handler::on_detach) gets the socket, with the
    /// bytes that were received and not delivered, and those that were not written. The reactor does not shut the socket down; it
    /// stays nonblocking.
    ///
    /// Detaching has no effect on a connection that is closing, or that was [finished](Self::finish). If the connection fails before
    /// the end of the turn, it ends for that reason, and `on_detach` is not called. To detach a connection from a callback about another
    /// one, call [`Context::wake`], and detach it in [`Handler::on_wake`](crate::Handler::on_wake).
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
        self.replies.flags.set(Flag::Paused, true);
    }

    /// Resumes this connection after [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.replies.flags.set(Flag::Paused, false);
    }

    /// Sets whether input pauses when pending output has reached the high-water mark, until it has fallen to the low-water
    /// mark. Default: `true` on accepted connections, `false` on dialed ones.
    ///
    /// If both peers of a connection pause like this, each waits for the other forever. So one of them has to read on. With
    /// `false`, [`Handler::on_frame`](crate::Handler::on_frame) is also called above the mark, and then a reply returns [`SendError::Full`](crate::SendError::Full).
    pub fn pause_input_when_full(&mut self, pauses: bool) {
        self.replies.flags.set(Flag::PausesWhenFull, pauses);
    }

    /// Returns the [`Context`], which reaches all connections by their ids, dials, and sets timers.
    pub fn cx(&mut self) -> Context<'_> {
        Context {
            reach: &mut *self.reach,
            about: About::Connection { id: self.id, peer: self.peer, replies: self.replies.reborrow() },
        }
    }
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", self.peer).finish_non_exhaustive()
    }
}
