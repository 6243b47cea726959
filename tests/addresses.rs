//! Addresses: which ones a reactor and a client take, and what is said about the others.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use frameloop::client::Client;
use frameloop::{Address, Config, Dial, Echo, Error, Reactor};
use support::stepped::{Hooks, PATIENCE, Server, frame};

/// A directory that is gone at the end of its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("frameloop-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn reactor() -> Reactor<Echo> {
    Reactor::new(Config::default(), Echo).unwrap()
}

/// What is said when `addr` cannot be listened on.
#[track_caller]
fn refusal(addr: Address) -> String {
    let error = reactor().listen(&addr).unwrap_err();
    let Error::Listen { source, .. } = &error else { panic!("{error:?}") };
    assert_ne!(source.kind(), ErrorKind::Other, "the kind is the kernel's");
    let text = error.to_string();
    text.strip_prefix(&format!("cannot listen on {addr}: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn socket_in(directory: &Directory, name: &str) -> PathBuf {
    let path = directory.path(name);
    drop(UnixListener::bind(&path).unwrap());
    path
}

#[test]
fn unix_listen_error_names_its_cause() {
    let directory = Directory::new("listen");
    let dir = directory.0.display();
    let (live_path, full_path) = (directory.path("live.sock"), directory.path("full.sock"));
    let _live = UnixListener::bind(&live_path).unwrap();
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix(&full_path).unwrap()).unwrap();
    full.listen(0).unwrap();
    let _queued = UnixStream::connect(&full_path).unwrap();
    let stale = socket_in(&directory, "stale.sock");
    let _datagram = UnixDatagram::bind(directory.path("datagram.sock")).unwrap();
    fs::write(directory.path("file"), "kept").unwrap();
    fs::create_dir(directory.path("directory")).unwrap();
    std::os::unix::fs::symlink(&stale, directory.path("link")).unwrap();
    std::os::unix::fs::symlink(directory.path("nowhere"), directory.path("dangling")).unwrap();

    let cases = [
        (live_path, "another server listens on it: stop that, or use another path".to_owned()),
        (full_path, "another server listens on it".into()),
        (
            stale.clone(),
            format!(
                "nothing listens on it, its server left it behind when it was killed: remove it (rm {dir}/stale.sock)"
            ),
        ),
        (directory.path("datagram.sock"), "a socket of another type is in its place".into()),
        (directory.path("file"), "another file is in its place: remove it, or use another path".into()),
        (
            directory.path("directory"),
            format!("it is a directory: use a path in it, such as {dir}/directory/frameloop.sock"),
        ),
        (directory.path("link"), "a symbolic link is in its place".into()),
        (directory.path("dangling"), "a symbolic link is in its place".into()),
        (
            directory.path("no/such/a.sock"),
            format!("the directory {dir}/no/such does not exist: create it, or correct the path"),
        ),
        (directory.path("file/a.sock"), format!("{dir}/file is no directory: correct the path")),
        ("no-such-directory/a.sock".into(), "the directory no-such-directory does not exist".into()),
        ("".into(), "the path is empty".into()),
        (Path::new("a\0b").into(), "the path has a byte of zero in it".into()),
    ];
    for (path, text) in cases {
        let refused = refusal(Address::Unix(path.clone()));
        assert!(refused.starts_with(&text), "{path:?}: {refused}");
    }
    // What was in the way is left as it was.
    assert_eq!(fs::read_to_string(directory.path("file")).unwrap(), "kept");
    assert!(stale.exists() && directory.path("dangling").is_symlink());
}

#[test]
fn unix_path_of_107_bytes_works_and_108_is_refused() {
    let directory = Directory::new("long");
    let path_of = |len: usize| {
        let begin = directory.path("");
        let missing = len - begin.as_os_str().len();
        begin.join("a".repeat(missing))
    };
    for len in [106, 107] {
        let path = path_of(len);
        assert_eq!(path.as_os_str().len(), len);
        let mut reactor = reactor();
        reactor.listen(&Address::Unix(path.clone())).unwrap();
        Client::connect_unix(&path, Some(PATIENCE)).unwrap();
        reactor.stop();
        assert!(!path.exists());
    }
    for len in [108, 109, 300] {
        let text = format!("the path has {len} bytes and may have 107: use a shorter one, or a relative one");
        assert_eq!(refusal(Address::Unix(path_of(len))), text);
        let error = Client::connect_unix(path_of(len), None).unwrap_err();
        assert!(error.to_string().ends_with(&text), "{error}");
    }
}

#[test]
fn unix_connect_error_names_its_cause() {
    let directory = Directory::new("connect");
    let dir = directory.0.display();
    let stale = socket_in(&directory, "stale.sock");
    let _datagram = UnixDatagram::bind(directory.path("datagram.sock")).unwrap();
    fs::write(directory.path("file"), "").unwrap();
    std::os::unix::fs::symlink(&stale, directory.path("link")).unwrap();
    let cases = [
        (directory.path("a.sock"), "there is no such file: start the server, or correct the path".to_owned()),
        (directory.path("no/a.sock"), format!("the directory {dir}/no does not exist")),
        (directory.path("file/a.sock"), format!("{dir}/file is no directory: correct the path")),
        (stale, "nothing listens on it, its server has ended and left it behind: start the server".into()),
        (directory.path("link"), "nothing listens on it".into()),
        (directory.path("datagram.sock"), "it is a socket of another type, not a stream socket".into()),
        (directory.path("file"), "it is not a socket: correct the path".into()),
        (directory.path(""), "it is a directory and no socket: correct the path".into()),
        ("".into(), "the path is empty".into()),
    ];
    for (path, text) in cases {
        let error = Client::connect_unix(&path, Some(PATIENCE)).unwrap_err().to_string();
        let said = error.strip_prefix(&format!("cannot connect to unix:{}: ", path.display()));
        assert!(said.is_some_and(|said| said.starts_with(&text)), "{path:?}: {error}");
    }
}

#[test]
fn tcp_listen_error_names_its_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr)).unwrap();
    let cases = [
        (taken.1.to_string(), "another socket has the port: stop its server (ss -ltnp shows it), or use another port"),
        ("192.0.2.7:0".into(), "192.0.2.7 is not an address of this machine: use one that is"),
        ("[2001:db8::7]:0".into(), "2001:db8::7 is not an address of this machine: use one that is"),
        ("[::ffff:127.0.0.1]:0".into(), "an IPv4-mapped IPv6 address cannot be listened on: use 127.0.0.1:0"),
        ("[::ffff:0.0.0.0]:7007".into(), "an IPv4-mapped IPv6 address cannot be listened on: use 0.0.0.0:7007"),
        ("[fe80::1]:0".into(), "fe80::1 is a link-local address and needs its interface: use [fe80::1%INTERFACE]:0"),
        ("[fe80::1%4294967295]:0".into(), "there is no interface with this number"),
    ];
    for (addr, text) in cases {
        let addr: SocketAddr = addr.parse().unwrap();
        let refused = refusal(addr.into());
        assert!(refused.contains(text), "{addr}: {refused}");
    }
}

/// An abstract name that no other process has.
#[cfg(target_os = "linux")]
fn abstract_name(name: &str) -> PathBuf {
    format!("@frameloop-{name}-{}", std::process::id()).into()
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_is_served_dialed_and_gone_with_its_listener() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr as UnixAddr;
    let name = abstract_name("echo");
    let addr = Address::Unix(name.clone());
    assert_eq!(addr.to_string(), format!("unix:{}", name.display()));
    let mut server = Server::new(Config::default(), Hooks::default());
    assert_eq!(server.reactor.listen(&addr).unwrap(), addr);
    assert!(!name.exists(), "a file was made");

    // The standard library's client, and one of our own.
    let std_addr = UnixAddr::from_abstract_name(&name.to_str().unwrap()[1..]).unwrap();
    let mut client = UnixStream::connect_addr(&std_addr).unwrap();
    client.write_all(&frame(b"abstract")).unwrap();
    server.turn_until("the frame", |reactor| reactor.stats().frames_out == 1);
    let mut reply = [0; 12];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, *frame(b"abstract"));
    Client::connect_unix(&name, Some(PATIENCE)).unwrap();

    // A reactor that dials itself, by either way of writing the name.
    let nul = PathBuf::from(name.to_str().unwrap().replacen('@', "\0", 1));
    for path in [name.clone(), nul] {
        let dialed = server.reactor.stats().dialed;
        server.reactor.cx().dial(Dial::to(Address::Unix(path))).unwrap();
        server.turn_until("the dial", |reactor| reactor.stats().dialed > dialed);
    }
    assert!(refusal(addr).starts_with("another process listens on it: stop that, or use another name"));
    server.reactor.stop();
    let error = Client::connect_unix(&name, Some(PATIENCE)).unwrap_err().to_string();
    assert!(error.contains("no process listens on it: start the server, or correct the name"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_name_has_1_to_107_bytes() {
    let long = |len: usize| {
        let begin = format!("@{}-", std::process::id());
        PathBuf::from(format!("{begin}{}", "a".repeat(1 + len - begin.len())))
    };
    reactor().listen(&Address::Unix(long(107))).unwrap();
    assert_eq!(
        refusal(Address::Unix(long(108))),
        "the abstract name has 108 bytes and may have 107: use a shorter one"
    );
    assert_eq!(refusal(Address::Unix("@".into())), "the abstract name is empty");

    let directory = Directory::new("at");
    let file = directory.path("@file");
    let mut reactor = reactor();
    reactor.listen(&Address::Unix(file.clone())).unwrap();
    assert!(file.exists());
}
