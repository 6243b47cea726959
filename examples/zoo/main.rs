//! Servers with one real mistake each: `cargo run --example zoo -- list` names them.
//!
//! ```sh
//! cargo run --example zoo -- no_drain 127.0.0.1:7007 &
//! frameloop check 127.0.0.1:7007 --pid $!
//! ```
//!
//! All are to echo frames with a 4-byte big-endian length, of 16 MiB at most, and none uses the library. The grader must
//! find each of them, by the cases that its file names and by no other: `tests/zoo/` holds both to that. What is not the
//! beast's mistake it takes from `sound/`.

mod beasts;
mod sound;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use beasts::{Beast, ZOO};
use socket2::{Domain, Socket, Type};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (name, addr) = (args.next().unwrap_or_default(), args.next());
    if name == "list" {
        for beast in ZOO {
            println!("{:<24}{}", beast.name, beast.mistake);
        }
        return ExitCode::SUCCESS;
    }
    let Some(beast) = ZOO.iter().find(|beast| beast.name == name) else {
        eprintln!(
            "zoo: no beast is called {name:?}: give one of those that `zoo list` names, and an address to listen on"
        );
        return ExitCode::from(2);
    };
    match serve(beast, addr.as_deref().unwrap_or("127.0.0.1:7007")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zoo: {name} has ended: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(beast: &Beast, addr: &str) -> io::Result<()> {
    let listener = listen(addr)?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    (beast.serve)(listener)
}

/// Listens with a long queue. The standard library's holds 128 connections; in a burst the rest comes back after a second.
fn listen(addr: &str) -> io::Result<TcpListener> {
    let addr: SocketAddr = addr.parse().map_err(io::Error::other)?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}
