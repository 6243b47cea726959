//! Results as a page: one file, which needs no network and no server. All that it says is text; a script adds the plots.

use std::fmt::{self, Display, Write};

use crate::failure::Failure;
use crate::results::figures::{self, COLUMNS, Figures};
use crate::results::file::Destination;
use crate::results::plots::{Plots, columns};
use crate::results::{LATENCIES, Results, compare, table};

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
        let waits = results.facts.errors.and_then(|errors| errors.waits());
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
        let (name, histogram) = results.latency();
        if let Some(figures) = Figures::of(histogram) {
            let shown = [("p50", figures.p50), ("p99", figures.p99), ("p99.9", figures.p99_9), ("max", figures.max)];
            tiles.extend(shown.map(|(figure, nanos)| (format!("{name} {figure}"), figures::latency(nanos as f64))));
        }
        let facts = &results.facts;
        tiles.extend(facts.errors.map(|errors| ("errors".into(), figures::count(errors.total))));
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
        let (name, histogram) = results.latency();
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
        let all: Vec<_> = results.latencies().map(|(name, histogram)| (name, Figures::of(histogram))).collect();
        let heads: Vec<&str> = std::iter::once("").chain(all.iter().map(|(name, _)| *name)).collect();
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
        let known = LATENCIES.iter().filter(|(name, _)| heads.contains(name));
        let notes: String = known.map(|(name, meaning)| format!("<li><b>{name}</b>: {meaning}</li>")).collect();
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
            let kinds = errors.kinds().into_iter().map(|(kind, number)| pair(kind, figures::count(number)));
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
                    &cohort.name,
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
        let is_open_loop = results.response.is_some();
        let rows = columns(&results.slices).into_iter().map(|column| {
            let figures = Figures::of_recorded(column.latency(is_open_loop));
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
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::results::expect::expectation;
    use crate::results::fixture;

    const ALL: &str = "curves latency rate heat";
    const HOSTILE: &str = "</script><script>document.title='gone'</script>&\"'<img src=x onerror=alert(1)>";

    fn judged(mut results: Results) -> Results {
        results.judge(&["p99<5ms", "rate>=900"].map(|text| expectation(text).unwrap()));
        results
    }

    /// The page after its scripts have run, or nothing without a Chromium.
    fn opened(name: &str, results: &Results) -> Option<String> {
        let path = std::env::temp_dir().join(format!("frameloop-{name}-{}.html", std::process::id()));
        std::fs::write(&path, page(results).unwrap()).unwrap();
        let profile = path.with_extension("profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=3000",
            // As wide as a small phone.
            "--window-size=360,800",
            "--dump-dom",
        ];
        let output = ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(arguments).arg(format!("--user-data-dir={}", profile.display()));
            command.arg(format!("file://{}", path.display())).output().ok()
        });
        let removed: [PathBuf; 2] = [path, profile];
        let _ = (std::fs::remove_file(&removed[0]), std::fs::remove_dir_all(&removed[1]));
        let Some(output) = output else {
            println!("skipped: there is no Chromium to open the page with");
            return None;
        };
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[track_caller]
    fn assert_plotted(name: &str, results: &Results, plots: &str) {
        let Some(dom) = opened(name, results) else { return };
        let root = dom.split('>').find(|tag| tag.starts_with("\n<html") || tag.starts_with("<html")).unwrap_or("");
        assert!(!root.contains("data-error"), "{name}: {root}");
        assert!(root.contains("data-overflow=\"false\""), "{name} scrolls sideways: {root}");
        assert!(root.contains(&format!("data-plots=\"{plots}\"")), "{name}: {root:?}");
    }

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
