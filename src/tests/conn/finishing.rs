//! Our side is half-closed, and the peer's side goes on.

use crate::config::Config;
use crate::conn::sink::Drain;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{frame_of, stream};

/// A connection whose handler has replied to these frames and then finished. The peer has taken everything.
fn finished(frames: &[usize]) -> Driver {
    let mut driver = Driver::echo();
    driver.receive(&stream(frames));
    driver.finish_now();
    assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Finished, true));
    driver.at_rest();
    driver
}

#[test]
fn finished_connection_sends_nothing_and_takes_frames_until_fin() {
    let mut driver = finished(&[3]);
    assert_eq!(driver.send_now(b"too late"), Err(SendError::Closed));
    // In one read, in pieces, and longer than a chunk.
    driver.receive(&stream(&[4, 0, 5]));
    stream(&[6]).iter().for_each(|byte| driver.receive(&[*byte]));
    driver.receive(&stream(&[200_000])[..100_000]);
    driver.receive(&stream(&[200_000])[100_000..]);
    assert_eq!((driver.sink.frames, driver.sink.refused), (6, 6));
    assert_eq!((driver.phase(), driver.socket.written.len()), (Phase::Finished, stream(&[3]).len()));
    driver.at_rest();
    driver.arrive(Arrival::Eof);
    assert_eq!(driver.sink.half_closes, 1);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn fin_follows_all_output_however_slowly_the_peer_takes_it() {
    let bytes = stream(&[300; 5]);
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        driver.receive(&bytes);
        driver.finish_now();
        while driver.socket.written.len() < bytes.len() {
            assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Finishing, false));
            driver.take(299);
        }
        assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Finished, true));
        assert_eq!(driver.socket.written, bytes);
        driver.arrive(Arrival::Eof);
        driver.ended(CloseReason::PeerFinished);
    }
}

#[test]
fn handler_that_finishes_at_a_frame_gets_those_behind_it() {
    for room in [0, 5, usize::MAX] {
        let mut driver = Driver::echo();
        driver.socket.room = room;
        driver.sink.acts = vec![(2, Act::Finish)];
        driver.receive(&stream(&[3, 4, 5, 6]));
        assert_eq!((driver.sink.frames, driver.sink.refused), (4, 2));
        driver.take(usize::MAX - room);
        assert_eq!(driver.socket.written, stream(&[3, 4]));
        assert_eq!(driver.phase(), Phase::Finished);
        driver.arrive(Arrival::Eof);
        driver.ended(CloseReason::PeerFinished);
    }
}

/// Output that cannot grow is no reason to wait, and no room is reported for what may not be sent.
#[test]
fn full_output_of_finished_connection_does_not_pause_its_input() {
    let config = Config { output_high_water: 1_000, output_low_water: 10, ..Config::default() };
    let mut driver = Driver::new(Style::Copy, config);
    driver.socket.room = 0;
    driver.receive(&stream(&[300; 20]));
    let before = driver.sink.frames;
    assert!(before < 20 && driver.conn.is_input_paused());
    driver.finish_now();
    assert_eq!((driver.sink.frames, driver.phase()), (20, Phase::Finishing));
    driver.receive(&stream(&[200_000]));
    assert_eq!(driver.sink.frames, 21);
    driver.take(usize::MAX);
    assert_eq!((driver.phase(), driver.sink.low_waters), (Phase::Finished, 0));
    assert_eq!(driver.socket.written.len(), before * stream(&[300]).len());
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn fin_of_the_peer_before_ours_is_sent_ends_after_the_output() {
    let mut driver = Driver::echo();
    driver.socket.room = 2;
    driver.receive(&stream(&[30]));
    driver.finish_now();
    driver.sink.on_half_close = Some(b"refused".to_vec());
    driver.arrive(Arrival::Eof);
    assert_eq!((driver.sink.half_closes, driver.phase()), (1, Phase::FlushingAfterFin));
    driver.take(usize::MAX);
    assert_eq!(driver.socket.written, stream(&[30]));
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn finishing_after_the_peer_closes() {
    for room in [3, usize::MAX] {
        let mut driver = Driver::echo();
        driver.sink.keeps_half_closed = true;
        driver.receive(&stream(&[3]));
        driver.arrive(Arrival::Eof);
        driver.socket.room = room;
        assert_eq!(driver.send_now(b"the last reply"), Ok(()));
        driver.finish_now();
        driver.take(usize::MAX - room);
        assert_eq!(driver.socket.written, [stream(&[3]), frame_of(b"the last reply")].concat());
        driver.ended(CloseReason::PeerFinished);
        assert!(!driver.socket.is_shut_down, "closing the socket sends FIN");
    }
}

#[test]
fn closing_a_finished_connection_discards_input_until_fin() {
    let mut driver = finished(&[3]);
    let now = driver.millis(Some(driver.shared.now));
    driver.pass(7_000);
    driver.receive(&stream(&[5])[..4]);
    driver.close();
    // Lingering begins when the handler closes, not when our FIN was sent.
    assert_eq!(driver.millis(driver.lingering_since()), now.map(|now| now + 7_000));
    assert_eq!((driver.phase(), driver.sink.frames), (Phase::Lingering, 1));
    driver.receive(&stream(&[5])[4..]);
    assert_eq!(driver.sink.frames, 1);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);

    let mut driver = Driver::echo();
    driver.socket.room = 0;
    driver.receive(&stream(&[3]));
    driver.finish_now();
    driver.close();
    assert_eq!(driver.phase(), Phase::Flushing);
    driver.take(100);
    assert_eq!(driver.phase(), Phase::Lingering);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn finished_connection_ends_as_any_other() {
    let mut driver = finished(&[3]);
    driver.arrive(Arrival::Reset);
    assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));

    let mut driver = finished(&[3]);
    driver.receive(&stream(&[5])[..6]);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::TruncatedFrame { received: 6 });
    assert_eq!(driver.sink.half_closes, 0);

    let mut driver = finished(&[3]);
    driver.receive(&[0xff; 4]);
    assert_eq!(driver.phase(), Phase::Lingering);
    driver.arrive(Arrival::Eof);
    assert!(matches!(driver.conn.closed(), Some(CloseReason::FrameTooLong(_))));
}

#[test]
fn paused_finished_connection_sees_its_peers_end() {
    for (end, reason) in [(Arrival::Eof, CloseReason::PeerFinished), (Arrival::Reset, CloseReason::Reset)] {
        let mut driver = finished(&[3]);
        driver.sink.acts = vec![(2, Act::Pause)];
        driver.receive(&stream(&[4]));
        driver.arrive(end);
        assert_eq!(driver.conn.closed(), Some(reason));
    }
    let mut driver = finished(&[]);
    driver.sink.acts = vec![(1, Act::Pause)];
    driver.receive(&stream(&[4, 5]));
    driver.arrive(Arrival::Eof);
    assert_eq!((driver.sink.frames, driver.sink.half_closes), (1, 0));
    driver.resume();
    assert_eq!((driver.sink.frames, driver.sink.half_closes), (2, 1));
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn drain_of_finished_connection_asks_and_closes() {
    let mut driver = finished(&[3]);
    driver.receive(&stream(&[5])[..6]);
    driver.drain_now();
    assert_eq!((driver.sink.drains, driver.phase()), (0, Phase::Finished));
    driver.receive(&stream(&[5])[6..]);
    assert_eq!((driver.sink.drains, driver.sink.frames, driver.phase()), (1, 2, Phase::Lingering));
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::Drained);

    let mut driver = finished(&[3]);
    driver.sink.reply_to_drain = Drain::WhenClosed;
    driver.drain_now();
    assert_eq!((driver.sink.drains, driver.phase()), (1, Phase::Finished));
    driver.receive(&stream(&[5]));
    assert_eq!(driver.sink.frames, 2);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn fin_that_cannot_be_sent_lets_input_and_the_error_be_read() {
    let mut driver = Driver::new(Style::Silent, Config::default());
    driver.socket.shutdown_error = Some(std::io::ErrorKind::NotConnected);
    driver.socket.arrivals.extend([Arrival::Bytes(stream(&[3])), Arrival::Reset]);
    while driver.socket.arrive() {}
    // No event has reported them yet.
    driver.finish_now();
    assert_eq!((driver.sink.frames, driver.phase()), (1, Phase::Finished));
    driver.react();
    assert_eq!((driver.sink.frames, driver.conn.closed()), (1, Some(CloseReason::Reset)));
}
