//! Which edges the simulated kernel reports.

/// How a simulated kernel tells of readiness.
///
/// | | [`Strict`](Self::Strict) | [`Noisy`](Self::Noisy) |
/// |---|---|---|
/// | a connection is registered | one event: writable, and whatever else is true by then | the same |
/// | bytes arrive | readable, if the last read had found the socket empty: it answered `EAGAIN`, or less than was asked for | readable |
/// | urgent data arrives | readable and urgent, once there is something to read | the same |
/// | FIN arrives | readable and read-closed | the same |
/// | RST arrives | readable, writable, read-closed and failed | the same |
/// | the peer reads | writable, if the last write had found the socket full, once a third of its buffer is free | the same |
/// | a connection is in the listen queue | readable, if the last accept had found the queue empty | readable |
/// | nothing happens | nothing | sometimes an event, also of a socket that is closed |
/// | an event says | what is new | sometimes all that is true, as Linux does |
/// | between two polls | all about one socket is one event, which is left out if the reason has gone meanwhile | sometimes several, split, repeated and in any order |
///
/// Strict is what a program may rely on. `epoll(7)`, "Questions and answers": a descriptor is to be considered ready "until the
/// next (nonblocking) read/write yields `EAGAIN`", or reads or writes less than was asked for; and several events between
/// two calls of `epoll_wait(2)` "will be combined". FIN and RST are conditions of their own, `EPOLLRDHUP` and `EPOLLERR` in
/// `epoll_ctl(2)`, and so an edge whatever was read before. Room is told as Linux does it (`sk_stream_write_space`). What
/// Linux tells beyond that hides the mistakes of a program that depends on it; what is told too often trips one
/// that believes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edges {
    /// No edge but those that are promised.
    #[default]
    Strict,
    /// More, and more confused, than was ever seen.
    Noisy,
}

/// One direction of a socket, or a listen queue, as an edge-triggered queue sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The program has found nothing there: what comes is reported.
    Armed,
    /// The next poll reports it.
    Raised,
    /// It was reported, and the program has not used it up.
    Reported,
}

impl Edge {
    /// Something came. Returns whether that is to be reported.
    pub(crate) fn raise(&mut self, edges: Edges) -> bool {
        let is_new = *self == Self::Armed || edges == Edges::Noisy;
        if is_new {
            *self = Self::Raised;
        }
        is_new
    }

    /// The program has found nothing there, or all that there was.
    pub(crate) fn exhausted(&mut self) {
        if *self == Self::Reported {
            *self = Self::Armed;
        }
    }

    /// Whether the poll under way reports it: it does if there `is` still something. Then that is told.
    pub(crate) fn report(&mut self, is: bool) -> bool {
        let is_reported = *self == Self::Raised && is;
        if *self == Self::Raised {
            *self = if is { Self::Reported } else { Self::Armed };
        }
        is_reported
    }
}
