//! Refuses clients of PostgreSQL with a message that they print: for the old address of a database that has moved.
//!
//! ```text
//! cargo run --example postgres -- 127.0.0.1:5433
//! psql -h 127.0.0.1 -p 5433 shop
//! ```
//!
//! The first packets of a client are a length, which counts its own 4 bytes, and a code (the framing `u32be,adjust=-4`). What follows
//! a successful start would have a type before the length: `u32be,offset=1,adjust=-4`.
//!
//! When standard input is closed, the server drains.

use std::{env, io, thread};

use frameloop::wire::{Framing, LengthPrefix};
use frameloop::{Address, Config, Connection, Frame, Handler, ListenOptions, Reactor};

/// The longest packet before authentication; `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL, in bytes.
const PACKET_MAX: u32 = 10_000;
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// Version 3 of the protocol, in the upper half of a code.
const MAJOR_VERSION: u32 = 3;

/// SQLSTATE `cannot_connect_now`.
const CANNOT_CONNECT_NOW: &str = "57P03";
/// SQLSTATE `feature_not_supported`.
const FEATURE_NOT_SUPPORTED: &str = "0A000";

struct Refusal;

impl Handler for Refusal {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        // The payload begins with the length, so replies are written without one: see `main`.
        let packet = frame.payload();
        let code = packet.get(4..).and_then(|rest| rest.first_chunk()).map_or(0, |code| u32::from_be_bytes(*code));
        let reply = match code {
            // No encryption: the client goes on without, or gives up, as its `sslmode` says.
            SSL_REQUEST | GSSENC_REQUEST => {
                let _ = conn.reply(b"N");
                return;
            }
            // Nothing runs here that could be canceled, and the protocol has no reply to this.
            CANCEL_REQUEST => Vec::new(),
            _ if code >> 16 == MAJOR_VERSION => {
                let database = parameter(&packet[8..], "database").or_else(|| parameter(&packet[8..], "user"));
                let database = database.unwrap_or_default();
                error_response(
                    CANNOT_CONNECT_NOW,
                    &format!("database \"{database}\" has moved, and is not served here"),
                )
            }
            _ => error_response(FEATURE_NOT_SUPPORTED, &format!("unsupported frontend protocol {}", code >> 16)),
        };
        let _ = conn.reply(&reply);
        conn.close();
    }
}

/// Returns a parameter of a startup packet: names and values alternate, each ends with a zero byte, and a zero byte ends all.
fn parameter(parameters: &[u8], name: &str) -> Option<String> {
    let mut strings = parameters.split(|byte| *byte == 0);
    while let (Some(key), Some(value)) = (strings.next(), strings.next()) {
        if key == name.as_bytes() {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    None
}

/// An `ErrorResponse`: its type, its length without the type, and fields that each have a type and end with a zero byte.
fn error_response(sqlstate: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0\0");
    let len = 4 + fields.len() as u32;
    [b"E", &len.to_be_bytes()[..], fields.as_bytes()].concat()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    let mut reactor = Reactor::new(Config::builder().max_payload(PACKET_MAX).build()?, Refusal)?;
    let packets = Framing::from(LengthPrefix::u32_be().adjustment(-4).include_header(true));
    println!("listening on {}", reactor.listen_with(&addr, ListenOptions::default().framing(packets))?.addr);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
