//! A rotation from the request to the rollback, everything that can be wrong with what is staged, and what is left after a crash.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::app::certs::{Leaf, authority};
use time::OffsetDateTime;

use crate::{Lab, Ran, certs, mode};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A laboratory with a policy set whose files are named by way of `set/certs/current`, and new files for it in `new`.
pub struct Site {
    pub lab: Lab,
    pub set: String,
    /// The folder rotation works on.
    pub certs: String,
}

impl Site {
    pub fn new() -> Site {
        let lab = Lab::new();
        let site = Site { set: lab.policy_set("certs/current"), certs: lab.at("set/certs"), lab };
        site.renew(&[]);
        site
    }

    /// A new key and certificate for us, and the CA, in `new`.
    pub fn renew(&self, more: &[&str]) {
        let lab = &self.lab;
        certs(&["csr", &lab.at("new"), "--name", "sbc.example.test", "--file", "sbc", "--new-key"]).is(0, "");
        lab.issue(&lab.at("new/sbc.csr"), more).is(0, "");
        fs::copy(lab.at("ca/ca.pem"), lab.at("new/trunk-ca.pem")).unwrap();
        // Not a certificate file by its name.
        fs::rename(lab.at("new/sbc.csr"), lab.at("sbc.csr")).unwrap();
    }

    pub fn stage(&self, more: &[&str]) -> Ran {
        certs(&[&["stage", &self.certs, "--from", &self.lab.at("new"), "--set", &self.set], more].concat())
    }

    pub fn activate(&self, more: &[&str]) -> Ran {
        certs(&[&["activate", &self.certs, "--set", &self.set], more].concat())
    }

    pub fn rollback(&self, more: &[&str]) -> Ran {
        certs(&[&["rollback", &self.certs, "--set", &self.set], more].concat())
    }

    pub fn status(&self, more: &[&str]) -> Ran {
        let within: &[&str] = if more.contains(&"--within") { &[] } else { &["--within", "10d"] };
        certs(&[&["status", &self.certs, "--set", &self.set], within, more].concat())
    }

    /// Generations by role: current, staged, previous.
    #[track_caller]
    pub fn links(&self, expected: [Option<u64>; 3]) {
        let link = |name: &str| {
            let target = fs::read_link(Path::new(&self.certs).join(name)).ok()?;
            target.strip_prefix("generations").ok()?.to_str()?.parse::<u64>().ok()
        };
        assert_eq!([link("current"), link("staged"), link("previous")], expected);
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.certs).join("current").join(name)
    }

    fn new_file(&self, name: &str) -> PathBuf {
        Path::new(&self.lab.at("new")).join(name)
    }

    /// Every file and link below the folder, with contents: to see that nothing has changed.
    fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() {
                    into.push((path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
                } else if path.is_dir() {
                    into.push((path.clone(), Vec::new()));
                    walk(&path, into);
                } else {
                    into.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        let mut all = Vec::new();
        walk(Path::new(&self.certs), &mut all);
        all.sort();
        all
    }
}

#[test]
fn a_whole_rotation() {
    let site = Site::new();
    site.status(&[]).is(2, "");
    site.stage(&[]).is(0, "generation 0001 is staged");
    site.links([None, Some(1), None]);
    site.stage(&[]).is(0, "staged already");
    site.status(&[]).is(1, "[no-current]");
    site.activate(&[]).is(0, "generation 0001 is current");
    site.links([Some(1), None, None]);
    site.activate(&[]).is(0, "nothing is staged; the current generation is 0001");
    site.stage(&[]).is(0, "current and has these files already");
    site.rollback(&[]).is(0, "no previous generation");
    site.links([Some(1), None, None]);
    assert_eq!(mode(&site.file("sbc.key")), 0o600);

    let first = fs::read(site.file("sbc.pem")).unwrap();
    let authority = fs::read(site.file("trunk-ca.pem")).unwrap();
    site.renew(&[]);
    // Only what is new need be given.
    fs::remove_file(site.new_file("trunk-ca.pem")).unwrap();
    site.stage(&[]).is(0, "generation 0002 is staged");
    assert_eq!(fs::read(site.file("sbc.pem")).unwrap(), first, "staging changes nothing that is in use");
    site.activate(&[]).is(0, "generation 0002 is current, 0001 previous");
    site.links([Some(2), None, Some(1)]);
    assert_eq!(fs::read(site.file("sbc.pem")).unwrap(), fs::read(site.new_file("sbc.pem")).unwrap());
    assert_eq!(fs::read(site.file("trunk-ca.pem")).unwrap(), authority);

    site.rollback(&[]).is(0, "generation 0001 is current");
    site.links([Some(1), None, None]);
    assert_eq!(fs::read(site.file("sbc.pem")).unwrap(), first);
    site.rollback(&[]).is(0, "no previous generation");
    site.rollback(&["--to", "2"]).is(0, "generation 0002 is current");
    site.rollback(&["--to", "2"]).is(0, "current already");
    site.rollback(&["--to", "7"]).is(2, "no such generation");
    site.links([Some(2), None, None]);
    crate::openssl(&["verify", "-CAfile", site.file("trunk-ca.pem").to_str().unwrap(), site.file("sbc.pem").to_str().unwrap()]);
}

#[test]
fn status_tells_jobs_what_is_in_force() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    site.renew(&[]);
    site.stage(&[]).is(0, "");
    let said = site.status(&["--json"]).json();
    assert_eq!((said["current"].as_u64(), said["staged"].as_u64(), said["previous"].as_u64()), (Some(1), Some(2), None));
    let files = said["files"].as_array().unwrap();
    let entry = |name: &str| files.iter().find(|file| file["file"] == name).unwrap();
    assert_eq!((entry("sbc.pem")["days_left"].as_u64(), entry("sbc.pem")["holds"].as_str()), (Some(19), Some("certificate")));
    assert_eq!(entry("sbc.pem")["used_by"][0]["of"], "listener \"outside\"");
    assert_eq!((entry("trunk-ca.pem")["holds"].as_str(), entry("trunk-ca.pem")["used_by"][0]["role"].as_str()), (Some("ca"), Some("ca")));
    assert_eq!(entry("sbc.key")["holds"], "key");
    assert_eq!(said["first_to_run_out"]["file"], "sbc.pem");
    site.status(&[]).is(0, "first to run out: sbc.pem, in 19 days");
    assert_eq!(site.status(&["--quiet"]).text, "");
    site.status(&["--within", "25d"]).is(3, "[expiring]");
    assert_eq!(site.status(&["--within", "25d", "--json"]).json()["exit_status"], 3);
    // A mounted Secret has no generations; its expiry matters as much.
    let flat = site.lab.at("new");
    certs(&["status", &flat, "--within", "10d"]).is(0, "without generations");
    certs(&["status", &flat, "--within", "25d"]).is(3, "[expiring]");
    certs(&["status", &site.lab.at("nowhere")]).is(2, "nowhere");
}

/// Each refusal names the file it came from, leaves the folder as it was, and has its code.
#[test]
fn nothing_bad_is_staged() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    let before = site.everything();
    let refuses = |code: &str, says: &str| {
        let said = site.stage(&[]);
        said.is(1, &format!("[{code}]")).is(1, says).is(1, "nothing is staged, nothing has changed");
        assert!(!said.text.contains(".draft"), "what is told of is the file it came from: {said:?}");
        assert!(site.everything() == before, "{code} has changed something");
    };
    let (pem, key) = (site.new_file("sbc.pem"), site.new_file("sbc.key"));

    site.renew(&[]);
    fs::copy(site.file("sbc.key"), &key).unwrap();
    refuses("key-mismatch", "new/sbc.key: this key does not belong to the certificate in sbc.pem");

    site.renew(&[]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refuses("key-open", "open to others (mode 0644)");

    site.renew(&[]);
    fs::write(&pem, &fs::read(&pem).unwrap()[..300]).unwrap();
    refuses("unreadable", "half written");
    fs::write(&pem, "").unwrap();
    refuses("unreadable", "no certificate");

    let now = OffsetDateTime::now_utc();
    let root = authority("Root", YEAR).unwrap();
    let put = |certificate: &str, private: &str| {
        fs::write(&pem, certificate).unwrap();
        fs::remove_file(&key).unwrap();
        portcullis::app::certs::write_whole(&key, private.as_bytes(), 0o600).unwrap();
        fs::write(site.new_file("trunk-ca.pem"), root.certificate()).unwrap();
    };
    let good = || Leaf { not_after: now + YEAR / 2, ..Leaf::named("sbc.example.test") };
    let issued = root.issue(&Leaf { not_before: now - YEAR, not_after: now - Duration::from_secs(60), ..good() }).unwrap();
    put(&issued.certificate, &issued.key);
    refuses("expired", "expired on");

    let issued = root.issue(&Leaf { dns: vec!["other.example.test".into()], ..good() }).unwrap();
    put(&issued.certificate, &issued.key);
    refuses("name-missing", "lacks the name \"sbc.example.test\"");

    let issued = root.issue(&Leaf { ekus: vec![], ..good() }).unwrap();
    put(&issued.certificate, &issued.key);
    refuses("usage-missing", "neither server nor client");

    let below = root.intermediate("Middle", YEAR).unwrap().issue(&good()).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let leaf = &below.certificate[..below.certificate.find(end).unwrap() + end.len()];
    put(leaf, &below.key);
    refuses("chain-incomplete", "Middle");

    let issued = root.issue(&good()).unwrap();
    put(&issued.certificate, &issued.key);
    fs::write(site.new_file("trunk-ca.pem"), &issued.certificate).unwrap();
    refuses("not-a-ca", "trunk-ca.pem");

    // All of it at once.
    put(leaf, &issued.key);
    fs::write(site.new_file("trunk-ca.pem"), "").unwrap();
    for code in ["key-mismatch", "chain-incomplete", "unreadable"] {
        refuses(code, "");
    }
    // A file the set needs, and a set that needs none of this.
    fs::remove_file(site.new_file("trunk-ca.pem")).unwrap();
    put(&below.certificate, &below.key);
    fs::remove_file(site.new_file("trunk-ca.pem")).unwrap();
    site.stage(&["--only"]).is(1, "the policy set names it: CA of peer \"trunk\"");
    site.lab.policy_set("elsewhere");
    site.stage(&[]).is(1, "[set-unused]");
    assert!(site.everything() == before);

    // Warnings are told; with --strict they count.
    site.lab.policy_set("certs/current");
    let issued = root.issue(&Leaf { ekus: vec![portcullis::app::certs::Eku::ServerAuth], ..good() }).unwrap();
    put(&issued.certificate, &issued.key);
    site.stage(&["--strict"]).is(1, "[client-auth-missing]");
    assert!(site.everything() == before);
    site.stage(&[]).is(0, "[client-auth-missing]").is(0, "is staged");
}

#[test]
fn without_a_set_files_are_paired_by_their_keys() {
    let site = Site::new();
    let lab = &site.lab;
    let (a, b) = (lab.at("elsewhere"), lab.at("new"));
    // As certbot and cert-manager name them.
    fs::create_dir(&a).unwrap();
    fs::rename(site.new_file("sbc.pem"), lab.at("elsewhere/fullchain1")).unwrap();
    fs::rename(site.new_file("sbc.key"), lab.at("elsewhere/privkey1")).unwrap();
    let stage = |more: &[&str]| certs(&[&["stage", &site.certs, "--ca", &lab.at("ca/ca.pem")], more].concat());
    let (chain, key) = (format!("sbc.pem={a}/fullchain1"), format!("key.key={a}/privkey1"));
    stage(&["--from", &b, "--from", &chain, "--from", &key]).is(0, "generation 0001 is staged");
    assert_eq!(fs::read(Path::new(&site.certs).join("staged/key.key")).unwrap(), fs::read(format!("{a}/privkey1")).unwrap());

    stage(&["--from", &a]).is(2, "nothing to stage");
    stage(&["--from", &format!("{a}/privkey1")]).is(2, "name it with one of .pem");
    stage(&["--from", &chain, "--from", &chain]).is(2, "two files would be sbc.pem");
    stage(&["--from", &lab.at("nowhere.pem")]).is(2, "No such file");
    // A certificate alone, a key alone; a laboratory's folder without its CA's key.
    stage(&["--only", "--from", &chain]).is(1, "[key-missing]");
    stage(&["--only", "--from", &key]).is(1, "[key-mismatch]");
    let said = certs(&["stage", &lab.at("lab"), "--from", &lab.at("ca")]);
    said.is(0, "ca.key: left out").is(0, "is staged");
    assert!(!Path::new(&lab.at("lab/staged/ca.key")).exists() && Path::new(&lab.at("lab/staged/ca.pem")).exists());
}

/// What a mounted Secret looks like: links to a hidden folder that is itself a link.
#[test]
fn a_mounted_secret_can_be_staged() {
    let site = Site::new();
    let mount = PathBuf::from(site.lab.at("mount"));
    fs::create_dir_all(mount.join("..2026_01")).unwrap();
    symlink("..2026_01", mount.join("..data")).unwrap();
    for name in ["sbc.pem", "sbc.key", "trunk-ca.pem"] {
        fs::rename(site.new_file(name), mount.join("..2026_01").join(name)).unwrap();
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    fs::write(mount.join("README"), "").unwrap();
    certs(&["stage", &site.certs, "--from", mount.to_str().unwrap(), "--set", &site.set]).is(0, "README: left out").is(0, "is staged");
    let staged = Path::new(&site.certs).join("staged");
    let mut names: Vec<_> = fs::read_dir(&staged).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["sbc.key", "sbc.pem", "trunk-ca.pem"]);
    assert!(!staged.join("sbc.pem").is_symlink(), "copied, since the mount will change");
}

/// Files that lay flat so far are moved in by staging the folder from itself.
#[test]
fn a_flat_folder_becomes_its_first_generation() {
    let site = Site::new();
    fs::create_dir(&site.certs).unwrap();
    for name in ["sbc.pem", "sbc.key", "trunk-ca.pem"] {
        fs::rename(site.new_file(name), Path::new(&site.certs).join(name)).unwrap();
    }
    let stage = || certs(&["stage", &site.certs, "--from", &site.certs, "--set", &site.set]);
    stage().is(0, "generation 0001 is staged");
    site.activate(&[]).is(0, "");
    stage().is(0, "has these files already");
    assert_eq!(fs::read(site.file("sbc.key")).unwrap(), fs::read(Path::new(&site.certs).join("sbc.key")).unwrap());
}

/// The job's umask and user are not the border's.
#[test]
fn modes_and_groups_outlive_a_rotation() {
    let site = Site::new();
    let folder = site.certs.clone();
    let under = |umask: &str, command: &str| {
        let script = format!("umask {umask}; exec {} certs {command}", env!("CARGO_BIN_EXE_portcullis"));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        crate::ran(&output)
    };
    under("077", &format!("stage {folder} --from {} --set {}", site.lab.at("new"), site.set)).is(0, "");
    site.activate(&[]).is(0, "");
    for (path, expected) in [("current/sbc.pem", 0o644), ("current/sbc.key", 0o600), ("generations/0001", 0o755), ("generations", 0o755)] {
        assert_eq!(mode(&Path::new(&folder).join(path)), expected, "{path}");
    }
    // Handed to a group once, it stays the group's.
    let key = site.file("sbc.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let root = fs::metadata(&key).unwrap().uid() == 0;
    if root {
        std::os::unix::fs::chown(&key, Some(4321), Some(1234)).unwrap();
    }
    site.renew(&[]);
    under("077", &format!("stage {folder} --from {} --set {}", site.lab.at("new"), site.set)).is(0, "is staged");
    site.activate(&[]).is(0, "");
    let metadata = fs::metadata(&key).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    if root {
        assert_eq!((metadata.uid(), metadata.gid()), (4321, 1234));
    }
}

#[test]
fn old_generations_go_but_none_that_is_linked() {
    let site = Site::new();
    for _ in 0..4 {
        site.renew(&[]);
        site.stage(&[]).is(0, "");
        site.activate(&["--keep", "2"]).is(0, "");
    }
    let kept = |site: &Site| -> Vec<String> {
        let entries = fs::read_dir(Path::new(&site.certs).join("generations")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(kept(&site), ["0003", "0004"]);
    site.rollback(&[]).is(0, "");
    site.renew(&[]);
    site.stage(&[]).is(0, "generation 0005");
    site.activate(&["--keep", "1"]).is(0, "");
    assert_eq!(kept(&site), ["0003", "0005"], "the previous one stays");
    site.links([Some(5), None, Some(3)]);
}

#[test]
fn a_crash_at_any_step_is_gone_on_from() {
    let site = Site::new();
    let certs_folder = PathBuf::from(&site.certs);
    // While staging: a draft, half a link.
    fs::create_dir_all(certs_folder.join("generations/.draft")).unwrap();
    fs::write(certs_folder.join("generations/.draft/sbc.pem"), "half").unwrap();
    symlink("generations/0009", certs_folder.join(".staged.new")).unwrap();
    site.stage(&[]).is(0, "generation 0001 is staged");
    // A generation that never became anybody's: it has its number, but no link.
    site.activate(&[]).is(0, "");
    fs::create_dir(certs_folder.join("generations/0002")).unwrap();
    site.renew(&[]);
    site.stage(&[]).is(0, "generation 0003 is staged");
    // While activating: previous is set, current not yet.
    fs::remove_file(certs_folder.join("previous")).unwrap_or_default();
    symlink("generations/0001", certs_folder.join("previous")).unwrap();
    site.activate(&[]).is(0, "generation 0003 is current, 0001 previous");
    // Both are set, but the border was not told and it is still staged.
    symlink("generations/0003", certs_folder.join("staged")).unwrap();
    site.status(&[]).is(0, "ended half way");
    site.activate(&[]).is(0, "an earlier run ended half way").is(0, "generation 0003 is current, 0001 previous");
    site.links([Some(3), None, Some(1)]);
    // While rolling back: current is swapped, previous still there.
    fs::remove_file(certs_folder.join("current")).unwrap();
    symlink("generations/0001", certs_folder.join("current")).unwrap();
    site.rollback(&[]).is(0, "generation 0001 is current");
    site.links([Some(1), None, None]);
    // While removing.
    fs::create_dir(certs_folder.join("generations/.removed-0000")).unwrap();
    site.renew(&[]);
    site.stage(&[]).is(0, "");
    site.activate(&["--keep", "2"]).is(0, "");
    assert!(!certs_folder.join("generations/.removed-0000").exists() && !certs_folder.join("generations/.draft").exists());
    // A generation somebody removed by hand.
    fs::remove_dir_all(certs_folder.join("current").canonicalize().unwrap()).unwrap();
    site.status(&[]).is(2, "is gone");
    site.rollback(&[]).is(0, "is current");
}

/// Ended at whatever moment, a job leaves files in force that belong together, and the next one does what this one was to do.
#[test]
fn a_job_may_be_killed_at_any_moment() {
    let site = Site::new();
    let (new, current) = (PathBuf::from(site.lab.at("new")), Path::new(&site.certs).join("current"));
    let pair = |folder: &Path| (fs::read(folder.join("sbc.pem")).unwrap(), fs::read(folder.join("sbc.key")).unwrap());
    let first = pair(&new);
    site.renew(&[]);
    let pairs = [first, pair(&new)];
    let put = |pair: &(Vec<u8>, Vec<u8>)| {
        portcullis::app::certs::write_whole(&new.join("sbc.pem"), &pair.0, 0o644).unwrap();
        portcullis::app::certs::write_whole(&new.join("sbc.key"), &pair.1, 0o600).unwrap();
    };
    let job = |arguments: &[&str], patience: Duration| {
        let mut child =
            std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("certs").args(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(patience);
        let _ = child.kill();
        child.wait().unwrap();
    };
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    for round in 0..14 {
        let wanted = &pairs[round % 2];
        put(wanted);
        let patience = Duration::from_millis(3 * round as u64);
        job(&["stage", &site.certs, "--from", new.to_str().unwrap(), "--set", &site.set], patience);
        job(&["activate", &site.certs, "--set", &site.set, "--no-ask"], patience);
        assert!(pairs.contains(&pair(&current)), "round {round}: halves of two generations");
        site.stage(&[]).is(0, "");
        site.activate(&["--no-ask"]).is(0, "");
        assert!(pair(&current) == *wanted, "round {round}");
    }
}

#[test]
fn what_has_gone_bad_since_is_not_activated() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    site.renew(&[]);
    site.stage(&[]).is(0, "");
    let key = Path::new(&site.certs).join("staged/sbc.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    site.activate(&[]).is(1, "[key-open]").is(1, "nothing has changed");
    site.links([Some(1), Some(2), None]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    site.activate(&[]).is(0, "");
    fs::remove_file(Path::new(&site.certs).join("previous/sbc.pem")).unwrap();
    site.rollback(&[]).is(1, "not fit to be used any more");
    site.links([Some(2), None, Some(1)]);
}

#[test]
fn two_runs_do_not_meet() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    let lock = fs::OpenOptions::new().append(true).open(Path::new(&site.certs).join(".lock")).unwrap();
    lock.lock().unwrap();
    site.activate(&["--wait", "100ms"]).is(2, "another run works here");
    site.links([None, Some(1), None]);
    site.status(&[]).is(1, "");
    drop(lock);
    site.activate(&["--wait", "100ms"]).is(0, "");
}

#[test]
fn a_generation_is_not_written_into() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    let current = format!("{}/current", site.certs);
    certs(&["csr", &current, "--name", "a.test"]).is(2, "stage them");
    certs(&["init", &current, "--name", "a.test"]).is(2, "stage them");
    fs::create_dir(site.lab.at("real")).unwrap();
    fs::remove_file(&current).unwrap();
    fs::rename(site.lab.at("real"), &current).unwrap();
    site.stage(&[]).is(2, "in the way");
}

/// A link that somebody puts among the files of a generation must not be followed: the job may be root, and hand on what is behind it.
#[test]
fn links_in_generations_are_not_followed() {
    let site = Site::new();
    site.stage(&[]).is(0, "");
    site.activate(&[]).is(0, "");
    let secret = PathBuf::from(site.lab.at("shadow"));
    fs::write(&secret, "root:secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let generations = Path::new(&site.certs).join("generations");
    let untouched = || {
        let metadata = fs::metadata(&secret).unwrap();
        assert_eq!((mode(&secret), metadata.uid()), (0o600, fs::metadata(&generations).unwrap().uid()));
        assert_eq!(fs::read(&secret).unwrap(), b"root:secret");
    };
    // Among what is carried on.
    let linked = generations.join("0001/trap.pem");
    symlink(&secret, &linked).unwrap();
    site.renew(&[]);
    site.stage(&[]).is(2, "trap.pem: it is a link");
    untouched();
    fs::remove_file(&linked).unwrap();
    // In the draft's place, and in that of what is staged.
    symlink(&secret, generations.join(".draft")).unwrap();
    site.stage(&[]).is(0, "generation 0002 is staged");
    untouched();
    let staged = generations.join("0002/sbc.pem");
    let elsewhere = site.lab.at("elsewhere.pem");
    fs::rename(&staged, &elsewhere).unwrap();
    symlink(&elsewhere, &staged).unwrap();
    site.activate(&[]).is(1, "[link]").is(1, "nothing has changed");
    fs::remove_file(&staged).unwrap();
    fs::rename(&elsewhere, &staged).unwrap();
    site.activate(&[]).is(0, "generation 0002 is current");
    // The lock, and the folder of the generations.
    let lock = Path::new(&site.certs).join(".lock");
    fs::remove_file(&lock).unwrap();
    symlink(site.lab.at("nologin"), &lock).unwrap();
    site.stage(&[]).is(2, ".lock");
    assert!(!Path::new(&site.lab.at("nologin")).exists());
    fs::remove_file(&lock).unwrap();
    fs::rename(&generations, site.lab.at("moved")).unwrap();
    symlink(site.lab.at("moved"), &generations).unwrap();
    site.renew(&[]);
    site.stage(&[]).is(2, "generations: it is a link");
}

/// A key that is not read was taken for a certificate, and opened to everybody.
#[test]
fn an_encrypted_key_beside_a_ca_stays_closed() {
    let site = Site::new();
    let file = site.new_file("trunk-ca.pem");
    let authority = fs::read_to_string(&file).unwrap();
    let key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&file, format!("{authority}{key}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    site.stage(&[]).is(1, "[key-open]").is(1, "nothing is staged");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    site.stage(&[]).is(0, "is staged");
    let staged = Path::new(&site.certs).join("staged");
    assert_eq!((mode(&staged.join("trunk-ca.pem")), mode(&staged.join("sbc.pem"))), (0o600, 0o644));
}
