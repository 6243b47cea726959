//! The standard streams: written whole, and by a thread of their own where the caller must not wait.
//!
//! Rule: nothing that a server or a load does waits for a reader of stdout or stderr; what those do not accept is
//! dropped, counted and reported.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes that wait for a stream at most.
const CAPACITY: usize = 1 << 20;

/// A writer's thread calls nothing that needs more.
const STACK_BYTES: usize = 256 << 10;

/// A standard stream without a buffer and without a lock, so that a thread that waits for it holds up no other.
///
/// A stream may be in non-blocking mode, as that belongs to what is open and not to the process (`open(2)`): another
/// process that has the same terminal or pipe can set it. Then writing waits here instead of in the kernel.
#[derive(Debug)]
pub(crate) struct Stream<F>(pub(crate) F);

impl<F: AsFd> Write for Stream<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(&self.0, bytes) {
                Ok(len) => return Ok(len),
                Err(Errno::EAGAIN) => {
                    // An interrupted or failed wait is followed by another look at the stream.
                    let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a queue does about lines that were lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnLoss {
    /// The line to write in place of that many dropped ones, if any.
    pub(crate) notice: fn(u64) -> Option<String>,
    /// Called when the stream fails, each time after it worked.
    pub(crate) failed: fn(&io::Error),
}

/// Lines for a stream, written by a thread. Pushing never waits for the stream: when the queue is full, lines are dropped
/// and counted.
#[derive(Debug, Clone)]
pub(crate) struct LineQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    pending: Vec<u8>,
    /// The thread is writing lines that it has taken.
    is_writing: bool,
    /// Lines dropped behind those pending, for want of room.
    dropped_since: u64,
    dropped: u64,
    /// The first failure of the stream.
    error: Option<io::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineQueue {
    /// Starts the thread that writes to `stream`.
    pub(crate) fn start(name: &str, stream: impl Write + Send + 'static, on_loss: OnLoss) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Writer { shared: Arc::clone(&shared), stream, on_loss, lost: 0, is_mid_line: false };
        thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Queues lines, each with its newline.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        if state.pending.len() + lines.len() > CAPACITY {
            let count = count_lines(lines);
            state.dropped_since += count;
            state.dropped += count;
            return;
        }
        let was_empty = state.pending.is_empty();
        state.pending.extend_from_slice(lines);
        drop(state);
        // Otherwise the thread looks again by itself.
        if was_empty {
            self.shared.changed.notify_all();
        }
    }

    /// How many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until everything is written, at most for `patience`.
    ///
    /// # Errors
    ///
    /// The first failure of the stream, or that not everything is written yet.
    pub(crate) fn finish(&self, patience: Duration) -> io::Result<()> {
        let is_busy = |state: &mut State| state.is_writing || !state.pending.is_empty();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), patience, is_busy);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.error.take() {
            Some(error) => Err(error),
            None if is_busy(&mut state) => Err(io::Error::new(io::ErrorKind::TimedOut, "it is not being read")),
            None => Ok(()),
        }
    }
}

struct Writer<W> {
    shared: Arc<Shared>,
    stream: W,
    on_loss: OnLoss,
    /// Lines that were not written and not reported yet.
    lost: u64,
    /// The last write failed within a line.
    is_mid_line: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.take(&mut lines);
            let mut text = if self.is_mid_line { vec![b'\n'] } else { Vec::new() };
            text.extend(self.notice(self.lost));
            let begin = text.len();
            text.append(&mut lines);
            let end = text.len();
            text.extend(self.notice(dropped));
            match write_all(&mut self.stream, &text) {
                Ok(()) => (self.lost, self.is_mid_line) = (0, false),
                Err((written, error)) => {
                    let newly_lost = count_lines(&text[written.clamp(begin, end)..end]);
                    if written > 0 {
                        self.is_mid_line = text[written - 1] != b'\n';
                    }
                    self.note_failure(error, written >= begin, newly_lost, dropped);
                }
            }
        }
    }

    /// Waits for lines and takes them; returns how many were dropped behind them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.shared.lock();
        state.is_writing = false;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_while(state, |state| state.pending.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        std::mem::swap(lines, &mut state.pending);
        std::mem::take(&mut state.dropped_since)
    }

    fn notice(&self, count: u64) -> Vec<u8> {
        let line = if count > 0 { (self.on_loss.notice)(count) } else { None };
        line.map_or_else(Vec::new, |line| format!("{line}\n").into_bytes())
    }

    /// Counts what was not written as dropped.
    fn note_failure(&mut self, error: io::Error, is_reported: bool, newly_lost: u64, dropped: u64) {
        if self.lost == 0 {
            (self.on_loss.failed)(&error);
        }
        if is_reported {
            self.lost = 0;
        }
        self.lost += newly_lost + dropped;
        let mut state = self.shared.lock();
        state.dropped += newly_lost;
        state.error.get_or_insert(error);
    }
}

/// Writes everything; how much was written when it fails.
fn write_all(stream: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(len) => written += len,
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::AsFd;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const QUIET: OnLoss = OnLoss { notice: |count| Some(format!("dropped {count}")), failed: |_| {} };

    /// A stream that asks the test what becomes of each write.
    struct Asking {
        calls: Sender<Vec<u8>>,
        outcomes: Receiver<io::Result<usize>>,
    }

    impl Write for Asking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls.send(bytes.to_vec()).unwrap();
            self.outcomes.recv().unwrap()
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue, the writes that reach its stream, and what the test answers them.
    fn asking() -> (LineQueue, Receiver<Vec<u8>>, Sender<io::Result<usize>>) {
        let (calls, called) = channel();
        let (answer, outcomes) = channel();
        (LineQueue::start("test", Asking { calls, outcomes }, QUIET).unwrap(), called, answer)
    }

    #[test]
    fn full_queue_drops_lines_and_reports_their_number() {
        let (queue, called, answer) = asking();
        queue.push(b"first\n");
        assert_eq!(called.recv().unwrap(), b"first\n");
        // The stream takes nothing, so what is pushed stays.
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        (0..CAPACITY / line.len() + 7).for_each(|_| queue.push(&line));
        assert_eq!(queue.dropped(), 7);
        answer.send(Ok(6)).unwrap();
        let text = called.recv().unwrap();
        assert_eq!(text.len(), CAPACITY + "dropped 7\n".len());
        assert!(text.ends_with(b"x\ndropped 7\n"));
        queue.push(b"last\n");
        answer.send(Ok(text.len())).unwrap();
        assert_eq!(called.recv().unwrap(), b"last\n");
        answer.send(Ok(5)).unwrap();
        queue.finish(PATIENCE).unwrap();
        assert_eq!(queue.dropped(), 7);
    }

    #[test]
    fn failed_write_reports_dropped_lines_before_next() {
        let (queue, called, answer) = asking();
        queue.push(b"one\ntwo\n");
        called.recv().unwrap();
        // A disk that is full after six bytes.
        answer.send(Ok(6)).unwrap();
        assert_eq!(called.recv().unwrap(), b"o\n");
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(queue.finish(PATIENCE).unwrap_err().kind(), io::ErrorKind::StorageFull);
        queue.push(b"three\n");
        // Still full.
        assert_eq!(called.recv().unwrap(), b"\ndropped 1\nthree\n");
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(queue.finish(PATIENCE).unwrap_err().kind(), io::ErrorKind::StorageFull);
        queue.push(b"four\n");
        let text = called.recv().unwrap();
        assert_eq!(text, b"\ndropped 2\nfour\n");
        answer.send(Ok(text.len())).unwrap();
        queue.finish(PATIENCE).unwrap();
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn finish_returns_when_its_patience_is_over() {
        let (queue, called, _answer) = asking();
        queue.push(b"line\n");
        called.recv().unwrap();
        assert_eq!(queue.finish(Duration::from_millis(1)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn non_blocking_stream_is_written_whole() {
        let (mut reader, writer) = pipe().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
        fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|index| index as u8).collect();
        let expected = bytes.clone();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        Stream(writer.as_fd()).write_all(&bytes).unwrap();
        drop(writer);
        assert!(reading.join().unwrap() == expected);
    }
}
