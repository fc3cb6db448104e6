//! What operators are told of those who get copies of messages and traces: that they are away, since when and why, and that they are back.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

fn shown(border: &Border, arguments: &[&str]) -> String {
    let output =
        portcullis().args(["show", "status"]).args(arguments).arg("--socket").arg(border.set.path().join("control.sock")).output().expect("portcullis");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn receiver(border: &Border, kind: &str) -> Value {
    let status: Value = serde_json::from_str(&shown(border, &["--json"])).expect("JSON");
    status["receivers"].as_array().and_then(|all| all.iter().find(|receiver| receiver["kind"] == kind)).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_are_away_are_told_of_with_the_reason_and_when_they_are_back() {
    let um = um().await;
    let (hep, otlp) = (free_port(), free_port());
    let tables = format!(
        "[control]\nsocket = \"control.sock\"\n[hep]\nserver = \"127.0.0.1:{hep}\"\ntransport = \"tcp\"\n[otlp]\nurl = \"http://127.0.0.1:{otlp}/traces?key=secret\"\n"
    );
    let mut border = Set::new(&um, "", &tables).run();
    assert_eq!((receiver(&border, "hep")["state"].clone(), receiver(&border, "otlp")["state"].clone()), ("untried".into(), "untried".into()));
    assert!(shown(&border, &[]).contains("nothing to send yet"), "{}", shown(&border, &[]));
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.until("both are away", |border| ["hep", "otlp"].iter().all(|kind| receiver(border, kind)["state"] == "down"));
    for kind in ["hep", "otlp"] {
        let told = receiver(&border, kind);
        assert!(told["last_error"]["why"].as_str().is_some_and(|why| why.contains("refused")), "{told:#}");
        assert!(told["last_error"]["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{told:#}");
        assert!(told["waiting"].as_u64() <= told["places"].as_u64() && told["sent"] == 0, "{told:#}");
    }
    let page = shown(&border, &[]);
    assert!(page.contains(&format!("HEP copies       NOT TAKEN by 127.0.0.1:{hep}: 0 packets sent")) && page.contains("calls go on"), "{page}");
    assert!(page.contains(&format!("OTLP traces      NOT TAKEN by http://127.0.0.1:{otlp}/traces: 0 spans sent")) && !page.contains("secret"), "{page}");

    for port in [hep, otlp] {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut taken = [0; 65_536];
                    while stream.read(&mut taken).is_ok_and(|count| count > 0) {
                        // Harmless to HEP, which has no answers.
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    }
                });
            }
        });
    }
    border.until("both take what there is", |border| ["hep", "otlp"].iter().all(|kind| receiver(border, kind)["state"] == "up"));
    let (hep, otlp) = (receiver(&border, "hep"), receiver(&border, "otlp"));
    assert!(hep["sent"].as_u64() > Some(0) && otlp["sent"].as_u64() > Some(0) && hep["last_error"]["why"].is_string(), "{hep:#} {otlp:#}");
    assert!(shown(&border, &[]).contains("; last trouble 20"), "{}", shown(&border, &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_waits_for_them_at_the_end_is_told_as_lost() {
    let um = um().await;
    let (hep, otlp) = (free_port(), free_port());
    let tables =
        format!("[control]\nsocket = \"control.sock\"\n[hep]\nserver = \"127.0.0.1:{hep}\"\ntransport = \"tcp\"\n[otlp]\nurl = \"http://127.0.0.1:{otlp}/\"\n");
    let mut border = Set::new(&um, "", &tables).run();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.until("both are away", |border| ["hep", "otlp"].iter().all(|kind| receiver(border, kind)["state"] == "down"));
    border.signal("TERM");
    assert!(border.ended().success());
    let log = border.log();
    for (what, least) in [
        ("traces of calls did not reach the OpenTelemetry receiver in time, and are lost lost=", 1),
        ("copies of SIP messages did not reach the HEP server in time, and are lost lost=", 2),
    ] {
        let lost = log.split(what).nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
        assert!(lost >= Some(least), "{what} {lost:?} in\n{log}");
    }
}
