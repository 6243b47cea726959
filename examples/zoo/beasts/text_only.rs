//! The payload is taken for text: it goes through a `String`.
//!
//! People make it because all their payloads are JSON. `from_utf8_lossy` says nothing: what is no UTF-8 becomes U+FFFD. The
//! TCP library of aver did it to each answer: <https://github.com/jasisz/aver/issues/763>.
//!
//! A picture, or a compressed payload, comes back longer and spoilt.
//!
//! Caught by `binary-payload`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, consume, whole_frame};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<TextOnly>(listener)
}

#[derive(Debug, Default)]
struct TextOnly;

impl Behavior for TextOnly {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        let mut used = 0;
        while let Some(frame) = whole_frame(&inbox[used..])? {
            let text = String::from_utf8_lossy(&frame[HEADER_LEN..]); // the mistake
            outbox.push(&(text.len() as u32).to_be_bytes());
            outbox.push(text.as_bytes());
            used += frame.len();
        }
        consume(inbox, used);
        Ok(())
    }
}
