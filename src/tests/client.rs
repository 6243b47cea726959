use std::collections::VecDeque;

use super::*;
use crate::wire::{Delimiter, LengthPrefix, encode_header};

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
        ("u32be", &b"\0\0\0"[..], "3 bytes into a reply"),
        ("u32be", b"\0\0\0\x05", "4 bytes into a reply with a payload of 5"),
        ("u32be", b"\0\0\0\x05hell", "8 bytes into a reply with a payload of 5"),
        ("exact:3", b"on", "2 bytes into a reply with a payload of 3"),
        ("lines", b"hello world", "11 bytes into a reply"),
    ];
    for (framing, received, shown) in cases {
        let mut client = Client::new(Script::new([bytes(received)]));
        client.set_framing(framing.parse::<Framing>().unwrap()).unwrap();
        let shown = format!("the connection was lost: the server closed it {shown}");
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
    assert!(client.payload.capacity() <= 2 * 1_000, "{} bytes", client.payload.capacity());
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
    for payload_len in [0, 1, PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 5 * PIECE_BYTES_MAX + 7] {
        let payload: Vec<u8> = (0..payload_len).map(|at| at as u8).collect();
        for (framing, head, tail) in [
            (Framing::default(), &encode_header(payload_len as u32)[..], &b""[..]),
            (Framing::crlf(), b"", b"\r\n"),
            (Framing::Raw, b"", b""),
        ] {
            let mut client = Client::new(Script { take_max: 1_000, ..Script::new([]) });
            client.set_framing(framing).unwrap();
            // More than is announced is left where it is.
            client.send_from(payload_len as u32, payload.as_slice().chain(&b"more"[..])).unwrap();
            assert!(client.stream.taken == [head, &payload, tail].concat(), "{framing} {payload_len}");
        }
    }
}

#[test]
fn payload_that_ends_early_is_an_error() {
    let mut client = Client::new(Script::new([]));
    let error = client.send_from(10, &b"hello"[..]).unwrap_err();
    assert_eq!(error.to_string(), "the payload ended before its announced length");
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

/// A framing, payloads, and the bytes that are sent for them.
type Row = (&'static str, &'static [&'static [u8]], &'static [u8]);

const FRAMINGS: [Row; 14] = [
    ("u32be", &[b"hello", b"", b"!"], WIRE),
    ("u8", &[b"hello", b"", b"!"], b"\x05hello\0\x01!"),
    ("u16le", &[b"hello", b"", b"!"], b"\x05\0hello\0\0\x01\0!"),
    ("u64be", &[b"hello"], b"\0\0\0\0\0\0\0\x05hello"),
    ("varint", &[&[7; 200], b"", b"!"], &VARINT_WIRE),
    ("u16be,adjust=-2", &[b"hello", b""], b"\0\x07hello\0\x02"),
    ("u8,header", &[b"\x02hi", b"\0"], b"\x02hi\0"),
    ("lines", &[b"hello", b"", b"\r!"], b"hello\n\n\r!\n"),
    ("crlf", &[b"hello\r", b"", b"\n"], b"hello\r\r\n\r\n\n\r\n"),
    ("delim:0d0a0d0a", &[b"\r\n\r", b"\r\nhello"], b"\r\n\r\r\n\r\n\r\nhello\r\n\r\n"),
    ("delim:2c2c", &[b"hello", b""], b"hello,,,,"),
    ("delim:2c,keep", &[b"hello,", b","], b"hello,,"),
    ("exact:3", &[b"one", b"two"], b"onetwo"),
    ("exact:1", &[b"a", b"b"], b"ab"),
];

const VARINT_WIRE: [u8; 205] = {
    let mut wire = [7; 205];
    (wire[0], wire[1], wire[202], wire[203], wire[204]) = (0xc8, 1, 0, 1, b'!');
    wire
};

fn client_with(framing: &str, reads: impl IntoIterator<Item = io::Result<Vec<u8>>>) -> Client<Script> {
    let mut client = Client::new(Script::new(reads));
    client.set_framing(framing.parse::<Framing>().unwrap()).unwrap();
    client
}

#[test]
fn frames_of_each_framing_are_sent_as_they_are_received() {
    for (framing, payloads, wire) in FRAMINGS {
        let mut client = client_with(framing, []);
        payloads.iter().for_each(|payload| client.send(payload).unwrap());
        assert_eq!(client.stream.taken, wire, "{framing}");
        for size in 1..=wire.len() {
            let mut client = client_with(framing, wire.chunks(size).map(bytes));
            assert_eq!(frames_of(&mut client), payloads, "{framing} in pieces of {size}");
        }
    }
}

#[test]
fn timeout_within_each_framing_loses_nothing() {
    for (framing, payloads, wire) in FRAMINGS {
        for at in 1..wire.len() {
            let reads = [bytes(&wire[..at]), fails(io::ErrorKind::TimedOut), bytes(&wire[at..])];
            let mut client = client_with(framing, reads);
            let (mut received, mut timeouts) = (Vec::new(), 0);
            loop {
                match client.receive() {
                    Ok(Some(payload)) => received.push(payload),
                    Ok(None) => break,
                    Err(ClientError::ReplyTimeout(None)) => timeouts += 1,
                    Err(error) => panic!("{framing} at {at}: {error}"),
                }
            }
            assert_eq!(
                (received.as_slice(), timeouts),
                (&payloads.iter().map(|p| p.to_vec()).collect::<Vec<_>>()[..], 1)
            );
        }
    }
}

#[test]
fn raw_reply_is_what_one_read_returned() {
    let mut client = client_with("raw", [bytes(b"hello"), bytes(b"!"), bytes(&[7; 100_000])]);
    client.send(b"").unwrap();
    client.send(b"hi").unwrap();
    assert_eq!(client.stream.taken, b"hi");
    let lens: Vec<usize> = frames_of(&mut client).iter().map(Vec::len).collect();
    assert_eq!(lens, [5, 1, 64 << 10, 100_000 - (64 << 10)]);
}

#[test]
fn lines_end_with_lf_or_crlf_however_they_arrive() {
    let (wire, long) = (b"one\r\n\r\n\ntw\ro\n", [[b'x'; 100].as_slice(), b"\r\n"].concat());
    for size in 1..=long.len() {
        let client = &mut client_with("lines", wire.chunks(size).chain(long.chunks(size)).map(bytes));
        assert_eq!(frames_of(client), [b"one".as_slice(), b"", b"", b"tw\ro", &[b'x'; 100]], "pieces of {size}");
    }
}

#[test]
fn reply_over_limit_is_refused_by_each_framing() {
    let rows: [(&str, &[u8], &str); 7] = [
        ("u16le", b"\x09\0", "the reply is too long: frame of 9 bytes exceeds the limit of 8"),
        ("varint", &[0xff; 10], "the reply is too long: frame of 18446744073709551615 bytes exceeds the limit of 8"),
        ("lines", b"nine bytes", "the reply is too long: frame of 9 bytes exceeds the limit of 8"),
        ("crlf", b"nine byte\r\n", "the reply is too long: frame of 9 bytes exceeds the limit of 8"),
        ("delim:00,keep", b"nine byte\0", "the reply is too long: frame of 9 bytes exceeds the limit of 8"),
        ("exact:9", b"n", "the reply is too long: frame of 9 bytes exceeds the limit of 8"),
        (
            "u8,adjust=-1",
            b"\0",
            "the reply is invalid: length field of 0 is invalid: with an adjustment of -1 it is at least 1",
        ),
    ];
    for (framing, received, shown) in rows {
        for size in 1..=received.len() {
            let mut client = client_with(framing, received.chunks(size).map(bytes));
            client.set_payload_len_max(8);
            assert_eq!(client.receive().unwrap_err().to_string(), shown, "{framing} in pieces of {size}");
        }
    }
}

#[test]
fn reply_at_limit_is_received_with_each_framing() {
    for framing in ["u16le", "lines", "crlf", "delim:0d0a0d0a", "exact:8", "raw"] {
        let mut wire = Vec::new();
        framing.parse::<Framing>().unwrap().encode(b"12345678", &mut wire).unwrap();
        for size in 8..=wire.len() {
            let mut client = client_with(framing, wire.chunks(size).map(bytes));
            client.set_payload_len_max(8);
            assert_eq!(client.receive().unwrap(), Some(b"12345678".to_vec()), "{framing} in pieces of {size}");
        }
    }
}

#[test]
fn payload_that_the_field_cannot_announce_is_not_sent() {
    for (framing, payload_len, shown) in [
        (LengthPrefix::u8(), 256, "a payload of 256 bytes does not fit the length field of u8"),
        (LengthPrefix::u8().adjustment(2), 1, "a payload of 1 bytes does not fit the length field of u8,adjust=2"),
    ] {
        let mut client = Client::new(Script::new([]));
        client.set_framing(framing).unwrap();
        assert_eq!(client.send(&vec![0; payload_len]).unwrap_err().to_string(), shown);
        assert!(client.stream.taken.is_empty());
        client.send(b"next").unwrap();
    }
}

#[test]
fn framing_changes_between_two_replies() {
    let mut client = client_with("lines", [bytes(b"put 3\nabcnext\nqu"), bytes(b"it\n")]);
    assert_eq!(client.receive().unwrap(), Some(b"put 3".to_vec()));
    client.set_framing(Framing::Exact(3)).unwrap();
    assert_eq!(client.receive().unwrap(), Some(b"abc".to_vec()));
    client.set_framing(Delimiter::new(b"\n").unwrap()).unwrap();
    assert!(client.set_framing(Framing::Exact(0)).is_err());
    assert_eq!(frames_of(&mut client), [b"next", b"quit".as_slice()]);
}

#[test]
fn framing_set_inside_a_reply_applies_to_the_next() {
    let mut client = client_with("lines", [bytes(b"half"), fails(io::ErrorKind::WouldBlock), bytes(b" line\n\x01!")]);
    client.receive().unwrap_err();
    client.set_framing(LengthPrefix::u8()).unwrap();
    assert_eq!(frames_of(&mut client), [b"half line".as_slice(), b"!"]);
}

/// The parts of all replies, in short.
fn parts_of(framing: &str, reads: &[&[u8]]) -> String {
    let mut client = client_with(framing, reads.iter().map(|read| bytes(read)));
    let mut shown = String::new();
    while let Some(part) = client.receive_part().unwrap() {
        shown += &match part {
            Part::Begun => "begun ".into(),
            Part::Announced(len) => format!("{len}: "),
            Part::Bytes(bytes) => format!("{} ", String::from_utf8_lossy(bytes)),
            Part::End => "end ".into(),
        };
    }
    shown
}

#[test]
fn parts_of_a_reply_are_returned_as_they_arrive() {
    assert_eq!(parts_of("u32be", &[b"\0", b"\0\0\x05he", b"llo\0\0\0\0"]), "begun 5: he llo end begun 0: end ");
    assert_eq!(parts_of("exact:3", &[b"on", b"etwo"]), "begun 3: on e end begun 3: two end ");
    assert_eq!(parts_of("raw", &[b"on", b"e"]), "begun 2: on end begun 1: e end ");
    assert_eq!(parts_of("lines", &[b"one\ntwo\n"]), "begun 3: one end begun 3: two end ");
    // Of an incomplete line, the bytes are held back that may belong to the delimiter.
    assert_eq!(parts_of("lines", &[b"a long r", b"oad\r", b"\n"]), "begun a lo ng r oad end ");
}

#[test]
fn long_reply_is_held_in_one_buffer_while_it_is_returned() {
    for framing in ["u32be", "lines", "exact:1000000", "raw"] {
        let mut wire = Vec::new();
        framing.parse::<Framing>().unwrap().encode(&[7; 1_000_000], &mut wire).unwrap();
        let mut client = client_with(framing, [bytes(&wire)]);
        let mut len = 0;
        while let Some(part) = client.receive_part().unwrap() {
            len += if let Part::Bytes(bytes) = part { bytes.len() } else { 0 };
        }
        assert_eq!((len, client.payload.capacity()), (1_000_000, 0), "{framing}");
    }
}
