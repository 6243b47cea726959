//! Replies, sends by id, broadcasts, watermarks.

use std::sync::mpsc::channel;

use frameloop::{Broadcast, CloseReason, Config, ConnId, Connection, Frame, Handler, SendError};

use crate::support::stepped::{End, Hooks, Server, frame, frames, pattern};
use crate::{all, server};

#[test]
fn a_frame_is_sent_to_another_connection_by_its_id() {
    let (ids, received_ids) = channel::<ConnId>();
    let (results, sent) = channel();
    let mut target = None;
    let hooks = Hooks::default().on_open(move |conn| ids.send(conn.id()).unwrap()).on_frame(move |conn, frame| {
        let to = *target.get_or_insert_with(|| received_ids.recv().unwrap());
        results.send(conn.send(to, frame.payload())).unwrap();
    });
    let mut server = server(hooks);
    let (first, second) = (server.connect(), server.connect());
    server.write(&second, &frames(&[b"from second", b"again"]));
    server.expect(&first, &[b"from second", b"again"]);
    assert_eq!(all(&sent), [Ok(()), Ok(())]);
}

#[test]
fn a_stale_id_is_gone_and_never_the_next_tenant() {
    let mut server = server(Hooks::default());
    let (a, id_a) = server.connect_with_id();
    drop(a);
    assert_eq!(server.closed(1), (id_a, CloseReason::PeerFinished));

    let (b, id_b) = server.connect_with_id();
    let slot_of = |id: ConnId| id.to_string().split('.').next().map(str::to_owned);
    assert_eq!(slot_of(id_a), slot_of(id_b), "this needs the same slot");
    assert_ne!(id_a, id_b);

    assert_eq!(server.act(move |cx| cx.send(id_a, b"not for b")), Err(SendError::Closed));
    let told = server.act(move |cx| [cx.close(id_a), cx.abort(id_a), cx.pause(id_a), cx.resume(id_a), cx.wake(id_a)]);
    assert_eq!(told, [false; 5]);
    server.echo(&b, b"only its own");
}

#[test]
fn who_is_woken_speaks_once_however_often_it_was_woken() {
    let mut spoken = 0;
    let hooks = Hooks::default().on_wake(move |conn| {
        spoken += 1;
        assert_eq!(conn.reply(format!("{spoken}").as_bytes()), Ok(()));
    });
    let mut server = server(hooks);
    let (sleeper, _) = server.connect_with_id();
    let (client, id) = server.connect_with_id();
    assert_eq!(server.act(move |cx| [cx.wake(id), cx.wake(id)]), [true; 2]);
    server.expect(&client, &[b"1"]);
    server.act(move |cx| cx.wake(id));
    server.expect(&client, &[b"2"]);
    server.echo(&sleeper, b"and nobody else does");
}

#[test]
fn a_broadcast_counts_whom_it_reached_and_who_is_over_the_mark() {
    let (results, reached) = channel();
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        results.send(conn.broadcast_all(frame.payload())).unwrap();
    });
    let mut server = server(hooks);
    let (slow, slow_id) = server.connect_with_id();
    let others = [server.connect(), server.connect(), server.connect()];

    server.write(&others[0], &frame(b"to all"));
    for client in others.iter().chain([&slow]) {
        server.expect(client, &[b"to all"]);
    }
    let reached_by_peers = server.act(move |cx| {
        fill(&mut |payload| cx.send(slow_id, payload));
        cx.broadcast_all(b"to all but the slow one")
    });
    for client in &others {
        server.expect(client, &[b"to all but the slow one"]);
    }
    let counts = |reached: &Broadcast| (reached.queued, reached.full, reached.no_memory, reached.gone);
    assert_eq!(all(&reached).iter().map(counts).collect::<Vec<_>>(), [(4, 0, 0, 0)]);
    assert_eq!(counts(&reached_by_peers), (3, 1, 0, 0));
}

#[test]
fn each_connection_has_a_state_of_its_own() {
    struct Count;
    impl Handler for Count {
        type State = u8;
        type Message = ();

        fn on_open(&mut self, _conn: &mut Connection<'_>) -> u8 {
            0
        }

        fn on_frame(&mut self, conn: &mut Connection<'_>, count: &mut u8, _frame: Frame<'_>) {
            *count += 1;
            assert_eq!(conn.reply(&[*count]), Ok(()));
        }
    }
    let mut server = Server::new(Config::default(), Count);
    let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for round in 1..=20 {
        for client in clients.iter().skip(round % 2) {
            server.write(client, &frame(b"count"));
        }
        for (index, client) in clients.iter().enumerate().skip(round % 2) {
            let expected = if index == 0 { round / 2 } else { round };
            server.expect(client, &[&[expected as u8]]);
        }
    }
}

#[test]
fn frames_for_a_connection_that_closes_meanwhile_are_gone() {
    let (results, sent) = channel();
    let on_close = results.clone();
    let hooks = Hooks::default().on_close(move |cx, id| on_close.send(cx.send(id, b"too late")).unwrap());
    let mut server = server(hooks);
    let (aborted, id_aborted) = server.connect_with_id();
    let (closed, id_closed) = server.connect_with_id();
    server.act(move |cx| {
        assert!(cx.abort(id_aborted) && cx.close(id_closed));
        results.send(cx.send(id_aborted, b"too late")).unwrap();
        results.send(cx.send(id_closed, b"too late")).unwrap();
        let reached = cx.broadcast_all(b"too late");
        assert_eq!((reached.gone, reached.queued + reached.full + reached.no_memory), (2, 0));
    });
    drop(server.read_to_end(&aborted));
    assert_eq!(server.read_to_end(&closed), (Vec::new(), End::Fin));
    drop(closed);
    server.turn_until("both closes", |reactor| reactor.handler().log.closed.len() == 2);
    assert_eq!(all(&sent), [Err(SendError::Closed); 4]);
    server.log().assert_paired();
}

#[test]
fn a_reply_in_on_open_comes_first() {
    let hooks = Hooks::default().on_open(|conn| assert_eq!(conn.reply(b"welcome"), Ok(())));
    let mut server = server(hooks);
    let client = server.connect();
    server.expect(&client, &[b"welcome"]);
    server.echo(&client, b"thanks");
}

/// Queues frames of 16 KiB until the connection is over its mark, and returns how many were taken.
fn fill(send: &mut dyn FnMut(&[u8]) -> Result<(), SendError>) -> usize {
    let payload = pattern(16 << 10);
    (0..1_000).take_while(|_| send(&payload).is_ok()).count()
}

#[test]
fn broadcast_to_some_reaches_only_these() {
    let mut server = server(Hooks::default());
    let (first, first_id) = server.connect_with_id();
    let (other, _) = server.connect_with_id();
    let (last, last_id) = server.connect_with_id();
    let (gone, gone_id) = server.connect_with_id();
    drop(gone);
    let _ = server.closed(1);
    let (short, long) = (pattern(100), pattern(300_000));
    for payload in [&short, &long] {
        let bytes = bytes::Bytes::from(payload.clone());
        let reached = server.act(move |cx| cx.broadcast([first_id, gone_id, last_id], bytes));
        assert_eq!((reached.queued, reached.full, reached.no_memory, reached.gone), (2, 0, 0, 1));
        server.expect(&last, &[payload]);
        server.expect(&first, &[payload]);
    }
    server.echo(&other, b"nothing else came before this");
}

#[test]
fn forwarded_frame_reaches_the_other_byte_for_byte() {
    let mut server = server(Hooks::default());
    let (first, first_id) = server.connect_with_id();
    let second = server.connect();
    let Hooks { on_frame, .. } = Hooks::default().on_frame(move |conn, frame| {
        if conn.id() != first_id {
            assert!(conn.cx().forward(frame, first_id).is_ok());
        }
    });
    server.reactor.handler_mut().on_frame = on_frame;
    for len in [0, 5, 1_000, 60_000, 70_000, 1 << 20] {
        let payload = pattern(len);
        server.write(&second, &frame(&payload));
        server.expect(&first, &[&payload]);
    }
}

#[test]
fn frame_forwarded_to_its_own_connection_is_a_reply() {
    let mut server = server(Hooks::default().on_frame(|conn, frame| {
        let own = conn.id();
        let before = conn.reply(b"before it");
        assert_eq!((before, conn.cx().forward(frame, own).is_ok()), (Ok(()), true));
    }));
    let client = server.connect();
    for len in [0, 5, 60_000, 70_000, 1 << 20] {
        let payload = pattern(len);
        server.write(&client, &frame(&payload));
        server.expect(&client, &[b"before it", &payload]);
    }
}

/// A way to send a frame to the callback's own connection.
type OwnSend = fn(&mut Connection<'_>, Frame<'_>) -> Result<(), SendError>;

#[test]
fn refused_send_to_the_own_id_is_counted_on_every_way() {
    let ways: [OwnSend; 7] = [
        |conn, frame| conn.reply(frame.payload()),
        |conn, frame| conn.reply_shared(frame.payload().to_vec().into()),
        |conn, frame| conn.reply_frame(frame),
        |conn, frame| conn.send(conn.id(), frame.payload()),
        |conn, frame| {
            let own = conn.id();
            conn.cx().send(own, frame.payload())
        },
        |conn, frame| {
            let own = conn.id();
            conn.cx().send_shared(own, frame.payload().to_vec().into())
        },
        |conn, frame| {
            let own = conn.id();
            conn.cx().forward(frame, own).map_err(|refused| refused.error)
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        for len in [5, 1_000, 70_000] {
            let mut server = server(Hooks::default().on_frame(move |conn, frame| {
                fill(&mut |payload| conn.reply(payload));
                assert_eq!(way(conn, frame), Err(SendError::Full), "way {number}");
            }));
            let client = server.connect();
            server.write(&client, &frame(&pattern(len)));
            server.turn_until("the frame", |reactor| reactor.stats().frames_in == 1);
            // The filling ended with the first.
            assert_eq!(server.reactor.stats().dropped.full, 2, "way {number}, {len} bytes");
            assert_eq!(server.reactor.stats().handler_panics, 0);
        }
    }
}

#[test]
fn frame_that_cannot_be_forwarded_is_given_back() {
    let mut server = server(Hooks::default());
    let (gone, gone_id) = server.connect_with_id();
    drop(gone);
    let _ = server.closed(1);
    let client = server.connect();
    let Hooks { on_frame, .. } = Hooks::default().on_frame(move |conn, frame| {
        let refused = conn.cx().forward(frame, gone_id).unwrap_err();
        assert_eq!(refused.error, SendError::Closed);
        assert_eq!(conn.reply_frame(refused.frame), Ok(()));
    });
    server.reactor.handler_mut().on_frame = on_frame;
    for len in [5, 70_000, 1 << 20] {
        server.echo(&client, &pattern(len));
    }
}

#[test]
fn shared_replies_and_sends_keep_their_order() {
    let mut server = server(Hooks::default());
    let (other, other_id) = server.connect_with_id();
    let client = server.connect();
    let Hooks { on_frame, .. } = Hooks::default().on_frame(move |conn, frame| {
        let payload = bytes::Bytes::copy_from_slice(frame.payload());
        assert_eq!(conn.reply(b"before"), Ok(()));
        assert_eq!(conn.reply_shared(payload.clone()), Ok(()));
        assert_eq!(conn.reply(b"behind"), Ok(()));
        assert_eq!(conn.cx().send_shared(other_id, payload), Ok(()));
    });
    server.reactor.handler_mut().on_frame = on_frame;
    for len in [0, 512, 513, 60_000] {
        let payload = pattern(len);
        server.write(&client, &frame(&payload));
        server.expect(&client, &[b"before", &payload, b"behind"]);
        server.expect(&other, &[&payload]);
    }
}
