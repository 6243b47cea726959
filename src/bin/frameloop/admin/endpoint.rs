//! The endpoint's side of the callbacks: from the bytes of its clients to requests that wait for an answer.
//!
//! Nothing is answered in a callback, because the answers are about the whole reactor. They are given between two turns, by
//! [`service`](crate::admin::service).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use frameloop::wire::{Delimiter, Framing};
use frameloop::{
    CloseKind, CloseReason, ConnId, Connection, ConnectionInfo, Drain, Frame, Handler, ListenerId, Reactor, Stats,
};

use crate::admin::access::Access;
use crate::admin::holders::Census;
use crate::admin::http::{Method, Refusal, Request, Response};
use crate::admin::run::Run;
use crate::admin::samples::Sampler;
use crate::admin::views::{Listener, ReactorLimits, States};

/// The most clients at a time.
pub(crate) const CLIENTS_MAX: usize = 64;

/// From one probe of the loop to the next.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The endpoint.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(super) listener: ListenerId,
    pub(super) access: Access,
    pub(super) clients: HashMap<ConnId, Client>,
    /// Those whose requests are complete, in order.
    pub(super) waiting: VecDeque<ConnId>,
    pub(super) censuses: VecDeque<(Purpose, Census)>,
    pub(super) sampler: Sampler,
    /// Of the last census for samples.
    pub(super) states: Option<States>,
    pub(super) details: HashMap<ConnId, Detail>,
    pub(super) observed: Observed,
    pub(super) listeners: Vec<Listener>,
    /// In seconds since 1970.
    pub(super) began: f64,
    pub(super) is_draining: bool,
    /// Whether the listeners are open.
    pub(super) is_accepting: bool,
    /// When the next probe is due, and whether the last one has fired.
    pub(super) probe_due: Instant,
    pub(super) has_probed: bool,
    /// When the turn of the last probe began.
    pub(super) turn_began: Option<Instant>,
}

/// What the endpoint is about.
#[derive(Debug)]
pub(crate) enum Observed {
    Server { limits: ReactorLimits },
    Run(Box<Run>),
}

impl Observed {
    /// How long a client of the server may not read, if that is limited.
    pub(super) fn write_timeout(&self) -> Option<Duration> {
        match self {
            Self::Server { limits } => limits.write_timeout.map(Duration::from_secs_f64),
            Self::Run(_) => None,
        }
    }
}

/// Why the connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client(ConnId),
    Sample,
}

/// A connection that a client looks at.
#[derive(Debug)]
pub(crate) struct Detail {
    pub(super) viewed: Instant,
    pub(super) last: ConnectionInfo,
}

/// A client of the endpoint.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) stage: Stage,
    /// When its stage began, or the first byte of its next head was seen.
    pub(super) since: Instant,
    /// A part of a head has come.
    pub(super) has_begun: bool,
    /// A request was answered, so that more may follow.
    pub(super) was_answered: bool,
    /// The lines of the next head that have come.
    pub(super) head: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// No request has come, or not the whole of one.
    Idle,
    /// The body of the request is missing.
    Body(Request),
    /// The request waits for its answer.
    Waiting(Request, Vec<u8>),
    /// The connections are counted for it.
    Counting(Request),
    Streaming(Stream),
    Closing,
}

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The connection that is shown, and the last of its events that was sent.
    pub(super) watched: Option<(ConnId, u64)>,
    pub(super) sent: Instant,
    pub(super) is_gone: bool,
}

/// The framing of the first byte of a head: what cannot begin a request is refused at once. Replies are written as they are.
pub(crate) const FIRST_BYTE: Framing = Framing::Exact(1);

/// The framing of the rest of a head.
fn head_lines() -> Framing {
    // The delimiter is valid.
    Delimiter::new(b"\n").map_or(Framing::Raw, |end| end.keep(true).into())
}

impl Admin {
    pub(crate) fn new(listener: ListenerId, access: Access, observed: Observed, now: Instant, stats: Stats) -> Self {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self {
            listener,
            access,
            clients: HashMap::new(),
            waiting: VecDeque::new(),
            censuses: VecDeque::new(),
            sampler: Sampler::new(now, stats),
            states: None,
            details: HashMap::new(),
            observed,
            listeners: Vec::new(),
            began,
            is_draining: false,
            is_accepting: true,
            probe_due: now + PROBE_INTERVAL,
            has_probed: false,
            turn_began: None,
        }
    }

    pub(crate) fn add_listener(&mut self, id: ListenerId, name: &'static str, address: String) {
        // Its own is the last.
        let at = self.listeners.iter().position(|listener| listener.id == self.listener);
        self.listeners.insert(at.unwrap_or(self.listeners.len()), Listener { id, name, address });
    }

    /// A drain begins: the process is not ready for more clients.
    pub(crate) fn begin_drain(&mut self) {
        self.is_draining = true;
    }

    /// The counters of the reactor, with the open connections that are not the endpoint's own.
    pub(super) fn stats(&self, reactor: &Reactor<impl Handler>) -> Stats {
        let mut stats = reactor.stats();
        stats.connections = stats.connections.saturating_sub(self.clients.len() as u64);
        stats
    }

    pub(crate) fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.observed {
            Observed::Run(run) => Some(run),
            Observed::Server { .. } => None,
        }
    }

    /// Whether [`service`](crate::admin::service) has something to do.
    pub(crate) fn needs_service(&self) -> bool {
        self.has_probed || !self.waiting.is_empty() || !self.censuses.is_empty() || !self.details.is_empty()
    }

    /// Whether it has something to do before the next event.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.waiting.is_empty() || !self.censuses.is_empty()
    }

    /// Whether connections of this listener are the endpoint's.
    pub(crate) fn serves(&self, listener: Option<ListenerId>) -> bool {
        listener == Some(self.listener)
    }

    pub(crate) fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.clients.insert(conn.id(), Client::new(Stage::Idle, conn.now()));
    }

    pub(crate) fn on_close(&mut self, id: ConnId) {
        self.clients.remove(&id);
    }

    pub(crate) fn on_frame(&mut self, conn: &mut Connection<'_>, frame: &Frame<'_>) {
        let Some(client) = self.clients.get_mut(&conn.id()) else { return };
        match std::mem::replace(&mut client.stage, Stage::Closing) {
            Stage::Idle => match client.read_head(conn, frame.payload()) {
                Ok(None) => client.stage = Stage::Idle,
                Ok(Some(request)) => self.take(conn, request),
                Err(refusal) => refuse(conn, &refusal, client.asks_for_head()),
            },
            Stage::Body(request) => self.wait(conn, request, frame.payload().to_vec()),
            Stage::Streaming(stream) => {
                client.stage = Stage::Streaming(stream);
                // Its client has nothing more to say. It is discarded in pieces as large as possible.
                set_framing(conn, Framing::Raw);
            }
            stage @ (Stage::Waiting(..) | Stage::Counting(_) | Stage::Closing) => client.stage = stage,
        }
    }

    /// Takes a request whose head is complete.
    fn take(&mut self, conn: &mut Connection<'_>, mut request: Request) {
        if let Err(refusal) = self.access.check(&request) {
            return refuse(conn, &refusal, request.method == Method::Head);
        }
        match (request.method, request.body_len) {
            (_, 0) => self.wait(conn, request, Vec::new()),
            (Method::Patch, len) => {
                if request.expects_continue {
                    let _ = conn.reply(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                if conn.set_framing(Framing::Exact(len)).is_ok() {
                    self.enter(conn.id(), Stage::Body(request), conn.now());
                }
            }
            // The body is not read, so no other request can follow.
            _ => {
                request.keeps_alive = false;
                self.wait(conn, request, Vec::new());
            }
        }
    }

    /// Lets a request wait for its answer, and the requests behind it for theirs.
    fn wait(&mut self, conn: &mut Connection<'_>, request: Request, body: Vec<u8>) {
        set_framing(conn, FIRST_BYTE);
        conn.pause();
        self.enter(conn.id(), Stage::Waiting(request, body), conn.now());
        self.waiting.push_back(conn.id());
    }

    pub(super) fn enter(&mut self, id: ConnId, stage: Stage, now: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            *client = Client { was_answered: true, ..Client::new(stage, now) };
        }
    }

    pub(crate) fn on_frame_rejected(&mut self, conn: &mut Connection<'_>, reason: &CloseReason) {
        let Some(client) = self.clients.get_mut(&conn.id()) else { return };
        let stage = std::mem::replace(&mut client.stage, Stage::Closing);
        if matches!(stage, Stage::Idle) && reason.kind() == CloseKind::FrameTooLong {
            let response = Response::error(&Refusal::head_too_large());
            let _ = conn.reply(&response.bytes(client.asks_for_head(), false));
        }
    }

    pub(crate) fn on_half_close(&mut self, conn: &mut Connection<'_>) {
        match self.clients.get_mut(&conn.id()).map(|client| &mut client.stage) {
            // The answer is still to come; a stream shows whether there is a client when it is written to.
            Some(Stage::Waiting(request, _) | Stage::Counting(request)) => request.keeps_alive = false,
            Some(Stage::Streaming(_)) => {}
            Some(Stage::Idle | Stage::Body(_) | Stage::Closing) | None => conn.close(),
        }
    }

    pub(crate) fn on_drain(&mut self, conn: &Connection<'_>) -> Drain {
        self.is_accepting = false;
        match self.clients.get_mut(&conn.id()).map(|client| &mut client.stage) {
            Some(Stage::Waiting(request, _) | Stage::Counting(request)) => {
                request.keeps_alive = false;
                Drain::WhenClosed
            }
            Some(Stage::Idle | Stage::Body(_) | Stage::Streaming(_) | Stage::Closing) | None => Drain::AtRest,
        }
    }

    /// A probe has fired. Returns when the next is due.
    pub(crate) fn on_probe(&mut self, now: Instant) -> Instant {
        self.sampler.note_lag(now.saturating_duration_since(self.probe_due));
        self.has_probed = true;
        self.turn_began = Some(now);
        self.probe_due = now + PROBE_INTERVAL;
        self.probe_due
    }
}

impl Client {
    pub(super) fn new(stage: Stage, since: Instant) -> Self {
        Self { stage, since, has_begun: false, was_answered: false, head: Vec::new() }
    }

    /// Takes the first byte of a head, or the next line of it. Returns the request once its head is complete.
    fn read_head(&mut self, conn: &mut Connection<'_>, part: &[u8]) -> Result<Option<Request>, Refusal> {
        if self.head.is_empty() {
            set_framing(conn, head_lines());
        }
        self.head.extend_from_slice(part);
        if matches!(self.head[..], [b'\n'] | [b'\r', b'\n']) {
            // An empty line in front of a request is ignored (RFC 9112, section 2.2).
            self.head.clear();
            set_framing(conn, FIRST_BYTE);
            return Ok(None);
        }
        Request::parse(&self.head)
    }

    /// Whether the head that has come is of a request without interest in a body.
    pub(super) fn asks_for_head(&self) -> bool {
        self.head.starts_with(b"HEAD ")
    }
}

/// Sets a framing that is known to be valid.
fn set_framing(conn: &mut Connection<'_>, framing: Framing) {
    let outcome = conn.set_framing(framing);
    debug_assert!(outcome.is_ok());
}

/// Replies with an error, and closes the connection.
fn refuse(conn: &mut Connection<'_>, refusal: &Refusal, is_head: bool) {
    let _ = conn.reply(&Response::error(refusal).bytes(is_head, false));
    conn.close();
}
