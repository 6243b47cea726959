//! Which generators a result is made of, and which of them are missing.

use std::collections::BTreeSet;

use frameloop::load::Segment;

use crate::results::hlog::log::Log;

/// What is doubtful about a sum of logs.
pub(crate) fn doubts(logs: &[&Log]) -> Vec<String> {
    let is_partial = |log: &&&Log| log.facts.as_ref().is_some_and(|facts| facts.is_partial);
    let partial = logs.iter().filter(is_partial);
    let mut doubts: Vec<String> = partial
        .map(|log| format!("{}: the log ends before its run did; its figures until then are part of the sum", log.name))
        .collect();
    for (at, log) in logs.iter().enumerate() {
        let Some(instance) = &log.instance else { continue };
        if let Some(first) = logs[..at].iter().find(|first| first.instance.as_ref() == Some(instance)) {
            doubts.push(format!(
                "{} and {} are both of instance {instance}: a share of the load is counted twice, or not at all",
                first.name, log.name
            ));
        }
    }
    doubts.extend(missing_doubt(logs.iter().copied()));
    doubts
}

/// The segments that others imply, in words.
pub(crate) fn missing_doubt<'a>(logs: impl Iterator<Item = &'a Log>) -> Option<String> {
    let missing = missing(logs.filter_map(|log| log.instance.as_deref()));
    let verb = if missing.len() == 1 { "is" } else { "are" };
    (!missing.is_empty()).then(|| format!("{} {verb} missing: the figures are those of the others", joined(&missing)))
}

/// The segments that others imply, as `1/2` implies `2/2`.
pub(crate) fn missing<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let seen: BTreeSet<(u32, u32)> = names.filter_map(segment).collect();
    let counts: BTreeSet<u32> = seen.iter().map(|(count, _)| *count).collect();
    let all = counts.into_iter().flat_map(|count| (1..=count).map(move |nth| (count, nth)));
    all.filter(|segment| !seen.contains(segment)).map(|(count, nth)| format!("{nth}/{count}")).collect()
}

/// The number of segments, and which one a name is.
pub(crate) fn segment(name: &str) -> Option<(u32, u32)> {
    let segment: Segment = name.parse().ok()?;
    let text = segment.to_string();
    let (nth, count) = text.split_once('/')?;
    Some((count.parse().ok()?, nth.parse().ok()?))
}

/// The first names, and how many more there are.
pub(crate) fn joined(names: &[String]) -> String {
    let shown = names.len().min(NAMED_MAX);
    let text = names[..shown].join(", ");
    if shown < names.len() { format!("{text} and {} more", names.len() - shown) } else { text }
}

const NAMED_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::hlog::mark::Mark;
    use crate::results::hlog::read::{parse, parse_all};
    use crate::results::merge::merged;

    fn text(instance: &str, is_in_each_line: bool) -> Vec<u8> {
        fixture::marked_log_of(&fixture::seconds(3), Mark { name: instance.into(), is_in_each_line })
    }

    fn log(name: &str, instance: &str) -> Log {
        parse(name, text(instance, false).as_slice(), None).unwrap()
    }

    #[test]
    fn missing_segments_are_those_that_others_imply() {
        let missing = |names: &[&str]| missing(names.iter().copied());
        assert_eq!(missing(&["3/3", "1/3"]), ["2/3"]);
        assert_eq!(missing(&["1/1", "host:1", "1/2"]), ["2/2"]);
        assert_eq!(missing(&["host:1", "other:2"]), Vec::<String>::new());
        assert_eq!(
            joined(&missing(&["1/13"])),
            "2/13, 3/13, 4/13, 5/13, 6/13, 7/13, 8/13, 9/13, 10/13, 11/13 and 2 more"
        );
    }

    #[test]
    fn report_of_some_segments_names_the_missing_one_and_duplicates() {
        let taints = |logs: &[Log]| merged(logs).facts.taints;
        let others = taints(&[log("a", "1/2"), log("b", "2/2")]);
        assert!(!others.iter().any(|taint| taint.contains("/2")), "{others:?}");
        let taints = taints(&[log("a", "1/3"), log("b", "1/3")]);
        let expected = [
            "a and b are both of instance 1/3: a share of the load is counted twice, or not at all",
            "2/3, 3/3 are missing: the figures are those of the others",
        ];
        assert!(expected.iter().all(|text| taints.iter().any(|taint| taint == text)), "{taints:?}");
        // One log is shown as its run showed it.
        assert_eq!(merged(&[log("a", "1/3")]).facts, fixture::seconds(3).facts);
    }

    #[test]
    fn marked_and_mixed_logs_give_what_separate_files_give() {
        let (one, two) = (text("1/2", true), text("2/2", true));
        // The line of the connections made before has its time in milliseconds, unless it is marked.
        let (marked, unmarked) = (parse("a", one.as_slice(), None).unwrap(), log("a", "1/2"));
        assert!(marked.entries[1..] == unmarked.entries[1..] && marked.facts == unmarked.facts);
        let lines = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (one, two) = (lines(&one), lines(&two));
        assert_eq!(one.len(), two.len());
        let mixed: Vec<u8> = one.into_iter().zip(two).flat_map(|(one, two)| [one, two].concat()).collect();
        let logs = parse_all("a", mixed.as_slice(), None).unwrap();
        let names: Vec<&str> = logs.iter().map(|log| log.name.as_str()).collect();
        assert_eq!(names, ["a 1/2", "a 2/2"]);
        for (log, instance) in logs.iter().zip(["1/2", "2/2"]) {
            let alone = parse("a", text(instance, true).as_slice(), None).unwrap();
            assert!(log.entries == alone.entries && log.facts == alone.facts && log.instance == alone.instance);
        }
    }
}
