// Draws the plots of the numbers in #data. All that they show is also in the page's tables.
"use strict";
(() => {
    const data = JSON.parse(document.getElementById("data").textContent);
    const root = document.documentElement;
    const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

    // Numbers as the tables have them: three digits, the unit that fits.
    const digits = (number) => Number(number.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
    const units = [[1, "ns"], [1e3, "us"], [1e6, "ms"], [1e9, "s"]];
    const latency = (nanos) => {
        if (nanos == null) { return ""; }
        const [factor, name] = units.find(([factor]) => nanos / factor < 999.5) ?? units[3];
        return digits(nanos / factor) + " " + name;
    };
    const rate = (number) => {
        if (number == null) { return ""; }
        if (number >= 1e6) { return digits(number / 1e6) + "m"; }
        return number >= 1e4 ? digits(number / 1e3) + "k" : digits(number);
    };
    const seconds = (number) => {
        if (number == null) { return ""; }
        if (number < 120) { return digits(number) + " s"; }
        const [minutes, rest] = [Math.floor(number / 60), Math.round(number % 60)];
        return minutes + ":" + String(rest).padStart(2, "0");
    };
    // 1 / (1 - quantile) as a percentile: 10 is p90, 1000 is p99.9.
    const percentile = (x) => {
        if (x == null) { return ""; }
        const decimals = Math.max(0, Math.ceil(Math.log10(x)) - 2) + (Number.isInteger(Math.log10(x)) ? 0 : 1);
        return x < 1.0001 ? "min" : "p" + (100 - 100 / x).toFixed(decimals);
    };
    // Where a logarithmic axis has its marks: at powers of ten, and between them where there are few.
    const marks = (low, high) => {
        const steps = high / low < 50 ? [1, 2, 5] : [1];
        const all = [];
        for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
            all.push(...steps.map((step) => Number((step * 10 ** power).toPrecision(3))));
        }
        return all.filter((mark) => mark >= low && mark <= high);
    };
    const logarithmic = { splits: (_, __, low, high) => marks(low, high), filter: (_, splits) => splits };

    // Rule: every label is whole, within its plot, and apart from its neighbours.
    const FONT = "12px system-ui, sans-serif";
    const pen = document.createElement("canvas").getContext("2d");
    const textWidth = (text) => { pen.font = FONT; return Math.ceil(pen.measureText(text).width); };
    const widest = (texts) => Math.max(0, ...texts.map(textWidth));

    const X_AXIS = 32;
    // The last mark may be at the right edge, with half of its label behind it.
    const paddingFor = (labels) => [12, Math.max(28, Math.ceil(widest(labels) / 2) + 4), 0, 0];
    const axis = (values, more) => ({
        stroke: colour("--ink-soft"), font: FONT,
        grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule"), width: 1 },
        values: (_, splits) => splits.map((split) => split == null ? "" : values(split)), ...more,
    });
    const line = (label, name, value, more) => ({
        label, stroke: colour(name), width: 2, points: { fill: colour("--paper") },
        value: (_, number) => value(number), ...more,
    });
    const options = (id, more) => {
        const width = Math.max(240, document.getElementById(id).clientWidth);
        const height = Math.round(Math.min(320, Math.max(220, width * 0.55)));
        return {
            width, height, padding: paddingFor([]), cursor: { drag: { x: false, y: false }, points: { size: 6 } },
            legend: { markers: { dash: (u, at) => u.series[at].dash ? "dashed" : "solid" } }, ...more,
        };
    };
    // As wide as the longest label, and usually the same for all plots, so that their times are below each other.
    const Y_AXIS = 62;
    const wideEnough = (usual) => (_, labels) => Math.max(usual, widest(labels ?? []) + 20);
    const latencyAxis = () => axis(latency, { size: wideEnough(Y_AXIS), ...logarithmic });
    const latencyScale = { distr: 3, log: 10, range: (_, low, high) => [(low ?? 1) * 0.8, (high ?? 10) * 1.25] };

    function curves(id) {
        const { x, lines } = data.curves;
        const series = lines.map(({ name, is_baseline }) => line(
            is_baseline ? name + " (baseline)" : name, "--" + name, latency,
            is_baseline ? { dash: [5, 4], width: 1.5, alpha: 0.75 } : {},
        ));
        const end = Math.max(100, x[x.length - 1]);
        const names = marks(1, end).map(percentile);
        const padding = paddingFor(names);
        // On a narrow screen every second mark has its name, or every third.
        const namedWhereThereIsRoom = (u, splits) => {
            const width = u.bbox.width > 0 ? u.bbox.width / devicePixelRatio : u.width - Y_AXIS - padding[1];
            const decade = width / Math.log10(end);
            const each = Math.max(1, Math.ceil((widest(names) + 10) / decade));
            return splits.map((split, at) => at % each === 0 ? percentile(split) : "");
        };
        return new uPlot(options(id, {
            padding,
            scales: { x: { time: false, distr: 3, log: 10, range: () => [1, end] }, y: latencyScale },
            axes: [
                axis(percentile, { size: X_AXIS, ...logarithmic, values: namedWhereThereIsRoom }),
                latencyAxis(),
            ],
            series: [{ label: "percentile", value: (_, at) => percentile(at) }, ...series],
        }), [x, ...lines.map(({ values }) => values)], document.getElementById(id));
    }

    // The middle of each column, and the scale from the first one's beginning to the last one's end.
    const middles = (time) => time.begin.map((begin, at) => begin + time.length[at] / 2);
    const endOf = (time) => time.begin.reduce((end, begin, at) => Math.max(end, begin + time.length[at]), 0);
    const timeScale = (...times) => {
        const end = Math.max(...times.map(endOf), 1e-3);
        return { time: false, range: () => [0, end] };
    };
    // Beyond a minute, steps that a clock has.
    const STEPS = [
        .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400,
    ];
    const timeAxis = () => axis(seconds, { size: X_AXIS, incrs: STEPS });
    const timeSeries = { label: "at", value: (_, at) => seconds(at) };
    const timePadding = (...times) => paddingFor(times.map((time) => seconds(Math.round(endOf(time)))));
    const ofTime = (id, more, columns) => new uPlot(options(id, {
        padding: timePadding(data.time),
        scales: { x: timeScale(data.time), y: latencyScale }, axes: [timeAxis(), latencyAxis()], ...more,
    }), columns, document.getElementById(id));

    // Outages are shaded, behind the lines.
    const shade = (u) => {
        u.ctx.save();
        u.ctx.globalAlpha = 0.14;
        u.ctx.fillStyle = colour("--bad");
        for (const [begin, end] of data.outages) {
            const left = Math.max(u.bbox.left, u.valToPos(begin, "x", true));
            const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(end, "x", true));
            u.ctx.fillRect(left, u.bbox.top, Math.max(1, right - left), u.bbox.height);
        }
        u.ctx.restore();
    };
    const shaded = { hooks: { drawClear: [shade] } };

    function percentiles(id) {
        const { p50, p99, p99_9, max } = data.time;
        return ofTime(id, {
            ...shaded,
            series: [
                timeSeries, line("p50", "--p50", latency), line("p99", "--p99", latency),
                line("p99.9", "--p99-9", latency), line("max", "--max", latency, { width: 1 }),
            ],
        }, [middles(data.time), p50, p99, p99_9, max]);
    }

    function throughput(id) {
        const tables = [[middles(data.time), data.time.rate]];
        const series = [timeSeries, line("frames/s", "--service", rate, { fill: `rgba(${colour("--heat")}, .12)` })];
        if (data.baseline) {
            tables.push([middles(data.baseline), data.baseline.rate]);
            series.push(line("baseline", "--connect", rate, { dash: [5, 4], spanGaps: true }));
            // The two have other times: where one has none, its line goes on.
            series[1].spanGaps = true;
        }
        const times = [data.time, data.baseline].filter(Boolean);
        const scales = {
            x: timeScale(...times),
            y: { range: (_, low, high) => [0, Math.max(1, high ?? 1) * 1.1] },
        };
        const axes = [timeAxis(), axis(rate, { size: wideEnough(Y_AXIS) })];
        if (data.time.errors.some((count) => count > 0)) {
            // On the same times as the rate, with an axis of their own on the right.
            tables[0].push(data.time.errors);
            series.splice(2, 0, line("errors", "--bad", (count) => count == null ? "" : String(count), {
                scale: "errors", width: 0, points: { show: true, size: 8, fill: colour("--bad"), filter: (u) => {
                    const shown = [];
                    u.data[2].forEach((count, at) => { if (count > 0) { shown.push(at); } });
                    return shown;
                } },
            }));
            scales.errors = { range: (_, low, high) => [0, Math.max(1, high ?? 1) * 1.1] };
            axes.push(axis((count) => Number.isInteger(count) ? String(count) : "", {
                scale: "errors", side: 1, size: wideEnough(40), grid: { show: false }, stroke: colour("--bad"),
            }));
        }
        return new uPlot(options(id, { ...shaded, padding: timePadding(...times), scales, axes, series }), uPlot.join(tables), document.getElementById(id));
    }

    function heat(id) {
        const { edges, columns } = data.heat;
        const most = Math.max(1, ...columns.flat().map(([, count]) => count));
        const cells = (u) => {
            const { ctx, bbox } = u;
            ctx.save();
            ctx.beginPath();
            ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
            ctx.clip();
            columns.forEach((column, at) => {
                const begin = data.time.begin[at];
                const left = Math.round(u.valToPos(begin, "x", true));
                const right = Math.round(u.valToPos(begin + data.time.length[at], "x", true));
                for (const [cell, count] of column) {
                    const top = Math.round(u.valToPos(edges[cell + 1], "y", true));
                    const bottom = Math.round(u.valToPos(edges[cell], "y", true));
                    const share = Math.log(1 + count) / Math.log(1 + most);
                    ctx.fillStyle = `rgba(${colour("--heat")}, ${(0.08 + 0.92 * share).toFixed(3)})`;
                    ctx.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
                }
            });
            ctx.restore();
        };
        const unseen = { paths: () => null, points: { show: false } };
        return ofTime(id, {
            scales: { x: timeScale(data.time), y: { ...latencyScale, range: () => [edges[0], edges[edges.length - 1]] } },
            series: [timeSeries, line("p50", "--p50", latency, unseen), line("max", "--max", latency, unseen)],
            hooks: { draw: [cells] },
        }, [middles(data.time), data.time.p50, data.time.max]);
    }

    function steps(id) {
        const { is_rate, load, p50, p99, p99_9 } = data.steps;
        const name = (number) => rate(number) + (number != null && is_rate ? "/s" : "");
        const [low, high] = [load[0] * 0.9, load[load.length - 1] * 1.1];
        const names = marks(low, high).map(name);
        return new uPlot(options(id, {
            padding: paddingFor(names),
            scales: { x: { time: false, distr: 3, log: 10, range: () => [low, high] }, y: latencyScale },
            axes: [axis(name, { size: X_AXIS, ...logarithmic }), latencyAxis()],
            series: [
                { label: is_rate ? "rate" : "connections", value: (_, at) => name(at) },
                ...[["p50", "--p50"], ["p99", "--p99"], ["p99.9", "--p99-9"]].map(
                    ([label, ink]) => line(label, ink, latency, { points: { show: true, size: 6, fill: colour("--paper") } }),
                ),
            ],
        }), [load, p50, p99, p99_9], document.getElementById(id));
    }

    const makers = { ...(data.steps ? { steps } : {}), curves, latency: percentiles, rate: throughput, heat };
    let plots = [];
    function draw() {
        plots.forEach((plot) => plot.destroy());
        plots = Object.entries(makers).map(([id, make]) => make(id));
    }

    // Whether something was drawn where the values are: for whoever checks the page without looking at it.
    function isDrawn(plot) {
        const { left, top, width, height } = plot.bbox;
        const pixels = plot.ctx.getImageData(left, top, width, height).data;
        const [, ...rule] = colour("--rule").match(/#(..)(..)(..)/).map((hex) => parseInt(hex, 16));
        let count = 0;
        for (let at = 0; at < pixels.length; at += 4) {
            const isRule = rule.every((level, channel) => Math.abs(level - pixels[at + channel]) < 16);
            count += pixels[at + 3] > 20 && !isRule ? 1 : 0;
        }
        return count > 10;
    }

    draw();
    setTimeout(() => {
        const ids = Object.keys(makers);
        root.dataset.plots = ids.filter((_, at) => isDrawn(plots[at])).join(" ");
        root.dataset.overflow = String(root.scrollWidth > root.clientWidth);
    }, 50);

    let width = innerWidth;
    addEventListener("resize", () => {
        // On a phone, scrolling changes the height.
        if (innerWidth !== width) { width = innerWidth; draw(); }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    addEventListener("beforeprint", () => { root.classList.add("paper"); draw(); });
    addEventListener("afterprint", () => { root.classList.remove("paper"); draw(); });
})();
