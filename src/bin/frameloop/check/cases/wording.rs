//! What cases say with framings other than the default: there a header has other bytes, or a frame has none.

use crate::check::case::Case;
use crate::check::wire::{Shape, Wire};

/// What a case does, why that matters, and what a server that fails has usually done wrong; an empty one is as for the default.
type Words = [&'static str; 3];

/// The same case, in the words of a framing.
pub(crate) fn of(case: Case, wire: &Wire) -> Case {
    let words = match wire.shape() {
        _ if wire.is_default() => None,
        Shape::Prefix(_) => of_prefix(case.name),
        Shape::Delimiter(_) => of_delimiter(case.name),
        Shape::Exact(_) | Shape::Raw => of_bare(case.name),
    };
    let [does, why, mistake] = words.unwrap_or_default();
    let or = |text: &'static str, usual| if text.is_empty() { usual } else { text };
    Case { does: or(does, case.does), why: or(why, case.why), mistake: or(mistake, case.mistake), ..case }
}

fn of_prefix(name: &str) -> Option<Words> {
    const WHY_SPLIT: &str = "TCP does not keep the bytes of a header together";
    const MISTAKE_SPLIT: &str = "a read of up to the length of a header is taken for a read of all of it";
    Some(match name {
        "one-frame" => [
            "a frame of 258 bytes, or the most that a header can announce, is sent in one write and comes back",
            "this is the protocol: a length as --framing describes it, and then the payload, in both directions",
            "the length has another width or byte order, or counts something else, or the answer has no header",
        ],
        "zero-length" => {
            ["", "a payload of 0 bytes is valid: a frame that is all header, and not the end of the stream", ""]
        }
        "header-1-3" => {
            ["a header is sent as 1 byte, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "header-2-2" => {
            ["a header is sent as 2 bytes, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "header-3-1" => {
            ["a header is sent as 3 bytes, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "large-frame" => [
            "a frame of 8 MiB, or of the most that is accepted or announced if that is less, and a small one behind it",
            "",
            "",
        ],
        "fin-in-header" => {
            ["FIN comes in the middle of a header: no reply, the connection is closed, others are served", "", ""]
        }
        "rst-in-header" => ["RST comes in the middle of a header: others are served", "", ""],
        "announced-memory" => ["", "a header costs its sender a few bytes, and should not cost the server a frame", ""],
        "four-gib" => [
            "8 clients announce 4 GiB - 1, or the most that a header can, and send a byte: memory grows by less than 1 GiB, others are served",
            "",
            "",
        ],
        _ => return None,
    })
}

fn of_delimiter(name: &str) -> Option<Words> {
    const WHY_SPLIT: &str = "TCP does not keep the bytes of a delimiter together";
    const MISTAKE_SPLIT: &str = "a delimiter is looked for in what one read returned, and not across two reads";
    Some(match name {
        "one-frame" => [
            "",
            "this is the protocol: a payload and then its delimiter, in both directions",
            "the delimiter is another, or the answer has none",
        ],
        "zero-length" => [
            "",
            "a payload of 0 bytes is valid: a frame that is all delimiter, and not the end of the stream",
            "an empty frame is skipped, or taken for the end of the stream",
        ],
        "byte-at-a-time" => ["", "", "what one read gave is taken for a whole frame"],
        "header-1-3" => {
            ["a delimiter is sent as 1 byte, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "header-2-2" => {
            ["a delimiter is sent as 2 bytes, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "header-3-1" => {
            ["a delimiter is sent as 3 bytes, and then the rest, each of three times", WHY_SPLIT, MISTAKE_SPLIT]
        }
        "every-split" => [
            "",
            "",
            "some state is lost between two reads: a payload or a delimiter in part, or what lay behind a frame",
        ],
        "half-frame" => ["half a payload gets no reply until the other half and the delimiter are there", "", ""],
        "binary-payload" => [
            "a payload has every byte value but the last of the delimiter, invalid UTF-8, and beginnings of the delimiter",
            "a payload is bytes: only the whole delimiter ends it",
            "the payload is taken for text: decoded or trimmed; or it is ended at a part of the delimiter",
        ],
        "fin-in-header" => [
            "FIN comes in the middle of a delimiter: no reply, the connection is closed, others are served",
            "",
            "a read of 0 bytes is not noticed inside a delimiter",
        ],
        "rst-in-header" => ["RST comes in the middle of a delimiter: others are served", "", ""],
        "length-over-limit" => [
            "more bytes than --max-payload come without a delimiter: the connection is closed",
            "a payload without an end must not grow without a limit",
            "",
        ],
        "stalled-frame" => {
            ["clients begin a payload, or a delimiter, and stop: they are disconnected within --frame-timeout", "", ""]
        }
        _ => return None,
    })
}

/// With `exact` and `raw`.
fn of_bare(name: &str) -> Option<Words> {
    Some(match name {
        "one-frame" => [
            "a frame, sent in one write, comes back",
            "this is the protocol: the same bytes in both directions, and nothing before or behind them",
            "something is added to the bytes, or some are missing",
        ],
        "byte-at-a-time" => ["", "", "a byte that came alone is lost, or answered with more than that"],
        "every-split" => ["three frames are split in two, each time on a connection of its own", "", ""],
        "coalesced" => ["many frames in one write, 1,000 or 32 KiB of them, get their replies, in order", "", ""],
        "half-frame" => ["half a frame gets no reply until the other half is there", "", ""],
        "binary-payload" => [
            "frames have every byte value, line ends, zeros and invalid UTF-8",
            "frames are bytes: only their number says where one ends",
            "",
        ],
        "large-frame" => ["a frame, and one behind it", "", ""],
        "flood-beside" => [
            "a client sends the shortest frames as fast as it can; 20 frames of another, 40 ms apart, are each answered within a quarter of --timeout",
            "",
            "",
        ],
        "stalled-frame" => ["a client begins a frame and stops: it is disconnected within --frame-timeout", "", ""],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cases;

    const FRAMINGS: [&str; 5] = ["u32be", "u16le", "lines", "exact:64", "raw"];

    fn cases_of(framing: &str) -> Vec<Case> {
        cases::of(&Wire::of(framing).unwrap()).collect()
    }

    #[test]
    fn default_framing_has_the_words_of_the_cases() {
        for (worded, case) in cases_of("u32be").iter().zip(cases::all()) {
            assert_eq!((worded.does, worded.why, worded.mistake), (case.does, case.why, case.mistake));
        }
    }

    #[test]
    fn each_framing_has_every_case_in_sentences_of_its_own() {
        for framing in FRAMINGS {
            let cases = cases_of(framing);
            assert_eq!(cases.len(), cases::all().count());
            for case in cases {
                for text in [case.does, case.why, case.mistake] {
                    assert!(text.len() > 15 && !text.ends_with('.') && text.is_ascii(), "{framing} {text}");
                    assert!(framing != "u16le" || !text.contains("4 bytes"), "{framing} {text}");
                }
            }
        }
    }

    #[test]
    fn each_wording_belongs_to_a_case() {
        let count = |words: fn(&str) -> Option<Words>| cases::all().filter(|case| words(case.name).is_some()).count();
        assert_eq!((count(of_prefix), count(of_delimiter), count(of_bare)), (10, 13, 9));
    }
}
