// The states of a connection and the transitions between them: the picture of src/conn/state.rs.

const NODE_WIDTH = 118;
const NODE_HEIGHT = 36;
const NODES = {
    Finishing: [62, 24], Open: [240, 24], HalfClosed: [418, 24],
    Finished: [62, 134], Flushing: [240, 134], Detaching: [418, 134],
    Lingering: [62, 244], ShuttingDown: [240, 244], Closed: [418, 244],
};
/** From, to, what causes it, and where its label is: its center and its distance from it. */
const EDGES = [
    ["Open", "Finishing", "finish", [151, 16]],
    ["Open", "HalfClosed", "FIN", [329, 16]],
    ["Open", "Flushing", "close, FIN in a frame", [240, 80]],
    ["Open", "Detaching", "detach", [366, 96]],
    ["Finishing", "Finished", "our FIN", [62, 80]],
    ["Finishing", "Flushing", "close, FIN", [140, 96]],
    ["Finished", "Flushing", "FIN", [151, 126]],
    ["Finished", "Lingering", "close", [62, 190]],
    ["HalfClosed", "Flushing", "close, finish", [351, 64]],
    ["HalfClosed", "Detaching", "detach", [418, 66]],
    ["Flushing", "ShuttingDown", "FIN must wait", [240, 182]],
    ["Flushing", "Lingering", "our FIN", [125, 196]],
    ["Flushing", "Closed", "flushed", [350, 190]],
    ["ShuttingDown", "Lingering", "our FIN", [151, 236]],
    ["Detaching", "Closed", "end of turn", [418, 190]],
    ["Lingering", "Closed", "FIN, RST or deadline", [240, 288]],
];
const FAILURE = "RST, error, deadline or abort";

/** Where the line from the center of a node to another point leaves the node. */
function borderPoint([x, y], [towardX, towardY]) {
    const [dx, dy] = [towardX - x, towardY - y];
    const scale = Math.min(NODE_WIDTH / 2 / Math.abs(dx), NODE_HEIGHT / 2 / Math.abs(dy));
    return [x + dx * scale, y + dy * scale];
}

function arrowHead([x, y], [fromX, fromY]) {
    const angle = Math.atan2(y - fromY, x - fromX);
    const corner = (turn, length) => `${(x - length * Math.cos(angle + turn)).toFixed(1)},${(y - length * Math.sin(angle + turn)).toFixed(1)}`;
    return shape("polygon", { class: "head", points: `${x.toFixed(1)},${y.toFixed(1)} ${corner(0.4, 10)} ${corner(-0.4, 10)}` });
}

/** The path of an edge and the point before its end. */
function edgePath(from, to) {
    if (from === "Lingering" && to === "Closed") {
        const [[x, y], [endX, endY]] = [NODES[from], NODES[to]];
        const [begin, end, low] = [y + NODE_HEIGHT / 2, endY + NODE_HEIGHT / 2, y + 52];
        return { path: `M${x} ${begin} Q${x} ${low} ${x + 60} ${low} H${endX - 60} Q${endX} ${low} ${endX} ${end}`, end: [endX, end], before: [endX, low] };
    }
    const [begin, end] = [borderPoint(NODES[from], NODES[to]), borderPoint(NODES[to], NODES[from])];
    return { path: `M${begin.join(" ")} L${end.join(" ")}`, end, before: begin };
}

class Diagram {
    constructor(container) {
        this.edges = new Map();
        this.nodes = new Map();
        const labels = [];
        for (const [from, to, cause, [x, y]] of EDGES) {
            const { path, end, before } = edgePath(from, to);
            const edge = shape("g", { class: "edge" }, shape("title", {}, `${from} to ${to}: ${cause}`), shape("path", { d: path }), arrowHead(end, before));
            const label = shape("text", { class: "edge-label", x, y: y + 4, "text-anchor": "middle" }, cause);
            this.edges.set(`${from} ${to}`, { edge, label, cause });
            labels.push(label);
        }
        for (const [name, [x, y]] of Object.entries(NODES)) {
            const box = shape("rect", { x: x - NODE_WIDTH / 2, y: y - NODE_HEIGHT / 2, width: NODE_WIDTH, height: NODE_HEIGHT, rx: name === "Closed" ? 18 : 6 });
            const node = shape("g", { class: "node" }, box, shape("text", { x, y: y + 5, "text-anchor": "middle" }, name));
            this.nodes.set(name, node);
        }
        const edges = [...this.edges.values()].map(({ edge }) => edge);
        this.svg = shape("svg", { class: "diagram", viewBox: "0 0 480 306", role: "img" }, ...edges, ...labels, ...this.nodes.values());
        container.append(this.svg, element("p", { class: "note" }, `From any state, ${FAILURE} leads to Closed.`));
    }

    /**
     * Highlights a state, and the transition from `previous` to it, if there was one. `reason` is why the connection has closed.
     * Several transitions in one turn are one here. Returns the transition as a text.
     */
    show(state, previous, reason) {
        const key = `${previous} ${state}`;
        for (const [name, node] of this.nodes) {
            node.classList.toggle("current", name === state);
            node.classList.toggle("previous", name === previous);
        }
        for (const [name, { edge, label }] of this.edges) {
            edge.classList.toggle("last", name === key);
            label.classList.toggle("last", name === key);
        }
        // Above the others.
        const last = this.edges.get(key);
        if (last) { last.edge.parentNode.insertBefore(last.edge, last.edge.parentNode.querySelector(".edge-label")); }
        const transition = previous === null ? "" : `Last transition: ${previous} to ${state} (${last?.cause ?? reason ?? FAILURE}).`;
        this.svg.setAttribute("aria-label", `State diagram. The current state is ${state}. ${transition}`);
        return transition;
    }
}
