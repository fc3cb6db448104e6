//! Copies of SIP messages as a HEP3 server gets them from a running border.

use std::net::UdpSocket;

use crate::process::{PATIENCE, Set, um};

/// The chunks of a HEP3 packet: type and contents.
fn chunks(packet: &[u8]) -> Vec<(u16, &[u8])> {
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
    let (mut rest, mut found) = (&packet[6..], Vec::new());
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        found.push((u16::from_be_bytes([rest[2], rest[3]]), &rest[6..length]));
        rest = &rest[length..];
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_legs_of_a_call_are_copied_under_one_correlation() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let port = server.local_addr().expect("an address").port();
    let um = um().await;
    let border = Set::new(&um, "", &format!("[hep]\nserver = \"127.0.0.1:{port}\"\ntransport = \"udp\"\ncapture_id = 7\n")).run();
    let call = border.call("5000").await.unwrap();
    assert!(call.hears(PATIENCE).await.is_clear());
    um.until(PATIENCE, |taken| taken.heard.is_clear()).await;
    call.hang_up().await.unwrap();
    let (mut first_lines, mut correlations, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let mut buffer = [0; 65_535];
    loop {
        let length = server.recv(&mut buffer).expect("a copy");
        let chunks = chunks(&buffer[..length]);
        let chunk = |kind: u16| chunks.iter().find(|(found, _)| *found == kind).map(|(_, contents)| *contents);
        assert_eq!(chunk(12), Some(&7_u32.to_be_bytes()[..]));
        correlations.push(chunk(17).expect("a correlation").to_vec());
        let payload = String::from_utf8_lossy(chunk(15).expect("a payload")).into_owned();
        match chunk(11) {
            Some([1]) => first_lines.push(payload.lines().next().unwrap_or_default().to_owned()),
            // RTCP, over UDP.
            Some([5]) => {
                assert_eq!(chunk(2), Some(&[17][..]));
                reports.push(serde_json::from_str::<serde_json::Value>(&payload).expect("JSON"));
            }
            Some([100]) => {
                assert!(payload.contains("\"reason\":\"call.normal\""), "{payload}");
                break;
            }
            other => panic!("type {other:?}"),
        }
    }
    assert!(reports.len() >= 2, "one for each side that spoke: {reports:#?}");
    for report in &reports {
        assert_eq!((report["type"].as_u64(), report["report_count"].as_u64()), (Some(201), Some(1)), "{report:#}");
        let block = &report["report_blocks"][0];
        assert!(block["source_ssrc"].as_u64() != Some(0) && block["packets_lost"] == 0, "{report:#}");
    }
    let (first, second) = (&reports[0], &reports[1]);
    assert_eq!(first["ssrc"], second["report_blocks"][0]["source_ssrc"], "what one side hears is what the other sent");
    correlations.dedup();
    assert_eq!(correlations.len(), 1, "one call, one correlation");
    let count = |begin: &str| first_lines.iter().filter(|line| line.starts_with(begin)).count();
    assert_eq!((count("INVITE"), count("SIP/2.0 302"), count("BYE")), (4, 2, 2), "the caller's, and one to each of three: {first_lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_media_of_a_call_is_reported_while_it_is_up() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let port = server.local_addr().expect("an address").port();
    let um = um().await;
    let border = Set::new(&um, "", &format!("[hep]\nserver = \"127.0.0.1:{port}\"\ntransport = \"udp\"\nreports = \"1s\"\n")).run();
    let call = border.call("5000").await.unwrap();
    assert!(call.hears(PATIENCE).await.is_clear());
    let (mut buffer, mut correlations, mut highest) = ([0; 65_535], Vec::new(), std::collections::HashMap::<u64, Vec<u64>>::new());
    while !highest.values().any(|told| told.len() >= 2) {
        let length = server.recv(&mut buffer).expect("a copy");
        let chunks = chunks(&buffer[..length]);
        let chunk = |kind: u16| chunks.iter().find(|(found, _)| *found == kind).map(|(_, contents)| *contents);
        correlations.push(chunk(17).expect("a correlation").to_vec());
        if chunk(11) == Some(&[5][..]) {
            let report: serde_json::Value = serde_json::from_slice(chunk(15).expect("a payload")).expect("JSON");
            let block = &report["report_blocks"][0];
            highest.entry(block["source_ssrc"].as_u64().expect("a source")).or_default().push(block["highest_seq_no"].as_u64().expect("a number"));
            assert!(chunk(7) != Some(&[0, 0][..]) && chunk(8) != Some(&[0, 0][..]), "both ports are known");
        } else {
            assert_ne!(chunk(11), Some(&[100][..]), "the call is up");
        }
    }
    assert!(highest.values().all(|told| told.is_sorted()), "{highest:?}");
    correlations.dedup();
    assert_eq!(correlations.len(), 1, "one call, one correlation");
    call.hang_up().await.unwrap();
}
