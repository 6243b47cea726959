//! The lines of a log, from plain text or from gzip, and a limit to the cost of reading them.
//!
//! Rule: the work and the memory that reading a log takes are linear in the bytes of its file, regardless of
//! their content. So a line has a limit, and everything that decompression yields, of the file and of its histograms
//! together, has a [`Budget`] that grows with the bytes that were read.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// The number of bytes that decompression may still yield.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Bytes of the file that were read.
    read: Rc<Cell<u64>>,
    spent: u64,
    /// Whether the whole file is compressed.
    is_gzip: bool,
}

impl Budget {
    /// A budget for bytes in memory.
    #[cfg(test)]
    pub(crate) fn of(bytes: usize) -> Self {
        Self { read: Rc::new(Cell::new(bytes as u64)), ..Self::default() }
    }

    /// Adds bytes that were read in another way.
    pub(crate) fn credit(&mut self, bytes: usize) {
        self.read.set(self.read.get().saturating_add(bytes as u64));
    }

    /// Decompresses a zlib stream; a wrong checksum is an error.
    pub(crate) fn inflate(&mut self, zlib: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut plain = Vec::new();
        let left = self.left();
        ZlibDecoder::new(zlib)
            .take(left + 1)
            .read_to_end(&mut plain)
            .map_err(|_| "the histogram is damaged: its checksum or its compression is wrong")?;
        self.spend(plain.len() as u64);
        if plain.len() as u64 > left { Err(TOO_MUCH) } else { Ok(plain) }
    }

    fn left(&self) -> u64 {
        let ratio = if self.is_gzip { GZIP_RATIO_MAX } else { RATIO_MAX };
        self.read.get().saturating_mul(ratio).saturating_add(FREE_BYTES).saturating_sub(self.spent)
    }

    fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }
}

/// The lines of a log.
pub(crate) struct Lines<'a> {
    text: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
}

/// A line, and how it ended.
pub(crate) struct Line<'a> {
    /// Without surrounding blanks.
    pub(crate) text: &'a [u8],
    /// Whether the file ends within it.
    pub(crate) is_cut: bool,
}

impl<'a> Lines<'a> {
    /// The lines of a file. A file of another format is an error that names the format.
    pub(crate) fn of(file: impl Read + 'a, budget: &mut Budget) -> Result<Self, String> {
        let counted = Counted { inner: file, read: Rc::clone(&budget.read) };
        let (head, text) = opened(Box::new(BufReader::new(counted)))?;
        if !head.starts_with(GZIP) {
            return Ok(Self { text, line: Vec::new() });
        }
        budget.is_gzip = true;
        let (head, text) = opened(Box::new(BufReader::new(MultiGzDecoder::new(text))))?;
        if head.starts_with(GZIP) {
            return Err("it is compressed with gzip more than once; decompress it first (gunzip)".into());
        }
        Ok(Self { text, line: Vec::new() })
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self, budget: &mut Budget) -> Result<Option<Line<'_>>, String> {
        let limit = if budget.is_gzip { budget.left().min(LINE_BYTES_MAX) } else { LINE_BYTES_MAX };
        self.line.clear();
        let mut limited = (&mut self.text).take(limit + 1);
        let len = limited.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())? as u64;
        if budget.is_gzip {
            budget.spend(len);
        }
        if len > limit {
            let is_line = limit == LINE_BYTES_MAX;
            return Err(if is_line { format!("more than {LINE_BYTES_MAX} bytes in a line") } else { TOO_MUCH.into() });
        }
        let is_cut = !self.line.ends_with(b"\n");
        Ok((len > 0).then_some(Line { text: self.line.trim_ascii(), is_cut }))
    }
}

/// The first bytes of a text, and the text without a byte order mark of UTF-8.
fn opened<'a>(mut text: Box<dyn BufRead + 'a>) -> Result<(Vec<u8>, Box<dyn BufRead + 'a>), String> {
    let mut head = Vec::new();
    (&mut text).take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if let Some((_, name, remedy)) = OTHERS.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        return Err(format!("it is {name}; {remedy}"));
    }
    if head.starts_with(BOM) {
        head.drain(..BOM.len());
    }
    let rest = io::Cursor::new(head.clone()).chain(text);
    Ok((head, Box::new(rest)))
}

/// Counts the bytes that were read.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.read.set(self.read.get().saturating_add(len as u64));
        Ok(len)
    }
}

/// The most bytes of histograms per byte of the file. Measured latencies have about 1, and made up ones, with the same count
/// everywhere, 6.
const RATIO_MAX: u64 = 8;
/// The same for a compressed file, text and histograms together. Logs in which nothing happened, which compress best,
/// have 34.
const GZIP_RATIO_MAX: u64 = 48;
/// The size that a small file may always have.
const FREE_BYTES: u64 = 1 << 20;
const TOO_MUCH: &str = "decompressed it is far longer than a log of latencies of this size can be";
/// A histogram with all counts of five digits takes less.
const LINE_BYTES_MAX: u64 = 16 << 20;

const HEAD_BYTES: u64 = 8;
pub(crate) const GZIP: &[u8] = b"\x1f\x8b";
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";
/// The first bytes of other formats, their names, and the remedy.
const OTHERS: [(&[u8], &str, &str); 8] = [
    (b"\xff\xfe", "text in UTF-16", "convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "text in UTF-16", "convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it first (unzstd)"),
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it first (unxz)"),
    (b"BZh", "compressed with bzip2", "decompress it first (bunzip2)"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it first (unlz4)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first (7z x)"),
    (b"PK\x03\x04", "a zip archive", "unpack it first (unzip)"),
];

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut budget = Budget::default();
        let mut lines = Lines::of(file, &mut budget)?;
        let mut all = Vec::new();
        while let Some(line) = lines.next(&mut budget)? {
            all.push(line.text.to_vec());
        }
        Ok(all)
    }

    #[test]
    fn plain_text_gzip_and_byte_order_marks_give_the_same_lines() {
        let text = b"one\r\n\ntwo".as_slice();
        let marked = [BOM, text].concat();
        let two_members = [gzip(b"one\r\n"), gzip(b"\ntwo")].concat();
        for file in [text, &marked, &gzip(text), &gzip(&marked), &two_members] {
            assert_eq!(lines(file).unwrap(), [b"one".as_slice(), b"", b"two"]);
        }
        for file in [b"".as_slice(), BOM, &gzip(b"")] {
            assert_eq!(lines(file).unwrap(), Vec::<Vec<u8>>::new());
        }
    }

    #[test]
    fn other_formats_are_named() {
        for (head, name) in [(b"\xff\xfe#\0".as_slice(), "UTF-16"), (b"\xfe\xff\0#", "UTF-16"), (b"BZh9", "bzip2")] {
            assert!(lines(head).unwrap_err().contains(name));
        }
        for (head, name) in
            [(b"\x28\xb5\x2f\xfd\0".as_slice(), "zstd"), (b"\xfd7zXZ\0\0", "xz"), (b"PK\x03\x04", "zip")]
        {
            assert!(lines(&[head, &[0; 100]].concat()).unwrap_err().contains(name));
            assert!(lines(&gzip(head)).unwrap_err().contains(name));
        }
        assert!(lines(&gzip(&gzip(b"one"))).unwrap_err().contains("more than once"));
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let whole = gzip(b"one\ntwo\n");
        for cut in 2..whole.len() {
            assert!(lines(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn decompression_stops_at_the_budget() {
        let endless_line = gzip(&vec![b'a'; 4 << 20]);
        let many_lines = gzip(&b"#\n".repeat(2 << 20));
        for bomb in [endless_line, many_lines] {
            let mut budget = Budget::default();
            let mut lines = Lines::of(bomb.as_slice(), &mut budget).unwrap();
            let error = loop {
                match lines.next(&mut budget) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("all of it was read"),
                    Err(error) => break error,
                }
            };
            assert!(error.contains("far longer"), "{error}");
            assert!(budget.spent <= FREE_BYTES + 1 + GZIP_RATIO_MAX * bomb.len() as u64);
        }
    }
}
