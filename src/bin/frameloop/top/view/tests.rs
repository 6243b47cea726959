use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::*;
use crate::top::ask::Answer;
use crate::top::keys::{Effect, on_key};
use crate::top::{fixture, model};

/// The terminal that shows the view.
fn shown(app: &App, width: u16, height: u16, is_colored: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, app, Theme::new(is_colored))).unwrap();
    terminal.backend().clone()
}

/// The lines of the screen, without blanks at their ends.
fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
    let backend = shown(app, width, height, false);
    let cells = backend.buffer().content.chunks(usize::from(width));
    cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

#[track_caller]
fn assert_shows(lines: &[String], texts: &[&str]) {
    for text in texts {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in\n{}", lines.join("\n"));
    }
}

fn press(app: &mut App, code: KeyCode) -> Effect {
    on_key(app, KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_keys(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c));
    }
}

#[test]
fn overview_at_80x24_has_totals_chart_and_holders() {
    let lines = screen(&fixture::app(fixture::serve()), 80, 24);
    assert_eq!(lines[0], "frameloop 0.1.0 serve  127.0.0.1:9100  up 1h 2m 3s  running");
    assert_eq!(lines[1], "connections 10,000 of 20,000  accepted 5/s  closed 1/s  paused 3");
    assert_eq!(lines[2], "frames/s    19,900 in  19,900 out");
    assert_eq!(lines[3], "bytes       1.29 MiB/s in  1.29 MiB/s out  buffered 68.4 KiB of 1.00 GiB");
    assert_eq!(lines[4], "turns       50/s  p50 10.0 us  p99 100 us  max 1.00 ms  lag 200 us");
    assert_eq!(lines[5], "closed      reset 400, peer finished 200  (in 3m 20s)");
    assert_eq!(lines[6], "lints       slow callback 600  (in 3m 20s)");
    assert!(lines[8].starts_with("max 19,900 ") && lines[7].ends_with('█'), "{}", lines.join("\n"));
    assert_eq!(lines[10], "2 of the 2 first by bytes");
    assert_eq!(lines[11], "id        peer                  state              in      out    bytes     idle");
    assert_eq!(lines[12], "3.17      127.0.0.1:5000        Open paused      64 B 64.0 KiB 64.0 KiB   1.50 s");
    assert_eq!(lines[23], "q quit  ? help  Enter detail  / filter  b bytes  a age  i idle");
}

#[test]
fn overview_at_40x10_has_whole_figures_only() {
    let lines = screen(&fixture::app(fixture::serve()), 40, 10);
    let expected = [
        "frameloop serve  127.0.0.1:9100  running",
        "connections 10,000",
        "frames/s    19,900 in  19,900 out",
        "bytes       1.29 MiB/s in",
        "2 of the 2 first by bytes",
        "id        peer                     bytes",
        "3.17      127.0.0.1:5000        64.0 KiB",
        "4.2       127.0.0.1:5000        4.36 KiB",
        "",
        "q quit  ? help  Enter detail  / filter",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line, expected, "in\n{}", lines.join("\n"));
    }
}

#[test]
fn overview_at_120x40_has_more_columns_and_states() {
    let lines = screen(&fixture::app(fixture::serve()), 120, 40);
    assert_shows(&lines, &["listening on 127.0.0.1:7007", "open 9,990, half-closed 8, closing 2"]);
    let head = "id        peer                      state              in      out    bytes     idle        age paused by      frames in";
    assert_shows(&lines, &[head, "backpressure           7"]);
}

#[test]
fn screen_of_any_size_has_no_panic() {
    let mut apps = vec![fixture::app(fixture::serve()), fixture::app(fixture::load()), fixture::app(Answer::default())];
    apps.push(App { run: Some(fixture::run()), ..fixture::app(fixture::load()) });
    apps.push(App { shows_help: true, ..fixture::app(fixture::serve()) });
    let mut detail = fixture::app(fixture::serve());
    press(&mut detail, KeyCode::Enter);
    apps.push(detail);
    for number in [-1e300, 0.0, 1e-300, 1e19, 1e300] {
        let mut detail = fixture::app(fixture::absurd(number));
        press(&mut detail, KeyCode::Enter);
        let answer = Answer { ask: detail.ask(), ..fixture::absurd(number) };
        detail.on_answer(Ok(answer.clone()));
        apps.extend([fixture::app(answer), detail]);
    }
    for app in &apps {
        for width in [0, 1, 39, 40, 80, 140] {
            for height in [0, 1, 9, 10, 24, 40] {
                shown(app, width, height, true);
            }
        }
    }
}

#[test]
fn screen_that_is_too_small_says_what_it_needs() {
    let lines = screen(&fixture::app(fixture::serve()), 20, 5);
    assert_eq!(lines[..2], ["terminal too small:", "20x5, at least 40x10"]);
    assert_eq!(screen(&fixture::app(fixture::serve()), 60, 9)[0], "terminal too small: 60x9, at least 40x10");
}

#[test]
fn detail_shows_water_marks_deadlines_and_events() {
    let mut app = fixture::app(fixture::serve());
    assert_eq!(press(&mut app, KeyCode::Enter), Effect::Ask);
    assert_eq!(app.ask().detail.as_deref(), Some("3.17"));
    assert_shows(&screen(&app, 80, 24), &["connection 3.17  127.0.0.1:5000 to 127.0.0.1:7007", "asking ..."]);
    let answer = Answer { ask: app.ask(), detail: Some(Some(fixture::detail())), ..fixture::serve() };
    app.on_answer(Ok(answer));
    let lines = screen(&app, 80, 24);
    assert_shows(&lines, &["state Open  reading paused by backpressure  idle 1.50 s  age 10.0 s"]);
    assert_shows(&lines, &["frames 7 in  bytes 700 B in  800 B out  buffers 64.0 KiB  framing u32be"]);
    assert_shows(&lines, &["pending output  64.0 KiB of 64.0 KiB, low water 16.0 KiB  ██████████████████████"]);
    assert_shows(&lines, &["pending input       64 B of 16.0 MiB                      ░░░░░░░░░░░░░░░░░░░░░░"]);
    assert_shows(&lines, &["write deadline    12.0 s of 30.0 s                        ████████░░░░░░░░░░░░░░"]);
    assert_shows(&lines, &["the last 50 events", "     50.0000  read      Open         recv(65536) = 50"]);
    press(&mut app, KeyCode::Up);
    let lines = screen(&app, 80, 24);
    assert_shows(&lines, &["the last 50 events, 1 of them below"]);
    assert_eq!(lines[22], "     49.0000  read      Open         recv(65536) = 49");
    assert_eq!(press(&mut app, KeyCode::Esc), Effect::Ask);
    assert_eq!(app.ask().detail, None);
}

#[test]
fn detail_says_when_its_id_is_stale_or_the_server_restarted() {
    let mut app = fixture::app(fixture::serve());
    press(&mut app, KeyCode::Enter);
    let found = Answer { ask: app.ask(), detail: Some(Some(fixture::detail())), ..fixture::serve() };
    app.on_answer(Ok(found.clone()));
    app.on_answer(Ok(Answer { detail: Some(None), ..found.clone() }));
    assert_shows(&screen(&app, 80, 24), &["closed: the id is stale", "recv(65536) = 50"]);
    assert_eq!(app.ask().detail, None, "a stale id is asked for again");

    let mut app = fixture::app(fixture::serve());
    press(&mut app, KeyCode::Enter);
    let mut restarted = found;
    restarted.info.uptime = model::Seconds(0.5);
    app.on_answer(Ok(restarted));
    assert_shows(&screen(&app, 80, 24), &["the server has restarted: the connection is gone"]);
    assert_eq!(app.ask().detail, None, "the id of another process is asked for");
}

#[test]
fn filter_takes_peers_ids_and_states() {
    for (filter, is_found) in [("3.17", true), ("5000", true), ("OPEN", true), ("backp", true), ("4.2", false)] {
        let mut app = fixture::app(fixture::serve());
        type_keys(&mut app, "/");
        type_keys(&mut app, filter);
        assert_shows(&screen(&app, 80, 24), &[&format!("filter: {filter}_")]);
        press(&mut app, KeyCode::Enter);
        let lines = screen(&app, 80, 24);
        assert_eq!(lines.iter().any(|line| line.starts_with("3.17 ")), is_found, "{filter}");
        press(&mut app, KeyCode::Esc);
        assert_shows(&screen(&app, 80, 24), &["2 of the 2 first by bytes"]);
    }
    let mut app = fixture::app(fixture::serve());
    type_keys(&mut app, "/77.1");
    assert_eq!(press(&mut app, KeyCode::Enter), Effect::Ask);
    assert_eq!(app.ask().detail.as_deref(), Some("77.1"), "an id that is not in the table");
}

#[test]
fn selection_follows_its_connection() {
    let mut app = fixture::app(fixture::serve());
    press(&mut app, KeyCode::Down);
    assert_eq!(app.at, 1);
    let mut answer = fixture::serve();
    let Content::Serve(connections) = &mut answer.content else { panic!("a load") };
    connections.top.as_mut().unwrap().reverse();
    app.on_answer(Ok(answer));
    assert_eq!(app.at, 0, "4.2 is the first now");
    for code in [KeyCode::End, KeyCode::Down, KeyCode::PageDown] {
        press(&mut app, code);
        assert_eq!(app.at, 1);
    }
    press(&mut app, KeyCode::PageUp);
    assert_eq!(app.at, 0);
}

#[test]
fn keys_sort_and_quit() {
    let mut app = fixture::app(fixture::serve());
    for (key, name) in [('a', "age"), ('i', "idle"), ('b', "bytes")] {
        assert_eq!(press(&mut app, KeyCode::Char(key)), Effect::Ask);
        assert_eq!(app.ask().order.name(), name);
    }
    press(&mut app, KeyCode::Char('?'));
    assert_shows(&screen(&app, 80, 24), &["sort by bytes, age or idle time", "any key leaves the help"]);
    press(&mut app, KeyCode::Char('x'));
    assert!(!app.shows_help);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Effect::Quit);
    assert_eq!(on_key(&mut app, KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Effect::Quit);
}

#[test]
fn load_shows_its_run_instead_of_holders() {
    let mut app = fixture::app(fixture::load());
    assert_shows(&screen(&app, 80, 24), &["stage       measuring", "connections 50 of 50"]);
    app.run = Some(fixture::run());
    let lines = screen(&app, 80, 24);
    assert_shows(&lines, &["stage       measuring  1.50 s  8.50 s left  step 2 of 5: rate 20,000"]);
    assert_shows(&lines, &["frames      990 sent of 1,000 due  10 late  980 complete  target 1,000/s"]);
    assert_shows(&lines, &["latency     p50 100 us  p99 1.00 ms  p99.9 2.00 ms  max 3.00 ms  (response)"]);
    assert_shows(
        &lines,
        &["errors      2  wrong reply 2", "     10,000       9,999      100 us     1.00 ms         yes"],
    );
    assert!(!lines.iter().any(|line| line.contains("first by")), "{}", lines.join("\n"));
}

#[test]
fn server_that_is_away_is_said_in_the_second_line() {
    let mut app = fixture::app(fixture::serve());
    app.silence = Duration::from_millis(7_200);
    assert_eq!(screen(&app, 80, 24)[1], "no response for 7.00 s");
    app.on_answer(Err("cannot connect to x: refused".into()));
    app.silence = Duration::from_secs(8);
    let lines = screen(&app, 80, 24);
    assert_eq!(lines[1], "reconnecting ... cannot connect to x: refused; last response 8.00 s ago");
    assert!(lines[0].ends_with("reconnecting"), "{}", lines[0]);
    app.on_answer(Ok(fixture::serve()));
    assert!(screen(&app, 80, 24)[1].starts_with("connections "));
}

#[test]
fn screen_without_colors_has_none() {
    let apps = [fixture::app(fixture::serve()), App { run: Some(fixture::run()), ..fixture::app(fixture::load()) }];
    for app in &apps {
        let colored = |is_colored: bool| {
            let backend = shown(app, 120, 40, is_colored);
            backend.buffer().content.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
        };
        assert!(colored(true) && !colored(false));
    }
}
