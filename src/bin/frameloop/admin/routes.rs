//! Which answer a request gets.

use std::time::Instant;

use frameloop::{ConnId, Reactor};
use serde_json::json;

use crate::admin::endpoint::{Admin, Observed};
use crate::admin::holders::{Order, TOP_MAX};
use crate::admin::http::{Method, Refusal, Request, Response, Status};
use crate::admin::metrics::{Format, Snapshot};
use crate::admin::page;
use crate::admin::process::Process;
use crate::admin::served::Served;
use crate::admin::views::Info;
use crate::logging;

/// What a request leads to.
#[derive(Debug)]
pub(crate) enum Answer {
    Now(Response),
    /// After all connections are counted; with `top`, some are listed.
    Counted {
        top: Option<(Order, usize)>,
    },
    /// A stream of events, perhaps with those of a connection.
    Stream {
        watched: Option<ConnId>,
    },
}

/// Connections that are listed if the request does not say how many.
const TOP_DEFAULT: usize = 20;

impl Admin {
    /// Answers a request. What is about one connection is recorded from then on.
    pub(super) fn route(&mut self, reactor: &mut Reactor<Served>, request: &Request, body: &[u8]) -> Answer {
        self.routed(reactor, request, body).unwrap_or_else(|refusal| {
            let response = Response::error(&refusal);
            let is_about_method = refusal.status == Status::MethodNotAllowed;
            Answer::Now(if is_about_method { response.with("Allow", self.allowed(&request.path)) } else { response })
        })
    }

    fn allowed(&self, path: &str) -> &'static str {
        if path == "/v1/status" && self.is_run() { "GET, HEAD, PATCH" } else { "GET, HEAD" }
    }

    fn is_run(&self) -> bool {
        matches!(self.observed, Observed::Run(_))
    }

    fn routed(&mut self, reactor: &mut Reactor<Served>, request: &Request, body: &[u8]) -> Result<Answer, Refusal> {
        let path = request.path.as_str();
        let not_found = || Refusal::new(Status::NotFound, format_args!("there is nothing at {path:?}"));
        let is_known = self.is_known(path);
        match request.method {
            _ if !is_known => return Err(not_found()),
            Method::Get | Method::Head => {}
            Method::Patch if path == "/v1/status" => return self.patch(body).map(Answer::Now),
            Method::Patch | Method::Other => {
                let reason = format_args!("{path} is read with {}", self.allowed(path));
                return Err(Refusal::new(Status::MethodNotAllowed, reason));
            }
        }
        let response = match path {
            "/" => Response::new(Status::Ok, "text/html; charset=utf-8", page::html())
                .with("Content-Security-Policy", page::POLICY)
                .with("Referrer-Policy", "no-referrer"),
            "/metrics" => {
                let format = Format::of_accept(&request.accept);
                Response::new(Status::Ok, format.content_type(), self.snapshot(reactor).encode(format))
            }
            "/healthz" => self.health(reactor),
            "/readyz" if self.is_draining => Response::json(Status::Unavailable, &json!({ "status": "draining" })),
            "/readyz" => Response::json(Status::Ok, &json!({ "status": "ready" })),
            "/v1/info" => Response::json(Status::Ok, &self.info(reactor.cx().now())),
            "/v1/samples" => Response::json(Status::Ok, &self.samples()),
            "/v1/status" => self.status(),
            "/connections" => return top(request).map(|top| Answer::Counted { top }),
            "/events" => return Ok(Answer::Stream { watched: watched(request)? }),
            _ => {
                let id = path.strip_prefix("/connections/").ok_or_else(not_found)?;
                let id: ConnId = id.parse().map_err(|error| Refusal::new(Status::BadRequest, error))?;
                match self.connection(reactor, id, 0)? {
                    Some(connection) => Response::json(Status::Ok, &connection),
                    None => return Err(Refusal::new(Status::NotFound, format_args!("there is no connection {id}"))),
                }
            }
        };
        Ok(Answer::Now(response))
    }

    fn is_known(&self, path: &str) -> bool {
        let always = ["/", "/metrics", "/healthz", "/readyz", "/v1/info", "/v1/samples", "/events"];
        let of_server = path == "/connections" || path.strip_prefix("/connections/").is_some_and(|id| !id.is_empty());
        always.contains(&path) || (if self.is_run() { path == "/v1/status" } else { of_server })
    }

    fn patch(&mut self, body: &[u8]) -> Result<Response, Refusal> {
        if let Some(run) = self.run_mut() {
            run.patch(body)?;
        }
        Ok(self.status())
    }

    fn status(&self) -> Response {
        match &self.observed {
            Observed::Run(run) => Response::json(Status::Ok, &run.status()),
            Observed::Server { .. } => Response::json(Status::NotFound, &json!({ "error": "there is no run" })),
        }
    }

    /// That it is answered shows that the loop turns.
    fn health(&self, reactor: &mut Reactor<Served>) -> Response {
        let age = self.turn_began.map(|began| reactor.cx().now().saturating_duration_since(began).as_secs_f64());
        let accepting = match (self.is_accepting, reactor.is_accept_paused()) {
            (false, _) => "no",
            (true, true) => "paused",
            (true, false) => "yes",
        };
        let lag = self.sampler.samples().back().map(|sample| sample.lag);
        let body = json!({ "status": "ok", "last_turn_age": age, "accepting": accepting, "lag": lag });
        Response::json(Status::Ok, &body)
    }

    fn samples(&self) -> serde_json::Value {
        json!({ "interval": 1.0, "samples": self.sampler.samples() })
    }

    pub(super) fn info(&self, now: Instant) -> Info {
        let (mode, limits) = match &self.observed {
            Observed::Server { limits } => ("serve", Some(limits.clone())),
            Observed::Run(_) => ("load", None),
        };
        Info {
            mode,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: now.saturating_duration_since(self.sampler.epoch()).as_secs_f64(),
            state: if self.is_draining { "draining" } else { "running" },
            listeners: self.listeners.clone(),
            limits,
        }
    }

    fn snapshot(&self, reactor: &Reactor<Served>) -> Snapshot {
        let (max_connections, memory, run) = match &self.observed {
            Observed::Server { limits } => (limits.max_connections, limits.memory, None),
            Observed::Run(run) => (0, 0, Some(run.figures())),
        };
        Snapshot {
            stats: self.stats(reactor),
            clients: self.clients.len(),
            process: Process::observe(),
            began: self.began,
            is_draining: self.is_draining,
            is_accept_paused: reactor.is_accept_paused(),
            max_connections,
            memory,
            lag: self.sampler.samples().back().map_or(0.0, |sample| sample.lag),
            log_lines_dropped: logging::dropped_lines(),
            run,
        }
    }
}

/// What `?top=` and `?n=` ask for.
fn top(request: &Request) -> Result<Option<(Order, usize)>, Refusal> {
    let refusal = |text: String| Refusal::new(Status::BadRequest, text);
    let len = match request.parameter("n") {
        None => TOP_DEFAULT,
        Some(text) => match text.parse() {
            Ok(len @ 1..=TOP_MAX) => len,
            Ok(_) | Err(_) => return Err(refusal(format!("n is {text:?} and must be from 1 to {TOP_MAX}"))),
        },
    };
    match request.parameter("top") {
        None => Ok(None),
        Some(text) => match Order::parse(text) {
            Some(order) => Ok(Some((order, len))),
            None => Err(refusal(format!("top is {text:?} and must be bytes, age or idle"))),
        },
    }
}

fn watched(request: &Request) -> Result<Option<ConnId>, Refusal> {
    let id = request.parameter("connection").map(str::parse).transpose();
    id.map_err(|error| Refusal::new(Status::BadRequest, error))
}
