//! How the campaign's handler replies to frames, and to frames that come in parts.

use crate::conn::chunk::CHUNK_LEN;
use crate::handler::Connection;
use crate::tests::sim::campaign::heard::Expected;
use crate::tests::sim::campaign::scripted_handler::ScriptedHandler;
use crate::{Frame, FramePart, NotForwarded, SendError};

impl ScriptedHandler {
    /// Sends a frame on to another connection. Returns it if it was not queued.
    fn forward<'f>(&mut self, conn: &mut Connection<'_>, frame: Frame<'f>) -> Option<Frame<'f>> {
        let to = self.ids[self.frames as usize % self.ids.len()];
        if to == conn.id() {
            return Some(frame);
        }
        let payload = frame.payload_chunks().collect::<Vec<_>>().concat();
        let sent = conn.cx().forward(frame, to);
        let heard = &mut self.records[self.numbers[&to]];
        self.trace.note(format!("    to {}, a frame of another: {:?}", heard.name, sent.as_ref().err()));
        match sent {
            Ok(()) => {
                heard.expected.push(Expected::Forwarded(payload));
                None
            }
            Err(NotForwarded { error, frame, .. }) => {
                heard.waits_for_low_water |= error == SendError::Full;
                Some(frame)
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        conn: &mut Connection<'_>,
        number: usize,
        frame: Frame<'_>,
    ) -> Result<(), SendError> {
        let how = self.rng.below(10);
        let (is_copy, frame_len) = (how <= 3 || how == 9, frame.frame_len());
        let sent = match how {
            0..=2 => conn.reply(frame.payload()),
            3 => conn.reply(&frame.payload_chunks().collect::<Vec<_>>().concat()),
            9 => {
                let payload = frame.payload_chunks().collect::<Vec<_>>().concat();
                match self.forward(conn, frame) {
                    None => conn.reply_shared(payload.into()),
                    Some(frame) => conn.reply_frame(frame),
                }
            }
            _ => conn.reply_frame(frame),
        };
        let heard = &mut self.records[number];
        if sent.is_ok() {
            heard.expected.push(Expected::Answer(heard.taken - 1));
        }
        // The memory may have no room for a long frame and a copy of it.
        let may_lack_memory = is_copy && frame_len > CHUNK_LEN;
        let is_expected = match sent {
            Ok(()) => !heard.was_finished,
            Err(SendError::NoMemory) => may_lack_memory && !heard.was_finished,
            Err(SendError::Closed) => heard.was_finished,
            Err(
                SendError::Full | SendError::ReplyUnfinished | SendError::TooLong { .. } | SendError::TooShort { .. },
            ) => false,
        };
        self.expect(is_expected, number, "the first reply was refused");
        sent
    }

    /// Compares a part with the frame that was sent, and replies: in parts too, or to all of them together.
    pub(super) fn take_part(&mut self, conn: &mut Connection<'_>, number: usize, part: FramePart<'_>) {
        let heard = &mut self.records[number];
        let is_next = part.offset() == heard.parts.len() as u64 && part.is_first() != heard.is_in_parts;
        if part.is_first() {
            heard.part_header_len = part.header().len();
        }
        // Behind the whole frames may be the beginning of one that never is.
        let whole = heard.script.payload(heard.taken);
        let asked = whole.unwrap_or_else(|| &heard.script.behind_frames()[heard.part_header_len..]);
        heard.parts.extend_from_slice(part.bytes());
        heard.is_in_parts = !part.is_last();
        let is_end = whole.is_some_and(|whole| whole.len() == heard.parts.len());
        // The delimiter may come later, and then an empty part is the last.
        let may_be_last = is_end && part.payload_len().is_none();
        let is_own = asked.starts_with(&heard.parts) && (part.is_last() == is_end || may_be_last);
        let is_known = part.payload_len().is_none_or(|len| whole.is_none_or(|whole| len == whole.len() as u64));
        let may_go_on = !(heard.is_paused || heard.is_ending());
        let taken = heard.taken;
        self.expect(is_next && is_own && is_known, number, "a part is not the one that was sent");
        self.expect(may_go_on, number, "a part was delivered that should have waited");

        let (is_short, was_finished) = (self.rng.chance(300), self.records[number].was_finished);
        let mut sent = Ok(());
        if let Some(len) = part.payload_len().filter(|_| part.is_first() && !is_short) {
            sent = conn.begin_reply(len as usize);
            let heard = &mut self.records[number];
            if sent.is_ok() {
                heard.expected.push(Expected::Answer(taken));
                heard.is_reply_unfinished = true;
            }
        }
        let heard = &mut self.records[number];
        if heard.is_reply_unfinished {
            sent = conn.reply_part(part.bytes());
            heard.is_reply_unfinished = sent.is_err() || !part.is_last();
        } else if part.is_last() && sent.is_ok() {
            sent = conn.reply(&heard.parts);
            if sent.is_ok() {
                heard.expected.push(Expected::Answer(taken));
            }
        }
        if part.is_last() {
            self.frames += 1;
            heard.taken += 1;
            heard.parts.clear();
        }
        let is_unfinished = conn.unfinished_reply() > 0;
        let is_unfinished_known = is_unfinished == heard.is_reply_unfinished;
        let is_expected = match sent {
            Ok(()) => true,
            // All parts together may be more than there is memory for.
            Err(SendError::NoMemory) => !was_finished,
            Err(_) => was_finished,
        };
        if sent.is_err() {
            conn.abort();
            self.records[number].was_aborted = true;
        }
        self.expect(is_expected, number, "the first reply to a part was refused");
        self.expect(is_unfinished_known || sent.is_err(), number, "a reply is complete, or is not");
        if is_unfinished && sent.is_ok() && self.frames.is_multiple_of(4) {
            // It has to be refused.
            let id = conn.id();
            self.send(id, |payload| conn.send(id, payload));
        }
    }
}

/// Whether a frame has this payload.
pub(super) fn is_same(asked: &[u8], frame: &Frame<'_>) -> bool {
    let mut rest = asked;
    frame.payload_chunks().all(|piece| match rest.split_at_checked(piece.len()) {
        Some((same, behind)) => {
            rest = behind;
            same == piece
        }
        None => false,
    }) && rest.is_empty()
}
