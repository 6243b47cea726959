//! The beasts, in the order in which the grader finds them.

mod believes_length;
mod blocking_in_the_loop;
mod buffer_each;
mod byte_echo;
mod clears_the_buffer;
mod emfile_spins;
mod emfile_stops;
mod eof_is_death;
mod level_left_readable;
mod native_endian;
mod never_closes;
mod no_budget;
mod no_deadline;
mod no_drain;
mod one_accept;
mod one_error_ends_all;
mod one_read_one_header;
mod peer_unwrap;
mod pool_of_four;
mod slot_reused;
mod text_only;
mod unbounded_outbox;
mod writable_left_on;
mod write_all_nonblocking;
mod zero_is_the_end;

use std::io::Result;
use std::net::TcpListener;

/// A server with one mistake.
pub(crate) struct Beast {
    pub(crate) name: &'static str,
    pub(crate) mistake: &'static str,
    /// Serves until it is killed, or until its mistake ends it.
    pub(crate) serve: fn(TcpListener) -> Result<()>,
}

pub(crate) const ZOO: &[Beast] = &[
    beast("native_endian", "reads the length in the machine's byte order", native_endian::serve),
    beast("zero_is_the_end", "takes an empty frame for the end of the stream", zero_is_the_end::serve),
    beast("one_read_one_header", "takes what one read brings for a whole header", one_read_one_header::serve),
    beast(
        "clears_the_buffer",
        "clears its buffer after a frame, and with it what lay behind",
        clears_the_buffer::serve,
    ),
    beast("byte_echo", "echoes bytes, whole frames or not", byte_echo::serve),
    beast("text_only", "takes the payload for text", text_only::serve),
    beast("no_drain", "reads once for an edge", no_drain::serve),
    beast("write_all_nonblocking", "calls write_all on a socket that does not block", write_all_nonblocking::serve),
    beast("eof_is_death", "closes at FIN, whatever it owes", eof_is_death::serve),
    beast("never_closes", "does not close after FIN", never_closes::serve),
    beast("one_error_ends_all", "leaves the loop for the error of one connection", one_error_ends_all::serve),
    beast("pool_of_four", "keeps each of four threads for one client to its end", pool_of_four::serve),
    beast("blocking_in_the_loop", "waits for readiness, and then for a whole frame", blocking_in_the_loop::serve),
    beast("writable_left_on", "asks for writable readiness with nothing to write", writable_left_on::serve),
    beast(
        "level_left_readable",
        "pauses reading, and asks for readable readiness all the same",
        level_left_readable::serve,
    ),
    beast("one_accept", "accepts once for an edge", one_accept::serve),
    beast("slot_reused", "addresses answers by slot, and gives slots away before they are sent", slot_reused::serve),
    beast("believes_length", "allocates what a header announces", believes_length::serve),
    beast("unbounded_outbox", "reads on from a peer that does not read", unbounded_outbox::serve),
    beast("no_budget", "serves one connection for as long as it sends", no_budget::serve),
    beast("buffer_each", "keeps a read buffer for each connection", buffer_each::serve),
    beast("peer_unwrap", "expects whom it accepts to be still there", peer_unwrap::serve),
    beast("emfile_stops", "ends the accept loop at its first error", emfile_stops::serve),
    beast("emfile_spins", "ignores EMFILE, and is told again at once", emfile_spins::serve),
    beast("no_deadline", "waits for ever", no_deadline::serve),
];

const fn beast(name: &'static str, mistake: &'static str, serve: fn(TcpListener) -> Result<()>) -> Beast {
    Beast { name, mistake, serve }
}
