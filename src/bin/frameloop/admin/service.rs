//! What the endpoint does between two turns: it answers requests, counts connections, takes samples, and sends events.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use frameloop::{ConnId, Reactor, RecordRefused};

use crate::admin::endpoint::{Admin, Client, Detail, Observed, PROBE_INTERVAL, Purpose, Stage, Stream};
use crate::admin::holders::Census;
use crate::admin::http::{HEAD_LEN_MAX, Method, Refusal, Request, Response, Status};
use crate::admin::routes::Answer;
use crate::admin::served::Served;
use crate::admin::views::{Connection, RunningDeadline};

/// Time for a head, from its first byte, and for a body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept without a further request. Without a first one, it is [`REQUEST_TIMEOUT`].
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a connection is recorded after the last look at it.
const RECORDING_KEPT: Duration = Duration::from_secs(60);

/// The events of a connection that are kept.
const EVENTS_MAX: usize = 50;

/// Events of a connection are sent so often at most.
const EVENTS_INTERVAL: Duration = Duration::from_millis(50);

/// With more pending output than this, a stream gets no more events: its client does not read.
const STREAM_PENDING_MAX: usize = 64 << 10;

/// Does what the endpoint has to do now.
pub(crate) fn service(reactor: &mut Reactor<Served>) {
    let Some(mut admin) = reactor.handler_mut().admin.take() else { return };
    admin.serve(reactor);
    reactor.handler_mut().admin = Some(admin);
}

impl Admin {
    fn serve(&mut self, reactor: &mut Reactor<Served>) {
        let now = reactor.cx().now();
        while let Some(id) = self.waiting.pop_front() {
            self.answer(reactor, id, now);
        }
        self.count(reactor, now);
        if std::mem::take(&mut self.has_probed) {
            self.expire_clients(reactor, now);
            self.expire_details(reactor, now);
            self.send_runs(reactor);
            if self.sampler.is_due(now) {
                self.sample(reactor, now);
            }
        }
        self.send_details(reactor, now);
    }

    /// Answers the request of a client.
    fn answer(&mut self, reactor: &mut Reactor<Served>, id: ConnId, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let (request, body) = match std::mem::replace(&mut client.stage, Stage::Closing) {
            Stage::Waiting(request, body) => (request, body),
            stage @ (Stage::Idle | Stage::Body(_) | Stage::Counting(_) | Stage::Streaming(_) | Stage::Closing) => {
                client.stage = stage;
                return;
            }
        };
        match self.route(reactor, &request, &body) {
            Answer::Now(response) => self.respond(reactor, id, &request, &response, now),
            Answer::Counted { top } => {
                self.enter(id, Stage::Counting(request), now);
                self.censuses.push_back((Purpose::Client(id), Census::new(top, self.listener)));
            }
            Answer::Stream { .. } if request.method == Method::Head => {
                self.respond(reactor, id, &Request { keeps_alive: false, ..request }, &Response::stream(), now);
            }
            Answer::Stream { watched } => self.begin_stream(reactor, id, watched, now),
        }
    }

    /// Sends a response, and waits for the next request or closes.
    fn respond(
        &mut self,
        reactor: &mut Reactor<Served>,
        id: ConnId,
        request: &Request,
        response: &Response,
        now: Instant,
    ) {
        let bytes = response.bytes(request.method == Method::Head, request.keeps_alive);
        let mut cx = reactor.cx();
        if cx.send(id, &bytes).is_err() {
            cx.abort(id);
        } else if request.keeps_alive {
            self.enter(id, Stage::Idle, now);
            cx.resume(id);
        } else {
            cx.close(id);
        }
    }

    /// Counts some more connections, for the request that waits longest.
    fn count(&mut self, reactor: &mut Reactor<Served>, now: Instant) {
        let Some((purpose, census)) = self.censuses.front_mut() else { return };
        let is_wanted = match *purpose {
            Purpose::Client(id) => self.clients.contains_key(&id),
            Purpose::Sample => true,
        };
        if is_wanted && !census.step(reactor) {
            return;
        }
        let Some((purpose, census)) = self.censuses.pop_front().filter(|_| is_wanted) else { return };
        let dialing = reactor.stats().dialing;
        match purpose {
            Purpose::Sample => self.states = Some(census.states(dialing)),
            Purpose::Client(id) => {
                let stage =
                    self.clients.get_mut(&id).map(|client| std::mem::replace(&mut client.stage, Stage::Closing));
                if let Some(Stage::Counting(request)) = stage {
                    let response = Response::json(Status::Ok, &census.view(dialing, &self.listeners));
                    self.respond(reactor, id, &request, &response, now);
                }
            }
        }
    }

    /// Ends requests that take too long, and connections without one.
    fn expire_clients(&mut self, reactor: &mut Reactor<Served>, now: Instant) {
        let mut cx = reactor.cx();
        for (id, client) in &mut self.clients {
            let waited = now.saturating_duration_since(client.since);
            let head_len = match client.stage {
                // With output that its client does not read, requests wait for the client.
                Stage::Idle => match cx.inspect(*id).filter(|info| info.paused_by.is_none()) {
                    Some(info) => client.head.len() + info.pending_input,
                    None => continue,
                },
                Stage::Body(_) => 0,
                Stage::Waiting(..) | Stage::Counting(_) | Stage::Streaming(_) | Stage::Closing => continue,
            };
            let has_begun = head_len > 0 || matches!(client.stage, Stage::Body(_));
            let refusal = if has_begun && !client.has_begun {
                (client.has_begun, client.since) = (true, now);
                continue;
            } else if head_len > HEAD_LEN_MAX as usize {
                // It was so at the last probe, so these are not whole requests that are still to be delivered.
                Some(Refusal::head_too_large())
            } else if has_begun && waited > REQUEST_TIMEOUT {
                let reason = format_args!("the request is incomplete after {REQUEST_TIMEOUT:?}");
                Some(Refusal::new(Status::RequestTimeout, reason))
            } else if !has_begun && waited > if client.was_answered { KEEP_ALIVE } else { REQUEST_TIMEOUT } {
                None
            } else {
                continue;
            };
            if let Some(refusal) = refusal {
                let _ = cx.send(*id, &Response::error(&refusal).bytes(client.asks_for_head(), false));
            }
            cx.close(*id);
            client.stage = Stage::Closing;
        }
    }

    /// Stops recordings that no client has looked at for a minute.
    fn expire_details(&mut self, reactor: &mut Reactor<Served>, now: Instant) {
        for client in self.clients.values() {
            if let Stage::Streaming(Stream { watched: Some((id, _)), .. }) = &client.stage
                && let Some(detail) = self.details.get_mut(id)
            {
                detail.viewed = now;
            }
        }
        self.details.retain(|id, detail| {
            let is_kept = now.saturating_duration_since(detail.viewed) <= RECORDING_KEPT;
            if !is_kept {
                reactor.stop_recording(*id);
            }
            is_kept
        });
    }

    /// Takes a sample, and sends it to the streams.
    fn sample(&mut self, reactor: &mut Reactor<Served>, now: Instant) {
        if let Observed::Run(run) = &self.observed {
            let sample = event("sample", self.sampler.take_of_run(now, run.second()));
            return self.send_all(reactor, &sample);
        }
        let states = self.states.take();
        let sample = event("sample", self.sampler.take(now, self.stats(reactor), states));
        let has_streams = self.clients.values().any(|client| matches!(client.stage, Stage::Streaming(_)));
        let is_counting = self.censuses.iter().any(|(purpose, _)| *purpose == Purpose::Sample);
        if has_streams && !is_counting {
            self.censuses.push_back((Purpose::Sample, Census::new(None, self.listener)));
        }
        self.send_all(reactor, &sample);
    }

    /// Sends how far the run of a load is.
    fn send_runs(&mut self, reactor: &mut Reactor<Served>) {
        let Some(run) = self.run_mut() else { return };
        let run = event("run", &run.view());
        self.send_all(reactor, &run);
    }

    /// Sends an event to each stream whose client reads.
    fn send_all(&mut self, reactor: &mut Reactor<Served>, event: &str) {
        let streams = self.clients.iter().filter(|(_, client)| matches!(client.stage, Stage::Streaming(_)));
        for (id, _) in streams {
            send(reactor, *id, event);
        }
    }

    fn begin_stream(&mut self, reactor: &mut Reactor<Served>, id: ConnId, watched: Option<ConnId>, now: Instant) {
        let samples = serde_json::json!({ "interval": 1.0, "samples": self.sampler.samples() });
        let mut text = String::from_utf8(Response::stream().bytes(false, false)).unwrap_or_default();
        text += &event("info", &self.info(now));
        text += &event("samples", &samples);
        let mut cx = reactor.cx();
        if cx.send(id, text.as_bytes()).is_err() {
            cx.abort(id);
            return;
        }
        // What a client sends from here on is discarded, and its end is seen.
        cx.resume(id);
        // The first events are sent at once.
        let sent = now.checked_sub(EVENTS_INTERVAL).unwrap_or(now);
        let stream = Stream { watched: watched.map(|watched| (watched, 0)), sent, is_gone: false };
        self.enter(id, Stage::Streaming(stream), now);
        if let Some(watched) = watched {
            self.send_detail(reactor, id, watched, 0, now);
        }
    }

    /// Sends what is new of the connections that are looked at.
    fn send_details(&mut self, reactor: &mut Reactor<Served>, now: Instant) {
        let due = self.clients.iter().filter_map(|(id, client)| match &client.stage {
            Stage::Streaming(Stream { watched: Some((watched, seq)), sent, is_gone: false }) => {
                let is_new = reactor.recording(*watched).is_none_or(|recording| recording.last_seq() > *seq);
                let is_due = now.saturating_duration_since(*sent) >= EVENTS_INTERVAL;
                (is_new && is_due).then_some((*id, *watched, *seq))
            }
            _ => None,
        });
        for (id, watched, seq) in due.collect::<Vec<_>>() {
            self.send_detail(reactor, id, watched, seq, now);
        }
    }

    /// Sends a connection to a stream, with its events after `seq`.
    fn send_detail(&mut self, reactor: &mut Reactor<Served>, id: ConnId, watched: ConnId, seq: u64, now: Instant) {
        let (text, is_gone) = match self.connection(reactor, watched, seq) {
            Ok(Some(connection)) => (event("connection", &connection), false),
            Ok(None) => (event("gone", &serde_json::json!({ "id": watched.to_string(), "error": null })), true),
            Err(refusal) => {
                let gone = serde_json::json!({ "id": watched.to_string(), "error": refusal.reason });
                (event("gone", &gone), true)
            }
        };
        let is_sent = send(reactor, id, &text);
        let last = reactor.recording(watched).map_or(seq, |recording| recording.last_seq());
        if let Some(Client { stage: Stage::Streaming(stream), .. }) = self.clients.get_mut(&id) {
            *stream = if is_sent {
                Stream { watched: Some((watched, last)), sent: now, is_gone }
            } else {
                // Its client does not read: the next attempt is as far away as if it had been sent.
                Stream { watched: Some((watched, seq)), sent: now, is_gone: false }
            };
        }
    }

    /// A connection with its events after `seq`, which are recorded from now on; `None` if there is none.
    pub(super) fn connection(
        &mut self,
        reactor: &mut Reactor<Served>,
        id: ConnId,
        seq: u64,
    ) -> Result<Option<Connection>, Refusal> {
        let mut cx = reactor.cx();
        let now = cx.now();
        if let Some(info) = cx.inspect(id) {
            self.details
                .entry(id)
                .and_modify(|detail| detail.last = info.clone())
                .or_insert(Detail { viewed: now, last: info });
        }
        if !self.details.contains_key(&id) {
            return Ok(None);
        }
        if reactor.recording(id).is_none()
            && let Err(refused) = self.record(reactor, id)
        {
            self.details.remove(&id);
            return Err(Refusal::new(Status::Unavailable, refused));
        }
        let Some(detail) = self.details.get_mut(&id) else { return Ok(None) };
        detail.viewed = now;
        let deadlines = reactor.deadlines_of(id);
        let deadlines = deadlines.iter().map(|deadline| RunningDeadline::of(deadline, now)).collect();
        let connection = Connection::of(&detail.last, &self.listeners);
        let epoch = self.sampler.epoch();
        Ok(reactor.recording(id).map(|recording| connection.with_detail(deadlines, recording, epoch, seq)))
    }
}

impl Admin {
    /// Records the events of a connection, if need be instead of those of the one that was looked at longest ago.
    fn record(&mut self, reactor: &mut Reactor<Served>, id: ConnId) -> Result<(), RecordRefused> {
        let refused = match reactor.record(id, EVENTS_MAX) {
            Err(refused @ RecordRefused::TooMany { .. }) => refused,
            outcome => return outcome,
        };
        let streams = self.clients.values().filter_map(|client| match &client.stage {
            Stage::Streaming(stream) => stream.watched.map(|(watched, _)| watched),
            _ => None,
        });
        let streamed: HashSet<ConnId> = streams.chain([id]).collect();
        let others = self.details.iter().filter(|(other, _)| !streamed.contains(other));
        let Some(oldest) = others.min_by_key(|(_, detail)| detail.viewed).map(|(other, _)| *other) else {
            return Err(refused);
        };
        self.details.remove(&oldest);
        reactor.stop_recording(oldest);
        reactor.record(id, EVENTS_MAX)
    }
}

/// Sends an event to a stream. Returns `false` if its client does not read.
fn send(reactor: &mut Reactor<Served>, id: ConnId, event: &str) -> bool {
    let mut cx = reactor.cx();
    let has_room = cx.inspect(id).is_some_and(|info| info.pending_output < STREAM_PENDING_MAX);
    has_room && cx.send(id, event.as_bytes()).is_ok()
}

/// An event of a stream (`text/event-stream` of the HTML standard). JSON has no line breaks.
fn event(name: &str, data: &impl serde::Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}

/// Lets the loop be probed from now on.
pub(crate) fn begin_probes(reactor: &mut Reactor<Served>) {
    let mut cx = reactor.cx();
    let due = cx.now() + PROBE_INTERVAL;
    // It is the only timer.
    let _ = cx.set_timer(due);
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use frameloop::{Config, ListenOptions};

    use super::*;
    use crate::address::Endpoint;
    use crate::admin::access::Access;
    use crate::admin::run::Run;

    /// A reactor with an endpoint whose clients do not matter, and an open connection with its other end.
    fn reactor_with_connection() -> (Reactor<Served>, Admin, ConnId, UnixStream) {
        let mut reactor = Reactor::new(Config::default(), Served::default()).unwrap();
        let listener = reactor.listen_with(&"127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap().id;
        let access = Access::of(&Endpoint::Unix("/a".into()));
        let (now, stats) = (reactor.cx().now(), reactor.stats());
        let admin = Admin::new(listener, access, Observed::Run(Box::new(Run::new(false, None))), now, stats);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let conn = reactor.adopt_stream(ours, b"").unwrap();
        (reactor, admin, conn, theirs)
    }

    #[test]
    fn recording_ends_a_minute_after_the_last_look() {
        let (mut reactor, mut admin, id, _theirs) = reactor_with_connection();
        assert!(admin.connection(&mut reactor, id, 0).unwrap().is_some() && reactor.recording(id).is_some());
        let looked = admin.details[&id].viewed;
        admin.expire_details(&mut reactor, looked + RECORDING_KEPT);
        assert!(admin.needs_service() && reactor.recording(id).is_some());
        admin.expire_details(&mut reactor, looked + RECORDING_KEPT + Duration::from_millis(1));
        assert!(!admin.needs_service() && reactor.recording(id).is_none());
    }

    #[test]
    fn recording_is_kept_while_it_is_streamed() {
        let (mut reactor, mut admin, id, _theirs) = reactor_with_connection();
        assert!(admin.connection(&mut reactor, id, 0).unwrap().is_some());
        let now = reactor.cx().now();
        let stream = Stream { watched: Some((id, 0)), sent: now, is_gone: false };
        admin.clients.insert(id, Client::new(Stage::Streaming(stream), now));
        let later = now + 10 * RECORDING_KEPT;
        admin.expire_details(&mut reactor, later);
        assert!(reactor.recording(id).is_some());
        admin.clients.clear();
        admin.expire_details(&mut reactor, later + RECORDING_KEPT);
        assert!(reactor.recording(id).is_some());
        admin.expire_details(&mut reactor, later + 2 * RECORDING_KEPT);
        assert!(reactor.recording(id).is_none());
    }
}
