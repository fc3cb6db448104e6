//! `portcullis simulate`, two processes without a border between them: what they say, and with which status they end.

use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::ports::free_port;
use crate::process::{PATIENCE, portcullis};

fn simulate(arguments: &[String]) -> Child {
    portcullis().arg("simulate").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// It ends by itself, or the test fails.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let limit = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > limit {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

fn listening(port: u16) {
    let limit = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < limit, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_um_and_a_trunk_tell_what_they_decide_and_heard() {
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let [router, _, worker, _] = ports[..] else { panic!() };
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let um = simulate(&words(&format!("um --for 6s --digits 4 --ports {list}")));
    listening(router);
    let call = |more: &str| ended(simulate(&words(&format!("trunk --border 127.0.0.1:{worker} --lasting 2s {more}"))));
    let (status, said) = call("--to 5000 --diversion 1000 --count 2 --rate 10 --keys 1#");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("2 of 2 calls were answered and heard"), "{said}");
    let (status, said) = call("--to bob");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the border answered 403"), "{said}");
    let (status, said) = ended(um);
    assert_eq!(status, Some(0), "{said}");
    for told in ["call answering for mailbox 1000 (by Diversion)", "keys 1#", "refused INVITE with 403", "2 calls were taken"] {
        assert!(said.contains(told), "{told:?} is missing:\n{said}");
    }
}

#[test]
fn what_cannot_be_meant_ends_with_2_and_a_taken_port_with_1() {
    for (line, why) in [
        ("um --address 10.0.0.1", "add --remote"),
        ("um --mode secured", "give --certificate"),
        ("um --ports 1,2", "--ports takes four"),
        ("um --profile hosted", "--hosted-name"),
        ("trunk", "--border"),
        ("trunk --border 192.0.2.1:5060 --to 5000", "add --remote"),
    ] {
        let (status, said) = ended(simulate(&words(line)));
        assert_eq!(status, Some(2), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, said) = ended(simulate(&words(&format!("um --ports {port},0,0,0"))));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("cannot listen"), "{said}");
}
