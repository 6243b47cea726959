//! The examples of whole services, as their clients see them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::{Client, End, Process, example};

/// An example on a port of its own; it drains when its standard input is closed.
fn start(name: &str) -> (Process, SocketAddr) {
    Process::serve_by(Command::new(example(name)).stdin(Stdio::piped()))
}

#[track_caller]
fn end(mut process: Process) -> String {
    process.close_stdin();
    let outcome = process.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    outcome.stdout
}

fn text(client: &mut Client) -> String {
    String::from_utf8(client.receive().unwrap()).unwrap()
}

mod worker {
    use super::*;

    #[test]
    fn replies_of_workers_each_repeat_their_request() {
        let (process, addr) = start("worker");
        let mut client = Client::connect(addr);
        client.send(b"100");
        client.expect(b"100: 25");
        client.send(b"many");
        client.expect(b"error: a request is a number up to 5000000");
        // More than may be in flight for one connection, from each of more than there are workers.
        let mut clients: Vec<_> = (0..12).map(|_| Client::connect(addr)).collect();
        let requests: Vec<_> = (0..40).map(|index| (2_000 * (40 - index)).to_string()).collect();
        for client in &mut clients {
            requests.iter().for_each(|request| client.send(request.as_bytes()));
        }
        for client in &mut clients {
            let replies: BTreeSet<_> = requests.iter().map(|_| text(client)).collect();
            let replied: BTreeSet<_> = replies.iter().map(|reply| reply.split_once(": ").unwrap().0).collect();
            assert_eq!(replied, requests.iter().map(String::as_str).collect());
            assert!(replies.contains("80000: 7837") && replies.contains("2000: 303"), "{replies:?}");
        }
        assert_eq!(end(process), "");
    }

    #[test]
    fn replies_follow_a_half_close() {
        let (_process, addr) = start("worker");
        let mut client = Client::connect(addr);
        // More than may be in flight: the end of the stream is behind requests that wait while the connection is paused.
        (0..20).for_each(|_| client.send(b"1000000"));
        client.finish();
        (0..20).for_each(|_| client.expect(b"1000000: 78498"));
        assert_eq!(client.end(), End::InOrder);
    }

    #[test]
    fn result_for_a_stale_id_reaches_no_other_connection() {
        let (process, addr) = start("worker");
        for round in 0..5 {
            let mut gone = Client::connect(addr);
            (0..4).for_each(|_| gone.send(b"2000000"));
            gone.send(b"1");
            gone.reset();
            // It is likely to get the slot of the connection that has ended.
            let mut client = Client::connect(addr);
            client.send(b"10");
            client.expect(b"10: 4");
            client.finish();
            assert_eq!(client.end(), End::InOrder, "round {round}");
        }
        end(process);
    }

    #[test]
    fn drain_waits_for_all_replies() {
        let (mut process, addr) = start("worker");
        let mut client = Client::connect(addr);
        client.send(b"10");
        client.expect(b"10: 4");
        // More than may be in flight: the drain begins while the connection is paused.
        (0..10).for_each(|_| client.send(b"5000000"));
        client.expect(b"5000000: 348513");
        process.close_stdin();
        let mut replies = 1;
        while let Ok(reply) = client.receive() {
            assert_eq!(reply, b"5000000: 348513");
            replies += 1;
        }
        assert_eq!(replies, 10);
        assert_eq!(process.outcome().code, Some(0));
    }
}

mod chat {
    use super::*;

    /// A client with a name, after the lines that it gets on the way.
    fn member(addr: SocketAddr, name: &str) -> Client {
        named(Client::connect(addr), name)
    }

    fn named(mut client: Client, name: &str) -> Client {
        assert!(text(&mut client).starts_with("* you are guest-"));
        assert!(text(&mut client).ends_with(" has joined lobby"));
        client.send(format!("/name {name}").as_bytes());
        assert!(text(&mut client).ends_with(&format!(" is now {name}")));
        client
    }

    fn skip_up_to(client: &mut Client, line: &str) {
        while text(client) != line {}
    }

    #[test]
    fn lines_reach_the_others_in_the_room() {
        let (process, addr) = start("chat");
        let mut ada = member(addr, "ada");
        let mut bob = member(addr, "bob");
        let mut eve = member(addr, "eve");
        ada.send(b"/join sea");
        skip_up_to(&mut ada, "* ada has joined sea");
        eve.send(b"hello");
        skip_up_to(&mut bob, "eve: hello");
        bob.send(b"/join sea");
        skip_up_to(&mut bob, "* bob has joined sea");
        skip_up_to(&mut ada, "* bob has joined sea");
        bob.send("ahoy \u{2693}".as_bytes());
        ada.expect("bob: ahoy \u{2693}".as_bytes());
        bob.send(b"/who");
        bob.expect(b"* in sea: ada, bob");
        bob.send(b"/quit");
        bob.expect(b"* you have left the chat");
        assert_eq!(bob.end(), End::InOrder);
        ada.expect(b"* bob has left the chat");
        skip_up_to(&mut eve, "* bob has gone to sea");
        let mut process = process;
        process.close_stdin();
        for client in [&mut ada, &mut eve] {
            client.expect(b"* the server ends");
            assert_eq!(client.end(), End::InOrder);
        }
        assert_eq!(end(process), "the end was announced to 2 members, and 0 do not read\n");
    }

    #[test]
    fn lines_that_are_not_valid_get_an_explanation() {
        let (_process, addr) = start("chat");
        let mut ada = member(addr, "ada");
        for (line, reply) in [
            (&b"/name ada"[..], "* ada is taken"),
            (b"/name", "* a name is 1 to 24 letters, digits and hyphens"),
            (b"/join a room", "* the name of a room is 1 to 24 letters, digits and hyphens"),
            (b"/shout", "* there is no command /shout"),
            (b"\x1b[2J", "* a line is text, without control characters"),
            (b"\xff", "* a line is text, without control characters"),
        ] {
            ada.send(line);
            ada.expect(reply.as_bytes());
        }
        ada.send(&[b'a'; 1_025]);
        assert!(ada.receive().is_err());
    }

    /// Says something, and returns who is in the room then: after that, each member has received it or missed it.
    fn say_and_ask(client: &mut Client) -> String {
        client.send(&[b'x'; 1_000]);
        client.send(b"/who");
        text(client)
    }

    /// Members of one room: one that reads, and one whose kernel buffers are small.
    fn reader_and_slow_reader(addr: SocketAddr) -> (Client, Client) {
        let slow = named(Client::connect_narrow(addr), "slow");
        (member(addr, "ada"), slow)
    }

    #[test]
    fn member_that_does_not_read_is_disconnected() {
        let (_process, addr) = start("chat");
        let (mut ada, mut slow) = reader_and_slow_reader(addr);
        let mut said = 0;
        while say_and_ask(&mut ada) != "* slow has left the chat" {
            said += 1;
            assert!(said < 20_000, "it is not disconnected after {said} lines");
        }
        let end = loop {
            if let Err(end) = slow.receive() {
                break end;
            }
        };
        assert_ne!(end, End::InOrder);
    }

    #[test]
    fn member_that_reads_again_learns_what_it_missed() {
        let (_process, addr) = start("chat");
        let (mut ada, mut slow) = reader_and_slow_reader(addr);
        while !say_and_ask(&mut ada).contains("slow (misses ") {}
        let described = say_and_ask(&mut ada);
        let missed: usize = described.split(' ').find_map(|word| word.parse().ok()).unwrap();
        skip_up_to(&mut slow, &format!("* you missed {missed} lines"));
        ada.send(b"welcome back");
        slow.expect(b"ada: welcome back");
        assert_eq!(say_and_ask(&mut ada), "* in lobby: slow, ada");
    }
}
