use super::*;

const MIB_16: u32 = 16 << 20;

fn decode(bytes: &[u8], max_payload: u32) -> Result<Decoded, DecodeError> {
    Framing::default().decode(bytes, 0, max_payload)
}

#[test]
fn fewer_than_four_bytes_are_not_yet_a_header() {
    for len in 0..HEADER_LEN {
        assert_eq!(announced_len(&[0xff; 3][..len], 8), Ok(None));
    }
}

#[test]
fn the_limit_itself_is_allowed_and_one_more_is_not() {
    let lengths = [
        (0, true),
        (1, true),
        (MIB_16 - 1, true),
        (MIB_16, true),
        (MIB_16 + 1, false),
        ((1 << 31) - 1, false),
        (1 << 31, false),
        ((1 << 31) + 1, false),
        (u32::MAX, false),
    ];
    for (announced, allowed) in lengths {
        let outcome = announced_len(&encode_header(announced), MIB_16);
        match outcome {
            Ok(len) => assert!(allowed && len == Some(announced)),
            Err(error) => {
                assert!(!allowed, "{announced} was refused");
                assert_eq!((error.announced(), error.allowed), (announced.into(), MIB_16));
            }
        }
    }
}

#[test]
fn a_limit_of_four_gib_minus_one_allows_every_header() {
    for announced in [0, 1 << 31, u32::MAX] {
        let header = encode_header(announced);
        assert_eq!(announced_len(&header, PAYLOAD_LEN_MAX), Ok(Some(announced)));
    }
}

#[test]
fn a_frame_is_whole_at_its_last_byte() {
    for payload_len in [0, 1, 5, 300_000] {
        let header = encode_header(payload_len);
        let mut bytes = header.to_vec();
        bytes.resize(HEADER_LEN + payload_len as usize, 1);
        let frame_len = bytes.len();
        for len in (0..frame_len).take(500).chain(frame_len.saturating_sub(9)..frame_len) {
            let expected = if len < HEADER_LEN { None } else { Some(frame_len) };
            let decoded = decode(&bytes[..len], MIB_16);
            assert!(matches!(decoded, Ok(Decoded::Partial { frame_len, .. }) if frame_len == expected), "{len}");
        }
        assert_eq!(decode(&bytes, MIB_16), Ok(Decoded::Frame { frame_len, payload: HEADER_LEN..frame_len }));
        bytes.extend([7; 9]);
        assert_eq!(decode(&bytes, MIB_16), Ok(Decoded::Frame { frame_len, payload: HEADER_LEN..frame_len }));
    }
}

#[test]
fn a_length_above_the_limit_is_refused_at_the_fourth_byte() {
    let header = encode_header(MIB_16 + 1);
    assert_eq!(decode(&header[..3], MIB_16), Ok(Decoded::UNKNOWN));
    assert!(decode(&header, MIB_16).is_err());
}

#[test]
fn another_protocol_is_named() {
    let openings: [(&[u8; 4], Option<Protocol>); 8] = [
        (b"GET ", Some(Protocol::Http)),
        (b"POST", Some(Protocol::Http)),
        (b"PRI ", Some(Protocol::Http)),
        (&[0x16, 0x03, 0x01, 0x02], Some(Protocol::Tls)),
        (&[0x16, 0x03, 0x03, 0x00], Some(Protocol::Tls)),
        (b"SSH-", Some(Protocol::Ssh)),
        (&[5, 0, 0, 0], Some(Protocol::LittleEndian)),
        (&[0xff; 4], None),
    ];
    for (opening, protocol) in openings {
        let Err(error) = announced_len(opening, 65_536) else {
            panic!("{opening:?} was taken for a header");
        };
        assert_eq!(error.looks_like, protocol, "{opening:?}");
    }
}
