//! The load generator against servers that people run: Redis, memcached, a name server and an MQTT broker.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::process::{frameloop, outcome};
use support::{PATIENCE, Process, example, holds_within, skip};

/// A server that runs until this is dropped, in a folder of its own.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a program; `None` if it is not installed. `arguments` gets the path of a socket to listen on.
    fn start(program: &str, arguments: impl Fn(&str) -> Vec<String>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(arguments(folder.path().join("socket").to_str().unwrap())).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self { child, folder }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip(&format!("{program} is not installed"));
                None
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The socket's address, once the server accepts.
    fn addr(&self) -> String {
        assert!(holds_within(PATIENCE, || UnixStream::connect(self.socket()).is_ok()), "it does not listen");
        format!("unix:{}", self.socket().display())
    }

    /// Writes a file into its folder, and returns the path.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts 2,000 frames of load on a server. There must be no error.
#[track_caller]
fn load(addr: &str, args: &[&str]) {
    load_of(2_000, addr, args);
}

#[track_caller]
fn load_of(frames: u64, addr: &str, args: &[&str]) {
    let count = frames.to_string();
    let common = ["load", addr, "-c", "10", "-n", &count, "--warmup", "0", "--json"];
    let done = outcome(&mut frameloop(&[&common, args].concat()));
    assert_eq!(done.code, Some(0), "{args:?}: {} {}", done.stdout, done.stderr);
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&result["frames"], &result["errors"]["total"]), (&frames.into(), &0.into()), "{args:?}: {result}");
}

#[test]
fn redis_answers_inline_commands() {
    let arguments = |socket: &str| ["--port", "0", "--save", "", "--unixsocket", socket].map(str::to_owned).to_vec();
    let Some(server) = Server::start("redis-server", arguments) else { return };
    let addr = server.addr();
    let crlf = |args: &[&str]| load(&addr, &[&["--framing", "crlf"], args].concat());
    let pong = server.file("pong", b"+PONG");
    crlf(&["--payload", "PING", "--check", &format!("equals:{pong}")]);
    crlf(&["--payload", "SET k{conn} {rand:16}", "--check", "prefix:2b4f4b"]);
    // A bulk reply is a line with its length, and a line with the value.
    crlf(&["--payload", "GET k{conn}", "--replies", "2", "--check", r"regex:^(\$16|[a-z0-9]{16})$"]);
    crlf(&["--payload", "GET k{conn}", "--replies", "2", "--check", "any", "--depth", "16"]);
    let lines = server.file("lines", b"INCR n\nDECR n\nPING\n");
    crlf(&["--payload-lines", &lines, "--shuffle", "3", "--check", r"regex:^(:-?\d+|\+PONG)$"]);
    let hello = server.file("hello", b"SELECT 1\nCLIENT SETNAME frameloop\n");
    crlf(&["--hello", &hello, "--payload", "EXISTS k{conn}", "--check", "prefix:3a30"]);
}

#[test]
fn memcached_answers_the_text_protocol() {
    let arguments = |socket: &str| ["-u", "nobody", "-s", socket, "-a", "777"].map(str::to_owned).to_vec();
    let Some(server) = Server::start("memcached", arguments) else { return };
    // Its user must reach the folder.
    fs::set_permissions(server.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let addr = server.addr();
    let crlf = |args: &[&str]| load(&addr, &[&["--framing", "crlf"], args].concat());
    let set = server.file("set", b"set k{conn} 0 0 16\r\n{rand:16}");
    crlf(&["--payload-file", &set, "--check", "regex:^STORED$"]);
    crlf(&["--payload", "get k{conn}", "--replies", "3", "--check", r"regex:^(VALUE k\d{8} 0 16|[a-z0-9]{16}|END)$"]);
}

#[test]
fn name_server_answers_over_tcp() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = |_: &str| {
        let options = "--keep-in-foreground --no-resolv --no-hosts --bind-interfaces --pid-file --user=root \
                       --listen-address=127.0.0.1 --address=/example.test/192.0.2.1";
        let mut options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        options.push(format!("--port={port}"));
        options
    };
    let Some(server) = Server::start("dnsmasq", arguments) else { return };
    let addr = format!("127.0.0.1:{port}");
    assert!(holds_within(PATIENCE, || TcpStream::connect(&addr).is_ok()), "it does not listen");
    // An A query for example.test with the id 0x4242 (RFC 1035, section 4); the reply has the same id, and ends with the address.
    let query = "424201000001000000000000076578616d706c6504746573740000010001";
    let reply = r"regex:(?s-u)^BB.*\xc0\x00\x02\x01$";
    // It answers a hundred queries on a connection, and one connection may be so fast that it sends most of them.
    for _ in 0..5 {
        load_of(100, &addr, &["--framing", "u16be", "--payload-hex", query, "--check", reply]);
    }
    drop(server);
}

#[test]
fn mqtt_broker_answers_pings() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("mosquitto.conf");
    let arguments = |socket: &str| {
        fs::write(&config, format!("listener 0 {socket}\nallow_anonymous true\npersistence false\nuser root\n"))
            .unwrap();
        vec!["-c".to_owned(), config.to_str().unwrap().to_owned()]
    };
    let Some(server) = Server::start("mosquitto", arguments) else { return };
    let addr = server.addr();
    // CONNECT (MQTT 3.1.1, section 3.1): the protocol's name and level, a clean session, a keepalive of 60 s, and no client id.
    let connect = server.file("connect", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00");
    let args =
        ["--framing", "varint,offset=1,header", "--hello", &connect, "--payload-hex", "c000", "--check", "prefix:d000"];
    load(&addr, &args);
}

/// The start-up packet has no type, and the reply is an ErrorResponse: a type, a length that counts itself, and fields (PostgreSQL
/// documentation, "Message Formats"). The server closes after it.
#[test]
fn postgres_example_refuses_each_connection_with_its_message() {
    let (mut process, addr) = Process::serve_by(Command::new(example("postgres")).stdin(Stdio::piped()));
    let parameters = b"user\0ada\0database\0shop\0\0";
    let startup = format!("{:08x}{:08x}{}", 8 + parameters.len(), 196_608, hex(parameters));
    let args = [
        "--churn",
        "--framing",
        "u32be,offset=1,adjust=-4",
        "--payload-hex",
        &startup,
        "--check",
        "regex:^SFATAL.*shop",
    ];
    load_of(500, &addr.to_string(), &args);
    process.close_stdin();
    assert_eq!(process.outcome().code, Some(0));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
