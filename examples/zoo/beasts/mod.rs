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
mod short_read_drains;
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

macro_rules! zoo {
    ($($name:ident: $mistake:literal;)*) => {
        &[$(Beast { name: stringify!($name), mistake: $mistake, serve: $name::serve },)*]
    };
}

pub(crate) const ZOO: &[Beast] = zoo! {
    native_endian: "reads the length in the machine's byte order";
    zero_is_the_end: "takes an empty frame for the end of the stream";
    one_read_one_header: "takes what one read brings for a whole header";
    clears_the_buffer: "clears its buffer after a frame, and with it what lay behind";
    byte_echo: "echoes bytes, whole frames or not";
    text_only: "takes the payload for text";
    no_drain: "reads once for an edge";
    short_read_drains: "takes a short read for the last one of an edge";
    write_all_nonblocking: "calls write_all on a socket that does not block";
    eof_is_death: "closes at FIN, whatever it owes";
    never_closes: "does not close after FIN";
    one_error_ends_all: "leaves the loop for the error of one connection";
    pool_of_four: "keeps each of four threads for one client to its end";
    blocking_in_the_loop: "waits for readiness, and then for a whole frame";
    writable_left_on: "asks for writable readiness with nothing to write";
    level_left_readable: "pauses reading, and asks for readable readiness all the same";
    one_accept: "accepts once for an edge";
    slot_reused: "addresses answers by slot, and gives slots away before they are sent";
    believes_length: "allocates what a header announces";
    unbounded_outbox: "reads on from a peer that does not read";
    no_budget: "serves one connection for as long as it sends";
    buffer_each: "keeps a read buffer for each connection";
    peer_unwrap: "expects whom it accepts to be still there";
    emfile_stops: "ends the accept loop at its first error";
    emfile_spins: "ignores EMFILE, and is told again at once";
    no_deadline: "waits for ever";
};
