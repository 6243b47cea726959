use super::*;

fn refusal(builder: ConfigBuilder) -> String {
    match builder.build() {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_defaults_can_work() {
    assert_eq!(Config::builder().build(), Ok(Config::default()));
}

#[test]
fn a_refusal_shows_the_observed_and_the_allowed_value() {
    let cases = [
        (Config::builder().max_connections(0), "max_connections is 0 and must be at least 1"),
        (Config::builder().max_per_ip(Some(0)), "max_per_ip is 0 and must be at least 1"),
        (Config::builder().ip_prefix((0, 64)), "ip_prefix is 0,64 and must be from 1,1 to 32,128"),
        (Config::builder().ip_prefix((33, 64)), "ip_prefix is 33,64 and must be from 1,1 to 32,128"),
        (Config::builder().ip_prefix((32, 0)), "ip_prefix is 32,0 and must be from 1,1 to 32,128"),
        (Config::builder().ip_prefix((32, 129)), "ip_prefix is 32,129 and must be from 1,1 to 32,128"),
        (
            Config::builder().max_payload(1 << 20).memory(1 << 20),
            "memory is 1048576 and must be at least 1118212, for a frame of max_payload (1048576) and a \
             chunk of 69632; raise it or lower max_payload",
        ),
        (
            Config::builder().max_payload(100).memory(0),
            "memory is 0 and must be at least 344064, for output up to output_high_water (65536) and 4 \
             chunks of 69632; raise it or lower output_high_water",
        ),
        (
            Config::builder().output_high_water(usize::MAX),
            "memory is 1073741824 and must be at least 18446744073709551615, for output up to \
             output_high_water (18446744073709551615) and 4 chunks of 69632; raise it or lower output_high_water",
        ),
        (
            Config::builder().output_high_water(1_024).output_low_water(1_024),
            "output_low_water is 1024 and must be at most 1023",
        ),
        (Config::builder().output_high_water(0), "output_high_water is 0 and must be at least 1"),
        (Config::builder().frame_budget(0), "frame_budget is 0 and must be at least 1"),
        (Config::builder().backlog(0), "backlog is 0 and must be at least 1"),
        (
            Config::builder().frame_timeout(Some(Duration::ZERO)),
            "frame_timeout is 0 s and must be more than 0 s, or none",
        ),
        (Config::builder().linger_timeout(Duration::ZERO), "linger_timeout is 0 s and must be more than 0 s"),
        (
            Config::builder().keepalive(Some(Duration::from_millis(1))),
            "keepalive is 1ms and must be from 1 s to 32767 s",
        ),
        (
            Config::builder().keepalive(Some(Duration::from_secs(12 * 3_600))),
            "keepalive is 43200s and must be from 1 s to 32767 s",
        ),
    ];
    for (builder, expected) in cases {
        assert_eq!(refusal(builder), expected);
    }
}

#[test]
fn a_duration_without_end_is_allowed_in_every_setting() {
    let forever = Some(Duration::MAX);
    let builder = Config::builder().idle_timeout(forever).frame_timeout(forever).write_timeout(forever);
    let builder = builder.linger_timeout(Duration::MAX).drain_timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let config = builder.keepalive(forever).spin(Duration::MAX).build().unwrap();
    assert_eq!(config.keepalive, None, "a probe that never comes");
}

#[test]
fn memory_limit_is_accepted_from_the_least_that_a_frame_needs() {
    for (payload, high) in [(0, 64 << 10), (1 << 20, 64 << 10), (16 << 20, 1), (u32::MAX, 64 << 10), (1_000, 8 << 20)] {
        let builder = || Config::builder().max_payload(payload).output_high_water(high).output_low_water(0);
        let min = builder().memory(usize::MAX).build().map(|config| config.memory_min());
        let Ok(min) = min else { panic!("{min:?}") };
        assert!(min >= payload as usize + HEADER_LEN + CHUNK_LEN && min >= high);
        assert!(builder().memory(min).build().is_ok());
        assert!(builder().memory(min - 1).build().is_err());
    }
    // What needs more than the default limit is refused as well, whatever was set.
    assert!(Config::builder().max_payload(1 << 30).build().is_err());
}

#[test]
fn four_gib_minus_one_is_an_allowed_payload_len() {
    let builder = Config::builder().max_payload(u32::MAX).memory(8 << 30);
    assert!(builder.build().is_ok());
}
