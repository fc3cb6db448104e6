//! The commands beside a border that really runs: what it shows in handshakes follows the generations, and what it refuses is rolled back.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::openssl;
use crate::rotating::Site;

const PATIENCE: Duration = Duration::from_secs(20);

/// Ended when dropped.
struct Border {
    child: Child,
    log: String,
    port: u16,
}

impl Drop for Border {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Border {
    fn run(site: &Site, port: u16, socket: &str) -> Border {
        let path = Path::new(&site.set).join("border.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n[control]\nsocket = \"{socket}\"\n")).unwrap();
        let log = site.lab.at("log");
        let out = fs::File::create(&log).unwrap();
        let child =
            Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("run").arg(&site.set).stdin(Stdio::null()).stderr(out).stdout(Stdio::null()).spawn().unwrap();
        let mut border = Border { child, log, port };
        let limit = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(border.child.try_wait().unwrap().is_none() && Instant::now() < limit, "not running: {}", fs::read_to_string(&border.log).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        border
    }

    /// The serial number of the certificate it shows.
    fn shown(&self) -> String {
        let script = format!("openssl s_client -connect 127.0.0.1:{} -tls1_2 </dev/null 2>/dev/null | openssl x509 -noout -serial", self.port);
        let output = Command::new("timeout").args(["10", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", fs::read_to_string(&self.log).unwrap());
        String::from_utf8(output.stdout).unwrap()
    }
}

fn serial(file: &str) -> String {
    openssl(&["x509", "-noout", "-serial", "-in", file])
}

#[test]
fn a_rotation_under_a_running_border() {
    let port = crate::ports::free_port();
    let site = Site::new();
    site.lab.policy_set_at("certs/current", port);
    let peers = Path::new(&site.set).join("peers.toml");
    fs::write(&peers, fs::read_to_string(&peers).unwrap() + "crl = \"certs/current/ca.crl\"\n").unwrap();
    site.stage(&[]).is(1, "the policy set names it: revocation list of peer \"trunk\"");
    crate::certs(&["crl", &site.lab.at("new/ca.crl"), "--ca", &site.lab.at("ca/ca.pem"), "--ca-key", &site.lab.at("ca/ca.key"), "--days", "20"]).is(0, "");
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "no border answers here");
    let socket = site.lab.at("control.sock");
    let border = Border::run(&site, port, &socket);
    let current = format!("{}/current/sbc.pem", site.certs);
    let first = serial(&current);
    assert_eq!(border.shown(), first);
    site.status(&[]).is(0, "the running border has the same: ca.crl, sbc.pem, trunk-ca.pem");

    site.renew(&[]);
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "the running border has taken the files").is(0, "generation 0002 is current, 0001 previous");
    let second = serial(&current);
    assert!(second != first && border.shown() == second);
    site.status(&[]).is(0, "the running border has the same: ca.crl, sbc.pem, trunk-ca.pem");
    site.rollback(&[]).is(0, "the running border has taken the files");
    assert_eq!(border.shown(), first);

    // Without a set to check by, only the border itself finds that its peer's CA is missing.
    let (new, ca) = (site.lab.at("new"), site.lab.at("ca/ca.pem"));
    fs::remove_file(site.lab.at("new/trunk-ca.pem")).unwrap();
    crate::certs(&["stage", &site.certs, "--only", "--from", &new, "--ca", &ca]).is(0, "generation 0003 is staged");
    let refused = crate::certs(&["activate", &site.certs, "--socket", &socket, "--ca", &ca]);
    refused.is(1, "trunk-ca.pem: there is no such file").is(1, "rolled back: generation 0001 is current again");
    site.links([Some(1), Some(3), None]);
    assert_eq!((border.shown(), serial(&current)), (first.clone(), first.clone()));
    site.status(&[]).is(0, "the running border has the same");

    // The files are changed behind the border's back.
    crate::certs(&["rollback", &site.certs, "--to", "2", "--no-ask"]).is(0, "");
    site.status(&[]).is(1, "[border-differs]");
    assert_eq!(border.shown(), first);
    let pid = border.child.id().to_string();
    site.rollback(&["--to", "1", "--no-ask"]).is(0, "");
    site.rollback(&["--to", "2", "--signal", &pid]).is(0, "SIGHUP went to process");
    let limit = Instant::now() + PATIENCE;
    while border.shown() != second {
        assert!(Instant::now() < limit, "{}", fs::read_to_string(&border.log).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    site.status(&[]).is(0, "the running border has the same");
}
