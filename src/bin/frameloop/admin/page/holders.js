// The connections that hold the most, or are the oldest, or idle the longest.

const HOLDERS_MS = 2_000;

class Holders {
    constructor() {
        this.section = byId("holders");
        this.body = this.section.querySelector("tbody");
        this.order = byId("holders-order");
        this.selected = null;
        this.rows = new Map();
        this.isInView = false;
        this.isAsking = false;
        this.order.addEventListener("change", () => this.refresh());
        new IntersectionObserver(([entry]) => {
            this.isInView = entry.isIntersecting;
            this.refresh();
        }).observe(this.section);
        document.addEventListener("visibilitychange", () => this.refresh());
        setInterval(() => this.refresh(), HOLDERS_MS);
    }

    /** Shows the table, at first even if it is below what can be seen: it has its height before the page is scrolled. */
    show() {
        this.section.hidden = false;
        return this.#ask();
    }

    /** Asks the server, if the table can be seen. */
    refresh() {
        if (!document.hidden && this.isInView) { this.#ask(); }
    }

    async #ask() {
        if (this.isAsking) { return; }
        this.isAsking = true;
        const order = this.order.value;
        try {
            const response = await fetch(`/connections?top=${order}`, { signal: AbortSignal.timeout(5_000) });
            if (!response.ok) { throw new Error(`${response.status} ${response.statusText}`); }
            this.#draw(await response.json());
        } catch (error) {
            setText(byId("holders-note"), `The table is not up to date: ${error.message}.`);
        }
        this.isAsking = false;
        if (order !== this.order.value) { this.refresh(); }
    }

    select(id) {
        this.selected = id;
        for (const [other, row] of this.rows) { row.classList.toggle("selected", other === id); }
    }

    #draw({ total, paused, top }) {
        const pausedText = paused == null || paused.handler + paused.backpressure === 0
            ? "" : `, reading paused: ${count(paused.backpressure)} by backpressure, ${count(paused.handler)} by a handler`;
        setText(byId("holders-note"), `${count(top?.length ?? 0)} of ${count(total)} connections${pausedText}`);
        const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
        const rows = (top ?? []).map((connection) => this.#row(connection));
        const shown = new Set((top ?? []).map(({ id }) => id));
        for (const id of this.rows.keys()) {
            if (!shown.has(id)) { this.rows.delete(id); }
        }
        // A row that moves loses the focus.
        this.body.replaceChildren(...rows);
        focused?.focus({ preventScroll: true });
    }

    #row({ id, peer, state, paused_by, buffered_bytes, pending_input, pending_output, idle, age }) {
        if (!this.rows.has(id)) {
            const link = element("a", { href: `#connection=${encodeURIComponent(id)}` }, id);
            const cells = Array.from({ length: 7 }, () => element("td"));
            const row = element("tr", {}, element("th", { scope: "row" }, link), ...cells);
            row.classList.toggle("selected", id === this.selected);
            this.rows.set(id, row);
        }
        const row = this.rows.get(id);
        const stateText = paused_by == null ? state : `${state}, paused: ${paused_by}`;
        const texts = [peer, stateText, bytes(buffered_bytes), bytes(pending_input), bytes(pending_output), duration(idle), duration(age)];
        texts.forEach((text, at) => setText(row.cells[at + 1], text));
        return row;
    }
}
