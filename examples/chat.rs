//! A chat with rooms. Each frame is a line of text: a command, or what is said to the others in the room.
//!
//! ```text
//! cargo run --example chat -- 127.0.0.1:7012
//! frameloop connect 127.0.0.1:7012
//! ```
//!
//! | line | effect |
//! |---|---|
//! | `/name NAME` | gives you a name, which no other member has |
//! | `/join ROOM` | moves you to another room; the first is `lobby` |
//! | `/who` | lists the members of your room, and how many lines they miss |
//! | `/quit` | closes your connection |
//! | other text | is sent to the others in your room |
//!
//! Rule: a member that does not read delays no other. What its pending output has no room for, it misses; when it reads again, it
//! learns how many lines it missed; after [`SKIPPED_MAX`] lines it is disconnected.
//!
//! When standard input is closed, the server says so to all, and drains.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, io, thread};

use frameloop::{Address, CloseReason, Config, ConnId, Connection, Context, Frame, Handler, Reactor, SendError};

/// The longest line, in bytes.
const LINE_MAX: u32 = 1_024;
/// The longest name of a member or a room, in bytes.
const NAME_MAX: usize = 24;
/// The lines that a member may miss before it is disconnected.
const SKIPPED_MAX: usize = 100;
const FIRST_ROOM: &str = "lobby";

/// A message of the main thread: the server ends.
struct Quit;

/// A member of a room. It is not the connection's `State`, because the callbacks of other connections need it too.
struct Member {
    name: String,
    room: String,
    /// Lines missed since its output last had room.
    skipped: usize,
}

impl Member {
    fn described(&self) -> String {
        match self.skipped {
            0 => self.name.clone(),
            skipped => format!("{} (misses {skipped} lines)", self.name),
        }
    }
}

#[derive(Default)]
struct Chat {
    members: BTreeMap<ConnId, Member>,
    /// Rule: a room has a member, and each member is in the room that it names.
    rooms: BTreeMap<String, BTreeSet<ConnId>>,
}

impl Handler for Chat {
    type State = ();
    type Message = Quit;

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        let id = conn.id();
        let name = format!("guest-{id}");
        // If there is no room even for this, the connection ends soon, and `on_close` removes the member.
        let _ = conn.reply(format!("* you are {name}; /name NAME, /join ROOM, /who, /quit").as_bytes());
        self.members.insert(id, Member { name, room: FIRST_ROOM.into(), skipped: 0 });
        self.enter(&mut conn.cx(), id, FIRST_ROOM);
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let payload = frame.payload();
        // Control characters could move the cursor on the others' terminals.
        let Some(line) = std::str::from_utf8(payload).ok().filter(|line| !line.contains(char::is_control)) else {
            let _ = conn.reply(b"* a line is text, without control characters");
            return;
        };
        let id = conn.id();
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let reply = match command {
            "/name" => self.rename(&mut conn.cx(), id, argument.trim()),
            "/join" => self.join(&mut conn.cx(), id, argument.trim()),
            "/who" => Some(self.names(id)),
            "/quit" => {
                // Nothing can be sent after the call of `close`, which lets the output before it be written.
                let _ = conn.reply(b"* you have left the chat");
                conn.close();
                None
            }
            _ if command.starts_with('/') => Some(format!("* there is no command {command}")),
            _ => {
                self.say(&mut conn.cx(), id, line);
                None
            }
        };
        if let Some(reply) = reply {
            self.send(&mut conn.cx(), id, &reply);
        }
    }

    /// The member reads again.
    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        let Some(member) = self.members.get_mut(&conn.id()) else { return };
        let skipped = std::mem::take(&mut member.skipped);
        if skipped > 0 {
            let _ = conn.reply(format!("* you missed {skipped} lines").as_bytes());
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, (): (), _reason: &CloseReason) {
        self.leave(cx, id, "has left the chat");
        self.members.remove(&id);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, Quit: Quit) {
        let reached = cx.broadcast_all(b"* the server ends");
        println!("the end was announced to {} members, and {} do not read", reached.queued, reached.full);
        cx.drain();
    }
}

impl Chat {
    fn rename(&mut self, cx: &mut Context<'_>, id: ConnId, name: &str) -> Option<String> {
        if !is_name(name) {
            return Some(format!("* a name is 1 to {NAME_MAX} letters, digits and hyphens"));
        }
        if self.members.values().any(|member| member.name == name) {
            return Some(format!("* {name} is taken"));
        }
        let member = self.members.get_mut(&id)?;
        let before = std::mem::replace(&mut member.name, name.into());
        let room = member.room.clone();
        self.send_to_room(cx, &room, None, &format!("* {before} is now {name}"));
        None
    }

    fn join(&mut self, cx: &mut Context<'_>, id: ConnId, room: &str) -> Option<String> {
        if !is_name(room) {
            return Some(format!("* the name of a room is 1 to {NAME_MAX} letters, digits and hyphens"));
        }
        self.leave(cx, id, &format!("has gone to {room}"));
        self.enter(cx, id, room);
        None
    }

    fn enter(&mut self, cx: &mut Context<'_>, id: ConnId, room: &str) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.room = room.into();
        let line = format!("* {} has joined {room}", member.name);
        self.rooms.entry(room.into()).or_default().insert(id);
        self.send_to_room(cx, room, None, &line);
    }

    fn leave(&mut self, cx: &mut Context<'_>, id: ConnId, how: &str) {
        let Some(Member { name, room, .. }) = self.members.get(&id) else { return };
        let (line, room) = (format!("* {name} {how}"), room.clone());
        if let Some(ids) = self.rooms.get_mut(&room) {
            ids.remove(&id);
            if ids.is_empty() {
                self.rooms.remove(&room);
            }
        }
        self.send_to_room(cx, &room, None, &line);
    }

    fn say(&mut self, cx: &mut Context<'_>, id: ConnId, text: &str) {
        let Some(Member { name, room, .. }) = self.members.get(&id) else { return };
        let (line, room) = (format!("{name}: {text}"), room.clone());
        self.send_to_room(cx, &room, Some(id), &line);
    }

    fn names(&self, id: ConnId) -> String {
        let Some(Member { room, .. }) = self.members.get(&id) else { return String::new() };
        let ids = self.rooms.get(room).into_iter().flatten();
        let names: Vec<_> = ids.filter_map(|id| self.members.get(id)).map(Member::described).collect();
        format!("* in {room}: {}", names.join(", "))
    }

    /// Sends a line to the members of a room, except one.
    fn send_to_room(&mut self, cx: &mut Context<'_>, room: &str, except: Option<ConnId>, line: &str) {
        let ids: Vec<_> = self.rooms.get(room).into_iter().flatten().copied().collect();
        for id in ids {
            if Some(id) != except {
                self.send(cx, id, line);
            }
        }
    }

    /// Sends a line, or counts it as missed. A member that has missed too many is disconnected.
    fn send(&mut self, cx: &mut Context<'_>, to: ConnId, line: &str) {
        match cx.send(to, line.as_bytes()) {
            Ok(()) => return,
            // It is closing, and `on_close` follows.
            Err(SendError::Closed) => return,
            // Its pending output is above the high-water mark, or there is no memory.
            Err(_) => {}
        }
        let Some(member) = self.members.get_mut(&to) else { return };
        member.skipped += 1;
        if member.skipped == SKIPPED_MAX {
            // With a reset: the rest of its output would wait for a peer that does not read.
            cx.abort(to);
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    let mut reactor = Reactor::new(Config::builder().max_payload(LINE_MAX).build()?, Chat::default())?;
    println!("listening on {}", reactor.listen(&addr)?);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.send(Quit);
    });
    reactor.run()?;
    Ok(())
}
