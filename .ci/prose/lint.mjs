// Checks the prose of Markdown files and the comments of Rust files: no word of words.yml outside code, and, of Markdown,
// sentences that are short enough.
//
//     node lint.mjs FILE...

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "@textlint/markdown-to-ast";
import { split } from "sentence-splitter";
import { createLinter, loadTextlintrc } from "textlint";
import { StringSource } from "textlint-util-to-string";

/** The most words of the median sentence and of nine in ten. */
const MEDIAN_MAX = 18;
const P90_MAX = 32;

/** The paragraphs of prose: not the cells of tables, which hold terms. */
function* paragraphs(node) {
    if (node.type === "Paragraph") {
        yield node;
    } else if (node.type !== "Table") {
        for (const child of node.children ?? []) {
            yield* paragraphs(child);
        }
    }
}

function sentences(file) {
    // A folded answer holds Markdown between its tags.
    const text = readFileSync(file, "utf8").replace(/^<\/?(details|summary)>/gm, "");
    return [...paragraphs(parse(text))]
        .flatMap((paragraph) => split(new StringSource(paragraph, { replacer: keepCode }).toString()))
        .filter((part) => part.type === "Sentence")
        .map((part) => ({ file, text: part.raw.replace(/\s+/g, " "), words: part.raw.split(/\s+/).filter(Boolean).length }))
        .filter(({ words }) => words > 1);
}

/** Code within a sentence is one word of it, whatever stands in it. */
function keepCode({ node, maskValue }) {
    return node.type === "Code" ? maskValue("x") : undefined;
}

/** The comments of a Rust file, each in its line. Ordinary code is left out. */
function comments(file) {
    const lines = readFileSync(file, "utf8").split("\n");
    return lines.map((line) => /^\s*\/\/[\/!]? ?(.*)$/.exec(line)?.[1] ?? "").join("\n");
}

const files = process.argv.slice(2);
const pages = files.filter((file) => !file.endsWith(".rs"));
const linter = createLinter({
    descriptor: await loadTextlintrc({ configFilePath: fileURLToPath(new URL("textlintrc.json", import.meta.url)) }),
});
let found = 0;
const results = await linter.lintFiles(pages);
for (const file of files.filter((file) => file.endsWith(".rs"))) {
    results.push({ ...(await linter.lintText(comments(file), `${file}.md`)), filePath: file });
}
for (const { filePath, messages } of results) {
    for (const { loc, message } of messages) {
        console.error(`${filePath}:${loc.start.line}:${loc.start.column}: ${message}`);
        found += 1;
    }
}

const all = pages.flatMap(sentences).sort((one, other) => one.words - other.words);
const median = all[Math.floor(all.length / 2)]?.words ?? 0;
const p90 = all[Math.floor(all.length * 0.9)]?.words ?? 0;
console.log(`${pages.length} pages, ${all.length} sentences: median ${median} words (at most ${MEDIAN_MAX}), 90th percentile ${p90} (at most ${P90_MAX})`);
for (const { file, text, words } of process.env.LONGEST ? all.slice(-Number(process.env.LONGEST)) : []) {
    console.log(`${file}: ${words} words: ${text}`);
}
if (found > 0 || median > MEDIAN_MAX || p90 > P90_MAX) {
    console.error(`error: the prose has ${found} words to replace, or sentences that are too long`);
    process.exit(1);
}
