//! Mailboxes in two simulated UMs, by a table that changes while the border runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis::simulator::trunk::{self, Manners};
use portcullis::simulator::um::{Settings, Um};

use crate::process::{Border, CALLER, GREETING, PATIENCE, Set, um};

/// The second UM, its three roles at 127.0.0.7 to 9.
async fn other_um() -> Um {
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    Um::start(Settings { media: Ipv4Addr::LOCALHOST.into(), ..Settings::new(at(7), at(8), at(9), None) }).await.unwrap()
}

/// A deposit for 1000; which UM took it.
async fn deposit(border: &Border, ums: [&Um; 2]) -> usize {
    let before = ums.map(|um| um.taken().len());
    let settings = trunk::Settings {
        border: border.address(),
        border_name: String::new(),
        identity: None,
        media: Ipv4Addr::LOCALHOST.into(),
        caller: "+15550100".into(),
        called: "5000".into(),
        diversion: Some("<sip:1000@127.0.0.1>;reason=no-answer".into()),
        says: CALLER,
        listens: GREETING,
        manners: Manners::default(),
    };
    let call = tokio::time::timeout(PATIENCE, trunk::call(settings)).await.expect("in time").expect("an answer");
    call.hang_up().await.unwrap();
    ums.iter().zip(before).position(|(um, before)| um.taken().len() > before).expect("somebody took it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_mailboxes_is_read_again_without_a_restart_and_a_wrong_one_changes_nothing() {
    let (here, there) = (um().await, other_um().await);
    let set = Set::new(&here, "", "");
    let peers =
        std::fs::read_to_string(set.path().join("peers.toml")).unwrap().replacen("mode = \"unsecured\"\n", "mode = \"unsecured\"\ndiversion = true\n", 1);
    let um_peer = |name: &str, kind: &str, at: SocketAddr| {
        format!("[[peer]]\nname = \"{name}\"\nkind = \"{kind}\"\nhosts = \"{}\"\ntransport = \"tcp\"\nport = {}\nmode = \"unsecured\"\n", at.ip(), at.port())
    };
    let others =
        [um_peer("router-2", "um-router", there.router), um_peer("service-2", "um-server", there.service), um_peer("worker-2", "um-server", there.worker)];
    set.write("peers.toml", &format!("{peers}\n{}", others.join("\n")));
    set.write(
        "um_pools.toml",
        "version = 1\n[[um_pool]]\nname = \"um\"\nrouters = [\"router\"]\nservers = [\"service\", \"worker\"]\n\
         [[um_pool]]\nname = \"other\"\nrouters = [\"router-2\"]\nservers = [\"service-2\", \"worker-2\"]\n",
    );
    set.write("routing.toml", "version = 1\ntable = \"mailboxes.csv\"\npoll = \"1s\"\n");
    set.write("mailboxes.csv", "mailbox,pool\n1000,um\n");
    let mut border = set.run();
    assert_eq!(deposit(&border, [&here, &there]).await, 0);
    border.set.write("mailboxes.csv", "mailbox,pool\n1000,other\n1001,um\n");
    border.until("reading the table again", |border| border.log().contains("mailboxes.csv was read again: 2 rows in place of 1"));
    assert_eq!(deposit(&border, [&here, &there]).await, 1);
    border.set.write("mailboxes.csv", "mailbox,pool\n1000,um\n1001,othr\n");
    border.until("telling what is wrong", |border| border.log().contains("mailboxes.csv was not taken"));
    assert!(border.log().contains("mailboxes.csv:3: there is no UM pool \"othr\"; write \"other\" instead"), "{}", border.log());
    assert_eq!(deposit(&border, [&here, &there]).await, 1, "the table as it was stays in force");
    std::fs::remove_file(border.set.path().join("mailboxes.csv")).unwrap();
    border.until("telling that it is gone", |border| border.log().contains("mailboxes.csv cannot be read"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(deposit(&border, [&here, &there]).await, 1);
}
