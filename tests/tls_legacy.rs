//! A UM server like Exchange 2013 on Windows Server 2012 R2 with an RSA certificate, played by OpenSSL's programs: without the optional backend it is
//! refused with a reason that names the remedy, with it (feature `legacy-tls`) it is served, and nobody else ever meets it.

mod net_border;
mod ports;

use std::path::Path;
use std::process::Stdio;

use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::adapters::tls;
use portcullis::app::certs::Issued;
use portcullis::config::load_from;
use portcullis::config::source::Texts;
use portcullis::policy::flow::TlsBackend;
use portcullis::policy::settings::{Peer, PeerKind};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Route;
use portcullis::sip::Transport::Tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PEER: &str = "um.example.org";
/// What Windows Server 2012 R2 offers for an RSA certificate, by OpenSSL's names, and what one call of it then has.
const WINDOWS: &str = "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-GCM-SHA256";

/// A CA and certificates with RSA keys, made once: they take a while.
struct Keys {
    folder: tempfile::TempDir,
    ca: Issuer<'static, KeyPair>,
    pair: KeyPair,
}

impl Keys {
    fn new() -> Keys {
        let folder = tempfile::tempdir().unwrap();
        let ca_pair = rsa();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "RSA CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&ca_pair).unwrap().pem();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        let ca = Issuer::from_ca_cert_pem(&pem, ca_pair).unwrap();
        let keys = Keys { folder, ca, pair: rsa() };
        keys.issue("sbc", &["sbc.example.org"], &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth], 30);
        keys.issue("um", &[PEER], &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth], 30);
        keys
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Ends so many days from now.
    fn issue(&self, name: &str, names: &[&str], usages: &[ExtendedKeyUsagePurpose], days: i64) -> Issued {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = usages.to_vec();
        params.serial_number = Some(name.as_bytes().to_vec().into());
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - time::Duration::days(60), now + time::Duration::days(days));
        let certificate = params.signed_by(&self.pair, &self.ca).unwrap();
        let issued = Issued { certificate: certificate.pem(), key: self.pair.serialize_pem().into() };
        put(self.path(), name, &issued);
        issued
    }

    fn settings(&self, backend: TlsBackend) -> tls::Settings {
        let own = tls::KeyPairFiles { certificate: self.path().join("sbc.pem"), key: self.path().join("sbc.key") };
        let mut settings = tls_settings(own, &[("um", self.path().join("ca.pem")), ("trunk", self.path().join("ca.pem"))]);
        settings.peers[0].backend = backend;
        settings.openssl_listeners = vec!["listener 0".into()];
        settings
    }

    async fn border(&self, backend: TlsBackend) -> Border {
        Border::with(&[(Tls, V4)], &[um()], Limits::default(), self.settings(backend)).await
    }

    fn openssl(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("openssl is installed (Debian package openssl)")
    }

    /// s_server with this certificate, ready, and its port.
    async fn server(&self, certificate: &str, ciphers: &str, more: &[&str]) -> (Child, BufReader<tokio::process::ChildStdout>, u16) {
        let port = ports::free_port();
        let (accept, pem, key) = (port.to_string(), format!("{certificate}.pem"), format!("{certificate}.key"));
        let common = ["s_server", "-accept", &accept, "-cert", &pem, "-key", &key, "-CAfile", "ca.pem", "-Verify", "3", "-cipher", ciphers];
        let mut server = self.openssl(&[&common[..], more].concat());
        let mut output = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT") {
            line.clear();
            assert_ne!(timeout(PATIENCE, output.read_line(&mut line)).await.unwrap().unwrap(), 0, "s_server ended");
        }
        (server, output, port)
    }

    fn client(&self, border: &Border, certificate: &str, ciphers: &str, more: &[&str]) -> Child {
        let (connect, pem, key) = (border.address(0).to_string(), format!("{certificate}.pem"), format!("{certificate}.key"));
        let common = ["s_client", "-connect", &connect, "-cert", &pem, "-key", &key, "-CAfile", "ca.pem", "-verify_return_error", "-quiet", "-cipher", ciphers];
        self.openssl(&[&common[..], more].concat())
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

fn um() -> Peer {
    Peer { kind: PeerKind::UmServer, ..peer("um", Tls, V4, &[PEER]) }
}

fn refused(event: NetEvent) -> (Reason, String) {
    match event {
        NetEvent::Stranger { decision, .. } => {
            let said: Vec<String> = decision.compared.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (decision.refused.unwrap(), said.join(" "))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_the_backend_it_is_refused_and_the_remedy_named() {
    let keys = Keys::new();
    let mut border = keys.border(TlsBackend::Rustls).await;
    let _client = keys.client(&border, "um", WINDOWS, &["-tls1_2"]);
    let (reason, said) = refused(border.event().await);
    assert_eq!(reason, Reason::TlsNothingShared);
    assert!(said.contains("ECDSA certificate") && said.contains("suites offered=TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"), "{said}");
    let (_server, _output, port) = keys.server("um", WINDOWS, &["-tls1_2"]).await;
    border.send(1, Route::Connect(connect(Tls, (V4, port).into(), "um", &[PEER])), &request(1));
    assert_eq!(border.refusals(1).await, [(1, Reason::TlsNothingShared)]);
}

fn told(peers: &str) -> String {
    let border = "version = 1\n[[listener]]\nname = \"outside\"\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\ncertificate = \"sbc.pem\"\nkey = \"sbc.key\"\n\
         [[listener]]\nname = \"inside\"\ntransport = \"tls\"\naddress = \"192.0.2.2:5061\"\ncertificate = \"sbc.pem\"\nkey = \"sbc.key\"\n\
         [media]\ninside = \"192.0.2.2\"\noutside = \"192.0.2.1\"\n";
    let files = [("border.toml", border.to_owned()), ("peers.toml", format!("version = 1\n{peers}"))];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    match load_from(&Texts { files, variables: Default::default() }) {
        Ok((settings, warnings)) => {
            let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            format!("{warnings}listeners: {}", settings.tls.openssl_listeners.join(" "))
        }
        Err(problems) => problems.to_string(),
    }
}

const UM: &str = "[[peer]]\nname = \"um1\"\nkind = \"um-server\"\nhosts = \"um1.example\"\ntransport = \"tls\"\nca = \"ca.pem\"\n";
const OPENSSL: &str = "tls_backend = \"openssl\"\n";

#[cfg(not(feature = "legacy-tls"))]
#[test]
fn a_build_without_the_backend_refuses_the_set_and_names_the_remedy() {
    let told = told(&format!("{UM}{OPENSSL}listener = \"inside\"\n"));
    assert!(told.contains("peers.toml:8:15: peer \"um1\" wants TLS by OpenSSL, which is not in this build; build with --features legacy-tls"), "{told}");
}

#[test]
fn no_outside_peer_and_none_without_tls_may_name_it() {
    let trunk = UM.replace("um-server", "trunk").replace("um1", "carrier");
    assert!(told(&format!("{trunk}{OPENSSL}")).contains("is outside: OpenSSL, with its weaker suites, is for UM peers only; remove tls_backend"));
    let clear = "[[peer]]\nname = \"um1\"\nkind = \"um-server\"\nhosts = \"um1.example\"\ntransport = \"udp\"\nmode = \"unsecured\"\n";
    assert!(told(&format!("{clear}{OPENSSL}")).contains("tls_backend on a peer that is not TLS; remove it"));
    assert!(told(&format!("{UM}tls_backend = \"rustls\"\n")).ends_with("listeners: "));
}

#[cfg(feature = "legacy-tls")]
mod with_the_backend {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    #[test]
    fn the_set_must_keep_its_listener_apart() {
        let trunk = UM.replace("um-server", "trunk").replace("um1", "carrier");
        let inside = "listener = \"inside\"\n";
        for (peers, says) in [
            (format!("{UM}{OPENSSL}"), "names no listener of its own for OpenSSL"),
            (format!("{UM}{OPENSSL}{inside}{trunk}{inside}"), "listener \"inside\" of peer \"um1\" is also that of \"carrier\""),
            (format!("{UM}{OPENSSL}{inside}{trunk}"), "listener \"inside\" of peer \"um1\" is also that of \"carrier\""),
            (UM.replace("um1.example", "10.0.0.0/8") + OPENSSL + inside + "tls_names = \"um1.example\"\n", "lives in a network"),
        ] {
            assert!(told(&peers).contains(says), "{says}\n{}", told(&peers));
        }
        let apart = told(&format!("{UM}{OPENSSL}{inside}{trunk}listener = \"outside\"\n"));
        assert!(apart.ends_with("listeners: inside") && apart.contains("warning: ") && apart.contains("give the UM server an ECDSA certificate"), "{apart}");
    }

    /// Both ways, by each suite, and it is told which.
    #[tokio::test]
    async fn it_is_served_by_each_of_its_suites() {
        let keys = Keys::new();
        let mut border = keys.border(TlsBackend::OpenSsl).await;
        for (openssl, suite) in [
            ("ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
            ("DHE-RSA-AES256-GCM-SHA384", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
            ("AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
            ("AES256-SHA", "TLS_RSA_WITH_AES_256_CBC_SHA"),
        ] {
            let mut client = keys.client(&border, "um", openssl, &["-tls1_2"]);
            client.stdin.as_mut().unwrap().write_all(&request(1)).await.unwrap();
            let (flow, bytes) = border.received().await;
            assert_eq!(bytes, request(1));
            let identity = flow.tls.as_ref().unwrap();
            assert_eq!((&*identity.version, &*identity.cipher, identity.backend), ("TLSv1.2", suite, TlsBackend::OpenSsl));
            assert_eq!((identity.names.as_slice(), identity.trusted_for.as_slice()), (&[PEER.to_owned()][..], &["um".into()][..]));
            border.send(1, Route::Flow { id: flow.id, otherwise: None }, &response(1));
            let mut answer = vec![0; response(1).len()];
            timeout(PATIENCE, client.stdout.take().unwrap().read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(answer, response(1));
            client.kill().await.unwrap();
            assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));

            let (mut server, mut output, port) = keys.server("um", openssl, &["-tls1_2"]).await;
            border.send(1, Route::Connect(connect(Tls, (V4, port).into(), "um", &[PEER])), &request(1));
            let mut seen = Vec::new();
            while !seen.windows(5).any(|window| window == b"hello") {
                assert_ne!(timeout(PATIENCE, output.read_buf(&mut seen)).await.unwrap().unwrap(), 0, "s_server ended");
            }
            server.stdin.as_mut().unwrap().write_all(&response(1)).await.unwrap();
            let (flow, bytes) = border.received().await;
            assert_eq!((bytes.as_ref(), &*flow.tls.as_ref().unwrap().cipher), (&*response(1), suite));
            server.kill().await.unwrap();
            assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));
        }
    }

    /// The same certificates by both libraries, both ways: the same verdicts, since it is the same verifier.
    #[tokio::test]
    async fn it_takes_no_certificate_that_rustls_would_not() {
        let keys = Keys::new();
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        keys.issue("expired", &[PEER], &both, -1);
        keys.issue("name", &["other.example.org"], &both, 30);
        keys.issue("nameless", &[], &both, 30);
        keys.issue("usage", &[PEER], &[], 30);
        let stranger = portcullis::app::certs::self_signed(&portcullis::app::certs::Leaf::named(PEER)).unwrap();
        put(keys.path(), "stranger", &stranger);
        let revoked = keys.issue("revoked", &[PEER], &both, 30);
        let settings = |backend| {
            let mut settings = keys.settings(backend);
            settings.peers[0].crl = vec![tls::CrlSource::File(keys.path().join("ca.crl"))];
            settings
        };
        std::fs::write(keys.path().join("ca.crl"), list(&keys, &revoked)).unwrap();
        for (certificate, reason) in [
            ("expired", Reason::TlsExpired),
            ("name", Reason::TlsName),
            ("nameless", Reason::TlsName),
            ("usage", Reason::TlsUsage),
            ("stranger", Reason::TlsUnknownIssuer),
            ("revoked", Reason::TlsRevoked),
        ] {
            for backend in [TlsBackend::Rustls, TlsBackend::OpenSsl] {
                let mut border = Border::with(&[(Tls, V4)], &[um()], Limits::default(), settings(backend)).await;
                let _client = keys.client(&border, certificate, "DEFAULT", &["-tls1_2"]);
                let (found, said) = refused(border.event().await);
                assert_eq!(found, reason, "{certificate} {backend:?} {said}");
                let (_server, _output, port) = keys.server(certificate, "DEFAULT", &["-tls1_2"]).await;
                border.send(1, Route::Connect(connect(Tls, (V4, port).into(), "um", &[PEER])), &request(1));
                assert_eq!(border.refusals(1).await, [(1, reason)], "{certificate} {backend:?}");
            }
        }
        let mut border = keys.border(TlsBackend::OpenSsl).await;
        let to = border.address(0).to_string();
        let _nobody = keys.openssl(&["s_client", "-connect", &to, "-quiet", "-tls1_2"]);
        assert_eq!(refused(border.event().await).0, Reason::TlsNoCertificate);
    }

    fn list(keys: &Keys, revoked: &Issued) -> String {
        use rustls::pki_types::pem::PemObject;
        use x509_parser::prelude::FromDer;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(revoked.certificate.as_bytes()).unwrap();
        let serial = x509_parser::prelude::X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec();
        let now = time::OffsetDateTime::now_utc();
        let revoked = rcgen::RevokedCertParams { serial_number: serial.into(), revocation_time: now, reason_code: None, invalidity_date: None };
        let params = rcgen::CertificateRevocationListParams {
            this_update: now,
            next_update: now + time::Duration::days(1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&keys.ca).unwrap().pem().unwrap()
    }

    #[tokio::test]
    async fn it_speaks_nothing_older_and_nothing_weaker() {
        let keys = Keys::new();
        let mut border = keys.border(TlsBackend::OpenSsl).await;
        for (what, ciphers, more, reason) in [
            ("TLS 1.1", "ALL:@SECLEVEL=0", &["-tls1_1"][..], Reason::TlsNothingShared),
            ("TLS 1.0", "ALL:@SECLEVEL=0", &["-tls1"], Reason::TlsNothingShared),
            ("no authentication", "aNULL:@SECLEVEL=0", &["-tls1_2"], Reason::TlsNothingShared),
            ("Camellia", "CAMELLIA256-SHA:@SECLEVEL=0", &["-tls1_2"], Reason::TlsNothingShared),
        ] {
            let _client = keys.client(&border, "um", ciphers, more);
            let (found, said) = refused(border.event().await);
            assert_eq!(found, reason, "{what}: {said}");
        }
        let (_server, _output, port) = keys.server("um", "ALL:@SECLEVEL=0", &["-tls1_1"]).await;
        border.send(1, Route::Connect(connect(Tls, (V4, port).into(), "um", &[PEER])), &request(1));
        assert_eq!(border.refusals(1).await, [(1, Reason::TlsNothingShared)]);
        // A key of 1024 bits.
        let make = ["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "weak.key", "-out", "weak.pem", "-subj", "/CN=weak", "-days", "2"];
        assert!(timeout(PATIENCE, keys.openssl(&make).wait()).await.unwrap().unwrap().success());
        let _client = keys.client(&border, "weak", "DEFAULT:@SECLEVEL=0", &["-tls1_2"]);
        let (found, said) = refused(border.event().await);
        assert!(found == Reason::TlsBadCertificate && said.contains("too weak"), "{found} {said}");
        // What is no TLS at all.
        let mut stream = tokio::net::TcpStream::connect(border.address(0)).await.unwrap();
        stream.write_all(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n").await.unwrap();
        assert_eq!(refused(border.event().await).0, Reason::TlsBroken);
        drop(tokio::net::TcpStream::connect(border.address(0)).await.unwrap());
        assert_eq!(refused(border.event().await).0, Reason::TlsBroken);
    }

    /// In TLS 1.3 our handshake is over before the other end has looked at our certificate, in TLS 1.2 not.
    #[tokio::test]
    async fn that_it_refuses_ours_is_told_as_such() {
        let keys = Keys::new();
        let mut border = keys.border(TlsBackend::OpenSsl).await;
        let other = portcullis::app::certs::self_signed(&portcullis::app::certs::Leaf::named(PEER)).unwrap();
        std::fs::write(keys.path().join("other-ca.pem"), other.certificate).unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let (_server, _output, port) = keys.server("um", "DEFAULT", &[version, "-verify_return_error", "-CAfile", "other-ca.pem"]).await;
            border.send(1, Route::Connect(connect(Tls, (V4, port).into(), "um", &[PEER])), &request(1));
            assert_eq!(border.refusals(1).await, [(1, Reason::TlsOursRefused)], "{version}");
        }
    }

    /// Not one byte of who might be another: a trunk at the same address, another listener, a UM peer that does not name it.
    #[tokio::test]
    async fn nobody_else_meets_it() {
        let keys = Keys::new();
        let trunk = peer("trunk", Tls, V4, &["trunk.example.org"]);
        let plain = || keys.settings(TlsBackend::OpenSsl);
        let elsewhere = || tls::Settings { openssl_listeners: vec!["another".into()], ..keys.settings(TlsBackend::OpenSsl) };
        let as_trunk = Peer { kind: PeerKind::Trunk, ..um() };
        for (what, peers, settings) in [
            ("a trunk beside it", vec![um(), trunk], plain()),
            ("another listener", vec![um()], elsewhere()),
            ("it has become a trunk", vec![as_trunk], plain()),
            ("it names rustls", vec![um()], keys.settings(TlsBackend::Rustls)),
        ] {
            let mut border = Border::with(&[(Tls, V4)], &peers, Limits::default(), settings).await;
            let _client = keys.client(&border, "um", WINDOWS, &["-tls1_2"]);
            assert_eq!(refused(border.event().await).0, Reason::TlsNothingShared, "{what}");
            let mut client = keys.client(&border, "um", "DEFAULT", &[]);
            client.stdin.as_mut().unwrap().write_all(&request(1)).await.unwrap();
            assert_eq!(border.received().await.0.tls.as_ref().unwrap().backend, TlsBackend::Rustls, "{what}");
        }
    }

    /// As any other connection: it is asked again, and can be long, busy and large.
    #[tokio::test]
    async fn its_connections_are_like_any_other() {
        let keys = Keys::new();
        let mut border = keys.border(TlsBackend::OpenSsl).await;
        let mut client = keys.client(&border, "um", WINDOWS, &["-tls1_2"]);
        let (mut input, mut output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
        let sending = async {
            for n in 0..200 {
                input.write_all(&request(n)).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let answering = async {
            let mut flow = None;
            for n in 0..200 {
                let (from, bytes) = border.received().await;
                assert_eq!(bytes, request(n));
                border.send(n, Route::Flow { id: from.id, otherwise: None }, &response(n));
                flow = Some(from);
            }
            flow.unwrap()
        };
        let reading = async {
            for n in 0..200 {
                let mut answer = vec![0; response(n).len()];
                timeout(PATIENCE, output.read_exact(&mut answer)).await.unwrap().unwrap();
                assert_eq!(answer, response(n));
            }
        };
        let ((), flow, ()) = tokio::join!(sending, answering, reading);
        // The peer's CA is exchanged for one of the same name: the connection is no longer trusted.
        std::fs::write(keys.path().join("ca.pem"), Keys::new().ca_pem()).unwrap();
        border.credentials.swap(tls::Credentials::load(&keys.settings(TlsBackend::OpenSsl)).unwrap());
        border.network.recheck();
        loop {
            if let NetEvent::Untrusted { party, decision } = border.event().await {
                assert_eq!((party.flow.id, decision.refused), (flow.id, Some(Reason::TlsBadCertificate)));
                break;
            }
        }
    }

    impl Keys {
        fn ca_pem(&self) -> String {
            std::fs::read_to_string(self.path().join("ca.pem")).unwrap()
        }
    }
}
