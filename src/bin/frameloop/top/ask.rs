//! What the view asks the server for, and what it gets.

use crate::top::client::Client;
use crate::top::model::{Conn, Connections, Info, Sample, Samples, Seconds, Status};

/// By what the largest holders are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    #[default]
    Bytes,
    Age,
    Idle,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Idle => "idle",
        }
    }
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ask {
    pub(super) order: Order,
    /// The id of the connection that is shown in detail.
    pub(super) detail: Option<String>,
}

/// The most connections that a list can have.
pub(super) const TOP_MAX: usize = 100;

/// What the server has answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// What was asked for.
    pub(super) ask: Ask,
    pub(super) info: Info,
    pub(super) samples: Vec<Sample>,
    /// The time that a sample covers.
    pub(super) interval: Seconds,
    pub(super) content: Content,
    /// The connection in detail, if one was asked for; `None` in it if the server does not know the id.
    pub(super) detail: Option<Option<Conn>>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Serve(Connections),
    Load { status: Status },
}

impl Default for Content {
    fn default() -> Self {
        Self::Serve(Connections::default())
    }
}

impl Answer {
    pub(super) fn fetch(client: &mut Client, ask: &Ask) -> Result<Self, String> {
        let info: Info = client.fetch("/v1/info")?;
        if !["serve", "load"].contains(&info.mode.as_str()) {
            return Err(client.other(format_args!(
                "is no admin endpoint: its mode is {:?}; expected serve or load",
                info.mode.as_str()
            )));
        }
        let samples: Samples = client.fetch("/v1/samples")?;
        let content = if info.is_load() {
            Content::Load { status: client.fetch("/v1/status")? }
        } else {
            Content::Serve(client.fetch(&format!("/connections?top={}&n={TOP_MAX}", ask.order.name()))?)
        };
        let detail = match &ask.detail {
            Some(id) if !info.is_load() => Some(client.find(&format!("/connections/{id}"))?),
            _ => None,
        };
        Ok(Self { ask: ask.clone(), info, samples: samples.samples, interval: samples.interval, content, detail })
    }
}

/// Whether a text can be the id of a connection, such as `3.17`: nothing else becomes a part of a request.
pub(super) fn is_id(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(slot, generation)| is_number(slot) && is_number(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_numbers_with_a_dot_are_an_id() {
        assert!(is_id("3.17") && is_id("0.1"));
        for text in ["", ".", "3", "3.", ".17", "3.17.1", "3.x", "3.17\r\n", "../info", "3.111111111111111111111"] {
            assert!(!is_id(text), "{text:?}");
        }
    }
}
