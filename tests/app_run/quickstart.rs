//! `portcullis quickstart`: the whole call of the README. Its ports are fixed: one of these tests at a time, and no other, uses them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portcullis::simulator::connection::Identity;
use portcullis::simulator::trunk;

use crate::process::{CALLER, GREETING, PATIENCE, portcullis};

static PORTS: Mutex<()> = Mutex::new(());

#[test]
fn once_places_a_secured_call_and_says_so() {
    let _ports = PORTS.lock();
    let folder = tempfile::tempdir().unwrap();
    let output = portcullis().args(["quickstart", "--once", "--folder"]).arg(folder.path().join("working")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let held = text.lines().filter(|line| line.starts_with("ok     ")).count();
    assert!(held >= 9 && !text.contains("FAILED"), "{text}");
    for shown in ["INVITE", "302", "BYE", "mode secured", "TLSv1.", "AES_CM_128_HMAC_SHA1_80", "\"released_by\": \"caller\""] {
        assert!(text.contains(shown), "{shown} is missing in\n{text}");
    }
    assert!(!text.contains("inline:"), "keys are never printed");
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn interrupt(&self) {
        assert!(Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status().unwrap().success());
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "never {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_second_interrupt_does_not_wait_for_calls() {
    let _ports = PORTS.lock();
    let folder = tempfile::tempdir().unwrap();
    let (working, said) = (folder.path().join("working"), folder.path().join("said"));
    let command = portcullis().args(["quickstart", "--folder"]).arg(&working).stdout(Stdio::from(fs::File::create(&said).unwrap())).spawn();
    let mut running = Running(command.unwrap());
    until("staying up", || fs::read_to_string(&said).unwrap().contains("softphone"));
    let file = |name: &str| working.join("certs").join(name);
    let settings = trunk::Settings {
        border: SocketAddr::from((Ipv4Addr::LOCALHOST, 15061)),
        border_name: "sbc".into(),
        identity: Some(Identity::load(&file("trunk.quickstart.test.pem"), &file("trunk.quickstart.test.key"), &file("ca.pem")).unwrap()),
        media: Ipv4Addr::LOCALHOST.into(),
        caller: "2001".into(),
        called: "5000".into(),
        diversion: None,
        says: CALLER,
        listens: GREETING,
        manners: trunk::Manners::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let call = runtime.block_on(trunk::call(settings)).unwrap();
    running.interrupt();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!running.has_ended(), "a call is up");
    running.interrupt();
    assert!(runtime.block_on(call.hung_up(Duration::from_secs(5))).unwrap(), "no BYE to the caller");
    until("ended", || running.has_ended());
}
