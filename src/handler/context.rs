//! What a callback can do with the reactor, and with connections by their ids.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::address::{Address, Dial, PeerAddr};
use crate::conn::flags::Flag;
use crate::conn::frame::Frame;
use crate::conn::payloads::SharedPayload;
use crate::conn::shared::Shared;
use crate::conn::sink::Replies;
use crate::error::{DialRefused, Error, SendError, TimerRefused};
use crate::id::{ConnId, ListenerId, TimerId};
use crate::info::{ConnectionInfo, Seen};
use crate::options::ListenOptions;
use crate::reach::{BATCH_LEN, Broadcast, Command, End, Reach, count};
use crate::stats::Stats;

/// Gives a callback access to connections by their ids, to dials, timers, and the end of the reactor.
///
/// Callbacks about no connection get one; [`Connection::cx`](crate::Connection::cx) returns one in the others, and
/// [`Reactor::cx`](crate::Reactor::cx) between turns.
///
/// Rule: an id means the same wherever it is used. In a callback about a connection
/// ([`Connection::cx`](crate::Connection::cx)), its own id works like any other: a send to it is a reply. Only
/// [`broadcast_all`](Self::broadcast_all) and [`broadcast_all_shared`](Self::broadcast_all_shared) omit that connection.
pub struct Context<'a> {
    pub(crate) reach: &'a mut dyn Reach,
    pub(crate) about: About<'a>,
}

pub(crate) enum About<'a> {
    Reactor(&'a mut Shared),
    /// The connection is borrowed from its slot while it runs.
    Connection {
        id: ConnId,
        peer: &'a PeerAddr,
        replies: Replies<'a>,
    },
}

impl<'a> Context<'a> {
    pub(crate) fn new(reach: &'a mut dyn Reach, shared: &'a mut Shared) -> Self {
        Self { reach, about: About::Reactor(shared) }
    }

    fn command(&mut self, to: ConnId, command: Command) -> bool {
        match &mut self.about {
            About::Connection { id, replies, .. } if *id == to => command_own(to, replies, self.reach, command),
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
    /// [`SendError::Closed`] if the id is stale or the connection is closing; otherwise as for
    /// [`Connection::reply`](crate::Connection::reply). No connection is evicted to make room for the frame.
    pub fn send(&mut self, to: ConnId, payload: &[u8]) -> Result<(), SendError> {
        self.queue_on(to, payload, Replies::reply, |reach, payload, shared| reach.send(to, payload, shared))
    }

    /// Queues a frame with `payload` on the connection `to`. The payload is not copied unless it is short (512 bytes or less).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_shared(&mut self, to: ConnId, payload: Bytes) -> Result<(), SendError> {
        self.send_to(to, &mut SharedPayload::new(payload))
    }

    fn send_to(&mut self, to: ConnId, payload: &mut SharedPayload<'_>) -> Result<(), SendError> {
        self.queue_on(to, payload, Replies::reply_shared, |reach, payload, shared| {
            reach.send_shared(to, payload, shared)
        })
    }

    /// Queues a message on the connection `to`: by `own` if the callback is about that one, otherwise by `other`.
    ///
    /// Rule: a frame that is not queued is counted, on whichever way it was to be sent. `other` counts it itself.
    fn queue_on<T>(
        &mut self,
        to: ConnId,
        message: T,
        own: impl FnOnce(&mut Replies<'a>, T) -> Result<(), SendError>,
        other: impl FnOnce(&mut dyn Reach, T, &mut Shared) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if let About::Connection { id, replies, .. } = &mut self.about
            && *id == to
        {
            let sent = own(replies, message);
            return replies.shared.count_refused(sent);
        }
        let (reach, shared) = self.shared();
        other(reach, message, shared)
    }

    /// Queues a frame with `payload` on each connection of `to`. Returns how many queued it, and why others did not.
    ///
    /// The payload is held once for all of them, and counts once in [`memory`](crate::ConfigBuilder::memory), until the last
    /// has sent it; a short one (512 bytes or less) is copied for each that has pending input or output. In the high-water mark of each
    /// connection the frame counts as any other. A connection that has reached its mark is skipped. None is closed.
    ///
    /// A `payload` that is not short keeps all the memory alive of which it is a slice, and only its own length is counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{Connection, ConnId, Frame, Handler};
    ///
    /// /// Sends each frame to all members of a room.
    /// struct Room {
    ///     members: Vec<ConnId>,
    /// }
    ///
    /// impl Handler for Room {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Connection<'_>) {
    ///         self.members.push(conn.id());
    ///     }
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let payload = bytes::Bytes::copy_from_slice(frame.payload());
    ///         let reached = conn.cx().broadcast(self.members.iter().copied(), payload);
    ///         assert_eq!(reached.gone, 0);
    ///     }
    ///
    ///     fn on_close(
    ///         &mut self,
    ///         _cx: &mut frameloop::Context<'_>,
    ///         id: ConnId,
    ///         _state: (),
    ///         _reason: &frameloop::CloseReason,
    ///     ) {
    ///         self.members.retain(|member| *member != id);
    ///     }
    /// }
    /// ```
    pub fn broadcast(&mut self, to: impl IntoIterator<Item = ConnId>, payload: Bytes) -> Broadcast {
        let mut payload = SharedPayload::new(payload);
        let mut reached = Broadcast::default();
        let own = match &self.about {
            About::Connection { id, .. } => Some(*id),
            About::Reactor(_) => None,
        };
        let mut batch = [ConnId::NONE; BATCH_LEN];
        let mut len = 0;
        for to in to {
            if own == Some(to) {
                count(&mut reached, self.send_to(to, &mut payload));
                continue;
            }
            batch[len] = to;
            len += 1;
            if len == BATCH_LEN {
                self.broadcast_to_others(&batch, &mut payload, &mut reached);
                len = 0;
            }
        }
        self.broadcast_to_others(&batch[..len], &mut payload, &mut reached);
        reached
    }

    fn broadcast_to_others(&mut self, to: &[ConnId], payload: &mut SharedPayload<'_>, reached: &mut Broadcast) {
        let (reach, shared) = self.shared();
        reach.broadcast(to, payload, shared, reached);
    }

    /// Queues a frame with a copy of `payload` on every connection, except the one that the callback is about. Returns how
    /// many queued it.
    ///
    /// The payload is copied once for all of them, and a short one (512 bytes or less) for each that has pending input or output;
    /// [`broadcast_all_shared`](Self::broadcast_all_shared) takes a longer one without a copy.
    pub fn broadcast_all(&mut self, payload: &[u8]) -> Broadcast {
        let (reach, shared) = self.shared();
        reach.broadcast_all(&mut SharedPayload::of_slice(payload), shared)
    }

    /// Queues a frame with `payload` on every connection, except the one that the callback is about, as
    /// [`broadcast`](Self::broadcast) does on some. Returns how many queued it.
    pub fn broadcast_all_shared(&mut self, payload: Bytes) -> Broadcast {
        let (reach, shared) = self.shared();
        reach.broadcast_all(&mut SharedPayload::new(payload), shared)
    }

    /// Sends a frame on to the connection `to`: as it came if both connections have the same framing, otherwise its payload in the
    /// framing of `to`. A frame that is longer than a chunk (68 KiB with its header) is moved; a shorter one is copied.
    ///
    /// # Errors
    ///
    /// [`NotForwarded`] with the frame and the reason, which is as for [`send`](Self::send).
    pub fn forward<'f>(&mut self, mut frame: Frame<'f>, to: ConnId) -> Result<(), NotForwarded<'f>> {
        let sent = self.queue_on(
            to,
            &mut frame,
            |replies, frame| replies.forward(frame),
            |reach, frame, shared| reach.forward(frame, to, shared),
        );
        sent.map_err(|error| NotForwarded { error, frame })
    }

    /// Closes a connection once its pending output is flushed, and gives up a dial in progress. Returns `false` if the id is
    /// stale.
    pub fn close(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Close)
    }

    /// Half-closes a connection, as [`Connection::finish`](crate::Connection::finish) does: FIN is sent once its pending output is
    /// flushed, and frames are still delivered. Returns `false` if the id is stale or belongs to a dial in progress.
    pub fn finish(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Finish)
    }

    /// Closes a connection immediately, with a reset, as [`Connection::abort`](crate::Connection::abort) does. Gives up a dial in
    /// progress. Returns `false` if the id is stale.
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

    /// Makes the reactor call [`Handler::on_wake`](crate::Handler::on_wake) for a connection when it runs next: once, however
    /// often this was called.
    /// Returns `false` if the id is stale.
    ///
    /// Use it instead of [`send`](Self::send) if the frames are to be produced only when they can be written.
    pub fn wake(&mut self, id: ConnId) -> bool {
        self.command(id, Command::Wake)
    }

    /// Returns the ids of all open connections, in no particular order. It takes 8 bytes for each, and no system call.
    ///
    /// An id becomes stale when its connection ends, so it can be kept beyond the callback.
    ///
    /// # Examples
    ///
    /// ```
    /// # use frameloop::{Config, Echo, Reactor};
    /// # let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let mut cx = reactor.cx();
    /// for id in cx.connections() {
    ///     if let Some(info) = cx.inspect(id) {
    ///         println!("{id} from {}: {:?}, {} bytes to be sent", info.peer, info.state, info.pending_output);
    ///     }
    /// }
    /// # Ok::<(), frameloop::Error>(())
    /// ```
    #[must_use]
    pub fn connections(&mut self) -> Vec<ConnId> {
        let mut ids = self.reach.open_ids();
        if let About::Connection { id, .. } = &self.about {
            ids.push(*id);
        }
        ids
    }

    /// Describes a connection: its addresses, its state, what is pending, and when it was active. It makes one system call, for our
    /// address. Returns `None` if the id is stale, or belongs to a dial in progress.
    #[must_use]
    pub fn inspect(&mut self, id: ConnId) -> Option<ConnectionInfo> {
        match &mut self.about {
            About::Connection { id: own, peer, replies } if *own == id => {
                let local = replies.local.and_then(|end| end.addr());
                let seen = Seen { snapshot: replies.snapshot(), peer, local };
                self.reach.inspect(id, Some(seen), replies.shared)
            }
            About::Connection { replies, .. } => self.reach.inspect(id, None, replies.shared),
            About::Reactor(shared) => self.reach.inspect(id, None, shared),
        }
    }

    /// Begins an outbound connection, and returns its id. Unless the [`Dial`] says otherwise, it has the framing, the limits and the
    /// deadlines of an accepted connection.
    ///
    /// [`Handler::on_open`](crate::Handler::on_open) is called with this id when the connection is established; frames can be
    /// sent from then on. If the attempt fails, [`Handler::on_dial_failed`](crate::Handler::on_dial_failed) is called instead.
    /// The dial counts towards `max_connections` from now on.
    /// [`abort`](Self::abort) gives it up.
    ///
    /// # Errors
    ///
    /// [`DialRefused::Ending`] while the reactor drains and after it has stopped; [`DialRefused::TooMany`] if `dials_max` dials
    /// wait for their first attempt; [`DialRefused::Config`] if an option is out of its range. Then there is no id, and no callback
    /// is called.
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
        let (reach, shared) = self.shared();
        reach.dial(dial, shared)
    }

    /// Sets a timer: [`Handler::on_timer`](crate::Handler::on_timer) is called once, in the first turn that begins at `at` or
    /// later.
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

    /// Listens on another address at the end of the turn, as [`Reactor::listen_with`](crate::Reactor::listen_with) does.
    /// [`Handler::on_listen`](crate::Handler::on_listen) gets the id and the bound address, or the error.
    ///
    /// What a turn has requested of listeners is carried out in that order. An address is in use until its listener is closed: to move
    /// a listener to another address, listen there, and then call [`unlisten`](Self::unlisten).
    ///
    /// # Errors
    ///
    /// [`Error::Ending`] while the reactor drains and after it has stopped; [`Error::Config`] if an option is out of its range. Then
    /// `on_listen` is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{Address, Connection, Context, Error, Frame, Handler, ListenOptions, Listening};
    ///
    /// /// Listens where other threads say.
    /// struct Server;
    ///
    /// impl Handler for Server {
    ///     type State = ();
    ///     type Message = Address;
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let _ = conn.reply_frame(frame);
    ///     }
    ///
    ///     fn on_message(&mut self, cx: &mut Context<'_>, addr: Address) {
    ///         if let Err(error) = cx.listen(addr, ListenOptions::default()) {
    ///             println!("{error}");
    ///         }
    ///     }
    ///
    ///     fn on_listen(&mut self, _cx: &mut Context<'_>, _asked: &Address, outcome: Result<Listening, Error>) {
    ///         match outcome {
    ///             Ok(listening) => println!("listening on {}", listening.addr),
    ///             Err(error) => println!("{error}"),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn listen(&mut self, addr: Address, options: ListenOptions) -> Result<(), Error> {
        let (reach, shared) = self.shared();
        reach.listen(addr, options, shared)
    }

    /// Stops listening, as [`Reactor::unlisten`](crate::Reactor::unlisten) does, at the end of the turn. It has no effect if there
    /// is no such listener any more.
    pub fn unlisten(&mut self, id: ListenerId) {
        self.reach.unlisten(Some(id));
    }

    /// Stops listening on every address, as [`Reactor::unlisten_all`](crate::Reactor::unlisten_all) does, at the end of the turn.
    pub fn unlisten_all(&mut self) {
        self.reach.unlisten(None);
    }

    /// Returns a snapshot of the counters, as [`Reactor::stats`](crate::Reactor::stats) does. In a callback about a connection, bytes that
    /// it has read and written are counted already. Frames received are counted when its run ends, and findings of the lint when the turn
    /// ends.
    ///
    /// A snapshot is a copy of about 5 KiB, most of which is [`Stats::turn_durations`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        match &self.about {
            About::Connection { replies, .. } => self.reach.stats(replies.shared),
            About::Reactor(shared) => self.reach.stats(shared),
        }
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
        Command::Close => replies.close(),
        Command::Finish => replies.finish(),
        Command::Abort => replies.abort(),
        Command::Pause => replies.flags.set(Flag::Paused, true),
        Command::Resume => replies.flags.set(Flag::Paused, false),
        Command::Wake => return reach.command(id, command),
    }
    true
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// A frame that [`Context::forward`] has not queued, and why. Nothing of it is consumed.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotForwarded<'a> {
    /// Why it was not queued.
    pub error: SendError,
    /// The frame.
    pub frame: Frame<'a>,
}

impl fmt::Display for NotForwarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for NotForwarded<'_> {}
