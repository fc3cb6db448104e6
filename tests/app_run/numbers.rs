//! Who calls and who diverted, over real sockets: what a strict UM behind two redirects gets to see.

use std::net::Ipv4Addr;
use std::time::Duration;

use portcullis::simulator::trunk::{self, Call, Failure};

use crate::process::{Border, CALLER, GREETING, PATIENCE, Set, um};

async fn call(border: &Border, caller: &str, diversion: Option<&str>) -> Result<Call, Failure> {
    let settings = trunk::Settings {
        border: border.address(),
        border_name: String::new(),
        identity: None,
        media: Ipv4Addr::LOCALHOST.into(),
        caller: caller.into(),
        called: "+49305550".into(),
        diversion: diversion.map(String::from),
        says: CALLER,
        listens: GREETING,
        manners: trunk::Manners::default(),
    };
    tokio::time::timeout(PATIENCE, trunk::call(settings)).await.expect("the border says nothing")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn um_is_told_of_extensions_and_never_of_letters() {
    let um = um().await;
    let set = Set::new(&um, "", "");
    let peers = std::fs::read_to_string(set.path().join("peers.toml")).unwrap();
    set.write("peers.toml", &peers.replacen("mode = \"unsecured\"\n", "mode = \"unsecured\"\ndiversion = true\nidentity = true\n", 1));
    set.write(
        "dial_plans.toml",
        "version = 1\n[[dial_plan]]\nname = \"um\"\ndigits = 4\nmode = \"unsecured\"\num_pool = \"um\"\naccess_numbers = [\"5550\"]\n\
         numbers = [{ direction = \"in\", prefix = \"+4930555\", length = 8, strip = 4, prepend = \"\" }, { direction = \"in\", prefix = \"+49307\", strip = 5 }]\n",
    );
    set.pilot("+49 30 5550");
    let mut border = set.run();
    let refused = call(&border, "alice", None).await.err().map(|failure| failure.to_string());
    assert_eq!(refused.as_deref(), Some("the border answered 403"));
    assert_eq!(border.record(1)["reason"], "dial_plan.caller");
    let refused = call(&border, "+49307-2001", Some("<sip:alice@127.0.0.1>;reason=no-answer")).await.err().map(|failure| failure.to_string());
    assert_eq!(refused.as_deref(), Some("the border answered 404"));
    assert_eq!(border.record(2)["reason"], "diversion.unfit");
    let call = call(&border, "+493072001", Some("\" Jane\" \"<sip:+49307-2002@127.0.0.1>;reason=no-answer")).await.unwrap();
    call.hang_up().await.unwrap();
    let taken = um.until(Duration::from_secs(5), |taken| taken.ended).await.unwrap();
    assert_eq!(taken.diversion.as_deref(), Some("<sip:2002@127.0.0.1>;reason=no-answer"), "{taken:?}");
    assert!(taken.caller.contains("2001") && !taken.caller.contains("4930") && !taken.called.contains("4930"), "{taken:?}");
}
