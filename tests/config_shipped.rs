//! Every shipped policy set loads clean, is checked, and is explained, each by the messages it is made for.

use std::path::{Path, PathBuf};

use portcullis::app::check::{Check, check};
use portcullis::app::explain::{Explain, explain};
use portcullis::policy::settings::{Fax, PeerKind, RTCP_KEEPALIVE};
use serde_json::Value;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sets() -> Vec<PathBuf> {
    let mut sets: Vec<PathBuf> = std::fs::read_dir(at("policies")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    sets.sort();
    sets
}

#[test]
fn every_shipped_set_loads_clean() {
    let sets = sets();
    assert!(sets.len() >= 3, "{sets:?}");
    for set in sets {
        match portcullis::config::load(&set) {
            Ok((_, warnings)) => assert!(warnings.is_empty(), "{}: {}", set.display(), warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            Err(problems) => panic!("{}:\n{problems}", set.display()),
        }
    }
}

#[test]
fn what_the_guide_of_the_first_call_adds_to_a_shipped_set_loads_clean() {
    let guide = std::fs::read_to_string(at("docs/first-call.md")).unwrap();
    let (_, added) = guide.split_once("$ cp -r policies/unsecured-lab first\n$ cat >> first/border.toml <<'END'\n").expect("the guide begins so");
    let (added, _) = added.split_once("\nEND\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(at("policies/unsecured-lab")).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let border = folder.path().join("border.toml");
    std::fs::write(&border, std::fs::read_to_string(&border).unwrap() + added).unwrap();
    let (status, said) = checked(folder.path(), false);
    assert!(status == 0 && said.contains("clean (2 listeners, 3 peers"), "{said}");
}

fn checked(folder: &Path, json: bool) -> (u8, String) {
    let mut out = Vec::new();
    let status = check(&Check { policy_set: folder.into(), json, offline: true }, &mut out).unwrap();
    (status, String::from_utf8(out).unwrap())
}

#[test]
fn check_says_clean_problems_or_unreadable() {
    for set in sets() {
        let (status, text) = checked(&set, false);
        assert_eq!(status, 0, "{text}");
        assert!(text.contains(": clean ("), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("peers.toml"), "version = 1\ncolour = 1\n").unwrap();
    let (status, text) = checked(folder.path(), false);
    assert_eq!(status, 1);
    assert!(text.contains("peers.toml:2:1: unknown key colour in peers.toml; "), "{text}");
    let (status, text) = checked(folder.path(), true);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, object["problems"][2]["line"].as_u64()), (1, Some(2)), "{text}");
    assert_eq!(checked(&folder.path().join("nothing"), false).0, 2);
}

#[test]
fn check_reads_the_certificates_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(at("policies/quickstart")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    std::fs::write(folder.path().join("certs/ca.pem"), "no certificate").unwrap();
    let (status, text) = checked(folder.path(), false);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("ca.pem"), "{text}");
    assert!(text.contains("sbc.key: not there"), "{text}");
}

struct Told {
    status: u8,
    text: String,
    json: Value,
}

fn explained(set: &str, message: &str, from: &str, change: impl Fn(&mut Explain)) -> Told {
    let mut arguments = Explain {
        policy_set: at("policies").join(set).display().to_string(),
        message: Some(at("tests/explain").join(message).display().to_string()),
        from: Some(from.into()),
        tls_name: Vec::new(),
        transport: None,
        resolve: Vec::new(),
        down: Vec::new(),
        json: false,
    };
    change(&mut arguments);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    let status = explain(&arguments, &mut text).unwrap();
    arguments.json = true;
    assert_eq!(explain(&arguments, &mut json).unwrap(), status);
    Told { status, text: String::from_utf8(text).unwrap(), json: serde_json::from_slice(&json).unwrap_or(Value::Null) }
}

fn trunk(arguments: &mut Explain) {
    arguments.tls_name = vec!["trunk.quickstart.test".into()];
}

/// What the border refuses before it asks any policy, explain refuses by the same functions.
#[test]
fn what_no_call_can_be_made_of_is_explained_as_refused() {
    let whole = std::fs::read_to_string(at("tests/explain/secured.sip")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let change = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        let file = folder.path().join("changed.sip");
        std::fs::write(&file, whole.replacen(from, to, 1)).unwrap();
        explained("quickstart", file.to_str().unwrap(), "127.0.0.1", trunk)
    };
    for (from, to, reason, found) in [
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "message.malformed", "the CSeq method is not the request's"),
        (";tag=e", ";x=e", "message.malformed", "From has no tag"),
        ("Contact:", "X-Contact:", "message.malformed", "an INVITE needs a Contact"),
        ("Max-Forwards: 70", "Max-Forwards: 0", "message.max_forwards", "Max-Forwards is 0"),
        ("Max-Forwards: 70", "Max-Forwards: 70\nRequire: foo", "access.extension", "foo"),
        ("Max-Forwards: 70", "Max-Forwards: 70\nSupported: timer\nSession-Expires: 10", "call.interval_too_small", "10"),
        ("application/sdp", "text/plain", "media.type", "a body must be a session description"),
    ] {
        let told = change(from, to);
        assert!(told.status != 0 && told.text.contains(reason) && told.text.contains(found), "{to}: {}", told.text);
    }
}

#[test]
fn quickstart_is_explained() {
    let told = explained("quickstart", "secured.sip", "127.0.0.1", trunk);
    assert_eq!(told.status, 0, "{}", told.text);
    let outcome = &told.json["outcome"];
    assert_eq!(outcome["verdict"], "admitted");
    assert_eq!(outcome["targets"], serde_json::json!(["call-router"]));
    assert_eq!((outcome["a_leg"]["mode"].as_str(), outcome["b_leg"]["mode"].as_str()), (Some("secured"), Some("secured")));
    assert_eq!(outcome["carried"][0]["value"], "<sip:6001@127.0.0.1>;reason=no-answer");
    assert!(told.text.contains("hunt group \"voicemail\""), "{}", told.text);
    assert!(!told.text.contains("inline:") && !told.json.to_string().contains("inline:"), "no keys in what an operator may paste");
    let stages: Vec<&str> = told.json["decisions"].as_array().unwrap().iter().filter_map(|decision| decision["stage"].as_str()).collect();
    let wanted =
        ["peer", "access_control", "admission", "hunt_group", "security_mode", "security_mode", "dial_plan", "caller", "routing", "security_mode", "diversion"];
    assert_eq!(stages, wanted);

    assert_eq!(explained("quickstart", "no_offer.sip", "127.0.0.1:15081", trunk).status, 0);
    let told = explained("quickstart", "plain.sip", "127.0.0.1", trunk);
    assert_eq!((told.status, told.json["outcome"]["status"].as_u64(), told.json["outcome"]["reason"].as_str()), (1, Some(488), Some("security_mode.media")));
    let told = explained("quickstart", "secured.sip", "127.0.0.1", |arguments| arguments.transport = Some("tcp".into()));
    assert_eq!((told.json["outcome"]["status"].as_u64(), told.json["outcome"]["reason"].as_str()), (None, Some("security_mode.transport")));
    assert!(told.text.contains("no answer, nothing is parsed"), "{}", told.text);
    let told = explained("quickstart", "secured.sip", "127.0.0.1", |arguments| arguments.tls_name = vec!["evil.example".into()]);
    assert_eq!(told.json["outcome"]["reason"], "peer.stranger_certificate");
    let told = explained("quickstart", "secured.sip", "127.0.0.1", |arguments| arguments.tls_name = vec!["call-router.quickstart.test".into()]);
    assert_eq!(told.json["outcome"]["reason"], "access.refused");
    let told = explained("quickstart", "broken.sip", "127.0.0.1", trunk);
    assert_eq!((told.status, told.json["outcome"]["status"].as_u64()), (1, Some(400)));
}

#[test]
fn exchange_2016_is_explained_without_asking_dns() {
    let carrier = |arguments: &mut Explain| arguments.tls_name = vec!["sip1.carrier.example".into()];
    let told = explained("exchange-2016-secured", "e164.sip", "sip1.carrier.example", carrier);
    assert_eq!(told.status, 0, "{}", told.text);
    assert!(told.text.contains("sip1.carrier.example lives at 100::1, a stand-in"), "{}", told.text);
    assert_eq!(told.json["outcome"]["targets"], serde_json::json!(["mbx1", "mbx2"]));
    assert!(told.text.contains("sent on          Request-URI: sip:+14255550100@mbx1.corp.example.com:5061;transport=tls"), "{}", told.text);
    assert!(told.text.contains("<sip:+12065550199@sbc.corp.example.com;user=phone>"), "{}", told.text);

    let told = explained("exchange-2016-secured", "e164.sip", "198.51.100.7", |arguments| {
        carrier(arguments);
        arguments.resolve = vec!["sip1.carrier.example=198.51.100.7".into()];
    });
    assert_eq!(told.status, 0, "{}", told.text);
    let told = explained("exchange-2016-secured", "e164.sip", "sip1.carrier.example", |arguments| {
        carrier(arguments);
        arguments.down = vec!["mbx1".into()];
    });
    assert_eq!(told.json["outcome"]["targets"], serde_json::json!(["mbx2", "mbx1"]));
    assert!(told.text.contains("liveness: mbx1 down (liveness.timeout)"), "{}", told.text);
    let told = explained("exchange-2016-secured", "e164.sip", "198.51.100.7", |arguments| arguments.down = vec!["mbx9".into()]);
    assert_eq!((told.status, told.text.trim()), (2, "--down mbx9: the set has no such peer"));
    let told = explained("exchange-2016-secured", "e164.sip", "198.51.100.7", carrier);
    assert_eq!((told.status, told.json["outcome"]["reason"].as_str()), (1, Some("peer.stranger_address")));
}

#[test]
fn unsecured_lab_is_explained() {
    let told = explained("unsecured-lab", "plain.sip", "127.0.0.2", |arguments| arguments.transport = Some("udp".into()));
    assert_eq!(told.status, 0, "{}", told.text);
    assert_eq!(told.json["outcome"]["targets"], serde_json::json!(["um"]));
    let told = explained("unsecured-lab", "secured.sip", "127.0.0.2", |arguments| arguments.transport = Some("tcp".into()));
    assert_eq!(told.json["outcome"]["reason"], "security_mode.keys_in_clear");
    let told = explained("unsecured-lab", "bye.sip", "127.0.0.2", |_| {});
    assert_eq!((told.status, told.json["outcome"]["verdict"].as_str(), told.json["transport"].as_str()), (0, Some("allowed"), Some("udp")));
    let told = explained("unsecured-lab", "register.sip", "127.0.0.2", |_| {});
    assert_eq!((told.status, told.json["outcome"]["status"].as_u64()), (1, Some(405)));
}

#[test]
fn explain_says_what_it_cannot_use() {
    for change in [
        &(|arguments: &mut Explain| arguments.from = Some("nobody.example".into())) as &dyn Fn(&mut Explain),
        &|arguments: &mut Explain| arguments.transport = Some("sctp".into()),
        &|arguments: &mut Explain| arguments.message = Some("no/such/file".into()),
        &|arguments: &mut Explain| arguments.policy_set = "no/such/set".into(),
        &|arguments: &mut Explain| arguments.resolve = vec!["x".into()],
    ] {
        let told = explained("quickstart", "secured.sip", "127.0.0.1", change);
        assert_eq!(told.status, 2, "{}", told.text);
        assert!(!told.text.is_empty());
    }
}

#[test]
fn explain_takes_what_was_printed_and_a_bare_source() {
    let set = || at("policies/quickstart").display().to_string();
    let ask = |policy_set: String, message: Option<&str>, from: Option<&str>| {
        let arguments = Explain {
            policy_set,
            message: message.map(String::from),
            from: from.map(String::from),
            tls_name: Vec::new(),
            transport: None,
            resolve: Vec::new(),
            down: Vec::new(),
            json: false,
        };
        let mut out = Vec::new();
        let status = portcullis::app::explain::explain(&arguments, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    };
    let (status, text) = ask("1175".into(), None, None);
    assert!(status == 0 && text.contains("peer.ambiguous") && text.contains("nothing tells them apart"), "{text}");
    let line = "INFO stranger from=203.0.113.9:5071 transport=UDP reason=\"peer.stranger_address\"";
    let (status, text) = ask(set(), Some(line), None);
    assert!(status == 1 && text.contains("203.0.113.9:5071") && text.contains("peer.stranger_address"), "{text}");
    let (status, text) = ask(set(), None, Some("203.0.113.9"));
    assert!(status == 1 && text.contains("no answer, nothing is parsed"), "{text}");
    let (status, text) = ask(set(), None, None);
    assert!(status == 2 && text.contains("--from"), "{text}");
}

/// Lync and what stands behind it hears RTCP and has its faxes as sound, written or not.
#[test]
fn peers_of_lync_hear_rtcp_whether_or_not_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(at("policies/lync-2013")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&file).unwrap().replace("rtcp_keepalive = \"25s\"\n", "").replace("fax = \"g711\"\n", "");
        std::fs::write(folder.path().join(file.file_name().unwrap()), text).unwrap();
    }
    let Ok((settings, _)) = portcullis::config::load(folder.path()) else { panic!("the set loads") };
    assert!(settings.policy.peers.iter().any(|peer| peer.kind == PeerKind::Mediation));
    for peer in &settings.policy.peers {
        assert_eq!(peer.rtcp_keepalive, RTCP_KEEPALIVE, "{}", peer.name);
        assert_eq!(peer.fax, if peer.kind == PeerKind::Mediation { Fax::G711 } else { Fax::T38 }, "{}", peer.name);
    }
    let (settings, _) = portcullis::config::load(&at("policies/exchange-2016-secured")).unwrap();
    assert!(settings.policy.peers.iter().all(|peer| peer.rtcp_keepalive.is_none()));
}
