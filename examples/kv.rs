//! A key-value server that speaks the protocol of Redis (RESP2), so that its clients work with it.
//!
//! ```text
//! cargo run --release --example kv -- 127.0.0.1:6380
//! redis-cli -p 6380 set greeting hello
//! redis-benchmark -p 6380 -t ping,set,get,incr,mset -P 16 -n 100000
//! ```
//!
//! A command is an array of strings, each after its length, or one line of words:
//!
//! ```text
//! *2\r\n $3\r\n GET\r\n $8\r\n greeting\r\n        GET greeting\r\n
//! ```
//!
//! So a frame is a line, or the bytes whose number the line before has announced: the connection's framing changes between the two
//! ([`Connection::set_framing`]), and the handler never searches for the end of anything. A command of which a part has arrived is in
//! the connection's state. Both framings write replies unchanged.
//!
//! Rule: what a client can make the server hold is bounded: the words and bytes of a command, the bytes of a reply, and those of all
//! keys and values.
//!
//! When standard input is closed, the server drains.

use std::collections::HashMap;
use std::{env, io, thread};

use frameloop::wire::{Delimiter, Framing};
use frameloop::{Address, Config, Connection, Frame, Handler, ListenOptions, Reactor, SendError};

/// The longest line, in bytes: commands without lengths, and lengths.
const LINE_MAX: usize = 64 << 10;
/// The most words of a command.
const WORDS_MAX: usize = 1_024;
/// The most bytes of the words of a command, and so the longest value.
const COMMAND_MAX: usize = 1 << 20;
/// The most bytes of all keys and values.
const STORE_MAX: usize = 256 << 20;
/// What an entry takes apart from the bytes of its key and value, about.
const ENTRY_LEN: usize = 64;

type Words = Vec<Vec<u8>>;

/// What the next frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The first line of a command.
    Command,
    /// The line with the length of a word.
    Length,
    /// A word of so many bytes, and the end of its line.
    Word(usize),
}

/// A command of which a part has arrived.
struct Request {
    expected: Expected,
    /// Words that are still to come.
    missing: usize,
    words: Words,
    /// The bytes of the words, with those that are announced.
    len: usize,
}

impl Request {
    const NONE: Self = Self { expected: Expected::Command, missing: 0, words: Vec::new(), len: 0 };

    /// Takes a frame, and returns the words of a command that it completes. Blank commands have none.
    fn take(&mut self, frame: &[u8]) -> Result<Option<Words>, String> {
        match self.expected {
            Expected::Command => match line(frame)? {
                [b'*', count @ ..] => {
                    self.missing = number(count)
                        .map(|count| usize::try_from(count).unwrap_or(0))
                        .filter(|count| *count <= WORDS_MAX)
                        .ok_or("invalid multibulk length")?;
                    self.expected = if self.missing == 0 { Expected::Command } else { Expected::Length };
                    Ok(None)
                }
                line => {
                    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                    Ok(Some(words.map(<[u8]>::to_vec).collect()))
                }
            },
            Expected::Length => match line(frame)? {
                [b'$', len @ ..] => {
                    let len = number(len).and_then(|len| usize::try_from(len).ok());
                    let len = len.filter(|len| *len <= COMMAND_MAX - self.len).ok_or("invalid bulk length")?;
                    self.len += len;
                    self.expected = Expected::Word(len);
                    Ok(None)
                }
                other => {
                    let got = other.first().map_or("nothing".into(), |byte| format!("'{}'", byte.escape_ascii()));
                    Err(format!("expected '$', got {got}"))
                }
            },
            Expected::Word(len) => {
                let (word, end) = frame.split_at_checked(len).ok_or("incomplete word")?;
                if end != b"\r\n" {
                    return Err("expected the end of the line".into());
                }
                // Copied when it is complete: a length alone takes no memory.
                self.words.push(word.to_vec());
                self.missing -= 1;
                self.expected = Expected::Length;
                Ok((self.missing == 0).then(|| std::mem::replace(self, Self::NONE).words))
            }
        }
    }

    /// The framing of the next frame.
    fn framing(&self, lines: Framing) -> Framing {
        match self.expected {
            Expected::Command | Expected::Length => lines,
            Expected::Word(len) => Framing::Exact(len as u64 + 2),
        }
    }
}

/// Returns a line without its end, `\r\n` or `\n`.
fn line(frame: &[u8]) -> Result<&[u8], &'static str> {
    let line = frame.strip_suffix(b"\n").unwrap_or(frame);
    if line.len() > LINE_MAX { Err("too big inline request") } else { Ok(line.strip_suffix(b"\r").unwrap_or(line)) }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A reply, in the types of RESP2.
enum Reply {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// A key without a value.
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Simple(text) => bytes.extend(format!("+{text}\r\n").bytes()),
            // A text that repeats what the client has sent must not end the line.
            Self::Error(text) => bytes.extend(format!("-{}\r\n", text.replace(char::is_control, "?")).bytes()),
            Self::Integer(number) => bytes.extend(format!(":{number}\r\n").bytes()),
            Self::Bulk(value) => {
                bytes.extend(format!("${}\r\n", value.len()).bytes());
                bytes.extend(value);
                bytes.extend(b"\r\n");
            }
            Self::Nil => bytes.extend(b"$-1\r\n"),
            Self::Array(replies) => {
                bytes.extend(format!("*{}\r\n", replies.len()).bytes());
                replies.iter().for_each(|reply| reply.write(bytes));
            }
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

#[derive(Default)]
struct Store {
    entries: HashMap<Vec<u8>, Vec<u8>>,
    /// The bytes of all entries.
    len: usize,
}

fn entry_len(key: &[u8], value: &[u8]) -> usize {
    ENTRY_LEN + key.len() + value.len()
}

impl Store {
    fn get(&self, key: &[u8]) -> Reply {
        self.entries.get(key).map_or(Reply::Nil, |value| Reply::Bulk(value.clone()))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reply> {
        let before = self.entries.get(key).map_or(0, |value| entry_len(key, value));
        let len = self.len - before + entry_len(key, value);
        if len > STORE_MAX {
            return Err(Reply::Error(format!("OOM the store has {STORE_MAX} bytes at most")));
        }
        self.len = len;
        self.entries.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.entries.remove(key);
        self.len -= removed.as_ref().map_or(0, |value| entry_len(key, value));
        removed.is_some()
    }

    fn increment(&mut self, key: &[u8]) -> Result<Reply, Reply> {
        let value = self.entries.get(key).map_or(Some(0), |value| number(value));
        let value = value.ok_or_else(|| Reply::Error("ERR value is not an integer or out of range".into()))?;
        let value = value.checked_add(1).ok_or_else(|| Reply::Error("ERR increment would overflow".into()))?;
        self.set(key, value.to_string().as_bytes())?;
        Ok(Reply::Integer(value))
    }

    fn execute(&mut self, name: &str, arguments: &[Vec<u8>]) -> Result<Reply, Reply> {
        let count = |is_counted: &mut dyn FnMut(&[u8]) -> bool| {
            Reply::Integer(arguments.iter().filter(|key| is_counted(key)).count() as i64)
        };
        Ok(match (name, arguments) {
            ("ping", []) => Reply::Simple("PONG"),
            ("ping" | "echo", [text]) => Reply::Bulk(text.clone()),
            ("get", [key]) => self.get(key),
            ("set", [key, value]) => self.set(key, value).map(|()| Reply::Simple("OK"))?,
            ("incr", [key]) => self.increment(key)?,
            ("del", [_, ..]) => count(&mut |key| self.remove(key)),
            ("exists", [_, ..]) => count(&mut |key| self.entries.contains_key(key)),
            ("mget", [_, ..]) => self.get_all(arguments)?,
            ("mset", [_, ..]) if arguments.len().is_multiple_of(2) => {
                for pair in arguments.chunks_exact(2) {
                    self.set(&pair[0], &pair[1])?;
                }
                Reply::Simple("OK")
            }
            ("dbsize", []) => Reply::Integer(self.entries.len() as i64),
            ("flushall", _) => {
                *self = Self::default();
                Reply::Simple("OK")
            }
            ("select", [database]) if database == b"0" => Reply::Simple("OK"),
            ("select", [_]) => Reply::Error("ERR there is one database, 0".into()),
            // Clients ask for these when they connect: there are no descriptions, and each setting is empty.
            ("command", _) => Reply::Array(Vec::new()),
            ("config", [verb, name]) if verb.eq_ignore_ascii_case(b"get") => {
                Reply::Array(vec![Reply::Bulk(name.clone()), Reply::Bulk(Vec::new())])
            }
            ("info", _) => {
                Reply::Bulk(format!("# Keyspace\r\ndb0:keys={}\r\nused={}\r\n", self.entries.len(), self.len).into())
            }
            (
                "echo" | "get" | "set" | "incr" | "del" | "exists" | "mget" | "mset" | "dbsize" | "select" | "ping",
                _,
            ) => Reply::Error(format!("ERR wrong number of arguments for '{name}' command")),
            _ => Reply::Error(format!("ERR unknown command '{name}'")),
        })
    }

    /// The values of several keys, unless they are too long together: the same key can be asked for a thousand times.
    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Reply, Reply> {
        let values = keys.iter().map(|key| self.entries.get(key));
        if values.clone().flatten().map(Vec::len).sum::<usize>() > COMMAND_MAX {
            return Err(Reply::Error(format!("ERR the values have more than {COMMAND_MAX} bytes")));
        }
        Ok(Reply::Array(keys.iter().map(|key| self.get(key)).collect()))
    }
}

struct KeyValue {
    store: Store,
    /// The framing of lines: with their ends, so that replies are written unchanged.
    lines: Framing,
}

impl KeyValue {
    fn execute(&mut self, conn: &mut Connection<'_>, words: &[Vec<u8>]) {
        let Some((name, arguments)) = words.split_first() else { return };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let is_last = name == "quit";
        let reply = if is_last { Ok(Reply::Simple("OK")) } else { self.store.execute(&name, arguments) };
        let reply = reply.unwrap_or_else(|error| error);
        send(conn, &reply);
        if is_last {
            conn.close();
        }
    }
}

/// Sends a reply. The first reply to a frame always has room, and there is one for each command.
fn send(conn: &mut Connection<'_>, reply: &Reply) {
    match conn.reply(&reply.to_bytes()) {
        Ok(()) | Err(SendError::Closed) => {}
        // The client would take the next reply for this one.
        Err(_) => conn.abort(),
    }
}

impl Handler for KeyValue {
    type State = Request;
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) -> Request {
        Request::NONE
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, request: &mut Request, frame: Frame<'_>) {
        let expected = request.expected;
        match request.take(frame.payload()) {
            Ok(None) => {}
            Ok(Some(words)) => self.execute(conn, &words),
            Err(problem) => {
                // Where the next command begins is not known any more.
                send(conn, &Reply::Error(format!("ERR Protocol error: {problem}")));
                conn.close();
                return;
            }
        }
        // It applies from the next frame on, also to bytes that have arrived already.
        if request.expected != expected && conn.set_framing(request.framing(self.lines)).is_err() {
            conn.abort();
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    let lines = Framing::from(Delimiter::new(b"\n")?.keep(true));
    // Room for the longest word with the end of its line, and for the reply with many short values.
    let payload_max = COMMAND_MAX + WORDS_MAX * 32;
    let config = Config::builder().max_payload(u32::try_from(payload_max)?).build()?;
    let mut reactor = Reactor::new(config, KeyValue { store: Store::default(), lines })?;
    println!("listening on {}", reactor.listen_with(&addr, ListenOptions::default().framing(lines))?.addr);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
