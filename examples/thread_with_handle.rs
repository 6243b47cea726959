//! A reactor on a thread of its own, with a handle in the main thread: each line of standard input is sent to all clients as a
//! frame. When standard input is closed, the reactor drains.

use std::thread;

use frameloop::{Config, Connection, Context, Frame, Handler, Reactor};

struct Notices;

impl Handler for Notices {
    type State = ();
    type Message = String;

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }

    /// Called on the reactor's thread, for each message of a handle.
    fn on_message(&mut self, cx: &mut Context<'_>, line: String) {
        let reached = cx.broadcast_all(line.as_bytes());
        println!("sent to {} clients", reached.queued);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Notices)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
    let handle = reactor.handle();
    let thread = thread::spawn(move || reactor.run());
    for line in std::io::stdin().lines() {
        // It fails if the mailbox is full or the reactor has ended, and returns the line.
        handle.send(line?)?;
    }
    handle.drain()?;
    thread.join().map_err(|_| "the reactor's thread panicked")??;
    Ok(())
}
