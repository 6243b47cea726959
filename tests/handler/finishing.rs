//! Half-closing our side: FIN follows the output, and what the peer sends still arrives.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use frameloop::{CloseReason, Config, Dial, SendError};

use crate::server;
use crate::support::stepped::{End, Hooks, Server, frame, frames, pattern, reset};

#[test]
fn fin_follows_a_large_reply_and_frames_still_arrive() {
    let large = pattern(16 << 20);
    let reply = large.clone();
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        if frame.payload() == b"go" {
            assert_eq!(conn.reply(&reply), Ok(()));
            conn.finish();
        }
        assert_eq!(conn.reply(b"after the end"), Err(SendError::Closed));
    });
    let mut server = server(hooks);
    let (client, id) = server.connect_with_id();
    server.write(&client, &frames(&[b"go", b"in the same read"]));
    // The output is above its high-water mark, and the input goes on.
    server.write(&client, &frames(&[b"before FIN", &pattern(300_000)]));
    server.turn_until("the frames", |reactor| reactor.handler().log.frames == 4);
    server.expect_last(&client, &[&large]);
    server.write(&client, &frames(&[b"after FIN", &pattern(300_000)]));
    server.turn_until("the frames", |reactor| reactor.handler().log.frames == 6);
    assert!(server.log().closed.is_empty());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.closed(1), (id, CloseReason::PeerFinished));
    assert_eq!(server.log().half_closed, [id]);
    server.log().assert_paired();
}

#[test]
fn finishing_before_anything_is_sent_sends_fin_alone() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut server = server(Hooks::default().on_open(|conn| conn.finish()));
    let (client, _) = server.connect_with_id();
    assert_eq!(server.read_to_end(&client), (vec![], End::Fin));
    let adopted = server.reactor.adopt_stream(ours, b"").unwrap();
    server.turn_until("FIN on the Unix socket", |reactor| reactor.stats().shutdowns.done == 2);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    theirs.write_all(&frame(b"an answer")).unwrap();
    server.write(&client, &frame(b"an answer"));
    server.turn_until("the frames", |reactor| reactor.handler().log.frames == 2);
    drop(theirs);
    assert_eq!(server.closed(1), (adopted, CloseReason::PeerFinished));
    drop(client);
    assert_eq!(server.closed(2).1, CloseReason::PeerFinished);
    server.log().assert_paired();
}

/// A request that ends with FIN, and a reply that does too.
#[test]
fn outbound_connection_finishes_and_gets_the_whole_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let backend = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        stream.write_all(&frames(&[&pattern(500_000), b"the rest"])).unwrap();
        request
    });
    let hooks = Hooks::default().on_open(|conn| {
        assert_eq!(conn.reply(b"the request"), Ok(()));
        conn.finish();
    });
    let mut server = server(hooks);
    let id = server.act(move |cx| cx.dial(Dial::to(addr)).unwrap());
    assert_eq!(server.closed(1), (id, CloseReason::PeerFinished));
    assert_eq!((server.log().frames, &server.log().half_closed[..]), (2, &[id][..]));
    assert_eq!(backend.join().unwrap(), frame(b"the request"));
}

#[test]
fn finish_by_id_reaches_other_connections_and_no_stale_one() {
    let mut server = server(Hooks::default().on_frame(|conn, frame| {
        let id = conn.id();
        assert_eq!(conn.reply_frame(frame), Ok(()));
        // Its own id works as any other.
        assert!(conn.cx().finish(id) && conn.cx().finish(id));
        assert_eq!(conn.cx().send(id, b"too late"), Err(SendError::Closed));
    }));
    let (own, _) = server.connect_with_id();
    let (other, id) = server.connect_with_id();
    server.write(&own, &frame(b"the last"));
    server.expect_last(&own, &[b"the last"]);
    server.act(move |cx| {
        assert_eq!(cx.send(id, b"queued before"), Ok(()));
        assert!(cx.finish(id));
        assert_eq!(cx.send(id, b"too late"), Err(SendError::Closed));
    });
    server.expect_last(&other, &[b"queued before"]);
    drop((own, other));
    server.closed(2);
    assert!(!server.act(move |cx| cx.finish(id)));
    // A dial has nothing to finish, and goes on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    server.act(move |cx| {
        let dialed = cx.dial(Dial::to(addr)).unwrap();
        assert!(!cx.finish(dialed));
    });
    server.turn_until("the dialed connection", |reactor| reactor.stats().dialed == 1);
}

#[test]
fn peer_that_does_not_finish_is_closed_as_any_other() {
    let finishing = || Hooks::default().on_frame(|conn, _| conn.finish());
    let config = Config::builder().idle_timeout(Some(Duration::from_millis(100))).build().unwrap();
    let mut server = Server::new(config, finishing());
    let client = server.connect();
    server.write(&client, &frame(b"go"));
    assert_eq!(server.read_to_end(&client), (vec![], End::Fin));
    assert_eq!(server.closed(1).1, CloseReason::IdleTimeout);

    let mut server = Server::new(Config::default(), finishing());
    let client = server.connect();
    server.write(&client, &frame(b"go"));
    assert_eq!(server.read_to_end(&client), (vec![], End::Fin));
    reset(client);
    assert_eq!(server.closed(1).1, CloseReason::Reset);

    let (client, id) = server.connect_with_id();
    server.write(&client, &frame(b"go"));
    assert_eq!(server.read_to_end(&client), (vec![], End::Fin));
    server.act(move |cx| assert!(cx.abort(id)));
    assert_eq!(server.closed(2).1, CloseReason::AbortedByHandler);
}

#[test]
fn panic_at_the_peers_fin_is_the_reason_of_a_finished_connection() {
    let hooks = Hooks::default().on_frame(|conn, _| conn.finish()).on_half_close(|_| panic!("at the end"));
    let mut server = server(hooks);
    let client = server.connect();
    server.write(&client, &frame(b"go"));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.closed(1).1, CloseReason::HandlerPanicked);
    server.log().assert_paired();
}
