//! Signals: blocked in all threads from the beginning of `main`, but for one thread that takes them.
//!
//! Rule: a signal that can be answered is never left to its default action while there is something to clean up; and
//! however many come, they cost the loop a bounded amount of work.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};
use nix::sys::signal::{SigSet, Signal};
use procfs_core::FromRead;
use procfs_core::process::Status;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::{logging, terminal};

/// Two signals to end within this time are one: service managers and terminals send them in pairs.
const SAME: Duration = Duration::from_millis(100);

/// Counters are logged so often at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// SIGUSR1 is looked at so often at most.
const STORM_PAUSE: Duration = Duration::from_millis(1);

/// What a signal does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGINT and SIGTERM end the process as they do by default; as process 1, with the exit code that a shell would show.
    Default,
    /// They end the process with exit code 0: a server that does not listen yet.
    Quit,
    /// They are counted, and wake a [`Wake`].
    Count,
    /// The first is counted; the second ends the process with this exit code.
    CountOne(i32),
}

struct Shared {
    action: Mutex<Action>,
    ends: AtomicU32,
    wants_report: AtomicBool,
    wake: Mutex<Option<UnixStream>>,
}

static SHARED: Shared = Shared {
    action: Mutex::new(Action::Default),
    ends: AtomicU32::new(0),
    wants_report: AtomicBool::new(false),
    wake: Mutex::new(None),
};

/// Signals that are blocked and wait to be taken.
#[derive(Debug)]
pub(crate) struct Blocked(SigSet);

/// Blocks the signals in this thread and in those that it starts.
pub(crate) fn block() -> io::Result<Blocked> {
    let mut signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1].into_iter().collect();
    if !is_hangup_ignored() {
        signals.add(Signal::SIGHUP);
    }
    signals.thread_block()?;
    Ok(Blocked(signals))
}

/// Whether SIGHUP was ignored when the process began, as `nohup` does it: then it stays ignored.
fn is_hangup_ignored() -> bool {
    // A bit for each signal; SIGHUP is the first.
    Status::from_file("/proc/self/status").is_ok_and(|status| status.sigign & 1 == 1)
}

impl Blocked {
    /// Installs their handlers, and starts the thread that takes them.
    pub(crate) fn take(self, action: Action) -> io::Result<()> {
        set(action);
        let taken = Signals::new(self.0.iter().map(|signal| signal as i32))?;
        thread::Builder::new().name("signals".into()).spawn(move || take(&self.0, taken)).map(drop)
    }
}

/// What signals do from now on.
pub(crate) fn set(action: Action) {
    // The thread keeps the lock while it ends the process, so that nothing is begun that would be left behind.
    *lock(&SHARED.action) = action;
}

/// How many signals to end were counted: 0, 1, or 2 and more, at once or after some time.
pub(crate) fn ends() -> u32 {
    SHARED.ends.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor that becomes readable when a signal was counted, for a loop to watch; and what is due then.
#[derive(Debug)]
pub(crate) struct Wake {
    readable: UnixStream,
    reported: Option<Instant>,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let (readable, written) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        written.set_nonblocking(true)?;
        *lock(&SHARED.wake) = Some(written);
        Ok(Self { readable, reported: None })
    }

    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    /// How long until the counters have to be logged that SIGUSR1 has asked for.
    pub(crate) fn until_report(&self) -> Option<Duration> {
        // A turn without a signal costs no system call.
        if !SHARED.wants_report.load(Ordering::Relaxed) {
            return None;
        }
        let due = self.reported.map(|reported| reported + REPORT_INTERVAL);
        Some(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())))
    }

    /// Whether the counters have to be logged now.
    pub(crate) fn take_report(&mut self) -> bool {
        let is_due = self.until_report().is_some_and(|left| left.is_zero());
        if is_due {
            self.clear();
            SHARED.wants_report.store(false, Ordering::SeqCst);
            self.reported = Some(Instant::now());
        }
        is_due
    }

    /// Makes room for further wakes.
    pub(crate) fn clear(&mut self) {
        let mut bytes = [0; 64];
        while self.readable.read(&mut bytes).is_ok_and(|len| len > 0) {}
    }
}

/// The thread's work: handlers run here and nowhere else, so that no signal interrupts the loop.
fn take(signals: &SigSet, mut taken: Signals) {
    // A background process may restore its terminal too.
    let _ = SigSet::from(Signal::SIGTTOU).thread_block();
    if let Err(error) = signals.thread_unblock() {
        warn!(target: logging::TARGET, "signals stay blocked: {error}");
    }
    let report = SigSet::from(Signal::SIGUSR1);
    let mut first = None;
    for number in taken.forever() {
        match Signal::try_from(number) {
            Ok(Signal::SIGUSR1) => {
                // Meanwhile the kernel keeps one of those that come.
                let _ = report.thread_block();
                on_report();
                thread::sleep(STORM_PAUSE);
                let _ = report.thread_unblock();
            }
            Ok(signal) => on_end(signal, &mut first),
            Err(error) => debug!(target: logging::TARGET, "signal {number}: {error}"),
        }
    }
}

fn on_report() {
    let action = lock(&SHARED.action);
    if *action == Action::Default {
        end_by(Signal::SIGUSR1);
    }
    if !SHARED.wants_report.swap(true, Ordering::SeqCst) {
        wake();
    }
}

fn on_end(signal: Signal, first: &mut Option<Instant>) {
    let action = lock(&SHARED.action);
    let now = Instant::now();
    if first.is_some_and(|first| now.saturating_duration_since(first) < SAME) {
        return;
    }
    first.get_or_insert(now);
    match *action {
        Action::Default => end_by(signal),
        Action::Quit => end(0),
        Action::CountOne(code) if ends() > 0 => end(code),
        Action::Count | Action::CountOne(_) => {
            SHARED.ends.fetch_add(1, Ordering::SeqCst);
            wake();
        }
    }
}

fn wake() {
    if let Some(stream) = lock(&SHARED.wake).as_mut() {
        // If it is full, it is readable.
        let _ = stream.write(&[0]);
    }
}

/// Ends the process as the signal does by default, so that its parent sees why.
fn end_by(signal: Signal) {
    clean_up();
    // Process 1 has no default actions.
    if process::id() != 1 {
        let _ = emulate_default_handler(signal as i32);
    }
    process::exit(128 + signal as i32);
}

fn end(code: i32) {
    clean_up();
    process::exit(code);
}

fn clean_up() {
    terminal::restore();
    logging::finish(SAME / 2);
}
