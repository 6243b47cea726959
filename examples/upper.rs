//! A handler of your own: answers each frame in capital letters.

use frameloop::{Config, Connection, Frame, Handler, Reactor};

struct Upper;

impl Handler for Upper {
    type State = (); // kept for each connection
    type Message = (); // sent by other threads, through a handle

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
        let _ = conn.reply(&frame.payload().to_ascii_uppercase());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Upper)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:7008".parse()?)?);
    reactor.run()?;
    Ok(())
}
