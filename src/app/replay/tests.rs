//! INVITEs that came over TLS: what their certificate established then is held against the peers of another set, as it would be at the door.

use std::cell::RefCell;

use bytes::Bytes;

use super::heard::Place;
use super::report::Report;
use super::*;
use crate::adapters::telemetry::invites::Certified;
use crate::policy::settings::{PolicySet, SecurityMode};
use crate::sip::Transport;

struct Heards(Vec<Heard>, RefCell<u32>);

impl Recording for Heards {
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String> {
        for heard in &self.0 {
            *self.1.borrow_mut() += 1;
            if !with(heard.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

fn quickstart() -> Settings {
    config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/quickstart")).unwrap().0
}

/// The trunk of the set, otherwise.
fn with_trunk(change: impl Fn(&mut crate::policy::settings::Peer)) -> Settings {
    let mut settings = quickstart();
    let mut set = PolicySet::clone(&settings.policy);
    for peer in set.peers.iter_mut().filter(|peer| &*peer.name == "trunk") {
        change(std::sync::Arc::make_mut(peer));
    }
    settings.policy = std::sync::Arc::new(set);
    settings
}

/// `tls`: what the certificate said and whom it chained to.
fn heard(tls: Option<(&str, &str)>) -> Heard {
    let message = include_str!("../../../tests/explain/secured.sip");
    let message = if message.contains("\r\n") { message.to_owned() } else { message.replace('\n', "\r\n") };
    Heard {
        place: Place::Record { number: 1, call: 1 },
        at: Some(0),
        caller: "+4930123".into(),
        called: "5000".into(),
        transport: Transport::Tls,
        source: "127.0.0.1:40000".parse().unwrap(),
        local: "127.0.0.1:15061".parse().unwrap(),
        tls: tls.map(|(name, peer)| Certified { names: vec![name.into()], trusted_for: if peer.is_empty() { Vec::new() } else { vec![peer.into()] } }),
        message: Bytes::from(message),
        before: Before::Unknown,
    }
}

fn tried(heard: Heard, candidate: &Settings) -> Report {
    let recording = Heards(vec![heard], RefCell::new(0));
    let old = quickstart();
    DryRun { recording: &recording, candidate, old: Some(&old), against: None, limit: 10 }.run(Names::default()).unwrap()
}

const TRUNK: Option<(&str, &str)> = Some(("trunk.quickstart.test", "trunk"));

#[test]
fn a_caller_with_its_certificate_is_let_in_by_the_set_it_came_under() {
    let report = tried(heard(TRUNK), &quickstart());
    assert_eq!((report.compared, report.changing), (1, 0), "{report:?}");
    let judged = {
        let settings = quickstart();
        let (table, _) = Names::default().table(&settings.policy);
        judge(&Ground { settings: &settings, table: &table, liveness: &Board::default() }, &heard(TRUNK))
    };
    let Outcome::Admitted(course) = judged.outcome else { panic!("{judged:?}") };
    assert_eq!((course.a_mode, course.b_mode), (SecurityMode::Secured, SecurityMode::Secured));
}

#[test]
fn another_name_in_the_set_shuts_out_who_showed_the_old_one() {
    let renamed = with_trunk(|trunk| trunk.tls_names = vec!["sbc.carrier.example".into()]);
    let report = tried(heard(TRUNK), &renamed);
    assert_eq!(report.changing, 1, "{report:?}");
    let mut told = Vec::new();
    report.print(&mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("peer.stranger_certificate"), "{told}");
}

#[test]
fn who_showed_no_trusted_certificate_stays_a_stranger_under_any_set() {
    for tls in [Some(("trunk.quickstart.test", "")), Some(("somebody.else.test", "trunk"))] {
        let report = tried(heard(tls), &with_trunk(|trunk| trunk.diversion_trusted = false));
        assert_eq!((report.compared, report.changing), (1, 0), "{tls:?}: {report:?}");
    }
}

#[test]
fn a_set_that_wants_less_of_the_leg_is_told_of_by_its_mode() {
    let report = tried(heard(TRUNK), &with_trunk(|trunk| trunk.mode = SecurityMode::SipSecured));
    assert_eq!(report.changing, 1, "SRTP is offered where RTP is wanted, or the plan is stronger: {report:?}");
}
