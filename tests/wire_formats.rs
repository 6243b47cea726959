//! Framings without sockets: their text forms, the table of Netty's decoder, and the same frames as tokio-util's codec finds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use frameloop::wire::{DecodeError, Decoded, Delimiter, Framing, LengthPrefix};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

const LIMIT: u32 = 1_000;

/// The payloads of the whole frames in `bytes`, which arrive in pieces of these lengths, over and over; and why no further
/// frame is found, if that is an error.
fn payloads(framing: Framing, bytes: &[u8], lens: &[usize], limit: u32) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    let (mut payloads, mut begin, mut end, mut searched) = (Vec::new(), 0, 0, 0);
    for len in lens.iter().cycle() {
        end = bytes.len().min(end + len);
        loop {
            match framing.decode(&bytes[begin..end], searched, limit) {
                Ok(Decoded::Frame { frame_len, payload, .. }) => {
                    payloads.push(bytes[begin..end][payload].to_vec());
                    begin += frame_len;
                    searched = 0;
                }
                Ok(Decoded::Partial { searched: so_far, .. }) => {
                    searched = so_far;
                    break;
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => return (payloads, Some(error)),
            }
        }
        if end == bytes.len() {
            return (payloads, None);
        }
    }
    unreachable!("there is a length")
}

#[test]
fn text_of_each_framing_is_read_back_as_the_same() {
    let texts = [
        "u32be",
        "u8",
        "u16be",
        "u16le",
        "u24be",
        "u24le",
        "u32le",
        "u64be",
        "u64le",
        "varint",
        "u32be,offset=1,adjust=-4",
        "u32be,offset=1,adjust=-4,header",
        "varint,offset=1",
        "u16le,adjust=2",
        "lines",
        "crlf",
        "delim:00",
        "delim:0d0a0d0a",
        "delim:ff,keep",
        "exact:1",
        "exact:18446744073709551615",
        "raw",
    ];
    for text in texts {
        let framing: Framing = text.parse().unwrap();
        assert_eq!(framing.to_string(), text);
    }
    assert_eq!(Framing::default().to_string(), "u32be");
    assert_eq!("delim:0D0a".parse::<Framing>().unwrap().to_string(), "crlf", "the same value has one text");
    assert_eq!("delim:0d0a".parse::<Framing>().unwrap(), Framing::crlf());
}

#[test]
fn text_that_is_no_framing_is_refused_with_what_to_write() {
    let texts = [
        "",
        "u32",
        "U32BE",
        "u40be",
        "lines,keep,x",
        "u32be,keep",
        "raw,header",
        "delim:",
        "delim:0",
        "delim:0g",
        "delim:0d0a0d0a00",
        "delim:+1",
        "exact:",
        "exact:0",
        "exact:-1",
        "u32be,offset=256",
        "u32be,offset=",
        "u32be,adjust=x",
        "u32be,",
        "u32be,header=1",
        " u32be",
    ];
    for text in texts {
        let error = text.parse::<Framing>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{text:?} is not a framing: ")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// The examples in the documentation of `LengthFieldBasedFrameDecoder`, and lengths that it refuses.
#[test]
fn netty_length_field_examples_give_the_same_frames() {
    const HELLO: &[u8] = b"HELLO, WORLD";
    let included = |prefix: LengthPrefix| prefix.include_header(true);
    let rows: [(LengthPrefix, &[u8], usize); 8] = [
        (included(LengthPrefix::u16_be()), b"\0\x0c", 0),
        (LengthPrefix::u16_be(), b"\0\x0c", 2),
        (included(LengthPrefix::u16_be().adjustment(-2)), b"\0\x0e", 0),
        (included(LengthPrefix::u24_be().offset(2)), b"\xca\xfe\0\0\x0c", 0),
        (included(LengthPrefix::u24_be().adjustment(2)), b"\0\0\x0c\xca\xfe", 0),
        (LengthPrefix::u16_be().offset(1).adjustment(1), b"\xca\0\x0c\xfe", 3),
        (LengthPrefix::u16_be().offset(1).adjustment(-3), b"\xca\0\x10\xfe", 3),
        (LengthPrefix::u64_be(), b"\0\0\0\0\0\0\0\x0c", 8),
    ];
    for (prefix, head, stripped) in rows {
        let frame = [head, HELLO].concat();
        for len in 1..=frame.len() {
            let (found, error) = payloads(prefix.into(), &frame.repeat(3), &[len], LIMIT);
            assert_eq!(error, None, "{prefix}");
            assert_eq!(found, vec![frame[stripped..].to_vec(); 3], "{prefix}, in pieces of {len}");
        }
    }

    let refused: [(LengthPrefix, &[u8], &str); 6] = [
        (LengthPrefix::u16_be().adjustment(-2), b"\0\x01", "length field of 1 is invalid"),
        (LengthPrefix::u32_be().adjustment(-4), b"\0\0\0\x03", "length field of 3 is invalid"),
        (LengthPrefix::u16_be(), b"\x03\xe9", "frame of 1001 bytes exceeds the limit of 1000"),
        (LengthPrefix::u16_be().adjustment(5), b"\x03\xe4", "frame of 1001 bytes exceeds the limit of 1000"),
        (LengthPrefix::u64_be(), &[0xff; 8], "frame of 18446744073709551615 bytes exceeds the limit"),
        (LengthPrefix::u64_be().adjustment(i32::MAX), &[0xff; 8], "frame of 18446744073709551615 bytes exceeds"),
    ];
    for (prefix, head, message) in refused {
        for len in 0..head.len() {
            assert_eq!(payloads(prefix.into(), &head[..len], &[1], LIMIT), (vec![], None), "{prefix}");
        }
        let (_, error) = payloads(prefix.into(), head, &[1], LIMIT);
        assert!(error.unwrap().to_string().starts_with(message), "{prefix}: {error:?}");
    }
}

/// LEB128, as the MQTT specification (version 5, section 1.5.5) and Protocol Buffers describe it.
#[test]
fn varint_has_at_most_ten_bytes_and_64_bits() {
    let framing = Framing::from(LengthPrefix::varint());
    let lens: [(&[u8], Option<u64>); 9] = [
        (&[0x00], Some(0)),
        (&[0x7f], Some(127)),
        (&[0x80, 0x01], Some(128)),
        (&[0x80, 0x00], Some(0)),
        (&[0xff, 0xff, 0xff, 0x7f], Some(268_435_455)),
        (&[0x80; 9], None),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Some(u64::MAX)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], Some(u64::MAX)),
        (&[0xff; 10], Some(u64::MAX)),
    ];
    for (bytes, expected) in lens {
        match framing.decode(bytes, 0, 1_000) {
            Ok(decoded) => {
                let frame_len = match decoded {
                    Decoded::Frame { frame_len, .. } => Some(frame_len),
                    Decoded::Partial { frame_len, .. } => frame_len,
                    other => panic!("{other:?}"),
                };
                assert_eq!(frame_len.map(|len| (len - bytes.len()) as u64), expected, "{bytes:x?}");
            }
            Err(DecodeError::TooLong(error)) => assert_eq!(Some(error.announced()), expected, "{bytes:x?}"),
            Err(error) => panic!("{bytes:x?}: {error}"),
        }
    }
}

#[test]
fn delimiter_is_found_across_pieces_and_within_the_limit() {
    let crlf = |bytes: &[u8], len: usize| payloads(Framing::crlf(), bytes, &[len], 3);
    for len in 1..12 {
        assert_eq!(crlf(b"\r\r\n\r\nabc\r\n\n\r\r\n", len).0, [&b"\r"[..], b"", b"abc", b"\n\r"], "{len}");
        let lines = payloads(Framing::lines(), b"a\r\nb\n\r\n\n\r\r\nc", &[len], 3);
        assert_eq!(lines, (vec![b"a".to_vec(), b"b".to_vec(), vec![], vec![], b"\r".to_vec()], None), "{len}");
        let kept = Framing::from(Delimiter::new(b"\0").unwrap().keep(true));
        assert_eq!(payloads(kept, b"a\0\0", &[len], 3).0, [&b"a\0"[..], b"\0"], "{len}");
        // Three bytes and the delimiter may come; after the third byte and another, it is too late.
        assert_eq!(crlf(b"abc\r", len).1, None, "{len}");
        let (_, error) = crlf(b"abcd\r\n", len);
        assert_eq!(error.unwrap().to_string(), "frame of 4 bytes exceeds the limit of 3", "{len}");
    }
}

#[test]
fn enclosed_payload_is_decoded_as_the_same_payload() {
    for text in
        ["u8", "u16le", "u24be", "u32be", "u64le", "varint", "u32be,adjust=-4", "u16be,adjust=3", "lines", "raw"]
    {
        let framing: Framing = text.parse().unwrap();
        for len in [0, 1, 3, 127, 128, 255, 256, 65_535, 65_536, 70_000] {
            let payload = vec![7; len];
            let mut bytes = Vec::new();
            let is_encoded = framing.encode(&payload, &mut bytes).is_ok();
            let fits = match text {
                "u8" => len <= 255,
                "u16le" => len <= 65_535,
                "u16be,adjust=3" => (3..=65_538).contains(&len),
                _ => true,
            };
            assert_eq!(is_encoded, fits, "{text}, {len} bytes");
            if is_encoded && (text, len) != ("raw", 0) {
                assert_eq!(
                    payloads(framing, &bytes, &[1 << 20], 1 << 20),
                    (vec![payload], None),
                    "{text}, {len} bytes"
                );
            }
        }
    }
}

/// A field of each width and byte order, and the same for tokio-util.
fn fields() -> [(LengthPrefix, usize, bool); 9] {
    [
        (LengthPrefix::u8(), 1, true),
        (LengthPrefix::u16_be(), 2, true),
        (LengthPrefix::u16_le(), 2, false),
        (LengthPrefix::u24_be(), 3, true),
        (LengthPrefix::u24_le(), 3, false),
        (LengthPrefix::u32_be(), 4, true),
        (LengthPrefix::u32_le(), 4, false),
        (LengthPrefix::u64_be(), 8, true),
        (LengthPrefix::u64_le(), 8, false),
    ]
}

/// Some bytes before the field, a length that is mostly small, and as many bytes as it says, or others.
fn stream() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let announced = prop_oneof![9 => 0..40_u64, 1 => any::<u64>(), 1 => 990..1_010_u64];
    vec((announced, vec(any::<u8>(), 0..60)), 1..12)
}

const ADJUSTMENTS: RangeInclusive<i32> = -9..=9;

proptest! {
    #[test]
    fn frames_are_those_of_tokio_util(
        field in 0..9_usize,
        offset in 0..6_u8,
        adjustment in ADJUSTMENTS,
        stream in stream(),
        is_exact in any::<bool>(),
        lens in vec(1..50_usize, 1..5),
    ) {
        let (prefix, width, is_big) = fields()[field];
        let prefix = prefix.offset(offset).adjustment(adjustment);
        let bytes: Vec<u8> = stream.iter().flat_map(|(announced, rest)| {
            let big = announced.to_be_bytes();
            let mut field = big[8 - width..].to_vec();
            if !is_big {
                field.reverse();
            }
            // Mostly, frames follow each other as announced.
            let len = announced.saturating_add_signed(adjustment.into()).min(60) as usize;
            let rest = if is_exact { vec![5; len] } else { rest.clone() };
            [vec![3; offset.into()], field, rest].concat()
        }).collect();

        let mut codec = LengthDelimitedCodec::builder();
        codec.length_field_offset(offset.into()).length_field_length(width).length_adjustment(adjustment as isize);
        codec.max_frame_length(LIMIT as usize);
        let mut codec = if is_big { codec.big_endian().new_codec() } else { codec.little_endian().new_codec() };
        let (mut theirs, mut buffer, mut at, mut has_failed) = (Vec::<Bytes>::new(), BytesMut::new(), 0, false);
        for len in lens.iter().cycle() {
            let end = bytes.len().min(at + len);
            buffer.extend_from_slice(&bytes[at..end]);
            at = end;
            has_failed = loop {
                match codec.decode(&mut buffer) {
                    Ok(Some(frame)) => theirs.push(frame.freeze()),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            if has_failed || at == bytes.len() {
                break;
            }
        }

        // Its limit is that of the length field, and ours that of the payload. It lowers the limit to what a payload can be, so
        // that a field of 1 byte with a negative adjustment has values that are refused.
        let field_max = if width == 1 { 255_u32.saturating_add_signed(adjustment) } else { LIMIT };
        let limit = LIMIT.min(field_max).saturating_add_signed(adjustment);
        let (ours, error) = payloads(prefix.into(), &bytes, &lens, limit);
        prop_assert_eq!(&ours, &theirs, "{}", prefix);
        prop_assert_eq!(error.is_some(), has_failed, "{}: {:?}", prefix, error);
    }

    #[test]
    fn pieces_do_not_change_the_frames(
        text in prop_oneof![
            Just("lines"), Just("crlf"), Just("delim:0a0a0d"), Just("delim:0d,keep"), Just("varint"), Just("exact:3"),
        ],
        bytes in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(1_u8), Just(2), any::<u8>()], 0..200),
        lens in vec(1..9_usize, 1..5),
        limit in 0..40_u32,
    ) {
        let framing: Framing = text.parse().unwrap();
        let at_once = payloads(framing, &bytes, &[usize::MAX / 2], limit);
        prop_assert_eq!(payloads(framing, &bytes, &lens, limit), at_once);
    }
}
