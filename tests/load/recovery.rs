//! A server that takes nothing for a while: afterwards every request is answered, whatever was pending meanwhile.

use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use frameloop::Address;
use frameloop::load::{Plan, Stop, Target};
use socket2::SockRef;

use crate::double::Double;
use crate::{outcome, plan};

/// Long enough for more to be due than all buffers on the way hold.
const STALL: Duration = Duration::from_millis(400);

/// Echoes frames one after the other, with blocking calls, as a client that writes and then reads would: it reads nothing while
/// it cannot write. After some frames it takes nothing for a while.
fn echo_with_stall(client: &mut (impl Read + Write)) {
    for count in 0.. {
        let mut header = [0; 4];
        if client.read_exact(&mut header).is_err() {
            return;
        }
        let mut frame = header.to_vec();
        frame.resize(4 + u32::from_be_bytes(header) as usize, 0);
        if client.read_exact(&mut frame[4..]).and_then(|()| client.write_all(&frame)).is_err() {
            return;
        }
        if count == 10 {
            thread::sleep(STALL);
        }
    }
}

/// One connection, an open loop.
fn open_loop(plan: Plan, payload_len: u32, rate: f64, frames: u64) -> Plan {
    let payload_len = RangeInclusive::new(payload_len, payload_len);
    Plan { connections: 1, payload_len, rate: Some(rate), stop: Stop::Frames(frames), ..plan }
}

fn assert_all_answered(plan: &Plan, frames: u64) {
    let outcome = outcome(plan);
    assert_eq!((outcome.frames, outcome.errors.total()), (frames, 0), "{:?}", outcome.errors);
}

#[test]
fn open_loop_over_unix_recovers_from_a_server_stall() {
    let path = std::env::temp_dir().join(format!("frameloop-stall-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || listener.incoming().for_each(|client| echo_with_stall(&mut client.unwrap())));
    for (payload_len, rate, frames) in [(256, 20_000.0, 16_000), (1 << 10, 5_000.0, 4_000), (64 << 10, 500.0, 400)] {
        let targets = vec![Target::new(Address::Unix(path.clone()))];
        assert_all_answered(&open_loop(Plan { targets, ..Plan::default() }, payload_len, rate, frames), frames);
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn open_loop_over_tcp_recovers_from_a_server_stall() {
    let server = Double::start(|_, client| {
        let socket = SockRef::from(&*client);
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.set_send_buffer_size(64 << 10).unwrap();
        client.set_nodelay(true).unwrap();
        echo_with_stall(client);
    });
    for (payload_len, rate, frames) in [(64 << 10, 500.0, 400), (1 << 20, 50.0, 40)] {
        assert_all_answered(&open_loop(plan(server.addr), payload_len, rate, frames), frames);
    }
}
