//! Every way in which a connection ends, and that each opening has its close.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use frameloop::{CloseReason, Config, ConnId, Context, SendError};

use crate::support::stepped::{End, Hooks, Server, frame, frames, pattern, reset};
use crate::{all, server};

/// Lets one connection come and end, and says how it ended. Another one is served before and after.
fn ending(config: Config, hooks: Hooks, end: impl FnOnce(&mut Server<Hooks>, TcpStream)) -> CloseReason {
    let mut server = Server::new(config, hooks);
    let client = server.connect();
    end(&mut server, client);
    let (_, reason) = server.closed(1);
    server.log().assert_paired();
    assert_eq!(server.reactor.stats().closed_by(reason.kind()), 1);
    assert_eq!((server.reactor.stats().connections, server.reactor.stats().buffered_bytes), (0, 0));
    reason
}

#[test]
fn a_graceful_close_flushes_a_large_output_then_sends_fin() {
    let large = pattern(4 << 20);
    let reply = large.clone();
    let (results, sent) = channel();
    let hooks = Hooks::default().on_frame(move |conn, _| {
        results.send(conn.reply(&reply)).unwrap();
        conn.close();
        results.send(conn.reply(b"after the close")).unwrap();
    });
    let mut server = server(hooks);
    let client = server.connect();
    // What comes behind is not handed over, and does not destroy the output on its way by an RST.
    server.write(&client, &frames(&[b"go", b"never handed over", &pattern(60_000)]));
    server.expect_last(&client, &[&large]);
    assert_eq!(all(&sent), [Ok(()), Err(SendError::Closed)]);
    drop(client);
    assert_eq!(server.closed(1).1, CloseReason::ClosedByHandler);
    assert_eq!(server.log().frames, 1);
    server.log().assert_paired();
}

#[test]
fn an_abort_ends_a_connection_at_once() {
    let large = pattern(64 << 20);
    let hooks = Hooks::default().on_frame(move |conn, _| {
        assert_eq!(conn.reply(&large), Ok(()));
        conn.abort();
        assert_eq!(conn.reply(b"after the abort"), Err(SendError::Closed));
    });
    let mut server = server(hooks);
    let client = server.connect();
    server.write(&client, &frames(&[b"go", b"never handed over"]));
    assert_eq!(server.closed(1).1, CloseReason::AbortedByHandler);
    let (received, _) = server.read_to_end(&client);
    assert!(received.len() < 64 << 20, "all output was sent");
    assert_eq!((server.log().frames, server.reactor.stats().buffered_bytes), (1, 0));
    server.log().assert_paired();
}

/// Nothing is pending and nothing is unacknowledged, and still the peer sees RST, not FIN.
#[test]
fn abort_sends_rst_even_if_nothing_is_lost() {
    let hooks = || Hooks::default().on_half_close(|_| {});
    let states: [fn(&mut Server<Hooks>, &TcpStream, ConnId); 5] = [
        |_, _, _| {},
        |server, client, _| server.echo(client, b"acknowledged"),
        |server, client, id| {
            client.shutdown(Shutdown::Write).unwrap();
            server.turn_until("the half-close", move |reactor| reactor.handler().log.half_closed == [id]);
        },
        // Our FIN is sent, and the peer's is awaited.
        |server, client, id| {
            server.act(move |cx| assert!(cx.close(id)));
            assert_eq!(server.read_to_end(client).1, End::Fin);
        },
        |server, client, id| {
            server.act(move |cx| assert!(cx.finish(id)));
            assert_eq!(server.read_to_end(client).1, End::Fin);
        },
    ];
    for (number, bring_about) in states.into_iter().enumerate() {
        let mut server = server(hooks());
        let (client, id) = server.connect_with_id();
        bring_about(&mut server, &client, id);
        let is_fin_sent = number >= 3;
        server.act(move |cx| assert!(cx.abort(id)));
        assert_eq!(server.closed(1), (id, CloseReason::AbortedByHandler), "state {number}");
        if is_fin_sent {
            let sent = std::io::Write::write(&mut &client, b"x").map_err(|error| error.kind());
            assert!(matches!(sent, Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)), "{sent:?}");
        } else {
            assert_eq!(server.read_to_end(&client), (vec![], End::Reset), "state {number}");
        }
    }
}

#[test]
fn abort_of_a_unix_socket_ends_its_stream() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut server = server(Hooks::default());
    let id = server.reactor.adopt_stream(ours, b"").unwrap();
    server.act(move |cx| assert!(cx.abort(id)));
    assert_eq!(server.closed(1), (id, CloseReason::AbortedByHandler));
    assert_eq!(std::io::Read::read(&mut &theirs, &mut [0]).unwrap(), 0);
}

#[test]
fn half_closed_connection_is_answered_by_another_thread() {
    let (ids, questions) = channel::<ConnId>();
    let hooks = Hooks::default().on_half_close(move |conn| ids.send(conn.id()).unwrap());
    let mut server = server(hooks);
    let handle = server.reactor.handle();
    let answering = std::thread::spawn(move || {
        let id = questions.recv().unwrap();
        let answer = move |cx: &mut Context<'_>| {
            assert_eq!(cx.send(id, b"the late answer"), Ok(()));
            assert!(cx.close(id));
        };
        handle.send(Box::new(answer)).ok().unwrap();
    });
    let client = server.connect();
    server.echo(&client, b"a question");
    client.shutdown(Shutdown::Write).unwrap();
    server.expect_last(&client, &[b"the late answer"]);
    assert_eq!(server.closed(1).1, CloseReason::PeerFinished);
    answering.join().unwrap();
    server.log().assert_paired();
}

#[test]
fn an_end_by_the_peer_closes_what_was_opened() {
    let config = Config::default;
    let fin = ending(config(), Hooks::default(), |server, client| server.echo(&client, b"x"));
    assert_eq!(fin, CloseReason::PeerFinished);
    let rst = ending(config(), Hooks::default(), |server, client| {
        server.echo(&client, b"x");
        reset(client);
    });
    assert_eq!(rst, CloseReason::Reset);
    let truncated = ending(config(), Hooks::default(), |server, client| server.write(&client, &[0, 0, 0, 9, 1]));
    assert_eq!(truncated, CloseReason::TruncatedFrame { received: 5 });
    let limit = Config::builder().max_payload(8).build().unwrap();
    let too_long = ending(limit, Hooks::default(), |server, client| server.write(&client, &[0, 0, 0, 9]));
    assert!(matches!(too_long, CloseReason::FrameTooLong(_)), "{too_long:?}");
}

#[test]
fn a_close_inside_any_callback_closes_what_was_opened() {
    let config = Config::default;
    let finish = |server: &mut Server<Hooks>, client: TcpStream| {
        assert_eq!(server.read_to_end(&client).1, End::Fin);
    };
    let in_open = ending(config(), Hooks::default().on_open(|conn| conn.close()), finish);
    assert_eq!(in_open, CloseReason::ClosedByHandler);
    let aborted_in_open = ending(config(), Hooks::default().on_open(|conn| conn.abort()), |_, _| {});
    assert_eq!(aborted_in_open, CloseReason::AbortedByHandler);

    let in_frame = ending(config(), Hooks::default().on_frame(|conn, _| conn.close()), |server, client| {
        server.write(&client, &frame(b"x"));
        finish(server, client);
    });
    assert_eq!(in_frame, CloseReason::ClosedByHandler);

    let in_half_close = ending(config(), Hooks::default(), |server, client| {
        client.shutdown(Shutdown::Write).unwrap();
        finish(server, client);
    });
    assert_eq!(in_half_close, CloseReason::PeerFinished);
    let aborted = ending(config(), Hooks::default().on_half_close(|conn| conn.abort()), |_, client| drop(client));
    assert_eq!(aborted, CloseReason::AbortedByHandler);
}

#[test]
fn a_close_inside_on_low_water_flushes_the_rest() {
    let large = pattern(1 << 20);
    let reply = large.clone();
    let hooks = Hooks::default().on_frame(move |conn, _| _ = conn.reply(&reply)).on_writable(|conn| conn.close());
    let reason = ending(Config::default(), hooks, |server, client| {
        server.write(&client, &frame(b"x"));
        server.expect_last(&client, &[&large]);
    });
    assert_eq!(reason, CloseReason::ClosedByHandler);
}
