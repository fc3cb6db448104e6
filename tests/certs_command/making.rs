//! Keys, requests, certificates and revocation lists; OpenSSL reads and verifies what we make.

use std::fs;
use std::process::Command;

use crate::{Lab, certs, mode, openssl};

#[test]
fn a_request_is_made_once_and_openssl_verifies_it() {
    let lab = Lab::new();
    let folder = lab.at("new");
    let ask = ["csr", &folder, "--name", "sbc.example.test", "--name", "192.0.2.1", "--name", "2001:db8::1", "--sip"];
    certs(&ask).is(0, "made, mode 0600");
    let (key, request) = (lab.at("new/sbc.example.test.key"), lab.at("new/sbc.example.test.csr"));
    assert_eq!(mode(key.as_ref()), 0o600);
    let said = openssl(&["req", "-verify", "-noout", "-text", "-in", &request]);
    for part in [
        "verify OK",
        "CN = sbc.example.test",
        "DNS:sbc.example.test, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, URI:sip:sbc.example.test",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "id-ecPublicKey",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    let before = (fs::read(&key).unwrap(), fs::read(&request).unwrap());
    certs(&ask).is(0, "there already");
    assert!(before == (fs::read(&key).unwrap(), fs::read(&request).unwrap()), "a second run changes nothing");
    certs(&ask[..4]).is(0, "have it signed");
    assert!(fs::read(&key).unwrap() == before.0 && fs::read(&request).unwrap() != before.1, "other names, the same key");
    certs(&["csr", &folder, "--name", "sbc.example.test", "--key-type", "rsa2048"]).is(2, "another kind");
    certs(&["csr", &folder, "--name", "sbc.example.test", "--new-key"]).is(0, "made, mode 0600");
    assert!(fs::read(&key).unwrap() != before.0);
    assert_eq!(mode(key.as_ref()), 0o600);
}

#[test]
fn every_kind_of_key_is_made_and_a_pinned_one_is_kept() {
    let lab = Lab::new();
    for (kind, says) in [("p256", "prime256v1"), ("p384", "secp384r1"), ("rsa2048", "(2048 bit)")] {
        let folder = lab.at(kind);
        certs(&["csr", &folder, "--name", "a.test", "--key-type", kind]).is(0, "made");
        certs(&["csr", &folder, "--name", "a.test", "--key-type", kind]).is(0, "there already");
        let request = lab.at(&format!("{kind}/a.test.csr"));
        let said = openssl(&["req", "-verify", "-noout", "-text", "-in", &request]);
        assert!(said.contains(says), "{said}");
        lab.issue(&request, &[]).is(0, "issued");
        openssl(&["verify", "-x509_strict", "-CAfile", &lab.at("ca/ca.pem"), &lab.at(&format!("{kind}/a.test.pem"))]);
    }
    let pinned = lab.at("p384/a.test.key");
    let again = ["csr", &lab.at("again"), "--name", "b.test", "--reuse-key", &pinned];
    certs(&again).is(0, "made");
    certs(&again).is(0, "there already");
    assert!(fs::read(&pinned).unwrap() == fs::read(lab.at("again/b.test.key")).unwrap());
    assert_eq!(mode(lab.at("again/b.test.key").as_ref()), 0o600);
}

#[test]
fn names_that_no_peer_accepts_are_not_asked_for() {
    let lab = Lab::new();
    for name in ["*.example.test", "a b", "", "sip:alice@example.test", "../x"] {
        certs(&["csr", &lab.at("new"), "--name", name]).is(2, "");
    }
    certs(&["csr", &lab.at("new"), "--name", "*.example.test"]).is(2, "wildcard");
    certs(&["csr", &lab.at("new"), "--name", "a.test", "--file", "../x"]).is(2, "--file");
    assert!(!lab.0.path().join("new").exists());
}

#[test]
fn what_is_issued_is_good_for_others() {
    let lab = Lab::new();
    lab.certificate("new", "sbc.example.test", &[]).is(0, "issued for 20 days");
    let certificate = lab.at("new/sbc.example.test.pem");
    for purpose in ["sslserver", "sslclient"] {
        openssl(&["verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "sbc.example.test", "-CAfile", &lab.at("ca/ca.pem"), &certificate]);
    }
    let before = fs::read(&certificate).unwrap();
    lab.issue(&lab.at("new/sbc.example.test.csr"), &[]).is(0, "there already");
    assert!(before == fs::read(&certificate).unwrap());
    let again = lab.issue(&lab.at("new/sbc.example.test.csr"), &["--again", "--json"]).json();
    assert_eq!((again["outcome"].as_str(), again["exit_status"].as_u64()), (Some("done"), Some(0)));
    let serial = |file: &str| openssl(&["x509", "-noout", "-serial", "-in", file]);
    assert_eq!(serial(&certificate).trim(), format!("serial={}", again["facts"]["serial"].as_str().unwrap()));
    fs::write(lab.at("before.pem"), before).unwrap();
    assert_ne!(serial(&certificate), serial(&lab.at("before.pem")), "a renewal with the same key has a serial number of its own");

    lab.issue(&lab.at("new/sbc.example.test.csr"), &["--server-only"]).is(0, "server authentication only");
    let said = openssl(&["x509", "-noout", "-ext", "extendedKeyUsage,basicConstraints", "-in", &certificate]);
    assert!(said.contains("Server Authentication") && !said.contains("Client") && said.contains("CA:FALSE"), "{said}");
    lab.issue(&lab.at("new/sbc.example.test.csr"), &["--client-only"]).is(0, "client authentication only");
}

/// The library that reads requests takes the curve from the digest: a P-384 key that signed with SHA-256 would have become a P-256 key.
#[test]
fn a_request_of_openssl_keeps_its_curve() {
    let lab = Lab::new();
    let (key, request) = (lab.at("theirs.key"), lab.at("theirs.csr"));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:secp384r1",
        "-sha256",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &request,
        "-subj",
        "/O=Example/CN=theirs.test",
        "-addext",
        "subjectAltName=DNS:theirs.test",
    ]);
    lab.issue(&request, &[]).is(0, "issued");
    let certificate = lab.at("theirs.pem");
    openssl(&["verify", "-x509_strict", "-CAfile", &lab.at("ca/ca.pem"), &certificate]);
    assert_eq!(openssl(&["x509", "-noout", "-pubkey", "-in", &certificate]), openssl(&["pkey", "-pubout", "-in", &key]));
}

#[test]
fn what_should_not_be_signed_is_not() {
    let lab = Lab::new();
    certs(&["csr", &lab.at("new"), "--name", "a.test"]).is(0, "");
    let request = lab.at("new/a.test.csr");
    // One octet of the request's signature is another.
    let text = fs::read_to_string(&request).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len() - 2];
    let other = format!("{}{}", if last.starts_with('A') { "B" } else { "A" }, &last[1..]);
    fs::write(lab.at("forged.csr"), text.replace(last, &other)).unwrap();
    lab.issue(&lab.at("forged.csr"), &[]).is(2, "signature");
    assert!(!lab.0.path().join("forged.pem").exists());

    let (ca, key) = (lab.at("ca/ca.pem"), lab.at("ca/ca.key"));
    certs(&["issue", &request, "--ca", &ca, "--ca-key", &key, "--days", "300"]).is(2, "at most --days 29");
    let (leaf, leaf_key) = (lab.at("ca/other.example.test.pem"), lab.at("ca/other.example.test.key"));
    certs(&["issue", &request, "--ca", &leaf, "--ca-key", &leaf_key, "--days", "3"]).is(2, "no CA's certificate");
    certs(&["issue", &request, "--ca", &ca, "--ca-key", &leaf_key, "--days", "3"]).is(2, "belongs to no certificate");
    certs(&["issue", &request, "--ca", &ca, "--ca-key", &key, "--days", "0"]).is(2, "");
    certs(&["issue", &lab.at("nowhere"), "--ca", &ca, "--ca-key", &key]).is(2, "No such file");
    // No names but in the subject: nobody may go by that.
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        &lab.at("cn.key"),
        "-out",
        &lab.at("cn.csr"),
        "-subj",
        "/CN=cn.test",
    ]);
    lab.issue(&lab.at("cn.csr"), &[]).is(2, "no subject alternative name");
    // A request that would be a CA's is signed as a leaf's.
    openssl(&[
        "req",
        "-new",
        "-key",
        &lab.at("cn.key"),
        "-out",
        &lab.at("ca.csr"),
        "-subj",
        "/CN=ca.test",
        "-addext",
        "subjectAltName=DNS:ca.test",
        "-addext",
        "basicConstraints=CA:TRUE",
    ]);
    lab.issue(&lab.at("ca.csr"), &["--out", &lab.at("leaf.pem")]).is(0, "issued");
    assert!(openssl(&["x509", "-noout", "-ext", "basicConstraints", "-in", &lab.at("leaf.pem")]).contains("CA:FALSE"));
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    certs(&["issue", &request, "--ca", &ca, "--ca-key", &key]).is(2, "chmod 600");
}

#[test]
fn a_revocation_list_grows_and_openssl_obeys_it() {
    let lab = Lab::new();
    for name in ["a.test", "b.test"] {
        lab.certificate("new", name, &[]).is(0, "issued");
    }
    let (list, ca, key) = (lab.at("ca/ca.crl"), lab.at("ca/ca.pem"), lab.at("ca/ca.key"));
    let base = ["crl", &list, "--ca", &ca, "--ca-key", &key];
    let with = |more: &[&str]| certs(&[&base[..], more].concat());
    let refused = |name: &str| {
        let certificate = lab.at(&format!("new/{name}.pem"));
        let output = Command::new("openssl").args(["verify", "-crl_check", "-CAfile", &ca, "-CRLfile", &list, &certificate]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() != said.contains("certificate revoked"), "{said}");
        !output.status.success()
    };
    with(&[]).is(0, "number 1, 0 revoked");
    assert_eq!((refused("a.test"), refused("b.test")), (false, false));
    let a = lab.at("new/a.test.pem");
    with(&["--revoke", &a, "--reason", "key-compromise"]).is(0, "number 2, 1 revoked (1 added)");
    assert_eq!((refused("a.test"), refused("b.test")), (true, false));
    with(&["--revoke", &a]).is(0, "up to date");
    with(&["--revoke", &lab.at("new/b.test.pem")]).is(0, "number 3, 2 revoked (1 added)");
    assert_eq!((refused("a.test"), refused("b.test")), (true, true));
    assert!(openssl(&["crl", "-noout", "-text", "-in", &list]).contains("Key Compromise"), "the reason is carried on");
    with(&["--days", "100"]).is(0, "number 4");

    certs(&["init", &lab.at("strangers"), "--name", "c.test"]).is(0, "");
    with(&["--revoke", &lab.at("strangers/c.test.pem")]).is(2, "was not issued by");
    certs(&["crl", &list, "--ca", &lab.at("strangers/ca.pem"), "--ca-key", &lab.at("strangers/ca.key")]).is(2, "another CA");
}

/// Each read the list, added its own and wrote: the last one won.
#[test]
fn no_revocation_is_lost_among_runs_at_once() {
    let lab = Lab::new();
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    for name in names {
        lab.certificate("new", name, &[]).is(0, "issued");
    }
    let (list, ca, key) = (lab.at("ca/ca.crl"), lab.at("ca/ca.pem"), lab.at("ca/ca.key"));
    std::thread::scope(|scope| {
        for name in names {
            let certificate = lab.at(&format!("new/{name}.pem"));
            let arguments = ["crl".to_owned(), list.clone(), "--ca".into(), ca.clone(), "--ca-key".into(), key.clone(), "--revoke".into(), certificate];
            scope.spawn(move || certs(&arguments).is(0, "(1 added)").status);
        }
    });
    certs(&["crl", &list, "--ca", &ca, "--ca-key", &key]).is(0, "up to date, 5 revoked");
}

/// What is not carried on would be gone when the file is written.
#[test]
fn a_list_among_others_is_not_carried_on() {
    let lab = Lab::new();
    certs(&["init", &lab.at("strangers"), "--name", "c.test"]).is(0, "");
    let crl = |ca: &str, list: &str| {
        certs(&["crl", &lab.at(list), "--ca", &lab.at(&format!("{ca}/ca.pem")), "--ca-key", &lab.at(&format!("{ca}/ca.key")), "--days", "30"])
    };
    crl("ca", "ours.crl").is(0, "number 1");
    crl("strangers", "theirs.crl").is(0, "number 1");
    let ours = fs::read_to_string(lab.at("ours.crl")).unwrap();
    for other in ["theirs.crl", "strangers/ca.pem"] {
        let bundle = format!("{ours}{}", fs::read_to_string(lab.at(other)).unwrap());
        fs::write(lab.at("bundle.crl"), &bundle).unwrap();
        crl("ca", "bundle.crl").is(2, "a file of its own");
        assert_eq!(fs::read_to_string(lab.at("bundle.crl")).unwrap(), bundle);
    }
}

#[test]
fn jobs_get_one_object_and_cron_gets_silence() {
    let lab = Lab::new();
    let folder = lab.at("ca");
    let said = certs(&["init", &folder, "--name", "other.example.test", "--json"]).json();
    assert_eq!((said["command"].as_str(), said["outcome"].as_str()), (Some("init"), Some("nothing")));
    assert_eq!(certs(&["init", &folder, "--name", "other.example.test", "--quiet"]).is(0, "").text, "");
    let said = certs(&["csr", &lab.at("new"), "--name", "a.test", "--reuse-key", &lab.at("nowhere"), "--json"]).json();
    assert_eq!((said["outcome"].as_str(), said["exit_status"].as_u64()), (Some("unusable"), Some(2)));
}
