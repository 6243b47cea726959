//! The examples of whole services, as their clients see them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Read;
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

/// Sends bytes, and reads as many as the reply has.
#[track_caller]
fn exchange(client: &mut Client, bytes: &[u8], reply: &[u8]) {
    client.send_bytes(bytes);
    let mut received = vec![0; reply.len()];
    client.stream.read_exact(&mut received).unwrap();
    assert_eq!(received.escape_ascii().to_string(), reply.escape_ascii().to_string());
}

/// Sends bytes, and reads up to the end of the connection.
#[track_caller]
fn last_exchange(mut client: Client, bytes: &[u8], reply: &[u8]) {
    client.send_bytes(bytes);
    let mut received = Vec::new();
    client.stream.read_to_end(&mut received).unwrap();
    assert_eq!(received.escape_ascii().to_string(), reply.escape_ascii().to_string());
}

mod kv {
    use super::*;

    /// Commands in both forms, and their replies.
    const REQUESTS: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$9\r\nline\r\none\r\nget key\r\n\r\n*0\r\n\
        *2\r\n$4\r\necho\r\n$0\r\n\r\nincr n\nINCR n\r\n*1\r\n$4\r\nPING\r\n\
        mset a 1 b 2\r\nmget a b none\r\nexists a a none\r\ndel a key none\r\nget a\r\n";
    const REPLIES: &[u8] = b"+OK\r\n$9\r\nline\r\none\r\n$0\r\n\r\n:1\r\n:2\r\n+PONG\r\n\
        +OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n:2\r\n:2\r\n$-1\r\n";

    #[test]
    fn pipelined_commands_are_replied_to_in_order() {
        let (process, addr) = start("kv");
        let mut client = Client::connect(addr);
        exchange(&mut client, REQUESTS, REPLIES);
        exchange(&mut client, b"flushall\r\n", b"+OK\r\n");
        exchange(
            &mut client,
            &[REQUESTS, b"flushall\r\n"].concat().repeat(200),
            &[REPLIES, b"+OK\r\n"].concat().repeat(200),
        );
        last_exchange(client, b"quit\r\nping\r\n", b"+OK\r\n");
        end(process);
    }

    #[test]
    fn command_may_arrive_in_any_parts() {
        let (_process, addr) = start("kv");
        let mut client = Client::connect(addr);
        for byte in REQUESTS {
            client.send_bytes(&[*byte]);
        }
        exchange(&mut client, b"", REPLIES);
        for at in 1..60 {
            exchange(&mut client, b"flushall\r\n", b"+OK\r\n");
            client.send_bytes(&REQUESTS[..at]);
            // Another connection is served meanwhile, so the first part has been taken.
            exchange(&mut Client::connect(addr), b"PING\r\n", b"+PONG\r\n");
            exchange(&mut client, &REQUESTS[at..], REPLIES);
        }
    }

    #[test]
    fn limits_end_with_an_error() {
        let (_process, addr) = start("kv");
        for (request, problem) in [
            (&b"*1025\r\n"[..], "Protocol error: invalid multibulk length"),
            (b"*x\r\n", "Protocol error: invalid multibulk length"),
            (b"*1\r\n$1048577\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
            (b"*1\r\n$4\r\nPING\n\n", "Protocol error: expected the end of the line"),
        ] {
            last_exchange(Client::connect(addr), request, format!("-ERR {problem}\r\n").as_bytes());
        }
        let long = [&b"get "[..], &[b'x'; 64 << 10], b"\r\n"].concat();
        last_exchange(Client::connect(addr), &long, b"-ERR Protocol error: too big inline request\r\n");

        let mut client = Client::connect(addr);
        // With the name and the key, the longest command.
        let value = vec![b'v'; (1 << 20) - 4];
        let set = [b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1048572\r\n", &value[..], b"\r\n"].concat();
        exchange(&mut client, &set, b"+OK\r\n");
        exchange(&mut client, b"get k\r\n", &[b"$1048572\r\n", &value[..], b"\r\n"].concat());
        exchange(&mut client, b"mget k k\r\n", b"-ERR the values have more than 1048576 bytes\r\n");
        exchange(&mut client, b"incr k\r\n", b"-ERR value is not an integer or out of range\r\n");
        exchange(&mut client, b"set n 9223372036854775807\r\nincr n\r\n", b"+OK\r\n-ERR increment would overflow\r\n");
        exchange(&mut client, b"get\r\n", b"-ERR wrong number of arguments for 'get' command\r\n");
        exchange(&mut client, b"fly\x07\r\n", b"-ERR unknown command 'fly?'\r\n");
    }
}

mod postgres {
    use super::*;

    const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const STARTUP: &[u8] = b"\0\0\0\x20\0\x03\0\0user\0ada\0database\0shop\0\0";

    #[test]
    fn startup_is_refused_after_requests_for_encryption() {
        let (process, addr) = start("postgres");
        let refused = b"E\0\0\0\x4dSFATAL\0VFATAL\0C57P03\0Mdatabase \"shop\" has moved, and is not served here\0\0";
        let mut client = Client::connect(addr);
        exchange(&mut client, SSL_REQUEST, b"N");
        exchange(&mut client, b"\0\0\0\x08\x04\xd2\x16\x30", b"N");
        last_exchange(client, STARTUP, refused);
        // A cancel request, with its two keys.
        last_exchange(Client::connect(addr), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02", b"");
        let old = b"E\0\0\0\x3bSFATAL\0VFATAL\0C0A000\0Munsupported frontend protocol 2\0\0";
        last_exchange(Client::connect(addr), b"\0\0\0\x08\0\x02\0\0", old);
        end(process);
    }
}

mod dns {
    use super::*;

    /// A message with a question for an address, and what the header has after the identifier.
    fn message(header: &[u8], name: &[u8]) -> Vec<u8> {
        [b"\xab\xcd", header, name, b"\0\x01\0\x01"].concat()
    }

    fn prefixed(message: &[u8]) -> Vec<u8> {
        [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
    }

    const QUERY: &[u8] = b"\x01\0\0\x01\0\0\0\0\0\0";
    const NAME: &[u8] = b"\x07eXample\x04test\0";

    #[test]
    fn pipelined_queries_are_answered_in_order() {
        let (process, addr) = start("dns");
        let unknown = b"\x02no\x04test\0";
        let queries = [prefixed(&message(QUERY, NAME)), prefixed(&message(QUERY, unknown))].concat();
        let answer = b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x01";
        let found = [&message(b"\x85\0\0\x01\0\x01\0\0\0\0", NAME)[..], answer].concat();
        let missing = message(b"\x85\x03\0\x01\0\0\0\0\0\0", unknown);
        let replies = [prefixed(&found), prefixed(&missing)].concat();
        exchange(&mut Client::connect(addr), &queries.repeat(50), &replies.repeat(50));
        end(process);
    }

    #[test]
    fn messages_that_are_no_valid_query_get_an_error_or_the_end() {
        let (_process, addr) = start("dns");
        let mut client = Client::connect(addr);
        let header_only = b"\xab\xcd\x84\x01\0\0\0\0\0\0\0\0";
        // A pointer, a name without an end, a label that is cut off.
        for name in [&b"\xc0\x0c"[..], b"\x07exam", b"\x3f"] {
            let query = [b"\xab\xcd\0\0\0\x01\0\0\0\0\0\0", name].concat();
            exchange(&mut client, &prefixed(&query), &prefixed(header_only));
        }
        // An update (opcode 5).
        let update = message(b"\x28\0\0\x01\0\0\0\0\0\0", NAME);
        let refused = message(b"\xac\x04\0\x01\0\0\0\0\0\0", NAME);
        exchange(&mut client, &prefixed(&update), &prefixed(&refused));
        last_exchange(client, &prefixed(&message(b"\x81\0\0\x01\0\0\0\0\0\0", NAME)), b"");
        last_exchange(Client::connect(addr), &prefixed(b"short"), b"");
    }
}

mod mqtt {
    use super::*;

    const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
    const CONNACK: &[u8] = b"\x20\x02\0\0";

    #[test]
    fn packets_of_a_session_are_acknowledged_in_order() {
        let (process, addr) = start("mqtt");
        // A payload whose length needs two bytes.
        let long = [&b"\x32\xcd\x01\0\x01x\0\x09"[..], &[b'y'; 200]].concat();
        let packets =
            [CONNECT, b"\x30\x05\0\x01xhi\x32\x07\0\x01x\0\x07ho\xc0\0", &long, b"\x82\x06\0\x02\0\x01x\x01\xe0\0"];
        let acknowledged = [CONNACK, b"\x40\x02\0\x07\xd0\0\x40\x02\0\x09\x90\x03\0\x02\x80"].concat();
        last_exchange(Client::connect(addr), &packets.concat(), &acknowledged);
        assert_eq!(end(process), format!("x: hi\nx: ho\nx: {}\n", "y".repeat(200)));
    }

    #[test]
    fn violations_end_the_connection() {
        let (_process, addr) = start("mqtt");
        last_exchange(Client::connect(addr), b"\xc0\0", b"");
        last_exchange(Client::connect(addr), b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\x01c", b"\x20\x02\0\x01");
        for packet in [CONNECT, b"\x34\x05\0\x01x\0\x01", b"\x30\x02\0\x05", b"\xf0\0"] {
            last_exchange(Client::connect(addr), &[CONNECT, packet].concat(), CONNACK);
        }
    }
}
