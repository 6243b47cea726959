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
    Told,
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
        if *self == Self::Told {
            *self = Self::Armed;
        }
    }

    /// Whether the poll under way reports it: it does if there `is` still something. Then that is told.
    pub(crate) fn tell(&mut self, is: bool) -> bool {
        let is_told = *self == Self::Raised && is;
        if *self == Self::Raised {
            *self = if is { Self::Told } else { Self::Armed };
        }
        is_told
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use crate::config::Config;
    use crate::net::{Net, Readiness};
    use crate::sim::{Faults, Peer, Sim, SimNet, SimStream};

    const PORT: u16 = 7007;
    const CONN: usize = 9;
    const NOTHING: Readiness =
        Readiness { readable: false, writable: false, read_closed: false, urgent: false, failed: false };
    const INPUT: Readiness = Readiness { readable: true, ..NOTHING };
    const ROOM: Readiness = Readiness { writable: true, ..NOTHING };
    const FIN: Readiness = Readiness { readable: true, read_closed: true, ..NOTHING };

    struct Pair {
        sim: Sim,
        net: SimNet,
        peer: Peer,
        stream: SimStream,
    }

    impl Pair {
        /// A connection that is registered, and has told so.
        fn new(faults: Faults) -> Self {
            let sim = Sim::with_faults(1, faults);
            let (mut net, config) = (sim.net(), Config::default());
            let (listener, _) = net.listen(&sim.addr(PORT), &config, 0).unwrap();
            let peer = sim.connect(PORT).unwrap();
            let (mut stream, _) = net.accept(&listener, &config).unwrap();
            net.register(&mut stream, CONN).unwrap();
            let mut pair = Self { sim, net, peer, stream };
            assert_eq!(pair.polled(), [ROOM]);
            pair
        }

        /// What a poll reports of the connection.
        fn polled(&mut self) -> Vec<Readiness> {
            self.net.poll(Some(Duration::ZERO)).unwrap();
            self.net.events().filter(|ready| ready.token == CONN).map(|ready| ready.readiness).collect()
        }
    }

    #[test]
    fn what_comes_between_two_polls_is_one_event_and_no_other_until_the_socket_was_found_empty() {
        let mut pair = Pair::new(Faults::default());
        pair.peer.send(b"abc");
        pair.peer.send(b"def");
        assert_eq!(pair.polled(), [INPUT]);
        assert_eq!(pair.polled(), []);
        pair.peer.send(b"ghi");
        assert_eq!(pair.polled(), []);

        // As much as was asked for: there may be more.
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 9);
        pair.peer.send(b"jk");
        assert_eq!(pair.polled(), []);
        // Less than was asked for: there is no more.
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 2);
        pair.peer.send(b"l");
        assert_eq!(pair.polled(), [INPUT]);
    }

    #[test]
    fn urgent_mark_ends_a_read_and_is_reported_even_if_input_was_before() {
        let mut pair = Pair::new(Faults::default());
        pair.peer.send(b"abc");
        assert_eq!(pair.polled(), [INPUT]);
        pair.peer.mark();
        pair.peer.send(b"def");
        assert_eq!(pair.polled(), [Readiness { urgent: true, ..INPUT }]);
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
        // More is there, and no edge will tell.
        assert_eq!(pair.polled(), []);
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
        assert!(pair.stream.read(&mut [0; 9]).is_err());
    }

    #[test]
    fn an_event_whose_reason_has_gone_is_left_out() {
        let mut pair = Pair::new(Faults::default());
        pair.peer.send(b"abc");
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
        assert_eq!(pair.polled(), []);
        pair.peer.send(b"def");
        assert_eq!(pair.polled(), [INPUT]);
    }

    #[test]
    fn fin_and_rst_are_edges_whatever_was_read_before() {
        let mut pair = Pair::new(Faults::default());
        pair.peer.send(b"abc");
        assert_eq!(pair.polled(), [INPUT]);
        pair.peer.finish();
        assert_eq!(pair.polled(), [FIN]);
        pair.peer.reset();
        assert_eq!(pair.polled(), [Readiness { writable: true, failed: true, ..FIN }]);
        assert_eq!(pair.polled(), []);
    }

    #[test]
    fn room_is_told_to_who_found_none_and_once_a_third_of_the_buffer_is_free() {
        let mut pair = Pair::new(Faults::default());
        pair.sim.set_send_buffer_bytes(300);
        assert_eq!(pair.stream.write(&[7; 300]).unwrap(), 300);
        assert_eq!(pair.peer.receive_some(150).len(), 150);
        assert_eq!(pair.polled(), []);

        assert_eq!(pair.stream.write(&[7; 300]).unwrap(), 150);
        assert_eq!(pair.peer.receive_some(99).len(), 99);
        assert_eq!(pair.polled(), []);
        assert_eq!(pair.peer.receive_some(1).len(), 1);
        assert_eq!(pair.polled(), [ROOM]);
        assert_eq!(pair.peer.receive().len(), 200);
        assert_eq!(pair.polled(), []);
    }

    #[test]
    fn a_fault_that_ends_a_call_too_early_is_followed_by_an_edge() {
        let mut pair = Pair::new(Faults { short_read: 1_000, short_write: 1_000, ..Faults::default() });
        pair.peer.send(b"abc");
        assert_eq!(pair.polled(), [INPUT]);
        assert!(pair.stream.read(&mut [0; 9]).unwrap() < 3);
        assert!(pair.stream.write(b"abc").unwrap() < 3);
        assert_eq!(pair.polled(), [Readiness { writable: true, ..INPUT }]);
    }

    #[test]
    fn what_is_late_comes_before_the_next_poll_or_within_a_call() {
        let mut pair = Pair::new(Faults { late: 1_000, ..Faults::default() });
        pair.peer.send(b"abc");
        pair.peer.finish();
        assert_eq!(pair.polled(), [FIN]);
        pair.sim.set_faults(Faults::default());
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
        assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 0);
    }
}
