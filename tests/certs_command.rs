//! `portcullis certs` as an operator and a job run it: the real program, real files, and OpenSSL's opinion of what it makes.

#[path = "certs_command/inspecting.rs"]
mod inspecting;
#[path = "certs_command/making.rs"]
mod making;
mod ports;
#[path = "certs_command/real_border.rs"]
mod real_border;
#[path = "certs_command/rotating.rs"]
mod rotating;
#[path = "certs_command/telling.rs"]
mod telling;

use std::path::Path;
use std::process::{Command, Output};

/// What one run of the program ended with, and said.
#[derive(Debug)]
struct Ran {
    status: i32,
    text: String,
}

fn certs<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("certs").args(arguments).output().unwrap();
    ran(&output)
}

fn ran(output: &Output) -> Ran {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Whatever happens, no key is ever shown.
    assert!(!text.contains("PRIVATE KEY-----"), "{text}");
    Ran { status: output.status.code().unwrap_or(-1), text }
}

impl Ran {
    /// Exit status and a word of what was said.
    #[track_caller]
    fn is(&self, status: i32, says: &str) -> &Ran {
        assert!(self.status == status && self.text.contains(says), "expected {status} and \"{says}\": {self:#?}");
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// What OpenSSL says; panics where it fails.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder with a laboratory CA in it.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Lab {
        let lab = Lab(tempfile::tempdir().unwrap());
        certs(&["init", &lab.at("ca"), "--name", "other.example.test"]).is(0, "ca.key");
        lab
    }

    fn at(&self, path: &str) -> String {
        self.0.path().join(path).to_str().unwrap().to_owned()
    }

    /// A key and a certificate for `name` in `folder`.
    fn certificate(&self, folder: &str, name: &str, more: &[&str]) -> Ran {
        certs(&["csr", &self.at(folder), "--name", name]).is(0, "");
        self.issue(&self.at(&format!("{folder}/{name}.csr")), more)
    }

    fn issue(&self, request: &str, more: &[&str]) -> Ran {
        let (ca, key) = (self.at("ca/ca.pem"), self.at("ca/ca.key"));
        let mut arguments = vec!["issue", request, "--ca", &ca, "--ca-key", &key, "--days", "20"];
        arguments.extend(more);
        certs(&arguments)
    }
}

impl Lab {
    /// A policy set of a listener advertised as sbc.example.test and a peer trunk.example.test, all in the folder `set`; its files are named by way of `certs`.
    fn policy_set(&self, certs: &str) -> String {
        self.policy_set_at(certs, 45_061)
    }

    /// With the listener on this port, for a border that runs.
    fn policy_set_at(&self, certs: &str, port: u16) -> String {
        let folder = self.at("set");
        std::fs::create_dir_all(&folder).unwrap();
        let border = format!(
            "version = 1\n[[listener]]\nname = \"outside\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{port}\"\nadvertised = \"sbc.example.test\"\n\
             certificate = \"{certs}/sbc.pem\"\nkey = \"{certs}/sbc.key\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n"
        );
        let peers = format!(
            "version = 1\n[[peer]]\nname = \"trunk\"\nkind = \"trunk\"\nhosts = \"127.0.0.1\"\ntransport = \"tls\"\nmode = \"secured\"\n\
             tls_names = [\"trunk.example.test\"]\nca = \"{certs}/trunk-ca.pem\"\n"
        );
        std::fs::write(format!("{folder}/border.toml"), border).unwrap();
        std::fs::write(format!("{folder}/peers.toml"), peers).unwrap();
        folder
    }
}
