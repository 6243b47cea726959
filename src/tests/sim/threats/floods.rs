//! Frames without end and without payload, and peers that take no answer.

use crate::Frame;
use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::error::CloseReason;
use crate::handler::{Connection, Handler};
use crate::sim::Sim;
use crate::tests::sim::threats::{Scene, frame, patient, sim_with_send_buffer};

const EMPTY_FRAMES: usize = 10_000_000;
const BYTES: usize = 4 * EMPTY_FRAMES;
const MEMORY: usize = 1 << 20;
const SEND_BUFFER: usize = 16 << 10;

#[test]
fn unread_empty_frames_stop_at_the_high_water_mark() {
    let config = patient().max_payload(1_000).memory(MEMORY);
    let high = Config::default().output_high_water;
    let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), config, crate::Echo);
    let (flooder, other) = (scene.connect(), scene.connect());
    for calls in 0..10 {
        flooder.send(&vec![0; BYTES / 10]);
        scene.settle();
        let stats = scene.stats();
        // Each reply is charged with its header: pending output is at most the high-water mark and one reply.
        let taken = stats.bytes_out - calls * frame(b"unharmed").len() as u64;
        let pending = 4 * (stats.frames_out - calls) - taken;
        assert!((high as u64..high as u64 + 4).contains(&pending), "{pending} bytes are pending");
        assert_eq!(taken, SEND_BUFFER as u64);
        assert!(stats.buffered_bytes <= MEMORY as u64 / 4, "{stats}");
        scene.call(&other, b"unharmed");
    }
    flooder.reset();
    other.finish();
    scene.settle();
    scene.is_empty();
}

/// Takes frames and answers none.
struct Silent;

impl Handler for Silent {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, _conn: &mut Connection<'_>, (): &mut (), _frame: Frame<'_>) {}
}

#[test]
fn ten_million_empty_frames_are_charged_to_the_budgets() {
    let config = patient().max_payload(1_000).memory(MEMORY);
    let mut scene = Scene::with(Sim::new(7), config, Silent);
    let flooder = scene.connect();
    flooder.send(&vec![0; BYTES]);
    let (mut frames, mut read) = (0, 0);
    while frames < EMPTY_FRAMES as u64 {
        scene.turn();
        let stats = scene.stats();
        let came = stats.frames_in - frames;
        assert!((1..=Config::default().frame_budget as u64).contains(&came), "{came} frames in one turn");
        assert!(stats.bytes_in - read < 2 * (68 << 10), "{} bytes in one turn", stats.bytes_in - read);
        assert!(stats.buffered_bytes <= 68 << 10, "{stats}");
        (frames, read) = (stats.frames_in, stats.bytes_in);
    }
    scene.settle();
    assert_eq!((scene.stats().frames_in, scene.stats().buffered_bytes), (EMPTY_FRAMES as u64, 0));
    flooder.finish();
    scene.settle();
    scene.is_empty();
}

#[test]
fn a_stalled_reader_has_at_most_the_mark_and_one_reply_pending() {
    for payload_len in [0, 1, 100, 65_536, 1 << 20] {
        let frame = frame(&vec![7; payload_len]);
        let config = Config::builder().frame_timeout(None);
        let high = Config::default().output_high_water as u64;
        let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), config, crate::Echo);
        let peer = scene.connect();
        peer.send(&frame.repeat(1 + 1_000_000 / frame.len()));
        let (mut most, mut buffered) = (0, 0);
        // Far more turns than it takes until nothing moves.
        for _ in 0..100 {
            scene.turn();
            let stats = scene.stats();
            most = most.max(stats.frames_out * frame.len() as u64 - stats.bytes_out);
            buffered = buffered.max(stats.buffered_bytes);
        }
        assert!((high..high + frame.len() as u64).contains(&most), "{most} bytes of {payload_len} each were pending");
        // Pending input and pending output each take a chunk, and a frame's length.
        let bound = 2 * (CHUNK_LEN + payload_len) as u64;
        assert!(buffered <= bound, "{buffered} bytes were buffered, for frames of {payload_len}");
        assert!(scene.stats().pauses > 0);

        // From here on no peer sends, reads or connects: the reactor wakes up by itself.
        let waited = scene.sleep_until(|stats| stats.connections == 0);
        assert_eq!(Some(waited), Config::default().write_timeout, "of {payload_len} bytes");
        assert_eq!(scene.closed(&CloseReason::WriteTimeout), 1);
        scene.is_empty();
    }
}
