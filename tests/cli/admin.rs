//! The admin endpoint of `frameloop serve`: where it listens, what it answers, whom it counts, and how it drains.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::{fs, io};

use serde_json::Value;

use crate::support::process::{Outcome, PATIENCE, Process, frameloop, outcome};
use crate::support::{Client, End, announcement, holds_within};

/// A server with an admin endpoint.
pub(crate) struct Endpoint {
    pub(crate) server: Process,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A connection to the endpoint.
pub(crate) struct Http<S = TcpStream>(BufReader<S>);

/// A response of the endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Endpoint {
    pub(crate) fn start(args: &[&str]) -> Self {
        let (server, data) = Process::serve(&[&["--admin", "127.0.0.1:0"], args].concat());
        let line = server.stdout_line();
        let admin = line.strip_prefix("admin on ").unwrap_or_else(|| panic!("no endpoint in {line:?}"));
        Self { server, data, admin: admin.parse().unwrap() }
    }

    pub(crate) fn http(&self) -> Http {
        Http::connect(self.admin)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        let mut http = self.http();
        http.send(get(target).as_bytes());
        http.response()
    }

    #[track_caller]
    pub(crate) fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {response:?}");
        response.json()
    }

    /// The connections of clients, without those of the endpoint.
    #[track_caller]
    pub(crate) fn connections(&self, order: &str) -> Vec<Value> {
        let all = self.json(&format!("/connections?top={order}&n=100"));
        let listed = all["top"].as_array().unwrap().iter();
        listed.filter(|connection| connection["listener"] != "admin").cloned().collect()
    }

    /// The id of a client's connection.
    #[track_caller]
    pub(crate) fn id_of(&self, client: &TcpStream) -> String {
        let peer = client.local_addr().unwrap().to_string();
        let mut id = String::new();
        let is_known = holds_within(PATIENCE, || {
            let connections = self.connections("idle");
            let own = connections.iter().find(|connection| connection["peer"] == peer);
            id = own.map_or_else(String::new, |own| own["id"].as_str().unwrap().to_owned());
            !id.is_empty()
        });
        assert!(is_known, "{peer} is not listed");
        id
    }

    /// A metric without labels, or with the labels that follow its name.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        assert_eq!(self.json("/healthz")["status"], "ok");
        Client::connect(self.data).call(b"hello");
    }
}

/// A request without a body.
pub(crate) fn get(target: &str) -> String {
    request("GET", target)
}

pub(crate) fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

impl Http {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn finish(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Http<S> {
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next response, with its body.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let len = response.field("Content-Length").unwrap_or_else(|| panic!("no length: {response:?}"));
        let mut body = vec![0; len.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        response.body = String::from_utf8(body).unwrap();
        response
    }

    /// The next response, whose body does not come, or does not end.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Response {
        self.try_head().unwrap().expect("a response")
    }

    /// The same; nothing if the connection ends instead.
    #[track_caller]
    pub(crate) fn try_head(&mut self) -> io::Result<Option<Response>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                assert_eq!(head, "", "the connection ends within a head");
                return Ok(None);
            }
        }
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Ok(Some(Response { status: status.unwrap_or_else(|| panic!("{head:?}")), head, body: String::new() }))
    }

    /// What comes until the connection ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }

    /// The data of the next event of a stream that has this name.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let (mut line, wanted) = (String::new(), format!("event: {name}\n"));
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ends before {wanted:?}");
            if line == wanted {
                line.clear();
                self.0.read_line(&mut line).unwrap();
                return serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    }
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.field("Content-Type"), Some("application/json"), "{self:?}");
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

/// The members of an object have these names, and no others.
#[track_caller]
fn assert_members(object: &Value, names: &str) {
    let members: HashSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, names.split(' ').collect(), "{object}");
}

const CONNECTION: &str = "id peer local listener dialed state paused_by pending_input pending_output buffered_bytes \
    output_high_water output_low_water max_payload idle age frames_in bytes_in bytes_out framing deadlines closed events";
const SAMPLE: &str = "at connections states accepted closed frames_in frames_out bytes_in bytes_out buffered_bytes turns \
    turn_p50 turn_p99 turn_max lag closed_by lints latency";

#[test]
fn endpoint_on_a_path_is_private_and_removed_at_exit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let address = format!("unix:{}", path.display());
    let (server, _) = Process::serve(&["--admin", &address]);
    assert_eq!(server.stdout_line(), format!("admin on {address}"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut http = Http(BufReader::new(stream));
    // Permissions decide, so any host may be named.
    http.send(b"GET /readyz HTTP/1.1\r\nHost: any.example\r\n\r\n");
    assert_eq!(http.response().json()["status"], "ready");
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
    assert!(!path.exists());
}

/// A name of this machine that leads to an address which others can reach.
fn public_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    let mut addresses = (name.as_str(), 0).to_socket_addrs().ok()?;
    addresses.any(|address| !address.ip().is_loopback()).then_some(name)
}

#[test]
fn public_address_without_permission_is_a_usage_error() {
    let abstract_name = format!("unix:@frameloop-admin-{}", std::process::id());
    let mut addresses = vec!["0.0.0.0:0".to_owned(), "[::]:0".to_owned(), "192.0.2.7:9100".to_owned(), abstract_name];
    match public_name() {
        Some(name) => addresses.push(format!("{name}:0")),
        None => println!("skipped in part: no name of this machine leads to a public address"),
    }
    for address in addresses {
        let Outcome { code, stdout, stderr } = outcome(&mut frameloop(&["serve", "--admin", &address]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{address}: {stderr}");
        // One line, and how to get help.
        assert_eq!(stderr.lines().nth(1), Some(""), "{stderr}");
        assert!(stderr.starts_with(&format!("error: --admin is {address} and must be ")), "{stderr}");
        assert!(stderr.contains("--admin-public"), "{stderr}");
    }
    let alone = outcome(&mut frameloop(&["serve", "--admin-public"]));
    assert!(alone.code == Some(2) && alone.stderr.contains("--admin <ADDR>"), "{alone:?}");
}

#[test]
fn public_address_with_permission_is_a_warning() {
    let args = ["serve", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0", "--admin-public"];
    let server = Process::start(&mut frameloop(&args));
    let line = server.stderr_line_with("WARN");
    assert!(line.contains("the admin endpoint has no passwords") && line.contains("0.0.0.0:0"), "{line}");
    server.listening_on();
    let line = server.stdout_line();
    let port: u16 = line.strip_prefix("admin on 0.0.0.0:").unwrap().parse().unwrap();
    let mut http = Http::connect(([127, 0, 0, 1], port).into());
    http.send(get("/readyz").as_bytes());
    assert_eq!(http.response().status, 200);
}

#[test]
fn address_in_use_is_a_failure_without_announcement() {
    let endpoint = Endpoint::start(&[]);
    let address = endpoint.admin.to_string();
    let second = outcome(&mut frameloop(&["serve", "--listen", "127.0.0.1:0", "--admin", &address]));
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""), "{second:?}");
    assert!(second.stderr.contains(&format!("error: cannot listen on {address}: ")), "{second:?}");
}

#[test]
fn each_route_has_its_status_and_type() {
    let endpoint = Endpoint::start(&[]);
    for (target, status, content_type) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/?any", 200, "text/html; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", 200, "application/json"),
        ("/readyz", 200, "application/json"),
        ("/v1/info", 200, "application/json"),
        ("/v1/samples", 200, "application/json"),
        ("/connections", 200, "application/json"),
        ("/connections?top=bytes", 200, "application/json"),
        ("/connections?top=age&n=1", 200, "application/json"),
        ("/connections?top=idle&n=100", 200, "application/json"),
        ("/connections?top=bytes&n=0", 400, "application/json"),
        ("/connections?top=bytes&n=101", 400, "application/json"),
        ("/connections?top=bytes&n=x", 400, "application/json"),
        ("/connections?top=bytes&n=-1", 400, "application/json"),
        ("/connections?top=bytes&n=99999999999999999999", 400, "application/json"),
        ("/connections?top=", 400, "application/json"),
        ("/connections?top=name", 400, "application/json"),
        ("/connections/", 404, "application/json"),
        ("/connections/x", 400, "application/json"),
        ("/connections/9.4000000", 404, "application/json"),
        ("/events?connection=x", 400, "application/json"),
        // There is no load.
        ("/v1/status", 404, "application/json"),
        ("/v1", 404, "application/json"),
        ("/metrics/", 404, "application/json"),
        ("/..//etc/passwd", 404, "application/json"),
        ("/favicon.ico", 404, "application/json"),
    ] {
        let response = endpoint.get(target);
        assert_eq!((response.status, response.field("Content-Type")), (status, Some(content_type)), "{target}");
        assert_eq!(response.field("Cache-Control"), Some("no-store"), "{target}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"), "{target}");
        if status != 200 {
            let error = response.error();
            assert!(!error.is_empty() && !error.contains('\n'), "{target}: {error}");
        }
    }
    for (target, names) in [
        ("/connections?n=101", "n is \"101\" and must be from 1 to 100"),
        ("/connections?top=name", "top is \"name\" and must be bytes, age or idle"),
    ] {
        assert_eq!(endpoint.get(target).error(), names);
    }
}

#[test]
fn response_to_head_is_that_to_get_without_its_body() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    for target in ["/", "/metrics", "/healthz", "/readyz", "/v1/info", "/connections", "/nothing", "/connections/x"] {
        http.send(request("HEAD", target).as_bytes());
        let head = http.head();
        http.send(get(target).as_bytes());
        // It begins where the body would have been.
        let full = http.response();
        assert_eq!((head.status, head.field("Content-Type")), (full.status, full.field("Content-Type")), "{target}");
        let len: usize = head.field("Content-Length").unwrap().parse().unwrap();
        let tolerance = if ["/", "/readyz", "/nothing", "/connections/x"].contains(&target) { 0 } else { 500 };
        assert!(len.abs_diff(full.body.len()) <= tolerance, "{target}: {len}, {}", full.body.len());
    }
    http.send(request("HEAD", "/events").as_bytes());
    let head = http.head();
    assert_eq!((head.status, head.field("Content-Type")), (200, Some("text/event-stream")));
    assert_eq!(http.rest(), "");
}

#[test]
fn documents_have_the_documented_members() {
    let endpoint = Endpoint::start(&["--max-connections", "7", "--idle-timeout", "2m"]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    let health = endpoint.json("/healthz");
    assert_members(&health, "status last_turn_age accepting lag");
    assert_eq!((&health["status"], &health["accepting"]), (&"ok".into(), &"yes".into()));

    let info = endpoint.json("/v1/info");
    assert_members(&info, "mode version pid uptime state listeners limits");
    assert_eq!((&info["mode"], &info["state"]), (&"serve".into(), &"running".into()));
    assert_eq!(info["pid"], endpoint.server.id());
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let listeners: Vec<(&str, &str)> = (info["listeners"].as_array().unwrap().iter())
        .map(|listener| (listener["name"].as_str().unwrap(), listener["address"].as_str().unwrap()))
        .collect();
    let expected = HashSet::from([("", endpoint.data.to_string()), ("admin", endpoint.admin.to_string())]);
    assert_eq!(
        listeners.into_iter().map(|(name, address)| (name, address.to_owned())).collect::<HashSet<_>>(),
        expected
    );
    let limits = &info["limits"];
    assert_members(
        limits,
        "max_connections memory output_high_water output_low_water idle_timeout frame_timeout write_timeout turn_budget",
    );
    assert_eq!((&limits["max_connections"], &limits["idle_timeout"]), (&7.into(), &120.0.into()));

    let mut stream = endpoint.http();
    stream.send(get("/events").as_bytes());
    assert_eq!(stream.head().field("Connection"), Some("close"));
    assert_eq!(stream.event("info")["pid"], endpoint.server.id());
    assert_members(&stream.event("samples"), "interval samples");
    assert_members(&stream.event("sample"), SAMPLE);
    // Connections are counted for a stream from its first sample on.
    let second = stream.event("sample");
    assert_eq!(second["states"]["open"], 1, "{second}");
    assert!(second["connections"] == 1 && second["turns"].as_f64().unwrap() > 0.0, "{second}");
    let samples = endpoint.json("/v1/samples");
    assert!(samples["samples"].as_array().unwrap().len() >= 2, "{samples}");

    let connections = endpoint.json("/connections");
    assert_members(&connections, "total states paused top");
    assert_members(&connections["states"], "dialing open half_closed finished closing");
    assert_members(&connections["paused"], "handler backpressure");
    assert!(connections["top"].is_null() && connections["total"] == 1, "{connections}");
    // The one that asks is paused until it is answered, which is not counted.
    assert_eq!((&connections["paused"]["handler"], &connections["paused"]["backpressure"]), (&0.into(), &0.into()));
}

#[test]
fn connection_has_its_events_until_after_its_end() {
    let endpoint = Endpoint::start(&[]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    let target = format!("/connections/{}", endpoint.id_of(&client.stream));
    let first = endpoint.json(&target);
    assert_members(&first, CONNECTION);
    assert_eq!(first["peer"], client.stream.local_addr().unwrap().to_string());
    assert_eq!((&first["state"], &first["listener"], &first["framing"]), (&"Open".into(), &"".into(), &"u32be".into()));
    assert_eq!((&first["frames_in"], &first["bytes_in"], &first["bytes_out"]), (&1.into(), &9.into(), &9.into()));

    client.send_bytes(&announcement(7)[..2]);
    let mut seen = Value::Null;
    assert!(holds_within(PATIENCE, || {
        seen = endpoint.json(&target);
        seen["pending_input"] == 2
    }));
    let deadline = &seen["deadlines"][0];
    assert_eq!((&deadline["kind"], &deadline["of"]), (&"frame".into(), &30.0.into()), "{seen}");
    let events = seen["events"].as_array().unwrap();
    assert_members(&events[0], "seq at kind text state pending_input pending_output");
    let read = events.iter().find(|event| event["kind"] == "read").unwrap();
    assert!(read["text"].as_str().unwrap().contains(" = 2: short read"), "{seen}");

    client.reset();
    assert!(holds_within(PATIENCE, || {
        seen = endpoint.json(&target);
        seen["state"] == "Closed"
    }));
    assert_eq!((&seen["closed"], &seen["pending_input"]), (&"reset".into(), &0.into()), "{seen}");
    assert_eq!(seen["events"].as_array().unwrap().last().unwrap()["kind"], "close", "{seen}");
}

#[test]
fn id_of_a_connection_that_has_closed_is_not_found() {
    let endpoint = Endpoint::start(&[]);
    let client = Client::connect(endpoint.data);
    let id = endpoint.id_of(&client.stream);
    drop(client);
    assert!(holds_within(PATIENCE, || endpoint.connections("idle").is_empty()));
    // A later connection in the same place has another id.
    let other = Client::connect(endpoint.data);
    assert_ne!(endpoint.id_of(&other.stream), id);
    let response = endpoint.get(&format!("/connections/{id}"));
    assert_eq!((response.status, response.error()), (404, format!("there is no connection {id}")));
    let mut stream = endpoint.http();
    stream.send(get(&format!("/events?connection={id}")).as_bytes());
    assert_eq!(stream.event("gone")["id"], id);
}

#[test]
fn recordings_beyond_the_limit_replace_the_oldest() {
    let endpoint = Endpoint::start(&[]);
    let clients: Vec<Client> = (0..20).map(|_| Client::connect(endpoint.data)).collect();
    let ids: Vec<String> = clients.iter().map(|client| endpoint.id_of(&client.stream)).collect();
    for id in &ids {
        assert_members(&endpoint.json(&format!("/connections/{id}")), CONNECTION);
    }
    // Those that are streamed are not replaced.
    let stream_of = |id: &String| {
        let mut stream = endpoint.http();
        stream.send(get(&format!("/events?connection={id}")).as_bytes());
        stream
    };
    let mut streams: Vec<Http> = ids[..16].iter().map(stream_of).collect();
    for (stream, id) in streams.iter_mut().zip(&ids) {
        assert_eq!(&stream.event("connection")["id"], id);
    }
    let response = endpoint.get(&format!("/connections/{}", ids[16]));
    assert_eq!(response.status, 503, "{response:?}");
    let gone = stream_of(&ids[16]).event("gone");
    assert_eq!((&gone["id"], gone["error"].as_str()), (&ids[16].as_str().into(), Some(&*response.error())));
    endpoint.assert_serves();
}

#[test]
fn connections_are_listed_in_the_order_asked_for() {
    let endpoint = Endpoint::start(&["--frame-timeout", "0"]);
    let clients: Vec<Client> = (0..25_u32)
        .map(|index| {
            let mut client = Client::connect(endpoint.data);
            client.send_bytes(&announcement(1_000_000));
            client.send_bytes(&vec![7; (1_000 * index) as usize]);
            client
        })
        .collect();
    let received = |connection: &Value| connection["bytes_in"].as_u64().unwrap();
    let sum: u64 = (0..25).map(|index| 4 + 1_000 * index).sum();
    assert!(holds_within(PATIENCE, || endpoint.connections("idle").iter().map(received).sum::<u64>() == sum));

    let by_bytes = endpoint.connections("bytes");
    let peer_of = |client: &Client| client.stream.local_addr().unwrap().to_string();
    assert_eq!(by_bytes.len(), 25);
    assert_eq!(by_bytes[0]["peer"], peer_of(&clients[24]), "{}", by_bytes[0]);
    assert_members(&by_bytes[0], CONNECTION);
    assert!(by_bytes[0]["events"].is_null(), "{}", by_bytes[0]);
    let by_age = endpoint.connections("age");
    assert_eq!(
        (&by_age[0]["peer"], &by_age[24]["peer"]),
        (&peer_of(&clients[0]).into(), &peer_of(&clients[24]).into())
    );
    for member in ["idle", "age"] {
        let listed = endpoint.connections(member);
        let values: Vec<f64> = listed.iter().map(|connection| connection[member].as_f64().unwrap()).collect();
        assert!(values.is_sorted_by(|one, other| one >= other), "{member}: {values:?}");
    }
    for (query, len) in [("n=1", 1), ("n=24", 24), ("", 20), ("n=100", 25)] {
        let listed = endpoint.json(&format!("/connections?top=bytes&{query}"));
        assert_eq!(listed["top"].as_array().unwrap().len(), len, "{query}");
        // The one that asks is not counted.
        assert_eq!((&listed["total"], &listed["states"]["open"]), (&25.into(), &25.into()), "{query}");
    }
}

#[test]
fn metrics_come_in_the_format_that_is_accepted() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, content_type, is_open) in [
        (prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8", true),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", false),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
    ] {
        http.send(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n").as_bytes());
        let response = http.response();
        assert_eq!((response.status, response.field("Content-Type")), (200, Some(content_type)), "{accept}");
        assert_eq!(response.body.ends_with("\n# EOF\n"), is_open, "{accept}");
        let values: Vec<(&str, &str)> = (response.body.lines())
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap())
            .collect();
        assert!(values.len() > 50, "{}", response.body);
        for (name, value) in values {
            assert!(name.starts_with("frameloop_") || name.starts_with("process_"), "{name}");
            assert!(value.parse::<f64>().is_ok(), "{name} is {value}");
        }
    }
    assert_eq!(endpoint.metric("frameloop_connections"), 0.0);
    assert_eq!(endpoint.metric("frameloop_admin_connections"), 2.0);
}

#[test]
fn endpoint_has_places_of_its_own() {
    let endpoint = Endpoint::start(&["--max-connections", "2", "--max-per-ip", "1"]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    let mut other = Client::connect_from([127, 0, 0, 2], endpoint.data);
    other.call(b"hello");
    for refused in [Client::connect(endpoint.data), Client::connect_from([127, 0, 0, 3], endpoint.data)] {
        let mut refused = refused;
        assert!(refused.end() != End::Truncated(0));
    }
    let mut polls: Vec<Http> = (0..64).map(|_| endpoint.http()).collect();
    for poll in &mut polls {
        poll.send(get("/readyz").as_bytes());
        assert_eq!(poll.response().status, 200);
    }
    drop(client);
    assert!(holds_within(PATIENCE, || {
        let mut next = Client::connect(endpoint.data);
        next.send(b"hello");
        next.receive().is_ok_and(|reply| reply == b"hello")
    }));
}

#[test]
fn connections_beyond_64_are_closed_and_data_is_served() {
    let endpoint = Endpoint::start(&[]);
    let mut client = Client::connect(endpoint.data);
    let mut all: Vec<Http> = (0..1_000).map(|_| endpoint.http()).collect();
    client.call(b"hello");
    let served = all.iter_mut().filter_map(|http| {
        let _ = http.0.get_mut().write_all(get("/readyz").as_bytes());
        http.try_head().ok().flatten()
    });
    assert_eq!(served.filter(|response| response.status == 200).count(), 64);
    client.call(b"hello");
    drop(all);
    assert!(holds_within(PATIENCE, || {
        let mut http = endpoint.http();
        let _ = http.0.get_mut().write_all(get("/readyz").as_bytes());
        http.try_head().is_ok_and(|response| response.is_some_and(|response| response.status == 200))
    }));
    endpoint.assert_serves();
}

#[test]
fn data_port_does_not_speak_http() {
    let endpoint = Endpoint::start(&[]);
    let mut client = TcpStream::connect(endpoint.data).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(get("/healthz").as_bytes()).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"");
    assert!(endpoint.server.stderr_line_with("closed: ").contains("looks like HTTP"));
    endpoint.assert_serves();
}

#[test]
fn readiness_ends_with_the_signal_and_accepting_after_the_delay() {
    let endpoint = Endpoint::start(&["--drain-delay", "5s"]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    endpoint.server.signal("TERM");
    let mut response = endpoint.get("/readyz");
    assert!(holds_within(PATIENCE, || {
        response = endpoint.get("/readyz");
        response.status == 503
    }));
    assert_eq!(response.json()["status"], "draining");
    assert_eq!(endpoint.json("/healthz")["accepting"], "yes");
    assert_eq!(endpoint.json("/v1/info")["state"], "draining");
    assert_eq!(endpoint.metric("frameloop_draining"), 1.0);
    Client::connect(endpoint.data).call(b"hello");
    client.call(b"hello");
    let (_, cut, unsent) = endpoint.server.outcome().drain_report();
    assert_eq!((cut, unsent, client.end()), (0, 0, End::InOrder));
}

#[test]
fn second_signal_ends_the_delay_of_a_drain() {
    let endpoint = Endpoint::start(&["--drain-delay", "1h"]);
    endpoint.server.signal("TERM");
    endpoint.server.stderr_line_with("the drain begins in 3600s");
    assert!(holds_within(PATIENCE, || endpoint.get("/readyz").status == 503));
    let mut is_over = false;
    let Endpoint { mut server, .. } = endpoint;
    assert!(holds_within(PATIENCE, || {
        // Within 100 ms of the first it would not count.
        server.signal("TERM");
        is_over = !server.is_running();
        is_over
    }));
}

#[test]
fn stream_does_not_delay_a_drain() {
    let endpoint = Endpoint::start(&["--drain-timeout", "1h"]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    let id = endpoint.id_of(&client.stream);
    let mut streams = ["/events".to_owned(), format!("/events?connection={id}")].map(|target| {
        let mut stream = endpoint.http();
        stream.send(get(&target).as_bytes());
        stream.event("samples");
        stream
    });
    endpoint.server.signal("TERM");
    let (_, cut, unsent) = endpoint.server.outcome().drain_report();
    assert_eq!((cut, unsent), (0, 0));
    streams.iter_mut().for_each(|stream| drop(stream.rest()));
}

#[test]
fn stream_without_a_reader_is_closed_and_takes_little() {
    let endpoint = Endpoint::start(&["--write-timeout", "500ms"]);
    let mut client = Client::connect(endpoint.data);
    client.call(b"hello");
    let id = endpoint.id_of(&client.stream);
    let mut stalled = Client::connect_narrow(endpoint.admin);
    stalled.send_bytes(get(&format!("/events?connection={id}")).as_bytes());
    let closed = "frameloop_connections_closed_total{reason=\"write timeout\"}";
    assert!(holds_within(PATIENCE, || {
        for _ in 0..100 {
            client.call(b"hello");
        }
        let buffered = endpoint.metric("frameloop_buffered_bytes");
        assert!(buffered < 512_000.0, "{buffered} bytes are buffered");
        endpoint.metric(closed) == 1.0
    }));
    client.call(b"hello");
}
