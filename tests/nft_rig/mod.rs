//! A network namespace of a test's own: the test runs itself again inside one, made by `unshare`. Needs root, `unshare` (util-linux) and `nft`.

use std::process::Command;

const INSIDE: &str = "PORTCULLIS_TEST_NAMESPACE";

/// True inside a namespace. Outside, runs the test of this name there, fails as it does, and gives false. Where no namespace can be had, says so
/// and gives false: that proves nothing.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = Command::new("unshare").args(["--net", "nft", "list", "tables"]).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {test}: no network namespace with nftables here (needs root, unshare and nft): {possible:?}");
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new("unshare")
        .args(["--net", "timeout", "60"])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare was there a moment ago");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

pub fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().expect("nft runs");
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether an element, as nft writes it, is in a set of our table.
pub fn holds(set: &str, element: &str) -> bool {
    let output = Command::new("nft").arg(format!("get element inet portcullis {set} {{ {element} }}")).output().expect("nft runs");
    output.status.success()
}
