//! A client may take forever to complete a frame, and forever to read a reply.
//!
//! People make it because nothing is wrong in the code: what is missing does not show. Memory and processor are guarded, and
//! still each such client holds a descriptor. tiny-nginx waits for the rest of a request without end (slow loris):
//! <https://github.com/gd-arnold/tiny-nginx/issues/3>.
//!
//! Some thousand clients that send half a header and no more, from one machine, and no other client can connect.
//!
//! Caught by `stalled-frame` and `stalled-reader`. It is `sound/` and nothing else: the other cases hold.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Right;
use crate::sound::edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<Right>(listener)
}
