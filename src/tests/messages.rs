//! docs/MESSAGES.md holds every message of the library, so that it can be read from top to bottom.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use crate::address::{Address, explain_listen};
use crate::client::ClientError;
use crate::conn::chunk::CHUNK_LEN;
use crate::id::SourceId;
use crate::reactor::accept::Refusal;
use crate::reactor::finding::Finding;
use crate::reactor::per_ip::PerIp;
use crate::wire::{DecodeError, FrameError, Framing, LengthPrefix, Protocol, announced_len};
use crate::{
    AdoptError, CallError, CloseReason, Config, ConfigBuilder, ConfigError, ConnectionEvent, DeadlineKind, DialError,
    DialRefused, Error, PeerAddr, Readiness, RecordRefused, SendError, StatsError, TimerRefused,
};

/// The messages of an enum, one value or several per variant. A variant without a value does not compile.
macro_rules! messages {
    ($name:ident { $($variant:pat => $values:expr,)* }) => {{
        let covers_all = |value: &$name| match value {
            $($variant => {})*
        };
        let mut rows = Vec::new();
        $(for value in $values {
            covers_all(&value);
            rows.push(value.to_string());
        })*
        (stringify!($name), rows)
    }};
}

/// Writes the section `name` of docs/MESSAGES.md if FRAMELOOP_UPDATE is set, and compares it otherwise.
fn check(name: &str, section: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MESSAGES.md");
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    let current = format!("{before}{begin}{section}{end}{after}");
    if env::var_os("FRAMELOOP_UPDATE").is_some() {
        fs::write(&path, current).unwrap();
    } else {
        assert!(page == current, "docs/MESSAGES.md is out of date: run FRAMELOOP_UPDATE=1 cargo test messages");
    }
}

fn frame_errors() -> Vec<FrameError> {
    let headers = [*b"\0\0\0\x65", *b"GET ", *b"\x16\x03\x01\0", *b"SSH-", *b"\x05\0\0\0"];
    let errors =
        headers.map(|header| announced_len(&header, if header[3] == 0x65 { 100 } else { 16 << 20 }).unwrap_err());
    for protocol in Protocol::ALL {
        assert!(errors.iter().any(|error| error.looks_like == Some(protocol)), "{protocol}");
    }
    errors.to_vec()
}

fn length_error() -> DecodeError {
    let counts_itself = Framing::from(LengthPrefix::u32_be().adjustment(-4));
    counts_itself.decode(&[0, 0, 0, 3], 0, 1_024).unwrap_err()
}

fn config_errors() -> Vec<Error> {
    let zero = Some(Duration::ZERO);
    let builders: Vec<ConfigBuilder> = vec![
        Config::builder().max_connections(0),
        Config::builder().max_per_ip(Some(0)),
        Config::builder().ip_prefix((33, 64)),
        Config::builder().max_payload(1 << 20).memory(1 << 20),
        Config::builder().max_payload(100).memory(0),
        Config::builder().output_high_water(0),
        Config::builder().output_high_water(1_024).output_low_water(1_024),
        Config::builder().frame_budget(0),
        Config::builder().accept_budget(0),
        Config::builder().turn_budget(0),
        Config::builder().backlog(0),
        Config::builder().idle_timeout(zero),
        Config::builder().frame_timeout(zero),
        Config::builder().write_timeout(zero),
        Config::builder().keepalive(Some(Duration::from_millis(1))),
    ];
    builders.into_iter().map(|builder| builder.build().unwrap_err().into()).collect()
}

/// What keeps an address from being listened on.
fn listen_errors() -> Vec<Error> {
    let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
    let cases = [
        (tcp("127.0.0.1:7007"), libc::EADDRINUSE),
        (tcp("192.0.2.1:7007"), libc::EADDRNOTAVAIL),
        (tcp("127.0.0.1:80"), libc::EACCES),
        (tcp("[fe80::1]:7007"), libc::EINVAL),
        (tcp("[fe80::1%9]:7007"), libc::ENODEV),
        (tcp("[::ffff:127.0.0.1]:7007"), libc::EINVAL),
        (tcp("127.0.0.1:7007"), libc::EMFILE),
    ];
    let refused = cases.map(|(addr, errno)| {
        let source = explain_listen(&addr, io::Error::from_raw_os_error(errno));
        Error::Listen { addr, source }
    });
    refused.into()
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

type Messages = (&'static str, Vec<String>);

fn errors() -> Messages {
    let addr: SocketAddr = "127.0.0.1:7007".parse().unwrap();
    messages!(Error {
        Error::Config(_) => config_errors(),
        Error::Listen { .. } => listen_errors(),
        Error::Ending { .. } => [Error::Ending { addr: addr.into() }],
        Error::Poll(_) => [Error::Poll(os(libc::ENOMEM))],
    })
}

fn close_reasons() -> Messages {
    messages!(CloseReason {
        CloseReason::PeerFinished => [CloseReason::PeerFinished],
        CloseReason::TruncatedFrame { .. } => [CloseReason::TruncatedFrame { received: 7 }],
        CloseReason::Reset => [CloseReason::Reset],
        CloseReason::InvalidLength(_) => [CloseReason::from(length_error())],
        CloseReason::FrameTooLong(_) => frame_errors().into_iter().map(CloseReason::FrameTooLong),
        CloseReason::IdleTimeout => [CloseReason::IdleTimeout],
        CloseReason::FrameTimeout => [CloseReason::FrameTimeout],
        CloseReason::WriteTimeout => [CloseReason::WriteTimeout],
        CloseReason::Evicted { .. } => [CloseReason::Evicted { input: 70_000, output: 1_200_000 }],
        CloseReason::Reclaimed => [CloseReason::Reclaimed],
        CloseReason::WriteZero => [CloseReason::WriteZero],
        CloseReason::Io(_) => [CloseReason::Io(io::ErrorKind::TimedOut)],
        CloseReason::ClosedByHandler => [CloseReason::ClosedByHandler],
        CloseReason::AbortedByHandler => [CloseReason::AbortedByHandler],
        CloseReason::Detached => [CloseReason::Detached],
        CloseReason::HandlerPanicked => [CloseReason::HandlerPanicked],
        CloseReason::Drained => [CloseReason::Drained],
        CloseReason::Cut => [CloseReason::Cut],
    })
}

fn client_errors() -> Messages {
    let addr = "127.0.0.1:7007".to_owned();
    let second = Some(Duration::from_secs(1));
    messages!(ClientError {
        ClientError::Resolve(_) => [ClientError::Resolve(io::Error::other("no such name"))],
        ClientError::Connect { .. } => [ClientError::Connect { addr, source: os(libc::ECONNREFUSED) }],
        ClientError::PayloadTooLong(_) => [ClientError::PayloadTooLong(5_000_000_000)],
        ClientError::LengthField(_) => [ClientError::LengthField(Framing::from(LengthPrefix::u8()).enclose(256).unwrap_err())],
        ClientError::Payload(_) => [
            ClientError::Payload(io::ErrorKind::UnexpectedEof.into()),
            ClientError::Payload(os(libc::EIO)),
        ],
        ClientError::SendTimeout(_) => [ClientError::SendTimeout(second), ClientError::SendTimeout(None)],
        ClientError::InsideSentFrame => [ClientError::InsideSentFrame],
        ClientError::ReplyTimeout(_) => [ClientError::ReplyTimeout(second), ClientError::ReplyTimeout(None)],
        ClientError::ReplyTooLong(_) => [ClientError::ReplyTooLong(frame_errors()[0])],
        ClientError::InvalidLength(_) => [ClientError::from(length_error())],
        ClientError::Closed => [ClientError::Closed],
        ClientError::ClosedInsideReply { .. } => [
            ClientError::ClosedInsideReply { received: 9, announced: Some(100) },
            ClientError::ClosedInsideReply { received: 2, announced: None },
        ],
        ClientError::Lost(_) => [ClientError::Lost(os(libc::ECONNRESET))],
    })
}

/// Why a connection is closed as soon as it is accepted.
fn refused_connections() -> Messages {
    let config = Config::builder().max_per_ip(Some(100)).ip_prefix((24, 64)).build().unwrap();
    let peer = PeerAddr::from(SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let mut per_ip = PerIp::new(&config);
    (0..100).for_each(|_| per_ip.note_open(&peer));
    let (prefix, limit) = per_ip.full(&peer).unwrap();
    messages!(Refusal {
        Refusal::ConnectionsMax(_) => [Refusal::ConnectionsMax(10_000)],
        Refusal::Apart(_) => [Refusal::Apart(64)],
        Refusal::PerIp(..) => [Refusal::PerIp(prefix, limit)],
    })
}

/// Why the reactor did not do what it was asked for.
fn refusals() -> [Messages; 8] {
    type HandleError = crate::HandleError<()>;
    let send_errors = messages!(SendError {
        SendError::Full => [SendError::Full],
        SendError::Closed => [SendError::Closed],
        SendError::ReplyUnfinished => [SendError::ReplyUnfinished],
        SendError::TooLong { .. } => [SendError::TooLong { len: 5_000_000_000, max: 4_294_967_295 }],
        SendError::TooShort { .. } => [SendError::TooShort { len: 1, min: 4 }],
        SendError::NoMemory => [SendError::NoMemory],
    });
    let dial_errors = messages!(DialError {
        DialError::Refused => [DialError::Refused],
        DialError::TimedOut { .. } => [DialError::TimedOut { allowed: Duration::from_secs(10) }],
        DialError::NoPort => [DialError::NoPort],
        DialError::SourceNotLocal => [DialError::SourceNotLocal],
        DialError::SourceFamily => [DialError::SourceFamily],
        DialError::NoAddress => [DialError::NoAddress],
        DialError::NoDescriptor => [DialError::NoDescriptor],
        DialError::QueueFull => [DialError::QueueFull],
        DialError::ConnectionsMax { .. } => [DialError::ConnectionsMax { allowed: 1_000 }],
        DialError::Canceled => [DialError::Canceled],
        DialError::Io(_) => [DialError::Io(io::ErrorKind::NetworkUnreachable)],
    });
    let dial_refused = messages!(DialRefused {
        DialRefused::Config(_) => [DialRefused::Config(ConfigError::new("timeout", "0 s", "more than 0 s"))],
        DialRefused::Ending => [DialRefused::Ending],
        DialRefused::TooMany { .. } => [DialRefused::TooMany { allowed: 1_024 }],
    });
    let adopt_errors = messages!(AdoptError {
        AdoptError::Ending => [AdoptError::Ending],
        AdoptError::Unfit { .. } => [AdoptError::Unfit {
            observed: "an IP socket of the type SOCK_DGRAM".into(),
            expected: "a connected TCP or Unix stream socket",
        }],
        AdoptError::UnreadTooLong { .. } => [AdoptError::UnreadTooLong { len: 70_000, max: CHUNK_LEN }],
        AdoptError::ConnectionsMax { .. } => [AdoptError::ConnectionsMax { allowed: 10_000 }],
        AdoptError::PerIpMax { .. } => [AdoptError::PerIpMax { allowed: 100 }],
        AdoptError::HandlerPanicked => [AdoptError::HandlerPanicked],
        AdoptError::Config(_) => [AdoptError::Config(ConfigError::new("backlog", 0, "from 1 to 2147483647"))],
        AdoptError::Io(_) => [AdoptError::Io(os(libc::EPERM))],
    });
    let timer_refused = messages!(TimerRefused {
        TimerRefused::TooMany { .. } => [TimerRefused::TooMany { allowed: 1_024 }],
    });
    let record_refused = messages!(RecordRefused {
        RecordRefused::Closed => [RecordRefused::Closed],
        RecordRefused::TooMany { .. } => [RecordRefused::TooMany { allowed: 16 }],
    });
    let handle_errors = messages!(HandleError {
        HandleError::Full(()) => [HandleError::Full(())],
        HandleError::Finished(()) => [HandleError::Finished(())],
    });
    let stats_errors = messages!(StatsError {
        StatsError::Finished => [StatsError::Finished],
        StatsError::OwnThread => [StatsError::OwnThread],
    });
    [send_errors, dial_errors, dial_refused, adopt_errors, timer_refused, record_refused, handle_errors, stats_errors]
}

/// What happens on a connection, as the log at trace level and recordings have it.
fn connection_events() -> Messages {
    let failed = |errno| CallError::from(&os(errno));
    let (again, interrupted, reset) = (failed(libc::EAGAIN), failed(libc::EINTR), failed(libc::ECONNRESET));
    let read = |outcome, drains| ConnectionEvent::Read { asked: 69_632, outcome, drains };
    let write = |pieces, outcome| ConnectionEvent::Write { len: 100, pieces, outcome };
    let all = Readiness { readable: true, writable: true, read_closed: true, urgent: true, failed: true };
    messages!(ConnectionEvent {
        ConnectionEvent::Ready(_) => [ConnectionEvent::Ready(all)],
        ConnectionEvent::Read { .. } => [
            read(Ok(69_632), true),
            read(Ok(9), true),
            read(Ok(9), false),
            read(Ok(0), true),
            read(Err(again.clone()), true),
            read(Err(interrupted.clone()), true),
            read(Err(reset.clone()), true),
        ],
        ConnectionEvent::Write { .. } => [
            write(None, Ok(100)),
            write(None, Ok(40)),
            write(None, Err(again.clone())),
            write(Some(2), Ok(100)),
        ],
        ConnectionEvent::ShutDown(_) => [
            ConnectionEvent::ShutDown(Ok(())),
            ConnectionEvent::ShutDown(Err(again.clone())),
            ConnectionEvent::ShutDown(Err(failed(libc::ENOTCONN))),
        ],
        ConnectionEvent::Frame { .. } => [ConnectionEvent::Frame { payload_len: 5 }],
        ConnectionEvent::FramePart { .. } => [ConnectionEvent::FramePart { offset: 69_628, len: 4_096 }],
        ConnectionEvent::Callback { .. } => [ConnectionEvent::Callback { name: "on_half_close" }],
        ConnectionEvent::Deadline { .. } => [
            ConnectionEvent::Deadline { kind: DeadlineKind::Frame, timeout: Duration::from_secs(30) },
        ],
        ConnectionEvent::State { .. } => [ConnectionEvent::State {
            before: "Open",
            after: "Open (paused by backpressure)",
            pending_input: 2,
            pending_output: 65_600,
        }],
        ConnectionEvent::Closed(_) => [ConnectionEvent::Closed(CloseReason::PeerFinished)],
    })
}

/// What the log says about a mistake, without the connection.
fn findings() -> Messages {
    let source = Some(SourceId(3));
    messages!(Finding {
        Finding::SlowCallback { .. } => {
            [Finding::SlowCallback { callback: "on_frame", took: Duration::from_micros(5_200) }]
        },
        Finding::StarvedNeighbor { .. } => {
            [Finding::StarvedNeighbor { waited: Duration::from_millis(21), behind: Duration::from_millis(20) }]
        },
        Finding::WakeWithoutProgress => [Finding::WakeWithoutProgress],
        Finding::UnusedWriteInterest { .. } => {
            [Finding::UnusedWriteInterest { source: None }, Finding::UnusedWriteInterest { source }]
        },
        Finding::FrameBudgetSpent { .. } => [Finding::FrameBudgetSpent { frames: 2_048 }],
        Finding::StalledHalfClose { .. } => [Finding::StalledHalfClose { unsent: 1_200_000 }],
    })
}

#[test]
fn messages_of_the_library_are_in_the_document() {
    let texts = ["localhost:7007", "127.0.0.1", "unix:", ""];
    let address_errors = ("AddressError", texts.map(|text| text.parse::<Address>().unwrap_err().to_string()).to_vec());

    let mut section = String::new();
    for (name, rows) in [errors(), address_errors, close_reasons(), refused_connections()]
        .into_iter()
        .chain(refusals())
        .chain([connection_events(), client_errors(), findings()])
    {
        write!(section, "\n### `{name}`\n\n").unwrap();
        for row in rows {
            writeln!(section, "- {row}").unwrap();
        }
    }
    section.push('\n');
    check("library", &section);
}
