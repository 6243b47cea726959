//! What the kernel has taken and the peer has not: buffers of megabytes, behind which a peer's progress is out of sight.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::{Client, Process, frame, payload};

/// The kernel reports that there is room again once a third of its buffer is free (`sk_stream_is_writeable`), and the buffer
/// grows to 4 MB (`net.ipv4.tcp_wmem`). A peer that takes less than a third of that within the write timeout is still one
/// that reads all the time.
#[test]
fn steady_slow_reader_outlives_write_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(1_000);
    const STEP: Duration = Duration::from_millis(100);
    const READ_LEN: usize = 20_000;
    let (_server, addr) = Process::serve(&["--write-timeout", "1s"]);
    let mut client = Client::connect(addr);
    let owed = frame(&payload(1, 15 << 20));
    client.send_bytes(&owed);
    let mut read = vec![0; READ_LEN];
    let begun = Instant::now();
    let mut len = 0;
    while begun.elapsed() < 4 * TIMEOUT {
        client.stream.read_exact(&mut read).unwrap();
        assert!(owed[len..].starts_with(&read));
        len += READ_LEN;
        std::thread::sleep(STEP);
    }
    // It may be in a hurry now.
    let mut rest = vec![0; owed.len() - len];
    let outcome = client.stream.read_exact(&mut rest);
    assert!(outcome.is_ok(), "{outcome:?}, behind {len} bytes that were read at {READ_LEN} every {STEP:?}");
    assert!(rest == owed[len..]);
}
