//! Calls to the handler.
//!
//! Rule: a panic in a callback is caught here, counted, and logged as a warning that names the callback and its connection.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use log::warn;

use crate::address::PeerAddr;
use crate::conn::frame::Frame;
use crate::conn::input::Frames;
use crate::conn::part::FramePart;
use crate::conn::shared::Shared;
use crate::conn::sink::{Drain, Replies, Sink, Verdict};
use crate::error::CloseReason;
use crate::handler::{Connection, Handler};
use crate::id::ConnId;
use crate::reach::Reach;
use crate::reactor::event::ConnectionEvent;
use crate::reactor::log_limit::{LOOP, LogLimit, Source};
use crate::reactor::observer::Observer;
use crate::wire::Decode;

/// Calls the handler for a connection.
pub(crate) struct HandlerSink<'a, H: Handler> {
    pub(crate) handler: &'a mut H,
    pub(crate) state: &'a mut H::State,
    pub(crate) id: ConnId,
    pub(crate) peer: &'a PeerAddr,
    pub(crate) reach: &'a mut dyn Reach,
    /// For log lines about panics.
    pub(crate) limit: &'a mut LogLimit,
    pub(crate) observer: Observer<'a>,
}

impl<H: Handler> HandlerSink<'_, H> {
    /// Closes the connection if the handler panics. Then it returns `None`.
    #[inline]
    fn call<R>(
        &mut self,
        name: &str,
        replies: &mut Replies<'_>,
        callback: impl FnOnce(&mut H, &mut Connection<'_>, &mut H::State) -> R,
    ) -> Option<R> {
        let Self { handler, state, id, peer, reach, limit, .. } = self;
        let outcome = guarded(|| {
            let mut context = Connection { id: *id, peer, replies: replies.reborrow(), reach: &mut **reach };
            callback(handler, &mut context, state)
        });
        let outcome = noted(outcome, name, About::Conn(*id, peer), replies.shared, limit);
        if outcome.is_none() && !matches!(replies.verdict, Verdict::Fail(_)) {
            // Replies that were queued before are still sent.
            *replies.verdict = Verdict::Close(CloseReason::HandlerPanicked);
        }
        outcome
    }
}

impl<H: Handler> Sink for HandlerSink<'_, H> {
    #[inline]
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        let payload_len = frame.payload_len();
        self.observer.note(|| ConnectionEvent::Frame { payload_len });
        self.call("on_frame", replies, |handler, context, state| handler.on_frame(context, state, frame));
    }

    fn on_frame_part(&mut self, part: FramePart<'_>, replies: &mut Replies<'_>) {
        self.observer.note(|| ConnectionEvent::FramePart { offset: part.offset(), len: part.bytes().len() });
        self.call("on_frame_part", replies, |handler, context, state| handler.on_frame_part(context, state, part));
    }

    /// Catches a panic of all calls together: doing that for each would cost as much as the frame.
    #[inline]
    fn on_frames<D: Decode>(&mut self, frames: &mut Frames<'_, D>, replies: &mut Replies<'_>) {
        let observer = self.observer;
        self.call("on_frame", replies, |handler, context, state| {
            while let Some(frame) = context.replies.next_frame(frames) {
                // By value: a frame whose address is taken would not stay in registers.
                let payload_len = frame.payload_len();
                observer.note(move || ConnectionEvent::Frame { payload_len });
                handler.on_frame(context, state, frame);
            }
        });
    }

    fn on_frame_rejected(&mut self, replies: &mut Replies<'_>, reason: &CloseReason) {
        self.call("on_frame_rejected", replies, |handler, context, state| {
            handler.on_frame_rejected(context, state, reason);
        });
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        self.observer.note(|| ConnectionEvent::Callback { name: "on_half_close" });
        self.call("on_half_close", replies, H::on_half_close);
    }

    fn on_wake(&mut self, replies: &mut Replies<'_>) {
        self.observer.note(|| ConnectionEvent::Callback { name: "on_wake" });
        self.call("on_wake", replies, H::on_wake);
    }

    fn on_writable(&mut self, replies: &mut Replies<'_>) {
        self.observer.note(|| ConnectionEvent::Callback { name: "on_writable" });
        self.call("on_writable", replies, H::on_writable);
    }

    fn on_drain(&mut self, replies: &mut Replies<'_>) -> Drain {
        self.observer.note(|| ConnectionEvent::Callback { name: "on_drain" });
        self.call("on_drain", replies, H::on_drain).unwrap_or(Drain::AtRest)
    }

    fn make_room(&mut self, held: usize, needed: usize, shared: &mut Shared) -> bool {
        self.reach.make_room(self.id, held, needed, shared)
    }
}

/// Calls the handler, and catches a panic for [`noted`].
#[inline]
pub(crate) fn guarded<R>(callback: impl FnOnce() -> R) -> thread::Result<R> {
    catch_unwind(AssertUnwindSafe(callback))
}

/// The subject of a callback, as the log names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    Conn(ConnId, &'a PeerAddr),
    Dial(ConnId),
    NoConn,
}

/// Returns what `callback` returned; `None` if it panicked, which is counted and logged.
#[inline]
pub(crate) fn noted<R>(
    outcome: thread::Result<R>,
    callback: &str,
    about: About<'_>,
    shared: &mut Shared,
    limit: &mut LogLimit,
) -> Option<R> {
    outcome.map_err(|payload| note_panic(payload, callback, about, shared, limit)).ok()
}

/// The most characters of a panic's message in the log.
const PANIC_TEXT_MAX: usize = 1_000;

#[cold]
fn note_panic(
    payload: Box<dyn Any + Send>,
    callback: &str,
    about: About<'_>,
    shared: &mut Shared,
    limit: &mut LogLimit,
) {
    shared.counts.panics += 1;
    let source = match about {
        About::Conn(_, peer) => Source::of(peer),
        About::Dial(_) | About::NoConn => Source::Local,
    };
    if limit.passes(shared.now, source) {
        let prefix = match about {
            About::Conn(id, peer) => format!("[{id}] {peer}: "),
            About::Dial(id) => format!("[{id}] "),
            About::NoConn => String::new(),
        };
        let text = payload.downcast_ref::<&str>().copied();
        match text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)) {
            // It may contain bytes that a peer has sent.
            Some(text) => {
                let text: String = text.chars().take(PANIC_TEXT_MAX).flat_map(char::escape_debug).collect();
                warn!(target: LOOP, "{prefix}{callback} panicked: {text}");
            }
            None => warn!(target: LOOP, "{prefix}{callback} panicked, without a message"),
        }
    }
    // The payload of a panic may panic when it is dropped, and so may the payload of that panic.
    if let Err(another) = guarded(|| drop(payload)) {
        std::mem::forget(another);
    }
}
