//! The edges that the simulated kernel reports.

/// Sets which edges a simulated kernel reports.
///
/// | | [`Strict`](Self::Strict) | [`Noisy`](Self::Noisy) |
/// |---|---|---|
/// | a connection is registered | one event: writable, and whatever else is true by then | the same |
/// | bytes arrive | readable, if the last read had drained the socket: it returned `EAGAIN`, or fewer bytes than asked for | readable |
/// | urgent data arrives | readable and urgent, once there is something to read | the same |
/// | FIN arrives | readable and read-closed | the same |
/// | RST arrives | readable, writable, read-closed and failed | the same |
/// | the peer reads | writable, if the last write had found the socket full, once a third of its buffer is free | the same |
/// | a connection is in the listen queue | readable, if the last accept had found the queue empty | readable |
/// | nothing happens | nothing | sometimes an event, also of a socket that is closed |
/// | an event reports | what is new | sometimes the whole state, as Linux does |
/// | between two polls | the edges of one socket are one event, which is omitted if its reason has gone meanwhile | sometimes several events, split, repeated and in any order |
///
/// A program may rely on the strict edges. According to `epoll(7)`, "Questions and answers", a descriptor is ready "until the next
/// (nonblocking) read/write yields `EAGAIN`", or a call moves fewer bytes than asked for, and several events between two calls of
/// `epoll_wait(2)` "will be combined". FIN and RST are conditions of their own (`EPOLLRDHUP` and `EPOLLERR` in `epoll_ctl(2)`), and
/// so each is an edge, whatever was read before. Room is reported as Linux does it (`sk_stream_write_space`).
///
/// What Linux reports beyond that hides the mistakes of a program that depends on it. Noisy edges find the mistakes of a program
/// that believes every event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edges {
    /// Only the promised edges.
    #[default]
    Strict,
    /// More edges, in more confusing order, than any kernel reports.
    Noisy,
}

/// One direction of a socket, or a listen queue, as an edge-triggered queue sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The program has found nothing there: the next arrival is reported.
    Armed,
    /// Something has arrived, and the next poll reports it.
    Raised,
    /// It was reported, and the program has not used it up.
    Reported,
}

impl Edge {
    /// Notes an arrival. Returns whether it is to be reported.
    pub(crate) fn raise(&mut self, edges: Edges) -> bool {
        let is_new = *self == Self::Armed || edges == Edges::Noisy;
        if is_new {
            *self = Self::Raised;
        }
        is_new
    }

    /// Notes that the program has found nothing there, or everything.
    pub(crate) fn exhausted(&mut self) {
        if *self == Self::Reported {
            *self = Self::Armed;
        }
    }

    /// Whether the current poll reports it, which requires that there `is` still something.
    pub(crate) fn report(&mut self, is: bool) -> bool {
        let is_reported = *self == Self::Raised && is;
        if *self == Self::Raised {
            *self = if is { Self::Reported } else { Self::Armed };
        }
        is_reported
    }
}
