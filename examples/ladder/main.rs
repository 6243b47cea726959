//! Eight servers for the same frames. Each is the smallest step over the ceiling of the one before.
//!
//! ```text
//! cargo run --example ladder -- RUNG [ADDR]
//! ```
//!
//! RUNG is 1 to 8. ADDR is 127.0.0.1:7007 by default. Each file can be read alone, from top to bottom: code that two
//! rungs have in common is in both files. The chapters about them are docs/study/rung-*.md.

mod busy_loop;
mod edge_triggered;
mod framed;
#[cfg(target_os = "linux")]
mod level_triggered;
mod library;
mod limited;
mod one_client;
mod thread_per_client;

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use socket2::{Domain, Socket, Type};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (rung, addr) = match parse(&args) {
        Ok(parsed) => parsed,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    match climb(rung, addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {addr}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<(u8, SocketAddr), String> {
    let (rung, addr) = match args {
        [rung] => (rung, "127.0.0.1:7007"),
        [rung, addr] => (rung, addr.as_str()),
        _ => return Err("expected a rung from 1 to 8, and perhaps an address: ladder RUNG [ADDR]".to_owned()),
    };
    let number = rung.parse().ok().filter(|number| (1..=8).contains(number));
    let number = number.ok_or_else(|| format!("the rung is {rung} and must be 1 to 8"))?;
    let addr = addr.parse().map_err(|_| format!("the address is {addr} and must be like 127.0.0.1:7007"))?;
    Ok((number, addr))
}

/// Serves until the process is killed.
fn climb(rung: u8, addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    match rung {
        1 => one_client::serve(listen(addr)?)?,
        2 => thread_per_client::serve(listen(addr)?)?,
        3 => busy_loop::serve(listen(addr)?)?,
        #[cfg(target_os = "linux")]
        4 => level_triggered::serve(listen(addr)?)?,
        5 => edge_triggered::serve(listen(addr)?)?,
        6 => framed::serve(listen(addr)?)?,
        7 => limited::serve(listen(addr)?)?,
        8 => library::serve(addr)?,
        _ => return Err("rung 4 uses epoll and needs Linux".into()),
    }
    Ok(())
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    // The standard library's listen queue holds 128. A client that finds it full retries after a second.
    socket.listen(4_096)?;
    let listener = TcpListener::from(socket);
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
