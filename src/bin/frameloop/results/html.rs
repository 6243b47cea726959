//! Results as a page: one file, which needs no network and no server. All that it says is text; a script adds the plots.

use std::fmt::{self, Display, Write};

use crate::failure::Failure;
use crate::results::figures::{self, COLUMNS, Figures};
use crate::results::file::Destination;
use crate::results::model::Results;
use crate::results::plots::{Plots, columns};
use crate::results::{compare, table};

/// Writes the page to a file.
pub(crate) fn write(destination: Destination, results: &Results) -> Result<(), Failure> {
    destination.write(page(results).map_err(Failure::run)?.as_bytes())
}

/// The page.
fn page(results: &Results) -> Result<String, String> {
    let plots = serde_json::to_string(&Plots::of(results)).map_err(|error| error.to_string())?;
    let mut page = Page { html: String::with_capacity(200_000) };
    page.head(results);
    page.banners(results);
    page.tiles(results);
    page.plots(results);
    page.expectations(results);
    page.percentiles(results);
    page.baseline(results);
    page.facts(results);
    page.intervals(results);
    // Within a script no tag may begin; in JSON a `<` can only be in a string.
    page.raw(&format!(
        "</main><script type=\"application/json\" id=\"data\">{}</script>",
        plots.replace('<', "\\u003c")
    ));
    page.raw(&format!("<script>{UPLOT_JS}</script><script>{PAGE_JS}</script></body></html>\n"));
    Ok(page.html)
}

struct Page {
    html: String,
}

impl Page {
    fn head(&mut self, results: &Results) {
        let title = Escaped(&results.title);
        let begun = humantime::format_rfc3339_seconds(results.begun).to_string();
        let begun = begun.replace('T', " ").replace('Z', " UTC");
        let (measured, program) = (figures::duration(results.measured), env!("CARGO_PKG_VERSION"));
        self.raw(&format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
             <meta name=\"generator\" content=\"frameloop {program}\"><meta name=\"color-scheme\" content=\"light dark\">\
             <title>{title}: load results</title><style>{UPLOT_CSS}{PAGE_CSS}</style><script>{ON_ERROR}</script></head>\
             <body><main><header><p class=\"kicker\">frameloop load</p><h1>{title}</h1><p>{begun}, {measured}</p></header>"
        ));
    }

    /// What must be known before a figure is read.
    fn banners(&mut self, results: &Results) {
        let failed = results.verdicts.iter().filter(|verdict| !verdict.holds);
        let failed: Vec<String> =
            failed.map(|verdict| format!("{}: observed {}", verdict.expression, verdict.observed())).collect();
        self.banner("bad", "Not as expected", &failed);
        self.banner("warn", table::TAINTED, &results.facts.taints);
        let interrupted = results.facts.was_interrupted.then(|| "The figures are of the time until then.".to_owned());
        self.banner("warn", "It was interrupted", interrupted.as_slice());
        self.banner("bad", "It ended early", results.facts.ended_early.as_slice());
        let partial = results.facts.is_partial.then(|| table::PARTIAL.to_owned());
        self.banner("warn", "The log is not complete", partial.as_slice());
        let waits = results.facts.errors.as_ref().and_then(table::unanswered_wait);
        self.banner("bad", "Frames were not answered", waits.as_slice());
    }

    fn banner(&mut self, class: &str, title: &str, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        let items: String = texts.iter().map(|text| format!("<li>{}</li>", Escaped(text))).collect();
        self.raw(&format!("<section class=\"banner {class}\"><h2>{}</h2><ul>{items}</ul></section>", Escaped(title)));
    }

    fn tiles(&mut self, results: &Results) {
        let mut tiles = vec![("frames/s".to_owned(), figures::number(results.rate()))];
        tiles.extend(results.throughput().map(|bytes| ("each way".into(), figures::throughput(bytes))));
        let (series, histogram) = results.latency();
        let name = series.name();
        if let Some(figures) = Figures::of(histogram) {
            let shown = [("p50", figures.p50), ("p99", figures.p99), ("p99.9", figures.p99_9), ("max", figures.max)];
            tiles.extend(shown.map(|(figure, nanos)| (format!("{name} {figure}"), figures::latency(nanos as f64))));
        }
        let facts = &results.facts;
        tiles.extend(facts.errors.map(|errors| ("errors".into(), figures::count(errors.total()))));
        tiles.extend(
            facts.connections.as_ref().map(|all| {
                ("connections".into(), format!("{} of {}", figures::count(all.up), figures::count(all.asked)))
            }),
        );
        let tiles: String = tiles
            .iter()
            .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(value)))
            .collect();
        self.raw(&format!("<dl class=\"tiles\">{tiles}</dl>"));
    }

    fn plots(&mut self, results: &Results) {
        let (series, histogram) = results.latency();
        let name = series.name();
        let what = Figures::of(histogram).map_or_else(String::new, |figures| {
            let shown = |nanos: u64| figures::latency(nanos as f64);
            format!("{name}: p50 {}, p99 {}, max {}", shown(figures.p50), shown(figures.p99), shown(figures.max))
        });
        let rate = format!("{} frames/s on average", figures::number(results.rate()));
        for (id, title, says, note) in [
            ("curves", "Latency by percentile", &what, "Each mark to the right is ten times as rare."),
            ("latency", &format!("Percentiles of {name} latency over time"), &what, ""),
            ("rate", "Throughput over time", &rate, ""),
            ("heat", &format!("All {name} latencies over time"), &what, "The stronger the colour, the more frames."),
        ] {
            let label = format!("{title}. {says}. The figures are in the tables below.");
            self.raw(&format!(
                "<figure><figcaption><h2>{title}</h2><p>{note}</p></figcaption>\
                 <div class=\"plot\" id=\"{id}\" role=\"img\" aria-label=\"{}\"></div></figure>",
                Escaped(&label)
            ));
        }
        self.raw("<noscript><p>The plots need JavaScript; all figures are in the tables below.</p></noscript>");
    }

    fn expectations(&mut self, results: &Results) {
        let rows = results.verdicts.iter().map(|verdict| {
            let word = if verdict.holds { "holds" } else { "failed" };
            vec![verdict.expression.clone(), verdict.observed(), verdict.wanted(), word.into()]
        });
        self.table("Expectations", &["expected", "observed", "wanted", ""], rows);
    }

    /// A column a latency: so it fits on a phone.
    fn percentiles(&mut self, results: &Results) {
        let all: Vec<_> = results.latencies().map(|(series, histogram)| (series, Figures::of(histogram))).collect();
        let heads: Vec<&str> = std::iter::once("").chain(all.iter().map(|(series, _)| series.name())).collect();
        let count = all.iter().map(|(_, figures)| figures.map_or_else(|| "0".into(), |all| figures::count(all.count)));
        let mut rows = vec![std::iter::once("count".to_owned()).chain(count).collect()];
        for (at, column) in COLUMNS.iter().enumerate() {
            let cell = |figures: &Option<Figures>| {
                figures.map_or_else(|| "-".into(), |figures| figures::latency(figures.columns()[at] as f64))
            };
            rows.push(
                std::iter::once((*column).to_owned()).chain(all.iter().map(|(_, figures)| cell(figures))).collect(),
            );
        }
        self.table("Latency", &heads, rows.into_iter());
        let notes = all.iter().map(|(series, _)| format!("<li><b>{}</b>: {}</li>", series.name(), series.meaning()));
        let notes: String = notes.collect();
        self.raw(&format!("<ul class=\"notes\">{notes}</ul>"));
    }

    fn baseline(&mut self, results: &Results) {
        let Some(baseline) = &results.baseline else { return };
        let rows = compare::rows(results, baseline).into_iter().map(|row| {
            let (this, earlier) = (row.unit.show(row.this), row.unit.show(row.baseline));
            vec![row.name.clone(), this, earlier, row.ratio_text()]
        });
        self.table(&format!("Beside the baseline, {}", baseline.title), &["", "this", "baseline", "ratio"], rows);
    }

    fn facts(&mut self, results: &Results) {
        let facts = &results.facts;
        let pair = |name: &str, value: String| vec![name.to_owned(), value];
        self.table("Configuration", &[], facts.configuration.rows().map(|(name, value)| pair(name, value.into())));
        if let Some(errors) = &facts.errors {
            let kinds = table::error_kinds(errors).into_iter().map(|(kind, number)| pair(kind, figures::count(number)));
            let ended =
                facts.ended.iter().map(|(reason, number)| pair(&format!("ended: {reason}"), figures::count(*number)));
            self.table("Errors", &[], kinds.chain(ended));
            self.list(&facts.faults);
        }
        if let Some(connections) = &facts.connections {
            let rows = [
                pair("asked for", figures::count(connections.asked)),
                pair("up", figures::count(connections.up)),
                pair("after", figures::latency(connections.took_ns as f64)),
            ];
            let cohorts = facts.cohorts.iter().map(|cohort| {
                pair(
                    cohort.cohort.name(),
                    format!("{} up, {} ended by the server", figures::count(cohort.up), figures::count(cohort.ended)),
                )
            });
            self.table("Connections", &[], rows.into_iter().chain(cohorts));
            let causes = facts.causes.iter().map(|cause| {
                format!("{} short: {}; {}", figures::count(cause.connections), cause.limit, cause.lifted_by)
            });
            self.list(&causes.collect::<Vec<_>>());
        }
        if let Some(server) = &facts.server {
            let turns = [("p50", server.turn_p50_ns), ("p99", server.turn_p99_ns), ("max", server.turn_max_ns)];
            let rows = turns.map(|(name, nanos)| pair(&format!("turn {name}"), figures::latency(nanos as f64)));
            self.table("The server's own figures", &[], rows.into_iter());
            self.list(&[table::costs(server)]);
        }
        let lines = table::generator_lines(facts);
        if !lines.is_empty() {
            self.raw("<h2>The generator's own figures</h2>");
            self.list(&lines);
        }
    }

    fn intervals(&mut self, results: &Results) {
        let (series, _) = results.latency();
        let rows = columns(&results.slices).into_iter().map(|column| {
            let figures = Figures::of_recorded(column.recorded(series));
            let cell = |of: fn(&Figures) -> u64| {
                figures.as_ref().map_or_else(|| "-".into(), |figures| figures::latency(of(figures) as f64))
            };
            vec![
                format!("{:.1} s", column.begin.as_secs_f64()),
                figures::number(column.rate()),
                cell(|figures| figures.p50),
                cell(|figures| figures.p99),
                cell(|figures| figures.max),
                column.errors.map_or_else(|| "-".into(), figures::count),
            ]
        });
        self.raw("<details><summary>Every interval as a table</summary>");
        self.table("", &["from", "frames/s", "p50", "p99", "max", "errors"], rows);
        self.raw("</details>");
    }

    /// A table, unless it has no rows. The first cell of a row is its name.
    fn table(&mut self, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        let mut body = String::new();
        for row in rows {
            let mut cells = row.iter();
            let name = cells.next().map_or("", String::as_str);
            let cells: String = cells.map(|cell| format!("<td>{}</td>", Escaped(cell))).collect();
            // Writing to a string cannot fail.
            let _ = write!(body, "<tr><th scope=\"row\">{}</th>{cells}</tr>", Escaped(name));
        }
        if body.is_empty() {
            return;
        }
        if !title.is_empty() {
            self.raw(&format!("<h2>{}</h2>", Escaped(title)));
        }
        let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", Escaped(head))).collect();
        self.raw(&format!("<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"));
    }

    fn list(&mut self, texts: &[String]) {
        if !texts.is_empty() {
            let items: String = texts.iter().map(|text| format!("<li>{}</li>", Escaped(text))).collect();
            self.raw(&format!("<ul class=\"notes\">{items}</ul>"));
        }
    }

    fn raw(&mut self, html: &str) {
        self.html.push_str(html);
    }
}

/// A text that stays a text, within an element or a quoted attribute.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Nothing is loaded from anywhere, whatever a text in the page says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// For the test that opens the page: what went wrong in a script is told in the page.
const ON_ERROR: &str =
    "addEventListener('error', (event) => { document.documentElement.dataset.error = event.message; });";
const UPLOT_JS: &str = include_str!("assets/uplot/uPlot.iife.min.js");
const UPLOT_CSS: &str = include_str!("assets/uplot/uPlot.min.css");
const PAGE_JS: &str = include_str!("assets/page.js");
const PAGE_CSS: &str = include_str!("assets/page.css");

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::results::expect::{expectation, judge};
    use crate::results::fixture;

    const ALL: &str = "curves latency rate heat";
    const HOSTILE: &str = "</script><script>document.title='gone'</script>&\"'<img src=x onerror=alert(1)>";

    fn judged(mut results: Results) -> Results {
        judge(&mut results, &["p99<5ms", "rate>=900"].map(|text| expectation(text).unwrap()));
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
            command.args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=5000",
                "--dump-dom",
            ]);
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

    /// Runs before the page's scripts: notes where texts are drawn, and tells the page around it what came of it.
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
    fn all_plots_are_drawn_in_a_browser() {
        let mut compared = judged(fixture::made());
        compared.baseline = Some(Box::new(fixture::closed_loop()));
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
        results.baseline = Some(Box::new(results.clone()));
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
}
