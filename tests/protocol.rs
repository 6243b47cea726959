//! What `docs/PROTOCOL.md` says is what the server does: its exchanges, its headers, and its two clients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

/// The very file that the page prints.
#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../docs/clients/client.rs"]
mod client;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use frameloop::wire::encode_header;
use frameloop::{Config, ConfigBuilder};

use crate::support::{PATIENCE, Server, frame, payload};

const PAGE: &str = include_str!("../docs/PROTOCOL.md");
const PYTHON_CLIENT: &str = include_str!("../docs/clients/client.py");
const RUST_CLIENT: &str = include_str!("../docs/clients/client.rs");

#[test]
fn every_exchange_on_the_page_is_what_the_server_does() {
    let exchanges: Vec<_> = blocks("exchange").collect();
    assert!(exchanges.len() > 8, "only {} exchanges were found", exchanges.len());
    for (flags, exchange) in exchanges {
        println!("{flags}\n{exchange}");
        let server = Server::start(config(flags));
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let steps: Vec<Step> = exchange.lines().map(step).collect();
        for step in &steps {
            take(&mut stream, step);
        }
        // Nothing more may come.
        if !matches!(steps.last(), Some(Step::Receive(What::Fin))) {
            take(&mut stream, &Step::Send(What::Fin));
            take(&mut stream, &Step::Receive(What::Fin));
        }
    }
}

#[test]
fn every_header_on_the_page_announces_its_length() {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (len, header) = (cells.next()?, cells.next()?.trim_matches('`'));
        let len = len.split(' ').next()?.replace(',', "").parse::<u32>().ok()?;
        Some((len, header))
    });
    let mut count = 0;
    for (len, header) in rows {
        assert_eq!(bytes_of(header), encode_header(len), "{len}");
        count += 1;
    }
    assert!(count > 4, "only {count} headers were found");
}

#[test]
fn the_page_prints_the_clients_as_they_are() {
    for (language, file) in [("python", PYTHON_CLIENT), ("rust", RUST_CLIENT)] {
        let printed: Vec<_> = blocks(language).map(|(_, block)| block).collect();
        assert_eq!(printed, [file], "the page and the {language} client differ");
    }
}

#[test]
fn the_rust_client_speaks_with_the_server() {
    let server = Server::start(Config::builder());
    converse(&mut client::Client::connect(server.addr).unwrap());
}

#[test]
fn the_rust_client_puts_replies_together_that_come_byte_by_byte() {
    let addr = drip();
    converse(&mut client::Client::connect(addr).unwrap());
}

#[test]
fn the_rust_client_notices_a_reply_that_is_cut_off() {
    for reply in [&[0_u8, 0][..], &[0, 0, 0, 2, b'a']] {
        let mut client = client::Client::connect(answers_once(reply)).unwrap();
        client.send(b"x").unwrap();
        assert!(client.receive().is_err(), "{reply:?} was taken for a frame");
    }
}

#[test]
fn the_rust_client_compiles_by_itself_and_echoes_lines() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let binary = scratch("client-rs");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients/client.rs");
    let Ok(status) = Command::new(&rustc).args(["--edition", "2024", "-o"]).arg(&binary).arg(source).status() else {
        println!("skipped: {} does not run", rustc.display());
        return;
    };
    assert!(status.success());
    let server = Server::start(Config::builder());
    echoes_lines(Command::new(&binary).arg(server.addr.to_string()));
    fs::remove_file(binary).unwrap();
}

#[test]
fn the_python_client_echoes_lines() {
    if !has_python() {
        return;
    }
    let server = Server::start(Config::builder());
    for addr in [server.addr, drip()] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients/client.py");
        echoes_lines(Command::new("python3").arg(script).arg(addr.ip().to_string()).arg(addr.port().to_string()));
    }
}

#[test]
fn the_python_client_notices_a_reply_that_is_cut_off() {
    if !has_python() {
        return;
    }
    for (reply, complaint) in [(&[0_u8, 0][..], "inside a header"), (&[0, 0, 0, 2, b'a'], "inside a payload")] {
        let addr = answers_once(reply);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients/client.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(addr.ip().to_string()).arg(addr.port().to_string());
        let (succeeded, _, stderr) = outcome(&mut command, b"x\n");
        assert!(!succeeded && stderr.contains(complaint), "{stderr}");
    }
}

/// One line of an exchange.
enum Step {
    Send(What),
    Receive(What),
}

enum What {
    Bytes(Vec<u8>),
    Fin,
}

fn step(line: &str) -> Step {
    let (direction, rest) = line.split_at_checked(1).expect("a line of an exchange begins with > or <");
    let rest = rest.split(';').next().unwrap_or_default().trim();
    let what = if rest == "FIN" { What::Fin } else { What::Bytes(bytes_of(rest)) };
    match direction {
        ">" => Step::Send(what),
        "<" => Step::Receive(what),
        _ => panic!("{line:?} does not begin with > or <"),
    }
}

fn take(stream: &mut TcpStream, step: &Step) {
    match step {
        Step::Send(What::Bytes(bytes)) => stream.write_all(bytes).unwrap(),
        Step::Send(What::Fin) => stream.shutdown(Shutdown::Write).unwrap(),
        Step::Receive(What::Bytes(expected)) => {
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(&received, expected);
        }
        Step::Receive(What::Fin) => assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "there is more than FIN"),
    }
}

/// Pairs of hexadecimal digits.
fn bytes_of(text: &str) -> Vec<u8> {
    let byte = |pair| u8::from_str_radix(pair, 16).unwrap_or_else(|error| panic!("{pair:?} in {text:?}: {error}"));
    text.split_whitespace().map(byte).collect()
}

/// The server of an exchange, with the flags that the page gives for it.
fn config(flags: &str) -> ConfigBuilder {
    let config = Config::builder();
    match flags.split(' ').collect::<Vec<_>>()[..] {
        [""] => config,
        ["--max-payload", bytes] => config.max_payload(bytes.parse().unwrap()),
        ["--frame-timeout", duration] => {
            let millis = duration.strip_suffix("ms").unwrap().parse().unwrap();
            config.frame_timeout(Some(Duration::from_millis(millis)))
        }
        _ => panic!("{flags:?} is not among the flags that this test knows"),
    }
}

/// The page's fenced blocks of a kind: what stands behind its name, and the lines.
fn blocks(kind: &str) -> impl Iterator<Item = (&'static str, String)> {
    PAGE.split("\n```").skip(1).step_by(2).filter_map(move |block| {
        let (info, text) = block.split_once('\n')?;
        // The newline before the closing fence went with the fence.
        Some((info.strip_prefix(kind)?.trim(), format!("{text}\n")))
    })
}

/// Speaks frames of many lengths, pipelined and one by one, and ends by half-close.
fn converse(client: &mut client::Client) {
    let payloads: Vec<Vec<u8>> = [0, 1, 3, 4, 5, 255, 256, 1_000].map(|len| payload(len as u64, len)).into();
    for payload in &payloads {
        client.send(payload).unwrap();
    }
    for payload in &payloads {
        assert_eq!(client.receive().unwrap().as_ref(), Some(payload));
    }
    for payload in &payloads {
        client.send(payload).unwrap();
        assert_eq!(client.receive().unwrap().as_ref(), Some(payload));
    }
    client.finish().unwrap();
    assert_eq!(client.receive().unwrap(), None);
}

/// A program that sends each line as a frame gets each line back.
fn echoes_lines(command: &mut Command) {
    let lines = "hello\n\ngrüße, 世界\n".to_owned() + &"x".repeat(5_000) + "\n";
    let (succeeded, stdout, stderr) = outcome(command, lines.as_bytes());
    assert!(succeeded, "{stderr}");
    assert_eq!(stdout, lines);
}

/// Whether a program succeeded with this stdin, and its stdout and stderr.
fn outcome(command: &mut Command, stdin: &[u8]) -> (bool, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn has_python() -> bool {
    let runs = Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !runs {
        println!("skipped: python3 does not run");
    }
    runs
}

/// An echo server that writes its replies a byte at a time.
fn drip() -> SocketAddr {
    serve_one(|mut stream| {
        let mut received = Vec::new();
        let mut buf = [0; 4 << 10];
        loop {
            let len = stream.read(&mut buf).unwrap();
            if len == 0 {
                break;
            }
            received.extend_from_slice(&buf[..len]);
            while let Some(frame_len) = whole_frame_len(&received) {
                for byte in received.drain(..frame_len) {
                    stream.write_all(&[byte]).unwrap();
                }
            }
        }
    })
}

/// Answers the first frame with these bytes, and FIN.
fn answers_once(reply: &[u8]) -> SocketAddr {
    let reply = reply.to_vec();
    serve_one(move |mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(&reply).unwrap();
    })
}

fn serve_one(answer: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answer(stream);
    });
    addr
}

fn whole_frame_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<4>()?;
    let frame_len = 4 + u32::from_be_bytes(*header) as usize;
    (bytes.len() >= frame_len).then_some(frame_len)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// The wire as these tests know it is the wire as the page draws it.
#[test]
fn a_frame_is_its_header_and_its_payload() {
    assert_eq!(frame(b"hello"), bytes_of("00 00 00 05 68 65 6c 6c 6f"));
}
