//! Wakes a reactor at an exact time, for the open loop.
//!
//! A poll sleeps in whole milliseconds, and frames are due in between: a timer descriptor wakes it to the microsecond
//! (`timerfd_create(2)`). Elsewhere than on Linux a handler's timer has to do, which comes up to a millisecond late.

#[cfg(target_os = "linux")]
pub(crate) use linux::Pulse;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Pulse;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::rc::Rc;
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    use crate::error::Error;
    use crate::handler::{Handler, Peers};
    use crate::reactor::Reactor;

    /// A timer descriptor that the reactor watches. Clones are the same one.
    #[derive(Debug, Clone)]
    pub(crate) struct Pulse {
        timer: Rc<TimerFd>,
    }

    impl Pulse {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            Ok(Self { timer: Rc::new(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?) })
        }

        /// Lets a reactor wake up for it, and call [`Handler::on_source`].
        pub(crate) fn watch<H: Handler>(&self, reactor: &mut Reactor<H>) -> Result<(), Error> {
            reactor.watch(&*self.timer).map(drop)
        }

        /// Wakes it once, `after` this long. Setting it anew makes it unreadable, so it is never read.
        pub(crate) fn set(&self, after: Duration, _peers: &mut Peers<'_>) {
            // Zero would turn it off.
            let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
            // It fails for no duration that there is.
            let _ = self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::time::Duration;

    use crate::error::Error;
    use crate::handler::{Handler, Peers};
    use crate::reactor::Reactor;

    /// A handler's timer.
    #[derive(Debug, Clone)]
    pub(crate) struct Pulse;

    impl Pulse {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn watch<H: Handler>(&self, _reactor: &mut Reactor<H>) -> Result<(), Error> {
            Ok(())
        }

        /// Wakes it once, `after` this long.
        pub(crate) fn set(&self, after: Duration, peers: &mut Peers<'_>) {
            let at = peers.now() + after;
            let _ = peers.set_timer(at);
        }
    }
}
