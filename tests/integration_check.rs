//! The integration check: every pitfall of `app::integration` is provoked by one change to a set that has none, and the commands for the other side are
//! those of `tests/golden/other_side`, word for word. `BLESS=1` writes those anew.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::app::certs::{Eku, Leaf, authority, self_signed};
use portcullis::app::check::{Check, check};
use portcullis::app::integration::{Integration, PITFALLS, integration};
use portcullis::config;
use tempfile::TempDir;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A set that has no pitfall: a Mediation Server and a PBX outside, Exchange with call router and Mailbox server inside.
const BASE: [(&str, &str); 6] = [
    (
        "border.toml",
        r#"version = 1
[[listener]]
name = "outside"
transport = "tls"
address = "192.0.2.1:5061"
advertised = "sbc.example.com"
certificate = "certs/outside.pem"
key = "certs/outside.key"
[[listener]]
name = "inside"
transport = "tls"
address = "10.0.0.1:5061"
advertised = "sbc.corp.example.com"
certificate = "certs/inside.pem"
key = "certs/inside.key"
[media]
inside = ["10.0.0.1"]
outside = ["192.0.2.1"]
ports = [20000, 29999]
"#,
    ),
    (
        "peers.toml",
        r#"version = 1
[[peer]]
name = "mediation1"
kind = "mediation"
hosts = "med1.corp.example.com"
transport = "tls"
listener = "outside"
ca = "certs/ca.pem"
diversion = true
[[peer]]
name = "mediation2"
kind = "mediation"
hosts = "med2.corp.example.com"
transport = "tls"
listener = "outside"
ca = "certs/ca.pem"
[[peer]]
name = "router1"
kind = "um-router"
hosts = "cas1.corp.example.com"
transport = "tls"
port = 5061
listener = "inside"
ca = "certs/ca.pem"
[[peer]]
name = "mbx1"
kind = "um-server"
hosts = "mbx1.corp.example.com"
transport = "tls"
port = 5061
listener = "inside"
ca = "certs/ca.pem"
"#,
    ),
    (
        "um_pools.toml",
        "version = 1\n[[um_pool]]\nname = \"exchange\"\nrouters = [\"router1\"]\nservers = [\"mbx1\"]\nmax_redirects = 5\nno_answer = \"10s\"\nstart_up = \"dual\"\n",
    ),
    (
        "dial_plans.toml",
        "version = 1\n[[dial_plan]]\nname = \"HeadOffice\"\nuri_type = \"e164\"\ndigits = 5\num_pool = \"exchange\"\ngateways = [\"mediation1\"]\n[[dial_plan]]\nname = \"Branch\"\ndigits = 4\num_pool = \"exchange\"\ngateways = [\"mediation1\"]\n",
    ),
    (
        "hunt_groups.toml",
        "version = 1\n[[hunt_group]]\nname = \"Access\"\npeer = \"mediation1\"\npilot = \"+14255550100\"\ndial_plan = \"HeadOffice\"\n[[hunt_group]]\nname = \"Access\"\npeer = \"mediation2\"\npilot = \"+14255550101\"\ndial_plan = \"HeadOffice\"\n[[hunt_group]]\nname = \"Branch\"\npeer = \"mediation1\"\npilot = \"5000\"\ndial_plan = \"Branch\"\n",
    ),
    ("admission.toml", "version = 1\ncalls = 100\n"),
];

fn base() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in BASE {
        fs::write(folder.path().join(file), text).unwrap();
    }
    fs::create_dir(folder.path().join("certs")).unwrap();
    certificate(&folder, "outside", &Leaf::named("sbc.example.com"));
    certificate(&folder, "inside", &Leaf::named("sbc.corp.example.com"));
    folder
}

fn certificate(folder: &TempDir, name: &str, leaf: &Leaf) {
    let issued = authority("a test CA", std::time::Duration::from_secs(3600)).unwrap().issue(leaf).unwrap();
    fs::write(folder.path().join(format!("certs/{name}.pem")), issued.certificate).unwrap();
}

fn change(folder: &TempDir, file: &str, from: &str, to: &str) {
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn examined(folder: &Path) -> Integration {
    let (settings, _) = config::load(folder).unwrap_or_else(|problems| panic!("{problems}"));
    integration(&settings, &config::places(folder))
}

/// Pitfall, what is changed (file, from, to), and where it is found.
type Case = (&'static str, &'static [(&'static str, &'static str, &'static str)], &'static str);

const CASES: [Case; 25] = [
    ("gateway-by-address", &[("border.toml", "advertised = \"sbc.corp.example.com\"\n", "")], "border.toml:9:1"),
    (
        "gateway-names-share-address",
        &[
            (
                "border.toml",
                "[media]",
                "[[listener]]\nname = \"other\"\ntransport = \"tls\"\naddress = \"10.0.0.1:5071\"\nadvertised = \"sbc2.corp.example.com\"\ncertificate = \"certs/other.pem\"\nkey = \"certs/other.key\"\n[media]",
            ),
            ("peers.toml", "port = 5061\nlistener = \"inside\"", "port = 5061\nlistener = \"other\""),
        ],
        "border.toml:20:14",
    ),
    ("gateway-port", &[("border.toml", "address = \"10.0.0.1:5061\"", "address = \"10.0.0.1:5060\"")], "border.toml:12:11"),
    ("address-family", &[("border.toml", "inside = [\"10.0.0.1\"]", "inside = [\"2001:db8::1\"]")], "border.toml:17:10"),
    (
        "name-with-space",
        &[
            ("dial_plans.toml", "\"HeadOffice\"", "\"Head Office\""),
            ("hunt_groups.toml", "dial_plan = \"HeadOffice\"", "dial_plan = \"Head Office\""),
            ("hunt_groups.toml", "dial_plan = \"HeadOffice\"", "dial_plan = \"Head Office\""),
        ],
        "dial_plans.toml:3:8",
    ),
    ("hunt-group-name", &[("hunt_groups.toml", "\"Branch\"\npeer", "\"Branch=4\"\npeer")], "hunt_groups.toml:13:8"),
    (
        "no-hunt-group",
        &[("hunt_groups.toml", "dial_plan = \"Branch\"", "dial_plan = \"HeadOffice\""), ("hunt_groups.toml", "pilot = \"5000\"", "pilot = \"+14255550102\"")],
        "dial_plans.toml:9:8",
    ),
    ("pilot-missing", &[("hunt_groups.toml", "pilot = \"5000\"\n", "")], "hunt_groups.toml:13:8"),
    ("pilot-missing", &[("hunt_groups.toml", "peer = \"mediation2\"\npilot = \"+14255550101\"\n", "peer = \"mediation1\"\n")], "hunt_groups.toml:8:8"),
    (
        "pilot-length",
        &[("dial_plans.toml", "\"e164\"", "\"sip-uri\""), ("hunt_groups.toml", "+14255550100", "a-pilot-longer-than-the-shell-takes@example.com")],
        "hunt_groups.toml:5:9",
    ),
    ("pilot-digits", &[("hunt_groups.toml", "\"5000\"", "\"50000\"")], "hunt_groups.toml:15:9"),
    ("pilot-digits", &[("dial_plans.toml", "digits = 5", "digits = 12")], "hunt_groups.toml:5:9"),
    ("pilot-is-uri", &[("hunt_groups.toml", "\"5000\"", "\"sip:5000@sbc.example.com\"")], "hunt_groups.toml:15:9"),
    (
        "number-in-two-plans",
        &[(
            "hunt_groups.toml",
            "name = \"Access\"\npeer = \"mediation2\"\npilot = \"+14255550101\"\ndial_plan = \"HeadOffice\"",
            "name = \"Other\"\npeer = \"mediation2\"\npilot = \"+1 425 555 0100\"\ndial_plan = \"Branch\"",
        )],
        "hunt_groups.toml:10:9",
    ),
    ("no-diversion", &[("hunt_groups.toml", "peer = \"mediation1\"\npilot = \"5000\"", "peer = \"mediation2\"\npilot = \"5000\"")], "dial_plans.toml:9:8"),
    ("no-outcall-gateway", &[("dial_plans.toml", "gateways = [\"mediation1\"]\n[[", "[[")], "dial_plans.toml:3:8"),
    (
        "outcall-gateways-of-lync",
        &[("dial_plans.toml", "\"e164\"", "\"sip-uri\""), ("dial_plans.toml", "[\"mediation1\"]", "[\"mediation1\", \"mediation2\"]")],
        "dial_plans.toml:7:27",
    ),
    ("too-few-redirects", &[("um_pools.toml", "max_redirects = 5", "max_redirects = 1")], "um_pools.toml:6:17"),
    ("redirects-lead-nowhere", &[("um_pools.toml", "servers = [\"mbx1\"]\n", "")], "um_pools.toml:4:11"),
    (
        "server-by-address",
        &[
            (
                "border.toml",
                "transport = \"tls\"\naddress = \"10.0.0.1:5061\"\nadvertised = \"sbc.corp.example.com\"\ncertificate = \"certs/inside.pem\"\nkey = \"certs/inside.key\"",
                "transport = \"tcp\"\naddress = \"10.0.0.1:5060\"",
            ),
            (
                "peers.toml",
                "hosts = \"cas1.corp.example.com\"\ntransport = \"tls\"\nport = 5061\nlistener = \"inside\"\nca = \"certs/ca.pem\"",
                "hosts = \"cas1.corp.example.com\"\ntransport = \"tcp\"\nmode = \"unsecured\"",
            ),
            (
                "peers.toml",
                "hosts = \"mbx1.corp.example.com\"\ntransport = \"tls\"\nport = 5061\nlistener = \"inside\"\nca = \"certs/ca.pem\"",
                "hosts = \"10.0.0.20\"\ntransport = \"tcp\"\nmode = \"unsecured\"",
            ),
            ("dial_plans.toml", "digits = 5", "digits = 5\nmode = \"unsecured\""),
            ("dial_plans.toml", "digits = 4", "digits = 4\nmode = \"unsecured\""),
        ],
        "peers.toml:26:9",
    ),
    ("server-port", &[("peers.toml", "port = 5061", "port = 5060")], "peers.toml:22:8"),
    (
        "server-port",
        &[(
            "peers.toml",
            "port = 5061\nlistener = \"inside\"\nca = \"certs/ca.pem\"\n[[peer]]\nname = \"mbx1\"",
            "port = 5067\nlistener = \"inside\"\nca = \"certs/ca.pem\"\n[[peer]]\nname = \"mbx1\"",
        )],
        "peers.toml:22:8",
    ),
    ("start-up-mode", &[("um_pools.toml", "start_up = \"dual\"", "start_up = \"tcp\"")], "um_pools.toml:8:12"),
    ("media-ports", &[("border.toml", "[20000, 29999]", "[20000, 20299]")], "border.toml:19:9"),
    ("slow-failover-for-lync", &[("um_pools.toml", "routers = [\"router1\"]", "routers = [\"router1\", \"mbx1\"]")], "um_pools.toml:7:13"),
];

#[test]
fn a_set_without_pitfalls_has_none() {
    let folder = base();
    let found = examined(folder.path()).findings;
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn each_change_provokes_its_pitfall_where_it_is_written() {
    for (name, changes, place) in CASES {
        let folder = base();
        for (file, from, to) in changes {
            change(&folder, file, from, to);
        }
        let found = examined(folder.path()).findings;
        let lines: Vec<String> = found.iter().map(|(name, finding)| format!("{name}: {finding}")).collect();
        assert!(lines.iter().any(|line| line.starts_with(&format!("{name}: {place}: "))), "{name} not at {place} in {lines:#?}");
    }
}

/// What is changed in the certificate shown inside.
#[test]
fn certificates_provoke_theirs() {
    let leaf = |change: &dyn Fn(&mut Leaf)| {
        let mut leaf = Leaf::named("sbc.corp.example.com");
        change(&mut leaf);
        leaf
    };
    let cases = [
        ("certificate-wildcard", leaf(&|leaf| leaf.common_name = "*.corp.example.com".into())),
        ("certificate-case", Leaf::named("SBC.corp.example.com")),
        ("certificate-name", leaf(&|leaf| leaf.common_name = "border".into())),
        ("certificate-name", leaf(&|leaf| leaf.dns.clear())),
        ("certificate-name", Leaf::named("other.example.com")),
        ("certificate-usage", leaf(&|leaf| leaf.ekus = vec![Eku::ServerAuth])),
    ];
    for (name, leaf) in cases {
        let folder = base();
        certificate(&folder, "inside", &leaf);
        let found = examined(folder.path()).findings;
        assert!(matches!(&found[..], [(only, finding)] if *only == name && finding.line == 14), "{name}: {found:?}");
    }
    let folder = base();
    fs::write(folder.path().join("certs/outside.pem"), self_signed(&Leaf::named("sbc.example.com")).unwrap().certificate).unwrap();
    let found = examined(folder.path()).findings;
    assert!(found.iter().all(|(name, finding)| *name == "certificate-self-signed" && finding.line == 7) && !found.is_empty(), "{found:?}");
}

#[test]
fn two_hundred_gateways_are_too_many_with_one_more() {
    for (count, expected) in [(200, false), (201, true)] {
        let folder = base();
        let mut peers = fs::read_to_string(folder.path().join("peers.toml")).unwrap();
        let mut groups = fs::read_to_string(folder.path().join("hunt_groups.toml")).unwrap();
        for index in 0..count - 2 {
            let host = format!("198.51.{}.{}", index / 200, index % 200);
            peers.push_str(&format!("[[peer]]\nname = \"gw{index}\"\nkind = \"gateway\"\nhosts = \"{host}\"\ntls_names = \"gw{index}.example.com\"\ntransport = \"tls\"\nlistener = \"outside\"\nca = \"certs/ca.pem\"\n"));
            groups.push_str(&format!("[[hunt_group]]\nname = \"Access\"\npeer = \"gw{index}\"\npilot = \"+14255550100\"\ndial_plan = \"HeadOffice\"\n"));
        }
        fs::write(folder.path().join("peers.toml"), peers).unwrap();
        fs::write(folder.path().join("hunt_groups.toml"), groups).unwrap();
        let found = examined(folder.path()).findings;
        assert_eq!(found.iter().any(|(name, _)| *name == "too-many-gateways"), expected, "{found:?}");
    }
}

/// Every line of the table is provoked by a test of this file, so that none is dead.
#[test]
fn every_pitfall_has_a_test() {
    let own = fs::read_to_string(at("tests/integration_check.rs")).unwrap();
    let missing: Vec<&str> = PITFALLS.iter().map(|pitfall| pitfall.name).filter(|name| !own.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn pitfalls_and_the_other_side_are_printed() {
    let folder = base();
    change(&folder, "um_pools.toml", "max_redirects = 5", "max_redirects = 1");
    let printed = |json| {
        let mut out = Vec::new();
        let status = check(&Check { policy_set: folder.path().into(), json, offline: true }, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    };
    let (status, text) = printed(false);
    assert_eq!(status, 0, "a pitfall is a warning: {text}");
    assert!(text.contains("warning: um_pools.toml:6:17: UM pool \"exchange\" follows 1 redirect"), "{text}");
    assert!(text.find(": clean (") < text.find("New-UMDialPlan -Name 'HeadOffice'"), "{text}");
    let object: serde_json::Value = serde_json::from_str(&printed(true).1).unwrap();
    assert_eq!((object["pitfalls"][0]["pitfall"].as_str(), object["pitfalls"][0]["line"].as_u64()), (Some("too-few-redirects"), Some(6)));
    assert!(object["other_side"].as_array().is_some_and(|lines| lines.len() > 10));
}

/// What a server needs depends on its version and its role; a voicemail server that is no Exchange needs nothing.
#[test]
fn versions_and_roles_are_told_apart() {
    let with = |version: &str, redirects: &str| {
        let folder = base();
        change(&folder, "um_pools.toml", "start_up", &format!("version = \"{version}\"\nstart_up"));
        change(&folder, "um_pools.toml", "max_redirects = 5", redirects);
        examined(folder.path())
    };
    let old = with("exchange-2010", "max_redirects = 1");
    assert!(!old.findings.iter().any(|(name, _)| *name == "too-few-redirects"), "one redirect is what it makes: {:?}", old.findings);
    assert!(
        old.script.contains("Set-UMServer -Identity 'mbx1.corp.example.com' -UMStartupMode Dual") && !old.script.contains("Set-UMService"),
        "{}",
        old.script
    );
    let new = with("exchange-2013", "max_redirects = 5").script;
    assert!(!new.contains("Set-UMCallRouterSettings -Server 'mbx1") && !new.contains("Set-UMService -Identity 'cas1"), "{new}");
    assert!(!with("generic", "max_redirects = 5").script.contains("UMDialPlan"));
    // Lync does a transfer itself where the border would refuse its REFER.
    assert!(new.contains("-EnableReferSupport $false"), "{new}");
    let folder = base();
    change(&folder, "peers.toml", "diversion = true", "diversion = true\nrefer = \"execute\"");
    assert!(examined(folder.path()).script.contains("-EnableReferSupport $true"));
}

/// Lamps are told by hunt groups' peers too, not by the plan's gateways alone.
#[test]
fn message_waiting_is_allowed_where_a_peer_takes_it() {
    let script = |mwi: bool| {
        let folder = base();
        change(&folder, "peers.toml", "diversion = true", &format!("diversion = true\nmwi = {mwi}"));
        change(&folder, "peers.toml", "name = \"mediation2\"", "name = \"mediation2\"\nmwi = false");
        examined(folder.path()).script
    };
    assert!(script(true).contains("-MessageWaitingIndicatorAllowed $true") && script(false).contains("-MessageWaitingIndicatorAllowed $false"));
}

/// Names that would be commands if their quotes ended.
#[test]
fn nothing_of_a_set_becomes_a_command() {
    let folder = base();
    let evil = "x'; Remove-Mailbox '$(whoami)`n";
    let toml = "x'; Remove-Mailbox '$(whoami)`n".replace(';', "");
    assert!(evil.contains(';'));
    for file in ["dial_plans.toml", "hunt_groups.toml"] {
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap().replace("HeadOffice", &toml);
        fs::write(path, text).unwrap();
    }
    let script = examined(folder.path()).script;
    assert!(script.contains("New-UMDialPlan -Name 'x'' Remove-Mailbox ''$(whoami)`n' -URIType"), "{script}");
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // Outside of quotes: what is left when every quoted argument is taken out.
        let outside: String = line.split('\'').step_by(2).collect();
        assert!(!outside.contains("whoami") && !outside.contains("Remove-Mailbox"), "{line}");
    }
}

#[test]
fn the_other_side_of_shipped_sets_is_as_written() {
    let mut failures = Vec::new();
    let mut sets: Vec<PathBuf> = fs::read_dir(at("policies")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    sets.sort();
    for set in sets {
        let integration = examined(&set);
        assert!(integration.findings.is_empty(), "{}: {:?}", set.display(), integration.findings);
        let script = integration.script.replace(&format!("{}/", set.display()), "");
        let golden = at("tests/golden/other_side").join(format!("{}.txt", set.file_name().unwrap().to_string_lossy()));
        if script.is_empty() {
            assert!(!golden.exists(), "{}", golden.display());
        } else if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, script).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != script {
            failures.push(format!("{}:\n{script}", golden.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
