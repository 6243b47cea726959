//! Watches descriptors that another part of the program owns.

use std::os::fd::AsFd;

use crate::error::Error;
use crate::handler::Handler;
use crate::id::SourceId;
use crate::net::Interest;
use crate::reactor::Reactor;
use crate::reactor::token::Subject;

/// Fewer numbers than a token has room for on a 32-bit target.
const SOURCES_MAX: u32 = 1 << 14;

impl<H: Handler> Reactor<H> {
    /// Watches a descriptor: when it becomes ready, the loop wakes and calls [`Handler::on_source`] with the returned id.
    ///
    /// What is true of it already is reported in the next turn. You keep the descriptor, and read and write it. Reports are
    /// edge-triggered, so do that until `EAGAIN`; the descriptor must be nonblocking for that. Reports end at
    /// [`unwatch`](Self::unwatch), or when you close the descriptor. At most 16,384 descriptors can be watched.
    ///
    /// If the descriptor has a duplicate, in this process or in a forked child, call `unwatch` before you close it. epoll
    /// keeps the registration until the last duplicate is closed: `on_source` is not called any more, but each event still
    /// wakes the loop.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the descriptor is watched already, if 16,384 are watched, or if the readiness queue refuses it:
    /// epoll refuses regular files.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use frameloop::{Config, Echo, Interest, Reactor};
    ///
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let source = reactor.watch(&ours, Interest::Readable)?; // `on_source` gets this id
    /// reactor.rewatch(source, Interest::Both)?;
    /// assert!(reactor.unwatch(source));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&mut self, fd: &impl AsFd, interest: Interest) -> Result<SourceId, Error> {
        let mut numbers = (0..SOURCES_MAX).map(|ahead| (self.sources + ahead) % SOURCES_MAX);
        let Some(number) = numbers.find(|number| self.net.is_free(Subject::Source(*number).token())) else {
            let error = format!("{SOURCES_MAX} descriptors are watched, as many as can be; unwatch some");
            return Err(Error::Poll(std::io::Error::other(error)));
        };
        self.net.watch(fd.as_fd(), Subject::Source(number).token(), interest).map_err(Error::Poll)?;
        self.sources = (number + 1) % SOURCES_MAX;
        if let Some(lints) = &mut self.lints {
            lints.begin_source(number);
        }
        Ok(SourceId(number))
    }

    /// Changes the interest in a watched descriptor.
    ///
    /// What is true of the descriptor then is reported in the next turn, even if it was reported before. So a call with the
    /// same interest is the way to continue after you have stopped before `EAGAIN`.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the descriptor was unwatched or closed (`NotFound`), or if the readiness queue refuses the change.
    pub fn rewatch(&mut self, source: SourceId, interest: Interest) -> Result<(), Error> {
        self.net.rewatch(Subject::Source(source.0).token(), interest).map_err(Error::Poll)
    }

    /// Stops watching a descriptor: [`Handler::on_source`] is not called with this id any more. Returns `false` if it was not
    /// watched, because it was closed or unwatched before.
    pub fn unwatch(&mut self, source: SourceId) -> bool {
        self.net.unwatch(Subject::Source(source.0).token())
    }
}
