//! Pausing and resuming.

use std::net::Shutdown;

use frameloop::CloseReason;

use crate::server;
use crate::support::stepped::{Hooks, frame, frames};

#[test]
fn a_paused_connection_is_handed_no_frame_until_it_is_resumed() {
    let hooks = Hooks::default().on_frame(|conn, frame| {
        if frame.payload() == b"pause" {
            conn.pause();
        }
        assert_eq!(conn.reply_frame(frame), Ok(()));
    });
    let mut server = server(hooks);
    let (paused, id) = server.connect_with_id();
    let other = server.connect();
    server.write(&paused, &frames(&[b"before", b"pause", b"after"]));
    server.expect(&paused, &[b"before", b"pause"]);
    server.write(&paused, &frame(b"later"));
    (0..3).for_each(|_| server.echo(&other, b"served meanwhile"));
    assert_eq!(server.log().frames, 5);
    // Output still goes out.
    server.act(move |cx| assert_eq!(cx.send(id, b"a notice"), Ok(())));
    server.expect(&paused, &[b"a notice"]);
    server.act(move |cx| assert!(cx.resume(id)));
    server.expect(&paused, &[b"after", b"later"]);
}

#[test]
fn a_handler_pauses_and_resumes_another_connection() {
    let mut server = server(Hooks::default());
    let (client, id) = server.connect_with_id();
    let other = server.connect();
    server.act(move |cx| assert!(cx.pause(id)));
    server.write(&client, &frames(&[b"one", b"two"]));
    (0..3).for_each(|_| server.echo(&other, b"served meanwhile"));
    assert_eq!(server.log().frames, 3);
    client.shutdown(Shutdown::Write).unwrap();
    server.act(move |cx| assert!(cx.resume(id)));
    server.expect_last(&client, &[b"one", b"two"]);
    assert_eq!(server.closed(1), (id, CloseReason::PeerFinished));
}
