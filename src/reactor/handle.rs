//! The cross-thread handle: a channel and a waker.
//!
//! Rule: a call on a handle never waits for a turn that cannot come. A reactor that has finished fails it at once, and so
//! does the thread that drives the reactor when it would wait for itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::handler::End;
use crate::net::Net;
use crate::reactor::stats::Stats;

/// Talks to a reactor from other threads.
///
/// Clones talk to the same reactor. Messages of one clone arrive in the order in which they were sent. Many messages sent
/// while the reactor is busy wake it once.
pub struct Handle<M> {
    sender: Sender<Request<M>>,
    link: Arc<Link>,
}

/// What another thread asks of a reactor.
pub(crate) enum Request<M> {
    Message(M),
    End(End),
    Stats(Sender<Stats>),
}

/// What the handles and the mailbox share.
struct Link {
    is_woken: AtomicBool,
    wake: Box<dyn Fn() -> std::io::Result<()> + Send + Sync>,
    /// There will be no further turn. Set under the lock of `phase`.
    is_finished: AtomicBool,
    phase: Mutex<Phase>,
    /// Rule: whatever other threads can have wait for the reactor is bounded.
    messages_waiting: AtomicUsize,
    mailbox_max: usize,
    is_drain_asked: AtomicBool,
    is_stop_asked: AtomicBool,
}

/// Which thread a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There has been no turn yet.
    Fresh,
    /// The thread of the last turn.
    Driven(ThreadId),
    Finished,
}

/// What was asked of a reactor was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError<T> {
    /// As many messages wait for the handler as `mailbox_max` allows: the message.
    Full(T),
    /// The reactor has finished, it was drained, stopped or dropped: the message.
    Finished(T),
}

impl<T> HandleError<T> {
    /// The message that was not taken.
    pub fn into_message(self) -> T {
        match self {
            Self::Full(message) | Self::Finished(message) => message,
        }
    }
}

impl<T> fmt::Display for HandleError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "as many messages wait for the handler as mailbox_max allows",
            Self::Finished(_) => "the reactor has finished",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for HandleError<T> {}

/// A handle's [`stats`](Handle::stats) cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatsError {
    /// The reactor has finished: it was drained, stopped or dropped. [`Reactor::stats`](crate::Reactor::stats) still has
    /// the counters.
    Finished,
    /// The calling thread is the one that drives the reactor, so it would wait for itself.
    OwnThread,
}

impl fmt::Display for StatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the reactor has finished",
            Self::OwnThread => "the thread that drives the reactor cannot wait for its next turn; call Reactor::stats",
        })
    }
}

impl std::error::Error for StatsError {}

impl<M> Handle<M> {
    /// Sends a message to the handler's [`on_message`](crate::Handler::on_message).
    ///
    /// # Errors
    ///
    /// With the message: [`HandleError::Full`] while as many messages wait as `mailbox_max` allows,
    /// [`HandleError::Finished`] if the reactor has finished.
    pub fn send(&self, message: M) -> Result<(), HandleError<M>> {
        let waiting = &self.link.messages_waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= self.link.mailbox_max {
            waiting.fetch_sub(1, Ordering::Relaxed);
            let is_finished = self.link.is_finished.load(Ordering::Acquire);
            return Err(if is_finished { HandleError::Finished(message) } else { HandleError::Full(message) });
        }
        match self.ask(Request::Message(message)) {
            Err(Request::Message(message)) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                Err(HandleError::Finished(message))
            }
            Ok(()) | Err(Request::End(_) | Request::Stats(_)) => Ok(()),
        }
    }

    /// Begins to drain the reactor, as [`Reactor::drain`](crate::Reactor::drain) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Finished`] if the reactor has finished.
    pub fn drain(&self) -> Result<(), HandleError<()>> {
        self.ask_to_end(End::Drain, &self.link.is_drain_asked)
    }

    /// Stops the reactor, as [`Reactor::stop`](crate::Reactor::stop) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Finished`] if the reactor has finished.
    pub fn stop(&self) -> Result<(), HandleError<()>> {
        self.ask_to_end(End::Stop, &self.link.is_stop_asked)
    }

    /// A reactor drains or stops once: what was asked for already is not queued again, so these requests are bounded too.
    fn ask_to_end(&self, end: End, is_asked: &AtomicBool) -> Result<(), HandleError<()>> {
        if self.link.is_finished.load(Ordering::Acquire) {
            return Err(HandleError::Finished(()));
        }
        if is_asked.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.ask(Request::End(end)).map_err(|_| HandleError::Finished(()))
    }

    /// Takes a snapshot of the reactor's counters in its next turn, and waits for that turn. It includes what was sent
    /// through this handle before.
    ///
    /// A reactor that has had no turn yet has done nothing: its counters are zero, and nothing is waited for. So a thread
    /// may create a reactor, move it to another thread, and call this before that thread has begun.
    ///
    /// # Errors
    ///
    /// [`StatsError::Finished`] if the reactor has finished, or finishes before that turn.
    /// [`StatsError::OwnThread`] if the calling thread is the one that drives the reactor: in a callback, and between
    /// turns, until another thread has driven one.
    pub fn stats(&self) -> Result<Stats, StatsError> {
        let (sender, receiver) = channel();
        {
            // The lock is held until the request is in the channel: `finish` empties the channel afterwards.
            let phase = self.link.phase();
            match *phase {
                Phase::Finished => return Err(StatsError::Finished),
                Phase::Driven(thread) if thread == thread::current().id() => return Err(StatsError::OwnThread),
                Phase::Fresh => return Ok(Stats::default()),
                Phase::Driven(_) => {}
            }
            self.ask(Request::Stats(sender)).map_err(|_| StatsError::Finished)?;
        }
        receiver.recv().map_err(|_| StatsError::Finished)
    }

    fn ask(&self, request: Request<M>) -> Result<(), Request<M>> {
        if self.link.is_finished.load(Ordering::Acquire) {
            return Err(request);
        }
        self.sender.send(request).map_err(|error| error.0)?;
        self.link.wake();
        Ok(())
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), link: Arc::clone(&self.link) }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Link {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A phase is one value: no panic can leave it half written.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // The request is in the channel before the flag is read; the reactor clears the flag before it reads the channel.
        // So a request is either seen by the reading under way or wakes the reactor again.
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // A wake fails only when the reactor's descriptor is gone; then the channel is closed as well.
            let _ = (self.wake)();
        }
    }
}

thread_local! {
    /// Asked for in each turn: `thread::current` counts references.
    static THIS_THREAD: ThreadId = thread::current().id();
}

/// The reactor's end of its handles.
pub(crate) struct Mailbox<M> {
    receiver: Receiver<Request<M>>,
    handle: Handle<M>,
    has_more: bool,
    /// What the handles know of it: the lock is taken only when it changes.
    driver: Option<ThreadId>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new<N: Net>(net: &mut N, token: usize, mailbox_max: usize) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let link = Arc::new(Link {
            is_woken: AtomicBool::new(false),
            wake: Box::new(net.waker(token)?),
            is_finished: AtomicBool::new(false),
            phase: Mutex::new(Phase::Fresh),
            messages_waiting: AtomicUsize::new(0),
            mailbox_max,
            is_drain_asked: AtomicBool::new(false),
            is_stop_asked: AtomicBool::new(false),
        });
        Ok(Self { receiver, handle: Handle { sender, link }, has_more: false, driver: None })
    }

    pub(crate) fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// The calling thread drives the reactor's next turn.
    #[inline]
    pub(crate) fn note_driver(&mut self) {
        let thread = THIS_THREAD.with(|id| *id);
        if self.driver != Some(thread) {
            self.driver = Some(thread);
            let mut phase = self.handle.link.phase();
            if *phase != Phase::Finished {
                *phase = Phase::Driven(thread);
            }
        }
    }

    /// There will be no further turn: fails every later request, and returns those that wait for one.
    pub(crate) fn finish(&mut self) -> Vec<Request<M>> {
        let link = &self.handle.link;
        if link.is_finished.load(Ordering::Relaxed) {
            return Vec::new();
        }
        {
            let mut phase = link.phase();
            *phase = Phase::Finished;
            link.is_finished.store(true, Ordering::Release);
        }
        self.has_more = false;
        // Dropping a request for stats ends the wait for it.
        self.receiver.try_iter().collect()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.handle.link.is_finished.load(Ordering::Relaxed)
    }

    /// The waker's event came.
    pub(crate) fn note_woken(&mut self) {
        self.handle.link.is_woken.swap(false, Ordering::AcqRel);
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
        if matches!(request, Some(Request::Message(_))) {
            self.handle.link.messages_waiting.fetch_sub(1, Ordering::Relaxed);
        }
        request
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        drop(self.finish());
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}
