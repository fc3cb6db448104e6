//! What `certs inspect` says of certificates, good and bad, and of their place in a policy set.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use portcullis::app::certs::{Eku, Leaf, authority, authority_between, self_signed};
use time::OffsetDateTime;

use crate::{Lab, certs, openssl};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The codes of all findings, in order, and the exit status.
fn findings(arguments: &[&str]) -> (Vec<String>, i64) {
    let said = certs(&[&["inspect", "--json"], arguments].concat()).json();
    let codes = said["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
    (codes.collect(), said["exit_status"].as_i64().unwrap())
}

#[test]
fn a_good_certificate_is_described_and_nothing_is_found() {
    let lab = Lab::new();
    certs(&["csr", &lab.at("new"), "--name", "sbc.example.test", "--name", "192.0.2.1", "--sip"]).is(0, "");
    lab.issue(&lab.at("new/sbc.example.test.csr"), &[]).is(0, "");
    let (file, key, ca) = (lab.at("new/sbc.example.test.pem"), lab.at("new/sbc.example.test.key"), lab.at("ca/ca.pem"));
    let said = certs(&["inspect", &file, "--key", &key, "--ca", &ca, "--within", "10d"]);
    for part in [
        "DNS:sbc.example.test, IP:192.0.2.1, URI:sip:sbc.example.test",
        "19 days left",
        "ECDSA P-256, signed with ECDSA with SHA-256",
        "server and client authentication",
        "complete, up to the root CN=Portcullis throw-away CA",
        "mode 0600, belongs to",
    ] {
        said.is(0, part);
    }
    let fingerprint = openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", &file]);
    said.is(0, fingerprint.trim().split_once('=').unwrap().1);
    assert_eq!(findings(&[&file, "--key", &key, "--ca", &ca]), (vec!["expiring".to_owned()], 1), "20 days are less than 30");
    assert_eq!(findings(&[&ca, "--within", "1d"]), (vec![], 0));
    certs(&["inspect", &lab.at("new/sbc.example.test.csr")]).is(0, "certificate request");
    certs(&["inspect", &lab.at("nowhere.pem")]).is(2, "nowhere.pem");
    certs(&["inspect", &file, "--within", "30"]).is(2, "30d");
    fs::write(lab.at("half.pem"), &fs::read(&file).unwrap()[..200]).unwrap();
    certs(&["inspect", &lab.at("half.pem")]).is(2, "half written");
}

/// Each thing that can be wrong with a leaf, alone.
#[test]
fn every_fault_of_a_certificate_has_its_code() {
    let lab = Lab::new();
    let root = authority("Root", YEAR).unwrap();
    let (ca, file) = (lab.at("root.pem"), lab.at("leaf.pem"));
    fs::write(&ca, root.certificate()).unwrap();
    let now = OffsetDateTime::now_utc();
    let good = || Leaf { not_after: now + YEAR / 2, ..Leaf::named("a.example.test") };
    let of = |leaf: Leaf| {
        fs::write(&file, root.issue(&leaf).unwrap().certificate).unwrap();
        findings(&[&file, "--ca", &ca]).0
    };
    assert_eq!(of(good()), Vec::<String>::new());
    assert_eq!(of(Leaf { not_before: now - YEAR, not_after: now - Duration::from_secs(60), ..good() }), ["expired"]);
    assert_eq!(of(Leaf { not_before: now + YEAR / 4, ..good() }), ["not-yet-valid"]);
    assert_eq!(of(Leaf { not_after: now + YEAR / 36, ..good() }), ["expiring"]);
    assert_eq!(of(Leaf { ekus: vec![Eku::ServerAuth], ..good() }), ["client-auth-missing"]);
    assert_eq!(of(Leaf { ekus: vec![Eku::ClientAuth], ..good() }), ["server-auth-missing"]);
    assert_eq!(of(Leaf { ekus: vec![], ..good() }), ["usage-missing"]);
    assert_eq!(of(Leaf { dns: vec![], ..good() }), ["common-name-only"]);
    assert_eq!(of(Leaf { dns: vec![], common_name: "The border".into(), ..good() }), ["no-names"]);
    assert_eq!(of(Leaf { dns: vec!["*.example.test".into(), "a.example.test".into()], ..good() }), ["wildcard"]);
    assert_eq!(of(Leaf { common_name: "*.example.test".into(), ..good() }), ["wildcard"]);
    assert_eq!(of(Leaf { dns: vec![], addresses: vec![IpAddr::from([192, 0, 2, 1])], ..good() }), Vec::<String>::new());

    fs::write(&file, self_signed(&good()).unwrap().certificate).unwrap();
    assert_eq!(findings(&[&file]).0, ["self-signed"]);
    // A CA's certificate shown as one's own.
    fs::write(lab.at("root.key"), "").unwrap();
    assert!(findings(&[&ca, "--key", &lab.at("ca/ca.key")]).0.contains(&"ca-as-leaf".to_owned()));
    let spent = authority_between("Spent", now - YEAR, now - Duration::from_secs(60)).unwrap();
    fs::write(lab.at("spent.pem"), spent.certificate()).unwrap();
    assert_eq!(findings(&[&lab.at("spent.pem")]).0, ["expired"]);
}

#[test]
fn weak_keys_and_digests_are_found() {
    let lab = Lab::new();
    let request = |key: &[&str], digest: &str, name: &str| {
        let file = lab.at(&format!("{name}.pem"));
        let tail = ["-nodes", "-x509", "-days", "90", "-keyout", &lab.at("x.key"), "-out", &file, "-subj", "/CN=x.test"];
        let extensions =
            ["-addext", "subjectAltName=DNS:x.test", "-addext", "extendedKeyUsage=serverAuth,clientAuth", "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(&[&["req", "-new", "-newkey"], key, &[digest], &tail, &extensions].concat());
        findings(&[&file]).0
    };
    assert_eq!(request(&["rsa:1024"], "-sha256", "short"), ["weak-key", "self-signed"]);
    assert_eq!(request(&["rsa:2048"], "-sha1", "sha1"), ["sha1", "self-signed"]);
    assert_eq!(request(&["rsa:2048"], "-sha256", "good"), ["self-signed"]);
    assert_eq!(request(&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "-sha256", "curve"), ["weak-key", "self-signed"]);
}

#[test]
fn every_fault_of_a_chain_has_its_code() {
    let lab = Lab::new();
    let root = authority("Root", YEAR).unwrap();
    let middle = root.intermediate("Middle", YEAR).unwrap();
    let low = middle.intermediate("Low", YEAR).unwrap();
    let issued = low.issue(&Leaf { not_after: OffsetDateTime::now_utc() + YEAR / 2, ..Leaf::named("a.example.test") }).unwrap();
    let blocks: Vec<String> = issued.certificate.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect();
    let [leaf, low, middle] = blocks.as_slice() else { panic!("{} certificates", blocks.len()) };
    let other = authority("Middle", YEAR).unwrap();
    let (ca, file) = (lab.at("root.pem"), lab.at("chain.pem"));
    fs::write(&ca, root.certificate()).unwrap();
    let of = |chain: &[&str], more: &[&str]| {
        fs::write(&file, chain.concat()).unwrap();
        findings(&[&[file.as_str(), "--ca", ca.as_str()], more].concat()).0
    };
    assert_eq!(of(&[leaf, low, middle], &[]), Vec::<String>::new());
    assert_eq!(of(&[leaf, low, middle, root.certificate()], &[]), Vec::<String>::new(), "a root is needless, and harmless");
    assert_eq!(of(&[leaf, middle, low], &[]), ["chain-order"]);
    assert_eq!(of(&[leaf], &[]), ["chain-incomplete"]);
    certs(&["inspect", &file, "--ca", &ca]).is(1, "neither in the file nor known here");
    fs::write(lab.at("low.pem"), low).unwrap();
    assert_eq!(of(&[leaf], &["--ca", &lab.at("low.pem")]), ["chain-incomplete"]);
    certs(&["inspect", &file, "--ca", &lab.at("low.pem")]).is(1, "the intermediate CN=Low is missing");
    assert_eq!(of(&[leaf, low, other.certificate()], &[]), ["chain-broken", "chain-incomplete"]);
    assert_eq!(of(&[leaf, low, middle, authority("Else", YEAR).unwrap().certificate()], &[]), ["chain-extra"]);
}

#[test]
fn a_key_is_held_against_its_certificate_and_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    for name in ["a.test", "b.test"] {
        lab.certificate("new", name, &[]).is(0, "");
    }
    let (a, a_key, b_key, ca) = (lab.at("new/a.test.pem"), lab.at("new/a.test.key"), lab.at("new/b.test.key"), lab.at("ca/ca.pem"));
    let of = |key: &str| findings(&[&a, "--key", key, "--ca", &ca, "--within", "1d"]).0;
    assert_eq!(of(&a_key), Vec::<String>::new());
    assert_eq!(of(&b_key), ["key-mismatch"]);
    fs::set_permissions(&a_key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(of(&a_key), ["key-open"]);
    fs::write(lab.at("half.key"), &fs::read(&b_key).unwrap()[..100]).unwrap();
    fs::set_permissions(lab.at("half.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(of(&lab.at("half.key")), ["unreadable"]);
}

#[test]
fn a_set_says_who_uses_a_file_and_who_would_accept_it() {
    let lab = Lab::new();
    let set = lab.policy_set("certs");
    fs::create_dir(lab.at("set/certs")).unwrap();
    for name in ["sbc.example.test", "trunk.example.test", "TRUNK.example.test", "other.test"] {
        lab.certificate("new", name, &[]).is(0, "");
    }
    fs::copy(lab.at("new/sbc.example.test.pem"), lab.at("set/certs/sbc.pem")).unwrap();
    fs::copy(lab.at("ca/ca.pem"), lab.at("set/certs/trunk-ca.pem")).unwrap();
    let inspect = |file: &str| certs(&["inspect", &lab.at(file), "--set", &set, "--within", "1d"]);
    inspect("set/certs/sbc.pem").is(0, "used as  certificate of listener \"outside\"");
    inspect("set/certs/sbc.pem").is(0, "as peer \"trunk\" that we call: refused: its certificate is for other names");
    inspect("set/certs/trunk-ca.pem").is(0, "used as  CA of peer \"trunk\"");
    inspect("new/trunk.example.test.pem").is(0, "as peer \"trunk\" that calls us: accepted").is(0, "as peer \"trunk\" that we call: accepted");
    inspect("new/TRUNK.example.test.pem").is(1, "[name-case]").is(1, "that we call: accepted");
    inspect("new/other.test.pem").is(1, "[not-accepted]");

    // Of one usage only: good in one direction, refused in the other.
    lab.issue(&lab.at("new/trunk.example.test.csr"), &["--server-only", "--out", &lab.at("server.pem")]).is(0, "");
    inspect("server.pem").is(1, "that calls us: refused").is(1, "[tls.usage]").is(1, "that we call: accepted").is(1, "[client-auth-missing]");

    // The name the listener advertises is not in it, or in another case.
    fs::copy(lab.at("new/other.test.pem"), lab.at("set/certs/sbc.pem")).unwrap();
    inspect("set/certs/sbc.pem").is(1, "lacks the name \"sbc.example.test\" (advertised by listener \"outside\")").is(1, "[name-missing]");
    lab.certificate("new", "SBC.example.test", &[]).is(0, "");
    fs::copy(lab.at("new/SBC.example.test.pem"), lab.at("set/certs/sbc.pem")).unwrap();
    inspect("set/certs/sbc.pem").is(1, "[name-case]");

    fs::write(lab.at("set/border.toml"), "version = 3\n").unwrap();
    inspect("set/certs/sbc.pem").is(2, "does not load");
}

#[test]
fn a_revocation_list_is_told_of() {
    let lab = Lab::new();
    let (list, ca, key) = (lab.at("ca/ca.crl"), lab.at("ca/ca.pem"), lab.at("ca/ca.key"));
    certs(&["crl", &list, "--ca", &ca, "--ca-key", &key, "--revoke", &lab.at("ca/other.example.test.pem")]).is(0, "");
    certs(&["inspect", &list, "--ca", &ca]).is(0, "1 revoked");
    assert_eq!(findings(&[&list]).0, ["crl-foreign"]);
    // As CAs publish it.
    openssl(&["crl", "-in", &list, "-outform", "der", "-out", &lab.at("der.crl")]);
    certs(&["inspect", &lab.at("der.crl"), "--ca", &ca]).is(0, "1 revoked");
}
