//! `portcullis quickstart`: a whole call through the border on this machine, and the proof that it was one.
//!
//! A throw-away CA and certificates are made in a working folder, the border runs on the policy set `policies/quickstart`, a simulated UM answers
//! behind two successive redirects, a simulated trunk calls. What is printed at the end was measured, not assumed: each side's tone is
//! recognised in what the other side decoded.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::border::Border;
use crate::app::certs;
use crate::config;
use crate::signaling::fact::CallId;
use crate::simulator::connection::Identity;
use crate::simulator::trunk::{self, Failure};
use crate::simulator::um::{self, Taken, Um};
use crate::simulator::voice::Heard;

/// The policy set, as it stands in `policies/quickstart`.
const SET: [(&str, &str); 7] = [
    ("border.toml", include_str!("../../policies/quickstart/border.toml")),
    ("peers.toml", include_str!("../../policies/quickstart/peers.toml")),
    ("um_pools.toml", include_str!("../../policies/quickstart/um_pools.toml")),
    ("dial_plans.toml", include_str!("../../policies/quickstart/dial_plans.toml")),
    ("hunt_groups.toml", include_str!("../../policies/quickstart/hunt_groups.toml")),
    ("admission.toml", include_str!("../../policies/quickstart/admission.toml")),
    ("toll.toml", include_str!("../../policies/quickstart/toll.toml")),
];

const NAMES: [&str; 5] = ["sbc", "trunk.quickstart.test", "call-router.quickstart.test", "um-service.quickstart.test", "um-worker.quickstart.test"];
/// The name both of the border's listeners are known by.
const BORDER: &str = "sbc";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TRUNK_PORT: u16 = 15061;
const UM_PORTS: [u16; 3] = [15071, 15072, 15073];
const PILOT: &str = "5000";
/// Tones, hertz.
const GREETING: f64 = 1000.0;
const CALLER: f64 = 440.0;

/// The command line of `quickstart`.
#[derive(clap::Args, Clone, Debug)]
pub struct Quickstart {
    /// Place one call, print it, and exit with 0 only if everything held.
    #[arg(long)]
    pub once: bool,
    /// The working folder: policy set, certificates, call records.
    #[arg(long, default_value = "portcullis-quickstart")]
    pub folder: PathBuf,
}

/// Exit status: 0 everything held (or, without `--once`, stopped by Ctrl-C), 1 it did not.
pub fn run(arguments: &Quickstart) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system gives no event loop: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(show(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

async fn show(arguments: &Quickstart) -> io::Result<bool> {
    let folder = &arguments.folder;
    prepare(folder)?;
    println!("working folder  {}", folder.display());
    let (mut settings, warnings) = config::load(folder).map_err(|problems| io::Error::other(problems.to_string()))?;
    for warning in warnings {
        println!("note            {warning}");
    }
    // Every fact of the call is in the proof.
    settings.telemetry.queue = settings.telemetry.queue.max(4096);
    let border = Border::start(settings).await.map_err(|error| io::Error::other(error.to_string()))?;
    let um = Um::start(um_settings(folder)?).await?;
    border.settled().await;
    println!("border          tls {LOOPBACK}:{TRUNK_PORT} (trunk side), tls {LOOPBACK}:15062 (UM side)");
    println!("simulated UM    call router :{}, UM service :{}, worker :{}\n", UM_PORTS[0], UM_PORTS[1], UM_PORTS[2]);
    let held = match call(folder, &border, &um).await {
        Ok(proof) => proof.print(),
        Err(failure) => {
            println!("the call failed: {failure}");
            print_ladders(&border);
            false
        }
    };
    let mut interrupts = signal(SignalKind::interrupt())?;
    if !arguments.once {
        stay(folder, &border, &mut interrupts).await?;
    }
    border.drain();
    tokio::select! {
        () = border.drained() => {}
        _ = interrupts.recv() => border.release_all().await,
    }
    border.stop().await;
    Ok(held)
}

/// The policy set and the certificates, in the working folder. What is there already stays.
fn prepare(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in SET {
        let path = folder.join(name);
        if !path.exists() {
            std::fs::write(path, text)?;
        }
    }
    let mut init = certs::Init::new(NAMES);
    init.validity = Duration::from_secs(7 * 86_400);
    // Throw-away certificates of an earlier week are no use to anybody.
    init.overwrite = expired(&folder.join("certs/ca.pem"));
    certs::init(&folder.join("certs"), &init).map(|_| ())
}

/// Older than six days.
fn expired(path: &Path) -> bool {
    let age = path.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_secs(6 * 86_400))
}

fn identity(folder: &Path, name: &str) -> io::Result<Identity> {
    let certs = folder.join("certs");
    Identity::load(&certs.join(format!("{name}.pem")), &certs.join(format!("{name}.key")), &certs.join("ca.pem"))
}

fn um_settings(folder: &Path) -> io::Result<um::Settings> {
    let at = |index: usize| SocketAddr::new(LOOPBACK, UM_PORTS[index]);
    let identities = [identity(folder, NAMES[2])?, identity(folder, NAMES[3])?, identity(folder, NAMES[4])?];
    let mut settings = um::Settings::new(at(0), at(1), at(2), Some(identities));
    (settings.greeting, settings.listens, settings.ring) = (GREETING, CALLER, Duration::from_millis(200));
    settings.rules.digits = Some(4);
    Ok(settings)
}

/// What was seen of one call.
struct Proof {
    caller_heard: Heard,
    um: Taken,
    keys_differ: bool,
    ladder: String,
    record: Value,
}

async fn call(folder: &Path, border: &Border, um: &Um) -> Result<Proof, Failure> {
    let settings = trunk::Settings {
        border: SocketAddr::new(LOOPBACK, TRUNK_PORT),
        border_name: BORDER.into(),
        identity: Some(identity(folder, NAMES[1])?),
        media: LOOPBACK,
        caller: "2001".into(),
        called: PILOT.into(),
        diversion: Some("<sip:1000@127.0.0.1>;reason=no-answer".into()),
        says: CALLER,
        listens: GREETING,
        manners: trunk::Manners::default(),
    };
    let call = trunk::call(settings).await?;
    call.hears(Duration::from_secs(5)).await;
    um.until(Duration::from_secs(5), |taken| taken.heard.is_clear()).await;
    let trunk_keys = [call.key().map(|key| key.key_and_salt.clone()), call.theirs.key().map(<[u8]>::to_vec)];
    let caller_heard = call.hang_up().await?;
    let um = um.until(Duration::from_secs(5), |taken| taken.ended).await.unwrap_or_default();
    let keys = [trunk_keys[0].clone(), trunk_keys[1].clone(), um.key.clone(), um.offered_key.clone()];
    let distinct: std::collections::HashSet<_> = keys.iter().flatten().collect();
    let record = record(folder, border).await;
    let ladder = border.telemetry.ladders().last().and_then(|call| border.telemetry.ladder(*call)).unwrap_or_default();
    Ok(Proof { caller_heard, um, keys_differ: distinct.len() == 4, ladder, record })
}

/// The newest call record, once it is filed.
async fn record(folder: &Path, border: &Border) -> Value {
    for _ in 0..60 {
        border.telemetry.flush(Duration::from_secs(1));
        let text = std::fs::read_to_string(folder.join("records.jsonl")).unwrap_or_default();
        let newest = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        if let Some(record) = newest {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Value::Null
}

impl Proof {
    /// Prints it; true if everything held.
    fn print(&self) -> bool {
        println!("{}", self.ladder);
        println!("call record\n{:#}\n", self.record);
        let leg = |side: &str, key: &str| self.record[side][key].as_str().unwrap_or("none").to_owned();
        let tls = |side: &str, key: &str| self.record[side]["tls"][key].as_str().unwrap_or("none").to_owned();
        for (side, name) in [("a", "trunk leg"), ("b", "UM leg")] {
            println!("{name:<10} mode {}, {} {}, media {}", leg(side, "mode"), tls(side, "version"), tls(side, "cipher"), leg(side, "srtp_suite"));
        }
        let both = |key: &str, wanted: &dyn Fn(&str) -> bool| wanted(&leg("a", key)) && wanted(&leg("b", key));
        let redirects = self.record["redirects"].as_array().map_or(0, Vec::len);
        let checks = [
            ("mutual TLS on both legs", tls("a", "version").starts_with("TLS") && tls("b", "version").starts_with("TLS")),
            ("mode secured on both legs", both("mode", &|mode| mode == "secured")),
            ("SRTP on both legs", both("srtp_suite", &|suite| suite.starts_with("AES_CM_128")) && self.um.protected),
            ("four keys, all different", self.keys_differ),
            ("two successive redirects followed inside", redirects == 2),
            ("Diversion carried through both redirects", self.um.diversion.as_deref().is_some_and(|diversion| diversion.contains("1000"))),
            ("the caller hears UM's greeting (1000 Hz)", self.caller_heard.is_clear()),
            ("UM hears the caller (440 Hz)", self.um.heard.is_clear()),
            ("the call record says who hung up", self.record["released_by"] == "caller"),
        ];
        println!();
        for (what, held) in checks {
            println!("{} {what}", if held { "ok    " } else { "FAILED" });
        }
        println!(
            "\nheard by the caller: {} frames of the greeting in {} packets; by UM: {} frames of the caller in {} packets",
            self.caller_heard.tone, self.caller_heard.packets, self.um.heard.tone, self.um.heard.packets
        );
        checks.iter().all(|(_, held)| *held)
    }
}

fn print_ladders(border: &Border) {
    border.telemetry.flush(Duration::from_secs(1));
    for call in border.telemetry.ladders() {
        println!("{}", border.telemetry.ladder(call).unwrap_or_default());
    }
}

/// Stays up for a softphone until Ctrl-C.
async fn stay(folder: &Path, border: &Border, interrupts: &mut Signal) -> io::Result<()> {
    let certs = folder.join("certs");
    println!(
        "\nCall in with a softphone on this machine: to sip:{PILOT}@{LOOPBACK}:{TRUNK_PORT} over TLS with mandatory SRTP (SDES), showing the certificate\n\
         {} with its key beside it, trusting {}.\n\
         Each call's ladder is printed when it ends. Metrics: http://{}/metrics   Call records: {}\nCtrl-C ends it once no call is up, a second one at once.",
        certs.join("trunk.quickstart.test.pem").display(),
        certs.join("ca.pem").display(),
        border.admin().map(|address| address.to_string()).unwrap_or_default(),
        folder.join("records.jsonl").display()
    );
    let mut shown = border.telemetry.ladders().last().copied();
    let mut clock = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            _ = interrupts.recv() => return Ok(()),
            () = border.died() => return Err(io::Error::other("the signalling core has ended by a fault of its own")),
            _ = clock.tick() => shown = show_ended(border, shown),
        }
    }
}

/// Prints the ladders of calls that have ended since `shown`, in order; the last one printed.
fn show_ended(border: &Border, shown: Option<CallId>) -> Option<CallId> {
    let mut last = shown;
    for call in border.telemetry.ladders().into_iter().filter(|call| Some(*call) > shown) {
        match border.telemetry.ladder(call) {
            Some(ladder) if ladder.contains("= ended by") => println!("\n{ladder}"),
            // Still going on: it and those after it come later.
            _ => break,
        }
        last = Some(call);
    }
    last
}
