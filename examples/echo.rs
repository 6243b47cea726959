//! The smallest server: listens on a port that the kernel chooses, and echoes until it is killed.

use frameloop::{Address, Config, Echo, Reactor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    let addr: std::net::SocketAddr = "127.0.0.1:0".parse()?;
    println!("listening on {}", reactor.listen(&Address::Tcp(addr))?);
    reactor.run()?;
    Ok(())
}
