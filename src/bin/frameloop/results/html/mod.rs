//! Results as a page: one file, which needs no network and no server. All of its figures are text; a script adds the plots.

#[cfg(test)]
mod browser;
mod plots;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::failure::Failure;
use crate::results::compare::Spread;
use crate::results::connections;
use crate::results::figures::{self, COLUMNS, Figures};
use crate::results::file::Destination;
use crate::results::html::plots::{Plots, columns};
use crate::results::model::Results;
use crate::results::steps;
use crate::results::{compare, judged, runs, table};

/// Writes the page to a file.
pub(crate) fn write(destination: Destination, results: &Results) -> Result<(), Failure> {
    destination.write(page(results).map_err(Failure::run)?.as_bytes())
}

fn page(results: &Results) -> Result<String, String> {
    let data = serde_json::to_string(&Plots::of(results)).map_err(|error| error.to_string())?;
    // Within a script no tag may begin; in JSON a `<` can only be in a string.
    let data = data.replace('<', "\\u003c");
    let begun = humantime::format_rfc3339_seconds(results.begun).to_string();
    let begun = begun.replace('T', " ").replace('Z', " UTC");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="generator" content={ "frameloop " (env!("CARGO_PKG_VERSION")) };
                meta name="color-scheme" content="light dark";
                title { (results.title) ": load results" }
                style { (PreEscaped(UPLOT_CSS)) (PreEscaped(PAGE_CSS)) }
                script { (PreEscaped(ON_ERROR)) }
            }
            body {
                main {
                    header {
                        p.kicker { "frameloop load" }
                        h1 { (results.title) }
                        p { (begun) ", " (figures::duration(results.measured)) }
                    }
                    (banners(results))
                    (tiles(results))
                    (plots(results))
                    (steps(results))
                    (expectations(results))
                    (percentiles(results))
                    (table("Runs", &runs::HEADS, runs::rows(results)))
                    (baseline(results))
                    (facts(results))
                    (intervals(results))
                }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(UPLOT_JS)) }
                script { (PreEscaped(PAGE_JS)) }
            }
        }
    };
    Ok(page.into_string() + "\n")
}

/// What a reader must know before any figure.
fn banners(results: &Results) -> Markup {
    let facts = &results.facts;
    let failed = results.verdicts.iter().filter(|verdict| !verdict.holds);
    let failed: Vec<String> =
        failed.map(|verdict| format!("{}: observed {}", verdict.expression, verdict.observed())).collect();
    let interrupted = facts.was_interrupted.then(|| "The figures are of the time until then.".to_owned());
    let partial = facts.is_partial.then(|| table::PARTIAL.to_owned());
    let waits = facts.errors.as_ref().and_then(table::unanswered_wait);
    let banners = [
        ("bad", "Not as expected", failed.as_slice()),
        ("warn", table::TAINTED, &facts.taints),
        ("warn", "It was interrupted", interrupted.as_slice()),
        ("bad", "It ended early", facts.ended_early.as_slice()),
        ("warn", "The log is not complete", partial.as_slice()),
        ("bad", "Frames were not answered", waits.as_slice()),
    ];
    html! {
        @for (class, title, texts) in banners.iter().filter(|(_, _, texts)| !texts.is_empty()) {
            section.banner.(class) {
                h2 { (title) }
                ul { @for text in *texts { li { (text) } } }
            }
        }
    }
}

fn tiles(results: &Results) -> Markup {
    let mut tiles = vec![("frames/s".to_owned(), figures::number(results.rate()))];
    tiles.extend(results.throughput().map(|bytes| ("each way".into(), figures::throughput(bytes))));
    let (series, histogram) = results.latency();
    if let Some(figures) = Figures::of(histogram) {
        let shown = [("p50", figures.p50), ("p99", figures.p99), ("p99.9", figures.p99_9), ("max", figures.max)];
        tiles.extend(shown.map(|(figure, nanos)| (format!("{} {figure}", series.name()), nanoseconds(nanos))));
    }
    let facts = &results.facts;
    tiles.extend(facts.errors.map(|errors| ("errors".into(), figures::count(errors.total()))));
    tiles.extend(
        facts
            .connections
            .as_ref()
            .map(|all| ("connections".into(), format!("{} of {}", figures::count(all.up), figures::count(all.asked)))),
    );
    html! {
        dl.tiles { @for (name, value) in tiles { div { dt { (name) } dd { (value) } } } }
    }
}

fn plots(results: &Results) -> Markup {
    let (series, histogram) = results.latency();
    let name = series.name();
    let what = Figures::of(histogram).map_or_else(String::new, |figures| {
        let [p50, p99, max] = [figures.p50, figures.p99, figures.max].map(nanoseconds);
        format!("{name}: p50 {p50}, p99 {p99}, max {max}")
    });
    let rate = format!("{} frames/s on average", figures::number(results.rate()));
    let plots = [
        ("curves", "Latency by percentile".to_owned(), &what, "Each mark to the right is ten times as rare."),
        ("latency", format!("Percentiles of {name} latency over time"), &what, ""),
        ("rate", "Throughput over time".to_owned(), &rate, ""),
        ("heat", format!("All {name} latencies over time"), &what, "The stronger the color, the more frames."),
    ];
    let steps = judged::plot_title(results).map(|title| {
        let highest = results.highest.as_ref().map_or_else(String::new, ToString::to_string);
        ("steps", title, highest, "One mark per step.")
    });
    let steps = steps.as_ref().map(|(id, title, says, note)| (*id, title.clone(), says, *note));
    html! {
        @for (id, title, says, note) in steps.iter().chain(&plots) {
            figure {
                figcaption { h2 { (title) } p { (note) } }
                div.plot id=(id) role="img"
                    aria-label={ (title) ". " (says) ". The figures are in the tables below." } {}
            }
        }
        noscript { p { "The plots need JavaScript; all figures are in the tables below." } }
    }
}

/// The steps, and what a search has found.
fn steps(results: &Results) -> Markup {
    let heads: Vec<&str> = steps::HEADS.into_iter().chain(["failed"]).collect();
    let rows = results.steps.iter().map(|step| {
        let failed = step.failed.as_ref().map_or_else(String::new, ToString::to_string);
        step.cells().into_iter().chain([failed]).collect()
    });
    let highest: Vec<String> = results.highest.iter().map(ToString::to_string).collect();
    html! {
        (table("Steps", &heads, rows.collect()))
        (notes(&highest))
    }
}

fn expectations(results: &Results) -> Markup {
    let rows = results.verdicts.iter().map(|verdict| {
        let word = if verdict.holds { "holds" } else { "failed" };
        vec![verdict.expression.clone(), verdict.observed(), verdict.wanted(), word.into()]
    });
    table("Expectations", &["expected", "observed", "wanted", ""], rows.collect())
}

/// A column per latency, so that the table fits on a phone.
fn percentiles(results: &Results) -> Markup {
    let all: Vec<_> = results.latencies().map(|(series, histogram)| (series, Figures::of(histogram))).collect();
    let heads: Vec<&str> = std::iter::once("").chain(all.iter().map(|(series, _)| series.name())).collect();
    let row = |name: &str, missing: &str, cell: &dyn Fn(&Figures) -> String| -> Vec<String> {
        let cells = all.iter().map(|(_, figures)| figures.as_ref().map_or_else(|| missing.to_owned(), cell));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    let mut rows = vec![row("count", "0", &|figures| figures::count(figures.count))];
    let columns = COLUMNS.iter().enumerate();
    rows.extend(columns.map(|(at, column)| row(column, "-", &|figures| nanoseconds(figures.columns()[at]))));
    html! {
        (table("Latency", &heads, rows))
        ul.notes { @for (series, _) in &all { li { b { (series.name()) } ": " (series.meaning()) } } }
    }
}

fn baseline(results: &Results) -> Markup {
    let Some(baseline) = &results.baseline else { return html! {} };
    let summary = results.summary();
    let rows = compare::rows(&summary, &baseline.summary).into_iter().map(|row| {
        let (this, earlier) = (row.unit.show(row.this), row.unit.show(row.baseline));
        vec![row.name.clone(), this, earlier, row.ratio_text()]
    });
    let title = format!("Compared with the baseline, {}", baseline.summary.title);
    let spread = Spread::of(&summary, &baseline.summary);
    let differences = match &spread {
        Spread::Unknown(..) => Vec::new(),
        Spread::Known(all) => all.iter().map(|one| vec![one.name.clone(), one.text()]).collect(),
    };
    html! {
        (table(&title, &["", "this", "baseline", "ratio"], rows.collect()))
        (table(&spread.title(), &["", "this relative to the baseline"], differences))
        (notes(spread.unknown_text().as_slice()))
    }
}

fn facts(results: &Results) -> Markup {
    let facts = &results.facts;
    let pair = |name: &str, value: String| vec![name.to_owned(), value];
    let count = |name: &str, number: u64| pair(name, figures::count(number));
    let generator = table::generator_lines(facts);
    html! {
        (table("Configuration", &[], facts.configuration.rows().map(|(name, value)| pair(name, value.into())).collect()))
        @if let Some(errors) = &facts.errors {
            @let kinds = table::error_kinds(errors).into_iter().map(|(kind, number)| count(kind, number));
            @let ended = facts.ended.iter().map(|(reason, number)| count(&format!("ended: {reason}"), *number));
            @let late = (facts.late_replies > 0).then(|| count("late responses", facts.late_replies));
            (table("Errors", &[], kinds.chain(ended).chain(late).collect()))
            (notes(&facts.faults))
        }
        @if !facts.outages.is_empty() {
            h2 { "Outages" }
            (notes(&table::outage_lines(facts)))
        }
        @if let Some(all) = &facts.connections {
            @let took = pair("after", figures::latency(all.took_ns as f64));
            @let cohorts = facts.cohorts.iter().map(|all| {
                let (up, ended) = (figures::count(all.up), figures::count(all.ended));
                pair(all.cohort.name(), format!("{up} up, {ended} ended by the server"))
            });
            @let held = facts.held.iter().map(|held| pair("held", connections::held(held, results.measured)));
            @let rows = [count("asked for", all.asked), count("up", all.up), took].into_iter().chain(held);
            (table("Connections", &[], rows.chain(cohorts).collect()))
            @let causes = facts.causes.iter().map(|cause| {
                format!("{} short: {}; {}", figures::count(cause.connections), cause.limit, cause.lifted_by)
            });
            (notes(&causes.collect::<Vec<_>>()))
            (table("", &connections::STAGE_HEADS, connections::stage_rows(facts)))
            (notes(&connections::stage_errors(facts)))
            (table("", &connections::TARGET_HEADS, connections::target_rows(&facts.targets)))
        }
        @if let Some(server) = &facts.server {
            @let turns = [("p50", server.turn_p50_ns), ("p99", server.turn_p99_ns), ("max", server.turn_max_ns)];
            @let rows = turns.map(|(name, nanos)| pair(&format!("turn {name}"), nanoseconds(nanos)));
            (table("The server's own figures", &[], rows.into()))
            (notes(&[table::costs(server)]))
        }
        @if !generator.is_empty() {
            h2 { "The generator's own figures" }
            (notes(&generator))
        }
    }
}

fn intervals(results: &Results) -> Markup {
    let (series, _) = results.latency();
    let rows = columns(&results.slices).into_iter().map(|column| {
        let figures = Figures::of_recorded(column.recorded(series));
        let cell =
            |of: fn(&Figures) -> u64| figures.as_ref().map_or_else(|| "-".into(), |figures| nanoseconds(of(figures)));
        vec![
            format!("{:.1} s", column.begin.as_secs_f64()),
            figures::number(column.rate()),
            cell(|figures| figures.p50),
            cell(|figures| figures.p99),
            cell(|figures| figures.max),
            column.errors.map_or_else(|| "-".into(), figures::count),
        ]
    });
    html! {
        details {
            summary { "Every interval as a table" }
            (table("", &["from", "frames/s", "p50", "p99", "max", "errors"], rows.collect()))
        }
    }
}

/// A table, unless it has no rows. The first cell of a row is its name.
fn table(title: &str, heads: &[&str], rows: Vec<Vec<String>>) -> Markup {
    html! {
        @if !rows.is_empty() {
            @if !title.is_empty() { h2 { (title) } }
            table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for row in &rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn notes(texts: &[String]) -> Markup {
    html! {
        @if !texts.is_empty() { ul.notes { @for text in texts { li { (text) } } } }
    }
}

fn nanoseconds(nanos: u64) -> String {
    figures::latency(nanos as f64)
}

/// The page loads nothing, whatever its texts contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// For the test that opens the page: a script's error becomes an attribute of the page.
const ON_ERROR: &str =
    "addEventListener('error', (event) => { document.documentElement.dataset.error = event.message; });";
const UPLOT_JS: &str = include_str!("../assets/uplot/uPlot.iife.min.js");
const UPLOT_CSS: &str = include_str!("../assets/uplot/uPlot.min.css");
const PAGE_JS: &str = include_str!("../assets/page.js");
const PAGE_CSS: &str = include_str!("../assets/page.css");
