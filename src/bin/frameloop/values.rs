//! The values that flags take: SIZE, DURATION, COUNT and N/s.
//!
//! Each parser answers what it does not take with the form that it does; clap shows the value and the flag around it.

use std::env;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use frameloop::load::Segment;
use frameloop::wire::Framing;

use crate::results::figures;
use crate::stages::Stages;

/// A SIZE in bytes: `64`, `64KiB`, `1MiB` (powers of 1024), `16mb` (powers of 1000).
pub(crate) fn size<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let bytes = match parse_size::parse_size(text) {
        Ok(bytes) => bytes,
        Err(parse_size::Error::PosOverflow) => return Err(format!("a size is at most {} bytes", max_of::<T>())),
        Err(_) => return Err("expected a size such as 64, 64KiB, 1MiB or 16mb".into()),
    };
    T::try_from(bytes).map_err(|_| format!("{bytes} bytes are more than {}", max_of::<T>()))
}

/// A SIZE, or two of them as in `64..1KiB`: from the first to the second, both included.
pub(crate) fn size_range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let Some((min, max)) = text.split_once("..") else {
        let len = size(text)?;
        return Ok(len..=len);
    };
    let (min, max) = (size(min)?, size(max)?);
    if min > max {
        return Err(format!("{min} bytes are more than {max}: the smaller comes first"));
    }
    Ok(min..=max)
}

/// An N/s: `100`, `10k`, `0.5`, with or without `/s`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (digits, factor) = factored(number);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let rate = digits.parse::<f64>().ok().filter(|_| is_decimal).map(|rate| rate * f64::from(factor));
    match rate {
        Some(rate) if rate > 0.0 => Ok(rate),
        Some(_) => Err("a rate is more than 0".into()),
        None => Err("expected a rate such as 100, 10k, 0.5 or 10k/s".into()),
    }
}

/// A LIST of steps: `10k:5s,20k:5s`, each a load and its duration.
pub(crate) fn stages(text: &str) -> Result<Stages, String> {
    let stage = |text: &str| {
        let (load, time) = text.split_once(':').ok_or_else(|| format!("{text:?} has no duration: {STAGES}"))?;
        let of = |error: String| format!("in {text:?}: {error}");
        let (load, time) = (rate(load).map_err(of)?, duration(time).map_err(of)?);
        if time.is_zero() { Err(format!("in {text:?}: a step takes more than 0 s")) } else { Ok((load, time)) }
    };
    let stages = text.split(',').map(stage).collect::<Result<Vec<_>, _>>()?;
    let count = stages.len();
    if count > STAGES_MAX {
        Err(format!("there are {count} steps, and at most {STAGES_MAX}"))
    } else {
        Ok(Stages(stages))
    }
}

const STAGES: &str = "expected steps such as 10k:5s,20k:5s";
const STAGES_MAX: usize = 1_000;

/// A COUNT: `10000`, `10k`, `1m`.
pub(crate) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let (digits, factor) = factored(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a count such as 10000, 10k or 1m".into());
    }
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor.into()));
    count.and_then(|count| T::try_from(count).ok()).ok_or_else(|| format!("a count is at most {}", max_of::<T>()))
}

/// A number without its suffix, and the factor that the suffix stands for.
fn factored(text: &str) -> (&str, u32) {
    let suffixes = [('k', 1_000), ('K', 1_000), ('m', 1_000_000), ('M', 1_000_000)];
    let found = suffixes.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(*suffix)?, *factor)));
    found.unwrap_or((text, 1))
}

/// A framing, in the text form in which the library displays it.
pub(crate) fn framing(text: &str) -> Result<String, String> {
    text.parse::<Framing>().map(|framing| framing.to_string()).map_err(|error| error.to_string())
}

/// A DURATION: `250ms`, `5s`, `2m`, `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|_| "expected a duration such as 250ms, 5s or 2m, or 0".to_owned())?;
    if duration > DURATION_MAX {
        return Err("a duration is at most 365d".into());
    }
    Ok(duration)
}

/// A SEGMENT: `2/3`, or `auto` for what the environment says.
pub(crate) fn segment(text: &str) -> Result<Segment, String> {
    if text != "auto" {
        text.parse().map_err(|error| format!("{error}, or auto"))
    } else {
        of_environment(|name| env::var(name).ok())
    }
}

/// The segment that a launcher has given this process.
fn of_environment(var: impl Fn(&str) -> Option<String>) -> Result<Segment, String> {
    let of_launcher = |(rank, size): (&'static str, &'static str)| Some((rank, var(rank)?, size, var(size)?));
    let Some((rank, index, size, count)) = LAUNCHERS.into_iter().find_map(of_launcher) else {
        let names: Vec<String> = LAUNCHERS.iter().map(|(rank, size)| format!("{rank} and {size}")).collect();
        return Err(format!("auto needs {} in the environment", names.join(", or ")));
    };
    let segment = index.parse::<u32>().ok().and_then(|index| Segment::new(index.checked_add(1)?, count.parse().ok()?));
    segment.ok_or_else(|| {
        format!(
            "{rank} is {index} and {size} is {count}: expected a rank from 0, below the size, which is at most 1000"
        )
    })
}

/// The variables in which launchers give a process its rank, from 0, and the number of processes. Open MPI may run inside Slurm.
const LAUNCHERS: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
];

/// A TIME that is to come: `2026-11-27T10:00:00Z`.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "expected a time in UTC (RFC 3339), such as 2026-11-27T10:00:00Z".to_owned())?;
    match time.elapsed() {
        Ok(elapsed) => Err(format!("the time was {} ago, and must be later than now", figures::duration(elapsed))),
        Err(_) => Ok(time),
    }
}

/// A V4,V6: `32,64`.
pub(crate) fn prefix_lens(text: &str) -> Result<(u8, u8), String> {
    let lens = text.split_once(',').and_then(|(ipv4, ipv6)| {
        let len = |text: &str, max| text.parse().ok().filter(|len| (1..=max).contains(len));
        Some((len(ipv4, 32)?, len(ipv6, 128)?))
    });
    lens.ok_or_else(|| "expected two prefix lengths such as 32,64: IPv4 from 1 to 32, IPv6 from 1 to 128".into())
}

/// A duration where `0` turns the thing off.
pub(crate) fn on(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

/// The largest value of the unsigned integer `T`.
fn max_of<T>() -> u64 {
    u64::MAX >> (u64::BITS as usize - 8 * size_of::<T>().min(8))
}

/// Far beyond any use, and far from where adding it to the clock could overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_with_an_optional_unit() {
        let sizes = [
            ("0", 0),
            ("64", 64),
            ("64KiB", 64 << 10),
            ("1MiB", 1 << 20),
            ("16mb", 16_000_000),
            ("4294967295", u32::MAX),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size::<u32>(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_answered_with_the_form_or_the_limit() {
        for text in ["", "x", "64 frames", "-1", "4GiB-1", "64kibibyte"] {
            assert_eq!(size::<u32>(text), Err("expected a size such as 64, 64KiB, 1MiB or 16mb".into()), "{text}");
        }
        assert_eq!(size::<u32>("4GiB"), Err("4294967296 bytes are more than 4294967295".into()));
        assert_eq!(size::<u32>("99999999999999EiB"), Err("a size is at most 4294967295 bytes".into()));
        assert_eq!(size::<u64>("16EiB"), Err(format!("a size is at most {} bytes", u64::MAX)));
    }

    #[test]
    fn a_count_is_digits_with_an_optional_factor() {
        for (text, number) in [("0", 0), ("10000", 10_000), ("10k", 10_000), ("10K", 10_000), ("1m", 1_000_000)] {
            assert_eq!(count::<usize>(text), Ok(number), "{text}");
        }
        for text in ["", "k", "-1", "+1", "1.5k", "10kk", "ten", "1é"] {
            assert_eq!(count::<usize>(text), Err("expected a count such as 10000, 10k or 1m".into()), "{text}");
        }
        assert_eq!(count::<u32>("5000m"), Err("a count is at most 4294967295".into()));
        assert_eq!(count::<u32>("99999999999999999999m"), Err("a count is at most 4294967295".into()));
    }

    #[test]
    fn a_duration_has_a_unit_unless_it_is_zero() {
        let durations = [("0", 0), ("0s", 0), ("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1m 30s", 90_000)];
        for (text, millis) in durations {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 apples", "99999999999999999999s"] {
            assert_eq!(duration(text), Err("expected a duration such as 250ms, 5s or 2m, or 0".into()), "{text}");
        }
        assert_eq!(duration("366d"), Err("a duration is at most 365d".into()));
    }

    #[test]
    fn a_segment_is_given_or_that_of_the_launcher() {
        let of = |vars: &[(&str, &str)]| {
            let var = |name: &str| vars.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
            of_environment(var).map(|segment| segment.to_string())
        };
        assert_eq!(segment("2/3").unwrap().to_string(), "2/3");
        let (slurm, mpi) = (
            [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")],
            [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "3")],
        );
        assert_eq!(of(&slurm), Ok("1/1".into()));
        assert_eq!(of(&[slurm, mpi].concat()), Ok("3/3".into()));
        assert_eq!(of(&[("JOB_COMPLETION_INDEX", "4"), ("JOB_COMPLETIONS", "5")]), Ok("5/5".into()));
        for wrong in ["", "0/3", "4/3", "Auto", "3"] {
            assert!(segment(wrong).unwrap_err().ends_with(", or auto"), "{wrong}");
        }
        for (rank, size) in [("3", "3"), ("-1", "3"), ("4294967295", "3"), ("0", "0"), ("", ""), ("0", "1001")] {
            let error = of(&[("SLURM_PROCID", rank), ("SLURM_NTASKS", size)]).unwrap_err();
            assert!(error.starts_with(&format!("SLURM_PROCID is {rank} and SLURM_NTASKS is {size}: ")), "{error}");
        }
        for vars in [&[][..], &[("SLURM_PROCID", "0")], &[("JOB_COMPLETION_INDEX", "0")]] {
            assert!(of(vars).unwrap_err().starts_with("auto needs OMPI_COMM_WORLD_RANK and "), "{vars:?}");
        }
    }

    #[test]
    fn a_range_of_sizes_is_two_of_them() {
        assert_eq!(size_range("64"), Ok(64..=64));
        assert_eq!(size_range("0..1KiB"), Ok(0..=1_024));
        assert_eq!(size_range("2..1"), Err("2 bytes are more than 1: the smaller comes first".into()));
        assert_eq!(size_range("1.."), Err("expected a size such as 64, 64KiB, 1MiB or 16mb".into()));
    }

    #[test]
    fn a_rate_is_a_number_with_an_optional_factor() {
        for (text, number) in [("100", 100.0), ("10k", 10_000.0), ("2.5m/s", 2_500_000.0), ("0.5/s", 0.5)] {
            assert_eq!(rate(text), Ok(number), "{text}");
        }
        for text in ["", "k", "/s", "-1", "1e3", "inf", "1.2.3", "10 k"] {
            assert_eq!(rate(text), Err("expected a rate such as 100, 10k, 0.5 or 10k/s".into()), "{text}");
        }
        assert_eq!(rate("0"), Err("a rate is more than 0".into()));
    }

    #[test]
    fn prefix_lengths_are_one_for_each_family() {
        for (text, ipv4, ipv6) in [("32,64", 32, 64), ("1,1", 1, 1), ("32,128", 32, 128), ("24,56", 24, 56)] {
            assert_eq!(prefix_lens(text), Ok((ipv4, ipv6)), "{text}");
        }
        for text in ["", "32", "32,", ",64", "0,64", "32,0", "33,64", "32,129", "32,64,1", "/32,/64", "-1,64", "256,64"]
        {
            let form = "expected two prefix lengths such as 32,64: IPv4 from 1 to 32, IPv6 from 1 to 128";
            assert_eq!(prefix_lens(text), Err(form.into()), "{text}");
        }
    }

    #[test]
    fn zero_is_off() {
        assert_eq!(on(Duration::ZERO), None);
        assert_eq!(on(Duration::from_nanos(1)), Some(Duration::from_nanos(1)));
    }
}
