//! Wakes a reactor at an exact time, for the open loop.
//!
//! A poll sleeps for whole milliseconds, and frames are due in between. On Linux a timer descriptor (`timerfd_create(2)`)
//! wakes the reactor to the microsecond; elsewhere a handler's timer does, up to a millisecond late.

#[cfg(target_os = "linux")]
use std::rc::Rc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::time::TimeSpec;
#[cfg(target_os = "linux")]
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::Error;
use crate::handler::{Context, Handler};
#[cfg(target_os = "linux")]
use crate::net::Interest;
use crate::reactor::Reactor;

/// A timer that wakes a reactor. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Wakeup {
    #[cfg(target_os = "linux")]
    timer: Rc<TimerFd>,
}

impl Wakeup {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(target_os = "linux")]
            timer: Rc::new(TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?),
        })
    }

    /// Registers the timer with a reactor, which then calls [`Handler::on_source`].
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    pub(crate) fn watch<H: Handler>(&self, reactor: &mut Reactor<H>) -> Result<(), Error> {
        #[cfg(target_os = "linux")]
        reactor.watch(&*self.timer, Interest::Readable)?;
        Ok(())
    }

    /// Wakes the reactor once, `after` this long. Setting the timer makes it unreadable, so it is never read.
    #[cfg(target_os = "linux")]
    pub(crate) fn set(&self, after: Duration, _cx: &mut Context<'_>) {
        // Zero would disarm it.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        // No duration makes it fail.
        let _ = self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
    }

    /// Wakes the reactor once, `after` this long.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn set(&self, after: Duration, cx: &mut Context<'_>) {
        let at = cx.now() + after;
        let _ = cx.set_timer(at);
    }
}
