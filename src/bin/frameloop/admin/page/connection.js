// One connection: its state, its pending bytes, its deadlines and its last events, now or at an earlier event.

const EVENTS_MAX = 50;
const ANNOUNCE_MS = 2_000;

/** A bar with marks. `label` names it for screen readers. */
class Bar {
    constructor(label) {
        this.text = element("span", { class: "bar-text" });
        this.fill = element("div", { class: "bar-fill" });
        this.track = element("div", { class: "bar-track", role: "meter", "aria-label": label, "aria-valuemin": 0 }, this.fill);
        this.node = element("div", { class: "bar" }, element("div", { class: "bar-head" }, element("span", {}, label), this.text), this.track);
        this.marks = [];
    }

    show(value, highest, text) {
        setText(this.text, text);
        this.fill.style.width = `${100 * Math.min(1, Math.max(0, highest > 0 ? value / highest : 0))}%`;
        this.track.setAttribute("aria-valuenow", value);
        this.track.setAttribute("aria-valuemax", highest);
        this.track.setAttribute("aria-valuetext", text);
    }

    showMarks(marks, highest) {
        this.marks.forEach((mark) => mark.remove());
        this.marks = marks.map(([name, value]) => {
            const share = value / highest;
            const mark = element("div", { class: `bar-mark ${share > 0.5 ? "from-right" : ""}` }, element("span", {}, `${name} ${bytes(value)}`));
            mark.style.left = `${100 * share}%`;
            return mark;
        });
        this.track.append(...this.marks);
    }
}

class ConnectionView {
    constructor() {
        this.id = null;
        this.connection = null;
        this.events = [];
        /** The number of the event that is shown, or null for the present. */
        this.shownSeq = null;
        /** Whether the next report has all events, and not only those since the last. */
        this.isAllExpected = true;
        this.receivedMs = 0;
        this.diagram = new Diagram(byId("connection-diagram"));
        this.input = new Bar("pending input");
        this.output = new Bar("pending output");
        byId("connection-pending").append(this.input.node, this.output.node);
        this.deadlines = new Map();
        this.items = new Map();
        this.slider = byId("connection-time");
        this.list = byId("connection-events");
        this.redraw = drawnOnce(() => this.#draw());
        this.announceTimer = null;
        this.#listen();
    }

    #listen() {
        this.slider.addEventListener("input", () => this.#select(this.events[Number(this.slider.value)]));
        byId("connection-live").addEventListener("click", () => this.#select(undefined));
        this.list.addEventListener("click", (event) => {
            const seq = event.target.closest("li")?.dataset.seq;
            this.#select(this.events.find((event) => String(event.seq) === seq));
        });
        setInterval(() => {
            if (this.connection === null || document.hidden) { return; }
            this.#drawFacts();
            this.#drawDeadlines();
        }, 250);
    }

    /** Shows another connection, or none if `id` is null; its events follow. */
    open(id) {
        Object.assign(this, { id, connection: null, shownSeq: null });
        this.#dropEvents();
        byId("connection-id").value = id ?? "";
        setHidden(byId("connection-close"), id === null);
        setHidden(byId("connection-empty"), id !== null);
        setHidden(byId("connection-problem"), true);
        setText(byId("connection-title"), id === null ? "One connection" : `Connection ${id}`);
        this.#announce();
        this.redraw();
    }

    /** The stream has been opened. Events that were received may be of a recording that has ended, with other numbers. */
    expectAll() {
        this.isAllExpected = true;
    }

    /** What the server has reported. */
    update(connection) {
        if (connection.id !== this.id) { return; }
        this.connection = connection;
        this.receivedMs = performance.now();
        if (this.isAllExpected) { this.#dropEvents(); }
        this.isAllExpected = false;
        this.events = [...this.events, ...connection.events ?? []].slice(-EVENTS_MAX);
        if (this.shownSeq > this.events.at(-1)?.seq) { this.shownSeq = null; }
        setHidden(byId("connection-problem"), true);
        this.#announceSoon();
        this.redraw();
    }

    #dropEvents() {
        this.events = [];
        this.items.clear();
        this.list.replaceChildren();
    }

    /** The server does not know the id, or `error` says why it has no events. What is known of the connection stays. */
    gone({ id, error }) {
        if (id !== this.id) { return; }
        const text = this.connection === null
            ? `There is no connection ${id}, or it closed before its events were recorded.`
            : `The server has no more events of ${id}. This is what was received.`;
        setText(byId("connection-problem"), error ?? text);
        setHidden(byId("connection-problem"), false);
        this.redraw();
    }

    /** Shows the connection after an event; after the newest, live. */
    #select(event) {
        const isNewest = event === undefined || event.seq === this.events.at(-1)?.seq;
        this.shownSeq = isNewest ? null : event.seq;
        this.redraw();
    }

    /** The position of the shown event. One that has been dropped gives way to the oldest. */
    #position() {
        if (this.shownSeq === null) { return this.events.length - 1; }
        return Math.max(0, this.events.findIndex(({ seq }) => seq >= this.shownSeq));
    }

    #draw() {
        const { connection } = this;
        setHidden(byId("connection-detail"), connection === null);
        if (connection === null) { return; }
        const isLive = this.shownSeq === null;
        const shown = isLive ? connection : this.events[this.#position()];
        byId("connection-detail").classList.toggle("past", !isLive);
        this.#drawFacts();
        this.#drawState(shown.state);
        this.#drawPending(shown);
        this.#drawDeadlines();
        this.#drawEvents();
        this.#drawTime();
    }

    #drawFacts() {
        const { peer, local, listener, dialed, age, idle, frames_in, bytes_in, bytes_out, framing, max_payload, closed } = this.connection;
        // Until it is closed, a connection grows older without a report.
        const passed = closed == null ? this.#passedS() : 0;
        setPairs(byId("connection-facts"), [
            ["peer", peer], ["local", local], ["listener", listener || null], ["opened by", dialed ? "this side (dialed)" : "the peer"],
            ["closed", closed], ["age", age == null ? null : duration(age + passed)], ["idle", closed == null ? duration(idle + passed) : null],
            ["frames in", frames_in == null ? null : count(frames_in)], ["bytes in", bytes_in == null ? null : bytes(bytes_in)],
            ["bytes out", bytes_out == null ? null : bytes(bytes_out)], ["framing", framing], ["payload limit", bytes(max_payload)],
        ]);
    }

    #drawState(state) {
        const until = this.events.slice(0, this.#position() + 1).map((event) => event.state);
        setText(byId("connection-state"), state);
        const before = until.findLast((name) => name !== state) ?? null;
        setText(byId("connection-transition"), this.diagram.show(state, before, this.connection.closed));
    }

    #drawPending(shown) {
        const { output_high_water: high, output_low_water: low, paused_by, closed } = this.connection;
        const { pending_input: input, pending_output: output } = shown;
        const highest = Math.max(1.25 * (high ?? 0), input, output, 1);
        this.input.show(input, highest, bytes(input));
        this.output.show(output, highest, bytes(output));
        this.output.node.classList.toggle("above", high != null && output >= high);
        const marks = [["low-water mark", low], ["high-water mark", high]];
        this.output.showMarks(marks.filter(([, value]) => value != null), highest);
        const isPaused = this.shownSeq === null && paused_by != null && closed == null;
        setHidden(byId("connection-paused"), !isPaused);
        setText(byId("connection-paused"), isPaused ? `reading paused: ${paused_by}` : "");
    }

    /** Seconds since the last report. */
    #passedS() {
        return (performance.now() - this.receivedMs) / 1000;
    }

    /** Counts down between two reports. */
    #drawDeadlines() {
        const container = byId("connection-deadlines");
        const isLive = this.shownSeq === null;
        const running = isLive && this.connection.closed == null ? this.connection.deadlines : [];
        const passed = this.#passedS();
        for (const [kind, bar] of this.deadlines) {
            if (!running.some((deadline) => deadline.kind === kind)) {
                bar.node.remove();
                this.deadlines.delete(kind);
            }
        }
        for (const { kind, in: left, of } of running) {
            if (!this.deadlines.has(kind)) {
                const bar = new Bar(`${kind} timeout`);
                this.deadlines.set(kind, bar);
                container.append(bar.node);
            }
            const now = Math.max(0, left - passed);
            this.deadlines.get(kind).show(now, of, `${duration(now)} of ${duration(of)} left`);
        }
        const note = container.querySelector(".note") ?? container.appendChild(element("p", { class: "note" }));
        setHidden(note, running.length > 0);
        setText(note, isLive ? "No deadline is running." : "Deadlines are known for the present only.");
    }

    #drawEvents() {
        const wasAtBottom = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 8;
        const known = new Set(this.events.map(({ seq }) => seq));
        for (const [seq, item] of this.items) {
            if (!known.has(seq)) {
                item.remove();
                this.items.delete(seq);
            }
        }
        for (const event of this.events.filter(({ seq }) => !this.items.has(seq))) {
            const item = element("li", { "data-seq": event.seq, "data-kind": event.kind },
                element("span", { class: "event-at" }, event.at.toFixed(6)), " ", element("span", { class: "event-kind" }, event.kind.padEnd(8)), " ", element("span", { class: "event-text" }, event.text));
            this.items.set(event.seq, item);
            this.list.append(item);
        }
        const shown = this.shownSeq === null ? undefined : this.events[this.#position()];
        for (const [seq, item] of this.items) {
            item.classList.toggle("shown", seq === shown?.seq);
            if (seq === shown?.seq) { item.setAttribute("aria-current", "true"); } else { item.removeAttribute("aria-current"); }
        }
        if (shown !== undefined) {
            this.#scrollTo(this.items.get(shown.seq));
        } else if (wasAtBottom || !this.list.matches(":focus, :hover")) {
            this.list.scrollTop = this.list.scrollHeight;
        }
    }

    /** Scrolls the list, not the page. */
    #scrollTo(item) {
        const top = item.offsetTop - this.list.offsetTop;
        const isAbove = top < this.list.scrollTop;
        const isBelow = top + item.offsetHeight > this.list.scrollTop + this.list.clientHeight;
        if (isAbove || isBelow) { this.list.scrollTop = top - this.list.clientHeight / 2; }
    }

    #drawTime() {
        const position = this.#position();
        const event = this.events[position];
        const isLive = this.shownSeq === null;
        this.slider.max = Math.max(0, this.events.length - 1);
        this.slider.value = Math.max(0, position);
        this.slider.disabled = this.events.length < 2;
        byId("connection-live").setAttribute("aria-pressed", String(isLive));
        const place = event === undefined ? "no event yet" : `event ${position + 1} of ${this.events.length}, at ${clock(event.at)}`;
        const text = isLive ? `live: ${place}` : `${place}, ${event.state}`;
        setText(byId("connection-time-text"), text);
        this.slider.setAttribute("aria-valuetext", isLive ? "live" : `${text}: ${event.text}`);
    }

    /** Announces the state for screen readers, but not each change of a busy connection. */
    #announceSoon() {
        this.announceTimer ??= setTimeout(() => {
            this.announceTimer = null;
            this.#announce();
        }, ANNOUNCE_MS);
    }

    #announce() {
        const { connection } = this;
        const parts = connection === null ? [] : [
            `Connection ${connection.id}: ${connection.state}`,
            connection.paused_by == null || connection.closed != null ? null : `reading paused: ${connection.paused_by}`,
            connection.closed,
        ];
        setText(byId("connection-status"), parts.filter((part) => part != null).join(", "));
    }
}
