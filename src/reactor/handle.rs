//! The handle for other threads: a channel and a waker.
//!
//! Rule: a call on a handle never waits for a turn that cannot come. It returns an error if the reactor has finished, and if the
//! calling thread drives the reactor and would wait for itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::net::Net;
use crate::reach::End;
use crate::stats::Stats;

/// Sends messages to a reactor from other threads, ends it, and reads its counters.
///
/// A handle is [`Clone`] and [`Send`], and may outlive the reactor: then its calls return an error. At most
/// [`mailbox_max`](crate::ConfigBuilder::mailbox_max) messages wait for the handler, from all clones together. Messages of one
/// clone arrive in the order in which they were sent. A busy reactor is woken once for many messages.
///
/// # Examples
///
/// ```
/// use frameloop::{Config, Connection, Context, Frame, Handler, Reactor};
///
/// struct Stopper;
///
/// impl Handler for Stopper {
///     type State = ();
///     type Message = &'static str;
///
///     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
///     fn on_frame(&mut self, _conn: &mut Connection<'_>, _state: &mut (), _frame: Frame<'_>) {}
///
///     fn on_message(&mut self, cx: &mut Context<'_>, message: &'static str) {
///         assert_eq!(message, "enough");
///         cx.stop();
///     }
/// }
///
/// let mut reactor = Reactor::new(Config::default(), Stopper)?;
/// let handle = reactor.handle();
/// let sender = std::thread::spawn(move || handle.send("enough"));
/// reactor.run()?;
/// sender.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<M> {
    sender: Sender<Request<M>>,
    link: Arc<Link>,
}

/// A request of another thread.
pub(crate) enum Request<M> {
    Message(M),
    End(End),
    Stats(Sender<Stats>),
}

/// The state that the handles and the mailbox share.
struct Link {
    is_woken: AtomicBool,
    wake: Box<dyn Fn() -> std::io::Result<()> + Send + Sync>,
    /// There will be no further turn. Set under the lock of `phase`.
    is_finished: AtomicBool,
    phase: Mutex<Phase>,
    /// Rule: everything that other threads can queue for the reactor is bounded.
    messages_waiting: AtomicUsize,
    mailbox_max: usize,
    is_drain_asked: AtomicBool,
    is_stop_asked: AtomicBool,
}

/// The thread that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There has been no turn yet.
    Fresh,
    /// The thread of the last turn.
    Driven(ThreadId),
    Finished,
}

/// Reports why a call of a [`Handle`] was refused. It holds the message, or `()` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError<T> {
    /// `mailbox_max` messages wait for the handler. Try again later.
    Full(T),
    /// The reactor has finished: it was drained, stopped or dropped.
    Finished(T),
}

impl<T> HandleError<T> {
    /// Returns the message that was refused.
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

/// Reports why [`Handle::stats`] returned no counters.
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
    /// Sends a message to the handler's [`on_message`](crate::Handler::on_message), and wakes the reactor. It never blocks.
    ///
    /// A message that the reactor has not delivered when it finishes is dropped.
    ///
    /// # Errors
    ///
    /// Both return the message: [`HandleError::Full`] if `mailbox_max` messages wait, [`HandleError::Finished`] if the reactor
    /// has finished.
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

    /// Begins to drain the reactor in its next turn, as [`Reactor::drain`](crate::Reactor::drain) does. It does not wait, and
    /// `mailbox_max` does not limit it.
    ///
    /// # Errors
    ///
    /// [`HandleError::Finished`] if the reactor has finished.
    pub fn drain(&self) -> Result<(), HandleError<()>> {
        self.ask_to_end(End::Drain, &self.link.is_drain_asked)
    }

    /// Stops the reactor in its next turn, as [`Reactor::stop`](crate::Reactor::stop) does. It does not wait, and
    /// `mailbox_max` does not limit it.
    ///
    /// # Errors
    ///
    /// [`HandleError::Finished`] if the reactor has finished.
    pub fn stop(&self) -> Result<(), HandleError<()>> {
        self.ask_to_end(End::Stop, &self.link.is_stop_asked)
    }

    /// Queues each of the two requests only once, so that they are bounded too.
    fn ask_to_end(&self, end: End, is_asked: &AtomicBool) -> Result<(), HandleError<()>> {
        if self.link.is_finished.load(Ordering::Acquire) {
            return Err(HandleError::Finished(()));
        }
        if is_asked.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.ask(Request::End(end)).map_err(|_| HandleError::Finished(()))
    }

    /// Wakes the reactor, waits for its next turn, and returns its counters. They include messages that were sent through
    /// this handle before.
    ///
    /// Before the first turn it returns zeros without waiting. So a thread may create a reactor, move it to another thread,
    /// and call this before that thread has begun.
    ///
    /// # Errors
    ///
    /// [`StatsError::Finished`] if the reactor has finished, or finishes before that turn;
    /// [`StatsError::OwnThread`] if the calling thread drove the last turn: it would wait for itself.
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
        // A phase is one value, so a panic cannot leave it inconsistent.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // The request is in the channel before the flag is read, and the reactor clears the flag before it reads the channel.
        // So the reactor either sees the request or is woken again.
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // A wake fails only if the reactor is gone; then the channel is closed as well.
            let _ = (self.wake)();
        }
    }
}

thread_local! {
    /// Cached, because each turn needs it and `thread::current` counts references.
    static THIS_THREAD: ThreadId = thread::current().id();
}

/// The reactor's end of the channel.
pub(crate) struct Mailbox<M> {
    receiver: Receiver<Request<M>>,
    handle: Handle<M>,
    has_more: bool,
    /// A copy of [`Phase::Driven`], so that a turn takes the lock only when the thread changes.
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

    /// Notes that the calling thread drives the next turn.
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

    /// Notes that there will be no further turn: later requests fail. Returns the requests that wait for one.
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

    /// Notes an event of the waker.
    pub(crate) fn note_woken(&mut self) {
        self.handle.link.is_woken.swap(false, Ordering::AcqRel);
        self.has_more = true;
    }

    /// Whether requests may be waiting without a further event.
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
