//! The streams that are followed: each is read by a thread, and its bytes become lines.
//!
//! Rule: what is not yet a line has a limit, and what was read and not yet merged has one, so a stream of any content takes bounded memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::results::hlog::input::GZIP;

/// The streams under way.
pub(super) struct Sources {
    pub(super) names: Vec<String>,
    pub(super) parts: Receiver<(usize, Part)>,
    /// For each: whether it has nothing more to come. A file that grows has no end of its own.
    is_over: Vec<Arc<AtomicBool>>,
    /// All are files, which have no end of their own.
    pub(super) are_files: bool,
}

/// What a stream has given.
pub(super) enum Part {
    Bytes(Vec<u8>),
    Failed(io::Error),
    End,
}

impl Sources {
    /// Starts reading; `-` is stdin. Of each file, it is checked before that it can be read.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, Failure> {
        let grows = paths.iter().map(|path| check(path)).collect::<Result<Vec<_>, _>>()?;
        let are_files = grows.iter().all(|grows| *grows);
        let (sender, parts) = sync_channel(PARTS_MAX);
        let (mut names, mut is_over) = (Vec::new(), Vec::new());
        for (at, (path, grows)) in paths.iter().zip(grows).enumerate() {
            let over = Arc::new(AtomicBool::new(!grows));
            let reading = Reading { at, path: path.clone(), sender: sender.clone(), is_over: Arc::clone(&over) };
            let started = thread::Builder::new().name("follow".into()).spawn(move || reading.run());
            started.map_err(|error| Failure::run(format_args!("cannot start a thread: {error}")))?;
            names.push(if is_stdin(path) { "stdin".into() } else { path.display().to_string() });
            is_over.push(over);
        }
        Ok(Self { names, parts, is_over, are_files })
    }

    /// Nothing more is to come from a file that would be waited for at its end.
    pub(super) fn conclude(&self, source: usize) {
        self.is_over[source].store(true, Ordering::Relaxed);
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Checks that a path leads to something to read; whether it is a file, which may grow.
fn check(path: &Path) -> Result<bool, Failure> {
    if is_stdin(path) {
        return Ok(false);
    }
    let refusal = |error| Failure::run(format_args!("cannot read {}: {error}", path.display()));
    let metadata = path.metadata().map_err(refusal)?;
    if metadata.is_dir() {
        return Err(refusal(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() {
        // A pipe would have to be opened twice, which its writer would notice.
        let mut magic = Vec::new();
        File::open(path).and_then(|file| file.take(2).read_to_end(&mut magic)).map_err(refusal)?;
        if magic.starts_with(GZIP) {
            let name = path.display();
            return Err(Failure::run(format_args!(
                "cannot follow {name}: it is compressed with gzip, so its run has ended; decompress it first (gunzip)"
            )));
        }
    }
    Ok(metadata.is_file())
}

/// A thread that reads a stream.
struct Reading {
    at: usize,
    path: PathBuf,
    sender: SyncSender<(usize, Part)>,
    is_over: Arc<AtomicBool>,
}

impl Reading {
    fn run(self) {
        let outcome = match is_stdin(&self.path) {
            true => self.read(io::stdin().lock()),
            // A pipe is opened when it has a writer.
            false => File::open(&self.path).and_then(|file| self.read(file)),
        };
        let part = outcome.map_or_else(Part::Failed, |()| Part::End);
        // The receiver is gone if the result is being printed.
        let _ = self.sender.send((self.at, part));
    }

    fn read(&self, mut stream: impl Read) -> io::Result<()> {
        let mut bytes = vec![0; PART_BYTES];
        loop {
            // Taken before the end is seen, so that what comes between the two is read.
            let is_over = self.is_over.load(Ordering::Relaxed);
            match stream.read(&mut bytes) {
                Ok(0) if is_over => return Ok(()),
                Ok(0) => thread::sleep(PAUSE),
                Ok(len) => {
                    if self.sender.send((self.at, Part::Bytes(bytes[..len].to_vec()))).is_err() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process has made it nonblocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
    }
}

/// From one look at a file that may grow to the next.
const PAUSE: Duration = Duration::from_millis(50);
const PART_BYTES: usize = 64 << 10;
/// Parts that were read and not yet merged.
const PARTS_MAX: usize = 16;

/// The bytes of a stream as lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// The line is too long, and the rest of it is left out.
    is_skipping: bool,
}

/// A line of a stream, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// The stream ended within it.
    Cut(&'a [u8]),
    /// It has more than [`LINE_BYTES_MAX`] bytes.
    TooLong,
}

impl Lines {
    /// Adds bytes, and passes on the lines that are whole.
    pub(super) fn add(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (rest, others) = bytes.split_at(end);
            bytes = &others[1..];
            if self.extend(rest) {
                each(Line::TooLong);
            }
            if !std::mem::take(&mut self.is_skipping) {
                each(Line::Whole(&self.line));
            }
            self.line.clear();
        }
        if self.extend(bytes) {
            each(Line::TooLong);
        }
    }

    /// Passes on the line within which the stream has ended.
    pub(super) fn end(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.line.is_empty() {
            each(Line::Cut(&self.line));
        }
        *self = Self::default();
    }

    /// Adds bytes of one line. Returns whether it has become too long.
    fn extend(&mut self, bytes: &[u8]) -> bool {
        if self.is_skipping {
            return false;
        }
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            (self.line, self.is_skipping) = (Vec::new(), true);
            return true;
        }
        self.line.extend_from_slice(bytes);
        false
    }
}

/// As long as a line of a file may be.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let mut note = |line: Line<'_>| {
            all.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                Line::Cut(line) => format!("cut {}", String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong => "too long".into(),
            });
        };
        parts.iter().for_each(|part| lines.add(part, &mut note));
        lines.end(&mut note);
        all
    }

    #[test]
    fn lines_are_the_same_however_bytes_come() {
        let text = b"one\n\ntwo\nthree";
        let whole = lines(&[text]);
        assert_eq!(whole, ["one", "", "two", "cut three"]);
        for at in 0..text.len() {
            let (first, second) = text.split_at(at);
            assert_eq!(lines(&[first, second]), whole, "{at}");
        }
        assert_eq!(lines(&[b"one\n"]), ["one"]);
    }

    #[test]
    fn long_line_is_left_out_once_and_takes_bounded_memory() {
        let part = vec![b'x'; LINE_BYTES_MAX / 2 + 1];
        assert_eq!(lines(&[&part, &part, &part, b"x\nnext\n"]), ["too long", "next"]);
        assert_eq!(lines(&[&part, &part]), ["too long"]);
        let whole = vec![b'y'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&whole, b"\n"])[0].len(), LINE_BYTES_MAX);
        let mut long = Lines::default();
        (0..10).for_each(|_| long.add(&part, |_| {}));
        assert!(long.line.capacity() <= LINE_BYTES_MAX, "{}", long.line.capacity());
    }
}
