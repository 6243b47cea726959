//! Receives the messages of MQTT 3.1.1 clients, with QoS 0 and 1, and prints them: a sink for sensors. It does not publish, so
//! subscriptions fail.
//!
//! ```text
//! cargo run --example mqtt -- 127.0.0.1:1883
//! mosquitto_pub -h 127.0.0.1 -t sensors/kitchen -m 21.5 -q 1
//! ```
//!
//! A packet has a type with flags, a varint with the length of the rest, and the rest (the framing `varint,offset=1`). With an
//! offset, replies are written unchanged: they contain their headers.
//!
//! When standard input is closed, the server drains.

use std::time::Duration;
use std::{env, io, thread};

use frameloop::wire::{Framing, LengthPrefix};
use frameloop::{Address, Config, Connection, Frame, Handler, ListenOptions, Reactor};

/// The longest packet, in bytes; the protocol allows 256 MiB.
const PACKET_MAX: u32 = 64 << 10;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

const CONNACK_ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
const CONNACK_UNACCEPTABLE_VERSION: [u8; 4] = [0x20, 2, 0, 1];
const PINGRESP: [u8; 2] = [0xd0, 0];
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xb0;
const PUBACK: u8 = 0x40;
const SUBSCRIPTION_FAILED: u8 = 0x80;

struct Sink;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// The first packet has to be CONNECT.
    New,
    Connected,
}

/// What a packet leads to.
enum Outcome {
    Reply(Vec<u8>),
    Publish {
        text: String,
        reply: Option<Vec<u8>>,
    },
    /// The reply, and the end of the connection.
    Refuse(Vec<u8>),
    Close,
}

impl Handler for Sink {
    type State = Session;
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) -> Session {
        Session::New
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, session: &mut Session, frame: Frame<'_>) {
        let first = frame.header().first().copied().unwrap_or_default();
        // In MQTT 3.1.1 a server closes the connection for any violation of the protocol, without a reply.
        match outcome(session, first, frame.payload()).unwrap_or(Outcome::Close) {
            Outcome::Reply(reply) => {
                let _ = conn.reply(&reply);
            }
            Outcome::Publish { text, reply } => {
                // A terminal or a pipe that is not read stalls the loop here. A service hands messages to a thread.
                println!("{text}");
                // With QoS 1, a client keeps the message until this. If it is lost, the message comes again.
                if let Some(reply) = reply {
                    let _ = conn.reply(&reply);
                }
            }
            Outcome::Refuse(reply) => {
                let _ = conn.reply(&reply);
                conn.close();
            }
            Outcome::Close => conn.close(),
        }
    }
}

/// Returns what a packet leads to, or `None` if it violates the protocol.
fn outcome(session: &mut Session, first: u8, mut rest: &[u8]) -> Option<Outcome> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    if (*session == Session::New) != (kind == CONNECT) {
        return None;
    }
    Some(match (kind, flags) {
        (CONNECT, 0) => {
            let (name, level) = (string(&mut rest)?, byte(&mut rest)?);
            if (name, level) != (b"MQTT", 4) {
                return Some(Outcome::Refuse(CONNACK_UNACCEPTABLE_VERSION.to_vec()));
            }
            *session = Session::Connected;
            Outcome::Reply(CONNACK_ACCEPTED.to_vec())
        }
        (PUBLISH, _) => {
            let topic = String::from_utf8_lossy(string(&mut rest)?).into_owned();
            let reply = match (flags >> 1) & 0b11 {
                0 => None,
                1 => Some([&[PUBACK, 2], number(&mut rest)?].concat()),
                // QoS 2 needs a memory of identifiers for each client, which this does not have.
                _ => return None,
            };
            let text = format!("{topic}: {}", String::from_utf8_lossy(rest)).escape_debug().to_string();
            Outcome::Publish { text, reply }
        }
        (SUBSCRIBE, 2) => {
            let mut reply = number(&mut rest)?.to_vec();
            while !rest.is_empty() {
                let (_filter, _qos) = (string(&mut rest)?, byte(&mut rest)?);
                reply.push(SUBSCRIPTION_FAILED);
            }
            // Its length needs more bytes from 128 on.
            let len = u8::try_from(reply.len()).ok().filter(|len| *len < 0x80)?;
            Outcome::Reply([&[SUBACK, len], &reply[..]].concat())
        }
        (UNSUBSCRIBE, 2) => Outcome::Reply([&[UNSUBACK, 2], number(&mut rest)?].concat()),
        (PINGREQ, 0) => Outcome::Reply(PINGRESP.to_vec()),
        (DISCONNECT, 0) => Outcome::Close,
        // PUBACK would be a reply to a message, and there was none; the other types are of QoS 2, or for clients.
        _ => return None,
    })
}

/// Takes a byte from the front.
fn byte(rest: &mut &[u8]) -> Option<u8> {
    rest.split_off_first().copied()
}

/// Takes the two bytes of a number from the front.
fn number<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    rest.split_off(..2)
}

/// Takes a string, after its length in two bytes, from the front.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u16::from_be_bytes(number(rest)?.try_into().ok()?);
    rest.split_off(..usize::from(len))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    // More than the keep-alive of any client that says it has one: at most 65,535 s, and half of that.
    let keep_alive_max = Duration::from_secs(65_535 * 3 / 2);
    let config = Config::builder().max_payload(PACKET_MAX).idle_timeout(Some(keep_alive_max)).build()?;
    let mut reactor = Reactor::new(config, Sink)?;
    let packets = Framing::from(LengthPrefix::varint().offset(1));
    println!("listening on {}", reactor.listen_with(&addr, ListenOptions::default().framing(packets))?.addr);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
