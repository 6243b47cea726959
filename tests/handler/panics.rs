//! Handlers that panic.

use std::collections::HashSet;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;

use frameloop::{CloseReason, Config};

use crate::support::stepped::{Hooks, Server, frame, frames, pattern};
use crate::{all, server};

/// A handler that panics in a callback of the connection that came first, and the reason that this gives.
fn panicking(hooks: Hooks, provoke: impl FnOnce(&mut Server<Hooks>, &TcpStream)) -> CloseReason {
    let mut server = server(hooks);
    let victim = server.connect();
    let other = server.connect();
    server.echo(&other, b"served before");
    provoke(&mut server, &victim);
    let (id, reason) = server.closed(1);
    assert_eq!(id, server.log().opened[0]);
    server.echo(&other, b"served after");
    drop(server.read_to_end(&victim));
    drop(other);
    server.closed(2);
    server.log().assert_paired();
    reason
}

/// Panics at the first call.
fn once() -> impl FnMut() + Send {
    let mut has_panicked = false;
    move || assert!(std::mem::replace(&mut has_panicked, true), "this panic is part of the test")
}

#[test]
fn a_panic_in_on_frame_ends_only_its_own_connection() {
    // The payload of the second lies in several buffers, and is joined for the handler.
    for provoking in [b"panic".to_vec(), pattern(1 << 20)] {
        let (mut panic_once, panics_at) = (once(), provoking.clone());
        let hooks = Hooks::default().on_frame(move |conn, frame| {
            if frame.payload() == panics_at {
                panic_once();
            }
            assert_eq!(conn.reply_frame(frame), Ok(()));
        });
        let reason = panicking(hooks, |server, victim| {
            server.echo(victim, b"answered");
            server.write(victim, &frames(&[&provoking, b"never handed over"]));
            server.closed(1);
            assert_eq!(server.reactor.stats().buffered_bytes, 0);
        });
        assert_eq!(reason, CloseReason::HandlerPanicked);
    }
}

#[test]
fn panic_in_other_callbacks_closes_only_its_connection() {
    let mut panic_once = once();
    let hooks = Hooks::default().on_half_close(move |conn| {
        panic_once();
        conn.close();
    });
    let reason = panicking(hooks, |_, victim| victim.shutdown(Shutdown::Write).unwrap());
    assert_eq!(reason, CloseReason::HandlerPanicked);

    let mut panic_once = once();
    let large = pattern(1 << 20);
    let hooks = Hooks::default()
        .on_frame(move |conn, frame| match frame.payload() {
            b"large" => _ = conn.reply(&large),
            _ => _ = conn.reply_frame(frame),
        })
        .on_writable(move |_| panic_once());
    let reason = panicking(hooks, |server, victim| {
        server.write(victim, &frame(b"large"));
        drop(server.read_to_end(victim));
    });
    assert_eq!(reason, CloseReason::HandlerPanicked);

    let mut panic_once = once();
    let reason = panicking(Hooks::default().on_wake(move |_| panic_once()), |server, _| {
        let id = server.log().opened[0];
        assert!(server.act(move |cx| cx.wake(id)));
    });
    assert_eq!(reason, CloseReason::HandlerPanicked);
}

#[test]
fn panic_in_on_open_closes_without_on_close() {
    let mut panic_once = once();
    let hooks = Hooks::default().on_open(move |conn| {
        assert_eq!(conn.reply(b"welcome"), Ok(()));
        panic_once();
    });
    let mut server = server(hooks);
    let victim = server.connect();
    assert_eq!(server.read_to_end(&victim).0, b"");
    let other = server.connect();
    server.expect(&other, &[b"welcome"]);
    drop(other);
    server.closed(1);
    assert_eq!((server.log().opened.len(), server.reactor.stats().refused.failed), (1, 1));
    assert_eq!(server.reactor.stats().buffered_bytes, 0);
    server.log().assert_paired();
}

#[test]
fn id_of_panicked_on_open_is_never_reused() {
    let (ids, seen) = channel();
    let mut panic_once = once();
    let hooks = Hooks::default().on_open(move |conn| {
        ids.send(conn.id()).unwrap();
        panic_once();
    });
    let mut server = server(hooks);
    let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let seen = all(&seen);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), clients.len(), "{seen:?}");
}

#[test]
fn a_panic_in_on_close_or_on_message_ends_nothing_else() {
    let mut panic_once = once();
    let hooks = Hooks::default().on_close(move |_, _| panic_once());
    assert_eq!(panicking(hooks, |_, victim| victim.shutdown(Shutdown::Write).unwrap()), CloseReason::PeerFinished);

    let mut server = server(Hooks::default());
    let client = server.connect();
    server.reactor.handle().send(Box::new(|_| panic!("this panic is part of the test"))).ok().unwrap();
    server.turn_until("the message", |reactor| reactor.stats().messages == 1);
    server.echo(&client, b"served after");
}

#[test]
fn after_panic_only_on_close_is_called() {
    let config = Config::builder().output_high_water(1_024).output_low_water(256).build().unwrap();
    let hooks = Hooks::default().on_frame(|conn, _| {
        assert_eq!(conn.reply(&pattern(2_048)), Ok(()));
        panic!("this panic is part of the test");
    });
    let mut server = Server::new(config, hooks);
    let client = server.connect();
    server.write(&client, &frame(b"x"));
    assert_eq!(server.closed(1).1, CloseReason::HandlerPanicked);
    assert_eq!(server.log().low_water, [], "called about a connection whose callback had panicked");
}
