//! The connections by state, and those that hold or wait the most, counted some slots at a time.

use frameloop::{ConnectionInfo, Handler, ListenerId, Reactor, Scan};

use crate::admin::views::{Connection, Connections, Listener, Paused, States};

/// The slots that are visited between two turns: some 50 us of work.
const SLOTS_PER_STEP: usize = 512;

/// The most connections that are listed.
pub(crate) const TOP_MAX: usize = 100;

/// What the listed connections have the most of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Bytes,
    Age,
    Idle,
}

impl Order {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "bytes" => Some(Self::Bytes),
            "age" => Some(Self::Age),
            "idle" => Some(Self::Idle),
            _ => None,
        }
    }

    fn key(self, info: &ConnectionInfo) -> u128 {
        match self {
            // Buffers have few sizes, so what is in them decides between equal ones.
            Self::Bytes => ((info.buffered_bytes as u128) << 64) + (info.pending_output + info.pending_input) as u128,
            Self::Age => info.counters.map_or(0, |counters| counters.age.as_nanos()),
            Self::Idle => info.idle.as_nanos(),
        }
    }
}

/// A census under way.
#[derive(Debug)]
pub(crate) struct Census {
    scan: Scan,
    /// Its connections are not counted.
    except: ListenerId,
    states: States,
    paused: Paused,
    total: u64,
    top: Option<(Order, usize)>,
    /// The first of them have the most.
    listed: Vec<(u128, ConnectionInfo)>,
}

impl Census {
    /// All connections except those of a listener. With `top`, so many of them are listed in this order.
    pub(crate) fn new(top: Option<(Order, usize)>, except: ListenerId) -> Self {
        let (scan, states, paused) = Default::default();
        Self { scan, except, states, paused, total: 0, top, listed: Vec::new() }
    }

    /// Visits some connections. Returns whether all were visited.
    pub(crate) fn step<H: Handler>(&mut self, reactor: &mut Reactor<H>) -> bool {
        let Self { scan, except, states, paused, total, top, listed } = self;
        let has_more = reactor.scan(scan, SLOTS_PER_STEP, |info| {
            if info.listener == Some(*except) {
                return;
            }
            *total += 1;
            states.count(info.state);
            paused.count(info.paused_by);
            let Some((order, len_max)) = *top else { return };
            let key = order.key(info);
            let at = listed.partition_point(|(other, _)| *other >= key);
            if at < len_max {
                listed.truncate(len_max - 1);
                listed.insert(at, (key, info.clone()));
            }
        });
        !has_more
    }

    /// The connections by state.
    pub(crate) fn states(&self, dialing: u64) -> States {
        States { dialing, ..self.states }
    }

    pub(crate) fn view(&self, dialing: u64, listeners: &[Listener]) -> Connections {
        let listed = self.listed.iter().map(|(_, info)| Connection::of(info, listeners));
        Connections {
            total: self.total + dialing,
            states: self.states(dialing),
            paused: self.paused,
            top: self.top.map(|_| listed.collect()),
        }
    }
}
