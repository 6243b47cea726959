//! Cases are played one after the other, each on a server that still lives.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::target::{Stop, Target};

/// What came of all cases.
#[derive(Debug)]
pub(crate) struct Grade {
    pub(crate) level: Level,
    pub(crate) cases: Vec<Graded>,
    pub(crate) took: Duration,
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Graded {
    pub(crate) case: Case,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds,
    Fails(Finding),
    Skipped(String),
}

impl Grade {
    /// Plays these cases.
    pub(crate) fn of(target: &mut Target, cases: &[Case], level: Level) -> Self {
        let (begun, bar) = (Instant::now(), bar(cases.len()));
        let mut lost_in = None;
        let mut graded = Vec::with_capacity(cases.len());
        for case in cases.iter().copied() {
            bar.set_message(case.name);
            let begun = Instant::now();
            let outcome = match lost_in {
                Some(case) => Outcome::Skipped(format!("nobody is served since {case}")),
                None if target.patience.left().is_zero() => Outcome::Skipped(OVER.into()),
                None => outcome(&case, target, &mut lost_in),
            };
            graded.push(Graded { case, outcome, took: begun.elapsed() });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Self { level, cases: graded, took: begun.elapsed() }
    }

    pub(crate) fn failed(&self) -> usize {
        self.cases.iter().filter(|graded| matches!(graded.outcome, Outcome::Fails(_))).count()
    }

    pub(crate) fn skipped(&self) -> usize {
        self.cases.iter().filter(|graded| matches!(graded.outcome, Outcome::Skipped(_))).count()
    }

    /// How many were not played, or not to their end, because the time was over.
    pub(crate) fn out_of_time(&self) -> usize {
        self.cases.iter().filter(|graded| graded.outcome == Outcome::Skipped(OVER.into())).count()
    }

    pub(crate) fn played(&self) -> usize {
        self.cases.len() - self.skipped()
    }
}

/// Plays a case, and looks whether the server lives afterwards.
fn outcome(case: &Case, target: &mut Target, lost_in: &mut Option<&'static str>) -> Outcome {
    let played = (case.play)(target);
    if let Err(Stop::Skipped(reason)) = played {
        return Outcome::Skipped(reason);
    }
    let alive = target.is_alive().map_err(afterwards);
    // Without time left no client could have been served, whatever the server did.
    if alive.is_err() && target.comes_back().is_err() && !target.patience.left().is_zero() {
        *lost_in = Some(case.name);
    }
    match played.and(alive.map_err(Stop::Fails)) {
        Ok(()) => Outcome::Holds,
        Err(_) if target.patience.left().is_zero() => Outcome::Skipped(OVER.into()),
        Err(Stop::Fails(finding)) if target.has_ended() => {
            Outcome::Fails(Finding { mistake: Some(ENDED.into()), ..finding })
        }
        Err(Stop::Fails(finding)) => Outcome::Fails(finding),
        Err(Stop::Skipped(reason)) => Outcome::Skipped(reason),
    }
}

/// A finding about the one who comes after a case.
fn afterwards(finding: Finding) -> Finding {
    let sent = format!("afterwards, on a new connection, {}", finding.sent);
    Finding { sent, mistake: None, ..finding }
}

/// On a terminal, what is being played.
fn bar(cases: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(cases as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

const ENDED: &str = "the server's process has ended in this case: what it said last may tell why";
/// Why a case is skipped that was asked for and could have been played.
pub(crate) const OVER: &str = "a minute was over";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread;

    use super::*;
    use crate::check::cases;
    use crate::check::patience::Patience;
    use crate::check::payloads::Payloads;
    use crate::check::wire::Wire;

    /// A server that does this with each client, and lives as long as the tests.
    fn server(serve: fn(TcpStream)) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|client| drop(thread::spawn(move || serve(client))))
        });
        addr
    }

    /// Sends bytes until the client is gone.
    fn send_forever(mut client: TcpStream) {
        while client.write_all(&[7; 64 << 10]).is_ok() {}
    }

    /// Answers a first frame, and then sends on as if there were no end of frames.
    fn answer_and_send_forever(mut client: TcpStream) {
        let mut frame = [0; 256];
        if client.read(&mut frame).is_ok_and(|len| client.write_all(&frame[..len]).is_ok()) {
            send_forever(client);
        }
    }

    /// Answers rightly, in pieces of a byte, without a pause that would be too long for a reader, and reads on meanwhile.
    fn drip_the_right_answer(mut client: TcpStream) {
        client.set_nodelay(true).unwrap();
        let (read, taken) = mpsc::channel::<Vec<u8>>();
        let mut dripping = client.try_clone().unwrap();
        thread::spawn(move || taken.iter().flatten().all(|byte| dripping.write_all(&[byte]).is_ok()));
        let mut bytes = [0; 64 << 10];
        while let Ok(len @ 1..) = client.read(&mut bytes) {
            if read.send(bytes[..len].to_vec()).is_err() {
                return;
            }
        }
    }

    fn drip_zeros(mut client: TcpStream) {
        while client.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads, and answers nothing.
    fn swallow(mut client: TcpStream) {
        while client.read(&mut [0; 64 << 10]).is_ok_and(|len| len > 0) {}
    }

    /// Neither reads nor answers.
    fn ignore(client: TcpStream) {
        static IGNORED: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
        IGNORED.lock().unwrap().push(client);
    }

    /// Serves no other client while one floods, except for a moment: the flood paused, and the turn ended.
    fn serve_floods_alone(mut client: TcpStream) {
        static LOOP: Mutex<()> = Mutex::new(());
        let (mut bytes, mut came) = ([0; 16 << 10], 0);
        while let Ok(len @ 1..) = client.read(&mut bytes) {
            let turn = LOOP.lock().unwrap();
            let has_flooded = came > FLOOD;
            came += len;
            match (has_flooded, came > FLOOD) {
                (false, false) if client.write_all(&bytes[..len]).is_err() => return,
                (false, false) => {}
                (false, true) => {
                    thread::sleep(FIRST_TURN);
                    drop(turn);
                    thread::sleep(FLOOD_PAUSE);
                }
                (true, _) => while client.read(&mut bytes).is_ok_and(|len| len > 0) {},
            }
        }
    }

    fn wire(framing: &str) -> Wire {
        Wire::of(framing).unwrap()
    }

    fn target(addr: SocketAddr) -> Target {
        Target {
            addr,
            patience: Patience::new(USUAL, WHOLE),
            max_payload: 16 << 20,
            process: None,
            frame_timeout: Some(USUAL),
            write_timeout: Some(USUAL),
            own_descriptors: 1_100,
            payloads: Payloads::new(1, wire("u32be")),
            served: Arc::default(),
        }
    }

    /// Plays each case alone, so that none is left out because of another; some at once, as most of it is waiting.
    fn assert_each_case_ends(name: &str, addr: SocketAddr) {
        assert_each_case_of_ends("u32be", name, addr);
    }

    fn assert_each_case_of_ends(framing: &str, name: &str, addr: SocketAddr) {
        let all: Vec<_> = cases::all().collect();
        thread::scope(|scope| {
            for some in all.chunks(8) {
                scope.spawn(move || {
                    for case in some {
                        let mut target = Target { payloads: Payloads::new(1, wire(framing)), ..target(addr) };
                        let grade = Grade::of(&mut target, &[**case], Level::Hardened);
                        assert!(
                            grade.took < WHOLE + SLACK,
                            "{} of {framing}, with a server that {name}: {:?}",
                            case.name,
                            grade.took
                        );
                    }
                });
            }
        });
    }

    const USUAL: Duration = Duration::from_millis(60);
    const WHOLE: Duration = Duration::from_millis(300);
    /// What a minute has as well, behind the time in which cases are played.
    const SLACK: Duration = Duration::from_secs(3);
    /// More bytes than a client sends that does not flood.
    const FLOOD: usize = 16 << 10;
    /// Ends after the bystander's first frame is there, and before it has waited for too long.
    const FIRST_TURN: Duration = Duration::from_millis(400);
    const FLOOD_PAUSE: Duration = Duration::from_millis(15);

    #[test]
    fn each_case_ends_in_time_with_a_server_that_sends_forever() {
        assert_each_case_ends("sends forever", server(send_forever));
        assert_each_case_ends("answers once and sends forever", server(answer_and_send_forever));
    }

    #[test]
    fn flood_that_pauses_once_does_not_hide_a_missing_budget() {
        let patience = Patience::new(Duration::from_secs(2), Duration::from_secs(20));
        let mut target = Target { patience, ..target(server(serve_floods_alone)) };
        let case = cases::all().find(|case| case.name == "flood-beside").unwrap();
        let grade = Grade::of(&mut target, &[*case], Level::Hardened);
        assert_eq!(grade.failed(), 1, "{grade:?}");
    }

    #[test]
    fn each_case_ends_in_time_with_a_server_that_drips() {
        assert_each_case_ends("drips zeros", server(drip_zeros));
        assert_each_case_ends("drips the right answer", server(drip_the_right_answer));
    }

    #[test]
    fn each_case_ends_in_time_with_a_server_that_stays_silent() {
        assert_each_case_ends("reads and is silent", server(swallow));
        assert_each_case_ends("does not read", server(ignore));
    }

    #[test]
    fn each_case_ends_in_time_with_other_framings() {
        for framing in ["lines", "exact:64", "raw"] {
            assert_each_case_of_ends(framing, "sends forever", server(send_forever));
            assert_each_case_of_ends(framing, "drips the right answer", server(drip_the_right_answer));
            assert_each_case_of_ends(framing, "reads and is silent", server(swallow));
        }
    }

    #[test]
    fn each_case_ends_in_time_with_a_server_that_accepts_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_each_case_ends("accepts nothing", listener.local_addr().unwrap());
    }
}
