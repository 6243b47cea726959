//! Two reactors on two threads, which share a port: the kernel gives each connection to one of them. They echo, and drain when
//! standard input is closed.

use std::thread;

use frameloop::{Config, Echo, Reactor};

const THREADS: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder().reuse_port(true).build()?;
    let mut address = "127.0.0.1:0".parse()?;
    let mut reactors = Vec::new();
    for _ in 0..THREADS {
        let mut reactor = Reactor::new(config.clone(), Echo)?;
        // The first gets a free port, the others get the same.
        address = reactor.listen(&address)?;
        reactors.push(reactor);
    }
    println!("listening on {address}");

    let handles: Vec<_> = reactors.iter().map(Reactor::handle).collect();
    let threads: Vec<_> = reactors
        .into_iter()
        .map(|mut reactor| thread::spawn(move || reactor.run().map(|()| reactor.stats().accepted)))
        .collect();

    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    for handle in &handles {
        handle.drain()?;
    }
    for thread in threads {
        let accepted = thread.join().map_err(|_| "a reactor's thread panicked")??;
        println!("a thread accepted {accepted} connections");
    }
    Ok(())
}
