//! Replies, sends by id, broadcasts, watermarks.

use std::sync::mpsc::channel;

use frameloop::{Broadcast, CloseReason, Config, ConnId, Connection, Frame, Handler, SendError};

use crate::support::stepped::{End, Hooks, Server, frame, frames, pattern, reset};
use crate::{all, server};

#[test]
fn replies_by_copy_and_by_frame_keep_their_order() {
    let hooks = Hooks::default().on_frame(|conn, frame| {
        let is_copied = frame.payload()[0] % 2 == 0;
        let sent = if is_copied { conn.reply(frame.payload()) } else { conn.reply_frame(frame) };
        assert_eq!(sent, Ok(()));
    });
    let mut server = server(hooks);
    let client = server.connect();
    // Runs of both kinds, of one and of several frames, small ones and such as fill a read.
    let payloads: Vec<Vec<u8>> = (0..2_000_usize)
        .map(|i| {
            let kind = [0, 1, 0, 0, 1, 1, 1][i % 7];
            let mut payload = pattern(1 + (i * 37) % 300 + if i % 200 == 0 { 30_000 } else { 0 });
            payload[0] = kind;
            payload.extend((i as u32).to_be_bytes());
            payload
        })
        .collect();
    for batch in payloads.chunks(100) {
        let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        server.write(&client, &frames(&batch));
        server.expect(&client, &batch);
    }
    let stats = server.reactor.stats();
    assert_eq!((stats.frames_in, stats.frames_out), (2_000, 2_000));
}

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
fn over_the_mark_nothing_is_queued_until_low_water_is_told() {
    let mut server = server(Hooks::default());
    let (client, id) = server.connect_with_id();
    let taken = server.act(move |cx| {
        let taken = fill(&mut |payload| cx.send(id, payload));
        assert_eq!(cx.send(id, b"lost"), Err(SendError::Full));
        taken
    });
    assert!((4..=5).contains(&taken), "64 KiB are the high watermark, {taken} frames of 16 KiB were queued");

    let expected = vec![pattern(16 << 10); taken];
    server.expect(&client, &expected.iter().map(Vec::as_slice).collect::<Vec<_>>());
    server.turn_until("low water", |reactor| reactor.handler().log.low_water == [id]);
    server.act(move |cx| assert_eq!(cx.send(id, b"room again"), Ok(())));
    server.expect(&client, &[b"room again"]);
    assert_eq!(server.log().low_water, [id]);
}

#[test]
fn low_water_follows_also_when_everything_was_sent_at_once() {
    let config = Config::builder().output_high_water(1_024).output_low_water(256).build().unwrap();
    let (results, sent) = channel();
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        results.send(conn.reply_frame(frame)).unwrap();
        results.send(conn.reply(b"one more")).unwrap();
    });
    let mut server = Server::new(config, hooks);
    let client = server.connect();
    let payload = pattern(2_048);
    server.write(&client, &frame(&payload));
    server.expect(&client, &[&payload]);
    assert_eq!(all(&sent), [Ok(()), Err(SendError::Full)]);
    // The echo has been sent, so whatever is to be told of it has been told by the next turns.
    server.act(|_| {});
    server.act(|_| {});
    assert_eq!(server.log().low_water, server.log().opened, "told OverMark, and never that there is room again");
}

#[test]
fn one_reply_may_exceed_the_high_watermark_and_the_next_may_not() {
    let (results, sent) = channel();
    let large = pattern(1 << 20);
    let reply = large.clone();
    let hooks = Hooks::default().on_frame(move |conn, _| {
        results.send(conn.reply(&reply)).unwrap();
        results.send(conn.reply(b"too much")).unwrap();
    });
    let mut server = server(hooks);
    let client = server.connect();
    server.write(&client, &frames(&[b"1", b"2"]));
    server.expect(&client, &[&large, &large]);
    assert_eq!(all(&sent), [Ok(()), Err(SendError::Full), Ok(()), Err(SendError::Full)]);
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
fn a_payload_of_many_chunks_reads_the_same_in_one_piece_and_in_several() {
    let (results, lens) = channel();
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        let joined = frame.payload_chunks().collect::<Vec<_>>().concat();
        results.send((frame.payload_chunks().count(), frame.payload_len(), frame.payload() == joined)).unwrap();
        assert_eq!(conn.reply(frame.payload()), Ok(()));
        assert_eq!(conn.reply_frame(frame), Err(SendError::Full));
    });
    let mut server = server(hooks);
    let client = server.connect();
    // The second one is shorter than the first, so nothing of that may be left in it.
    for len in [1 << 20, 300_000, (68 << 10) - 3] {
        let payload = pattern(len);
        server.write(&client, &frame(&payload));
        server.expect(&client, &[&payload]);
        let (pieces, payload_len, is_equal) = lens.recv().unwrap();
        assert!(pieces > 1 && is_equal && payload_len == len, "{pieces} pieces, {payload_len} of {len} bytes");
    }
}

#[test]
fn a_large_frame_is_echoed_from_where_it_lies() {
    let mut server = server(Hooks::default());
    let client = server.connect();
    let large = pattern(1 << 20);
    server.write(&client, &frames(&[b"before", &large, b"behind"]));
    server.expect(&client, &[b"before", &large, b"behind"]);
    assert_eq!(server.reactor.stats().buffered_bytes, 0);
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
fn frames_sent_while_their_target_is_reset_hurt_nobody() {
    let mut server = server(Hooks::default());
    let other = server.connect();
    for round in 1..=50 {
        let (client, id) = server.connect_with_id();
        let handle = server.reactor.handle();
        reset(client);
        // Comes in the same turn as the reset, before the connection has run.
        handle.send(Box::new(move |cx| assert_ne!(cx.send(id, b"on its way"), Err(SendError::Full)))).ok().unwrap();
        assert_eq!(server.closed(round), (id, CloseReason::Reset));
    }
    server.echo(&other, b"still served");
    drop(other);
    server.closed(51);
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
