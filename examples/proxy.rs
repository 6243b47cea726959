//! A TCP proxy: each connection is relayed to one address, with its ends and its pace.
//!
//! ```text
//! cargo run --example proxy -- 127.0.0.1:7010 127.0.0.1:7007
//! ```
//!
//! - Bytes are relayed as they arrive (the framing `raw`).
//! - FIN is relayed as FIN, after the bytes before it. The other direction goes on.
//! - RST, or any other failure of one side, is relayed as RST.
//! - A side that does not read stops its sender: at the high-water mark of its output, the other side is paused. So one relayed
//!   connection needs at most some 300 KiB, whatever it transfers: 1 GiB in each direction at the same time was relayed with a
//!   peak of 2.8 MiB of resident memory (`FRAMELOOP_TEST_PROXY_MIB=1024 cargo test --release --test proxy -- --nocapture`).
//!
//! When standard input is closed, the proxy stops listening, and waits for the connections that it relays, at most the drain
//! timeout.

use std::collections::HashMap;
use std::{env, io, thread};

use frameloop::wire::Framing;
use frameloop::{
    Address, CloseReason, Config, ConnId, Connection, Context, Dial, DialError, Drain, Frame, Handler, ListenOptions,
    NotForwarded, Reactor, SendError,
};

struct Proxy {
    backend: Address,
    /// Each connection and dial, and its other side. Only the side that has ended is missing.
    others: HashMap<ConnId, ConnId>,
    /// By the side that is to get it: what it had no room for, or what came before it was connected. Its sender is paused.
    held: HashMap<ConnId, Held>,
}

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// FIN came after the bytes.
    has_end: bool,
}

impl Proxy {
    /// Ends a connection whose other side has failed.
    fn fail(&mut self, cx: &mut Context<'_>, id: ConnId) {
        self.held.remove(&id);
        if let Some(other) = self.others.remove(&id) {
            self.held.remove(&other);
            cx.abort(other);
        }
    }
}

impl Handler for Proxy {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        // The directions are independent: pending output to a side must not stop what it sends.
        conn.pause_input_when_full(false);
        let id = conn.id();
        if let Some(client) = self.others.get(&id).copied() {
            // The client may have ended already.
            if self.held.remove(&id).is_some_and(|held| held.has_end) {
                conn.finish();
            }
            conn.cx().resume(client);
            return;
        }
        let dial = Dial::to(self.backend.clone()).framing(Framing::Raw);
        match conn.cx().dial(dial) {
            Ok(backend) => {
                self.others.extend([(id, backend), (backend, id)]);
                conn.pause();
            }
            Err(_) => conn.abort(),
        }
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let Some(&other) = self.others.get(&conn.id()) else { return conn.abort() };
        match conn.cx().forward(frame, other) {
            Ok(()) => {}
            Err(NotForwarded { error: SendError::Full, frame, .. }) => {
                // Nothing more comes before `on_writable` of the other side.
                self.held.entry(other).or_default().bytes = frame.payload().to_vec();
                conn.pause();
            }
            // The other side is ending, or there is no memory.
            Err(_) => conn.abort(),
        }
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        let Some(held) = self.held.remove(&conn.id()) else { return };
        if conn.reply(&held.bytes).is_err() {
            return conn.abort();
        }
        if held.has_end {
            conn.finish();
        }
        if let Some(other) = self.others.get(&conn.id()).copied() {
            conn.cx().resume(other);
        }
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        let Some(&other) = self.others.get(&conn.id()) else { return conn.close() };
        if self.held.contains_key(&other) || !conn.cx().finish(other) {
            self.held.entry(other).or_default().has_end = true;
        }
    }

    fn on_drain(&mut self, _conn: &mut Connection<'_>, (): &mut ()) -> Drain {
        Drain::WhenClosed
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, (): (), reason: &CloseReason) {
        match reason {
            // Both directions have ended on this side, so the other side ends as soon as its output is sent.
            CloseReason::PeerFinished => _ = self.others.remove(&id),
            _ => self.fail(cx, id),
        }
    }

    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        eprintln!("{} is not reached: {error}", self.backend);
        self.fail(cx, id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = env::args().skip(1);
    let (Some(addr), Some(backend)) = (args.next(), args.next()) else {
        return Err(
            "write the address to listen on and the address to relay to, such as 127.0.0.1:7010 127.0.0.1:7007".into(),
        );
    };
    let proxy = Proxy { backend: backend.parse()?, others: HashMap::new(), held: HashMap::new() };
    // How long a side may be silent or not read is for the two ends to decide.
    let config = Config::builder().write_timeout(None).build()?;
    let mut reactor = Reactor::new(config, proxy)?;
    println!(
        "listening on {}",
        reactor.listen_with(&addr.parse()?, ListenOptions::default().framing(Framing::Raw))?.addr
    );
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
