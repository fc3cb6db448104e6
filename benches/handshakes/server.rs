//! The servers under test, each a process of its own on core 1, ended when dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::app::certs::{Init, init};

const CORE: &str = "1";

pub trait Server {
    fn address(&self) -> SocketAddr;

    /// Seconds of user and system time spent so far.
    fn processor(&self) -> f64;
}

/// One CA, and certificates of it: P-256, thirty days.
pub struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        init(&folder.path().join("certs"), &Init::new(["sbc.example.test", "peer.example.test"])).expect("certificates");
        Lab { folder }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("certs").join(name)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(command: &mut Command, port: u16) -> Process {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("taskset and the server");
        let mut process = Process { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        let limit = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(process.address).is_err() {
            assert!(Instant::now() < limit && process.child.try_wait().expect("a child").is_none(), "the server does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }
}

impl Server for Process {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn processor(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its process");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().map(|field| fields[*field].parse::<f64>().expect("ticks")).sum();
        ticks / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Border(Process);

impl Border {
    /// `rate`: of handshakes a second and source.
    pub fn start(lab: &Lab, threads: usize, rate: usize) -> Border {
        let (port, folder) = (free_port(), lab.path());
        let border = format!(
            "version = 1\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{port}\"\nadvertised = \"sbc.example.test\"\n\
             certificate = \"certs/sbc.example.test.pem\"\nkey = \"certs/sbc.example.test.key\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n\
             [limits]\nhandshake_rate = {rate}\nhandshake_threads = {threads}\n[log]\nfilter = \"error\"\n"
        );
        let peer = |name: &str, host: &str| {
            format!(
                "[[peer]]\nname = \"{name}\"\nkind = \"trunk\"\nhosts = \"{host}\"\ntransport = \"tls\"\ntls_names = \"peer.example.test\"\nca = \"certs/ca.pem\"\nmode = \"sip-secured\"\n"
            )
        };
        fs::write(folder.join("border.toml"), border).expect("a set");
        fs::write(folder.join("peers.toml"), format!("version = 1\n{}{}", peer("prober", "127.0.0.2"), peer("flooder", "127.0.0.3"))).expect("a set");
        let program = env!("CARGO_BIN_EXE_portcullis");
        Border(Process::start(Command::new("taskset").args(["-c", CORE, program, "run"]).arg(folder), port))
    }
}

impl Server for Border {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn processor(&self) -> f64 {
        self.0.processor()
    }
}

/// Sends back every line reversed, so that the client hears of its tickets and knows that it was let in.
pub struct OpenSsl(Process);

impl OpenSsl {
    pub fn start(lab: &Lab) -> OpenSsl {
        let port = free_port();
        let mut command = Command::new("taskset");
        command.args(["-c", CORE, "openssl", "s_server", "-accept", &format!("127.0.0.1:{port}"), "-tls1_3", "-quiet", "-rev", "-num_tickets", "1"]);
        command.args(["-Verify", "2", "-verify_return_error", "-verify_quiet", "-groups", "X25519", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]);
        command.arg("-cert").arg(lab.file("sbc.example.test.pem")).arg("-key").arg(lab.file("sbc.example.test.key")).arg("-CAfile").arg(lab.file("ca.pem"));
        OpenSsl(Process::start(&mut command, port))
    }
}

impl Server for OpenSsl {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn processor(&self) -> f64 {
        self.0.processor()
    }
}
