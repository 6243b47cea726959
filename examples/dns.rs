//! A name server over TCP (RFC 7766) for one name: `example.test` has the address 192.0.2.1, and no other name exists.
//!
//! ```text
//! cargo run --example dns -- 127.0.0.1:5353
//! dig +tcp @127.0.0.1 -p 5353 example.test A
//! ```
//!
//! A message has a length of 2 bytes before it (the framing `u16be`), in both directions: `reply` writes it. Clients may pipeline
//! queries; the replies have the order of the queries.
//!
//! When standard input is closed, the server drains.

use std::time::Duration;
use std::{env, io, thread};

use frameloop::wire::{Framing, LengthPrefix};
use frameloop::{Address, Config, Connection, Frame, Handler, ListenOptions, Reactor};

/// The name in the wire's form: each label after its length, and the root.
const NAME: &[u8] = b"\x07example\x04test\x00";
const ADDRESS: [u8; 4] = [192, 0, 2, 1];
/// In seconds.
const TIME_TO_LIVE: u32 = 300;

const HEADER_LEN: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

/// A reply code (RFC 1035, section 4.1.1).
#[derive(Clone, Copy)]
enum Code {
    NoError = 0,
    FormatError = 1,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
}

struct Dns;

impl Handler for Dns {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        match response(frame.payload()) {
            Some(response) => {
                let _ = conn.reply(&response);
            }
            None => conn.close(),
        }
    }
}

/// The question of a query.
struct Question<'a> {
    /// Its bytes, which a response repeats.
    bytes: &'a [u8],
    name: &'a [u8],
    qtype: u16,
    qclass: u16,
}

/// Returns the response to a message, or `None` if it is not a query.
fn response(message: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = message.split_first_chunk::<HEADER_LEN>()?;
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return None;
    }
    let opcode = (header[2] >> 3) & 0x0f;
    let question = question(rest).filter(|_| u16::from_be_bytes([header[4], header[5]]) == 1);
    let (code, has_answer) = match &question {
        _ if opcode != 0 => (Code::NotImplemented, false),
        None => (Code::FormatError, false),
        Some(question) if question.qclass != CLASS_IN => (Code::Refused, false),
        // Letters of either case are equal; resolvers mix them, and expect the same mixture back.
        Some(question) if !question.name.eq_ignore_ascii_case(NAME) => (Code::NameError, false),
        // A name that has no record of the type exists all the same.
        Some(question) => (Code::NoError, [TYPE_A, TYPE_ANY].contains(&question.qtype)),
    };

    let mut bytes = header[..2].to_vec();
    // A response, with the opcode and "recursion desired" of the query; the answer is authoritative, and recursion not available.
    bytes.extend([0x84 | (header[2] & 0x79), code as u8]);
    for count in [u16::from(question.is_some()), u16::from(has_answer), 0, 0] {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(question.map_or(&[][..], |question| question.bytes));
    if has_answer {
        // The name is where the question has it: a pointer to the byte after the header.
        bytes.extend([0xc0, HEADER_LEN as u8]);
        bytes.extend([TYPE_A.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
        bytes.extend(TIME_TO_LIVE.to_be_bytes());
        bytes.extend((ADDRESS.len() as u16).to_be_bytes());
        bytes.extend(ADDRESS);
    }
    Some(bytes)
}

/// Reads a question. What follows it in a query, such as the options of EDNS, is ignored.
fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let mut name_len = 0;
    loop {
        match *bytes.get(name_len)? {
            0 => break,
            // The upper bits would mark a pointer, and there is nothing before the first name that it could point to.
            len @ 1..=63 => name_len += 1 + usize::from(len),
            _ => return None,
        }
    }
    name_len += 1;
    let (name, rest) = bytes.split_at(name_len);
    let [t0, t1, c0, c1] = *rest.first_chunk()?;
    // RFC 1035, section 2.3.4.
    (name_len <= 255).then(|| Question {
        bytes: &bytes[..name_len + 4],
        name,
        qtype: u16::from_be_bytes([t0, t1]),
        qclass: u16::from_be_bytes([c0, c1]),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    // Clients that keep a connection open for later queries give it up after a while.
    let config = Config::builder().max_payload(u16::MAX.into()).idle_timeout(Some(Duration::from_secs(30))).build()?;
    let mut reactor = Reactor::new(config, Dns)?;
    let messages = Framing::from(LengthPrefix::u16_be());
    println!("listening on {}", reactor.listen_with(&addr, ListenOptions::default().framing(messages))?.addr);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
