// The stream of events: opened again after an error, and closed while the page is hidden.

const HIDDEN_MS = 60_000;
/** A sample comes each second: without any event for so long, the stream is broken. */
const SILENT_MS = 10_000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;

class Stream {
    /** `onEvent(name, data)` takes the events, `onState(state, retryMs)` the states connecting, connected, reconnecting, asleep. */
    constructor(names, onEvent, onState) {
        Object.assign(this, { names, onEvent, onState });
        this.source = null;
        this.retryTimer = null;
        this.sleepTimer = null;
        this.silenceTimer = null;
        this.connection = null;
        this.backoffMs = BACKOFF_MIN_MS;
        document.addEventListener("visibilitychange", () => this.#visibilityChanged());
        // A page kept for the back button must not hold a connection.
        addEventListener("pagehide", () => this.#sleep());
        addEventListener("pageshow", (event) => { if (event.persisted) { this.#wake(); } });
    }

    /** Opens the stream; with the events of a connection, if `connection` is its id. */
    open(connection) {
        this.connection = connection;
        this.#close();
        this.onState("connecting");
        this.#connect();
        if (document.hidden) { this.#visibilityChanged(); }
    }

    #connect() {
        this.retryTimer = null;
        const query = this.connection == null ? "" : `?connection=${encodeURIComponent(this.connection)}`;
        const source = new EventSource(`/events${query}`);
        this.source = source;
        source.addEventListener("open", () => {
            if (this.source === source) { this.onState("connected"); }
        });
        this.#heard();
        source.addEventListener("error", () => {
            if (this.source === source) { this.#failed(); }
        });
        for (const name of this.names) {
            source.addEventListener(name, (event) => {
                // An event that is delivered after `close` belongs to another connection.
                if (this.source !== source) { return; }
                this.backoffMs = BACKOFF_MIN_MS;
                this.#heard();
                this.onEvent(name, JSON.parse(event.data));
            });
        }
    }

    #heard() {
        clearTimeout(this.silenceTimer);
        this.silenceTimer = setTimeout(() => this.#failed(), SILENT_MS);
    }

    #failed() {
        this.#close();
        // Jitter, so that the pages of a server that was restarted do not come all at once.
        const delayMs = this.backoffMs * (0.5 + Math.random() / 2);
        this.backoffMs = Math.min(2 * this.backoffMs, BACKOFF_MAX_MS);
        this.onState("reconnecting", delayMs);
        this.retryTimer = setTimeout(() => this.#connect(), delayMs);
    }

    #close() {
        clearTimeout(this.retryTimer);
        clearTimeout(this.silenceTimer);
        this.retryTimer = null;
        this.source?.close();
        this.source = null;
    }

    #visibilityChanged() {
        clearTimeout(this.sleepTimer);
        if (document.hidden) {
            this.sleepTimer = setTimeout(() => this.#sleep(), HIDDEN_MS);
        } else {
            this.#wake();
        }
    }

    #sleep() {
        this.#close();
        this.onState("asleep");
    }

    #wake() {
        if (this.source !== null) { return; }
        this.#close();
        this.backoffMs = BACKOFF_MIN_MS;
        this.onState("connecting");
        this.#connect();
    }
}
