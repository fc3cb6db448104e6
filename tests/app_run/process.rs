//! A `portcullis run` of its own for each test: own folder, own ports, a simulated UM behind two redirects, no encryption.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use portcullis::simulator::trunk::{self, Call, Failure};
use portcullis::simulator::um::{self, Um};
use tempfile::TempDir;

use crate::ports::free_port;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const GREETING: f64 = 1000.0;
pub const CALLER: f64 = 440.0;

pub fn portcullis() -> Command {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
}

/// Each border has a hundred ports for media to itself, below those the system gives out by itself.
static MEDIA: AtomicU32 = AtomicU32::new(22_000);

/// The first of a hundred ports for media that nobody has.
fn media_ports() -> u32 {
    let is_free = |port: u32| UdpSocket::bind((Ipv4Addr::LOCALHOST, port as u16)).is_ok();
    let mut all = (0..50).map(|_| MEDIA.fetch_add(100, Ordering::Relaxed));
    all.find(|first| (*first..first + 100).all(is_free)).expect("somebody has ports all over; end other tests and benchmarks")
}

/// A folder with a policy set; not running yet.
pub struct Set {
    pub folder: TempDir,
    pub sip: u16,
    pub admin: u16,
}

impl Set {
    /// Trunk at 127.0.0.1, UM at 127.0.0.3 to 5 (call router, service, worker), all on TCP. `border` is put at the top of border.toml.
    pub fn new(um: &Um, border: &str, tables: &str) -> Set {
        let set = Set { folder: tempfile::tempdir().expect("a folder"), sip: free_port(), admin: free_port() };
        let media = media_ports();
        set.write(
            "border.toml",
            &format!(
                "version = 1\nname = \"test\"\n{border}\n[[listener]]\nname = \"tcp\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{}\"\n\
                 [media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\nports = [{media}, {}]\n[admin]\nlisten = \"127.0.0.1:{}\"\n\
                 [records]\nfile = \"records.jsonl\"\n{tables}\n",
                set.sip,
                media + 99,
                set.admin
            ),
        );
        let peer = |name: &str, kind: &str, host: &str, port: u16| {
            format!("[[peer]]\nname = \"{name}\"\nkind = \"{kind}\"\nhosts = \"{host}\"\ntransport = \"tcp\"\nport = {port}\nmode = \"unsecured\"\n")
        };
        let um_peer = |name: &str, kind: &str, at: SocketAddr| peer(name, kind, &at.ip().to_string(), at.port());
        let peers = [
            peer("trunk", "trunk", "127.0.0.1", 5060),
            um_peer("router", "um-router", um.router),
            um_peer("service", "um-server", um.service),
            um_peer("worker", "um-server", um.worker),
        ];
        set.write("peers.toml", &format!("version = 1\n{}", peers.join("\n")));
        set.write("um_pools.toml", "version = 1\n[[um_pool]]\nname = \"um\"\nrouters = [\"router\"]\nservers = [\"service\", \"worker\"]\n");
        set.write("dial_plans.toml", "version = 1\n[[dial_plan]]\nname = \"um\"\ndigits = 4\nmode = \"unsecured\"\num_pool = \"um\"\n");
        set.pilot("5000");
        // A machine that compiles beside takes what signalling wants of its core: no call is refused for it here.
        set.write("admission.toml", "version = 1\noccupancy = 100\n");
        set
    }

    pub fn pilot(&self, pilot: &str) {
        let group = format!("version = 1\n[[hunt_group]]\nname = \"voicemail\"\npeer = \"trunk\"\npilot = \"{pilot}\"\ndial_plan = \"um\"\n");
        self.write("hunt_groups.toml", &group);
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).expect("a file");
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the border and waits until it is ready.
    pub fn run(self) -> Border {
        let log = self.folder.path().join("log");
        let mut border = Border { child: spawn(self.folder.path(), &log), set: self, log };
        border.until("ready", ready);
        border
    }
}

fn spawn(folder: &Path, log: &Path) -> Child {
    spawn_with(folder, log, &[])
}

fn spawn_with(folder: &Path, log: &Path, more: &[&str]) -> Child {
    let output = || Stdio::from(fs::File::options().create(true).append(true).open(log).expect("a log"));
    portcullis().arg("run").arg(folder).args(more).stdin(Stdio::null()).stdout(output()).stderr(output()).spawn().expect("portcullis")
}

fn ready(border: &mut Border) -> bool {
    border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What a process says once it has taken over.
const IN_FORCE: &str = "taking over: in force from here on";

/// Another process beside a border, ended when dropped.
pub struct Rival(Option<Child>);

impl Drop for Rival {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Rival {
    pub fn ended(mut self, border: &Border) -> ExitStatus {
        ended(self.0.as_mut().expect("a child"), &border.log)
    }

    pub fn signal(&self, name: &str) {
        send(name, self.0.as_ref().expect("a child"));
    }

    pub fn is_running(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| child.try_wait().expect("a child").is_none())
    }
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

fn ended(child: &mut Child, log: &Path) -> ExitStatus {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > limit {
            let _ = child.kill();
            panic!("it does not end:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running border, ended when dropped.
pub struct Border {
    child: Child,
    pub set: Set,
    log: PathBuf,
}

impl Drop for Border {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Border {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something holds of it.
    pub fn until(&mut self, what: &str, holds: impl Fn(&mut Border) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < limit, "never {what}:\n{}", self.log());
            assert!(self.child.try_wait().expect("a child").is_none(), "ended before it was {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, name: &str) {
        send(name, &self.child);
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Killed without a word, and started again on the same folder.
    pub fn kill_and_run_again(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child");
        self.child = spawn(self.set.folder.path(), &self.log);
        self.until("ready", ready);
    }

    /// Another process on the same folder, or another, asks for its place; it is not waited for.
    pub fn rival(&self, folder: &Path) -> Rival {
        Rival(Some(spawn_with(folder, &self.log, &["--take-over"])))
    }

    /// Another process on the same folder takes over; returns the old one when the new one is in force.
    pub fn taken_over(&mut self) -> Rival {
        let before = self.log().matches(IN_FORCE).count();
        let new = spawn_with(self.set.path(), &self.log, &["--take-over"]);
        let old = std::mem::replace(&mut self.child, new);
        self.until("in force", |border| border.log().matches(IN_FORCE).count() > before);
        Rival(Some(old))
    }

    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child");
    }

    /// The process that took over is gone, and this one is the border again.
    pub fn is_again(&mut self, mut old: Rival) {
        self.child = old.0.take().expect("a child");
    }

    pub fn ended(&mut self) -> ExitStatus {
        let log = self.log.clone();
        ended(&mut self.child, &log)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.set.sip))
    }

    /// The admin door's whole answer; `None` while nobody opens.
    pub fn door(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.set.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: border\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// A metric's value by its name and, if any, labels as exposed.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.door("/metrics")?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.set.path().join("records.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a record is a line of JSON")).collect()
    }

    /// The newest of `count` records.
    pub fn record(&mut self, count: usize) -> serde_json::Value {
        self.until("done with its records", |border| border.records().len() >= count);
        self.records().swap_remove(count - 1)
    }

    pub async fn call(&self, called: &str) -> Result<Call, Failure> {
        let settings = trunk::Settings {
            border: self.address(),
            border_name: String::new(),
            identity: None,
            media: Ipv4Addr::LOCALHOST.into(),
            caller: "2001".into(),
            called: called.into(),
            diversion: None,
            says: CALLER,
            listens: GREETING,
            manners: trunk::Manners::default(),
        };
        tokio::time::timeout(PATIENCE, trunk::call(settings)).await.expect("the border says nothing")
    }
}

/// A simulated UM without encryption, at three addresses, since over TCP nothing but the address tells peers apart.
pub async fn um() -> Um {
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    let settings = um::Settings {
        greeting: GREETING,
        listens: CALLER,
        ring: Duration::from_millis(50),
        media: Ipv4Addr::LOCALHOST.into(),
        ..um::Settings::new(at(3), at(4), at(5), None)
    };
    Um::start(settings).await.expect("a UM")
}
