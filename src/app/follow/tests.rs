//! Keys and answers go in, and what a terminal of some size would show is read.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::screen::{Answer, Effect, Question, Screen, View};
use super::view::draw;
use crate::adapters::telemetry::ladder::{Class, Compared, Drawing, Mark, Passed, Row};

fn key(screen: &mut Screen, code: KeyCode) -> Effect {
    screen.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn typed(screen: &mut Screen, text: &str) -> Effect {
    text.chars().for_each(|c| assert_eq!(key(screen, KeyCode::Char(c)), Effect::Nothing));
    key(screen, KeyCode::Enter)
}

/// What is seen, a line for each of the terminal's.
fn seen(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(screen, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

fn calls(numbers: &[u64]) -> Answer {
    let ladders: Vec<_> = numbers
        .iter()
        .map(|call| {
            let (began, from) = ("2026-11-22T13:00:00.250Z", format!("sip:+4930{call}@trunk.test\u{1b}[2J"));
            json!({ "call": call, "state": "answered", "began": began, "from": from, "to": "sip:5000@um.test", "a": "trunk", "b": "um", "reason": null, "entries": 12 })
        })
        .collect();
    let question = Question::Calls { peer: String::new(), number: String::new(), exchanges: false };
    question.answered(200, json!({ "calls": numbers.len(), "exchanges": 0, "bytes": 1, "ladders": ladders }))
}

/// So many INVITEs and their answers, a decision after each.
fn ladder(call: u64, pairs: usize) -> Answer {
    let (a, b) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let mut drawing = Drawing {
        legs: vec!["leg A trunk: unsecured".into()],
        columns: vec!["tcp 192.0.2.1:5060".into(), "portcullis".into()],
        border: 1,
        ..Drawing::default()
    };
    for pair in 0..pairs {
        let texts = [format!("INVITE sip:{pair}@um SIP/2.0\r\nX-Odd: \u{1b}]0;x\u{7}\tend\r\n\r\n"), "SIP/2.0 200 OK\r\n\r\n".to_owned()];
        for (index, (text, class)) in texts.iter().zip([Class::Request, Class::Success]).enumerate() {
            let (from, to) = if index == 0 { (0, 1) } else { (1, 0) };
            let label = text.split(' ').next().unwrap().to_owned();
            let mark = Mark::Arrow { from, to, label, class, again: false, description: Some("RTP/AVP PCMA".into()), message: drawing.messages.len() };
            drawing.rows.push(Row { at: 46_800_000_000, after_us: 1500, mark });
            drawing.messages.push(Passed::new(46_800_000_000, (a, b), "tcp", text.as_bytes()));
        }
        let values = vec![Compared { name: "pilot".into(), value: pair.to_string() }];
        let mark = Mark::Decision { stage: "hunt_group".into(), rule: "hunt group \"x\"".into(), refused: None, meaning: None, values };
        drawing.rows.push(Row { at: 46_800_000_000, after_us: 0, mark });
    }
    let json = serde_json::to_value(&drawing).unwrap();
    Question::Ladder(call).answered(200, json)
}

#[test]
fn the_chosen_call_stays_chosen_while_others_come() {
    let mut screen = Screen::new(None, true);
    assert!(seen(&mut screen, 100, 10).contains("no call is held"));
    screen.take(calls(&[3, 2, 1]));
    key(&mut screen, KeyCode::Down);
    assert_eq!(screen.chosen, Some(2));
    screen.take(calls(&[5, 4, 3, 2, 1]));
    assert_eq!((screen.chosen, screen.at()), (Some(2), 3));
    let page = seen(&mut screen, 140, 10);
    assert!(page.contains("5 calls held") && page.contains("13:00:00.250") && page.contains("sip:+49302@trunk.test?"), "{page}");
    assert!(!page.contains('\u{1b}'), "what callers write moves no cursor");
    for (code, chosen) in [(KeyCode::End, 1), (KeyCode::Down, 1), (KeyCode::Home, 5), (KeyCode::Up, 5), (KeyCode::PageDown, 1)] {
        key(&mut screen, code);
        assert_eq!(screen.chosen, Some(chosen), "{code:?}");
    }
    screen.take(calls(&[]));
    assert_eq!(key(&mut screen, KeyCode::Enter), Effect::Nothing);
    assert!(matches!(screen.view, View::Calls), "nothing to open");
    assert_eq!(key(&mut screen, KeyCode::Esc), Effect::Leave);
}

#[test]
fn a_ladder_is_opened_walked_searched_and_left() {
    let mut screen = Screen::new(None, true);
    screen.take(calls(&[7]));
    key(&mut screen, KeyCode::Enter);
    assert_eq!(screen.question(), Question::Ladder(7));
    assert!(seen(&mut screen, 100, 12).contains("asking the border"));
    screen.take(ladder(8, 1));
    assert!(seen(&mut screen, 100, 12).contains("asking the border"), "an answer about another call comes too late");
    screen.take(ladder(7, 40));
    let page = seen(&mut screen, 100, 12);
    assert!(page.contains("leg A trunk") && page.contains("INVITE") && page.contains("RTP/AVP PCMA") && page.contains("+1.5"), "{page}");
    key(&mut screen, KeyCode::Char('t'));
    key(&mut screen, KeyCode::Char('d'));
    let page = seen(&mut screen, 100, 12);
    assert!(page.contains("13:00:00.000") && !page.contains("RTP/AVP"), "{page}");
    key(&mut screen, KeyCode::F(3));
    typed(&mut screen, "PILOT=33");
    let page = seen(&mut screen, 100, 12);
    assert!(page.contains("[pilot=33]"), "what was found is seen: {page}");
    key(&mut screen, KeyCode::Char('/'));
    typed(&mut screen, "");
    key(&mut screen, KeyCode::Char('/'));
    typed(&mut screen, "nonsense");
    assert!(seen(&mut screen, 100, 12).contains("nonsense is nowhere"));
    key(&mut screen, KeyCode::Home);
    key(&mut screen, KeyCode::Enter);
    let page = seen(&mut screen, 100, 12);
    assert!(page.contains("INVITE sip:0@um SIP/2.0") && page.contains("X-Odd: ?]0;x? end") && page.contains("192.0.2.1:5060 -> 192.0.2.2:5060"), "{page}");
    key(&mut screen, KeyCode::Esc);
    key(&mut screen, KeyCode::Down);
    key(&mut screen, KeyCode::Down);
    assert!(seen(&mut screen, 200, 12).contains("│* hunt_group: hunt group"), "beside the ladder it stands in full");
    key(&mut screen, KeyCode::Char('r'));
    let page = seen(&mut screen, 100, 12);
    assert!(page.lines().nth(1).is_some_and(|line| line.starts_with("* hunt_group: hunt group")), "{page}");
    key(&mut screen, KeyCode::Esc);
    key(&mut screen, KeyCode::Esc);
    assert_eq!(screen.question(), Question::Calls { peer: String::new(), number: String::new(), exchanges: false });
}

#[test]
fn what_comes_is_followed_at_the_end_and_nowhere_else() {
    let mut screen = Screen::new(Some(7), false);
    screen.take(ladder(7, 2));
    let row = |screen: &Screen| if let View::Ladder(open) = &screen.view { (open.row, open.gone) } else { panic!("no ladder") };
    assert_eq!(row(&screen), (0, false));
    screen.take(ladder(7, 3));
    assert_eq!(row(&screen), (0, false), "whoever reads the beginning stays there");
    key(&mut screen, KeyCode::End);
    screen.take(ladder(7, 5));
    assert_eq!(row(&screen), (14, false));
    screen.take(Question::Ladder(7).answered(404, json!({ "detail": "gone" })));
    assert_eq!(row(&screen), (14, true));
    assert!(seen(&mut screen, 100, 12).contains("held no more by the border"), "and what was is still shown");
}

#[test]
fn what_is_saved_has_the_form_its_name_says() {
    let mut screen = Screen::new(Some(7), true);
    key(&mut screen, KeyCode::F(2));
    assert_eq!(key(&mut screen, KeyCode::Enter), Effect::Nothing, "nothing to save yet");
    screen.take(ladder(7, 2));
    key(&mut screen, KeyCode::F(2));
    assert!(seen(&mut screen, 100, 12).contains("call-7.pcapng"));
    let Effect::Save(file, content) = key(&mut screen, KeyCode::Enter) else { panic!("not saved") };
    assert!(file == "call-7.pcapng" && content.starts_with(&0x0a0d_0d0a_u32.to_le_bytes()));
    for (end, begins) in [("svg", "<svg "), ("txt", "leg A"), ("json", "{")] {
        key(&mut screen, KeyCode::Char('s'));
        (0..20).for_each(|_| drop(key(&mut screen, KeyCode::Backspace)));
        let Effect::Save(file, content) = typed(&mut screen, &format!("x.{end}")) else { panic!("not saved") };
        assert!(file == format!("x.{end}") && content.starts_with(begins.as_bytes()), "{file}");
    }
}

#[test]
fn a_name_offered_is_taken_back_at_once_and_one_of_no_form_is_not_written() {
    let mut screen = Screen::new(Some(7), true);
    screen.take(ladder(7, 2));
    let with = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    key(&mut screen, KeyCode::Char('s'));
    screen.key(with('u'));
    assert_eq!(typed(&mut screen, "foo"), Effect::Nothing);
    assert!(seen(&mut screen, 100, 12).contains("foo was not written: its name ends in none of .pcapng"));
    key(&mut screen, KeyCode::Char('s'));
    screen.key(with('w'));
    assert!(matches!(typed(&mut screen, ".svg"), Effect::Save(file, _) if file == "call-7.svg"));
}

#[test]
fn filters_are_asked_of_the_border_and_letters_typed_are_no_keys() {
    let mut screen = Screen::new(None, true);
    key(&mut screen, KeyCode::F(7));
    typed(&mut screen, "qtd ü");
    key(&mut screen, KeyCode::Char('/'));
    typed(&mut screen, "49*");
    key(&mut screen, KeyCode::Char('x'));
    assert_eq!(screen.question().path(), "/v1/ladders?limit=500&exchanges=true&peer=qtd%20%C3%BC&number=49%2A");
    key(&mut screen, KeyCode::F(7));
    typed(&mut screen, "z");
    key(&mut screen, KeyCode::F(7));
    key(&mut screen, KeyCode::Char('y'));
    key(&mut screen, KeyCode::Esc);
    assert_eq!(screen.peer, "qtd üz", "given up, it stays");
    screen.take(Question::Ladder(1).answered(503, json!({ "detail": "the border is stopping" })));
    assert!(seen(&mut screen, 100, 12).contains("the border is stopping"));
    assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Effect::Leave);
}

/// No terminal is too small, and no key does harm in any view.
#[test]
fn every_key_in_every_view_is_survived() {
    let moves = [KeyCode::Up, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End, KeyCode::Enter, KeyCode::Left, KeyCode::Right, KeyCode::Tab];
    for code in moves.into_iter().chain((1..=12).map(KeyCode::F)).chain("adknprstx/? ".chars().map(KeyCode::Char)).chain([KeyCode::Esc]) {
        for view in 0..4 {
            let mut screen = Screen::new((view > 0).then_some(7), true);
            screen.take(calls(&[9, 7]));
            screen.take(ladder(7, if view == 1 { 0 } else { 3 }));
            if view == 3 {
                key(&mut screen, KeyCode::Enter);
            }
            for size in [(1, 1), (30, 4)] {
                key(&mut screen, code);
                seen(&mut screen, size.0, size.1);
            }
        }
    }
}

#[test]
fn the_keys_are_told_and_what_was_open_stays_open() {
    let mut screen = Screen::new(Some(7), true);
    screen.take(ladder(7, 3));
    key(&mut screen, KeyCode::Char('?'));
    let keys = seen(&mut screen, 80, 15);
    for part in ["find a word, then n for the next\n", "keys and credentials left out", "NAME.txt, NAME.json\n", "back; from the list, leave"] {
        assert!(keys.contains(part), "{part} is cut:\n{keys}");
    }
    key(&mut screen, KeyCode::Char('q'));
    assert!(seen(&mut screen, 100, 15).contains("INVITE"));
}

#[test]
fn a_border_that_is_back_is_not_said_to_be_away() {
    let mut screen = Screen::new(None, true);
    screen.take(Answer::Failed("the border does not answer: Connection refused".into()));
    assert!(seen(&mut screen, 100, 10).contains("does not answer"));
    screen.say("saved to call-1.svg".into());
    screen.take(calls(&[1]));
    let page = seen(&mut screen, 100, 10);
    assert!(!page.contains("does not answer") && page.contains("saved to call-1.svg"), "{page}");
}
