//! The default header.

/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// The longest payload that a header can announce, in bytes: 4 GiB - 1.
pub const PAYLOAD_LEN_MAX: u32 = u32::MAX;

/// Returns the header for a payload of `payload_len` bytes.
///
/// ```
/// assert_eq!(frameloop::wire::encode_header(5), [0, 0, 0, 5]);
/// ```
#[must_use]
pub const fn encode_header(payload_len: u32) -> [u8; HEADER_LEN] {
    payload_len.to_be_bytes()
}

/// Returns the payload length that a header announces, in bytes.
///
/// ```
/// assert_eq!(frameloop::wire::decode_header([0, 1, 0, 0]), 65_536);
/// ```
#[must_use]
pub const fn decode_header(header: [u8; HEADER_LEN]) -> u32 {
    u32::from_be_bytes(header)
}
