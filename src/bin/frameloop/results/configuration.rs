//! What a run was told to do, as names and values in the order in which a person reads them.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names and values, in order; an object in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    rows: Vec<(String, String)>,
}

impl Configuration {
    pub(crate) fn of(rows: Vec<(&str, String)>) -> Self {
        Self { rows: rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds another's: where the two differ, both values stand.
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

/// Takes the members of an object in their order.
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

    #[test]
    fn the_order_outlives_the_json() {
        let configuration = Configuration::of(vec![("size", "64 B".into()), ("depth", "1".into())]);
        let json = serde_json::to_string(&configuration).unwrap();
        assert_eq!(json, r#"{"size":"64 B","depth":"1"}"#);
        assert_eq!(serde_json::from_str::<Configuration>(&json).unwrap(), configuration);
    }

    #[test]
    fn where_two_differ_both_values_stand_once() {
        let of = |size: &str| Configuration::of(vec![("size", size.into()), ("depth", "1".into())]);
        let mut merged = of("64 B");
        for size in ["1 KiB", "64 B", "1 KiB"] {
            merged.merge(&of(size));
        }
        assert_eq!(merged.rows().collect::<Vec<_>>(), [("size", "64 B | 1 KiB"), ("depth", "1")]);
    }
}
