//! The page, opened in a browser.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::page;
use crate::results::expect::{expectation, judge};
use crate::results::fixture;
use crate::results::model::Results;
use crate::results::steps::{Dimension, StepFigures};

const ALL: &str = "curves latency rate heat";
const HOSTILE: &str = "</script><script>document.title='gone'</script>&\"'<img src=x onerror=alert(1)>";

fn judged(mut results: Results) -> Results {
    judge(&mut results, &["p99<5ms", "rate>=900"].map(|text| expectation(text).unwrap()), false);
    results
}

/// What a browser makes of the page in a frame of so many pixels: a window is not as narrow as a phone.
#[derive(Debug, Deserialize)]
struct Seen {
    width: u32,
    error: Option<String>,
    plots: Option<String>,
    /// Whether it scrolls sideways.
    overflow: Option<String>,
    /// How many labels the plots have.
    labels: usize,
    /// Labels that are cut, or that lie on each other, and boxes that are wider than what they are in.
    misplaced: Vec<String>,
}

const WIDTHS: [u32; 4] = [360, 390, 768, 1_280];

/// What is seen in each width, or nothing without a Chromium.
fn opened(name: &str, results: &Results) -> Option<Vec<Seen>> {
    let folder = std::env::temp_dir().join(format!("frameloop-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let watched = page(results).unwrap().replacen("<script>", &format!("<script>{WATCH}</script><script>"), 1);
    std::fs::write(folder.join("page.html"), watched).unwrap();
    let frames =
        WIDTHS.map(|width| format!("<iframe width={width} height=3000 style='border:0' src=page.html></iframe>"));
    let outer = format!("<!doctype html><script>{COLLECT}</script>{}", frames.join("<br>"));
    std::fs::write(folder.join("outer.html"), outer).unwrap();
    let output = ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]);
        command.arg("--window-size=1400,1000").arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command.arg(format!("file://{}", folder.join("outer.html").display())).output().ok()
    });
    let _ = std::fs::remove_dir_all(&folder);
    let Some(output) = output else {
        println!("skipped: there is no Chromium to open the page with");
        return None;
    };
    let dom = String::from_utf8(output.stdout).unwrap();
    let seen = dom.lines().filter_map(|line| line.trim().strip_prefix("seen: "));
    Some(
        seen.map(|json| {
            serde_json::from_str(&json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).unwrap()
        })
        .collect(),
    )
}

#[track_caller]
fn assert_plotted(name: &str, results: &Results, plots: &str) {
    let Some(seen) = opened(name, results) else { return };
    let mut widths: Vec<u32> = seen.iter().map(|seen| seen.width).collect();
    widths.sort_unstable();
    assert_eq!(widths, WIDTHS, "{name}: {seen:?}");
    for seen in seen {
        assert_eq!(seen.error, None, "{name}: {seen:?}");
        assert_eq!(seen.overflow.as_deref(), Some("false"), "{name} scrolls sideways: {seen:?}");
        assert_eq!(seen.plots.as_deref(), Some(plots), "{name}: {seen:?}");
        assert!(plots.is_empty() || seen.labels > 20, "{name}: {seen:?}");
        assert_eq!(seen.misplaced, Vec::<String>::new(), "{name} at {} px", seen.width);
    }
}

/// Runs before the page's scripts: notes where texts are drawn, and reports the result to the enclosing page.
const WATCH: &str = r#"
    const drawn = new Map();
    const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.clearRect = function (...args) {
        drawn.set(this.canvas, []);
        return clearRect.apply(this, args);
    };
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const size = this.measureText(text), at = this.getTransform();
        const corners = [
            [x - size.actualBoundingBoxLeft, y - size.actualBoundingBoxAscent],
            [x + size.actualBoundingBoxRight, y + size.actualBoundingBoxDescent],
        ].map(([x, y]) => at.transformPoint(new DOMPoint(x, y)));
        const [xs, ys] = [corners.map((corner) => corner.x), corners.map((corner) => corner.y)];
        const box = { text, left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
        if (text) { drawn.get(this.canvas)?.push(box) ?? drawn.set(this.canvas, [box]); }
        return fillText.call(this, text, x, y);
    };
    addEventListener("load", () => setTimeout(() => {
        const misplaced = [];
        let labels = 0;
        for (const [canvas, boxes] of drawn) {
            if (!canvas.isConnected) { continue; }
            const name = canvas.closest(".plot").id;
            labels += boxes.length;
            boxes.forEach((box, at) => {
                const where = `${box.left.toFixed(1)} to ${box.right.toFixed(1)} of ${canvas.width}`;
                if (box.left < 0 || box.top < 0 || box.right > canvas.width || box.bottom > canvas.height) {
                    misplaced.push(`${name}: ${box.text} is cut: ${where}`);
                }
                for (const other of boxes.slice(at + 1)) {
                    const apart = box.right + 2 < other.left || other.right + 2 < box.left;
                    if (!apart && box.top < other.bottom && other.top < box.bottom) {
                        misplaced.push(`${name}: ${box.text} and ${other.text} touch`);
                    }
                }
            });
        }
        for (const plot of document.querySelectorAll(".plot")) {
            const outer = plot.getBoundingClientRect();
            for (const inner of plot.querySelectorAll("canvas, .u-legend, .u-series")) {
                const { left, right, bottom } = inner.getBoundingClientRect();
                if (left < outer.left - 1 || right > outer.right + 1 || bottom > outer.bottom + 1) {
                    misplaced.push(`${plot.id}: ${inner.className || inner.tagName} is wider than its plot`);
                }
            }
        }
        const { error, plots, overflow } = document.documentElement.dataset;
        parent.postMessage(JSON.stringify({ width: innerWidth, error, plots, overflow, labels, misplaced }), "*");
    }, 500));
"#;
/// Shows what the pages in the frames say, a line each.
const COLLECT: &str = r#"
    addEventListener("message", ({ data }) => {
        document.body.append(Object.assign(document.createElement("pre"), { textContent: "\nseen: " + data + "\n" }));
    });
"#;

#[test]
fn page_of_steps_is_readable_at_each_width() {
    let mut search = fixture::stepped();
    let (held, failed) = (search.steps[0].clone(), search.steps[1].clone());
    search.steps = (0..40_i32)
        .flat_map(|step| [1.0, 1.05].map(|factor| (1.4_f64.powi(step % 25) * factor, step)))
        .map(|(load, step)| StepFigures {
            load: 100.0 * load,
            ..if step % 3 == 0 { failed.clone() } else { held.clone() }
        })
        .collect();
    assert_plotted("search", &search, &format!("steps {ALL}"));
    let mut connections = fixture::stepped();
    connections.steps.iter_mut().for_each(|step| step.of = Dimension::Connections);
    assert_plotted("stages", &connections, &format!("steps {ALL}"));
    let mut one = fixture::stepped();
    one.steps.truncate(1);
    one.steps[0].latency = None;
    assert_plotted("one-step", &one, ALL);
}

#[test]
fn all_plots_are_drawn_in_a_browser() {
    let mut compared = judged(fixture::made());
    compared.baseline = Some(Box::new(fixture::closed_loop().as_baseline()));
    assert_plotted("compared", &compared, ALL);
    assert_plotted("real", &fixture::open_loop(), ALL);
}

#[test]
fn one_interval_and_an_hour_of_them_are_drawn() {
    assert_plotted("one", &fixture::seconds(1), ALL);
    assert_plotted("hour", &fixture::seconds(3_600), ALL);
}

#[test]
fn labels_of_large_and_small_numbers_are_inside_their_plots() {
    // 10^8 frames: the last mark is at the right edge, and has the longest label.
    let mut many = fixture::made();
    for (histogram, slice) in [(&mut many.service, 0), (many.response.as_mut().unwrap(), 1)] {
        histogram.record_n(500_000 + slice, 100_000_000 - histogram.len()).unwrap();
    }
    for (at, slice) in many.slices.iter_mut().enumerate() {
        slice.frames = 10_000_000;
        slice.errors = Some(123_456 * at as u64);
    }
    many.frames = 100_000_000;
    assert_plotted("many", &many, ALL);

    // Others between marks, a day of intervals, intervals of a moment, and latencies from nothing to a year.
    for frames in [3, 99, 100, 10_000_001, 99_999_999, 1 << 40] {
        let mut other = fixture::made();
        other.response = None;
        other.service.reset();
        other.service.record_n(7, frames - 1).unwrap();
        other.service.record(366 * 24 * 3_600_000_000_000).unwrap();
        for slice in &mut other.slices {
            slice.service = [(0, 1), (7, frames), (366 * 24 * 3_600_000_000_000, 1)].into_iter().collect();
            slice.frames = frames;
            let is_long = frames % 2 == 0;
            let scaled = |time: Duration| if is_long { time * 86_400 } else { time / 1_000 };
            (slice.begin, slice.length) = (scaled(slice.begin), scaled(slice.length));
        }
        assert_plotted(&format!("frames-{frames}"), &other, ALL);
    }
}

#[test]
fn a_run_without_an_answer_has_a_page_without_curves() {
    let mut results = fixture::seconds(1);
    results.slices.clear();
    results.service.reset();
    results.connect.reset();
    results.response = None;
    assert_plotted("nothing", &results, "");
}

#[test]
fn texts_cannot_become_anything_else() {
    let mut results = fixture::made();
    results.title = HOSTILE.into();
    results.facts.taints = vec![HOSTILE.into()];
    results.facts.faults = vec![HOSTILE.into()];
    results.facts.ended = std::iter::once((HOSTILE.to_owned(), 1)).collect();
    results.baseline = Some(Box::new(results.as_baseline()));
    let page = page(&results).unwrap();
    assert!(!page.contains("<img") && !page.contains("gone'</script>"));
    assert_eq!(page.matches("<script").count(), 4);
    assert_plotted("hostile", &results, ALL);
}

#[test]
fn it_needs_nothing_but_itself_and_is_not_large() {
    let page = page(&fixture::seconds(3_600)).unwrap();
    for outside in ["src=", "<link", "@import", "url(http", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn every_figure_is_there_as_text() {
    let page = page(&judged(fixture::made())).unwrap();
    for text in
        ["9.90 ms", "<dd>1,000</dd>", "<th scope=\"row\">p99.99</th>", "byte 5 of the payload", "97 %", "failed"]
    {
        assert!(page.contains(text), "{text}");
    }
}
