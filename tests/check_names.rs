//! `portcullis check` asks DNS: what does not resolve, what is refused and what would be shared is a warning, told within seconds.

mod name_server;

use std::path::Path;
use std::time::{Duration, Instant};

use name_server::script::{self, Script, name, records};
use name_server::{NameServer, a};
use portcullis::app::check::{Check, check};

const PEERS: &str = r#"version = 1
[[peer]]
name = "carrier"
kind = "trunk"
hosts = ["good.example.test", "nobody.example.test"]
transport = "udp"
port = 5060
mode = "unsecured"
[[peer]]
name = "rebound"
kind = "trunk"
hosts = "rebound.example.test"
transport = "udp"
port = 5060
mode = "unsecured"
[[peer]]
name = "twin"
kind = "trunk"
hosts = "twin.example.test"
transport = "udp"
port = 5060
mode = "unsecured"
"#;

fn write_set(folder: &Path, dns: &str, peers: &str) {
    let border = format!(
        "version = 1\n[[listener]]\nname = \"udp\"\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n[dns]\nhosts_file = false\n{dns}\n"
    );
    std::fs::write(folder.join("border.toml"), border).unwrap();
    std::fs::write(folder.join("peers.toml"), peers).unwrap();
}

/// What it prints, and how long it takes. It has a runtime of its own, so it runs on a thread of its own.
async fn checked(folder: &Path, offline: bool, json: bool) -> (u8, String, Duration) {
    let arguments = Check { policy_set: folder.to_owned(), json, offline };
    tokio::task::spawn_blocking(move || {
        let (mut out, began) = (Vec::new(), Instant::now());
        let status = check(&arguments, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap(), began.elapsed())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn check_warns_of_names_that_do_not_resolve_are_refused_or_meet() {
    let server = Script::start(|query, _| {
        let public = a("8.8.8.8");
        let all = match name(query).as_str() {
            "good.example.test" => vec![("good.example.test.", 60, public)],
            "twin.example.test" => vec![("twin.example.test.", 60, public)],
            "rebound.example.test" => vec![("rebound.example.test.", 60, a("127.0.0.1"))],
            _ => Vec::new(),
        };
        script::bytes(&records(query, &all, 60))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &format!("servers = [\"{}\"]", server.address), PEERS);
    let (status, text, _) = checked(folder.path(), false, false).await;
    assert_eq!(status, 0, "warnings only: {text}");
    for line in [
        "warning: peers.toml: nobody.example.test of peer \"carrier\" does not resolve: absent: ",
        "warning: peers.toml: rebound.example.test of peer \"rebound\" does not resolve: out_of_scope: ",
        "warning: peers.toml: DNS gives rebound.example.test 127.0.0.1 (loopback), which addresses = \"public\" refuses",
        "warning: peers.toml: peers \"carrier\" and \"twin\" are all at 8.8.8.8/32 on UDP now: nothing tells them apart",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let count = text.lines().filter(|line| line.starts_with("warning: ")).count();
    assert!(text.contains(&format!("{count} warnings)")), "{text}");
    let (_, text, _) = checked(folder.path(), false, true).await;
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["names"].as_array().map(Vec::len), Some(4), "{text}");
    let asked = server.asked("");
    let (status, text, _) = checked(folder.path(), true, false).await;
    assert_eq!((status, server.asked("")), (0, asked), "nothing is asked offline");
    assert!(!text.contains("resolve"), "{text}");
}

#[tokio::test]
async fn check_ends_in_time_however_many_names_are_silent() {
    let server = NameServer::start().await;
    server.deafen(&["example.test"]);
    let folder = tempfile::tempdir().unwrap();
    let peer = |n: u32| format!("[[peer]]\nname = \"p{n}\"\nkind = \"trunk\"\nhosts = \"mute{n}.example.test\"\ntransport = \"udp\"\nmode = \"unsecured\"\n");
    let peers: String = (0..400).map(peer).collect();
    write_set(folder.path(), &format!("servers = [\"{}\"]\ntimeout = \"30s\"", server.address), &format!("version = 1\n{peers}"));
    let (status, text, took) = checked(folder.path(), false, false).await;
    assert_eq!(status, 0, "{text}");
    // Six, and what a busy machine adds.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(text.matches("does not resolve: timeout").count(), 400, "{text}");
}

#[tokio::test]
async fn check_finds_a_broken_trust_anchor_and_misses_an_absent_one() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), "dnssec = \"require\"\ntrust_anchor = \"anchor.key\"", "version = 1\n");
    let (status, text, _) = checked(folder.path(), true, false).await;
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("anchor.key: not there"), "{text}");
    std::fs::write(folder.path().join("anchor.key"), "rubbish").unwrap();
    let (status, text, _) = checked(folder.path(), true, false).await;
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("anchor.key") && text.contains("DNSKEY"), "{text}");
}
