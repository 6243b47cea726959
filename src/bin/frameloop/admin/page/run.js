// A run of `frameloop load`: its stage, what was sent, latencies, steps and errors.

class Run {
    constructor() {
        this.run = null;
        this.redraw = drawnOnce(() => this.#draw());
        byId("run-start").addEventListener("click", () => this.#start());
    }

    update(run) {
        this.run = run;
        this.redraw();
    }

    async #start() {
        const button = byId("run-start");
        button.disabled = true;
        let problem = "";
        try {
            const response = await fetch("/v1/status", {
                method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ paused: false }),
            });
            if (!response.ok) {
                const { error } = await response.json().catch(() => ({}));
                problem = `The run was not started: ${error ?? response.status}.`;
            }
        } catch (error) {
            problem = `The run was not started: ${error.message}.`;
        }
        button.disabled = false;
        setText(byId("run-problem"), problem);
        setHidden(byId("run-problem"), problem === "");
    }

    #draw() {
        const { stage, elapsed, left, paused, step, steps, errors_by } = this.run;
        setHidden(byId("run"), false);
        setHidden(byId("run-start"), !paused);
        setText(byId("run-stage"), paused ? `${stage}, paused` : stage);
        const time = left == null ? `${duration(elapsed)} elapsed` : `${duration(elapsed)} elapsed, ${duration(left)} left`;
        setText(byId("run-time"), step == null ? time : `${time}; ${this.#stepText(step)}`);
        this.#drawProgress(elapsed, left, paused);
        this.#drawTiles();
        setText(byId("run-steps-unit"), step == null ? "target" : step.unit);
        const rows = steps.map(({ target, rate: reached, p50, p99, held }, at) =>
            [String(at + 1), rate(target), rate(reached), latency(p50), latency(p99), held == null ? "" : held ? "yes" : "no"]);
        setRows(byId("run-steps").querySelector("tbody"), rows);
        setHidden(byId("run-steps"), rows.length === 0);
        const errors = Object.entries(errors_by).map(([kind, number]) => [kind, count(number)]);
        setRows(byId("run-errors").querySelector("tbody"), errors);
        setHidden(byId("run-errors"), errors.length === 0);
    }

    #stepText({ index, of, unit, target }) {
        return `step ${index}${of == null ? "" : ` of ${of}`}: ${rate(target)} ${unit === "rate" ? "frames/s" : unit}`;
    }

    /** Without a known end, the bar has no value. */
    #drawProgress(elapsed, left, paused) {
        const bar = byId("run-progress");
        setHidden(bar, paused);
        if (left == null) {
            bar.removeAttribute("value");
        } else {
            bar.max = Math.max(elapsed + left, 1e-9);
            bar.value = elapsed;
        }
    }

    #drawTiles() {
        const { connected, connections, due, sent, late, frames, errors, rate_target, latency: latencies } = this.run;
        const kind = latencies?.kind ?? "";
        setPairs(byId("run-tiles"), [
            ["connected", `${count(connected)} of ${count(connections)}`],
            ["target frames/s", rate_target == null ? null : rate(rate_target)],
            ["due", due == null ? null : count(due)], ["sent", count(sent)], ["late", count(late)],
            ["responses", count(frames)], ["errors", count(errors)],
            ...[["p50", "p50"], ["p99", "p99"], ["p99.9", "p999"], ["max", "max"]]
                .map(([name, member]) => [`${kind} ${name}`, latencies == null ? null : latency(latencies[member])]),
        ]);
    }
}
