//! The memory limit: who pays for it, and who must not.

use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::reach::Broadcast;
use crate::sim::{Peer, Sim};
use crate::tests::sim::threats::{SECOND, Scene, frame, patient, sim_with_send_buffer};
use crate::{Echo, Frame, SendError};

const KIB: usize = 1 << 10;
const MEMORY: usize = 2 << 20;
const LONGEST: usize = 1 << 20;
const ATTACKERS: usize = 20;
const SMALL: usize = 20;
const SEND_BUFFER: usize = 16 * KIB;

fn limited() -> ConfigBuilder {
    patient().max_payload(LONGEST as u32).memory(MEMORY)
}

fn evicted<H: Handler>(scene: &Scene<H>) -> u64 {
    scene.closed(&CloseReason::Evicted { input: 0, output: 0 })
}

/// The payloads that small clients send: all fit a chunk.
fn payload(number: usize) -> Vec<u8> {
    let len = [0, 1, 64, 500, 4 * KIB, 30_000, 64 * KIB][number % 7];
    vec![number as u8; len]
}

/// A client whose frames fit a chunk, and who reads its answers.
struct Small {
    peer: Peer,
    heard: Vec<u8>,
    expected: Vec<u8>,
}

impl Small {
    fn new(peer: Peer) -> Self {
        Self { peer, heard: Vec::new(), expected: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.peer.send(bytes);
        self.expected.extend(bytes);
    }

    fn hear(&mut self) {
        self.heard.extend(self.peer.receive());
    }
}

/// Small clients send frames in 1 to 3 parts, all at the same time, and wait a moment before each; then every answer must
/// have come, and none of them may be closed.
fn serve_all<H: Handler>(scene: &mut Scene<H>, small: &mut [Small], mut attack: impl FnMut(&mut Scene<H>)) {
    for round in 0..9 {
        let parts = 1 + round % 3;
        for part in 0..parts {
            attack(scene);
            for (number, client) in small.iter_mut().enumerate() {
                let bytes = frame(&payload(number + round));
                client.send(&bytes[bytes.len() * part / parts..bytes.len() * (part + 1) / parts]);
            }
            scene.settle();
            scene.pass(Duration::from_millis(20));
        }
        // A socket takes a part of an answer, and more when the client reads.
        for _ in 0..64 * KIB / SEND_BUFFER + 1 {
            small.iter_mut().for_each(Small::hear);
            scene.settle();
        }
        for (number, client) in small.iter().enumerate() {
            assert!(
                client.heard == client.expected,
                "client {number} has not heard all in round {round}: {}",
                scene.stats()
            );
            assert!(!client.peer.is_reset() && !client.peer.has_server_finished());
        }
        assert!(scene.stats().buffered_bytes <= MEMORY as u64);
    }
}

/// All that a peer receives when it goes on reading.
fn hear<H: Handler>(scene: &mut Scene<H>, peer: &Peer) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = peer.receive();
        if more.is_empty() {
            return bytes;
        }
        bytes.extend(more);
        scene.settle();
    }
}

fn small_clients<H: Handler>(scene: &mut Scene<H>) -> Vec<Small> {
    (0..SMALL).map(|_| Small::new(scene.connect())).collect()
}

#[test]
fn hoarders_of_input_are_evicted_and_small_clients_served() {
    let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
    let mut small = small_clients(&mut scene);
    let mut attackers: Vec<Peer> = Vec::new();
    let hoard = &frame(&vec![7; LONGEST])[..LONGEST * 15 / 16];
    serve_all(&mut scene, &mut small, |scene| {
        // Evicted attackers connect again.
        attackers.retain(|peer| !peer.is_reset() && !peer.has_server_finished());
        while attackers.len() < ATTACKERS {
            let peer = scene.connect();
            peer.send(hoard);
            attackers.push(peer);
        }
    });
    assert!(evicted(&scene) >= 9 * (ATTACKERS as u64 - 2), "{}", scene.stats());
    assert_eq!(scene.stats().closed_total(), evicted(&scene));
}

#[test]
fn hoarders_in_drips_are_evicted_and_small_clients_served() {
    let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
    let mut small = small_clients(&mut scene);
    let hoard = frame(&vec![7; LONGEST]);
    let mut attackers: Vec<(Peer, usize)> = (0..ATTACKERS).map(|_| (scene.connect(), 0)).collect();
    serve_all(&mut scene, &mut small, |scene| {
        for step in 0..100 {
            for (peer, sent) in &mut attackers {
                if peer.is_reset() || peer.has_server_finished() {
                    (*peer, *sent) = (scene.connect(), 0);
                }
                let len = (1_000 + step).min(hoard.len() - 1 - *sent);
                peer.send(&hoard[*sent..*sent + len]);
                *sent += len;
            }
            scene.turn();
        }
        scene.settle();
    });
    assert!(evicted(&scene) > 0, "{}", scene.stats());
    assert_eq!(scene.stats().closed_total(), evicted(&scene));
}

#[test]
fn hoarders_of_output_are_evicted_and_small_clients_served() {
    // By small answers up to the high-water mark and a chunk of requests behind it, and by one answer longer than that.
    for (request, attackers_max) in
        [(frame(&[7; 100]).repeat(3_000), 3 * ATTACKERS), (frame(&vec![7; 900_000]), ATTACKERS)]
    {
        let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
        let mut small = small_clients(&mut scene);
        let mut attackers: Vec<Peer> = Vec::new();
        serve_all(&mut scene, &mut small, |scene| {
            attackers.retain(|peer| !peer.is_reset() && !peer.has_server_finished());
            // Evicted attackers connect again, a few at a time.
            let begun = attackers.len();
            while attackers.len() < attackers_max && (begun == 0 || attackers.len() < begun + 5) {
                let peer = scene.connect();
                peer.send(&request);
                attackers.push(peer);
            }
        });
        assert!(evicted(&scene) >= ATTACKERS as u64 / 2, "{}", scene.stats());
        assert_eq!(scene.stats().closed_total(), evicted(&scene));
    }
}

#[test]
fn thousand_small_hoarders_are_evicted() {
    // Each holds less than a small client does that has sent a part of a long frame.
    for part in [200, 10_000, 30_000] {
        let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
        let mut small = small_clients(&mut scene);
        let hoard = &frame(&[7; 64 * KIB])[..part];
        let attackers: Vec<Peer> = (0..1_000).map(|_| scene.connect()).collect();
        attackers.iter().for_each(|peer| peer.send(hoard));
        scene.settle();
        scene.pass(2 * SECOND);
        serve_all(&mut scene, &mut small, |_| {});
        assert_eq!(scene.stats().closed_total(), evicted(&scene));
    }
}

/// A client that uploads one long frame after another, in pieces, and begins again when it is evicted.
struct Uploader {
    peer: Peer,
    sent: usize,
    heard: usize,
    done: usize,
}

impl Uploader {
    fn go_on(&mut self, scene: &mut Scene<Echo>, bytes: &[u8]) {
        if self.peer.is_reset() || self.peer.has_server_finished() {
            (self.peer, self.sent, self.heard) = (scene.connect(), 0, 0);
        }
        let len = (64 * KIB).min(bytes.len() - self.sent);
        self.peer.send(&bytes[self.sent..self.sent + len]);
        self.sent += len;
        self.heard += self.peer.receive().len();
        if self.heard == bytes.len() {
            (self.sent, self.heard) = (0, 0);
            self.done += 1;
        }
    }
}

#[test]
fn long_frames_beyond_memory_complete_in_turn() {
    for (uploaders, hoarders) in [(4, 0), (12, 0), (4, 12)] {
        // Half of it is more than all others hold that hold little.
        let config = patient().max_payload(8 * LONGEST as u32).memory(8 * MEMORY);
        let mut scene = Scene::with(sim_with_send_buffer(1 << 20), config, Echo);
        let bytes = frame(&vec![7; 8 * LONGEST]);
        let mut uploads: Vec<Uploader> =
            (0..uploaders).map(|_| Uploader { peer: scene.connect(), sent: 0, heard: 0, done: 0 }).collect();
        let mut attackers: Vec<Peer> = Vec::new();
        let mut rounds = 0;
        while uploads.iter().map(|uploader| uploader.done).sum::<usize>() < 5 {
            uploads.iter_mut().for_each(|uploader| uploader.go_on(&mut scene, &bytes));
            // Evicted attackers connect again now and then.
            if rounds % 50 == 0 {
                attackers.retain(|peer| !peer.is_reset() && !peer.has_server_finished());
                while attackers.len() < hoarders {
                    let peer = scene.connect();
                    peer.send(&bytes[..bytes.len() / 16 * 15]);
                    attackers.push(peer);
                }
            }
            scene.settle();
            scene.pass(Duration::from_millis(5));
            rounds += 1;
            assert!(rounds < 20_000, "{uploaders} beside {hoarders}: {}", scene.stats());
        }
        assert!(evicted(&scene) > 0);
    }
}

#[test]
fn drain_at_memory_limit_serves_frames_in_flight() {
    let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
    let bytes = frame(&payload(6));
    let small: Vec<Peer> = (0..SMALL).map(|_| scene.connect()).collect();
    let attackers: Vec<Peer> = (0..ATTACKERS).map(|_| scene.connect()).collect();
    small.iter().for_each(|peer| peer.send(&bytes[..10]));
    attackers.iter().for_each(|peer| peer.send(&frame(&vec![7; LONGEST])[..100_000]));
    scene.settle();
    let evicted_before = evicted(&scene);
    scene.reactor.drain();
    scene.settle();
    // All of them need more than they had when the drain began.
    attackers.iter().for_each(|peer| peer.send(&vec![7; LONGEST / 2]));
    small.iter().for_each(|peer| peer.send(&bytes[10..40_000]));
    scene.settle();
    small.iter().for_each(|peer| peer.send(&bytes[40_000..]));
    scene.settle();
    for (number, peer) in small.iter().enumerate() {
        assert!(hear(&mut scene, peer) == bytes, "client {number}: {}", scene.stats());
        peer.finish();
    }
    scene.settle();
    assert!(scene.stats().buffered_bytes <= MEMORY as u64);
    let report = scene.reactor.drain_report();
    assert_eq!((report.drained, report.cut), (SMALL as u64, evicted(&scene) - evicted_before));
    assert!(evicted(&scene) >= ATTACKERS as u64 - 4, "{}", scene.stats());
}

#[test]
fn newcomers_at_the_memory_limit_are_let_in_and_served() {
    let mut scene = Scene::with(sim_with_send_buffer(SEND_BUFFER), limited(), Echo);
    let hoard = &frame(&vec![7; LONGEST])[..LONGEST - 100];
    let hoarders: Vec<Peer> = (0..3)
        .map(|_| {
            let peer = scene.connect();
            peer.send(hoard);
            scene.settle();
            peer
        })
        .collect();
    for number in 0..100 {
        let peer = scene.connect();
        scene.call(&peer, &payload(number)[..payload(number).len().min(SEND_BUFFER / 2)]);
    }
    assert_eq!(scene.stats().refused.total(), 0);
    assert!(evicted(&scene) <= 2 && !hoarders.is_empty());
}

#[test]
fn largest_is_evicted_first_for_any_connection() {
    let mut scene = Scene::with(Sim::new(7), limited(), Echo);
    let bytes = frame(&vec![7; LONGEST]);
    let held = [300_000, 900_000, 500_000];
    let peers = held.map(|len| {
        let peer = scene.connect();
        peer.send(&bytes[..len]);
        scene.settle();
        peer
    });
    let is_open = |peer: &Peer| !peer.is_reset() && !peer.has_server_finished();
    // The smallest needs more than there is: the largest goes.
    peers[0].send(&bytes[300_000..700_000]);
    scene.settle();
    assert_eq!(peers.each_ref().map(is_open), [true, false, true], "{}", scene.stats());
    // Now it is the largest itself that needs more than there is.
    let other = scene.connect();
    other.send(&bytes[..450_000]);
    scene.settle();
    peers[2].send(&bytes[500_000..990_000]);
    scene.settle();
    assert_eq!(peers.each_ref().map(is_open), [true, false, false], "{}", scene.stats());
    assert!(is_open(&other));
    // What is left completes.
    for (peer, sent) in [(&peers[0], 700_000), (&other, 450_000)] {
        peer.send(&bytes[sent..]);
        scene.settle();
        assert!(hear(&mut scene, peer) == bytes, "{}", scene.stats());
    }
    assert_eq!((evicted(&scene), scene.stats().buffered_bytes), (2, 0));
}

#[test]
fn longest_frame_completes_within_the_least_memory_limit() {
    let least = LONGEST + 4 + (68 << 10);
    assert!(patient().max_payload(LONGEST as u32).memory(least - 1).build().is_err());
    let config = || patient().max_payload(LONGEST as u32).memory(least);
    let bytes = frame(&vec![9; LONGEST]);
    for piece in [4, 513, 10_000, 40_000, 1 << 20, bytes.len()] {
        let mut scene = Scene::new(config());
        let peer = scene.connect();
        for piece in bytes.chunks(piece) {
            peer.send(piece);
            if bytes.len() / piece.len() < 3_000 {
                scene.turn();
            }
        }
        scene.settle();
        assert!(hear(&mut scene, &peer) == bytes, "in pieces of {piece}: {}", scene.stats());
        assert_eq!(scene.stats().closed_total(), 0);
    }
}

/// Answers each frame with as many bytes as it says; counts the answers that are not queued.
#[derive(Default)]
struct Downloads {
    sent: Vec<Result<(), SendError>>,
    broadcast: Broadcast,
}

impl Handler for Downloads {
    type State = ();
    /// What is sent to all.
    type Message = Vec<u8>;

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let asked = std::str::from_utf8(frame.payload()).ok().and_then(|text| text.parse().ok());
        let sent = match asked {
            Some(len) => conn.reply(&vec![b'd'; len]),
            None => conn.reply_frame(frame),
        };
        self.sent.push(sent);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, message: Vec<u8>) {
        self.broadcast = cx.broadcast_all(&message);
    }
}

#[test]
fn long_reply_evicts_larger_holders_or_is_an_error() {
    let mut scene = Scene::with(Sim::new(7), limited(), Downloads::default());
    let hoard = &frame(&vec![7; LONGEST])[..900_000];
    let hoarders: [Peer; 2] = std::array::from_fn(|_| scene.connect());
    hoarders.iter().for_each(|peer| peer.send(hoard));
    scene.settle();
    let client = scene.connect();
    let ask = |scene: &mut Scene<Downloads>, len: usize| {
        client.send(&frame(len.to_string().as_bytes()));
        scene.settle();
        scene.reactor.handler_mut().sent.pop()
    };
    // No connection holds so much.
    assert_eq!(ask(&mut scene, 1_500_000), Some(Err(SendError::NoMemory)));
    assert_eq!(ask(&mut scene, usize::MAX >> 40), Some(Err(SendError::NoMemory)));
    assert_eq!(evicted(&scene), 0);
    assert_eq!((scene.stats().dropped.no_memory, scene.stats().dropped.total()), (2, 2));
    // Either of them does.
    assert_eq!(ask(&mut scene, 800_000), Some(Ok(())));
    assert!(hear(&mut scene, &client) == frame(&[b'd'; 800_000]));
    assert_eq!(evicted(&scene), 1);
    scene.call(&client, b"still there");
    assert_eq!(scene.stats().dropped.total(), 2);
}

#[test]
fn broadcast_at_the_memory_limit_closes_none_and_reports_each() {
    const RECIPIENTS: usize = 500;
    // Each recipient gets a copy.
    const MESSAGE: usize = 500;
    let mut scene = Scene::with(sim_with_send_buffer(1_000), limited(), Downloads::default());
    let recipients: Vec<Peer> = (0..RECIPIENTS).map(|_| scene.connect()).collect();
    let broadcast = |scene: &mut Scene<Downloads>| {
        assert!(scene.reactor.handle().send(vec![b'm'; MESSAGE]).is_ok());
        scene.settle();
        scene.reactor.handler().broadcast
    };
    let (mut queued, mut full, mut no_memory) = (0, 0, 0);
    for _ in 0..15 {
        let reached = broadcast(&mut scene);
        assert_eq!(reached.queued + reached.full + reached.no_memory, RECIPIENTS, "{reached:?}");
        assert_eq!(reached.gone, 0);
        queued += reached.queued;
        full += reached.full;
        no_memory += reached.no_memory;
    }
    assert!(queued > 0 && no_memory > RECIPIENTS, "{queued} queued, {full} full, {no_memory} without memory");
    let stats = scene.stats();
    assert_eq!((stats.connections, stats.closed_total()), (RECIPIENTS as u64, 0), "{stats}");
    assert_eq!((stats.dropped.full, stats.dropped.no_memory), (full as u64, no_memory as u64));
    // A share is left: a part of a frame and an answer are no reason to close any.
    recipients.iter().take(10).for_each(|peer| peer.send(&frame(&[7; 4_000])[..2_000]));
    scene.settle();
    // Each receives the messages that are queued for it, whole, and goes on.
    let mut received = 0;
    for peer in &recipients {
        let bytes = hear(&mut scene, peer);
        assert_eq!(bytes.len() % frame(&[0; MESSAGE]).len(), 0);
        received += bytes.len() / frame(&[0; MESSAGE]).len();
    }
    assert_eq!(received, queued);
    assert_eq!(scene.stats().closed_total(), 0);
    assert_eq!(broadcast(&mut scene).queued, RECIPIENTS);
}

#[test]
fn long_broadcast_counts_once_in_the_memory_limit() {
    const RECIPIENTS: usize = 100;
    const MESSAGE: usize = 900_000;
    let mut scene = Scene::with(sim_with_send_buffer(1_000), limited(), Downloads::default());
    let recipients: Vec<Peer> = (0..RECIPIENTS).map(|_| scene.connect()).collect();
    let broadcast = |scene: &mut Scene<Downloads>, len: usize| {
        assert!(scene.reactor.handle().send(vec![b'm'; len]).is_ok());
        scene.settle();
        scene.reactor.handler().broadcast
    };
    // An eighth is left for the connections' own input and replies.
    assert_eq!(broadcast(&mut scene, MEMORY - MEMORY / 10).no_memory, RECIPIENTS);
    assert_eq!(broadcast(&mut scene, MESSAGE).queued, RECIPIENTS);
    assert_eq!(broadcast(&mut scene, MESSAGE).full, RECIPIENTS);
    // Some are reset while it is pending, most read it; after each turn the accounting is checked.
    let (gone, readers) = recipients.split_at(10);
    gone.iter().for_each(Peer::reset);
    scene.settle();
    for peer in readers {
        assert!(hear(&mut scene, peer) == frame(&[b'm'; MESSAGE]));
    }
    assert_eq!(scene.stats().closed_total(), 10);
    // Twice as much would not fit: the first was freed with its last slice.
    let once_more = broadcast(&mut scene, MEMORY - MEMORY / 4);
    assert_eq!(once_more.queued, RECIPIENTS - 10, "{once_more:?}");
    // One that needs memory evicts holders of the payload until there is room, and no more than there are.
    let newcomer = scene.connect();
    newcomer.send(&frame(&vec![7; LONGEST])[..1_000_000]);
    scene.settle();
    assert!(evicted(&scene) > 0);
    assert_eq!(scene.stats().dropped.no_memory, RECIPIENTS as u64);
}

#[test]
fn payload_in_one_piece_is_counted_between_callbacks() {
    let config = patient().max_payload(LONGEST as u32).memory(LONGEST * 3 / 2);
    let mut scene = Scene::with(Sim::new(7), config, Downloads::default());
    let client = scene.connect();
    let bytes = frame(&vec![200; LONGEST]);
    for _ in 0..3 {
        client.send(&bytes);
        scene.settle();
        assert!(hear(&mut scene, &client) == bytes);
        let stats = scene.stats();
        assert!(stats.pooled_bytes <= (LONGEST + 4 + Config::default().pool_bytes_max) as u64, "{stats}");
    }
    // The buffer in which the frame was joined is released for connections that need memory, before any is evicted.
    let other = scene.connect();
    other.send(&bytes[..LONGEST - 1]);
    scene.settle();
    assert_eq!((evicted(&scene), scene.stats().connections), (0, 2));
}
