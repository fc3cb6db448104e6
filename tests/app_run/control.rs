//! What an operator asks of a running border over its control socket.

use std::path::PathBuf;

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"";

/// Exit status and standard output of a command that is told where the socket is.
fn ask(border: &Border, arguments: &[&str]) -> (Option<i32>, String) {
    let socket: PathBuf = border.set.path().join("control.sock");
    let output = portcullis().args(arguments).arg("--socket").arg(socket).output().expect("portcullis");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_shown_and_a_reload_says_what_came_of_it() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let (status, shown) = ask(&border, &["show", "peers"]);
    assert!(status == Some(0) && shown.contains("router") && shown.contains("127.0.0.3"), "{shown}");
    let (status, shown) = ask(&border, &["show", "peers", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, shown["peers"].as_array().map(Vec::len)), (Some(0), Some(4)));

    border.set.pilot("5111");
    let (status, told) = ask(&border, &["reload"]);
    assert!(status == Some(0) && told.contains("in force"), "{told}");
    border.call("5111").await.unwrap().hang_up().await.unwrap();
    border.set.write("peers.toml", "version = 1\n[[peer]]\nnmae = \"trunk\"\n");
    let (status, told) = ask(&border, &["reload"]);
    assert!(status == Some(1) && told.contains("peers.toml:3"), "{told}");
    border.call("5111").await.unwrap().hang_up().await.unwrap();

    border.signal("TERM");
    assert!(border.ended().success());
    let (status, told) = ask(&border, &["show", "peers"]);
    assert!(status == Some(1) && told.contains("no such socket"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_loaded_anew_or_refused() {
    let um = um().await;
    let port = free_port();
    let tables = format!(
        "{CONTROL}\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{port}\"\nadvertised = \"sbc.example.test\"\n\
         certificate = \"certs/sbc.example.test.pem\"\nkey = \"certs/sbc.example.test.key\"\n"
    );
    let set = Set::new(&um, "", &tables);
    let certs = set.path().join("certs");
    let init = |more: &[&str]| portcullis().args(["certs", "init"]).arg(&certs).args(more).output().expect("portcullis").status.success();
    assert!(init(&[]));
    let border = set.run();
    let (status, shown) = ask(&border, &["show", "certs"]);
    assert!(status == Some(0) && shown.contains("sbc.example.test.pem") && shown.starts_with("load 1 of "), "{shown}");
    assert!(init(&["--overwrite", "--days", "90"]));
    let (status, told) = ask(&border, &["rotate"]);
    assert!(status == Some(0) && told.contains("in force"), "{told}");
    let (_, shown) = ask(&border, &["show", "certs"]);
    assert!(shown.starts_with("load 2 of "), "{shown}");
    std::fs::write(certs.join("sbc.example.test.pem"), "half a certif").unwrap();
    let (status, told) = ask(&border, &["rotate"]);
    assert!(status == Some(1) && told.contains("sbc.example.test.pem"), "{told}");
    let (_, shown) = ask(&border, &["show", "certs"]);
    assert!(shown.starts_with("load 2 of "), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_banned_and_let_be_again_but_never_peers() {
    let um = um().await;
    let border = Set::new(&um, "", CONTROL).run();
    let (status, said) = ask(&border, &["ban", "203.0.113.0/24", "--for", "7d", "--reason", "scans"]);
    assert!(status == Some(0) && said.contains("203.0.113.0/24"), "{said}");
    let (status, shown) = ask(&border, &["show", "bans"]);
    assert!(
        status == Some(0) && shown.contains("203.0.113.0/24") && shown.contains("scans") && shown.contains("operator") && shown.contains(" 7d "),
        "{shown}"
    );
    for trusted in ["127.0.0.1", "127.0.0.0/8"] {
        let (status, said) = ask(&border, &["ban", trusted]);
        assert!(status == Some(1) && said.contains("peer \"trunk\""), "{said}");
    }
    assert_eq!(ask(&border, &["ban", "nonsense"]).0, Some(2));
    let (status, said) = ask(&border, &["unban", "203.0.113.9"]);
    assert!(status == Some(1) && said.contains("part of 203.0.113.0/24"), "{said}");
    assert_eq!(ask(&border, &["unban", "203.0.113.0/24"]).0, Some(0));
    assert!(ask(&border, &["show", "bans"]).1.contains("nobody is banned"));
    let (status, shown) = ask(&border, &["show", "firewall"]);
    assert!(status == Some(0) && shown.contains("mode             off"), "{shown}");
    let (_, shown) = ask(&border, &["show", "firewall", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["kernel"]["in_force"], false);
}
