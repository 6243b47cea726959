//! The cross-thread handle: a channel and a waker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::handler::End;
use crate::planted::{Bug, planted};
use crate::reactor::net::Net;
use crate::reactor::stats::Stats;

/// Talks to a reactor from other threads.
///
/// Clones talk to the same reactor. Messages of one clone arrive in the order in which they were sent. Many messages sent
/// while the reactor is busy wake it once.
pub struct Handle<M> {
    sender: Sender<Request<M>>,
    bell: Arc<Bell>,
}

/// What another thread asks of a reactor.
pub(crate) enum Request<M> {
    Message(M),
    End(End),
    Stats(Sender<Stats>),
}

/// Wakes the reactor, once for all that is asked before it has looked.
struct Bell {
    has_rung: AtomicBool,
    wake: Box<dyn Fn() -> std::io::Result<()> + Send + Sync>,
}

/// The reactor does not exist any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone<T>(pub T);

impl<T> fmt::Display for Gone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reactor does not exist any more")
    }
}

impl<T: fmt::Debug> std::error::Error for Gone<T> {}

impl<M> Handle<M> {
    /// Sends a message to the handler's [`on_message`](crate::Handler::on_message).
    ///
    /// # Errors
    ///
    /// [`Gone`] with the message, if the reactor does not exist any more.
    pub fn send(&self, message: M) -> Result<(), Gone<M>> {
        match self.ask(Request::Message(message)) {
            Err(Request::Message(message)) => Err(Gone(message)),
            Ok(()) | Err(Request::End(_) | Request::Stats(_)) => Ok(()),
        }
    }

    /// Begins to drain the reactor, as [`Reactor::drain`](crate::Reactor::drain) does.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the reactor does not exist any more.
    pub fn drain(&self) -> Result<(), Gone<()>> {
        self.ask(Request::End(End::Drain)).map_err(|_| Gone(()))
    }

    /// Stops the reactor, as [`Reactor::stop`](crate::Reactor::stop) does.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the reactor does not exist any more.
    pub fn stop(&self) -> Result<(), Gone<()>> {
        self.ask(Request::End(End::Stop)).map_err(|_| Gone(()))
    }

    /// A snapshot of the reactor's counters, taken in its next turn; waits for that.
    ///
    /// Called from the reactor's own thread it would wait for ever: there, use [`Reactor::stats`](crate::Reactor::stats).
    ///
    /// # Errors
    ///
    /// [`Gone`] if the reactor does not exist any more.
    pub fn stats(&self) -> Result<Stats, Gone<()>> {
        let (sender, receiver) = channel();
        self.ask(Request::Stats(sender)).map_err(|_| Gone(()))?;
        receiver.recv().map_err(|_| Gone(()))
    }

    fn ask(&self, request: Request<M>) -> Result<(), Request<M>> {
        self.sender.send(request).map_err(|error| error.0)?;
        self.bell.ring();
        Ok(())
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Bell {
    fn ring(&self) {
        // The request is in the channel before the flag is read; the reactor clears the flag before it reads the channel.
        // So a request is either seen by the reading under way or rings again.
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            // A wake fails only when the reactor's descriptor is gone; then the channel is closed as well.
            let _ = (self.wake)();
        }
    }
}

/// The reactor's end of its handles.
pub(crate) struct Mailbox<M> {
    receiver: Receiver<Request<M>>,
    handle: Handle<M>,
    has_more: bool,
}

impl<M> Mailbox<M> {
    pub(crate) fn new<N: Net>(net: &mut N, token: usize) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(false), wake: Box::new(net.waker(token)?) });
        Ok(Self { receiver, handle: Handle { sender, bell }, has_more: false })
    }

    pub(crate) fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// The waker's event came.
    pub(crate) fn note_rung(&mut self) {
        self.handle.bell.has_rung.swap(planted(Bug::BellStuck), Ordering::AcqRel);
        self.has_more = true;
    }

    /// Whether requests may be waiting for which no event will come.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    pub(crate) fn next(&mut self) -> Option<Request<M>> {
        if !self.has_more {
            return None;
        }
        let request = self.receiver.try_recv().ok();
        self.has_more = request.is_some();
        request
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}
