//! One name through its life, by virtual time.

use super::*;

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

fn settings() -> Settings {
    Settings { floor: Duration::from_secs(10), ceiling: Duration::from_secs(600), grace: Duration::from_secs(100), jitter: 0, ..Settings::default() }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn list(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|address| address.parse().unwrap()).collect()
}

fn addresses(all: &[&str], ttl: u64) -> Vec<Address> {
    list(all).into_iter().map(|ip| Address { ip, ttl: Some(Duration::from_secs(ttl)) }).collect()
}

fn good(all: &[&str], ttl: u64) -> Answered {
    Answered::Whole { addresses: addresses(all, ttl), ttl: Some(Duration::from_secs(ttl)) }
}

fn half(all: &[&str]) -> Answered {
    Answered::Half { addresses: addresses(all, 100), error: NameError::Timeout }
}

const FAILED: Answered = Answered::Failed(NameError::Timeout);

fn absent(ttl: Option<u64>) -> Answered {
    Answered::Absent { ttl: ttl.map(Duration::from_secs) }
}

fn holds(name: &Freshness) -> Vec<IpAddr> {
    name.addresses().collect()
}

fn stale(error: NameError, age: u64) -> Option<NameState> {
    Some(NameState::Stale { error, age: Duration::from_secs(age), grace: Duration::from_secs(100) })
}

fn fresh(now: u64, all: &[&str], ttl: u64) -> Freshness {
    let mut name = Freshness::new(at(now), 7);
    assert!(name.take_due(at(now)));
    let change = name.answered(at(now), good(all, ttl), &settings());
    assert_eq!(change, Change { told: Some(NameState::Fresh { addresses: list(all) }), addresses: true });
    name
}

#[test]
fn a_new_name_is_due_at_once_and_only_once() {
    let mut name = Freshness::new(at(5), 7);
    assert!(!name.is_settled());
    assert!(name.take_due(at(5)));
    assert!(!name.take_due(at(6)), "asked already");
    assert_eq!(name.deadline(), None);
}

#[test]
fn the_ttl_between_floor_and_ceiling_says_when_to_ask_again() {
    for (ttl, expected) in [(0, 10), (1, 10), (100, 90), (600, 540), (86_400, 540)] {
        assert_eq!(fresh(0, &[A], ttl).deadline(), Some(at(expected)), "TTL {ttl}");
    }
    let mut endless = Freshness::new(at(0), 7);
    endless.answered(at(0), Answered::Whole { addresses: addresses(&[A], 0), ttl: None }, &settings());
    assert_eq!(endless.deadline(), Some(at(540)), "without a TTL the ceiling stands for it");
}

#[test]
fn another_order_is_no_change_and_another_address_is() {
    let mut name = fresh(0, &[A, B], 100);
    assert_eq!(name.answered(at(90), good(&[B, A], 100), &settings()).told, None);
    assert_eq!(holds(&name), list(&[A, B]));
    assert_eq!(name.answered(at(180), good(&[B], 100), &settings()).told, Some(NameState::Fresh { addresses: list(&[B]) }));
    assert_eq!(holds(&name), list(&[B]));
}

#[test]
fn the_last_good_answer_is_kept_for_the_grace_and_then_gone() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), FAILED, &settings()).told, stale(NameError::Timeout, 90));
    assert_eq!(holds(&name), list(&[A]));
    assert_eq!(name.answered(at(100), FAILED, &settings()).told, None, "told once");
    assert_eq!(name.expire(at(189)).told, None);
    assert_eq!(name.expire(at(190)).told, Some(NameState::Unresolved { error: NameError::Timeout }));
    assert!(holds(&name).is_empty());
    assert_eq!(name.expire(at(999)).told, None);
    assert_eq!(name.answered(at(1000), good(&[A], 100), &settings()).told, Some(NameState::Fresh { addresses: list(&[A]) }), "and it comes back");
}

#[test]
fn the_grace_ends_even_while_a_question_is_under_way() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), FAILED, &settings());
    assert!(name.take_due(at(100)));
    assert_eq!(name.deadline(), Some(at(190)));
}

#[test]
fn an_answer_within_the_grace_ends_it() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), FAILED, &settings());
    assert_eq!(name.answered(at(100), good(&[A], 100), &settings()).told, Some(NameState::Fresh { addresses: list(&[A]) }));
    assert_eq!(name.expire(at(9999)).told, None);
    assert_eq!(name.deadline(), Some(at(190)));
}

#[test]
fn a_name_that_ceased_to_exist_goes_at_the_second_word() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), absent(None), &settings()).told, stale(NameError::Absent, 90));
    assert_eq!(name.deadline(), Some(at(100)), "asked again a floor later");
    assert_eq!(name.answered(at(100), absent(None), &settings()).told, Some(NameState::Unresolved { error: NameError::Absent }));
    assert!(holds(&name).is_empty());
}

#[test]
fn a_failure_between_two_not_founds_confirms_nothing() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), absent(None), &settings());
    assert_eq!(name.answered(at(100), FAILED, &settings()).told, None);
    assert_eq!(name.answered(at(120), absent(None), &settings()).told, None);
    assert_eq!(holds(&name), list(&[A]));
    assert!(matches!(name.answered(at(160), absent(None), &settings()).told, Some(NameState::Unresolved { .. })));
}

#[test]
fn a_name_never_answered_is_gone_at_once_and_asked_ever_more_rarely() {
    let mut name = Freshness::new(at(0), 7);
    assert_eq!(name.answered(at(0), FAILED, &settings()).told, Some(NameState::Unresolved { error: NameError::Timeout }));
    assert!(name.is_settled());
    let waits: Vec<u64> = (0..5)
        .map(|_| {
            let wait = name.deadline().unwrap().as_millis() / 1000;
            name.answered(at(0), FAILED, &settings());
            wait
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 60, 60]);
}

#[test]
fn half_an_answer_takes_nothing_away_before_the_grace_is_over() {
    let mut name = fresh(0, &["2001:db8::1", A], 100);
    assert!(matches!(name.answered(at(90), half(&[B]), &settings()).told, Some(NameState::Stale { error: NameError::Timeout, .. })));
    assert_eq!(holds(&name), list(&["2001:db8::1", A, B]));
    assert_eq!(name.answered(at(100), half(&[A, B]), &settings()).told, None);
    assert_eq!(name.expire(at(190)).told, Some(NameState::Fresh { addresses: list(&[A, B]) }));
}

#[test]
fn half_an_answer_that_lacks_nothing_is_taken() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), half(&[A]), &settings()).told, None);
    assert_eq!(name.deadline(), Some(at(100)), "but asked again soon");
}

#[test]
fn an_unresolved_name_is_asked_again_when_the_word_that_it_does_not_exist_ends() {
    for (ttl, expected) in [(Some(3), 10), (Some(45), 45), (Some(300), 300), (Some(86_400), 600), (None, 10)] {
        let mut name = Freshness::new(at(0), 7);
        name.answered(at(0), absent(ttl), &settings());
        assert_eq!(name.deadline(), Some(at(expected)), "negative TTL {ttl:?}");
    }
    let mut unvouched = Freshness::new(at(0), 7);
    unvouched.answered(at(0), absent(None), &settings());
    unvouched.answered(at(10), absent(None), &settings());
    assert_eq!(unvouched.deadline(), Some(at(30)), "without an SOA record as after failures");
}

#[test]
fn the_second_word_is_awaited_for_as_long_as_the_first_holds_but_no_longer_than_a_minute() {
    for (ttl, expected) in [(None, 100), (Some(1), 100), (Some(45), 135), (Some(3600), 150)] {
        let mut name = fresh(0, &[A], 100);
        name.answered(at(90), absent(ttl), &settings());
        assert_eq!(name.next_question(), Some(at(expected)), "negative TTL {ttl:?}");
    }
}

#[test]
fn half_answers_with_ever_new_addresses_are_held_within_bounds() {
    let settings = Settings { grace: Duration::from_secs(86_400), ..settings() };
    let mut name = fresh(0, &[A], 100);
    for round in 0..100u8 {
        let new: Vec<Address> = (0..64u8).map(|n| Address { ip: IpAddr::from([10, 1, round, n]), ttl: None }).collect();
        name.answered(at(100 + u64::from(round)), Answered::Half { addresses: new, error: NameError::Timeout }, &settings);
    }
    assert_eq!(holds(&name).len(), HELD);
    assert_eq!(holds(&name)[0], list(&[A])[0], "the good one first");
}

#[test]
fn no_grace_means_none() {
    let settings = Settings { grace: Duration::ZERO, ..settings() };
    let mut name = fresh(0, &[A], 100);
    let change = name.answered(at(90), FAILED, &settings);
    assert_eq!(change, Change { told: Some(NameState::Unresolved { error: NameError::Timeout }), addresses: true });
}

#[test]
fn a_name_without_good_addresses_can_be_hurried_and_a_fresh_one_keeps_its_time() {
    let mut good = fresh(0, &[A], 100);
    good.hurry(at(5));
    assert_eq!(good.deadline(), Some(at(90)));
    let mut gone = Freshness::new(at(0), 7);
    assert!(gone.take_due(at(0)));
    gone.hurry(at(1));
    assert_eq!(gone.deadline(), None, "a question is under way");
    gone.answered(at(2), absent(Some(300)), &settings());
    gone.hurry(at(5));
    assert_eq!(gone.deadline(), Some(at(5)));
}

#[test]
fn what_is_shown_is_what_is() {
    let mut name = fresh(10, &[A], 100);
    assert_eq!((name.word(), name.since(), name.last_answer(), name.last_error()), (NameStateWord::Fresh, at(10), Some(at(10)), None));
    assert_eq!(name.held()[0].ends, Some(at(110)));
    name.answered(at(100), good(&[A], 200), &settings());
    assert_eq!((name.held()[0].ends, name.since()), (Some(at(300)), at(10)), "the same addresses, for longer");
    name.answered(at(280), Answered::Failed(NameError::Refused), &settings());
    assert_eq!((name.word(), name.since(), name.grace_until(), name.last_error()), (NameStateWord::Stale, at(280), Some(at(380)), Some(NameError::Refused)));
    name.answered(at(290), FAILED, &settings());
    assert_eq!(name.last_error(), Some(NameError::Timeout), "of the last question");
    name.expire(at(380));
    assert_eq!((name.word(), name.since(), name.last_answer()), (NameStateWord::Unresolved, at(380), Some(at(100))));
}
