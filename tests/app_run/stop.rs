//! The graceful stop: no new calls, those that are up go on until they end or the drain time does.

use std::time::{Duration, Instant};

use portcullis::simulator::connection::Connection;
use portcullis::sip::{Builder, Method};

use crate::process::{Border, PATIENCE, Set, um};

/// Final status and Retry-After of a new call.
async fn try_a_call(border: &Border) -> (u16, Option<u32>) {
    let mut connection = Connection::open(border.address(), None).await.unwrap();
    let target = format!("sip:5000@{}", border.address());
    let mut invite = Builder::request(&Method::Invite, &target);
    invite.header_fmt("Via", format_args!("SIP/2.0/TCP {};branch=z9hG4bKlate", connection.local));
    invite.header("Max-Forwards", "70").header("From", "<sip:2001@127.0.0.1>;tag=late").header("To", format!("<{target}>"));
    invite.header("Call-ID", "late").header("CSeq", "1 INVITE").header_fmt("Contact", format_args!("<sip:2001@{}>", connection.local));
    invite.body("application/sdp", b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8\r\n");
    connection.send(invite.finish()).await.unwrap();
    loop {
        let answer = tokio::time::timeout(PATIENCE, connection.next()).await.expect("no answer").unwrap().expect("closed");
        if let Some(status) = answer.status().filter(|status| *status >= 200) {
            return (status, answer.retry_after().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_until_the_drain_time_ends() {
    let um = um().await;
    let mut border = Set::new(&um, "drain = \"4s\"", "").run();
    let call = border.call("5000").await.unwrap();
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    let began = Instant::now();
    border.signal("TERM");
    border.until("draining", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 503")));
    assert!(border.door("/healthz").unwrap().starts_with("HTTP/1.1 200"), "draining is not dying");
    let (status, retry_after) = try_a_call(&border).await;
    assert_eq!(status, 503);
    assert!(retry_after.is_some(), "a 503 without Retry-After");
    let before = call.heard().tone;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(call.heard().tone > before, "the call does not go on");
    assert!(call.hung_up(Duration::from_secs(10)).await.unwrap(), "no BYE to the caller");
    assert!(began.elapsed() >= Duration::from_millis(3500), "the drain time was cut to {:?}", began.elapsed());
    let taken = um.until(Duration::from_secs(5), |taken| taken.ended).await.unwrap();
    assert!(taken.ended, "no BYE to UM");
    assert_eq!(border.ended().code(), Some(0), "{}", border.log());
    let records = border.records();
    assert!(records.iter().any(|record| record["reason"] == "call.shutdown"), "{records:#?}");
    assert!(records.iter().any(|record| record["reason"] == "admission.draining"), "{records:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_as_soon_as_the_last_call_has_ended() {
    let um = um().await;
    let mut border = Set::new(&um, "drain = \"60s\"", "").run();
    let call = border.call("5000").await.unwrap();
    border.signal("TERM");
    border.until("draining", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 503")));
    call.hang_up().await.unwrap();
    assert_eq!(border.ended().code(), Some(0), "{}", border.log());
    assert_eq!(border.records()[0]["reason"], "call.normal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_calls_at_once() {
    let um = um().await;
    let mut border = Set::new(&um, "drain = \"60s\"", "").run();
    let call = border.call("5000").await.unwrap();
    border.signal("TERM");
    border.until("draining", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 503")));
    border.signal("TERM");
    assert!(call.hung_up(Duration::from_secs(5)).await.unwrap(), "no BYE to the caller");
    assert_eq!(border.ended().code(), Some(0), "{}", border.log());
}
