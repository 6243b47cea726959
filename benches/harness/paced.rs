//! The load generator as a library, in a process of its own: what the open
//! loop is measured with.

use std::net::SocketAddr;
use std::time::Duration;

use frameloop::load::{Plan, Stop, Target, Unwatched};

use crate::failure::Result;

/// The first argument of a process that is to be one.
pub(crate) const ROLE: &str = "--paced";

/// Does what `ADDR CONNECTIONS RATE SECONDS WARMUP` say, and prints a line as the load in C does; rate 0 is the closed loop.
pub(crate) fn main(args: &[String]) -> Result<()> {
    let [addr, connections, rate, seconds, warmup] = args else {
        return Err("usage: ADDR CONNECTIONS RATE SECONDS WARMUP".into());
    };
    let rate: f64 = rate.parse()?;
    let plan = Plan {
        targets: vec![Target::new(addr.parse::<SocketAddr>()?)],
        connections: connections.parse()?,
        rate: (rate > 0.0).then_some(rate),
        stop: Stop::After(Duration::from_secs_f64(seconds.parse()?)),
        warmup: Duration::from_secs_f64(warmup.parse()?),
        ..Plan::default()
    };
    let outcome = frameloop::load::run(&plan, &mut Unwatched)?;
    let micros = |nanos: u64| nanos as f64 / 1_000.0;
    let latency = outcome.latency();
    println!(
        "{{\"messages\":{},\"bytes\":{},\"seconds\":{},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{},\"sent_p50_us\":{},\
         \"errors\":{},\"closed\":0}}",
        outcome.frames,
        outcome.bytes,
        outcome.measured.as_secs_f64(),
        micros(latency.value_at_quantile(0.5)),
        micros(latency.value_at_quantile(0.99)),
        micros(latency.value_at_quantile(0.999)),
        micros(latency.max()),
        micros(outcome.service.value_at_quantile(0.5)),
        outcome.errors.total(),
    );
    Ok(())
}
