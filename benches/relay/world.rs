//! Where a comparison takes place: on loopback, or in three network namespaces joined by veth pairs, as peers on two networks with a relay between
//! them. There the receiving half of the relay's kernel runs in a thread on the relay's core and that of the generator's on the generator's, as
//! if they were two machines.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;

use crate::wire;

/// Which peer of a call, and so which network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    pub fn name(self) -> &'static str {
        match self {
            Side::A => "a",
            Side::B => "b",
        }
    }

    /// The relay's interface to that side.
    pub fn interface(self) -> &'static str {
        match self {
            Side::A => "pcb-a",
            Side::B => "pcb-b",
        }
    }
}

pub enum World {
    Loopback,
    Namespaces(Namespaces),
}

/// Three namespaces: `…-a` and `…-b` hold the generator's sockets, `…-sbc` the relay with one interface to each, `pcb-a` and `pcb-b`.
pub struct Namespaces {
    prefix: String,
    home: File,
    cores: (usize, usize),
    realtime: bool,
}

impl World {
    /// `generator` and `relay` are the cores of each; `realtime`: the kernel's receiving comes before the programs, which come before all others.
    pub fn namespaces(generator: usize, relay: usize, realtime: bool) -> io::Result<World> {
        let (prefix, home) = (format!("pc-bench-{}", std::process::id()), File::open("/proc/self/ns/net")?);
        let world = Namespaces { prefix, home, cores: (generator, relay), realtime };
        for name in ["sbc", "a", "b"] {
            ip(&["netns", "add", &world.name(name)])?;
            ip(&["-n", &world.name(name), "link", "set", "lo", "up"])?;
        }
        for side in Side::BOTH {
            let (sbc, far, name) = (world.name("sbc"), world.name(side.name()), side.interface());
            ip(&["link", "add", "name", name, "netns", &sbc, "type", "veth", "peer", "name", "eth0", "netns", &far])?;
            let (ours, theirs) = (world.relay(side), world.peer(side));
            ip(&["-n", &sbc, "addr", "add", &format!("{ours}/24"), "dev", name])?;
            ip(&["-n", &far, "addr", "add", &format!("{theirs}/24"), "dev", "eth0"])?;
            ip(&["-n", &sbc, "link", "set", name, "up"])?;
            ip(&["-n", &far, "link", "set", "eth0", "up"])?;
            ip(&["-n", &far, "route", "add", "default", "via", &ours.to_string()])?;
            // What leaves the peers has its checksum, as from a wire. With GRO veth has NAPI, and that a thread whose time can be told; but veth gives
            // it only what comes from an end without TSO, the rest is received by whoever sent it, at the sender's cost.
            inside(&far, &["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gro", "on"])?;
            inside(&sbc, &["ethtool", "-K", name, "tso", "off", "gro", "on"])?;
            for (space, device) in [(&far, "eth0"), (&sbc, name)] {
                inside(space, &["sh", "-c", &format!("echo 1 > /sys/class/net/{device}/threaded")])?;
            }
        }
        inside(&world.name("sbc"), &["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        let world = World::Namespaces(world);
        world.pin_napi()?;
        Ok(world)
    }

    pub fn name(&self) -> &'static str {
        match self {
            World::Loopback => "loopback",
            World::Namespaces(_) => "veth",
        }
    }

    /// The address on that side of one of the relays that are up at once, counted from 0. Over veth there is one.
    pub fn relay(&self, part: u8, side: Side) -> Ipv4Addr {
        match self {
            World::Loopback => Ipv4Addr::new(127, 0, part, 1 + side as u8),
            World::Namespaces(world) => world.relay(side),
        }
    }

    /// The highest port a relay may use: on loopback below those Linux gives out on its own.
    pub fn last_port(&self) -> u16 {
        match self {
            World::Loopback => 32_700,
            World::Namespaces(_) => 65_000,
        }
    }

    /// A command that runs where the relay is.
    pub fn command(&self, program: &str) -> Command {
        match self {
            World::Loopback => Command::new(program),
            World::Namespaces(world) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &world.name("sbc"), program]);
                command
            }
        }
    }

    /// The socket of one side's peers.
    pub fn peers(&self, side: Side) -> io::Result<UdpSocket> {
        match self {
            World::Loopback => wire::socket(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)),
            World::Namespaces(world) => world.within(side.name(), || wire::socket(SocketAddrV4::new(world.peer(side), 4_000))),
        }
    }

    /// A socket beside the relay, for its control.
    pub fn beside(&self) -> io::Result<UdpSocket> {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        match self {
            World::Loopback => bind(),
            World::Namespaces(world) => world.within("sbc", bind),
        }
    }

    /// Puts the threads of NAPI on the core of the machine they stand for. XDP programs bring new ones, so this is done again once they are in.
    pub fn pin_napi(&self) -> io::Result<()> {
        let World::Namespaces(world) = self else { return Ok(()) };
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            // napi/DEVICE-N
            let core = match name.trim().strip_prefix("napi/").and_then(|rest| rest.rsplit_once('-')) {
                Some(("pcb-a" | "pcb-b", _)) => world.cores.1,
                Some(("eth0", _)) => world.cores.0,
                _ => continue,
            };
            let _ = wire::pin_process(process, core);
            if world.realtime {
                let _ = wire::realtime_process(process, 11);
            }
        }
        Ok(())
    }
}

impl Namespaces {
    fn name(&self, which: &str) -> String {
        format!("{}-{which}", self.prefix)
    }

    fn relay(&self, side: Side) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, 1 + side as u8, 1)
    }

    fn peer(&self, side: Side) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, 1 + side as u8, 2)
    }

    /// Does something in a namespace and comes back.
    fn within<T>(&self, which: &str, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        wire::enter(&File::open(format!("/run/netns/{}", self.name(which)))?)?;
        let result = what();
        wire::enter(&self.home)?;
        result
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in ["a", "b", "sbc"] {
            let _ = ip(&["netns", "del", &self.name(name)]);
        }
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    run("ip", arguments)
}

fn inside(namespace: &str, command: &[&str]) -> io::Result<()> {
    run("ip", &[&["netns", "exec", namespace], command].concat())
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}
