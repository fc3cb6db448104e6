//! SIGHUP: a good policy set takes force, a broken one changes nothing.

use std::time::Duration;

use crate::process::{Border, Set, um};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_set_takes_force_and_calls_survive() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    let call = border.call("5000").await.unwrap();
    border.set.pilot("5111");
    border.signal("HUP");
    border.until("reloaded", |border| border.log().contains("policy set reloaded"));
    assert_eq!(border.call("5000").await.err().map(|failure| failure.to_string()).as_deref(), Some("the border answered 404"), "the old pilot is gone");
    border.call("5111").await.unwrap().hang_up().await.unwrap();
    call.hang_up().await.unwrap();
    let record = border.record(3);
    assert_eq!(record["reason"], "call.normal", "{record:#}");
}

/// The set's peers without the one of this name.
fn without(border: &Border, name: &str) -> String {
    let text = std::fs::read_to_string(border.set.path().join("peers.toml")).unwrap();
    let of_name = format!("name = \"{name}\"");
    text.split("[[peer]]").filter(|entry| !entry.contains(&of_name)).collect::<Vec<_>>().join("[[peer]]")
}

/// The trunk is taken out while it talks; its number still leads somewhere for a peer of another name at another address.
fn take_out_the_trunk(border: &mut Border) {
    let peers = without(border, "trunk");
    let other = "[[peer]]\nname = \"other\"\nkind = \"trunk\"\nhosts = \"192.0.2.77\"\ntransport = \"tcp\"\nmode = \"unsecured\"\n";
    border.set.write("peers.toml", &format!("{peers}\n{other}"));
    border.set.write("hunt_groups.toml", "version = 1\n[[hunt_group]]\nname = \"voicemail\"\npeer = \"other\"\ndial_plan = \"um\"\n");
    border.signal("HUP");
    border.until("reloaded", |border| border.log().contains("policy set reloaded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_peer_that_is_taken_out_goes_on_until_it_ends() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    let mut call = border.call("5000").await.unwrap();
    take_out_the_trunk(&mut border);
    border.until("told of the call that goes on", |border| border.log().contains("they go on until they end"));
    assert!(border.call("5000").await.is_err(), "no new one begins");
    // On the connection that is open; and by the signalling of both sides.
    call.hold(true).await.unwrap();
    call.hold(false).await.unwrap();
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    call.hang_up().await.unwrap();
    border.until("told of its end", |border| border.log().contains("it is a stranger there now"));
    let records: Vec<_> = (1..=2).map(|count| border.record(count)["reason"].to_string()).collect();
    assert!(records.contains(&"\"call.normal\"".to_string()) && records.contains(&"\"peer.no_new_calls\"".to_string()), "{records:?}");
    assert!(border.call("5000").await.is_err(), "a stranger now");
    border.until("told of the stranger", |border| border.log().contains("peer.stranger_address"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_peer_that_is_taken_out_is_released_where_that_is_asked_for() {
    let um = um().await;
    let mut border = Set::new(&um, "removed_peers = \"release-calls\"", "").run();
    let call = border.call("5000").await.unwrap();
    take_out_the_trunk(&mut border);
    assert!(call.hung_up(Duration::from_secs(5)).await.unwrap());
    let record = border.record(1);
    assert_eq!((&record["reason"], &record["released_by"]), (&"peer.removed".into(), &"border".into()), "{record:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_set_leaves_the_old_one_in_force() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    border.set.pilot("5111");
    border.set.write("peers.toml", "version = 1\n[[peer]]\nnmae = \"trunk\"\n");
    border.signal("HUP");
    border.until("told why", |border| border.log().contains("stays in force"));
    assert!(border.log().contains("peers.toml"), "{}", border.log());
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert_eq!(border.record(1)["reason"], "call.normal");
}

/// Rotation moves the file away and sends SIGHUP; the set on disk may be broken just then. What follows must not go into the file that is packed and forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reload_opens_the_records_anew_all_the_same() {
    let um = um().await;
    let mut border = Set::new(&um, "", "").run();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.record(1);
    let records = border.set.path().join("records.jsonl");
    let moved = border.set.path().join("records.jsonl.1");
    std::fs::rename(&records, &moved).unwrap();
    border.set.write("hunt_groups.toml", "nonsense");
    border.signal("HUP");
    border.until("refused", |border| border.log().contains("reload refused"));
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.record(1);
    assert_eq!(std::fs::read_to_string(moved).unwrap().lines().count(), 1, "the second record is not in the old file");
    // Who looks later sees that a start would fail, until a reload is taken.
    assert_eq!(border.metric("portcullis_last_reload_successful"), Some(0.0));
    let health = border.door("/healthz").unwrap();
    assert!(health.contains("the next start would fail as well: hunt_groups.toml:1:"), "{health}");
    border.set.pilot("5000");
    border.signal("HUP");
    border.until("mended", |border| border.metric("portcullis_last_reload_successful") == Some(1.0));
    assert!(!border.door("/healthz").unwrap().contains("next start"));
}
