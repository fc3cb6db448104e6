//! SIGHUP: a good policy set takes force, a broken one changes nothing.

use crate::process::{Set, um};

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
