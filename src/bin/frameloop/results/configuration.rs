//! The plan of a run as names and values, in the order in which a person reads them.

use std::fmt;
use std::time::Duration;

use frameloop::load::{Check, Hold, Payload, Plan, Stop, Target, Template};
use frameloop::wire::Framing;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::results::figures;

/// Names and values, in order; an object in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    rows: Vec<(String, String)>,
}

impl Configuration {
    /// The plan of a run, as a person reads it.
    pub(crate) fn of(plan: &Plan) -> Self {
        let (min, max) = (*plan.payload_len.start(), *plan.payload_len.end());
        let size = match &plan.payload {
            Payload::Templates { list, .. } => sizes(list),
            _ if min == max => format!("{min} B"),
            _ => format!("{min} to {max} B"),
        };
        let stop = match plan.stop {
            Stop::After(duration) => ("duration", figures::duration(duration)),
            Stop::Frames(frames) => ("frames", figures::count(frames)),
        };
        let load = match (plan.hold, plan.rate) {
            (Some(hold), _) => ("hold", held(hold)),
            (None, Some(rate)) => ("rate", format!("{} frames/s (open loop)", figures::number(rate))),
            (None, None) if plan.churn => ("load", "churn: a connection a frame".into()),
            (None, None) => ("depth", format!("{} (closed loop)", plan.depth)),
        };
        let mut rows = vec![
            (if plan.targets.len() > 1 { "targets" } else { "target" }, targets(plan)),
            ("connections", figures::count(plan.connections as u64)),
            load,
            ("size", size),
            stop,
            ("warmup", figures::duration(plan.warmup)),
            ("threads", plan.threads.to_string()),
        ];
        rows.extend(requests(plan));
        let extras = [("idle", plan.idle), ("drip", plan.drip), ("deaf", plan.deaf)];
        rows.extend(
            extras.iter().filter(|(_, count)| *count > 0).map(|(name, at)| (*name, figures::count(*at as u64))),
        );
        rows.extend(plan.connect_rate.map(|rate| ("connect rate", format!("{}/s", figures::number(rate)))));
        if !plan.segment.is_whole() {
            rows.push(("segment", plan.segment.to_string()));
        }
        if !plan.sources.is_empty() {
            rows.push(("sources", format!("{} addresses", plan.sources.count())));
        }
        if plan.spin > Duration::ZERO {
            rows.push(("spin", figures::duration(plan.spin)));
        }
        rows.into_iter().collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Replaces the value of a name, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.rows.retain(|(own, _)| own != name);
        self.rows.push((name.to_owned(), value));
    }

    /// Adds another configuration: where two values differ, both are shown.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, value) in &other.rows {
            match self.rows.iter_mut().find(|(ours, _)| ours == name) {
                Some((_, values)) if values.split(" | ").any(|ours| ours == value) => {}
                Some((_, values)) => {
                    values.push_str(" | ");
                    values.push_str(value);
                }
                None => self.rows.push((name.clone(), value.clone())),
            }
        }
    }
}

/// The servers of a plan; of many, how many there are.
pub(crate) fn targets(plan: &Plan) -> String {
    let is_weighted = plan.targets.iter().any(|target| target.weight != plan.targets[0].weight);
    let name = |target: &Target| match is_weighted {
        true => format!("{}={}", target.address, target.weight),
        false => target.address.to_string(),
    };
    match plan.targets.as_slice() {
        [] => "its own server".into(),
        [first, _, _, _, ..] => format!("{} and {} others", name(first), plan.targets.len() - 1),
        few => few.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

/// What connections do that are held.
fn held(hold: Hold) -> String {
    match hold.every() {
        None => "silent".into(),
        Some(every) => format!("a frame per {} on each connection", figures::duration(every)),
    }
}

/// The lengths of given payloads.
fn sizes(list: &[Template]) -> String {
    let lens = || list.iter().map(Template::len);
    let (min, max) = (lens().min().unwrap_or(0), lens().max().unwrap_or(0));
    let all = if min == max { format!("{min} B") } else { format!("{min} to {max} B") };
    match list.len() {
        1 => format!("{all}, given"),
        count => format!("{all}, {} given", figures::count(count as u64)),
    }
}

/// What is unusual about the requests of a run.
fn requests(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if plan.framing != Framing::default() {
        rows.push(("framing", plan.framing.to_string()));
    }
    if let Payload::Templates { shuffle: Some(seed), .. } = &plan.payload {
        rows.push(("shuffle", seed.to_string()));
    }
    if !plan.hello.is_empty() {
        rows.push(("hello", format!("{} frames", figures::count(plan.hello.len() as u64))));
    }
    if plan.replies != 1 {
        rows.push(("replies", plan.replies.to_string()));
    }
    let check = match &plan.check {
        Check::Echo => None,
        Check::Len => Some("len".to_owned()),
        Check::Equals(bytes) => Some(format!("equals {} B", bytes.len())),
        Check::Prefix(bytes) => Some(format!("prefix {}", bytes.escape_ascii())),
        Check::Regex(pattern) => Some(format!("regex {pattern}")),
        _ => Some("any".to_owned()),
    };
    rows.extend(check.filter(|_| plan.replies > 0).map(|check| ("check", check)));
    rows
}

impl<'a> FromIterator<(&'a str, String)> for Configuration {
    fn from_iter<I: IntoIterator<Item = (&'a str, String)>>(rows: I) -> Self {
        Self { rows: rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }
}

impl Serialize for Configuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.rows())
    }
}

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Rows)
    }
}

/// Collects the members of an object in their order.
struct Rows;

impl<'de> Visitor<'de> for Rows {
    type Value = Configuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Configuration, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = map.next_entry()? {
            rows.push(row);
        }
        Ok(Configuration { rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(size: &str) -> Configuration {
        [("size", size.to_owned()), ("depth", "1".to_owned())].into_iter().collect()
    }

    #[test]
    fn json_keeps_the_order() {
        let json = serde_json::to_string(&configuration("64 B")).unwrap();
        assert_eq!(json, r#"{"size":"64 B","depth":"1"}"#);
        assert_eq!(serde_json::from_str::<Configuration>(&json).unwrap(), configuration("64 B"));
    }

    #[test]
    fn merge_of_different_values_shows_each_once() {
        let mut merged = configuration("64 B");
        for size in ["1 KiB", "64 B", "1 KiB"] {
            merged.merge(&configuration(size));
        }
        assert_eq!(merged.rows().collect::<Vec<_>>(), [("size", "64 B | 1 KiB"), ("depth", "1")]);
    }
}
