//! Exit statuses of the commands that open no socket: 0 done as asked, 1 findings or a refusal, 2 cannot be used.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::process::{Set, portcullis, um};

fn shipped(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(set)
}

fn run<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = portcullis().args(arguments).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn check_tells_sound_broken_and_missing_apart() {
    for set in ["quickstart", "exchange-2016-secured", "unsecured-lab"] {
        let (status, text) = run(&["check".into(), "--offline".into(), shipped(set)]);
        assert_eq!(status, Some(0), "{set}: {text}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("border.toml"), "version = 1\nlistener = 3\ndrian = \"5s\"\n").unwrap();
    let (status, text) = run(&["check".into(), folder.path().to_owned()]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("border.toml:2:") && text.contains("border.toml:3:") && text.contains("drain"), "all problems at once, with their places: {text}");
    assert_eq!(run(&["check".into(), folder.path().join("nowhere")]).0, Some(2));
}

#[test]
fn firewall_prints_what_would_be_loaded_and_loads_nothing() {
    let (status, text) = run(&["firewall".into(), "--offline".into(), shipped("exchange-2016-secured")]);
    assert_eq!(status, Some(0), "{text}");
    let ruleset: serde_json::Value = serde_json::from_str(&text).unwrap();
    let objects = ruleset["nftables"].as_array().unwrap();
    assert!(objects.iter().any(|object| object["add"]["chain"]["hook"] == "input"), "{text}");
    assert_eq!(run(&["firewall".into(), PathBuf::from("/nowhere")]).0, Some(1));
}

#[test]
fn explain_tells_admitted_refused_and_unusable_apart() {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("invite.sip");
    let text = "INVITE sip:5000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:2001@127.0.0.2>;tag=1\r\n\
                To: <sip:5000@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:2001@127.0.0.2:5060>\r\nContent-Type: application/sdp\r\nContent-Length: 106\r\n\r\n\
                v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
    let body = text.split("\r\n\r\n").nth(1).unwrap().len();
    fs::write(&message, text.replace("Content-Length: 106", &format!("Content-Length: {body}"))).unwrap();
    let explain = |from: &str, message: &Path| run(&["explain", shipped("unsecured-lab").to_str().unwrap(), message.to_str().unwrap(), "--from", from]);
    let (status, told) = explain("127.0.0.2", &message);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("hunt_group"), "{told}");
    let (status, told) = explain("192.0.2.7", &message);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("peer.stranger_address"), "{told}");
    assert_eq!(explain("127.0.0.2", &folder.path().join("nothing")).0, Some(2));
    assert_eq!(run(&["explain"]).0, Some(2));
}

#[tokio::test]
async fn run_does_not_start_on_a_broken_set_or_a_taken_port() {
    let um = um().await;
    let set = Set::new(&um, "", "");
    let taken = TcpListener::bind(("127.0.0.1", set.sip)).unwrap();
    let (status, text) = run(&["run".into(), set.path().to_owned()]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&set.sip.to_string()), "the address is named: {text}");
    drop(taken);
    set.write("hunt_groups.toml", "version = 1\n[[hunt_group]]\nname = \"a\"\npeer = \"nobody\"\ndial_plan = \"nothing\"\n");
    let (status, text) = run(&["run".into(), set.path().to_owned()]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("nobody") && text.contains("nothing"), "all problems at once: {text}");
}

#[test]
fn certificates_are_made_once_and_their_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let init = ["certs", "init", folder.path().to_str().unwrap(), "--name", "um.example.test"];
    assert_eq!(run(&init).0, Some(0));
    let key = folder.path().join("um.example.test.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read(&key).unwrap();
    let (status, text) = run(&init);
    assert_eq!((status, fs::read(&key).unwrap() == first), (Some(0), true), "{text}");
}

#[test]
fn diff_tells_same_different_and_unusable_apart_and_what_needs_a_restart() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in fs::read_dir(shipped("exchange-2016-secured")).unwrap().flatten() {
        for folder in [&old, &new] {
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    let edit = |file: &str, from: &str, to: &str| {
        let path = new.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let diff = |more: &[&str]| {
        let mut arguments = vec!["diff", old.path().to_str().unwrap(), new.path().to_str().unwrap()];
        arguments.extend(more);
        run(&arguments)
    };
    // Written otherwise, in another folder, it means the same.
    edit("peers.toml", "[[peer]]", "# a remark\n\n[[peer]]");
    assert_eq!(diff(&[]), (Some(0), "both sets mean the same\n".to_owned()));

    let peers = fs::read_to_string(new.path().join("peers.toml")).unwrap();
    let name = peers.split("name = \"").nth(1).unwrap().split('"').next().unwrap();
    edit("peers.toml", "[[peer]]", "[[peer]]\nstatus = \"no-new-calls\"");
    let (status, text) = diff(&[]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&format!("~ peer \"{name}\": status: enabled -> no-new-calls\n")), "{text}");
    assert!(text.ends_with("changes: 1; a reload takes all of them\n"), "{text}");

    edit("border.toml", "[[listener]]", "[[listener]]\nname = \"another\"\ntransport = \"udp\"\naddress = \"127.0.0.1:5999\"\n\n[[listener]]");
    let (status, text) = diff(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(told["restart"], serde_json::json!([]), "{text}");
    let added = |change: &serde_json::Value| change["part"] == "listener" && change["name"] == "another" && change["change"] == "added";
    assert!(told["changes"].as_array().unwrap().iter().any(added), "{text}");

    // Each setting by its key, secrets without their values, and what waits for another process by name.
    edit("border.toml", "format = \"json\"", "format = \"human\"\nfilter = \"debug\"");
    edit("border.toml", "session_expires = 1800", "t1 = \"250ms\"");
    let more =
        "[hep]\nserver = \"192.0.2.9\"\ntransport = \"udp\"\npassword = \"s3cret\"\n[limits]\nconnections = 77\n[control]\nsocket = \"/run/other.sock\"\n";
    let border = fs::read_to_string(new.path().join("border.toml")).unwrap();
    fs::write(new.path().join("border.toml"), border.clone() + more).unwrap();
    let (status, text) = diff(&[]);
    assert_eq!(status, Some(1), "{text}");
    for line in [
        "~ [log]: format: json -> human\n",
        "~ [log]: filter: \"info\" -> \"debug\"\n",
        "+ [hep]\n",
        "~ [limits]: connections: 10000 -> 77\n",
        "~ [control]: socket: nothing -> \"/run/other.sock\"\n",
        "~ [timers]: t1: 500ms -> 250ms\n",
        "[limits] connections; [control] socket;",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    fs::write(old.path().join("border.toml"), border.clone() + more).unwrap();
    fs::write(new.path().join("border.toml"), border + &more.replace("s3cret", "other")).unwrap();
    let (_, text) = diff(&[]);
    assert!(text.contains("~ [hep]: password is another\n") && !text.contains("s3cret") && !text.contains("[log]"), "{text}");

    edit("hunt_groups.toml", "dial_plan = \"", "dial_plan = \"no-such-");
    let (status, text) = diff(&[]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("hunt_groups.toml:"), "the problem has its place: {text}");
}

/// Several hunt groups may have one name: they were taken for one another.
#[test]
fn no_shipped_set_differs_from_itself() {
    let sets = fs::read_dir(shipped("")).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.join("border.toml").exists());
    let sets: Vec<_> = sets.collect();
    assert!(sets.len() > 5);
    for set in sets {
        let set = set.to_str().unwrap();
        let (status, text) = run(&["diff", set, set]);
        assert!(status == Some(0) || text.contains("environment"), "{set}: {text}");
    }
}

#[test]
fn what_is_no_code_no_line_and_no_set_is_said_to_be_none() {
    let (status, text) = run(&["explain", "dial_plan.calle"]);
    assert!(status == Some(1) && text.contains("the nearest is dial_plan.call"), "{text}");
    let (status, text) = run(&["explain", "9999"]);
    assert!(status == Some(1) && text.contains("no event of Exchange"), "{text}");
    let (status, text) = run(&["explain", "no/such/set"]);
    assert_eq!(status, Some(2), "{text}");
}

#[test]
fn closed_words_are_not_taken_for_questions_without_an_answer() {
    for (arguments, told) in [
        (&["show", "records", "--fault", "x"][..], "possible values: none, peer, policy, resource, us"),
        (&["show", "records", "--reason", "media.silen"], "the nearest is media.silent"),
        (&["show", "calls", "--socket", "/tmp"], "this is no socket"),
    ] {
        let output = portcullis().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(told), "{arguments:?}: {said}");
    }
}

#[test]
fn a_capture_of_which_nothing_can_be_read_says_nothing_of_a_set() {
    let folder = tempfile::tempdir().unwrap();
    let set = shipped("quickstart");
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    let head = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 4, 0, 1, 0, 0, 0]].concat();
    let broken = file("broken.pcap", &[&head[..], &[0xff; 64]].concat());
    let text = file("text", b"no capture at all");
    for (from, told) in [(&broken, "nothing of this capture can be read"), (&text, "neither a store of call records")] {
        let (status, said) = run(&["replay", set.to_str().unwrap(), "--against", set.to_str().unwrap(), "--from", from.to_str().unwrap()]);
        assert!(status == Some(2) && said.contains(told), "{from:?}: {said}");
    }
    let empty = file("empty.pcap", &head);
    let (status, said) = run(&["replay", set.to_str().unwrap(), "--against", set.to_str().unwrap(), "--from", empty.to_str().unwrap()]);
    assert!(status == Some(0) && said.contains("nothing was compared"), "{said}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let (_, help) = run(&["help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(commands.contains(&"run") && commands.contains(&"diff"), "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, text) = run(&["completions", shell]);
        assert_eq!(status, Some(0), "{text}");
        let missing: Vec<&&str> = commands.iter().filter(|name| !text.contains(**name)).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    assert_eq!(run(&["completions", "tcsh"]).0, Some(2));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let (status, text) = run(&["man".into(), pages.clone()]);
    assert_eq!(status, Some(0), "{text}");
    let page = fs::read_to_string(pages.join("portcullis.1")).unwrap();
    for name in &commands {
        assert!(pages.join(format!("portcullis-{name}.1")).is_file(), "{name} has no page");
        assert!(page.contains(&name.replace('-', "\\-")), "{name} is not on the first page");
    }
    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(run(&["man".into(), folder.path().join("file")]).0, Some(2));
}
