//! What systemd hears of a border it started: that it is up, lives, reloads and stops.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};

use crate::process::{PATIENCE, Set, portcullis, um};

struct Service {
    child: Child,
    socket: UnixDatagram,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// Reads messages up to one that has this line, and returns them all.
    fn until(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let limit = std::time::Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        while std::time::Instant::now() < limit {
            let Ok(length) = self.socket.recv(&mut buffer) else { break };
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            if heard.iter().any(|message| message.lines().any(|found| found.starts_with(line))) {
                return heard;
            }
        }
        panic!("never {line}: {heard:?}");
    }

    fn signal(&self, name: &str) {
        assert!(std::process::Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_of_the_start_of_life_of_reloads_and_of_the_end() {
    let um = um().await;
    let set = Set::new(&um, "drain = \"1s\"\n", "");
    let notify = set.path().parent().unwrap().join(format!("notify-{}", set.sip));
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let child = portcullis()
        .arg("run")
        .arg(set.path())
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "600000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut service = Service { child, socket };
    let heard = service.until("READY=1");
    assert!(heard.len() == 1 && heard[0].contains("STATUS=taking calls"), "nothing comes before it is ready: {heard:?}");
    for _ in 0..3 {
        service.until("WATCHDOG=1");
    }

    service.signal("HUP");
    let heard = service.until("RELOADING=1");
    assert!(heard.last().unwrap().contains("MONOTONIC_USEC="), "{heard:?}");
    assert!(service.until("READY=1").last().unwrap().contains("STATUS=taking calls\n"));

    set.write("peers.toml", "version = 1\nnonsense = 3\n");
    service.signal("HUP");
    service.until("RELOADING=1");
    assert!(service.until("READY=1").last().unwrap().contains("reload was refused"), "a refused reload is over as well");

    service.signal("TERM");
    let heard = service.until("STOPPING=1");
    let within: u64 = heard.last().unwrap().lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")).unwrap().parse().unwrap();
    assert!(within > 1_000_000, "more than the drain time: {within}");
    let limit = std::time::Instant::now() + PATIENCE;
    while service.child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < limit, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(service.child.wait().unwrap().success());
    std::fs::remove_file(notify).unwrap();
}
