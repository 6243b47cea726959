//! Whether a payload is one frame: only then one reply belongs to it.

use std::io::Read;

use frameloop::client::{Client, ClientError, Part};
use frameloop::wire::{Framing, PAYLOAD_LEN_MAX};

/// Checks that a payload, with what the framing adds, is exactly one frame.
///
/// A header delimits whatever follows it. Without one, a payload can contain the delimiter or lack it, or have another length.
pub(super) fn check(framing: Framing, payload_len: usize, payload: impl Read) -> Result<(), String> {
    let enclosure = framing.enclose(payload_len).map_err(|error| error.to_string())?;
    if framing == Framing::Raw || !enclosure.head().is_empty() {
        return Ok(());
    }
    let mut frames = Client::new(payload.chain(enclosure.tail()));
    frames.set_framing(framing).map_err(|error| error.to_string())?;
    frames.set_payload_len_max(PAYLOAD_LEN_MAX);
    let is_whole = loop {
        match frames.receive_part() {
            Ok(Some(Part::End)) => break true,
            Ok(Some(Part::Begun | Part::Announced(_) | Part::Bytes(_))) => {}
            Err(ClientError::Lost(error)) => return Err(error.to_string()),
            Ok(None) | Err(_) => break false,
        }
    };
    match frames.receive_part() {
        Ok(None) if is_whole => Ok(()),
        _ if is_whole => Err(format!("a payload of {payload_len} bytes is more than one frame (--framing {framing})")),
        _ => Err(format!("a payload of {payload_len} bytes is not a whole frame (--framing {framing})")),
    }
}

/// Whether an empty payload is no bytes at all, so that nothing is sent for it.
pub(super) fn empty_is_nothing(framing: Framing) -> bool {
    framing.enclose(0).is_ok_and(|enclosure| enclosure.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_that_is_not_one_frame_is_refused() {
        let more =
            |len: usize, framing| Err(format!("a payload of {len} bytes is more than one frame (--framing {framing})"));
        let part =
            |len: usize, framing| Err(format!("a payload of {len} bytes is not a whole frame (--framing {framing})"));
        let rows: [(&str, &[u8], Result<(), String>); 19] = [
            ("u32be", b"\0\0\0\x09any\n", Ok(())),
            ("u8", &[0; 255], Ok(())),
            ("u8", &[0; 256], Err("a payload of 256 bytes does not fit the length field of u8".into())),
            ("u8,adjust=2", b"a", Err("a payload of 1 bytes does not fit the length field of u8,adjust=2".into())),
            ("lines", b"", Ok(())),
            ("lines", b"one\r", Ok(())),
            ("lines", b"one\n", more(4, "lines")),
            ("crlf", b"one\ntwo\r", Ok(())),
            ("crlf", b"one\r\ntwo", more(8, "crlf")),
            ("delim:2c,keep", b"one,", Ok(())),
            ("delim:2c,keep", b"one", part(3, "delim:2c,keep")),
            ("delim:2c,keep", b"one,two,", more(8, "delim:2c,keep")),
            ("exact:3", b"one", Ok(())),
            ("exact:3", b"on", part(2, "exact:3")),
            ("exact:3", b"ones", more(4, "exact:3")),
            ("raw", &[7; 100_000], Ok(())),
            ("u16be,header", b"\0\x02hi", Ok(())),
            ("u16be,header", b"\0\x02h", part(3, "u16be,header")),
            ("u16be,offset=1,adjust=-2", b"Q\0\x01", part(3, "u16be,offset=1,adjust=-2")),
        ];
        for (framing, payload, expected) in rows {
            assert_eq!(check(framing.parse().unwrap(), payload.len(), payload), expected, "{framing} {payload:?}");
        }
    }

    #[test]
    fn empty_payload_is_nothing_where_payloads_are_unchanged() {
        for (framing, is_nothing) in [
            ("u32be", false),
            ("varint", false),
            ("lines", false),
            ("delim:00,keep", true),
            ("exact:1", true),
            ("raw", true),
            ("u8,header", true),
            ("u8,adjust=1", false),
        ] {
            assert_eq!(empty_is_nothing(framing.parse().unwrap()), is_nothing, "{framing}");
        }
    }
}
