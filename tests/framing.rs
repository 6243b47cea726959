//! Frames on real sockets: cut anywhere, joined, empty, as long as allowed, and a byte longer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::{env, process};

use socket2::SockRef;

use support::{
    End, PATIENCE, PEER_FINISHED, Server, announcement, closed_by, frame, patient, payload, replies_and_end,
};

#[test]
fn frame_at_limit_is_echoed_and_one_byte_more_closes() {
    for limit in [0, 1, 1_000, 65_536, 100_000, 16 << 20] {
        let server = Server::start(patient().max_payload(limit));
        let longest = payload(1, limit as usize);
        let stream = [frame(&longest), frame(&[]), frame(&longest), announcement(limit + 1).to_vec()].concat();
        let (replies, end) = replies_and_end(&mut server.connect(), &stream);
        assert!(replies == [&longest[..], &[], &longest[..]], "{} replies with a limit of {limit}", replies.len());
        assert_eq!(end, End::InOrder, "with a limit of {limit}");
        let stats = server.stats_when_empty();
        assert_eq!(closed_by(&stats, "frame too long"), 1, "{stats}");
    }
}

/// Closing with input unread sends RST, which would overtake the replies.
#[test]
fn earlier_replies_arrive_while_peer_keeps_sending() {
    const REPLIES: usize = 1_000;
    let server = Server::start(patient().max_payload(1_000));
    let sent = payload(1, 1_000);
    let stream = [frame(&sent).repeat(REPLIES), announcement(1_001).to_vec(), payload(2, 1 << 20)].concat();
    let (replies, end) = replies_and_end(&mut server.connect(), &stream);
    assert!(replies.len() == REPLIES && replies.iter().all(|reply| *reply == sent), "{} replies", replies.len());
    assert_eq!(end, End::InOrder);
    assert_eq!(closed_by(&server.stats_when_empty(), "frame too long"), 1);
}

#[test]
fn k_frames_and_a_fin_are_answered_with_k_frames_and_a_fin() {
    let server = Server::start(patient());
    for (count, len) in [(0, 0), (1, 0), (1, 10), (100, 1), (1_000, 100), (3, 65_536), (20, 300_000)] {
        let payloads: Vec<_> = (0..count).map(|index| payload(index, len)).collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        let (replies, end) = replies_and_end(&mut server.connect(), &stream);
        assert!(replies == payloads, "{} replies to {count} frames of {len} bytes", replies.len());
        assert_eq!(end, End::InOrder, "{count} frames of {len} bytes");
    }
    assert_eq!(closed_by(&server.stats_when_empty(), PEER_FINISHED), 7);
}

/// The watermark is so high that reading does not pause: the FIN is read while most of the reply waits for its reader.
#[test]
fn pending_output_at_fin_is_sent_when_peer_reads() {
    let server = Server::start(patient().output_high_water(64 << 20));
    let mut client = server.connect();
    SockRef::from(&client.stream).set_recv_buffer_size(64 << 10).unwrap();
    let sent = payload(1, 12 << 20);
    client.send(&sent);
    client.finish();
    let stats = server.stats_when(|stats| stats.frames_in == 1);
    assert_eq!((stats.connections, stats.pauses), (1, 0), "{stats}");
    assert!(stats.buffered_bytes > 1 << 20, "{stats}");
    client.expect(&sent);
    assert_eq!(client.end(), End::InOrder);
    assert_eq!(closed_by(&server.stats_when_empty(), PEER_FINISHED), 1);
}

#[test]
fn frames_are_the_same_over_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no ::1");
        return;
    }
    let server = Server::start_on("[::1]:0", patient());
    assert!(server.addr.is_ipv6());
    server.connect().call(&payload(1, 200_000));
}

#[test]
fn frames_are_the_same_over_a_unix_socket() {
    let path = env::temp_dir().join(format!("frameloop-framing-{}.sock", process::id()));
    let server = Server::start_on_path(&path, patient());
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut writer = client.try_clone().unwrap();
    let stream = frame(&payload(1, 200_000)).repeat(5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&stream).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        client.read_to_end(&mut replies).unwrap();
        assert!(replies == stream, "{} bytes came and {} were sent", replies.len(), stream.len());
    });
    server.stats_when_empty();
    drop(server);
    assert!(!path.exists(), "the path is left behind");
}
