//! The requests of a run, and the comparison of their responses.

use std::ops::{Range, RangeInclusive};

use crate::conn::frame::Frame;
use crate::load::check::{Check, check_len, check_pattern, check_prefix, compare};
use crate::load::fault::FaultKind;
use crate::load::payload::{Payloads, mix};
use crate::load::template::{Place, Template};
use crate::wire::{Decoded, Framing};

/// Determines what requests are made of.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Payload {
    /// Random bytes, whose lengths are [`Plan::payload_len`](crate::load::Plan::payload_len). Where the framing needs it, they have a
    /// header or a delimiter.
    #[default]
    Random,
    /// These payloads. Where a framing sends payloads unchanged, each is a whole frame.
    Templates {
        /// At least one.
        list: Vec<Template>,
        /// Each connection sends them in their order, again and again; with `Some`, in an order that this seed shuffles, and each
        /// connection begins somewhere else in it.
        shuffle: Option<u64>,
    },
}

/// What is sent, and what has to come back.
#[derive(Debug)]
pub(crate) struct Requests {
    source: Source,
    framing: Framing,
    check: Check,
    /// The beginning of the run's clock, in nanoseconds since 1970.
    epoch_ns: u64,
}

#[derive(Debug)]
enum Source {
    /// Random bytes; with `is_whole`, a frame is built around them, because the framing sends payloads unchanged.
    Random { payloads: Payloads, is_whole: bool },
    Templates {
        /// Each with the place of its payload in a response that is its echo.
        list: Vec<(Template, Range<usize>)>,
        /// The order in which a connection sends them; `is_shuffled`: each begins somewhere else.
        order: Vec<u32>,
        is_shuffled: bool,
    },
}

impl Requests {
    /// Fails if a payload is not one frame of the framing.
    pub(crate) fn new(
        framing: Framing,
        payload: &Payload,
        payload_len: &RangeInclusive<u32>,
        check: &Check,
        epoch_ns: u64,
    ) -> Result<Self, String> {
        let source = match payload {
            Payload::Random => Source::Random {
                payloads: Payloads::new(RangeInclusive::clone(payload_len), &avoided(&framing)),
                is_whole: framing.sends_whole_frames(),
            },
            Payload::Templates { list, shuffle } => {
                let list = list.iter().enumerate().map(|(number, template)| {
                    place_of_echo(template, &framing, check)
                        .map(|echo| (template.clone(), echo))
                        .map_err(|problem| format!("payload {} is not one frame of {framing}: {problem}", number + 1))
                });
                let list = list.collect::<Result<Vec<_>, _>>()?;
                let order = order(list.len(), *shuffle);
                Source::Templates { list, order, is_shuffled: shuffle.is_some() }
            }
        };
        Ok(Self { source, framing, check: check.clone(), epoch_ns })
    }

    /// The place of a request that is sent at `sent`, in nanoseconds of the run's clock.
    #[inline]
    pub(crate) fn place(&self, connection: u32, frame: u32, sent: u64) -> Place {
        Place { connection, frame, sent_ns: self.epoch_ns.wrapping_add(sent) }
    }

    /// The bytes of a request as a connection sends them. Those that are not stored are written to `scratch`.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, place: Place, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        self.stored(place).unwrap_or_else(|| self.build(place, scratch).0)
    }

    /// The payload of the response that is the echo of a request.
    #[inline]
    fn echo<'a>(&'a self, place: Place, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        self.stored(place).unwrap_or_else(|| {
            let (bytes, echo) = self.build(place, scratch);
            &bytes[echo]
        })
    }

    /// The bytes of a request that is a part of the random table.
    #[inline]
    fn stored(&self, place: Place) -> Option<&[u8]> {
        match &self.source {
            Source::Random { payloads, is_whole: false } => Some(payloads.payload(place.connection, place.frame)),
            Source::Random { .. } | Source::Templates { .. } => None,
        }
    }

    /// The bytes of a request, and the place of the echo's payload in them.
    fn build<'a>(&'a self, place: Place, scratch: &'a mut Vec<u8>) -> (&'a [u8], Range<usize>) {
        scratch.clear();
        let echo = match &self.source {
            Source::Random { payloads, .. } => {
                let payload = payloads.payload(place.connection, place.frame);
                // `Plan::check` has excluded lengths that have no frame.
                self.framing.write_whole(payload, scratch).unwrap_or(0..0)
            }
            Source::Templates { list, order, is_shuffled } => {
                let first = if *is_shuffled { mix(place.connection.into()) } else { 0 };
                let nth = (first % order.len() as u64 + u64::from(place.frame)) % order.len() as u64;
                let (template, echo) = &list[order[nth as usize] as usize];
                if let Some(constant) = template.constant() {
                    return (constant, echo.clone());
                }
                template.write(place, scratch);
                echo.clone()
            }
        };
        (scratch, echo)
    }

    /// Compares a response with what it has to be.
    #[inline]
    pub(crate) fn check(&self, place: Place, received: &Frame<'_>, scratch: &mut Vec<u8>) -> Result<(), FaultKind> {
        match &self.check {
            Check::Echo => compare(self.echo(place, scratch), received),
            Check::Any => Ok(()),
            Check::Len => check_len(self.echo(place, scratch).len(), received),
            Check::Equals(expected) => compare(expected, received),
            Check::Prefix(prefix) => check_prefix(prefix, received),
            Check::Regex(pattern) => check_pattern(pattern, received),
        }
    }

    /// Whether a wrong response leaves the connection without a known place in its stream.
    pub(crate) fn is_fault_final(&self) -> bool {
        matches!(self.check, Check::Echo)
    }

    /// The length on the wire of a request of `len` bytes.
    pub(crate) fn frame_len(&self, len: usize) -> usize {
        len + self.framing.enclose(len).map_or(0, |around| around.len())
    }
}

/// Bytes that random payloads must not contain, because they delimit frames.
fn avoided(framing: &Framing) -> Vec<u8> {
    match framing {
        Framing::Delimiter(delimiter) => delimiter.bytes().to_vec(),
        Framing::LengthPrefix(_) | Framing::Exact(_) | Framing::Raw => Vec::new(),
    }
}

/// The place of the echo's payload among the bytes of a template. Where no echo is expected, a request may be several frames: only the
/// server knows what it means.
fn place_of_echo(template: &Template, framing: &Framing, check: &Check) -> Result<Range<usize>, String> {
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    template.write(Place { connection: 0, frame: 0, sent_ns: 0 }, &mut payload);
    framing.encode(&payload, &mut frame).map_err(|error| error.to_string())?;
    if frame.is_empty() {
        return Err("it has no bytes".into());
    }
    if !matches!(check, Check::Echo | Check::Len) {
        return Ok(0..payload.len());
    }
    if template.constant().is_none() && avoided(framing).iter().any(u8::is_ascii_alphanumeric) {
        return Err("a placeholder may become its delimiter".into());
    }
    let head_len = framing.enclose(payload.len()).map_or(0, |around| around.head().len());
    match framing.decode(&frame, 0, u32::MAX) {
        Ok(Decoded::Frame { frame_len, payload: echo }) if frame_len == frame.len() => {
            Ok(echo.start - head_len.min(echo.start)..echo.end - head_len)
        }
        Ok(Decoded::Frame { frame_len, .. }) => {
            Err(format!("its first frame ends after {frame_len} of {} bytes", frame.len()))
        }
        Ok(Decoded::Partial { .. }) => Err(format!("it has {} bytes, and the frame goes on", payload.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The numbers below `len` in order, or shuffled by a seed (Fisher and Yates).
fn order(len: usize, shuffle: Option<u64>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    if let Some(seed) = shuffle {
        for last in (1..order.len()).rev() {
            let other = mix(seed ^ mix(last as u64)) % (last as u64 + 1);
            order.swap(last, other as usize);
        }
    }
    order
}
