#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frameloop::fuzzing::decoder(data));
