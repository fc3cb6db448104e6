//! Calls over TCP, what is told of them at the admin door and in the records, and messages that never come to their end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{Set, um};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_carried_recorded_and_counted() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    for door in ["/healthz", "/readyz", "/metrics"] {
        assert!(border.door(door).unwrap().starts_with("HTTP/1.1 200"), "{door}");
    }
    let mut call = border.call("5000").await.unwrap();
    assert!(call.progress.contains(&180), "{:?}", call.progress);
    assert!(!call.progress.iter().any(|status| *status >= 300), "redirects are followed inside");
    assert!(call.hears(Duration::from_secs(5)).await.is_clear(), "the caller hears the greeting");
    um.until(Duration::from_secs(5), |taken| taken.heard.is_clear()).await;
    border.until("counting the call", |border| border.metric("portcullis_calls") == Some(1.0));
    call.hold(true).await.unwrap();
    assert_eq!(call.theirs.direction, "recvonly");
    call.hold(false).await.unwrap();
    assert_eq!(call.theirs.direction, "sendrecv");
    call.hang_up().await.unwrap();
    let taken = um.until(Duration::from_secs(5), |taken| taken.ended).await.unwrap();
    assert!(taken.heard.is_clear() && taken.ended && !taken.protected, "{taken:?}");
    let record = border.record(1);
    assert_eq!((record["status"].as_u64(), record["reason"].as_str(), record["released_by"].as_str()), (Some(200), Some("call.normal"), Some("caller")));
    assert_eq!(record["redirects"].as_array().map(Vec::len), Some(2));
    assert_eq!((&record["a"]["mode"], &record["b"]["mode"]), (&"unsecured".into(), &"unsecured".into()));
    assert!(record["media"]["a_to_b"]["received"].as_u64() > Some(10), "{record:#}");
    border.until("without calls", |border| border.metric("portcullis_calls") == Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_message_is_waited_for_but_not_for_long() {
    let um = um().await;
    let border = Set::new(&um, "", "[limits]\npartial_message = \"1s\"").run();
    let mut stream = TcpStream::connect(border.address()).unwrap();
    stream.write_all(b"OPTIONS sip:border SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;bra").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let began = Instant::now();
    let end = loop {
        match stream.read(&mut [0; 100]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            end => break end,
        }
    };
    let is_closed = matches!(&end, Ok(0)) || matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset);
    assert!(is_closed, "{end:?}");
    assert!(began.elapsed() > Duration::from_millis(700), "it was not waited for");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_without_hunt_group_is_404() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    let refused = border.call("5999").await.err().map(|failure| failure.to_string());
    assert_eq!(refused.as_deref(), Some("the border answered 404"));
    assert_eq!(border.record(1)["reason"], "hunt_group.none");
}
