//! However a short stream is cut, on its way in and on its way out, each piece brings exactly what it completes.

use std::time::Duration;

use crate::handler::Echo;
use crate::sim::Peer;
use crate::tests::sim::threats::{Scene, patient, sim_with_send_buffer};
use crate::wire::{announced_len, encode_header};

const LEN: usize = 16;

/// Every stream of whole frames of at most 16 bytes, but for what the payloads are.
fn streams() -> Vec<Vec<u8>> {
    fn extend(stream: &[u8], all: &mut Vec<Vec<u8>>) {
        for payload_len in 0..LEN {
            let mut longer = [stream, &encode_header(payload_len as u32)].concat();
            longer.extend((0..payload_len).map(|at| (stream.len() * 16 + at) as u8 | 0x80));
            if longer.len() <= LEN {
                extend(&longer, all);
                all.push(longer);
            }
        }
    }
    let mut all = Vec::new();
    extend(&[], &mut all);
    all
}

/// Every way to cut so many bytes into pieces, as lengths; only those into at most `pieces_max`.
fn partitions(len: usize, pieces_max: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << (len - 1)).filter(move |cuts| cuts.count_ones() < pieces_max as u32).map(move |cuts| {
        let mut lens = vec![1];
        for at in 0..len - 1 {
            match cuts >> at & 1 {
                0 => *lens.last_mut().unwrap() += 1,
                _ => lens.push(1),
            }
        }
        lens
    })
}

/// How many of the bytes are whole frames.
fn whole_len(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Ok(Some(payload_len)) = announced_len(&bytes[whole..], LEN as u32) {
        let end = whole + encode_header(payload_len).len() + payload_len as usize;
        if end > bytes.len() {
            break;
        }
        whole = end;
    }
    whole
}

fn turn(scene: &mut Scene<Echo>) {
    let _ = scene.reactor.turn(Some(Duration::ZERO)).unwrap();
}

/// The stream comes in pieces.
fn send_in_pieces(scene: &mut Scene<Echo>, peer: &Peer, stream: &[u8], lens: &[usize]) {
    let (mut came, mut answered) = (0, 0);
    for len in lens {
        peer.send(&stream[came..came + len]);
        came += len;
        turn(scene);
        let whole = whole_len(&stream[..came]);
        assert_eq!(peer.receive(), stream[answered..whole], "{stream:?} in pieces of {lens:?}");
        answered = whole;
    }
    assert_eq!((came, answered), (stream.len(), stream.len()));
}

/// The answers are taken in pieces.
fn receive_in_pieces(scene: &mut Scene<Echo>, peer: &Peer, stream: &[u8], lens: &[usize]) {
    let mut taken = 0;
    for (nth, len) in lens.iter().enumerate() {
        scene.sim.set_send_buffer_bytes(*len);
        if nth == 0 {
            peer.send(stream);
        } else {
            // What was there is read, which makes room for the next piece.
            assert_eq!(peer.receive(), stream[taken - lens[nth - 1]..taken], "{stream:?} taken in {lens:?}");
        }
        turn(scene);
        taken += len;
    }
    assert_eq!(peer.receive(), stream[taken - lens[lens.len() - 1]..], "{stream:?} taken in {lens:?}");
    turn(scene);
}

type Side = fn(&mut Scene<Echo>, &Peer, &[u8], &[usize]);

fn play(side: Side, stream: &[u8], pieces_max: usize) {
    let mut scene = Scene::with(sim_with_send_buffer(1 << 10), patient(), Echo);
    let peer = scene.connect();
    let mut count = 0;
    for lens in partitions(stream.len(), pieces_max) {
        side(&mut scene, &peer, stream, &lens);
        count += 1;
    }
    assert!(count == 1 << (stream.len() - 1) || pieces_max < stream.len());
    scene.settle();
    assert_eq!((scene.stats().buffered_bytes, scene.stats().frames_in), (0, scene.stats().frames_out));
    peer.finish();
    scene.settle();
    scene.is_empty();
}

/// All partitions into up to three pieces of all streams; and all 32,768 partitions of one of sixteen bytes.
fn play_all(side: Side) {
    let all = streams();
    assert_eq!(all.len(), 94);
    for stream in &all {
        play(side, stream, if stream.len() <= 9 { LEN } else { 3 });
    }
    let longest = [&encode_header(3)[..], b"\x81\x82\x83", &encode_header(5), b"\x84\x85\x86\x87\x88"].concat();
    assert!(longest.len() == LEN && all.iter().any(|stream| stream.len() == LEN));
    play(side, &longest, LEN);
}

#[test]
fn every_partition_of_sixteen_bytes_on_their_way_in_is_answered_piece_by_piece() {
    play_all(send_in_pieces);
}

#[test]
fn every_partition_of_sixteen_bytes_on_their_way_out_is_taken_piece_by_piece() {
    play_all(receive_in_pieces);
}

#[test]
fn the_partitions_are_all_there_are() {
    let mut all: Vec<_> = partitions(5, 5).collect();
    assert!(all.iter().all(|lens| lens.iter().sum::<usize>() == 5 && lens.iter().all(|len| *len > 0)), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 16);
    assert_eq!(partitions(5, 2).count(), 5);
}
