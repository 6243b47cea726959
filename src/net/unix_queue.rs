//! The bytes written to a Unix socket that its peer has not read (`sock_diag(7)`).
//!
//! For Unix sockets, `SIOCOUTQ` counts whole buffers of up to 48 KiB with their overhead, so a slow peer would seem to read nothing
//! for seconds. The length of the peer's receive queue is exact. The kernel is asked for it when a window of the write timeout
//! begins or ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use socket2::{Domain, Protocol, Socket, Type};

/// Returns `None` if the kernel lacks `unix_diag` or forbids it, or if the peer is in another network namespace.
pub(super) fn unread_bytes(socket: BorrowedFd<'_>) -> Option<usize> {
    let inode = File::from(socket.try_clone_to_owned().ok()?).metadata().ok()?.ino();
    let mut diag = Diag::open().ok()?;
    let [peer, ..] = diag.ask(u32::try_from(inode).ok()?, SHOW_PEER, PEER)?;
    let [unread, ..] = diag.ask(peer, SHOW_QUEUE, QUEUE)?;
    usize::try_from(unread).ok()
}

struct Diag(Socket);

// From linux/netlink.h, linux/sock_diag.h and linux/unix_diag.h.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = 24;
/// `struct unix_diag_msg`, behind the header.
const ANSWER_LEN: usize = 16;
const REQUEST: u16 = 1;
const BY_FAMILY: u16 = 20;
const SHOW_PEER: u32 = 4;
const SHOW_QUEUE: u32 = 16;
const PEER: u16 = 2;
const QUEUE: u16 = 4;

impl Diag {
    fn open() -> io::Result<Self> {
        let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, Some(protocol))?;
        // The answer is there when the request was sent, so no read has to wait.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// The first two words of an attribute of the socket with this inode; the second is 0 if there is one only.
    fn ask(&mut self, inode: u32, show: u32, attribute: u16) -> Option<[u32; 2]> {
        let mut request = Vec::with_capacity(HEADER_LEN + REQUEST_LEN);
        request.extend(((HEADER_LEN + REQUEST_LEN) as u32).to_ne_bytes());
        request.extend([BY_FAMILY.to_ne_bytes(), REQUEST.to_ne_bytes()].concat());
        // Sequence number and sender.
        request.extend([0; 8]);
        request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
        // In all states, and with any cookie.
        for word in [u32::MAX, inode, show, u32::MAX, u32::MAX] {
            request.extend(word.to_ne_bytes());
        }
        self.0.send(&request).ok()?;
        let mut answer = [0; 256];
        let len = self.0.read(&mut answer).ok()?;
        attribute_of(&answer[..len], attribute)
    }
}

fn attribute_of(answer: &[u8], wanted: u16) -> Option<[u32; 2]> {
    if half(answer, 4)? != BY_FAMILY {
        return None;
    }
    let mut at = HEADER_LEN + ANSWER_LEN;
    loop {
        let (len, kind) = (usize::from(half(answer, at)?), half(answer, at + 2)?);
        if kind == wanted {
            let second = if len >= 12 { word(answer, at + 8)? } else { 0 };
            return Some([word(answer, at + 4)?, second]);
        }
        // Attributes are aligned to 4 bytes; one without even a header ends them.
        at += len.checked_next_multiple_of(4).filter(|len| *len >= 4)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn unread_bytes_are_exact_also_within_a_buffer() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        if unread_bytes(ours.as_fd()).is_none() {
            println!("skipped: this kernel has no unix_diag");
            return;
        }
        for len in [1, 1_000, 40_000] {
            ours.write_all(&vec![7; len]).unwrap();
        }
        for (read, left) in [(0, 41_001), (1, 41_000), (500, 40_500), (501, 39_999), (39_999, 0)] {
            theirs.read_exact(&mut vec![0; read]).unwrap();
            assert_eq!(unread_bytes(ours.as_fd()), Some(left));
        }
        drop(theirs);
        assert_eq!(unread_bytes(ours.as_fd()), None);
    }

    #[test]
    fn answer_that_is_cut_short_or_malformed_gives_nothing() {
        let mut answer = vec![0; HEADER_LEN + ANSWER_LEN];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        assert_eq!(attribute_of(&answer, PEER), None);
        let attribute = |len: u16, kind: u16| [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        assert_eq!(attribute_of(&[answer.clone(), attribute(0, QUEUE)].concat(), PEER), None);
        assert_eq!(attribute_of(&[answer.clone(), attribute(8, PEER)].concat(), PEER), None);
        let whole = [answer, attribute(5, QUEUE), vec![0; 4], attribute(8, PEER), 77_u32.to_ne_bytes().into()].concat();
        assert_eq!(attribute_of(&whole, PEER), Some([77, 0]));
        for len in 0..whole.len() {
            assert_eq!(attribute_of(&whole[..len], PEER), None);
        }
    }
}
