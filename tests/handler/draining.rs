//! Drains that wait: for replies from other threads, and for connections that are paused.

use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use frameloop::{CloseReason, Config, ConnId, Context, Drain, SendError, Turn};

use crate::server;
use crate::support::stepped::{Hooks, Server, frame, frames, pattern};

/// Turns until the drain is complete.
fn drained(server: &mut Server<Hooks>) {
    let begin = std::time::Instant::now();
    while server.turn() == Turn::Running {
        assert!(begin.elapsed() < crate::support::PATIENCE, "the drain does not end");
    }
}

/// What a client receives until FIN, on a thread of its own: the drain waits for its FIN.
fn reading(client: &TcpStream) -> std::thread::JoinHandle<Vec<u8>> {
    let mut client = client.try_clone().unwrap();
    client.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut client, &mut received).unwrap();
        // If it has sent FIN before, both directions have ended.
        let _ = client.shutdown(Shutdown::Write);
        received
    })
}

/// Some clients half-close behind their requests, and some requests are in the sockets when the drain begins.
#[test]
fn drain_waits_for_replies_from_another_thread() {
    const COUNT: usize = 12;
    let (ids, requests) = channel::<ConnId>();
    let hooks = Hooks::default()
        .on_frame(move |conn, _| ids.send(conn.id()).unwrap())
        .on_half_close(|_| {})
        .on_drain(|_| Drain::WhenClosed);
    let mut server = server(hooks);
    let handle = server.reactor.handle();
    let clients: Vec<_> = (0..COUNT).map(|_| server.connect()).collect();
    clients.iter().step_by(2).for_each(|client| server.write(client, &frame(b"early")));
    server.turn_until("the early requests", |reactor| reactor.handler().log.frames == COUNT / 2);
    for (number, mut client) in clients.iter().enumerate() {
        if number % 2 == 1 {
            std::io::Write::write_all(&mut client, &frame(b"late")).unwrap();
        }
        if number % 3 == 0 {
            client.shutdown(Shutdown::Write).unwrap();
        }
    }
    server.reactor.drain();
    // A connection that is closed before it is asked, is not asked.
    server.turn_until("each is asked", |reactor| reactor.handler().log.drained.len() == COUNT);
    let working = std::thread::spawn(move || {
        for _ in 0..COUNT {
            let id = requests.recv().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let reply = move |cx: &mut Context<'_>| {
                assert_eq!(cx.send(id, b"from another thread"), Ok(()));
                assert!(cx.close(id));
            };
            handle.send(Box::new(reply)).ok().unwrap();
        }
    });
    let readers: Vec<_> = clients.iter().map(reading).collect();
    drained(&mut server);
    working.join().unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), frame(b"from another thread"));
    }
    let report = server.reactor.drain_report();
    assert_eq!((report.drained, report.cut, report.cut_unfinished), (COUNT as u64, 0, 0), "{report:?}");
    assert_eq!((server.log().frames, server.log().drained.len()), (COUNT, COUNT));
    server.log().assert_paired();
}

#[test]
fn drain_waits_for_paused_connection_to_be_resumed() {
    let hooks = Hooks::default().on_frame(|conn, frame| {
        conn.pause();
        conn.reply_frame(frame).unwrap();
    });
    let mut server = server(hooks);
    let (client, id) = server.connect_with_id();
    server.write(&client, &frames(&[b"one", b"two"]));
    server.expect(&client, &[b"one"]);
    server.reactor.drain();
    (0..20).for_each(|_| assert_eq!(server.turn(), Turn::Running));
    assert_eq!(server.log().drained, []);
    server.act(move |cx| assert!(cx.resume(id)));
    server.expect(&client, &[b"two"]);
    server.act(move |cx| assert!(cx.resume(id)));
    server.expect_last(&client, &[]);
    drop(client);
    drained(&mut server);
    assert_eq!(server.closed(1), (id, CloseReason::Drained));
    assert_eq!((server.reactor.drain_report().drained, server.log().drained.len()), (1, 1));
}

#[test]
fn deadline_of_a_drain_cuts_and_lists_what_it_waited_for() {
    let config =
        Config::builder().drain_timeout(Duration::from_millis(200)).output_high_water(64 << 20).build().unwrap();
    let large = pattern(32 << 20);
    let hooks = Hooks::default()
        .on_frame(move |conn, frame| match frame.payload() {
            b"pause" => conn.pause(),
            b"large" => conn.reply(&large).unwrap(),
            _ => {}
        })
        .on_drain(|conn| match conn.reply(b"farewell") {
            Ok(()) => Drain::WhenClosed,
            Err(_) => Drain::AtRest,
        });
    let mut server = Server::new(config, hooks);
    let [(idle, id_idle), (paused, id_paused), (part, id_part), (slow, id_slow)] =
        [(); 4].map(|()| server.connect_with_id());
    server.write(&paused, &[frame(b"pause"), frame(b"undelivered")].concat());
    server.write(&part, &frame(b"a part of a frame")[..7]);
    server.write(&slow, &frame(b"large"));
    server.turn_until("the requests", |reactor| {
        reactor.handler().log.frames == 2 && reactor.stats().bytes_in == 9 + 15 + 7 + 9
    });
    server.reactor.drain();
    drained(&mut server);

    let report = server.reactor.drain_report().clone();
    assert_eq!((report.drained, report.cut, report.cut_unfinished), (0, 4, 4), "{report:?}");
    let of = |id: ConnId| report.cut_connections.iter().find(|cut| cut.id == id).unwrap();
    for (id, undelivered_bytes, is_awaited) in [(id_idle, 0, true), (id_paused, 15, true), (id_part, 7, false)] {
        let cut = of(id);
        assert_eq!((cut.undelivered_bytes, cut.is_awaited, cut.unsent_bytes), (undelivered_bytes, is_awaited, 0));
        assert_eq!(cut.reason, CloseReason::Cut);
    }
    assert_eq!(of(id_idle).peer, idle.local_addr().unwrap().into());
    assert!(of(id_slow).unsent_bytes > 1 << 20 && of(id_slow).is_awaited);
    assert_eq!(report.unsent_bytes, of(id_slow).unsent_bytes);
    server.log().assert_paired();
    drop((idle, paused, part, slow));
}

/// It is accepted in the call of `drain`, and has sent nothing.
#[test]
fn connection_accepted_by_a_drain_is_drained_too() {
    let mut server = server(Hooks::default().on_drain(|conn| {
        assert_eq!(conn.reply(b"farewell"), Ok(()));
        Drain::AtRest
    }));
    let client = TcpStream::connect(server.addr).unwrap();
    client.set_nonblocking(true).unwrap();
    server.reactor.drain();
    server.expect_last(&client, &[b"farewell"]);
    drop(client);
    drained(&mut server);
    assert_eq!((server.reactor.drain_report().drained, server.log().drained.len()), (1, 1));
}

#[test]
fn handler_that_closes_aborts_or_panics_in_a_drain_is_obeyed() {
    type Hook = fn(&mut frameloop::Connection<'_>) -> Drain;
    let cases: [(Hook, CloseReason); 4] = [
        (
            |conn| {
                conn.close();
                assert_eq!(conn.reply(b"too late"), Err(SendError::Closed));
                Drain::WhenClosed
            },
            CloseReason::ClosedByHandler,
        ),
        (
            |conn| {
                conn.abort();
                Drain::WhenClosed
            },
            CloseReason::AbortedByHandler,
        ),
        (|_| panic!("in on_drain"), CloseReason::HandlerPanicked),
        (
            |conn| {
                // To be paused keeps no connection at rest.
                conn.pause();
                Drain::AtRest
            },
            CloseReason::Drained,
        ),
    ];
    for (hook, reason) in cases {
        let mut server = server(Hooks::default().on_drain(hook));
        let client = server.connect();
        server.reactor.drain();
        let (received, _) = server.read_to_end(&client);
        assert_eq!(received, b"");
        drop(client);
        drained(&mut server);
        assert_eq!(server.closed(1).1, reason);
        server.log().assert_paired();
    }
}
