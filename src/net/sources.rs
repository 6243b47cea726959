//! Descriptors that the caller owns and the reactor watches.
//!
//! Rule: a watched descriptor is reported only while the caller has it open, and under no other id than its own. epoll keeps a
//! registration until the open file description is released, not until the descriptor is closed (`epoll(7)`, questions and
//! answers, 6). While a duplicate is open, in this process or in a forked child, events keep coming for a number that is closed,
//! or names another descriptor by now.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;

use mio::unix::SourceFd;
use mio::{Poll, Registry, Token};

use crate::net::kernel;

/// The events for which a descriptor of yours is watched.
///
/// An error or a hang-up is reported whatever the interest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interest {
    /// There may be something to read, or the other end has finished.
    Readable,
    /// There may be room to write.
    Writable,
    /// Both.
    Both,
}

impl From<Interest> for mio::Interest {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Readable => Self::READABLE,
            Interest::Writable => Self::WRITABLE,
            Interest::Both => Self::READABLE.add(Self::WRITABLE),
        }
    }
}

/// Whether closing a descriptor may leave it in the readiness queue. A kqueue forgets a descriptor that is closed.
const OUTLIVES_CLOSE: bool = cfg!(any(target_os = "linux", target_os = "android", target_os = "illumos"));

/// The watched descriptors.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    by_token: BTreeMap<usize, RawFd>,
    /// Holds the same descriptors and nothing else, and is never polled. It accepts a number again exactly if that is no longer
    /// the descriptor that was watched. The main queue would also refuse a number that is a connection's by now.
    probe: Option<Poll>,
}

impl Sources {
    /// Watches a descriptor; events name it by `token`.
    pub(crate) fn watch(&mut self, registry: &Registry, fd: RawFd, token: usize, interest: Interest) -> io::Result<()> {
        if OUTLIVES_CLOSE {
            let probe = match self.probe.take() {
                Some(probe) => probe,
                None => Poll::new()?,
            };
            let registered = register(self.probe.insert(probe).registry(), fd, token, interest);
            registered.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    io::Error::new(error.kind(), format!("descriptor {fd} is watched already; call unwatch first"))
                }
                _ => error,
            })?;
        }
        if let Err(error) = register(registry, fd, token, interest) {
            self.forget_probed(fd);
            return Err(error);
        }
        // A descriptor that was watched under this number is closed: otherwise the number would have been refused.
        self.by_token.retain(|_, watched| *watched != fd);
        self.by_token.insert(token, fd);
        Ok(())
    }

    /// Whether the descriptor of this token is still open, and the one that was watched.
    pub(crate) fn is_watched(&self, token: usize) -> bool {
        let Some(fd) = self.by_token.get(&token) else { return false };
        let Some(probe) = &self.probe else { return true };
        match register(probe.registry(), *fd, token, Interest::Readable) {
            Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
            Ok(()) => {
                self.forget_probed(*fd);
                false
            }
        }
    }

    /// Changes the interest. What is true of the descriptor then is reported once more.
    pub(crate) fn rewatch(&mut self, registry: &Registry, token: usize, interest: Interest) -> io::Result<()> {
        match self.by_token.get(&token) {
            Some(fd) if self.is_watched(token) => registry.reregister(&mut SourceFd(fd), Token(token), interest.into()),
            Some(_) | None => {
                let error = "the descriptor is not watched any more: it was unwatched or closed";
                Err(io::Error::new(io::ErrorKind::NotFound, error))
            }
        }
    }

    /// Stops watching. Returns whether the descriptor was still watched.
    pub(crate) fn unwatch(&mut self, registry: &Registry, token: usize) -> bool {
        let is_watched = self.is_watched(token);
        if let Some(fd) = self.by_token.remove(&token)
            && is_watched
        {
            self.forget_probed(fd);
            // It was just found to be there.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
        is_watched
    }

    /// Whether the descriptor of this token has room to write now.
    pub(crate) fn has_room(&self, token: usize) -> bool {
        self.by_token.get(&token).is_some_and(|fd| kernel::has_room(*fd))
    }

    /// Whether no watched descriptor has this token.
    pub(crate) fn is_free(&self, token: usize) -> bool {
        !self.by_token.contains_key(&token)
    }

    fn forget_probed(&self, fd: RawFd) {
        if let Some(probe) = &self.probe {
            // It fails only if it is closed meanwhile, and then it is forgotten.
            let _ = probe.registry().deregister(&mut SourceFd(&fd));
        }
    }
}

fn register(registry: &Registry, fd: RawFd, token: usize, interest: Interest) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd), Token(token), interest.into())
}
