//! Descriptors that another part of the program owns, watched by the loop.

use std::os::fd::AsFd;

use crate::error::Error;
use crate::handler::Handler;
use crate::id::SourceId;
use crate::reactor::Reactor;
use crate::reactor::token::Subject;

/// Fewer numbers than a token has room for on a 32-bit target.
const SOURCES_MAX: u32 = 1 << 14;

impl<H: Handler> Reactor<H> {
    /// Lets a descriptor wake the loop when it becomes readable, and calls [`Handler::on_source`] for it.
    ///
    /// The descriptor stays the caller's. Its reports end when the caller closes it, or at [`unwatch`](Self::unwatch). Call
    /// `unwatch` before you close a descriptor that has duplicates, in this process or in a forked child: otherwise Linux
    /// goes on to wake the loop for it, though nothing is reported any more.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the descriptor is watched already, or the readiness queue does not take it: epoll takes no regular
    /// file.
    pub fn watch(&mut self, fd: &impl AsFd) -> Result<SourceId, Error> {
        let mut numbers = (0..SOURCES_MAX).map(|ahead| (self.sources + ahead) % SOURCES_MAX);
        let Some(number) = numbers.find(|number| self.net.is_free(Subject::Source(*number).token())) else {
            let error = format!("{SOURCES_MAX} descriptors are watched, as many as can be; unwatch some");
            return Err(Error::Poll(std::io::Error::other(error)));
        };
        self.net.watch(fd.as_fd(), Subject::Source(number).token()).map_err(Error::Poll)?;
        self.sources = (number + 1) % SOURCES_MAX;
        Ok(SourceId(number))
    }

    /// Ends a [`watch`](Self::watch): nothing is reported for this id any more. Returns whether the descriptor was still
    /// watched.
    pub fn unwatch(&mut self, source: SourceId) -> bool {
        self.net.unwatch(Subject::Source(source.0).token())
    }
}
