//! The table as it is loaded, line by line. `BLESS=1` writes the expected text anew.

use super::*;
use crate::adapters::nft::contents::Kind;

fn layout(notrack: bool, shut_media: bool) -> Layout {
    let listener = |transport: Transport, address: &str| (transport, address.parse().unwrap());
    Layout {
        table: "portcullis".into(),
        listeners: vec![
            listener(Transport::Udp, "192.0.2.1:5060"),
            listener(Transport::Tls, "[2001:db8::1]:5061"),
            listener(Transport::Tcp, "0.0.0.0:5060"),
            listener(Transport::Tcp, "[::]:5060"),
        ],
        media: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ports: (20_000, 29_999),
        name_servers: [53].into(),
        shut_media,
        notrack,
        rules: Rules::default(),
    }
}

fn contents() -> Contents {
    let mut contents = Contents::default();
    let set = |kind: Kind, family: Family| Set { kind, family };
    contents.insert(set(Kind::Peers(Transport::Udp), Family::V4), Element::Address("198.51.100.1".parse().unwrap()));
    contents.insert(set(Kind::PeerNets(Transport::Tls), Family::V6), Element::Range("2001:db8:7::/48".parse::<ipnet::IpNet>().unwrap().into()));
    contents.open("192.0.2.1:20000".parse().unwrap());
    contents
}

/// Objects one to a line.
fn lines(value: &Value) -> String {
    value["nftables"].as_array().unwrap().iter().map(|object| format!("{object}\n")).collect()
}

#[test]
fn the_table_is_as_expected() {
    let ban = Timed { set: Set { kind: Kind::Scans, family: Family::V4 }, source: "203.0.113.9".parse().unwrap(), left: Duration::from_millis(77_900) };
    let text = lines(&render(&layout(true, true), &contents(), &[ban]));
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ruleset.jsonl");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&golden).unwrap(), "BLESS=1 writes it anew: read what changed");
}

/// Calls still go over what was there, when a reload has put TLS in the place of TCP: the first chain would drop their packets.
#[test]
fn peers_of_two_transports_at_one_place_are_all_let_in_before_strangers_are_dropped() {
    let place = "192.0.2.1:5061".parse().unwrap();
    let both = Layout { listeners: vec![(Transport::Tls, place), (Transport::Tcp, place)], ..layout(false, true) };
    let text = lines(&render(&both, &contents(), &[]));
    let at = |found: &dyn Fn(&str) -> bool| text.lines().position(|line| line.contains("\"dport\"") && line.contains("5061") && found(line)).unwrap();
    let first_jump = at(&|line| line.contains("jump"));
    for set in ["\"@tls4\"", "\"@tcp4\"", "\"@tls4_nets\"", "\"@tcp4_nets\""] {
        assert!(at(&|line| line.contains(set) && line.contains("accept")) < first_jump, "{set} in\n{text}");
    }
    let apart = lines(&render(&layout(false, true), &contents(), &[]));
    assert!(!apart.lines().any(|line| line.contains("\"chain\":\"input\"") && line.contains('@')), "{apart}");
}

/// A flush, or a name of another table, would reach beyond our own.
#[test]
fn no_table_but_ours_is_ever_named() {
    let text = lines(&render(&layout(true, true), &contents(), &[]));
    assert!(!text.contains("flush"), "{text}");
    for line in text.lines() {
        assert!(line.contains("\"table\":\"portcullis\"") || line.contains("{\"table\":{\"family\":\"inet\",\"name\":\"portcullis\"}}"), "{line}");
    }
}

#[test]
fn options_leave_out_what_they_are_for() {
    let all = lines(&render(&layout(true, true), &contents(), &[]));
    assert!(all.contains("notrack") && all.contains("\"counter\":\"media_closed\""));
    let open = lines(&render(&layout(false, false), &contents(), &[]));
    assert!(!open.contains("notrack") && !open.contains("\"counter\":\"media_closed\""), "{open}");
    let calm = Layout { rules: Rules { scan: None, flood: None, ..Rules::default() }, ..layout(false, true) };
    let calm = lines(&render(&calm, &contents(), &[]));
    assert!(!calm.contains("knocks4") && !calm.contains("connections6") && !calm.contains("limit"), "{calm}");
}
