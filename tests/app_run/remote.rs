//! The commands over the network: a border's `[api]` door over TLS, by a token and by a certificate, and what is said where that fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

/// A CA, a certificate of the door for 127.0.0.1 and one of an operator, all in the folder of a set.
fn certificates(set: &Set) {
    let ca = {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
    };
    set.write("ca.pem", &ca.pem());
    for (name, san, usage) in [("door", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth), ("alice", "alice.example.test", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let mut params = CertificateParams::new(vec![san.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        set.write(&format!("{name}.pem"), &params.signed_by(&key, &ca).expect("a certificate").pem());
        set.write(&format!("{name}.key"), &key.serialize_pem());
        fs::set_permissions(set.path().join(format!("{name}.key")), fs::Permissions::from_mode(0o600)).expect("closed to others");
    }
}

struct Lab {
    border: Border,
    url: String,
    token: String,
}

impl Lab {
    async fn new() -> Lab {
        let um = um().await;
        let port = free_port();
        let made = portcullis().args(["token", "bob", "--role", "read"]).output().expect("portcullis");
        let (page, aside) = (String::from_utf8(made.stdout).expect("text"), String::from_utf8(made.stderr).expect("text"));
        let token = aside.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a token").to_owned();
        let set = Set::new(
            &um,
            "",
            &format!(
                "[api]\nlisten = \"127.0.0.1:{port}\"\ncertificate = \"door.pem\"\nkey = \"door.key\"\nclient_ca = \"ca.pem\"\n{page}\n\
                 [[api.client]]\nname = \"alice.example.test\"\nrole = \"operate\"\n"
            ),
        );
        certificates(&set);
        Lab { border: set.run(), url: format!("https://127.0.0.1:{port}"), token }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.border.set.path().join(name)
    }

    fn ask(&self, arguments: &[&str], change: impl FnOnce(&mut std::process::Command)) -> (Option<i32>, String) {
        let mut command = portcullis();
        command.args(arguments).env_remove("PORTCULLIS_URL").env_remove("PORTCULLIS_TOKEN");
        change(&mut command);
        let Output { status, stdout, stderr } = command.output().expect("portcullis");
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_ask_a_border_over_the_network() {
    let lab = Lab::new().await;
    let ca = lab.file("ca.pem");
    // By a token from a file, and where from by the environment.
    lab.border.set.write("token", &format!("{}\n", lab.token));
    let (status, page) = lab.ask(&["show", "status"], |command| {
        command.env("PORTCULLIS_URL", &lab.url).arg("--ca").arg(&ca).arg("--token-file").arg(lab.file("token"));
    });
    assert!(status == Some(0) && page.contains("takes calls      yes"), "{page}");
    // A reader changes nothing.
    let (status, page) = lab.ask(&["drain", "--url", &lab.url], |command| {
        command.env("PORTCULLIS_TOKEN", &lab.token).arg("--ca").arg(&ca);
    });
    assert!(status == Some(1) && page.contains("refused: "), "{page}");
    // By a certificate.
    let own = |command: &mut std::process::Command| {
        command.args(["--url", &lab.url]).arg("--ca").arg(&ca).arg("--certificate").arg(lab.file("alice.pem")).arg("--key").arg(lab.file("alice.key"));
    };
    let (status, page) = lab.ask(&["drain"], own);
    assert!(status == Some(0) && page.contains("no new calls are taken"), "{page}");
    let (status, page) = lab.ask(&["show", "audit"], own);
    assert!(status == Some(0) && page.contains("alice.example.test") && page.contains("bob"), "{page}");
    // Taken out by a reload: the certificate is as good as ever, and its holder a stranger.
    let border = std::fs::read_to_string(lab.file("border.toml")).expect("border.toml");
    lab.border.set.write("border.toml", &border.replace("alice.example.test", "carol.example.test"));
    lab.border.signal("HUP");
    let end = std::time::Instant::now() + crate::process::PATIENCE;
    let page = loop {
        let (status, page) = lab.ask(&["show", "status"], own);
        if status == Some(1) || std::time::Instant::now() > end {
            break page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(page.contains("show a bearer token, or a certificate that is known here"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_border_elsewhere_cannot_be_asked_is_told() {
    let lab = Lab::new().await;
    let ca = lab.file("ca.pem");
    let nothing = |_: &mut std::process::Command| {};
    let (status, page) = lab.ask(&["show", "calls", "--url", &lab.url], nothing);
    assert!(status == Some(2) && page.contains("--ca FILE"), "{page}");
    let (status, page) = lab.ask(&["show", "calls", "--url", &lab.url], |command| {
        command.arg("--ca").arg(&ca);
    });
    assert!(status == Some(1) && page.contains("refused: "), "{page}");
    let (status, page) = lab.ask(&["show", "calls", "--url", &lab.url], |command| {
        command.arg("--ca").arg(lab.file("alice.pem"));
    });
    assert!(status == Some(1) && page.contains(&lab.url), "{page}");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (status, page) = lab.ask(&["show", "calls", "--url", &nowhere], nothing);
    assert!(status == Some(1) && page.contains("nobody listens there"), "{page}");
}
