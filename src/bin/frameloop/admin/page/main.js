// The header, the address of the page, and where each event goes.

const INFO_MS = 5_000;

const graphs = new Graphs(byId("graphs"));
const holders = new Holders();
const totals = new Totals();
const run = new Run();
const connectionView = new ConnectionView();

let info = null;
let isInfoAsked = false;

const STREAM_TEXTS = {
    connecting: () => "connecting",
    connected: () => "connected",
    reconnecting: (retryMs) => retryMs < 5_000 ? "connection lost, reconnecting" : `connection lost, next attempt in ${Math.round(retryMs / 1000)} s`,
    asleep: () => "asleep while the page is hidden",
};

function streamChanged(state, retryMs) {
    byId("stream").dataset.state = state;
    setText(byId("stream-text"), STREAM_TEXTS[state](retryMs));
    setText(byId("graphs-title"), state === "reconnecting" || state === "asleep" ? "Five minutes until the connection was lost" : "Last five minutes");
    if (state === "connected") { connectionView.expectAll(); }
}

function infoChanged(next) {
    if (info !== null && (info.pid !== next.pid || next.uptime < info.uptime)) {
        totals.begin();
    }
    info = next;
    const { mode, version } = info;
    document.title = `frameloop ${mode}, process ${info.pid}`;
    setText(byId("mode"), `frameloop ${mode}`);
    setText(byId("version"), version);
    graphs.setMode(mode);
    drawFacts();
    if (mode === "serve" && byId("connection").hidden) { showConnections(); }
}

async function showConnections() {
    setHidden(byId("connection"), false);
    await holders.show();
    // Unless the page is in use already.
    if (addressedId() !== null && scrollY === 0 && document.activeElement === document.body) { scrollToConnection("instant"); }
}

function drawFacts() {
    if (info === null) { return; }
    const { state, pid, uptime, listeners, limits } = info;
    const newest = graphs.samples.at(-1);
    const ofLimit = (text, limit) => limit == null ? text : `${text} of ${limit}`;
    setPairs(byId("facts"), [
        ["state", state], ["uptime", duration(Math.floor(Math.max(uptime, newest?.at ?? 0))).replace(".0 s", " s")], ["process", String(pid)],
        ["listeners", listeners.length === 0 ? null : listeners.map(({ name, address }) => name === "" ? address : `${name}: ${address}`).join(", ")],
        ["connections", newest === undefined ? null : ofLimit(count(newest.connections), limits?.max_connections && count(limits.max_connections))],
        ["buffered", newest === undefined ? null : ofLimit(bytes(newest.buffered_bytes), limits?.memory && bytes(limits.memory))],
    ]);
    byId("facts").dataset.state = state;
}

/** The state of the process changes without an event. */
async function refreshInfo() {
    if (document.hidden || isInfoAsked || byId("stream").dataset.state !== "connected") { return; }
    isInfoAsked = true;
    try {
        const response = await fetch("/v1/info", { signal: AbortSignal.timeout(INFO_MS) });
        if (response.ok) { infoChanged(await response.json()); }
    } catch {
        // The state of the stream shows that the server cannot be reached.
    }
    isInfoAsked = false;
}

function samplesChanged() {
    totals.update(graphs.samples, graphs.interval);
    drawFacts();
}

const RECEIVERS = {
    info: infoChanged,
    samples: (samples) => { graphs.replace(samples); samplesChanged(); },
    sample: (sample) => { graphs.add(sample); samplesChanged(); },
    connection: (connection) => connectionView.update(connection),
    gone: (gone) => connectionView.gone(gone),
    run: (state) => run.update(state),
};
const stream = new Stream(Object.keys(RECEIVERS), (name, data) => RECEIVERS[name](data), streamChanged);

/** The id in the address `#connection=ID`, or null. */
function addressedId() {
    return new URLSearchParams(location.hash.slice(1)).get("connection") || null;
}

function addressChanged() {
    const id = addressedId();
    holders.select(id);
    connectionView.open(id);
    stream.open(id);
}

function scrollToConnection(behavior) {
    byId("connection").scrollIntoView({ block: "start", behavior });
    byId("connection-title").focus({ preventScroll: true });
}

addEventListener("hashchange", () => {
    addressChanged();
    if (addressedId() !== null) { scrollToConnection("auto"); }
});
byId("connection-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = byId("connection-id").value.trim().replace(/^\[|\]$/g, "");
    if (id === addressedId()) {
        addressChanged();
    } else if (id !== "") {
        location.hash = `connection=${encodeURIComponent(id)}`;
    }
});
byId("connection-close").addEventListener("click", () => {
    history.pushState(null, "", location.pathname);
    addressChanged();
    byId("connection-id").focus();
});
byId("skip").addEventListener("click", (event) => {
    // The address keeps the connection.
    event.preventDefault();
    byId("main").focus();
    byId("main").scrollIntoView();
});
setInterval(refreshInfo, INFO_MS);
addressChanged();
