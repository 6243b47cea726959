// Elements of the page. Rule: what the server sends becomes text or an attribute's value, never markup.

const byId = (id) => document.getElementById(id);

function append(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (value != null) { node.setAttribute(name, value); }
    }
    node.append(...children);
    return node;
}

const element = (name, attributes = {}, ...children) => append(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) =>
    append(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

/** Sets a text only if it differs, so that nothing is drawn or announced again. */
function setText(node, text) {
    if (node.textContent !== text) { node.textContent = text; }
}

function setHidden(node, isHidden) {
    if (node.hidden !== isHidden) { node.hidden = isHidden; }
}

/** Shows pairs of a name and a text in a `dl`. Pairs without a text are left out. */
function setPairs(list, pairs) {
    const shown = pairs.filter(([, text]) => text != null);
    while (list.children.length > shown.length) { list.lastElementChild.remove(); }
    shown.forEach(([name, text], at) => {
        if (at === list.children.length) { list.append(element("div", {}, element("dt"), element("dd"))); }
        const [term, description] = list.children[at].children;
        setText(term, name);
        setText(description, text);
    });
}

/** Shows rows of texts in a `tbody`. The first cell of a row is its heading. */
function setRows(body, rows) {
    while (body.rows.length > rows.length) { body.lastElementChild.remove(); }
    rows.forEach((texts, at) => {
        if (at === body.rows.length) {
            body.append(element("tr", {}, ...texts.map((_, column) => column === 0 ? element("th", { scope: "row" }) : element("td"))));
        }
        texts.forEach((text, column) => setText(body.rows[at].cells[column], text));
    });
}

/** Calls `draw` before the next frame, once for all calls until then; not while the page is hidden. */
function drawnOnce(draw) {
    let isRequested = false;
    return () => {
        if (isRequested) { return; }
        isRequested = true;
        requestAnimationFrame(() => {
            isRequested = false;
            draw();
        });
    };
}
