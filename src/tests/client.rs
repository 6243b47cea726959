use std::collections::VecDeque;

use super::*;

/// A stream that reads as scripted, and takes at most `take_max` bytes per write.
struct Script {
    reads: VecDeque<io::Result<Vec<u8>>>,
    writes_refused: VecDeque<io::ErrorKind>,
    take_max: usize,
    taken: Vec<u8>,
}

impl Script {
    fn new(reads: impl IntoIterator<Item = io::Result<Vec<u8>>>) -> Self {
        Self {
            reads: reads.into_iter().collect(),
            writes_refused: VecDeque::new(),
            take_max: usize::MAX,
            taken: Vec::new(),
        }
    }
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(step) = self.reads.pop_front() else { return Ok(0) };
        let mut bytes = step?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        if len < bytes.len() {
            self.reads.push_front(Ok(bytes.split_off(len)));
        }
        Ok(len)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.writes_refused.pop_front() {
            return Err(kind.into());
        }
        let len = buf.len().min(self.take_max);
        self.taken.extend_from_slice(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bytes(bytes: &[u8]) -> io::Result<Vec<u8>> {
    Ok(bytes.to_vec())
}

fn fails<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

const WIRE: &[u8] = b"\0\0\0\x05hello\0\0\0\0\0\0\0\x01!";

fn frames_of(client: &mut Client<Script>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| client.receive().unwrap()).collect()
}

#[test]
fn frames_are_whole_wherever_the_stream_is_cut() {
    for at in 0..=WIRE.len() {
        for and_at in at..=WIRE.len() {
            let parts = [&WIRE[..at], &WIRE[at..and_at], &WIRE[and_at..]];
            // An empty read would be the end of the stream.
            let reads = parts.into_iter().filter(|part| !part.is_empty()).map(bytes);
            let mut client = Client::new(Script::new(reads));
            assert_eq!(frames_of(&mut client), [b"hello".as_slice(), b"", b"!"], "cut at {at} and {and_at}");
        }
    }
}

#[test]
fn an_interrupted_read_is_tried_again() {
    let reads = WIRE.iter().flat_map(|byte| [fails(io::ErrorKind::Interrupted), bytes(&[*byte])]);
    let mut client = Client::new(Script::new(reads));
    assert_eq!(frames_of(&mut client), [b"hello".as_slice(), b"", b"!"]);
}

#[test]
fn a_timeout_loses_nothing_of_the_reply() {
    for at in 0..9 {
        let reads = [bytes(&WIRE[..at]), fails(io::ErrorKind::WouldBlock), bytes(&WIRE[at..])];
        let mut client = Client::new(Script::new(reads.into_iter().skip(usize::from(at == 0))));
        assert!(matches!(client.receive(), Err(ClientError::ReplyTimeout(None))), "at {at}");
        assert_eq!(frames_of(&mut client), [b"hello".as_slice(), b"", b"!"], "at {at}");
    }
}

#[test]
fn the_end_of_the_stream_inside_a_reply_is_an_error() {
    let cases = [
        (3, "the connection was lost: the server closed it 3 bytes into a reply's header"),
        (4, "the connection was lost: the server closed it 4 bytes into a reply of 9"),
        (8, "the connection was lost: the server closed it 8 bytes into a reply of 9"),
    ];
    for (at, shown) in cases {
        let mut client = Client::new(Script::new([bytes(&WIRE[..at])]));
        assert_eq!(client.receive().unwrap_err().to_string(), shown);
    }
}

#[test]
fn a_call_that_the_server_answers_by_closing_is_an_error() {
    let error = Client::new(Script::new([])).call(b"hello").unwrap_err();
    assert_eq!(error.to_string(), "the connection was lost: the server closed it");
}

#[test]
fn a_broken_connection_is_an_error() {
    let error = Client::new(Script::new([fails(io::ErrorKind::ConnectionReset)])).receive().unwrap_err();
    assert_eq!(error.to_string(), "the connection was lost: connection reset");
}

#[test]
fn a_reply_over_the_limit_is_refused_at_its_header() {
    let mut client = Client::new(Script::new([bytes(WIRE)]));
    client.set_payload_len_max(5);
    assert_eq!(client.receive().unwrap(), Some(b"hello".to_vec()));

    let mut client = Client::new(Script::new([bytes(b"HTTP/1.1 400 Bad Request")]));
    assert_eq!(
        client.receive().unwrap_err().to_string(),
        "the reply is too long: frame of 1213486160 bytes exceeds the limit of 1073741824 \
         (looks like HTTP)"
    );
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut client = Client::new(Script::new([bytes(&[0x3f, 0xff, 0xff, 0xff]), bytes(&[7; 1_000])]));
    assert!(matches!(client.receive(), Err(ClientError::ClosedInsideReply { received: 1_004, .. })));
    assert!(client.inbox.capacity() <= 2 * 1_004 + 4_096, "{} bytes", client.inbox.capacity());
}

#[test]
fn a_frame_is_whole_however_little_the_socket_takes() {
    for take_max in 1..=10 {
        let mut client = Client::new(Script { take_max, ..Script::new([]) });
        client.stream.writes_refused = [io::ErrorKind::Interrupted].into();
        client.send(b"hello").unwrap();
        client.send(b"").unwrap();
        client.send(b"!").unwrap();
        assert_eq!(client.stream.taken, WIRE, "{take_max} bytes a write");
    }
}

#[test]
fn a_payload_is_sent_while_it_is_read() {
    for payload_len in [0, 1, FIRST_BYTES_MAX - 1, FIRST_BYTES_MAX, FIRST_BYTES_MAX + 1, 5 * FIRST_BYTES_MAX + 7] {
        let payload: Vec<u8> = (0..payload_len).map(|at| at as u8).collect();
        let mut client = Client::new(Script { take_max: 1_000, ..Script::new([]) });
        // More than is announced is left where it is.
        client.send_from(payload_len as u32, payload.as_slice().chain(&b"more"[..])).unwrap();
        assert_eq!(client.stream.taken[..4], encode_header(payload_len as u32));
        assert!(client.stream.taken[4..] == payload, "{payload_len}");
    }
}

#[test]
fn payload_that_ends_early_is_an_error() {
    let mut client = Client::new(Script::new([]));
    let error = client.send_from(10, &b"hello"[..]).unwrap_err();
    assert_eq!(error.to_string(), "the payload ended before the length that its header announces");
    assert!(matches!(client.send(b"hello"), Err(ClientError::InsideSentFrame)));
}

#[test]
fn no_frame_follows_one_that_was_sent_in_part() {
    let mut client = Client::new(Script { take_max: 3, ..Script::new([bytes(WIRE)]) });
    client.stream.writes_refused = [io::ErrorKind::WouldBlock].into();
    assert!(matches!(client.send(b"hello"), Err(ClientError::SendTimeout(None))));
    assert!(matches!(client.send(b"hello"), Err(ClientError::InsideSentFrame)));
    assert!(client.stream.taken.is_empty());
    assert_eq!(frames_of(&mut client).len(), 3);
}

#[test]
fn a_write_of_zero_is_a_lost_connection() {
    let mut client = Client::new(Script { take_max: 0, ..Script::new([]) });
    let outcome = client.send(b"hello");
    assert!(
        matches!(&outcome, Err(ClientError::Lost(error)) if error.kind() == io::ErrorKind::WriteZero),
        "{outcome:?}"
    );
}

#[test]
fn a_port_without_listener_is_named() {
    // The port of tcpmux (RFC 1078), a service that is not in use any more.
    let error = Client::connect("127.0.0.1:1", Some(Duration::from_secs(5))).unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to 127.0.0.1:1: "), "{error}");
}
