//! What the running border is told, and what happens when it refuses or is not there. A stand-in answers on the control socket here.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::rotating::Site;

/// Answers each connection with the next of these, and tells what was asked.
fn border(socket: &str, answers: Vec<(u16, String)>) -> Receiver<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        while answers.peek().is_some() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            // A connection that asks nothing only looks whether somebody is there.
            if request.is_empty() {
                continue;
            }
            let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
            let (status, body) = answers.next().unwrap();
            let _ = asked.send(line);
            if status > 0 {
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    questions
}

const ROTATE: &str = "POST /v1/certs/rotate HTTP/1.1";

#[test]
fn a_border_that_takes_the_files_is_asked_once() {
    let site = Site::new();
    let socket = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    let asked = border(&socket, vec![(200, r#"{"told":["certs/current/sbc.pem: 20 days left"]}"#.into())]);
    site.activate(&["--socket", &socket]).is(0, "has taken the files").is(0, "the border says: certs/current/sbc.pem");
    assert_eq!(asked.recv().unwrap(), ROTATE);
    site.links([Some(1), None, None]);
}

#[test]
fn a_border_that_refuses_has_the_folder_go_back() {
    let site = Site::new();
    let socket = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    site.renew(&[]);
    site.stage(&[]).is(0, "");
    let refusal = r#"{"title":"Conflict","status":409,"detail":"sbc.key: this key does not belong to the certificate"}"#;
    let asked = border(&socket, vec![(409, refusal.into()), (200, "{}".into()), (409, refusal.into())]);
    let said = site.activate(&["--socket", &socket, "--json"]).json();
    assert_eq!((said["exit_status"].as_u64(), said["border"].as_str(), said["current"].as_u64()), (Some(1), Some("refused"), Some(1)));
    assert!(said["findings"][0]["what"].as_str().unwrap().contains("this key does not belong"), "{said}");
    site.links([Some(1), Some(2), None]);
    // What refused once is tried again, and taken; then it is the rollback that is refused.
    site.activate(&["--socket", &socket]).is(0, "generation 0002 is current");
    site.rollback(&["--socket", &socket]).is(1, "generation 0002 is current again");
    site.links([Some(2), None, Some(1)]);
    assert_eq!(asked.iter().take(3).collect::<Vec<_>>(), [ROTATE; 3]);
}

#[test]
fn a_border_that_falls_silent_is_asked_to_go_back_as_well() {
    let site = Site::new();
    let socket = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    let asked = border(&socket, vec![(0, String::new()), (200, "{}".into())]);
    site.activate(&["--socket", &socket]).is(1, "rolled back: nothing is current, as before");
    assert_eq!(asked.iter().take(2).count(), 2);
    site.links([None, Some(1), None]);
}

/// Only the answer to the second question says which files the border is on.
#[test]
fn a_border_that_does_not_confirm_going_back_is_told_of() {
    let refusal = r#"{"title":"Conflict","status":409,"detail":"ca.pem: gone"}"#;
    for (second, says) in [((0, String::new()), "does not answer"), ((409, refusal.to_owned()), "ca.pem: gone")] {
        let site = Site::new();
        let socket = site.lab.at("control.sock");
        site.stage(&[]).is(0, "");
        let _asked = border(&socket, vec![(0, String::new()), second]);
        site.activate(&["--socket", &socket]).is(1, "[border-unsure]").is(1, says).is(1, "rolled back");
        site.links([None, Some(1), None]);
    }
}

/// It takes no connection, and as many wait as may: to connect would block for ever, and hold the folder's lock.
#[test]
fn a_border_that_takes_no_connection_is_not_waited_for() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let site = Site::new();
    let path = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    let hung = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&hung, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
    listen(&hung, 0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (done, ended) = channel();
    std::thread::spawn(move || {
        site.activate(&["--socket", &path]).is(1, "does not answer").is(1, "nothing has changed");
        site.links([None, Some(1), None]);
        let _ = done.send(());
    });
    ended.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
}

#[test]
fn a_border_that_was_to_be_asked_must_be_there() {
    let site = Site::new();
    let socket = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    site.activate(&["--socket", &socket]).is(1, "no such socket");
    drop(UnixListener::bind(&socket).unwrap());
    site.activate(&["--socket", &socket]).is(1, "nobody listens there");
    site.activate(&["--pid-file", &site.lab.at("nowhere")]).is(1, "nowhere");
    site.activate(&["--signal", "0"]).is(1, "no process's number");
    site.links([None, Some(1), None]);
    site.activate(&["--socket", &socket, "--no-ask"]).is(2, "cannot be used with");
    site.activate(&["--no-ask"]).is(0, "nobody was told, as asked");
}

/// The socket the set names is asked where it is there.
#[test]
fn the_socket_of_the_set_is_found() {
    let site = Site::new();
    let socket = site.lab.at("set/control.sock");
    let path = Path::new(&site.set).join("border.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n[control]\nsocket = \"control.sock\"\n")).unwrap();
    site.stage(&[]).is(0, "");
    let asked = border(&socket, vec![(200, "{}".into())]);
    site.activate(&[]).is(0, "has taken the files");
    assert_eq!(asked.recv().unwrap(), ROTATE);
}

#[test]
fn a_process_gets_its_signal() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    let script = "trap 'echo hangup; exit 0' HUP; echo ready; while :; do read line; done";
    // A number whose process is another's by now: whoever it is would be ended by the signal.
    let (mut stranger, _input) = process_of("sh", script);
    site.activate(&["--signal", &stranger.id().to_string()]).is(1, "not a border");
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    // By its name, a border.
    let program = site.lab.at("portcullis");
    std::fs::copy("/bin/sh", &program).unwrap();
    let (mut child, mut said) = process_of(&program, script);
    let file = site.lab.at("border.pid");
    std::fs::write(&file, format!("{}\n", child.id())).unwrap();
    site.activate(&["--pid-file", &file]).is(0, "SIGHUP went to process");
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hangup\n");
    child.wait().unwrap();
}

/// A child that has said `ready`, and the rest of what it will say. Its input stays open as long as the child is held.
fn process_of(program: &str, script: &str) -> (Child, impl Read + use<>) {
    // A shell cannot trap what was ignored when it began, as SIGHUP is where the tests run under nohup.
    let mut child = Command::new("env").args(["--default-signal=HUP", program, "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    out.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    (child, out)
}

#[test]
fn status_asks_whether_the_border_has_the_same() {
    let site = Site::new();
    let socket = site.lab.at("control.sock");
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    let said = site.status(&["--json"]).json();
    let entry = said["files"].as_array().unwrap().iter().find(|file| file["file"] == "sbc.pem").unwrap();
    let fingerprint = entry["fingerprint"].as_str().unwrap();
    let not_after = time::OffsetDateTime::parse(entry["not_after"].as_str().unwrap(), &time::format_description::well_known::Rfc3339).unwrap();
    let not_before = not_after - std::time::Duration::from_secs(20 * 86_400 + 3_600);
    let held = |facts: String| format!(r#"{{"held":[{{"kind":"own","file":"{}/current/sbc.pem",{facts}}}]}}"#, site.certs);
    let moments = |begins: i64| held(format!(r#""not_before":{begins},"not_after":{}"#, not_after.unix_timestamp()));
    let answers = vec![
        (200, held(format!(r#""fingerprint":"{}""#, fingerprint.replace(':', "").to_lowercase()))),
        (200, held(format!(r#""fingerprint":"{}""#, fingerprint.replace('A', "B").replace('0', "1")))),
        (200, moments(not_before.unix_timestamp())),
        (200, moments(1)),
        (200, r#"{"held":[]}"#.into()),
    ];
    let _asked = border(&socket, answers);
    let status = || site.status(&["--socket", &socket]);
    status().is(0, "the running border has the same: sbc.pem");
    status().is(1, "[border-differs]");
    status().is(0, "the running border has the same: sbc.pem");
    status().is(1, "[border-differs]");
    status().is(0, "uses none of these files");
    std::fs::remove_file(&socket).unwrap();
    status().is(1, "[border-silent]");
}
