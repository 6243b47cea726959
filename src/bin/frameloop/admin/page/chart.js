// A graph over the last five minutes: a picture, its values as text, and a table of them.

const WINDOW_S = 300;
const MARGIN = { left: 58, right: 14, top: 24, bottom: 24 };
const PLOT_HEIGHT = 190;

/** Round marks from 0 to `highest`, about four of them. */
function linearMarks(highest) {
    const rough = (highest > 0 ? highest : 1) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
    return Array.from({ length: Math.ceil((highest > 0 ? highest : 1) / step - 1e-9) + 1 }, (_, at) => at * step);
}

/** The powers of ten around all values. */
function logarithmicMarks(lowest, highest) {
    const first = Math.floor(Math.log10(lowest) + 1e-9);
    const last = Math.max(first + 1, Math.ceil(Math.log10(highest) - 1e-9));
    return Array.from({ length: last - first + 1 }, (_, at) => 10 ** (first + at));
}

/** How values become heights: between the marks, from 0 to 1. */
function valueScale(values, isLogarithmic) {
    if (!isLogarithmic) {
        const marks = linearMarks(Math.max(0, ...values));
        return { marks, position: (value) => value / marks.at(-1) };
    }
    const positive = values.filter((value) => value > 0);
    const [lowest, highest] = positive.length > 0 ? [Math.min(...positive), Math.max(...positive)] : [1e-6, 1e-3];
    const marks = logarithmicMarks(lowest, highest);
    const [bottom, top] = [marks[0], marks.at(-1)].map(Math.log10);
    return { marks, position: (value) => value > 0 ? Math.max(0, (Math.log10(value) - bottom) / (top - bottom)) : 0 };
}

/** Stretches of samples without a gap between them in which `value` is known: arrays of their positions. */
function stretches(samples, interval, value) {
    const found = [];
    let isOpen = false;
    samples.forEach((sample, at) => {
        if (value(sample) == null) {
            isOpen = false;
            return;
        }
        if (!isOpen || sample.at - samples[at - 1].at > 2.5 * interval) { found.push([]); }
        found.at(-1).push(at);
        isOpen = true;
    });
    return found;
}

class Chart {
    /**
     * `options`: id, title, unit, note, format, isLogarithmic, isStacked, and series, each with its name, its color and dash
     * (classes of the style sheet), and `value`, a function of a sample. `onCursor` gets the time that is pointed at, or null.
     */
    constructor(options, onCursor) {
        Object.assign(this, options, { onCursor, samples: [], interval: 1, cursorAt: null, pointerX: null });
        this.svg = shape("svg", { "aria-hidden": "true", height: PLOT_HEIGHT });
        this.legend = element("ul", { class: "legend", id: `${this.id}-legend` });
        this.values = this.series.map(({ name, color, dash = "" }) => {
            const line = shape("line", { class: `line ${color} ${dash}`, x1: 0, y1: 5, x2: 22, y2: 5 });
            const area = shape("rect", { class: `area ${color}`, width: 12, height: 10 });
            const swatch = shape("svg", { class: "swatch", width: this.isStacked ? 12 : 22, height: 10, "aria-hidden": "true" }, this.isStacked ? area : line);
            const value = element("b");
            this.legend.append(element("li", {}, swatch, `${name} `, value));
            return value;
        });
        this.time = element("span", { class: "legend-time" });
        this.plot = element("div", {
            class: "plot", tabindex: 0, role: "slider", "aria-label": `${this.title}, time`, "aria-describedby": this.legend.id,
            "aria-valuemin": -WINDOW_S, "aria-valuemax": 0, "aria-valuenow": 0, "aria-orientation": "horizontal",
        }, this.svg);
        this.rows = element("tbody");
        const heads = ["since start", ...this.series.map(({ name }) => name)].map((name) => element("th", { scope: "col" }, name));
        const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.rows);
        this.details = element("details", {}, element("summary", {}, `${this.title} as a table`),
            element("div", { class: "scroll table-alternative", tabindex: 0, role: "group", "aria-label": `${this.title}, ${this.unit}` }, table));
        this.figure = element("figure", { class: "chart", id: this.id },
            element("figcaption", {}, element("h3", {}, this.title), element("p", { class: "note" }, this.note ?? ""), this.legend, this.time),
            this.plot, this.details);
        this.redraw = drawnOnce(() => this.#draw());
        new ResizeObserver(this.redraw).observe(this.plot);
        this.details.addEventListener("toggle", this.redraw);
        this.#listen();
    }

    update(samples, interval) {
        Object.assign(this, { samples, interval });
        if (this.pointerX !== null) { this.#pointAt(this.pointerX); }
        this.redraw();
    }

    /** Shows the values at a time; at the newest, if it is null. */
    setCursor(at) {
        this.cursorAt = at;
        this.redraw();
    }

    #listen() {
        this.plot.addEventListener("pointermove", (event) => {
            this.pointerX = event.clientX - this.plot.getBoundingClientRect().left;
            this.#pointAt(this.pointerX);
        });
        this.plot.addEventListener("pointerleave", () => {
            this.pointerX = null;
            this.onCursor(null);
        });
        this.plot.addEventListener("keydown", (event) => this.#keyPressed(event));
        this.plot.addEventListener("focus", () => this.#describe());
        this.plot.addEventListener("blur", () => this.onCursor(null));
    }

    #pointAt(x) {
        if (this.samples.length === 0) { return; }
        const at = this.#timeAt(x);
        const distance = (sample) => Math.abs(sample.at - at);
        this.onCursor(this.samples.reduce((best, sample) => distance(sample) < distance(best) ? sample : best).at);
    }

    #keyPressed(event) {
        const last = this.samples.length - 1;
        const current = this.cursorAt === null ? last : this.samples.indexOf(this.#shown());
        const target = {
            ArrowLeft: current - 1, ArrowDown: current - 1, ArrowRight: current + 1, ArrowUp: current + 1,
            PageDown: current - 30, PageUp: current + 30, Home: 0, End: last,
        }[event.key];
        if (event.key === "Escape") {
            this.onCursor(null);
        } else if (target === undefined || last < 0) {
            return;
        } else {
            this.onCursor(this.samples[Math.min(last, Math.max(0, target))].at);
        }
        event.preventDefault();
        this.#describe();
    }

    /** Says what is shown, when a key was pressed: not each second. */
    #describe() {
        const sample = this.#shown();
        if (sample === undefined) { return; }
        this.plot.setAttribute("aria-valuenow", Math.round(sample.at - this.samples.at(-1).at));
        this.plot.setAttribute("aria-valuetext", `${this.#age(sample)}: ${this.#texts(sample).join(", ")}`);
    }

    /** The sample under the cursor, or the newest. */
    #shown() {
        if (this.cursorAt === null) { return this.samples.at(-1); }
        return this.samples.find((sample) => sample.at >= this.cursorAt) ?? this.samples.at(-1);
    }

    #texts(sample) {
        return this.series.map(({ name, value }) => `${name} ${this.format(value(sample))}`);
    }

    #age(sample) {
        const age = this.samples.at(-1).at - sample.at;
        return age < 0.5 ? "now" : `${duration(Math.round(age)).replace(".0 s", " s")} ago`;
    }

    #timeAt(x) {
        const share = (x - MARGIN.left) / (this.plot.clientWidth - MARGIN.left - MARGIN.right);
        return this.samples.at(-1).at - WINDOW_S * (1 - share);
    }

    #draw() {
        this.#drawLegend();
        this.#drawTable();
        const width = this.plot.clientWidth;
        if (width === 0) { return; }
        this.svg.setAttribute("width", width);
        this.svg.setAttribute("viewBox", `0 0 ${width} ${PLOT_HEIGHT}`);
        const scale = valueScale(this.#allValues(), this.isLogarithmic);
        const right = width - MARGIN.right;
        const newest = this.samples.at(-1)?.at ?? 0;
        const x = (at) => right - (newest - at) / WINDOW_S * (right - MARGIN.left);
        const bottom = PLOT_HEIGHT - MARGIN.bottom;
        const y = (value) => bottom - scale.position(value) * (bottom - MARGIN.top);
        const samples = this.samples.filter((sample) => sample.at >= newest - WINDOW_S);
        const pictures = this.isStacked ? this.#areas(samples, x, y) : this.#lines(samples, x, y);
        this.svg.replaceChildren(...this.#axes(scale.marks, right, bottom, y), ...pictures, ...this.#cursor(x, y, bottom));
    }

    #allValues() {
        const of = (sample) => this.series.map(({ value }) => value(sample)).filter((value) => value != null);
        const sum = (values) => values.reduce((total, value) => total + value, 0);
        return this.isStacked ? this.samples.map((sample) => sum(of(sample))) : this.samples.flatMap(of);
    }

    #axes(marks, right, bottom, y) {
        const values = marks.flatMap((mark) => [
            shape("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(mark), y2: y(mark) }),
            shape("text", { class: "mark", x: MARGIN.left - 6, y: y(mark) + 4, "text-anchor": "end" }, this.format(mark)),
        ]);
        const minutes = WINDOW_S / 60;
        const times = Array.from({ length: minutes + 1 }, (_, age) => {
            const at = right - age / minutes * (right - MARGIN.left);
            return [
                shape("line", { class: "grid", x1: at, x2: at, y1: bottom, y2: bottom + 4 }),
                shape("text", { class: "mark", x: at, y: bottom + 17, "text-anchor": age === 0 ? "end" : "middle" }, age === 0 ? "now" : `\u2212${age} min`),
            ];
        });
        const unit = shape("text", { class: "axis-unit", x: 0, y: 12 }, this.unit + (this.isLogarithmic ? ", logarithmic" : ""));
        return [unit, ...values, ...times.flat()];
    }

    #lines(samples, x, y) {
        return this.series.flatMap(({ color, dash = "", value }) => stretches(samples, this.interval, value).map((positions) => {
            const points = positions.map((at) => `${x(samples[at].at).toFixed(1)},${y(value(samples[at])).toFixed(1)}`);
            // A value alone is a point, which a line would not show.
            return points.length === 1
                ? shape("circle", { class: `point ${color}`, cx: points[0].split(",")[0], cy: points[0].split(",")[1], r: 2 })
                : shape("polyline", { class: `line ${color} ${dash}`, points: points.join(" ") });
        }));
    }

    #areas(samples, x, y) {
        const point = (at, value) => `${x(samples[at].at).toFixed(1)},${y(value).toFixed(1)}`;
        let below = samples.map(() => 0);
        return this.series.flatMap(({ color, value }) => {
            const base = below;
            const top = samples.map((sample, at) => base[at] + (value(sample) ?? 0));
            below = top;
            return stretches(samples, this.interval, value).map((positions) => {
                const edge = positions.map((at) => point(at, top[at]));
                const back = positions.toReversed().map((at) => point(at, base[at]));
                return shape("polygon", { class: `area ${color}`, points: [...edge, ...back].join(" ") });
            });
        });
    }

    #cursor(x, y, bottom) {
        const sample = this.#shown();
        if (this.cursorAt === null || sample === undefined) { return []; }
        const at = x(sample.at);
        if (at < MARGIN.left) { return []; }
        const line = shape("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: bottom });
        let total = 0;
        const points = this.series.filter(({ value }) => value(sample) != null).map(({ color, value }) => {
            total = this.isStacked ? total + value(sample) : value(sample);
            return shape("circle", { class: `cursor-point ${color}`, cx: at, cy: y(total), r: 3.5 });
        });
        return [line, ...points];
    }

    #drawLegend() {
        const sample = this.#shown();
        this.series.forEach(({ value }, at) => setText(this.values[at], this.format(sample && value(sample))));
        setText(this.time, sample === undefined || this.cursorAt === null ? "" : this.#age(sample));
    }

    /** The newest samples are at the top: rows are added there, and those that are there stay. */
    #drawTable() {
        if (!this.details.open) {
            this.rows.replaceChildren();
            return;
        }
        const known = new Set(this.samples.map(({ at }) => String(at)));
        [...this.rows.rows].filter((row) => !known.has(row.dataset.at)).forEach((row) => row.remove());
        const newest = Number(this.rows.rows[0]?.dataset.at ?? -1);
        for (const sample of this.samples.filter(({ at }) => at > newest)) {
            const cells = this.series.map(({ value }) => element("td", {}, this.format(value(sample))));
            this.rows.prepend(element("tr", { "data-at": sample.at }, element("th", { scope: "row" }, clock(sample.at)), ...cells));
        }
    }
}
