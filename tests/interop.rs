//! Clients that were not written here: tokio-util's codec, Python's standard library, and Erlang's `{packet, 4}`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use support::{PATIENCE, PEER_FINISHED, Server, closed_by, patient, payload};

/// Sends all from one task while another receives; then the server's end must follow ours.
async fn echoed_by_a_codec(addr: SocketAddr, payloads: Vec<Bytes>) -> usize {
    let codec = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
    let (read_half, write_half) = TcpStream::connect(addr).await.unwrap().into_split();
    let mut sink = FramedWrite::new(write_half, codec.clone());
    let mut stream = FramedRead::new(read_half, codec);
    let sent = payloads.clone();
    let sender = tokio::spawn(async move {
        for payload in sent {
            sink.feed(payload).await.unwrap();
        }
        SinkExt::<Bytes>::close(&mut sink).await.unwrap();
    });
    for payload in &payloads {
        let received = stream.next().await.unwrap().unwrap();
        assert!(received == payload, "{} bytes came and {} were sent, or others", received.len(), payload.len());
    }
    assert!(stream.next().await.is_none());
    sender.await.unwrap();
    payloads.len()
}

#[test]
fn length_delimited_codec_is_echoed_on_many_connections() {
    const CLIENTS: usize = 16;
    let server = Server::start(patient());
    let addr = server.addr;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let frames = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            // From nothing to 200 KB, some short and some long on each.
            let lens =
                (0..60).map(|index| if index % 3 == 0 { (index * 3_389 + client * 977) % 200_001 } else { index });
            let payloads = lens.map(|len| Bytes::from(payload((client + len) as u64, len))).collect();
            clients.spawn(echoed_by_a_codec(addr, payloads));
        }
        timeout(PATIENCE, clients.join_all()).await.unwrap().into_iter().sum::<usize>()
    });
    let stats = server.stats_when_empty();
    assert_eq!((stats.frames_in, stats.frames_out), (frames as u64, frames as u64), "{stats}");
    assert_eq!(closed_by(&stats, PEER_FINISHED), CLIENTS as u64, "{stats}");
}

#[test]
fn pythons_standard_library_gets_back_what_it_sends() {
    run_script("python3", "client.py");
}

#[test]
fn erlangs_packet_4_gets_back_what_it_sends() {
    run_script("escript", "packet_4.escript");
}

/// Lets a script speak to a server and count its frames; both must have seen the same number.
fn run_script(interpreter: &str, script: &str) {
    let server = Server::start(patient());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
    let mut command = Command::new(interpreter);
    command.arg(path).args([server.addr.ip().to_string(), server.addr.port().to_string()]);
    // A script that fails leaves no dump behind.
    command.env("ERL_CRASH_DUMP_BYTES", "0");
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {interpreter} is not installed");
            return;
        }
        output => output.unwrap(),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let frames = stdout.trim().strip_prefix("ok ").and_then(|count| count.parse().ok());
    let frames: u64 = frames.unwrap_or_else(|| panic!("{script} failed: {output:?}"));
    assert!(output.status.success() && frames > 0, "{output:?}");
    let stats = server.stats_when_empty();
    assert_eq!((stats.frames_in, stats.frames_out), (frames, frames), "{stats}");
    assert_eq!(stats.closed_total(), closed_by(&stats, PEER_FINISHED), "{stats}");
}
