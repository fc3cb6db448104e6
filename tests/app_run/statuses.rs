//! What commands end with: every status that their help and manual pages tell is one they give.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis::app::exit_status;

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

/// Given where they are tried at length: by the tests of these commands, and of `certs`, which has statuses of its own.
const ELSEWHERE: &[(&str, u8)] =
    &[("run", 0), ("import", 0), ("import", 1), ("replay", 0), ("replay", 1), ("quickstart", 0), ("simulate", 0), ("simulate", 1), ("retry-missed-calls", 0)];

/// Only a machine on which its ports are taken shows it.
const UNTRIED: &[(&str, u8)] = &[("quickstart", 1)];

struct Lab {
    border: Border,
    /// What was given: command and status.
    given: BTreeSet<(String, u8)>,
}

impl Lab {
    /// `line`: words of the command, with `SOCKET` for where the border is asked and `NOWHERE` for where nobody answers.
    fn gives(&mut self, status: u8, line: &str) {
        let folder = self.border.set.path();
        let place = |word: &str| match word {
            "SOCKET" => format!("--socket={}", folder.join("control.sock").display()),
            "NOWHERE" => format!("--socket={}", folder.join("nobody.sock").display()),
            "SET" => folder.display().to_string(),
            "BROKEN" => folder.join("broken").display().to_string(),
            "OTHER" => folder.join("other").display().to_string(),
            "MAN" => folder.join("man").display().to_string(),
            other => other.to_owned(),
        };
        let words: Vec<String> = line.split(' ').map(place).collect();
        let output = portcullis().args(&words).stdin(std::process::Stdio::null()).output().expect("portcullis");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(status)), "{line}: {said}");
        self.given.insert((words[0].clone(), status));
    }
}

fn copied(from: &Path, to: &Path, change: impl Fn(&str, String) -> String) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a set").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if name.ends_with(".toml") {
            std::fs::write(to.join(&name), change(&name, std::fs::read_to_string(entry.path()).expect("a text"))).expect("a file");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_status_a_command_documents_is_one_it_gives() {
    let um = um().await;
    let mut border = Set::new(&um, "", "store = \"records.sqlite\"\n[control]\nsocket = \"control.sock\"").run();
    border.until("to be asked", |border| border.set.path().join("control.sock").exists());
    let folder: PathBuf = border.set.path().to_owned();
    copied(&folder, &folder.join("broken"), |file, text| if file == "dial_plans.toml" { text.replace("\"um\"", "\"nowhere\"") } else { text });
    copied(&folder, &folder.join("other"), |file, text| if file == "hunt_groups.toml" { text.replace("5000", "5001") } else { text });
    let call = border.call("5000").await.expect("a call");
    let mut lab = Lab { border, given: BTreeSet::new() };
    let health = [format!("health --url http://127.0.0.1:{}/healthz", lab.border.set.admin), format!("health --url http://127.0.0.1:{}/healthz", free_port())];
    for (status, line) in [
        (1, "run BROKEN"),
        (2, "run"),
        (0, "check --offline SET"),
        (1, "check --offline BROKEN"),
        (2, "check --offline /nowhere"),
        (0, "diff SET SET"),
        (1, "diff SET OTHER"),
        (2, "diff SET BROKEN"),
        (2, "import exchange /nowhere --to /nowhere"),
        (0, "explain call.normal"),
        (1, "explain call.norma"),
        (1, "explain SET --from 192.0.2.7"),
        (2, "explain"),
        (2, "replay SET --from /nowhere"),
        (2, "quickstart --nonsense"),
        (2, "simulate"),
        (0, health[0].as_str()),
        (1, health[1].as_str()),
        (0, "health SOCKET --json"),
        (1, "health NOWHERE"),
        (2, "health --nonsense"),
        (0, "firewall --offline SET"),
        (1, "firewall /nowhere"),
        (2, "firewall"),
        (0, "show limits SOCKET"),
        (0, "show reasons media SOCKET"),
        (1, "show limits NOWHERE"),
        (2, "show nothing"),
        (2, "show records --from yesterday SOCKET"),
        (0, "show records --from 12h SOCKET"),
        (0, "show calls 1 SOCKET"),
        (1, "show calls 4711 SOCKET"),
        (0, "show store SOCKET"),
        (1, "show events NOWHERE"),
        (0, "request explain --peer trunk --caller 2001 --called 5000 SOCKET"),
        (1, "request explain --from 192.0.2.7 --caller 2001 --called 5000 SOCKET"),
        (2, "request explain /nowhere --peer trunk SOCKET"),
        (0, "ladder 1 SOCKET"),
        (1, "ladder 4711 SOCKET"),
        (2, "ladder abc SOCKET"),
        (1, "end 4711 SOCKET"),
        (2, "end abc SOCKET"),
        (0, "end 1 SOCKET"),
        (0, "trace status SOCKET"),
        (1, "trace start SOCKET"),
        (2, "trace start --for x SOCKET"),
        (0, "ban 203.0.113.9 SOCKET"),
        (1, "ban 127.0.0.1 SOCKET"),
        (2, "ban nonsense SOCKET"),
        (0, "unban 203.0.113.9 SOCKET"),
        (1, "unban 203.0.113.9 SOCKET"),
        (2, "unban nonsense SOCKET"),
        (0, "drain SOCKET"),
        (1, "drain NOWHERE"),
        (2, "drain --release-after soon SOCKET"),
        (0, "resume SOCKET"),
        (1, "resume NOWHERE"),
        (2, "resume --nonsense"),
        (0, "reload SOCKET"),
        (1, "reload NOWHERE"),
        (2, "reload --nonsense"),
        (0, "rotate SOCKET"),
        (1, "rotate NOWHERE"),
        (2, "rotate --nonsense"),
        (1, "retry-missed-calls SOCKET"),
        (2, "retry-missed-calls --nonsense"),
        (0, "request reload SOCKET"),
        (1, "request reload NOWHERE"),
        (2, "request"),
        (1, "set policy OTHER SOCKET"),
        (2, "set policy /nowhere SOCKET"),
        (0, "set policy OTHER --until-restart --yes SOCKET"),
        (0, "token somebody"),
        (2, "token"),
        (0, "completions bash"),
        (2, "completions tcsh"),
        (0, "man MAN"),
        (2, "man /proc/nowhere"),
    ] {
        lab.gives(status, line);
    }
    drop(call);
    let mut names: Vec<&str> = lab.given.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    for name in names {
        for (status, means) in exit_status::of(&[name]) {
            let is_given = lab.given.contains(&(name.to_owned(), *status)) || [ELSEWHERE, UNTRIED].concat().contains(&(name, *status));
            assert!(is_given, "{name} is never seen to end with {status}: {means}");
        }
        let undocumented: Vec<_> =
            lab.given.iter().filter(|(of, status)| of == name && !exit_status::of(&[name]).iter().any(|(known, _)| known == status)).collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
    }
    let pages = std::fs::read_to_string(folder.join("man").join("portcullis-diff.1")).expect("a page");
    assert!(pages.contains("EXIT STATUS") && pages.contains("they differ"), "{pages}");
}

/// Nobody reads on after `| head`: no noise, and no failure.
#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    use std::io::Read;
    let mut child =
        portcullis().args(["completions", "bash"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("portcullis");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("an end");
    assert!(status.code() == Some(0) && said.is_empty(), "{status}: {said}");
}
