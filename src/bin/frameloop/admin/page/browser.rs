//! The page, opened in a browser against an endpoint with canned responses.

#[path = "../../../../../tests/support/browser.rs"]
mod driver;
mod endpoint;

use serde_json::{Value, json};

use self::driver::Browser;
use self::endpoint::{Endpoint, Stream};

const HOSTILE: &str = "</script><script>document.title='gone'</script>&\"'<img src=x onerror=alert(1)>";
const CURRENT_NODE: &str = ".node.current text";
/// The title of the edge that is emphasized.
const LAST_EDGE: &str = ".edge.last title";
/// By how many pixels the page scrolls sideways.
const SIDEWAYS: &str = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

fn info(mode: &str) -> Value {
    json!({
        "mode": mode, "version": "1.2.3", "pid": 7, "uptime": 100.0, "state": "running",
        "listeners": [{ "name": "", "address": "127.0.0.1:7007" }],
        "limits": if mode == "serve" { json!({ "max_connections": 5_000, "memory": 1_048_576 }) } else { Value::Null },
    })
}

fn sample(at: f64, frames: f64) -> Value {
    json!({
        "at": at, "connections": 7, "accepted": 1.0, "closed": 1.0,
        "states": { "dialing": 0, "open": 4, "half_closed": 1, "finished": 1, "closing": 1 },
        "frames_in": frames, "frames_out": frames / 2.0, "bytes_in": 68.0 * frames, "bytes_out": 34.0 * frames,
        "buffered_bytes": 2_048, "turns": 50.0, "turn_p50": 0.000_01, "turn_p99": 0.000_1, "turn_max": 0.001, "lag": 0.002,
        "closed_by": { "peer finished": 3 }, "lints": { "slow callback": 1 }, "latency": null,
    })
}

fn samples(ats: std::ops::Range<u32>, frames: f64) -> Value {
    let samples: Vec<Value> = ats.map(|at| sample(f64::from(at), frames)).collect();
    json!({ "interval": 1.0, "samples": samples })
}

fn event(seq: u32, kind: &str, text: &str, state: &str, output: u32) -> Value {
    let at = 99.0 + f64::from(seq) / 100.0;
    json!({ "seq": seq, "at": at, "kind": kind, "text": text, "state": state, "pending_input": 0, "pending_output": output })
}

fn connection(state: &str, output: u32, paused_by: Option<&str>, events: &[Value]) -> Value {
    json!({
        "id": "3.17", "peer": "192.0.2.1:5000", "local": "127.0.0.1:7007", "listener": "", "dialed": false, "state": state,
        "paused_by": paused_by, "pending_input": 5, "pending_output": output, "buffered_bytes": output + 5,
        "output_high_water": 65_536, "output_low_water": 16_384, "max_payload": 16_777_216, "idle": 1.5, "age": 10.0,
        "frames_in": 1, "bytes_in": 68, "bytes_out": 68, "framing": "u32be", "closed": null, "events": events,
        "deadlines": [{ "kind": "frame", "in": 100.0, "of": 110.0 }],
    })
}

/// Opens the page of an endpoint; nothing without a Chromium.
fn opened(endpoint: &Endpoint, hash: &str) -> Option<(Browser, Stream)> {
    let mut browser = Browser::start()?;
    // A test sends no sample each second, so the stream must not count as silent.
    browser.prepare(
        "const wait = window.setTimeout;
         window.setTimeout = (callback, ms) => ms === 10_000 ? 0 : wait(callback, ms);",
    );
    browser.open(&endpoint.url(hash));
    let stream = endpoint.stream();
    Some((browser, stream))
}

fn greet(endpoint: &Endpoint, stream: &mut Stream) {
    stream.send("info", &endpoint.info);
    stream.send("samples", &samples(90..100, 100.0));
}

/// Nothing was logged, and nothing was asked of another host.
#[track_caller]
fn assert_clean(browser: &mut Browser, endpoint: &Endpoint) {
    assert_eq!(browser.take_problems(), Vec::<String>::new());
    let own = endpoint.url("");
    let foreign: Vec<&String> =
        browser.requests().iter().filter(|url| !url.starts_with(&own) && *url != "data:,").collect();
    assert!(foreign.is_empty() && browser.requests().len() > 1, "{foreign:?} of {:?}", browser.requests());
}

#[test]
fn page_shows_samples_as_they_come() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "") else { return };
    assert_eq!(stream.target, "/events");
    greet(&endpoint, &mut stream);
    browser.wait_for_text("#stream-text", "connected");
    browser.wait_for_text("#rate-legend", "in 100out 50");
    browser.wait_for_text("#latency-legend", "longest in a second 2 ms");
    browser.wait_for_text("#turns-legend", "p50 10 µsp99 100 µsmax 1 ms");
    browser.wait_for_text("#connections-legend", "open 4half-closed 1finished 1closing 1dialing 0");
    assert_eq!(browser.text("header h1"), "frameloop serve 1.2.3");
    assert_eq!(
        browser.text("#facts"),
        "staterunninguptime100 sprocess7listeners127.0.0.1:7007connections7 of 5,000buffered2 KiB of 1 MiB"
    );
    stream.send("sample", &sample(100.0, 4_000.0));
    browser.wait_for_text("#rate-legend", "in 4,000out 2,000");
    browser.wait_for_text("#totals-closes tbody", "peer finished333");
    browser.wait_for_text("#totals-lints tbody", "slow callback111");
    assert_eq!(browser.value("document.querySelectorAll('#graphs polyline').length"), 6);
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn graphs_are_read_with_the_keyboard() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "") else { return };
    greet(&endpoint, &mut stream);
    stream.send("sample", &sample(100.0, 4_000.0));
    browser.wait_for_text("#rate-legend", "in 4,000out 2,000");
    browser.value("document.querySelector('#rate .plot').focus()");
    browser.press("ArrowLeft");
    browser.wait_for_text("#rate-legend", "in 100out 50");
    browser.wait_for_text("#turns .legend-time", "1 s ago");
    let text = browser.value("document.querySelector('#rate .plot').getAttribute('aria-valuetext')");
    assert_eq!(text, "1 s ago: in 100, out 50");
    browser.press("Escape");
    browser.wait_for_text("#rate-legend", "in 4,000out 2,000");
    browser.press("Tab");
    assert_eq!(browser.value("document.activeElement.textContent"), "Rate as a table");
    browser.press("Enter");
    browser.wait_for_text("#rate tbody tr", "100.000 s4,0002,000");
    assert_eq!(browser.value("document.querySelectorAll('#rate tbody tr').length"), 11);
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn connection_is_followed_until_it_closes() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "#connection=3.17") else { return };
    assert_eq!(stream.target, "/events?connection=3.17");
    greet(&endpoint, &mut stream);
    stream.send("connection", &connection("Open", 0, None, &[event(1, "read", "recv(9) = 9", "Open", 0)]));
    browser.wait_for_text(CURRENT_NODE, "Open");
    browser.wait_until("Math.abs(document.querySelector('#connection').getBoundingClientRect().top) < 1");
    assert_eq!(browser.text("#connection-facts div dd"), "192.0.2.1:5000");
    browser.wait_until("parseFloat(document.querySelector('#connection-deadlines .bar-text').textContent) < 100");
    let left = browser.text("#connection-deadlines .bar-text");
    assert!(left.ends_with(" s of 110.0 s left"), "{left}");

    let stalled = event(2, "write", "send(70000) = EAGAIN", "Open", 70_000);
    stream.send("connection", &connection("Open", 70_000, Some("backpressure"), &[stalled]));
    browser.wait_until("document.querySelector('#connection-paused').checkVisibility()");
    assert_eq!(browser.text("#connection-paused"), "reading paused: backpressure");
    assert_eq!(browser.text("#connection-pending .bar.above .bar-text"), "68.4 KiB");

    let resumed = event(3, "write", "send(70000) = 60000", "Open", 10_000);
    stream.send("connection", &connection("Open", 10_000, None, &[resumed]));
    browser.wait_until("!document.querySelector('#connection-paused').checkVisibility()");
    assert_eq!(browser.value("document.querySelectorAll('.bar.above').length"), 0);

    let finished = event(4, "state", "Open -> HalfClosed", "HalfClosed", 10_000);
    stream.send("connection", &connection("HalfClosed", 10_000, None, &[finished]));
    browser.wait_for_text(CURRENT_NODE, "HalfClosed");
    assert_eq!(browser.text(LAST_EDGE), "Open to HalfClosed: FIN");
    assert_eq!(browser.value("document.querySelectorAll('.events li').length"), 4);

    let mut closed = connection("Closed", 0, None, &[event(5, "close", "closed: reset", "Closed", 0)]);
    closed["closed"] = "reset".into();
    stream.send("connection", &closed);
    browser.wait_for_text(CURRENT_NODE, "Closed");
    assert_eq!(browser.text("#connection-transition"), "Last transition: HalfClosed to Closed (reset).");
    browser.wait_for_text("#connection-status", "Connection 3.17: Closed, reset");
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn slider_steps_back_through_the_events() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "#connection=3.17") else { return };
    greet(&endpoint, &mut stream);
    let mut events: Vec<Value> =
        (1..=48).map(|seq| event(seq, "read", &format!("recv({seq})"), "Open", seq * 1_024)).collect();
    events.push(event(49, "state", "Open -> HalfClosed", "HalfClosed", 3));
    stream.send("connection", &connection("HalfClosed", 3, None, &events));
    browser.wait_for_text(CURRENT_NODE, "HalfClosed");
    browser.value("document.querySelector('#connection-time').focus()");
    browser.press("ArrowLeft");
    browser.wait_for_text(CURRENT_NODE, "Open");
    assert_eq!(browser.text(".events li.shown .event-text"), "recv(48)");
    assert_eq!(browser.text("#connection-pending .bar:nth-child(2) .bar-text"), "48 KiB");
    assert_eq!(browser.text("#connection-time-text"), "event 48 of 49, at 99.480 s, Open");
    browser.press("ArrowLeft");
    browser.wait_for_text(".events li.shown .event-text", "recv(47)");

    // What comes meanwhile does not move it; the oldest are dropped.
    let later: Vec<Value> = (50..=60).map(|seq| event(seq, "read", "later", "HalfClosed", 1)).collect();
    stream.send("connection", &connection("HalfClosed", 1, None, &later));
    browser.wait_for_text("#connection-time-text", "event 37 of 50, at 99.470 s, Open");
    assert_eq!(browser.text(".events li.shown .event-text"), "recv(47)");
    assert_eq!(browser.text(CURRENT_NODE), "Open");
    assert_eq!(browser.text(".events li .event-text"), "recv(11)");
    browser.press("Home");
    browser.wait_for_text(".events li.shown .event-text", "recv(11)");

    browser.value("document.querySelector('#connection-live').click()");
    browser.wait_for_text(CURRENT_NODE, "HalfClosed");
    assert_eq!(browser.value("document.querySelectorAll('.events li.shown').length"), 0);
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn holder_leads_to_its_connection() {
    let endpoint = Endpoint::start(info("serve"));
    endpoint.set_holders(json!([connection("Open", 70_000, Some("backpressure"), &[])]));
    let Some((mut browser, mut stream)) = opened(&endpoint, "") else { return };
    greet(&endpoint, &mut stream);
    browser.wait_for_text(
        "#holders tbody tr",
        "3.17192.0.2.1:5000Open, paused: backpressure68.4 KiB5 B68.4 KiB1.5 s10.0 s",
    );
    browser.value("document.querySelector('#holders-order').focus()");
    browser.press("Tab");
    browser.press("Tab");
    assert_eq!(browser.value("document.activeElement.textContent"), "3.17");
    browser.press("Enter");
    let mut other = endpoint.stream();
    assert_eq!(other.target, "/events?connection=3.17");
    stream.wait_for_end();
    greet(&endpoint, &mut other);
    browser.wait_for_text("#connection-title", "Connection 3.17");
    other.send("gone", &json!({ "id": "3.17" }));
    browser.wait_for_text(
        "#connection-problem",
        "There is no connection 3.17, or it closed before its events were recorded.",
    );
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn texts_of_peers_are_shown_as_text() {
    let long = "x".repeat(10_000);
    let mut other = info("serve");
    other["version"] = HOSTILE.into();
    other["listeners"] = json!([{ "name": HOSTILE, "address": long }]);
    let endpoint = Endpoint::start(other);
    let mut hostile =
        connection("Open", 0, None, &[event(1, "read", HOSTILE, "Open", 0), event(2, "read", &long, "Open", 0)]);
    hostile["peer"] = HOSTILE.into();
    hostile["listener"] = long.as_str().into();
    endpoint.set_holders(json!([hostile]));
    let Some((mut browser, mut stream)) = opened(&endpoint, "#connection=3.17") else { return };
    browser.resize(390);
    stream.send("info", &endpoint.info);
    let mut counted = samples(90..100, 100.0);
    counted["samples"][9]["closed_by"] = json!({ HOSTILE: 1, "long": 1 });
    counted["samples"][9]["lints"] = json!({ HOSTILE: 1, (&long): 1 });
    stream.send("samples", &counted);
    stream.send("connection", &hostile);
    browser.wait_for_text(".events li .event-text", HOSTILE);
    browser.wait_for_text(".events li:nth-child(2) .event-text", &long);
    browser.wait_for_text("#connection-facts div dd", HOSTILE);
    browser.wait_for_text("#holders tbody td", HOSTILE);
    browser.wait_for_text("#totals-closes tbody th", HOSTILE);
    assert_eq!(browser.text("#version"), HOSTILE);
    assert_eq!(browser.value("document.querySelectorAll('img, body script:not([type=module])').length"), 0);
    assert_eq!(browser.value("document.title"), "frameloop serve, process 7");
    assert_eq!(browser.value(SIDEWAYS), 0);
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn stream_is_opened_again_after_it_ends() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "") else { return };
    greet(&endpoint, &mut stream);
    browser.wait_for_text("#rate-legend", "in 100out 50");
    drop(stream);
    let mut stream = endpoint.stream();
    browser.wait_for_text("#stream-text", "connected");
    stream.send("info", &endpoint.info);
    stream.send("samples", &samples(95..105, 300.0));
    browser.wait_for_text("#rate-legend", "in 300out 150");
    browser.wait_for_text("#totals-closes tbody", "peer finished3015");
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn silent_stream_is_opened_again() {
    let endpoint = Endpoint::start(info("serve"));
    let Some(mut browser) = Browser::start() else { return };
    // Ten seconds are 100 ms.
    browser.prepare(
        "const later = window.setTimeout;
         window.setTimeout = (callback, ms) => later(callback, ms === 10_000 ? 100 : ms);",
    );
    browser.open(&endpoint.url(""));
    endpoint.stream().wait_for_end();
    endpoint.stream().wait_for_end();
    browser.wait_for_text("#stream-text", "connection lost, reconnecting");
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn recording_that_begins_again_replaces_the_events() {
    let endpoint = Endpoint::start(info("serve"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "#connection=3.17") else { return };
    greet(&endpoint, &mut stream);
    stream.send("connection", &connection("Open", 0, None, &[event(40, "read", "first", "Open", 0)]));
    browser.wait_for_text(".events", "99.400000 read     first");
    drop(stream);
    let mut stream = endpoint.stream();
    assert_eq!(stream.target, "/events?connection=3.17");
    greet(&endpoint, &mut stream);
    stream.send("connection", &connection("Open", 0, None, &[event(40, "read", "second", "Open", 0)]));
    browser.wait_for_text(".events", "99.400000 read     second");
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn hidden_page_closes_its_stream_until_it_is_shown() {
    let endpoint = Endpoint::start(info("serve"));
    let Some(mut browser) = Browser::start() else { return };
    // A minute is 60 ms, and the test says whether the page is hidden.
    browser.prepare(
        "const soon = window.setTimeout;
         window.setTimeout = (callback, ms) => ms === 10_000 ? 0 : soon(callback, ms < 60_000 ? ms : 60);
         Object.defineProperty(document, 'hidden', { get: () => window.isHidden });",
    );
    browser.open(&endpoint.url(""));
    let mut stream = endpoint.stream();
    greet(&endpoint, &mut stream);
    browser.wait_for_text("#stream-text", "connected");
    browser.value("window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))");
    stream.wait_for_end();
    browser.wait_for_text("#stream-text", "asleep while the page is hidden");
    browser.value("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))");
    greet(&endpoint, &mut endpoint.stream());
    browser.wait_for_text("#stream-text", "connected");
    assert_clean(&mut browser, &endpoint);
}

#[test]
fn run_is_started_and_followed() {
    let endpoint = Endpoint::start(info("load"));
    let Some((mut browser, mut stream)) = opened(&endpoint, "") else { return };
    greet(&endpoint, &mut stream);
    let mut run = json!({
        "stage": "waiting", "elapsed": 0.0, "left": null, "connected": 50, "connections": 50, "paused": true, "due": null,
        "sent": 0, "late": 0, "frames": 0, "errors": 0, "errors_by": {}, "rate_target": null, "latency": null, "step": null, "steps": [],
    });
    stream.send("run", &run);
    browser.wait_for_text("#run-stage", "waiting, paused");
    browser.value("document.querySelector('#run-start').click()");
    assert_eq!(endpoint.request("PATCH /v1/status").body, json!({ "paused": false }));
    let latency = json!({ "p50": 0.001, "p99": 0.002, "p999": 0.003, "max": 0.004, "kind": "response" });
    let more = json!({
        "stage": "measuring", "elapsed": 1.5, "left": 8.5, "paused": false, "due": 1_010, "sent": 1_000, "late": 10, "frames": 990,
        "errors": 2, "errors_by": { HOSTILE: 2 }, "rate_target": 20_000.0, "latency": latency,
        "step": { "index": 2, "of": 5, "unit": "rate", "target": 20_000.0 },
        "steps": [{ "target": 10_000.0, "rate": 9_990.0, "p50": 0.001, "p99": 0.002, "held": true }],
    });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stream.send("run", &run);
    browser.wait_for_text("#run-stage", "measuring");
    assert_eq!(browser.text("#run-time"), "1.5 s elapsed, 8.5 s left; step 2 of 5: 20k frames/s");
    assert_eq!(browser.value("document.querySelector('#run-progress').position"), 0.15);
    assert_eq!(browser.text("#run-steps tbody"), "110k9,9901 ms2 msyes");
    assert_eq!(browser.text("#run-errors tbody"), format!("{HOSTILE}2"));
    let tiles = browser.text("#run-tiles");
    assert!(tiles.contains("due1,010sent1,000late10") && tiles.contains("response p992 ms"), "{tiles}");
    assert_eq!(browser.value("document.querySelector('#run-start').checkVisibility()"), false);
    assert_eq!(browser.value("document.querySelector('#holders').checkVisibility()"), false);
    assert_clean(&mut browser, &endpoint);
}

/// Texts whose contrast with what is behind them is below 4.5.
const READABILITY: &str = r#"(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const channels = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (value) => value <= 10.3 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const behind = (node) => {
        if (node === null) { return channels("Canvas"); }
        const box = node.parentNode?.querySelector?.(":scope > rect");
        const color = channels(box && node.matches("text") ? getComputedStyle(box).fill : getComputedStyle(node).backgroundColor);
        return color[3] === 255 ? color : behind(node.parentElement);
    };
    const faint = [];
    let checked = 0;
    for (const node of document.querySelectorAll("body *")) {
        const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim() !== "");
        if (!hasText || !node.checkVisibility() || node.matches("script, style, noscript, title, .skip")) { continue; }
        const style = getComputedStyle(node);
        const [one, other] = [channels(node.matches("text") ? style.fill : style.color), behind(node)].map(luminance);
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        checked += 1;
        if (contrast < 4.5) { faint.push(`${node.textContent}: ${contrast.toFixed(2)}`); }
    }
    return { faint, checked };
})()"#;

#[test]
fn page_is_readable_at_each_width_in_light_and_dark() {
    let endpoint = Endpoint::start(info("serve"));
    endpoint.set_holders(json!([connection("Open", 70_000, Some("backpressure"), &[])]));
    let Some((mut browser, mut stream)) = opened(&endpoint, "#connection=3.17") else { return };
    greet(&endpoint, &mut stream);
    let events = [event(1, "read", "recv(9) = 9", "Open", 0), event(2, "state", "Open -> HalfClosed", "HalfClosed", 0)];
    stream.send("connection", &connection("HalfClosed", 70_000, Some("backpressure"), &events));
    browser.wait_for_text(CURRENT_NODE, "HalfClosed");
    browser.wait_until("document.querySelector('#holders tbody tr')");
    for scheme in ["light", "dark"] {
        // Without transitions, so that colors change at once.
        browser.prefer(&[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]);
        for width in [360, 390, 768, 1_280] {
            browser.resize(width);
            browser.wait_until(&format!("document.querySelector('#rate svg').clientWidth < {width}"));
            let seen = browser.value(READABILITY);
            assert_eq!(seen["faint"], json!([]), "{scheme} at {width} px");
            assert!(seen["checked"].as_u64().unwrap() > 80, "{seen}");
            assert_eq!(browser.value(SIDEWAYS), 0, "{scheme} at {width} px scrolls sideways");
        }
    }
    assert_clean(&mut browser, &endpoint);
}
