//! One name through its life, by virtual time.

use super::*;

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

fn settings() -> Settings {
    Settings { floor: Duration::from_secs(10), ceiling: Duration::from_secs(600), grace: Duration::from_secs(100), ..Settings::default() }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn list(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|address| address.parse().unwrap()).collect()
}

fn good(all: &[&str], ttl: u64) -> Answered {
    Answered { addresses: Ok(list(all)), complete: true, ttl: Some(Duration::from_secs(ttl)) }
}

fn failed() -> Answered {
    Answered { addresses: Err(LocateError::Failed), complete: false, ttl: None }
}

fn not_found() -> Answered {
    Answered { addresses: Err(LocateError::NotFound), complete: true, ttl: None }
}

fn fresh(now: u64, all: &[&str], ttl: u64) -> Freshness {
    let mut name = Freshness::new(at(now));
    assert!(name.take_due(at(now)));
    assert_eq!(name.answered(at(now), good(all, ttl), &settings()), Some(NameState::Fresh { addresses: list(all) }));
    name
}

#[test]
fn a_new_name_is_due_at_once_and_only_once() {
    let mut name = Freshness::new(at(5));
    assert!(!name.is_settled());
    assert!(name.take_due(at(5)));
    assert!(!name.take_due(at(6)), "asked already");
    assert_eq!(name.deadline(), None);
}

#[test]
fn the_ttl_between_floor_and_ceiling_says_when_to_ask_again() {
    for (ttl, expected) in [(0, 10), (1, 10), (100, 90), (600, 540), (86_400, 600)] {
        assert_eq!(fresh(0, &[A], ttl).deadline(), Some(at(expected)), "TTL {ttl}");
    }
    let mut endless = Freshness::new(at(0));
    endless.answered(at(0), Answered { ttl: None, ..good(&[A], 0) }, &settings());
    assert_eq!(endless.deadline(), Some(at(540)), "without a TTL the ceiling stands for it");
}

#[test]
fn another_order_is_no_change_and_another_address_is() {
    let mut name = fresh(0, &[A, B], 100);
    assert_eq!(name.answered(at(90), good(&[B, A], 100), &settings()), None);
    assert_eq!(name.addresses(), list(&[A, B]));
    assert_eq!(name.answered(at(180), good(&[B], 100), &settings()), Some(NameState::Fresh { addresses: list(&[B]) }));
    assert_eq!(name.addresses(), list(&[B]));
}

#[test]
fn the_last_good_answer_is_kept_for_the_grace_and_then_gone() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), failed(), &settings()), Some(NameState::Kept { error: LocateError::Failed, grace: Duration::from_secs(100) }));
    assert_eq!(name.addresses(), list(&[A]));
    assert_eq!(name.answered(at(100), failed(), &settings()), None, "told once");
    assert_eq!(name.expire(at(189)), None);
    assert_eq!(name.expire(at(190)), Some(NameState::Gone { error: LocateError::Failed }));
    assert!(name.addresses().is_empty());
    assert_eq!(name.expire(at(999)), None);
    assert_eq!(name.answered(at(1000), good(&[A], 100), &settings()), Some(NameState::Fresh { addresses: list(&[A]) }), "and it comes back");
}

#[test]
fn the_grace_ends_even_while_a_question_is_under_way() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), failed(), &settings());
    assert!(name.take_due(at(100)));
    assert_eq!(name.deadline(), Some(at(190)));
}

#[test]
fn an_answer_within_the_grace_ends_it() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), failed(), &settings());
    assert_eq!(name.answered(at(100), good(&[A], 100), &settings()), Some(NameState::Fresh { addresses: list(&[A]) }));
    assert_eq!(name.expire(at(9999)), None);
    assert_eq!(name.deadline(), Some(at(190)));
}

#[test]
fn a_name_that_ceased_to_exist_goes_at_the_second_word() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), not_found(), &settings()), Some(NameState::Kept { error: LocateError::NotFound, grace: Duration::from_secs(100) }));
    assert_eq!(name.deadline(), Some(at(100)), "asked again a floor later");
    assert_eq!(name.answered(at(100), not_found(), &settings()), Some(NameState::Gone { error: LocateError::NotFound }));
    assert!(name.addresses().is_empty());
}

#[test]
fn a_failure_between_two_not_founds_confirms_nothing() {
    let mut name = fresh(0, &[A], 100);
    name.answered(at(90), not_found(), &settings());
    assert_eq!(name.answered(at(100), failed(), &settings()), None);
    assert_eq!(name.answered(at(120), not_found(), &settings()), None);
    assert_eq!(name.addresses(), list(&[A]));
    assert!(matches!(name.answered(at(160), not_found(), &settings()), Some(NameState::Gone { .. })));
}

#[test]
fn a_name_never_answered_is_gone_at_once_and_asked_ever_more_rarely() {
    let mut name = Freshness::new(at(0));
    assert_eq!(name.answered(at(0), failed(), &settings()), Some(NameState::Gone { error: LocateError::Failed }));
    assert!(name.is_settled());
    let waits: Vec<u64> = (0..5)
        .map(|_| {
            let wait = name.deadline().unwrap().as_millis() / 1000;
            name.answered(at(0), failed(), &settings());
            wait
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 60, 60]);
}

#[test]
fn half_an_answer_takes_nothing_away_before_the_grace_is_over() {
    let half = |all: &[&str]| Answered { complete: false, ..good(all, 100) };
    let mut name = fresh(0, &["2001:db8::1", A], 100);
    assert!(matches!(name.answered(at(90), half(&[B]), &settings()), Some(NameState::Kept { error: LocateError::Failed, .. })));
    assert_eq!(name.addresses(), list(&["2001:db8::1", A, B]));
    assert_eq!(name.answered(at(100), half(&[A, B]), &settings()), None);
    assert_eq!(name.expire(at(190)), Some(NameState::Fresh { addresses: list(&[A, B]) }));
}

#[test]
fn half_an_answer_that_lacks_nothing_is_taken() {
    let mut name = fresh(0, &[A], 100);
    assert_eq!(name.answered(at(90), Answered { complete: false, ..good(&[A], 100) }, &settings()), None);
    assert_eq!(name.deadline(), Some(at(100)), "but asked again soon");
}
