// The graphs, and the samples that they show.

const SAMPLES_MAX = 300;

const LOAD_LATENCY = {
    id: "latency", title: "Latency", unit: "latency", format: latency, isLogarithmic: true,
    series: [
        { name: "p50", color: "blue", value: ({ latency }) => latency?.p50 },
        { name: "p99", color: "violet", value: ({ latency }) => latency?.p99 },
        { name: "p99.9", color: "orange", value: ({ latency }) => latency?.p999 },
        { name: "max", color: "red", dash: "dashed", value: ({ latency }) => latency?.max },
    ],
};
const LOOP_LAG = {
    id: "latency", title: "Loop lag", unit: "delay", format: latency, note: "Delay of a 100 ms probe timer: how long an event waits for the loop.",
    series: [{ name: "longest in a second", color: "violet", value: ({ lag }) => lag }],
};
const RATE = {
    id: "rate", title: "Rate", unit: "frames/s", format: rate,
    series: [
        { name: "in", color: "blue", value: ({ frames_in }) => frames_in },
        { name: "out", color: "orange", dash: "dashed", value: ({ frames_out }) => frames_out },
    ],
};
const TURNS = {
    id: "turns", title: "Turn duration", unit: "duration", format: latency, isLogarithmic: true, note: "How long connections wait for each other in a turn of the loop.",
    series: [
        { name: "p50", color: "blue", value: ({ turn_p50 }) => turn_p50 },
        { name: "p99", color: "violet", value: ({ turn_p99 }) => turn_p99 },
        { name: "max", color: "red", dash: "dashed", value: ({ turn_max }) => turn_max },
    ],
};
const CONNECTIONS = {
    id: "connections", title: "Connections", unit: "connections", format: count, isStacked: true,
    series: [{ name: "all", color: "blue", value: ({ connections }) => connections }],
};
const STATES = {
    id: "connections", title: "Connections by state", unit: "connections", format: count, isStacked: true,
    series: [
        { name: "open", color: "blue", value: ({ states }) => states?.open },
        { name: "half-closed", color: "orange", value: ({ states }) => states?.half_closed },
        { name: "finished", color: "violet", value: ({ states }) => states?.finished },
        { name: "closing", color: "red", value: ({ states }) => states?.closing },
        { name: "dialing", color: "gray", value: ({ states }) => states?.dialing },
    ],
};

class Graphs {
    constructor(container) {
        this.container = container;
        this.mode = null;
        this.shown = null;
        this.charts = [];
        this.samples = [];
        this.interval = 1;
    }

    setMode(mode) {
        this.mode = mode;
        this.#update();
    }

    /** All samples anew. */
    replace({ interval, samples }) {
        Object.assign(this, { interval, samples: samples.slice(-SAMPLES_MAX) });
        this.#update();
    }

    add(sample) {
        this.samples = [...this.samples, sample].slice(-SAMPLES_MAX);
        this.#update();
    }

    #update() {
        const hasStates = this.samples.some(({ states }) => states != null);
        // The loops of a load are its threads' own.
        const ofMode = this.mode === "load" ? [LOAD_LATENCY] : [LOOP_LAG, TURNS];
        const graphs = [RATE, ...ofMode, hasStates ? STATES : CONNECTIONS];
        if (this.mode != null && (graphs.length !== this.shown?.length || graphs.some((graph, at) => graph !== this.shown[at]))) {
            this.shown = graphs;
            const setCursor = (at) => this.charts.forEach((chart) => chart.setCursor(at));
            this.charts = graphs.map((graph) => new Chart(graph, setCursor));
            this.container.replaceChildren(...this.charts.map(({ figure }) => figure));
        }
        this.charts.forEach((chart) => chart.update(this.samples, this.interval));
    }
}
