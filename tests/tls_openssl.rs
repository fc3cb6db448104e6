//! Mutual TLS with an independent implementation: OpenSSL's s_client and s_server.

mod net_border;
mod ports;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::adapters::tls::KeyPairFiles;
use portcullis::app::certs::{Init, init};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Route;
use portcullis::sip::Transport::Tls;
use ports::free_port;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

fn openssl(arguments: &[&str], folder: &Path) -> Child {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("openssl is installed (Debian package openssl)")
}

fn stranger_of(event: NetEvent) -> Option<Reason> {
    match event {
        NetEvent::Stranger { decision, .. } => decision.refused,
        other => panic!("{other:?}"),
    }
}

async fn border(folder: &Path) -> Border {
    init(folder, &Init::new(["sbc.example.org", "um.example.org"])).unwrap();
    // A CA of the same name with another key.
    init(&folder.join("others"), &Init::new(["um.example.org"])).unwrap();
    let own = KeyPairFiles { certificate: folder.join("sbc.example.org.pem"), key: folder.join("sbc.example.org.key") };
    let settings = tls_settings(own, &[("um", folder.join("ca.pem"))]);
    Border::with(&[(Tls, V4)], &[peer("um", Tls, V4, &["um.example.org"])], Limits::default(), settings).await
}

#[tokio::test]
async fn s_client_comes_in_with_its_certificate_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut border = border(folder.path()).await;
    let address = border.address(0).to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let common = ["s_client", "-connect", &address, "-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "sbc.example.org", "-quiet", version];
        let shows = |folder: &'static str| -> Vec<&'static str> {
            match folder {
                "ours" => vec!["-cert", "um.example.org.pem", "-key", "um.example.org.key"],
                "others" => vec!["-cert", "others/um.example.org.pem", "-key", "others/um.example.org.key"],
                _ => Vec::new(),
            }
        };
        let mut client = openssl(&[&common[..], &shows("ours")].concat(), folder.path());
        let mut input = client.stdin.take().unwrap();
        input.write_all(&request(1)).await.unwrap();
        input.flush().await.unwrap();
        let (flow, bytes) = border.received().await;
        assert_eq!(bytes, request(1));
        assert_eq!(flow.tls.as_ref().unwrap().version, if version == "-tls1_3" { "TLSv1.3" } else { "TLSv1.2" });
        border.send(1, Route::Flow { id: flow.id, otherwise: None }, &response(1));
        let mut answer = vec![0; response(1).len()];
        timeout(PATIENCE, client.stdout.take().unwrap().read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, response(1));
        client.kill().await.unwrap();
        assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));
        for (stranger, reason) in [("others", Reason::TlsBadCertificate), ("none", Reason::TlsNoCertificate)] {
            let mut client = openssl(&[&common[..], &shows(stranger)].concat(), folder.path());
            let _ = client.stdin.as_mut().unwrap().write_all(&request(2)).await;
            assert_eq!(stranger_of(border.event().await), Some(reason), "{stranger} {version}");
            client.kill().await.unwrap();
        }
    }
    let old = openssl(&["s_client", "-connect", &address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], folder.path());
    assert_eq!(stranger_of(border.event().await), Some(Reason::TlsNothingShared), "TLS 1.1 is not spoken");
    drop(old);
}

#[tokio::test]
async fn s_server_is_reached_with_our_certificate_if_its_own_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut border = border(folder.path()).await;
    for (certificate, wrong) in
        [("um.example.org", None), ("sbc.example.org", Some(Reason::TlsName)), ("others/um.example.org", Some(Reason::TlsBadCertificate))]
    {
        let port = free_port().to_string();
        let (pem, key) = (format!("{certificate}.pem"), format!("{certificate}.key"));
        let arguments =
            ["s_server", "-accept", &port, "-cert", &pem, "-key", &key, "-CAfile", "ca.pem", "-Verify", "3", "-verify_return_error", "-naccept", "1"];
        let mut server = openssl(&arguments, folder.path());
        let mut output = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT") {
            line.clear();
            assert_ne!(timeout(PATIENCE, output.read_line(&mut line)).await.unwrap().unwrap(), 0, "s_server ended");
        }
        let remote = format!("127.0.0.1:{port}").parse().unwrap();
        border.send(1, Route::Connect(connect(Tls, remote, "um", &["um.example.org"])), &request(1));
        let Some(reason) = wrong else {
            let mut seen = Vec::new();
            while !seen.windows(5).any(|window| window == b"hello") {
                let mut buffer = [0; 4_096];
                let length = timeout(PATIENCE, output.read(&mut buffer)).await.unwrap().unwrap();
                assert_ne!(length, 0, "s_server ended");
                seen.extend_from_slice(&buffer[..length]);
            }
            let mut input = server.stdin.take().unwrap();
            input.write_all(&response(1)).await.unwrap();
            input.flush().await.unwrap();
            assert_eq!(border.received().await.1, response(1));
            server.kill().await.unwrap();
            assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));
            continue;
        };
        assert_eq!(border.refusals(1).await, [(1, reason)], "{certificate}");
        server.kill().await.unwrap();
    }
    assert!(timeout(Duration::from_millis(100), border.events.recv()).await.is_err());
}
