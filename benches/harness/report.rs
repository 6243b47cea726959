//! The figures as Markdown, and as JSON.

use std::fmt::Write;

use crate::Error;
use crate::accuracy::{Accuracy, Compared};
use crate::calls::Calls;
use crate::child::Bench;
use crate::fairness::{Fairness, SideFairness};
use crate::footprint::Footprint;
use crate::generator::Generation;
use crate::memory::{Growth, Memory};
use crate::options::Options;
use crate::proc;
use crate::rows::Row;
use crate::speed::{SideSpeed, Speed};
use crate::stats::Spread;
use crate::table::Table;

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) speeds: Vec<Speed>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) calls: Vec<Calls>,
    pub(crate) fairness: Vec<Fairness>,
    pub(crate) generators: Vec<Generation>,
    pub(crate) accuracy: Vec<Accuracy>,
    pub(crate) footprints: Vec<Footprint>,
    /// One line for each row that could not be measured.
    pub(crate) failed: Vec<String>,
    left_out: Vec<String>,
    server: String,
    conditions: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &Bench, options: &Options) -> Self {
        let pinned = if bench.pinned {
            "both servers pinned to one CPU, the load to another"
        } else {
            "nothing pinned, as there is only one CPU: server and load share it"
        };
        let first = if bench.may_go_first() {
            "fairness: windows of 0.4 s; servers and flood at real-time priority, the bystander above them"
        } else {
            "fairness: windows of 0.4 s; real-time priority is not permitted, so the bystander also waits for its processor"
        };
        let windows =
            format!("{} rounds of {} s for each row, after one that is not counted", options.rounds, options.seconds);
        Self {
            speeds: Vec::new(),
            memory: Vec::new(),
            calls: Vec::new(),
            fairness: Vec::new(),
            generators: Vec::new(),
            accuracy: Vec::new(),
            footprints: Vec::new(),
            failed: Vec::new(),
            left_out: Vec::new(),
            server: bench.name.clone(),
            conditions: vec![proc::machine(), pinned.to_owned(), windows, first.to_owned()],
        }
    }

    pub(crate) fn leave_out(&mut self, row: &Row, reason: &str) {
        self.left_out.push(format!("{} left out: {reason}", row.name));
    }

    pub(crate) fn fail(&mut self, row: &Row, error: &Error) {
        eprintln!("{} failed: {error}", row.name);
        self.failed.push(format!("{} FAILED: {error}", row.name));
    }

    pub(crate) fn print_heading(&self) {
        println!("# {} above the floor\n", self.server);
        for line in &self.conditions {
            println!("- {line}");
        }
    }

    pub(crate) fn print_tables(&self) {
        if !self.speeds.is_empty() {
            println!("\n## CPU time of the server, ns a frame: median (least–most)\n");
            print!("{}", self.speed_table());
        }
        if !self.memory.is_empty() {
            println!("\n## Resident memory, bytes a connection\n");
            print!("{}", self.memory_table());
        }
        if !self.calls.is_empty() {
            println!("\n## System calls\n");
            print!("{}", self.calls_table());
        }
        if !self.fairness.is_empty() {
            println!("\n## One client's round trips beside a flood, and the flood both ways: median (least–most)\n");
            print!("{}", self.fairness_table());
        }
        if !self.generators.is_empty() {
            println!("\n## CPU time of the load generator, ns a frame: median (least–most)\n");
            print!("{}", self.generator_table());
        }
        if !self.accuracy.is_empty() {
            println!("\n## The load generator in the open loop: its rate, and median latencies in µs\n");
            print!("{}", self.accuracy_table());
        }
        if !self.footprints.is_empty() {
            println!("\n## Resident memory of the load generator and its server, bytes a connection\n");
            print!("{}", self.footprint_table());
        }
        if !self.failed.is_empty() || !self.left_out.is_empty() {
            println!();
        }
        for line in self.failed.iter().chain(&self.left_out) {
            println!("- {line}");
        }
    }

    fn speed_table(&self) -> String {
        let head = ["row", "floor", &self.server, "ratio", "floor p50 / p99 µs"];
        let mut table = Table::new(head.map(str::to_owned).to_vec());
        table.head(format!("{} p50 / p99 µs", self.server));
        for row in &self.speeds {
            table.row(vec![
                row.title.to_owned(),
                spread(&row.floor.ns, 0),
                spread(&row.server.ns, 0),
                spread(&row.ratio, 2),
                latency(&row.floor),
                latency(&row.server),
            ]);
        }
        table.render()
    }

    fn memory_table(&self) -> String {
        let mut table = Table::new(["row", "floor", &self.server].map(str::to_owned).to_vec());
        for row in &self.memory {
            table.row(vec![row.title.to_owned(), growth(&row.floor), growth(&row.server)]);
        }
        table.render()
    }

    fn calls_table(&self) -> String {
        let mut table = Table::new(["what", "floor", &self.server].map(str::to_owned).to_vec());
        for row in &self.calls {
            let cell = |value: f64, detail: &str| match detail {
                "" => format!("{value:.2}"),
                detail => format!("{value:.2} ({detail})"),
            };
            table.row(vec![row.title.clone(), cell(row.floor, &row.details[0]), cell(row.server, &row.details[1])]);
        }
        table.render()
    }

    fn fairness_table(&self) -> String {
        let head = ["flood", "beside", "p50 µs", "p99 µs", "max µs", "flood GB/s"];
        let mut table = Table::new(head.map(str::to_owned).to_vec());
        for row in &self.fairness {
            for (server, side) in [("floor", &row.floor), (self.server.as_str(), &row.server)] {
                table.row(vec![
                    row.title.to_owned(),
                    server.to_owned(),
                    spread(&side.p50_us, 0),
                    spread(&side.p99_us, 0),
                    spread(&side.max_us, 0),
                    spread(&side.gb_per_second, 2),
                ]);
            }
        }
        table.render()
    }

    fn generator_table(&self) -> String {
        let head = ["row", "by hand, in C", "frameloop load", "ratio"];
        let mut table = Table::new(head.map(str::to_owned).to_vec());
        for row in &self.generators {
            let cells = [spread(&row.by_hand, 0), spread(&row.frameloop, 0), spread(&row.ratio, 2)];
            table.row([row.title.to_owned()].into_iter().chain(cells).collect());
        }
        table.render()
    }

    fn accuracy_table(&self) -> String {
        let head = ["row", "due/s", "kept", "", "in C", "frameloop load", "ratio"];
        let mut table = Table::new(head.map(str::to_owned).to_vec());
        for row in &self.accuracy {
            let due = [row.title.to_owned(), format!("{:.0}", row.rate), spread(&row.kept, 3), "from due".to_owned()];
            let sent = ["", "", "", "from sent"].map(str::to_owned);
            for (cells, of) in [(due, &row.due), (sent, &row.sent)] {
                let figures = [spread(&of.by_hand, 0), spread(&of.frameloop, 0), spread(&of.ratio, 2)];
                table.row(cells.into_iter().chain(figures).collect());
            }
        }
        table.render()
    }

    fn footprint_table(&self) -> String {
        let head = ["connections", "frameloop load", &self.server, "connected within"];
        let mut table = Table::new(head.map(str::to_owned).to_vec());
        for row in &self.footprints {
            let cells = [row.title.to_owned(), format!("{:.0}", row.generator), format!("{:.0}", row.server)];
            table.row(cells.into_iter().chain([format!("{:.2} s", row.seconds)]).collect());
        }
        table.render()
    }

    pub(crate) fn json(&self) -> String {
        let list = |items: Vec<String>| format!("[{}]", items.join(",\n"));
        let texts = |lines: &[String]| list(lines.iter().map(|line| quoted(line)).collect());
        format!(
            "{{\"server\":{},\n\"conditions\":{},\n\"speed\":{},\n\"memory\":{},\n\"calls\":{},\n\
             \"fairness\":{},\n\"generators\":{},\n\"accuracy\":{},\n\"footprints\":{},\n\"failed\":{},\n\"left_out\":{}}}\n",
            quoted(&self.server),
            texts(&self.conditions),
            list(self.speeds.iter().map(speed_json).collect()),
            list(self.memory.iter().map(memory_json).collect()),
            list(self.calls.iter().map(calls_json).collect()),
            list(self.fairness.iter().map(fairness_json).collect()),
            list(self.generators.iter().map(generator_json).collect()),
            list(self.accuracy.iter().map(accuracy_json).collect()),
            list(self.footprints.iter().map(footprint_json).collect()),
            texts(&self.failed),
            texts(&self.left_out),
        )
    }
}

fn spread(spread: &Spread, digits: usize) -> String {
    let Spread { median, min, max, .. } = spread;
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

fn latency(side: &SideSpeed) -> String {
    format!("{:.0} / {:.0}", side.p50_us.median, side.p99_us.median)
}

fn growth(growth: &Growth) -> String {
    let mut text = format!("{:.0}", growth.bytes);
    // Writing to a String cannot fail.
    if growth.taken > 0.0 {
        let _ = write!(text, ", after taking {:.0} KiB of each", growth.taken / 1024.0);
    }
    if growth.closed > 0 {
        let _ = write!(text, ", {} closed", growth.closed);
    }
    text
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn spread_json(spread: &Spread) -> String {
    let samples: Vec<_> = spread.samples.iter().map(|it| format!("{it:.3}")).collect();
    format!(
        "{{\"median\":{:.3},\"min\":{:.3},\"max\":{:.3},\"samples\":[{}]}}",
        spread.median,
        spread.min,
        spread.max,
        samples.join(",")
    )
}

fn side_json(side: &SideSpeed) -> String {
    format!(
        "{{\"ns\":{},\"per_second\":{},\"p50_us\":{},\"p99_us\":{}}}",
        spread_json(&side.ns),
        spread_json(&side.per_second),
        spread_json(&side.p50_us),
        spread_json(&side.p99_us)
    )
}

fn speed_json(row: &Speed) -> String {
    format!(
        "{{\"name\":{},\"title\":{},\"ratio\":{},\n\"floor\":{},\n\"server\":{}}}",
        quoted(row.name),
        quoted(row.title),
        spread_json(&row.ratio),
        side_json(&row.floor),
        side_json(&row.server)
    )
}

fn memory_json(row: &Memory) -> String {
    let side =
        |it: &Growth| format!("{{\"bytes\":{:.1},\"taken\":{:.0},\"closed\":{}}}", it.bytes, it.taken, it.closed);
    format!(
        "{{\"name\":{},\"title\":{},\"floor\":{},\"server\":{}}}",
        quoted(row.name),
        quoted(row.title),
        side(&row.floor),
        side(&row.server)
    )
}

fn fairness_json(row: &Fairness) -> String {
    let side = |it: &SideFairness| {
        format!(
            "{{\"p50_us\":{},\"p99_us\":{},\"max_us\":{},\"gb_per_second\":{}}}",
            spread_json(&it.p50_us),
            spread_json(&it.p99_us),
            spread_json(&it.max_us),
            spread_json(&it.gb_per_second)
        )
    };
    format!(
        "{{\"name\":{},\"title\":{},\n\"floor\":{},\n\"server\":{}}}",
        quoted(row.name),
        quoted(row.title),
        side(&row.floor),
        side(&row.server)
    )
}

fn generator_json(row: &Generation) -> String {
    format!(
        "{{\"name\":{},\"title\":{},\"ratio\":{},\n\"by_hand\":{},\n\"frameloop\":{}}}",
        quoted(row.name),
        quoted(row.title),
        spread_json(&row.ratio),
        spread_json(&row.by_hand),
        spread_json(&row.frameloop)
    )
}

fn accuracy_json(row: &Accuracy) -> String {
    let compared = |it: &Compared| {
        format!(
            "{{\"ratio\":{},\n\"by_hand\":{},\n\"frameloop\":{}}}",
            spread_json(&it.ratio),
            spread_json(&it.by_hand),
            spread_json(&it.frameloop)
        )
    };
    format!(
        "{{\"name\":{},\"title\":{},\"rate\":{:.1},\"kept\":{},\n\"from_due\":{},\n\"from_sent\":{}}}",
        quoted(row.name),
        quoted(row.title),
        row.rate,
        spread_json(&row.kept),
        compared(&row.due),
        compared(&row.sent)
    )
}

fn footprint_json(row: &Footprint) -> String {
    format!(
        "{{\"name\":{},\"title\":{},\"generator\":{:.1},\"server\":{:.1},\"seconds\":{:.3}}}",
        quoted(row.name),
        quoted(row.title),
        row.generator,
        row.server,
        row.seconds
    )
}

fn calls_json(row: &Calls) -> String {
    format!("{{\"title\":{},\"floor\":{:.3},\"server\":{:.3}}}", quoted(&row.title), row.floor, row.server)
}
