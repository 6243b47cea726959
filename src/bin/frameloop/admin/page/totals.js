// Closes by reason and lints, counted from the samples.

class Totals {
    constructor() {
        this.begin();
        this.redraw = drawnOnce(() => this.#draw());
        this.recent = [];
    }

    /** Another process: what was counted is not of it. */
    begin() {
        Object.assign(this, { counted: new Map([["closed_by", new Map()], ["lints", new Map()]]), newestAt: null, missedS: 0 });
    }

    /** The samples that are held, whose newest may have been counted already. Those of before the page was opened are not. */
    update(samples, interval) {
        this.recent = samples;
        if (this.newestAt !== null) {
            const added = samples.filter(({ at }) => at > this.newestAt);
            added.forEach((sample) => this.#count(sample));
            const gap = (added[0]?.at ?? this.newestAt) - this.newestAt;
            if (gap > 2.5 * interval) { this.missedS += gap - interval; }
        }
        this.newestAt = samples.at(-1)?.at ?? this.newestAt ?? 0;
        this.redraw();
    }

    #count(sample) {
        for (const [member, counts] of this.counted) {
            for (const [name, number] of Object.entries(sample[member] ?? {})) {
                counts.set(name, (counts.get(name) ?? 0) + number);
            }
        }
    }

    #draw() {
        const isShown = [this.#drawTable("totals-closes", "closed_by"), this.#drawTable("totals-lints", "lints")].includes(true);
        setHidden(byId("totals"), !isShown);
        setHidden(byId("totals-note"), this.missedS === 0);
        setText(byId("totals-note"), `${duration(this.missedS)} in which this page was asleep or not connected are not counted.`);
    }

    /** Returns whether there is something to show. */
    #drawTable(id, member) {
        const recent = new Map();
        for (const sample of this.recent) {
            for (const [name, number] of Object.entries(sample[member] ?? {})) { recent.set(name, (recent.get(name) ?? 0) + number); }
        }
        const counted = this.counted.get(member);
        const names = [...new Set([...recent.keys(), ...counted.keys()])].sort();
        setRows(byId(id).querySelector("tbody"), names.map((name) => [name, count(recent.get(name) ?? 0), count(counted.get(name) ?? 0)]));
        setHidden(byId(id), names.length === 0);
        return names.length > 0;
    }
}
