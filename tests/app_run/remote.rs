//! The commands over the network: a border's `[api]` door over TLS, by a token and by a certificate, and what is said where that fails.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

type Ca = CertifiedIssuer<'static, KeyPair>;

const DOOR: (&str, &str, ExtendedKeyUsagePurpose) = ("door", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
const ALICE: (&str, &str, ExtendedKeyUsagePurpose) = ("alice", "alice.example.test", ExtendedKeyUsagePurpose::ClientAuth);

fn authority() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// A certificate that is good for so many days, and its key.
fn put(set: &Set, (name, san, usage): (&str, &str, ExtendedKeyUsagePurpose), ca: &Ca, days: i64) {
    let mut params = CertificateParams::new(vec![san.to_owned()]).expect("parameters");
    params.extended_key_usages = vec![usage];
    // With the CA's name OpenSSL would take it for one that signs itself.
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
    let key = KeyPair::generate().expect("a key");
    set.write(&format!("{name}.pem"), &params.signed_by(&key, ca).expect("a certificate").pem());
    set.write(&format!("{name}.key"), &key.serialize_pem());
    fs::set_permissions(set.path().join(format!("{name}.key")), fs::Permissions::from_mode(0o600)).expect("closed to others");
}

struct Lab {
    border: Border,
    ca: Ca,
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
                 [[api.client]]\nname = \"alice.example.test\"\nrole = \"operate\"\n[certificates]\nwatch = \"1s\"\n"
            ),
        );
        let ca = authority();
        set.write("ca.pem", &ca.pem());
        put(&set, DOOR, &ca, 400);
        put(&set, ALICE, &ca, 400);
        Lab { border: set.run(), ca, url: format!("https://127.0.0.1:{port}"), token }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.border.set.path().join(name)
    }

    /// By alice's certificate.
    fn own(&self, command: &mut std::process::Command) {
        command.args(["--url", &self.url]).arg("--ca").arg(self.file("ca.pem"));
        command.arg("--certificate").arg(self.file("alice.pem")).arg("--key").arg(self.file("alice.key"));
    }

    /// `show certs`, as a script has it.
    fn certs(&self) -> serde_json::Value {
        let (status, text) = self.ask(&["show", "certs", "--json"], |command| self.own(command));
        assert_eq!(status, Some(0), "{text}");
        serde_json::from_str(&text).expect("JSON")
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
    let own = |command: &mut std::process::Command| lab.own(command);
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

/// Listens by curl, which says by its exit status whether it heard a whole answer.
fn listens(lab: &Lab, credentials: &[&str]) -> std::process::Child {
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--no-buffer", "--include", "--max-time", "60", "--cacert"])
        .arg(lab.file("ca.pem"))
        .args(credentials)
        .arg(format!("{}/v1/events", lab.url));
    let mut curl = curl.stdout(std::process::Stdio::piped()).spawn().expect("curl");
    let heard = std::io::BufReader::new(curl.stdout.as_mut().expect("what it says")).lines().next();
    assert!(heard.as_ref().is_some_and(|line| line.as_ref().is_ok_and(|line| line.contains("200"))), "{heard:?}");
    curl
}

fn ends(mut child: std::process::Child) -> Option<i32> {
    let end = std::time::Instant::now() + crate::process::PATIENCE;
    while std::time::Instant::now() < end {
        if let Some(status) = child.try_wait().expect("curl") {
            return status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_the_door_is_watched_with_all_others() {
    let mut lab = Lab::new().await;
    let shown = lab.certs();
    let (own, ca) = (&shown["own"][0], &shown["authorities"][0]);
    assert_eq!((own["names"][0].as_str(), own["shown_by"][0].as_str()), (Some("127.0.0.1"), Some("[api]")), "{shown}");
    assert_eq!((ca["operators"].as_bool(), ca["peers"].as_array().map(Vec::len)), (Some(true), Some(0)), "{shown}");
    let fingerprint = |shown: &serde_json::Value, kind: &str| {
        let held = shown["held"].as_array().and_then(|all| all.iter().find(|held| held["kind"] == kind)).cloned();
        held.and_then(|held| held["fingerprint"].as_str().map(String::from))
    };
    let (first, believed) = (fingerprint(&shown, "api"), fingerprint(&shown, "api_authority"));
    assert!(first.is_some() && believed.is_some(), "{shown}");
    // Renewed on disk, by whomever, and near its end: it is taken, shown to who comes next, and told of.
    put(&lab.border.set, DOOR, &lab.ca, 5);
    lab.border.until("the new certificate is in force", |border| border.log().contains("the certificate of [api] ends in"));
    let shown = lab.certs();
    assert_ne!(fingerprint(&shown, "api"), first);
    assert!(shown["own"][0]["days_left"].as_i64().is_some_and(|days| days < 6), "{shown}");
    let (status, page) = lab.ask(&["show", "certs"], |command| lab.own(command));
    assert!(status == Some(0) && page.contains("[api]") && page.contains("operators"), "{page}");
    // A key that belongs to another certificate is refused, and what is in force stays.
    let before = lab.border.log().len();
    lab.border.set.write("door.key", &KeyPair::generate().expect("a key").serialize_pem());
    lab.border.until("the key is refused", |border| border.log()[before..].contains("for [api]: this key does not belong"));
    let (status, page) = lab.ask(&["show", "status"], |command| lab.own(command));
    assert_eq!(status, Some(0), "{page}");
    put(&lab.border.set, DOOR, &lab.ca, 400);
    // Another CA: whoever listens by a certificate of the one before hears no more, a token is as good as ever.
    let alice = listens(&lab, &["--cert", &lab.file("alice.pem").to_string_lossy(), "--key", &lab.file("alice.key").to_string_lossy()]);
    let bearer = format!("Authorization: Bearer {}", lab.token);
    let mut bob = listens(&lab, &["--header", &bearer]);
    lab.border.set.write("ca.pem", &authority().pem());
    assert_eq!(ends(alice), Some(18), "curl: a partial file, which is what it is");
    assert_eq!(bob.try_wait().expect("curl"), None);
    // A token that is taken out: its holder hears no more either, and the account has it.
    let border = fs::read_to_string(lab.file("border.toml")).expect("border.toml");
    lab.border.set.write("border.toml", &border.replace("name = \"bob\"", "name = \"rob\""));
    lab.border.signal("HUP");
    assert_eq!(ends(bob), Some(18));
    lab.border.until("the account has it", |border| border.log().contains("broken off: "));
}
