//! Calls to the handler. A panic of the handler goes no further than here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{debug, trace};

use crate::addr::PeerAddr;
use crate::conn::Sink;
use crate::conn::decoder::Frame;
use crate::conn::replies::{Replies, Verdict};
use crate::conn::run::Frames;
use crate::conn::workbench::Supplies;
use crate::error::CloseReason;
use crate::handler::{ConnId, Context, Handler, Reach};

/// Lets a connection speak to the handler.
pub(crate) struct HandlerSink<'a, H: Handler> {
    pub(crate) handler: &'a mut H,
    pub(crate) state: &'a mut H::State,
    pub(crate) id: ConnId,
    pub(crate) peer: &'a PeerAddr,
    pub(crate) reach: &'a mut dyn Reach,
}

impl<H: Handler> HandlerSink<'_, H> {
    /// A panic of the handler ends the connection and goes no further.
    #[inline]
    fn call(&mut self, replies: &mut Replies<'_>, callback: impl FnOnce(&mut H, &mut Context<'_>, &mut H::State)) {
        let Self { handler, state, id, peer, reach } = self;
        let outcome = guarded(|| {
            let mut context = Context { id: *id, peer, replies: replies.reborrow(), reach: &mut **reach };
            callback(handler, &mut context, state);
        });
        if outcome.is_none() && !matches!(replies.verdict, Verdict::Fail(_)) {
            // What was answered before is still flushed.
            *replies.verdict = Verdict::Close(CloseReason::HandlerPanicked);
        }
    }
}

impl<H: Handler> Sink for HandlerSink<'_, H> {
    #[inline]
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        trace!("[{}] frame: {} bytes of payload, handed over", self.id, frame.payload_len());
        self.call(replies, |handler, context, state| handler.on_frame(context, state, frame));
    }

    /// One guard for all of them: one for each would cost as much as the frame.
    #[inline]
    fn on_frames(&mut self, frames: &mut Frames<'_>, replies: &mut Replies<'_>) {
        let id = self.id;
        self.call(replies, |handler, context, state| {
            while let Some(frame) = frames.next(&mut context.replies) {
                trace!("[{id}] frame: {} bytes of payload, handed over", frame.payload_len());
                handler.on_frame(context, state, frame);
            }
        });
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        self.call(replies, H::on_half_close);
    }

    fn on_wake(&mut self, replies: &mut Replies<'_>) {
        self.call(replies, H::on_wake);
    }

    fn on_low_water(&mut self, replies: &mut Replies<'_>) {
        self.call(replies, H::on_low_water);
    }

    fn make_room(&mut self, held: usize, needed: usize, supplies: &mut Supplies) -> bool {
        self.reach.make_room(self.id, held, needed, supplies)
    }
}

/// Calls the handler; `None` if it panicked.
#[inline]
pub(crate) fn guarded<R>(callback: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(|payload| log_panic(&*payload)).ok()
}

#[cold]
fn log_panic(payload: &(dyn Any + Send)) {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    // The message may hold what a peer has sent.
    debug!("the handler panicked: {}", text.escape_debug());
}
