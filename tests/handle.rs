//! Talking to a reactor from other threads.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use frameloop::{
    CloseReason, Config, Connection, Context, Echo, Frame, Handle, HandleError, Handler, Reactor, Stats, StatsError,
    Turn,
};
use support::stepped::{Act, Hooks, PATIENCE, Server, frame, listen, read_frame};

/// A reactor running on a thread of its own; joining it gives the reactor back.
fn spawn<H>(handler: H) -> (Handle<H::Message>, SocketAddr, JoinHandle<Reactor<H>>)
where
    H: Handler<State: Send> + Send + 'static,
{
    let mut reactor = Reactor::new(Config::default(), handler).unwrap();
    let addr = listen(&mut reactor);
    let handle = reactor.handle();
    let running = thread::spawn(move || {
        reactor.run().unwrap();
        reactor
    });
    (handle, addr, running)
}

/// Blocks, so that the reactor's own thread serves it.
fn client(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn echo(mut client: &TcpStream, payload: &[u8]) {
    client.write_all(&frame(payload)).unwrap();
    assert_eq!(read_frame(client), payload);
}

/// Keeps the messages that come, and waits inside the first one until it is let go.
struct Collect {
    messages: Vec<(usize, usize)>,
    entered: Sender<()>,
    gate: Receiver<()>,
}

impl Handler for Collect {
    type State = ();
    type Message = (usize, usize);

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}
    fn on_frame(&mut self, _conn: &mut Connection<'_>, (): &mut (), _frame: Frame<'_>) {}

    fn on_message(&mut self, _cx: &mut Context<'_>, message: (usize, usize)) {
        if self.messages.is_empty() {
            self.entered.send(()).unwrap();
            self.gate.recv().unwrap();
        }
        self.messages.push(message);
    }
}

const THREADS: usize = 8;
const MESSAGES: usize = 2_000;

#[test]
fn messages_of_threads_arrive_in_order_with_one_wake() {
    let (entered, has_entered) = channel();
    let (open, gate) = channel();
    let (handle, _, running) = spawn(Collect { messages: Vec::new(), entered, gate });
    // Once the loop is inside the first message, nothing of the others is taken.
    handle.send((0, 0)).unwrap();
    has_entered.recv().unwrap();
    thread::scope(|scope| {
        for thread in 1..=THREADS {
            let handle = handle.clone();
            scope.spawn(move || (0..MESSAGES).for_each(|number| handle.send((thread, number)).unwrap()));
        }
    });
    open.send(()).unwrap();
    let stats = handle.stats().unwrap();
    handle.stop().unwrap();
    let mut reactor = running.join().unwrap();

    let messages = std::mem::take(&mut reactor.handler_mut().messages);
    assert_eq!(messages.len(), 1 + THREADS * MESSAGES);
    for thread in 1..=THREADS {
        let numbers = messages.iter().filter(|(sender, _)| *sender == thread).map(|(_, number)| *number);
        assert!(numbers.eq(0..MESSAGES), "the messages of thread {thread} came out of order");
    }
    assert_eq!(stats.messages, messages.len() as u64);
    // Every turn takes up to 1,024 requests: 16 turns for the backlog, and a few for the first message, stats and stop.
    assert!(stats.polls < 30, "{} polls for {} messages", stats.polls, stats.messages);
}

#[test]
fn a_message_sent_while_the_loop_sleeps_wakes_it() {
    let (handle, _, running) = spawn(Hooks::default());
    for _ in 0..100 {
        let (sender, receiver) = channel();
        handle.send(Box::new(move |_: &mut Context<'_>| sender.send(()).unwrap()) as Act).ok().unwrap();
        receiver.recv_timeout(PATIENCE).expect("the loop slept on");
    }
    handle.stop().unwrap();
    running.join().unwrap();
}

#[test]
fn a_message_speaks_to_connections() {
    let (handle, addr, running) = spawn(Hooks::default());
    let clients: Vec<_> = (0..5).map(|_| client(addr)).collect();
    clients.iter().for_each(|client| echo(client, b"open"));
    handle.send(Box::new(|cx| assert_eq!(cx.broadcast_all(b"to all").queued, 5))).ok().unwrap();
    assert!(clients.iter().all(|client| read_frame(client) == b"to all"));
    handle.stop().unwrap();
    running.join().unwrap();
}

#[test]
fn a_drain_from_another_thread_ends_run_with_everything_flushed() {
    let (handle, addr, running) = spawn(Hooks::default());
    let client = client(addr);
    echo(&client, b"open");
    handle.drain().unwrap();
    // Our FIN, answered by its own.
    assert_eq!(std::io::Read::read(&mut &client, &mut [0; 8]).unwrap(), 0);
    drop(client);
    let reactor = running.join().unwrap();
    assert_eq!((reactor.drain_report().drained, reactor.drain_report().cut), (1, 0));
    reactor.handler().log.assert_paired();
    assert!(TcpStream::connect(addr).is_err(), "it still listens");
}

#[test]
fn a_stop_from_another_thread_ends_run_at_once() {
    let (handle, addr, running) = spawn(Hooks::default());
    let clients: Vec<_> = (0..3).map(|_| client(addr)).collect();
    clients.iter().for_each(|client| echo(client, b"open"));
    handle.stop().unwrap();
    let reactor = running.join().unwrap();
    assert_eq!((reactor.drain_report().drained, reactor.drain_report().cut), (0, 3));
    let log = &reactor.handler().log;
    assert!(log.closed.iter().all(|(_, reason)| *reason == CloseReason::Cut), "{log:?}");
    log.assert_paired();
}

#[test]
fn a_snapshot_of_the_stats_is_of_what_was_done_before() {
    let (handle, addr, running) = spawn(Hooks::default());
    let client = client(addr);
    (0..10).for_each(|_| echo(&client, b"x"));
    let stats = handle.stats().unwrap();
    assert_eq!((stats.accepted, stats.connections, stats.frames_in, stats.frames_out), (1, 1, 10, 10));
    assert_eq!((stats.bytes_in, stats.bytes_out), (50, 50));
    drop(client);
    handle.drain().unwrap();
    assert_eq!(running.join().unwrap().stats().closed_total(), 1);
}

#[test]
fn handle_after_reactor_returns_the_message() {
    let server = Server::new(Config::default(), Hooks::default());
    let handle = server.reactor.handle();
    drop(server);
    let (sender, receiver) = channel();
    let returned = handle.send(Box::new(move |_| sender.send("the same").unwrap()));
    let mut other = Server::new(Config::default(), Hooks::default());
    let Err(HandleError::Finished(act)) = returned else { panic!("it was taken") };
    other.act(act);
    assert_eq!(receiver.recv().unwrap(), "the same");
    assert_eq!((handle.drain(), handle.stop()), (Err(HandleError::Finished(())), Err(HandleError::Finished(()))));
    assert_eq!(stats_of(&handle).err(), Some(StatsError::Finished));
}

/// Calls `stats` on another thread, so that a call that never returns fails the test.
#[track_caller]
fn stats_of<M: Send + 'static>(handle: &Handle<M>) -> Result<Stats, StatsError> {
    let handle = handle.clone();
    let (sender, receiver) = channel();
    thread::spawn(move || drop(sender.send(handle.stats())));
    receiver.recv_timeout(PATIENCE).expect("stats() did not return")
}

#[test]
fn stats_of_a_reactor_that_was_drained_or_stopped_fails_at_once() {
    let ends: [fn(&mut Reactor<Echo>); 2] = [Reactor::drain, Reactor::stop];
    for end in ends {
        let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
        let handle = reactor.handle();
        assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Running);
        end(&mut reactor);
        reactor.run().unwrap();
        // It exists still, and would not be turned again.
        assert_eq!(stats_of(&handle).err(), Some(StatsError::Finished));
        assert_eq!(handle.stats().err(), Some(StatsError::Finished), "on the thread that drove it");
        assert_eq!((handle.drain(), handle.stop()), (Err(HandleError::Finished(())), Err(HandleError::Finished(()))));
        assert_eq!(reactor.stats().connections, 0);
    }
}

#[test]
fn stats_not_served_by_the_last_turn_fail() {
    let (handle, _, running) = spawn(Hooks::default());
    let (open, gate) = channel();
    let (entered, has_entered) = channel();
    let first = move |cx: &mut Context<'_>| {
        entered.send(()).unwrap();
        gate.recv().unwrap();
        cx.stop();
    };
    handle.send(Box::new(first)).ok().unwrap();
    has_entered.recv().unwrap();
    // More than a turn takes, and the first of them stops the reactor.
    (0..3_000).for_each(|_| handle.send(Box::new(|_| {})).ok().unwrap());
    let (sender, receiver) = channel();
    let asking = handle.clone();
    thread::spawn(move || {
        let _ = sender.send(asking.stats().err());
    });
    // Whether the request is in the mailbox by now or comes behind the end: it fails.
    open.send(()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(Some(StatsError::Finished)));
    running.join().unwrap();
}

#[test]
fn stats_on_the_reactors_own_thread_fail() {
    let (handle, _, running) = spawn(Hooks::default());
    let asking = handle.clone();
    let (sender, receiver) = channel();
    handle.send(Box::new(move |_| sender.send(asking.stats().err()).unwrap())).ok().unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(Some(StatsError::OwnThread)));
    assert_eq!(stats_of(&handle).map(|stats| stats.messages), Ok(1));
    handle.stop().unwrap();
    running.join().unwrap();

    let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
    let handle = reactor.handle();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
        sender.send(reactor.handle().stats().err()).unwrap();
        reactor.run().unwrap();
    });
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(Some(StatsError::OwnThread)));
    handle.stop().unwrap();
}

#[test]
fn stats_before_the_first_turn_are_zero() {
    let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
    listen(&mut reactor);
    assert_eq!(stats_of(&reactor.handle()).map(|stats| (stats.polls, stats.accepted)), Ok((0, 0)));
    assert!(reactor.handle().stats().is_ok(), "on the thread that made it");
}

#[test]
fn stats_come_from_the_thread_that_drives() {
    let mut reactor = Reactor::new(Config::default(), Hooks::default()).unwrap();
    let handle = reactor.handle();
    let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    let running = thread::spawn(move || reactor.run().map(|()| reactor).unwrap());
    let (sender, receiver) = channel();
    handle.send(Box::new(move |_| sender.send(()).unwrap())).ok().unwrap();
    receiver.recv_timeout(PATIENCE).unwrap();
    // That thread drives it now, so this one can wait for it.
    assert_eq!(handle.stats().map(|stats| stats.messages), Ok(1));
    handle.stop().unwrap();
    running.join().unwrap();
}

#[test]
fn waiting_stats_fail_when_the_reactor_finishes() {
    let mut reactor = Reactor::new(Config::default(), Hooks::default()).unwrap();
    let handle = reactor.handle();
    let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    let asking = thread::spawn(move || handle.stats().err());
    // The request makes the descriptor of the readiness queue readable.
    drop(reactor);
    assert_eq!(asking.join().unwrap(), Some(StatsError::Finished));
}

#[test]
fn a_handle_is_cloned_sent_and_shared_between_threads() {
    fn assert_is<T: Clone + Send + Sync + 'static>() {}
    assert_is::<Handle<Act>>();
    assert_is::<Handle<std::cell::Cell<u8>>>();
}

#[test]
fn an_idle_reactor_has_no_deadline_and_no_work() {
    // The defaults: with frame, write and linger deadlines, of which none is running.
    let mut server = Server::new(Config::default(), Echo);
    assert_eq!(server.reactor.next_deadline(), None);
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &clients {
        server.echo(client, b"x");
    }
    assert_eq!(server.reactor.next_deadline(), None);
    let polls = server.reactor.stats().polls;
    let begin = Instant::now();
    assert_eq!(server.reactor.turn(Some(Duration::from_millis(50))).unwrap(), Turn::Running);
    assert!(begin.elapsed() >= Duration::from_millis(50), "it did not sleep");
    assert_eq!(server.reactor.stats().polls, polls + 1);
}

#[test]
fn reactor_after_burst_has_no_deadline_once_trimmed() {
    // After so long it looks whether the client has acknowledged everything, once.
    let config = Config::builder().write_timeout(Some(Duration::from_secs(1))).build().unwrap();
    let mut server = Server::new(config, Echo);
    let client = server.connect();
    server.write(&client, &frame(&support::stepped::pattern(100_000)));
    server.expect(&client, &[&support::stepped::pattern(100_000)]);
    assert!(server.reactor.next_deadline().is_some());
    server.turn_until("the last buffers to be given back", |reactor| reactor.next_deadline().is_none());
    assert_eq!(server.reactor.stats().pooled_bytes, 0);
}
