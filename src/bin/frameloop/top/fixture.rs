//! Answers of a server for tests.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::top::app::App;
use crate::top::ask::{Answer, Content};
use crate::top::model::{Conn, Connections, Info, Run, Samples, Seconds, Status};

fn parsed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A server with 10,000 connections, two of which hold something.
pub(super) fn serve() -> Answer {
    let sample = |rate: f64| {
        json!({
            "at": 12.0, "connections": 10_000,
            "states": {"dialing": 0, "open": 9_990, "half_closed": 8, "finished": 0, "closing": 2},
            "accepted": 5.0, "closed": 1.0, "frames_in": rate, "frames_out": rate, "bytes_in": 68.0 * rate,
            "bytes_out": 68.0 * rate, "buffered_bytes": 70_000, "turns": 50.0, "turn_p50": 0.00001, "turn_p99": 0.0001,
            "turn_max": 0.001, "lag": 0.0002, "closed_by": {"peer finished": 1, "reset": 2}, "lints": {"slow callback": 3},
            "latency": null
        })
    };
    let samples: Samples =
        parsed(json!({"interval": 1.0, "samples": (0..200).map(|at| sample(f64::from(at * 100))).collect::<Vec<_>>()}));
    let connections: Connections = parsed(json!({
        "total": 10_000, "paused": {"handler": 1, "backpressure": 2},
        "top": [conn("3.17", 65_536), conn("4.2", 4_464)]
    }));
    Answer {
        info: info("serve"),
        samples: samples.samples,
        interval: Seconds(1.0),
        content: Content::Serve(connections),
        ..Answer::default()
    }
}

/// A load that is being measured.
pub(super) fn load() -> Answer {
    let status: Status = parsed(json!({"paused": false, "stage": "measuring", "connected": 50, "connections": 50}));
    Answer { info: info("load"), content: Content::Load { status }, ..serve() }
}

pub(super) fn run() -> Run {
    parsed(json!({
        "stage": "measuring", "elapsed": 1.5, "left": 8.5, "connected": 50, "connections": 50, "paused": false, "due": 1_000,
        "sent": 990, "late": 10, "frames": 980, "errors": 2, "errors_by": {"wrong reply": 2}, "rate_target": 1_000.0,
        "latency": {"p50": 0.0001, "p99": 0.001, "p999": 0.002, "max": 0.003, "kind": "response"},
        "step": {"index": 2, "of": 5, "unit": "rate", "target": 20_000.0},
        "steps": [{"target": 10_000.0, "rate": 9_999.0, "p50": 0.0001, "p99": 0.001, "held": true}]
    }))
}

fn info(mode: &str) -> Info {
    let limits = json!({"max_connections": 20_000, "memory": 1_073_741_824});
    parsed(json!({
        "mode": mode, "version": "0.1.0", "pid": 1, "uptime": 3_723.5, "state": "running",
        "listeners": [{"name": "", "address": "127.0.0.1:7007"}], "limits": limits
    }))
}

fn conn(id: &str, bytes: u64) -> Value {
    json!({
        "id": id, "peer": "127.0.0.1:5000", "local": "127.0.0.1:7007", "listener": "", "dialed": false, "state": "Open",
        "paused_by": "backpressure", "pending_input": 64, "pending_output": bytes, "buffered_bytes": bytes,
        "output_high_water": 65_536, "output_low_water": 16_384, "max_payload": 16_777_216, "idle": 1.5, "age": 10.0,
        "frames_in": 7, "bytes_in": 700, "bytes_out": 800, "framing": "u32be",
        "deadlines": [{"kind": "write", "in": 12.0, "of": 30.0}], "closed": null, "events": null
    })
}

/// The connection 3.17 in detail, with events.
pub(super) fn detail() -> Conn {
    let event = |seq: u64| json!({"seq": seq, "at": seq, "kind": "read", "text": format!("recv(65536) = {seq}"), "state": "Open"});
    let mut value = conn("3.17", 65_536);
    value["events"] = (1..=50).map(event).collect();
    parsed(value)
}

/// A server whose figures and texts are beyond all measure, with `number` for each.
pub(super) fn absurd(number: f64) -> Answer {
    let text = "\u{6f22}\u{1f600}e\u{301}\u{1b}".repeat(60);
    let mut value = conn(&text, 0);
    let members = value.as_object_mut().unwrap();
    for (_, member) in members.iter_mut() {
        match member {
            Value::Number(_) => *member = json!(number),
            Value::String(_) => *member = json!(text),
            _ => {}
        }
    }
    value["id"] = json!("3.17");
    let listed = vec![value.clone(); 100];
    value["deadlines"] = vec![json!({"kind": text, "in": number, "of": number}); 100].into();
    value["events"] = vec![json!({"at": number, "kind": text, "text": text, "state": text}); 100].into();
    let reasons = json!({text.as_str(): number, "x": number});
    let sample = json!({
        "connections": number, "states": {"open": number, "closing": number}, "accepted": number, "frames_in": number,
        "bytes_in": number, "buffered_bytes": number, "turns": number, "turn_p50": number, "turn_max": number, "lag": number,
        "closed_by": reasons, "lints": reasons
    });
    let limits = json!({"max_connections": number, "memory": number});
    let info = json!({"mode": "serve", "version": text, "uptime": number, "state": text, "limits": limits});
    let connections = json!({"total": number, "paused": {"handler": number}, "top": listed});
    Answer {
        info: parsed(info),
        samples: parsed(json!(vec![sample; 10])),
        interval: Seconds(number),
        content: Content::Serve(parsed(connections)),
        detail: Some(Some(parsed(value))),
        ..Answer::default()
    }
}

/// The view of `answer`.
pub(super) fn app(answer: Answer) -> App {
    App::new("127.0.0.1:9100".into(), Duration::from_secs(1), answer)
}
