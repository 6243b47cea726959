//! What one read brings, where a header is to begin, is taken for the whole header.
//!
//! People make it because it is so on every machine they try: headers are short, and come with their payload. naz read the
//! four bytes of a command's length that way: <https://github.com/komuw/naz/pull/153>.
//!
//! A header that comes in two segments is read as another length, and from there on the stream is out of step: the client
//! gets answers that it never asked for, or waits. It happens once in a million frames, in production.
//!
//! Caught by `byte-at-a-time`, `header-1-3`, `header-2-2`, `header-3-1`, `every-split`, `drip-beside` and `fin-in-header`.
//! In a long pipeline a segment may end inside a header too: whether `slow-reader` and `half-close-owed` fail is chance.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, checked_len, consume};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<OneReadOneHeader>(listener)
}

#[derive(Debug, Default)]
struct OneReadOneHeader {
    /// The header that came last, and its payload length, until that is there.
    begun: Option<([u8; HEADER_LEN], usize)>,
}

impl Behavior for OneReadOneHeader {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        let mut used = 0;
        while used < inbox.len() || self.begun.is_some() {
            let rest = &inbox[used..];
            let Some((header, len)) = self.begun else {
                let mut header = [0; HEADER_LEN];
                let came = rest.len().min(HEADER_LEN); // the mistake: it may be less than the header
                header[..came].copy_from_slice(&rest[..came]);
                self.begun = Some((header, checked_len(header)?));
                used += came;
                continue;
            };
            let Some(payload) = rest.get(..len) else { break };
            outbox.push(&header);
            outbox.push(payload);
            used += len;
            self.begun = None;
        }
        consume(inbox, used);
        Ok(())
    }
}
