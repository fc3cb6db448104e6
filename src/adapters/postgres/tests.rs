//! Without a server: nothing waits, what does not fit is counted, and why is told. What a real server makes of it is in `tests/records_postgres.rs`.

use super::*;

fn settings(port: u16) -> Settings {
    let server = Server::Network { host: "127.0.0.1".into(), port, tls: Tls::Off };
    Settings { server, user: "portcullis".into(), database: "calls".into(), password_file: None, border: "sbc1".into() }
}

#[test]
fn records_for_a_server_that_is_away_wait_and_what_is_too_much_is_counted() {
    // Bound and never listened at: refused at once.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = nobody.local_addr().unwrap().as_socket().unwrap().port();
    let postgres = Postgres::start(&settings(port), 0).unwrap();
    let began = Instant::now();
    while postgres.status().error.is_none() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let why = postgres.status().error.unwrap_or_default();
    assert!(why.contains("127.0.0.1") && why.contains("see whether it runs"), "{why}");
    let began = Instant::now();
    let all = WAITING as u64 + 700;
    (0..all).for_each(|call| postgres.keep(Kept { call, ..Kept::default() }));
    assert!(began.elapsed() < Duration::from_secs(2), "it waited");
    let status = postgres.status();
    assert!(status.lost >= 1 && status.written == 0 && status.lost + status.waiting == all, "{status:?}");
    assert!(!postgres.flush(Duration::from_millis(50)));
}

#[test]
fn a_password_that_cannot_be_read_is_told_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    std::fs::write(&path, "\n").unwrap();
    for (file, says) in [(path, "holds no password"), (folder.path().join("none"), "No such file")] {
        let postgres = Postgres::start(&Settings { password_file: Some(file.clone()), ..settings(1) }, 0).unwrap();
        let began = Instant::now();
        while postgres.status().error.is_none() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let why = postgres.status().error.unwrap_or_default();
        assert!(why.contains(says) && why.contains(&file.display().to_string()), "{why}");
    }
}
