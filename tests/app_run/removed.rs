//! A TLS peer that is taken out while it talks: its `ca` goes with it, but its connection is what its call has.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis::app::certs::{Leaf, VALIDITY, authority};
use portcullis::simulator::connection::Identity;
use portcullis::simulator::trunk::{self, Call, Failure};

use crate::ports::free_port;
use crate::process::{Border, CALLER, GREETING, PATIENCE, Set, um};

const OURS: &str = "sbc.example.org";
const THEIRS: &str = "phone.example.org";

struct Secured {
    border: Border,
    port: u16,
    identity: Identity,
    /// `peers.toml` without the phone.
    without: String,
}

async fn secured() -> Secured {
    let um = um().await;
    let port = free_port();
    let listener = format!(
        "[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{port}\"\nadvertised = \"{OURS}:{port}\"\ncertificate = \"{OURS}.pem\"\nkey = \"{OURS}.key\"\n"
    );
    let set = Set::new(&um, "", &listener);
    let one = authority("one for both", VALIDITY).unwrap();
    fs::write(set.path().join("ca.pem"), one.certificate()).unwrap();
    for name in [OURS, THEIRS] {
        let leaf = one.issue(&Leaf::named(name)).unwrap();
        fs::write(set.path().join(format!("{name}.pem")), &leaf.certificate).unwrap();
        portcullis::app::certs::write_whole(&set.path().join(format!("{name}.key")), leaf.key.as_bytes(), 0o600).unwrap();
    }
    let without = fs::read_to_string(set.path().join("peers.toml")).unwrap();
    let phone = format!(
        "[[peer]]\nname = \"phone\"\nkind = \"pbx\"\nhosts = \"127.0.0.1\"\ntransport = \"tls\"\ntls_names = \"{THEIRS}\"\nca = \"ca.pem\"\nmode = \"secured\"\n"
    );
    set.write("peers.toml", &format!("{without}{phone}"));
    let groups = fs::read_to_string(set.path().join("hunt_groups.toml")).unwrap();
    set.write("hunt_groups.toml", &format!("{groups}[[hunt_group]]\nname = \"phone\"\npeer = \"phone\"\ndial_plan = \"um\"\n"));
    let at = |file: String| set.path().join(file);
    let identity = Identity::load(&at(format!("{THEIRS}.pem")), &at(format!("{THEIRS}.key")), &at("ca.pem".into())).unwrap();
    // The simulated UM ends with its handle.
    std::mem::forget(um);
    Secured { border: set.run(), port, identity, without }
}

impl Secured {
    async fn call(&self) -> Result<Call, Failure> {
        let settings = trunk::Settings {
            border: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            border_name: OURS.into(),
            identity: Some(self.identity.clone()),
            media: Ipv4Addr::LOCALHOST.into(),
            caller: "2001".into(),
            called: "5000".into(),
            diversion: None,
            says: CALLER,
            listens: GREETING,
            manners: trunk::Manners::default(),
        };
        tokio::time::timeout(PATIENCE, trunk::call(settings)).await.expect("the border says nothing")
    }

    fn take_the_phone_out(&mut self) {
        self.border.set.write("peers.toml", &self.without);
        let groups = fs::read_to_string(self.border.set.path().join("hunt_groups.toml")).unwrap();
        let kept = groups.split("[[hunt_group]]").filter(|group| !group.contains("phone")).collect::<Vec<_>>().join("[[hunt_group]]");
        self.border.set.write("hunt_groups.toml", &kept);
        self.border.signal("HUP");
        self.border.until("reloaded", |border| border.log().contains("policy set reloaded"));
        self.border.until("told of the call that goes on", |border| border.log().contains("they go on until they end"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_call_goes_on_over_its_connection_until_it_ends() {
    let mut secured = secured().await;
    let mut call = secured.call().await.unwrap();
    secured.take_the_phone_out();
    // Longer than a connection that is left would be kept when nothing is under way.
    tokio::time::sleep(Duration::from_secs(6)).await;
    call.hold(true).await.unwrap();
    call.hold(false).await.unwrap();
    assert!(secured.call().await.is_err(), "no new one begins");
    call.hang_up().await.unwrap();
    let border = &mut secured.border;
    border.until("told of its end", |border| border.log().contains("it is a stranger there now"));
    border.until("filed as ended by itself", |border| border.records().iter().any(|record| record["reason"] == "call.normal"));
    let log = secured.border.log();
    assert!(secured.call().await.is_err(), "a stranger now\n{log}");
}
