//! Frames in, bytes out: a connection's queued, unsent output, and its watermarks.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};
use crate::conn::readiness::{SHORT_CALL_IS_LAST, Transport};
use crate::conn::workbench::Budget;
use crate::frame::HEADER_LEN;

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a frame that was not queued is lost unless the caller keeps it"]
pub enum Sent {
    /// It is queued, and will be sent in its order unless the connection ends first.
    Queued,
    /// It is not queued: the outbox has reached its high watermark.
    ///
    /// [`Handler::on_low_water`](crate::Handler::on_low_water) tells when there is room again.
    OverMark,
    /// It is not queued: the connection has ended, or is ending.
    Gone,
    /// It is not queued: no header can announce a payload of more than 4 GiB - 1.
    TooLong,
    /// It is not queued: the buffers of all connections have no room for it within the memory limit. The connection goes
    /// on.
    ///
    /// For a reply, connections that hold more than this one would are evicted first. For a message to another connection
    /// none is, and an eighth of the limit is left to what connections need for themselves.
    NoMemory,
}

/// A connection's queued, unsent output.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    // Invariant: no chunk is empty; `len` is the sum of their lengths.
    chunks: VecDeque<Chunk>,
    len: usize,
    // Invariant: the sum of the chunks' capacities.
    capacity: usize,
    // Invariant: set once `len` has reached the high watermark, until it has fallen to the low one.
    is_over: bool,
}

/// The most chunks that one write takes.
const PIECES_MAX: usize = 16;

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is sent.
    All,
    /// The socket takes no more for now.
    WouldBlock,
    /// The budget is spent.
    BudgetSpent,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the high watermark was reached, and the low one not since.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes that the outbox's chunks take.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of chunks that are needed, at most, to copy `len` bytes to the end.
    pub(crate) fn room_needed(&self, len: usize) -> usize {
        let Some(last) = self.chunks.back() else { return capacity_for(len) };
        let rest = len.saturating_sub(last.spare_len());
        match rest {
            0 => 0,
            _ if last.capacity() == CHUNK_LEN => capacity_for(rest),
            // It is copied to a larger one, and given back only then.
            _ => capacity_for(last.len().saturating_add(len)),
        }
    }

    /// Copies `bytes` to the end. There is [room](Self::room_needed) for them.
    pub(crate) fn append(&mut self, bytes: &[u8], high: usize, pool: &mut ChunkPool) {
        self.append_before(0, bytes, high, pool);
    }

    /// Copies `bytes` to the end, before `more` others that follow at once. There is room for all of them, which one chunk
    /// grows to in one step.
    pub(crate) fn append_before(&mut self, more: usize, mut bytes: &[u8], high: usize, pool: &mut ChunkPool) {
        while !bytes.is_empty() {
            let copied = match self.chunks.back_mut() {
                Some(last) if last.spare_len() > 0 => last.append(bytes),
                _ => 0,
            };
            bytes = &bytes[copied..];
            self.grew_by(copied, high);
            if !bytes.is_empty() {
                self.make_room(bytes.len() + more, pool);
            }
        }
    }

    /// Copies a frame to the end. There is [room](Self::room_needed) for it.
    #[inline]
    pub(crate) fn append_frame(&mut self, header: [u8; HEADER_LEN], payload: &[u8], high: usize, pool: &mut ChunkPool) {
        let frame_len = HEADER_LEN + payload.len();
        if self.chunks.is_empty() {
            self.push(pool.lend(frame_len));
        }
        match self.chunks.back_mut() {
            Some(last) if last.spare_len() >= frame_len => {
                last.append(&header);
                last.append(payload);
                self.grew_by(frame_len, high);
            }
            _ => {
                self.append_before(payload.len(), &header, high, pool);
                self.append(payload, high, pool);
            }
        }
    }

    /// Moves chunks to the end.
    pub(crate) fn append_chunks(&mut self, chunks: &mut VecDeque<Chunk>, high: usize) {
        let len = chunks.iter().map(Chunk::len).sum();
        self.capacity += chunks.iter().map(Chunk::capacity).sum::<usize>();
        self.chunks.append(chunks);
        self.grew_by(len, high);
    }

    /// Writes until everything is sent, the socket would block or `budget` is spent, and takes from `budget` what was sent.
    ///
    /// # Errors
    ///
    /// What the socket answered. A write that takes nothing is [`io::ErrorKind::WriteZero`].
    pub(crate) fn flush(
        &mut self,
        io: &mut impl Transport,
        budget: &mut Budget,
        low: usize,
        pool: &mut ChunkPool,
    ) -> io::Result<Flushed> {
        while !self.is_empty() {
            if !budget.may_write() {
                return Ok(Flushed::BudgetSpent);
            }
            let (asked, sent) = self.write_front(io, budget)?;
            let Some(sent) = sent else {
                return Ok(Flushed::WouldBlock);
            };
            budget.note_written(sent);
            self.consume(sent, pool);
            self.is_over &= self.len > low;
            if sent < asked && SHORT_CALL_IS_LAST {
                return Ok(Flushed::WouldBlock);
            }
        }
        Ok(Flushed::All)
    }

    /// One write of the chunks at the front, up to the one that crosses the budget, and no more bytes than it allows.
    /// Returns how many bytes these are, and what became of them.
    fn write_front(&self, io: &mut impl Transport, budget: &Budget) -> io::Result<(usize, Option<usize>)> {
        let asked_max = budget.write_len_max();
        if let Some(only) = self.chunks.front().filter(|_| self.chunks.len() == 1) {
            let asked = only.len().min(asked_max);
            return Ok((asked, write_some(io, &only.as_slice()[..asked])?));
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut asked) = (0, 0);
        for (piece, chunk) in pieces.iter_mut().zip(&self.chunks) {
            if asked >= budget.write_bytes.min(asked_max) {
                break;
            }
            let len = chunk.len().min(asked_max - asked);
            *piece = IoSlice::new(&chunk.as_slice()[..len]);
            asked += len;
            count += 1;
        }
        Ok((asked, some(|| io.write_pieces(&pieces[..count]))?))
    }

    /// Forgets the first `len` bytes.
    fn consume(&mut self, mut len: usize, pool: &mut ChunkPool) {
        self.len -= len;
        while let Some(first) = self.chunks.front_mut() {
            let consumed = len.min(first.len());
            first.consume(consumed);
            len -= consumed;
            if !first.is_empty() {
                return;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.capacity -= chunk.capacity();
                pool.give_back(chunk);
            }
        }
    }

    fn push(&mut self, chunk: Chunk) {
        self.capacity += chunk.capacity();
        self.chunks.push_back(chunk);
    }

    pub(crate) fn release(&mut self, pool: &mut ChunkPool) {
        self.chunks.drain(..).for_each(|chunk| pool.give_back(chunk));
        self.len = 0;
        self.capacity = 0;
        self.is_over = false;
    }

    #[inline]
    fn grew_by(&mut self, len: usize, high: usize) {
        self.len += len;
        self.is_over |= self.len >= high;
    }

    /// Sees to room for more bytes: the last chunk's own, if enough of it was sent; a last chunk that is not of the
    /// largest size grows to the next that holds them, so that what is queued lies in few pieces; otherwise another is
    /// added.
    fn make_room(&mut self, len: usize, pool: &mut ChunkPool) {
        if let Some(last) = self.chunks.back_mut()
            && last.consumed_len() >= len.max(last.len())
        {
            // No more bytes are moved than were sent, so a byte is moved once on average.
            last.compact();
            return;
        }
        let grows = self.chunks.back().is_some_and(|last| last.capacity() < CHUNK_LEN);
        let last = if grows { self.chunks.pop_back() } else { None };
        let Some(last) = last else { return self.push(pool.lend(len)) };
        let mut larger = pool.lend(last.len() + len);
        larger.append(last.as_slice());
        self.capacity -= last.capacity();
        self.push(larger);
        pool.give_back(last);
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn invariants(&self, high: usize, low: usize) {
        assert!(self.chunks.iter().all(|chunk| !chunk.is_empty()));
        assert_eq!(self.len, self.chunks.iter().map(Chunk::len).sum::<usize>());
        assert_eq!(self.capacity, self.chunks.iter().map(Chunk::capacity).sum::<usize>());
        assert!(!self.is_over || self.len > low);
        assert!(self.is_over || self.len < high);
    }
}

/// One write, repeated when a signal interrupts it. `None` is `WouldBlock`.
///
/// # Errors
///
/// What the socket answered. A write that takes nothing is [`io::ErrorKind::WriteZero`].
pub(crate) fn write_some(io: &mut impl Write, bytes: &[u8]) -> io::Result<Option<usize>> {
    some(|| io.write(bytes))
}

fn some(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => return Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up to `room` bytes in all, at most `step` a write, then would block.
    struct Socket {
        taken: Vec<u8>,
        room: usize,
        step: usize,
        interrupted: bool,
    }

    impl Socket {
        fn with_room(room: usize, step: usize) -> Self {
            Self { taken: Vec::new(), room, step, interrupted: false }
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = bytes.len().min(self.step).min(self.room - self.taken.len());
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Read for Socket {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Transport for Socket {
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing, and says so.
    struct Zero;

    impl Write for Zero {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Read for Zero {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Transport for Zero {
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HIGH: usize = 1_000;
    const LOW: usize = 250;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7) as u8).collect()
    }

    fn chunk_of(bytes: &[u8], pool: &mut ChunkPool) -> Chunk {
        let mut chunk = pool.lend(bytes.len());
        chunk.append(bytes);
        chunk
    }

    #[test]
    fn what_is_appended_in_pieces_is_flushed_in_order_whatever_the_socket_takes() {
        for (len, piece, step) in
            [(3_000, 1_000, 1), (20_000, 7, 13), (200_000, 70_000, 100_000), (2_000_000, 200_000, 65_536)]
        {
            let all = bytes(len);
            let mut pool = ChunkPool::new(4 << 20, 0);
            let mut outbox = Outbox::default();
            for piece in all.chunks(piece) {
                outbox.append(piece, HIGH, &mut pool);
                outbox.invariants(HIGH, LOW);
            }
            let mut socket = Socket::with_room(all.len(), step);
            while outbox.flush(&mut socket, &mut Budget::to_write(usize::MAX), LOW, &mut pool).unwrap() != Flushed::All
            {
                outbox.invariants(HIGH, LOW);
            }
            assert!(socket.taken == all);
            assert_eq!((outbox.len(), pool.lent_bytes()), (0, 0));
        }
    }

    #[test]
    fn small_pieces_lie_together_in_one_chunk() {
        let mut pool = ChunkPool::new(1 << 20, 0);
        let mut outbox = Outbox::default();
        for piece in bytes(2_000).chunks(36) {
            outbox.append(piece, HIGH, &mut pool);
        }
        assert_eq!(outbox.chunks.len(), 1);
        assert!(outbox.capacity() <= 2 * outbox.len() + 4_096);
    }

    #[test]
    fn frames_lie_one_behind_the_other_whatever_room_is_left() {
        let mut pool = ChunkPool::new(16 << 20, 0);
        for payload_len in [0, 1, 300, 507, 508, 509, 4_000, CHUNK_LEN - HEADER_LEN, CHUNK_LEN, 2 * CHUNK_LEN] {
            let payload = bytes(payload_len);
            let mut outbox = Outbox::default();
            for _ in 0..40 {
                outbox.append_frame([1, 2, 3, 4], &payload, usize::MAX, &mut pool);
            }
            outbox.invariants(usize::MAX, LOW);
            let queued: Vec<u8> = outbox.chunks.iter().flat_map(|chunk| chunk.as_slice().to_vec()).collect();
            assert!(queued == [&[1, 2, 3, 4], payload.as_slice()].concat().repeat(40), "{payload_len}");
            assert!(outbox.capacity() <= 2 * outbox.len() + 4_096);
            outbox.release(&mut pool);
        }
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn it_is_over_from_the_high_watermark_down_to_the_low_one() {
        let mut pool = ChunkPool::new(1 << 20, 0);
        let mut outbox = Outbox::default();
        outbox.append(&bytes(HIGH - 1), HIGH, &mut pool);
        assert!(!outbox.is_over());
        outbox.append(&[1], HIGH, &mut pool);
        assert!(outbox.is_over());

        for (room, is_over) in [(HIGH - LOW - 1, true), (1, false)] {
            let mut socket = Socket::with_room(room, room);
            assert_eq!(
                outbox.flush(&mut socket, &mut Budget::to_write(usize::MAX), LOW, &mut pool).unwrap(),
                Flushed::WouldBlock
            );
            assert_eq!(outbox.is_over(), is_over);
            outbox.invariants(HIGH, LOW);
        }
    }

    #[test]
    fn a_flush_ends_when_its_budget_is_spent() {
        let mut pool = ChunkPool::new(1 << 20, 0);
        let mut outbox = Outbox::default();
        outbox.append(&bytes(100), HIGH, &mut pool);
        outbox.append_chunks(&mut VecDeque::from([chunk_of(&bytes(50), &mut pool)]), HIGH);
        let mut socket = Socket::with_room(150, 100);
        let mut budget = Budget::to_write(25);
        assert_eq!(outbox.flush(&mut socket, &mut budget, LOW, &mut pool).unwrap(), Flushed::BudgetSpent);
        assert_eq!((socket.taken.len(), outbox.len(), budget.write_bytes), (100, 50, 0));
    }

    #[test]
    fn one_write_takes_the_chunks_up_to_the_one_that_crosses_the_budget() {
        let all = bytes(20 * CHUNK_LEN);
        for (budget, sent) in [(1, 1), (CHUNK_LEN, 1), (CHUNK_LEN + 1, 2), (3 * CHUNK_LEN, 3), (usize::MAX, PIECES_MAX)]
        {
            let mut pool = ChunkPool::new(4 << 20, 0);
            let mut outbox = Outbox::default();
            outbox.append(&all, usize::MAX, &mut pool);
            let mut socket = Socket::with_room(usize::MAX, usize::MAX);
            let (asked, taken) = outbox.write_front(&mut socket, &Budget::to_write(budget)).unwrap();
            assert_eq!((asked, taken), (sent * CHUNK_LEN, Some(sent * CHUNK_LEN)), "{budget}");
            assert!(socket.taken == all[..sent * CHUNK_LEN]);
        }
    }

    #[test]
    fn a_write_of_zero_is_an_error() {
        let mut pool = ChunkPool::new(1 << 20, 0);
        let mut outbox = Outbox::default();
        outbox.append(b"x", HIGH, &mut pool);
        let outcome = outbox.flush(&mut Zero, &mut Budget::to_write(1), LOW, &mut pool);
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::WriteZero));
    }

    #[test]
    fn append_never_takes_more_than_the_room_it_needs() {
        // A pool that lends more than its limit fails an assertion.
        for before in [0, 1, 508, 511, 512, 513, 30_000, 60_000, CHUNK_LEN - 2, CHUNK_LEN, CHUNK_LEN + 10] {
            for sent in [0, before.min(1), before / 2, before.saturating_sub(1)] {
                for len in [0, 1, 5, 508, 600, 33_000, CHUNK_LEN - 4, CHUNK_LEN, 3 * CHUNK_LEN + 1] {
                    let mut pool = ChunkPool::new(1 << 20, 0);
                    let mut outbox = Outbox::default();
                    outbox.append(&bytes(before), usize::MAX, &mut pool);
                    outbox.consume(sent, &mut pool);
                    let needed = outbox.room_needed(HEADER_LEN + len);
                    pool.set_limit(pool.lent_bytes() + needed);
                    outbox.append_frame([0; HEADER_LEN], &bytes(len), usize::MAX, &mut pool);
                    assert_eq!(outbox.capacity(), pool.lent_bytes());
                }
            }
        }
    }
}
