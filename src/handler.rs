//! The interface of a library user: the [`Handler`] trait, and what a handler can do in its callbacks.

mod connection;
mod context;

pub use crate::handler::connection::Connection;
pub use crate::handler::context::{Context, NotForwarded};

use crate::address::Address;
use crate::conn::frame::Frame;
use crate::conn::io::Readiness;
use crate::conn::part::FramePart;
use crate::conn::sink::Drain;
use crate::error::{CloseReason, DialError, Error};
use crate::id::{ConnId, SourceId, TimerId};
use crate::info::Listening;
use crate::net::Detached;

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
    /// frame is always queued, unless the memory limit has no room for it ([`SendError::NoMemory`](crate::SendError::NoMemory)). There is always room to
    /// send the frame back with [`Connection::reply_frame`].
    ///
    /// On a dialed connection it is also called above the mark, and then a reply returns [`SendError::Full`](crate::SendError::Full): see
    /// [`Connection::pause_input_when_full`].
    fn on_frame(&mut self, conn: &mut Connection<'_>, state: &mut Self::State, frame: Frame<'_>);

    /// Called with each part of a frame that is longer than 68 KiB, if [`Limits::frames_in_parts`](crate::Limits::frames_in_parts) is
    /// set: as soon as some of its payload has come, in order. A shorter frame comes whole, to [`on_frame`](Self::on_frame).
    ///
    /// On an accepted connection it is not called while pending output is above the high-water mark. So the first reply, or part of
    /// a reply, to each part is queued as in `on_frame`. If the peer's stream ends inside the frame, no last part comes:
    /// [`on_close`](Self::on_close) gets [`CloseReason::TruncatedFrame`].
    ///
    /// The default aborts the connection: a handler of such connections implements it.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{Connection, Frame, FramePart, Handler};
    ///
    /// /// Echoes frames of any length in constant memory.
    /// struct EchoParts;
    ///
    /// impl Handler for EchoParts {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let _ = conn.reply_frame(frame);
    ///     }
    ///
    ///     fn on_frame_part(&mut self, conn: &mut Connection<'_>, _state: &mut (), part: FramePart<'_>) {
    ///         // Without a delimiter, the length is known.
    ///         let len = part.payload_len().unwrap_or(0) as usize;
    ///         let begun = if part.is_first() { conn.begin_reply(len) } else { Ok(()) };
    ///         if begun.and_then(|()| conn.reply_part(part.bytes())).is_err() {
    ///             conn.abort();
    ///         }
    ///     }
    /// }
    /// ```
    fn on_frame_part(&mut self, conn: &mut Connection<'_>, state: &mut Self::State, part: FramePart<'_>) {
        let _ = (state, part);
        conn.abort();
    }

    /// Called when a frame is not permitted: its length is above the limit, or is none. The connection closes after this call, with
    /// `reason`: [`CloseReason::FrameTooLong`] or [`CloseReason::InvalidLength`].
    ///
    /// A reply that is queued here is still sent, behind the replies to the frames before. The default sends none. Do not close or detach
    /// the connection here: its end would be another.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::{CloseReason, Connection, Frame, Handler};
    ///
    /// /// A protocol of lines that names its errors.
    /// struct Lines;
    ///
    /// impl Handler for Lines {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    ///
    ///     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
    ///         let _ = conn.reply_frame(frame);
    ///     }
    ///
    ///     fn on_frame_rejected(&mut self, conn: &mut Connection<'_>, _state: &mut (), reason: &CloseReason) {
    ///         let _ = conn.reply(format!("ERROR {reason}").as_bytes());
    ///     }
    /// }
    /// ```
    fn on_frame_rejected(&mut self, conn: &mut Connection<'_>, state: &mut Self::State, reason: &CloseReason) {
        let _ = (conn, state, reason);
    }

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
    /// The id is stale from here on: a send to it returns [`SendError::Closed`](crate::SendError::Closed).
    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, state: Self::State, reason: &CloseReason) {
        let _ = (cx, id, state, reason);
    }

    /// Called after [`Connection::detach`] with the socket of the connection, at the end of the turn.
    /// [`on_close`](Self::on_close) follows, with [`CloseReason::Detached`](crate::CloseReason::Detached).
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

    /// Called with the outcome of [`Context::listen`]: the id and the bound address of the listener; or [`Error::Listen`] with the error of
    /// the kernel, or [`Error::Ending`]. `asked` is the address that `listen` was called with.
    ///
    /// It is called once for each call of `listen` that succeeded, in the same order, unless the reactor is dropped first.
    fn on_listen(&mut self, cx: &mut Context<'_>, asked: &Address, outcome: Result<Listening, Error>) {
        let _ = (cx, asked, outcome);
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
