//! The page of the admin endpoint, opened in a browser while a client stalls, resumes and half-closes.

use std::thread;

use crate::admin::Endpoint;
use crate::support::{Client, End};

#[path = "../support/browser.rs"]
mod browser;

use browser::Browser;

const STATE: &str = ".node.current text";

#[test]
fn page_shows_a_client_that_stalls_resumes_and_finishes() {
    let endpoint = Endpoint::start(&["--output-high-water", "8MiB"]);
    let Some(mut browser) = Browser::start() else { return };
    let mut client = Client::connect_narrow(endpoint.data);
    client.call(b"hello");
    let id = endpoint.id_of(&client.stream);
    browser.open(&format!("http://{}/#connection={id}", endpoint.admin));
    browser.wait_for_text("#stream-text", "connected");
    browser.wait_for_text(STATE, "Open");
    assert_eq!(browser.text("#connection-facts div dd"), client.stream.local_addr().unwrap().to_string());

    client.call(b"hello");
    browser
        .wait_until("document.querySelector('.events')?.textContent.includes('frame: 5 bytes of payload, delivered')");

    // Two frames, of which no reply is read. More than the high-water mark is pending, whatever the kernel takes of the first.
    const FRAME_LEN: usize = 15 << 20;
    let mut sender = client.clone_for_thread();
    let sending = thread::spawn(move || (0..2).for_each(|_| sender.send(&vec![7; FRAME_LEN])));
    browser.wait_for_text("#connection-paused", "reading paused: backpressure");
    browser.wait_until("document.querySelector('#connection-paused').checkVisibility()");
    browser.wait_until("document.querySelector('#connection-pending .bar.above')");
    browser.wait_until("document.querySelector('#connection-deadlines').textContent.includes('write')");
    browser.wait_for_text(STATE, "Open");

    for _ in 0..2 {
        client.expect(&vec![7; FRAME_LEN]);
    }
    sending.join().unwrap();
    browser.wait_until("!document.querySelector('#connection-paused').checkVisibility()");
    browser.wait_until("document.querySelectorAll('.bar.above').length === 0");

    // The reply is below the mark, so that the end of the stream is read while it is pending.
    client.send(&vec![7; 7 << 20]);
    client.finish();
    browser.wait_for_text(STATE, "Flushing");
    browser.wait_until(
        "document.querySelector('#connection-pending .bar:nth-child(2) .bar-text').textContent.endsWith('MiB')",
    );
    client.expect(&vec![7; 7 << 20]);
    assert_eq!(client.end(), End::InOrder);
    browser.wait_for_text(STATE, "Closed");
    assert_eq!(browser.text("#connection-transition"), "Last transition: Flushing to Closed (flushed).");
    browser.wait_for_text("#connection-status", &format!("Connection {id}: Closed, peer finished"));
    assert_eq!(browser.take_problems(), Vec::<String>::new());
}
