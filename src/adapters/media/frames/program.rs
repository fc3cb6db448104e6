//! The program that gives known flows to the shared sockets (ebpf/frames.bpf.c), its maps, and all that takes privilege to make.
//!
//! Nothing is pinned: when the process ends, however it ends, the kernel forgets program and flows, and packets come to whoever is bound.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use aya::EbpfLoader;
use aya::maps::{HashMap, MapData, SockMap};
use aya::programs::SkLookup;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::shortcut::WhyNot;

use super::super::maps::{delete, io_error};
use super::super::privilege;
use super::{Frames, Settings, Sockets, calls};

/// Built by ebpf/build and kept beside its source, so that building Portcullis needs no compiler for it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/frames.bpf.o"));

/// Asked of the kernel for what all streams of a worker share: a tenth of a second of 50,000 packets, as the kernel counts them. Unit: bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Packets on their way out that the kernel counts as ours. Unit: bytes.
const SEND_BUFFER: usize = 1 << 20;

const FLOW: usize = 36;

/// Where packets come from, and to which of our addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    pub from: SocketAddr,
    pub ours: SocketAddr,
}

impl Flow {
    /// As the program lays it out.
    fn key(self) -> [u8; FLOW] {
        let mut key = [0; FLOW];
        let parts: [&[u8]; 4] = [&octets(self.from.ip()), &octets(self.ours.ip()), &self.from.port().to_be_bytes(), &self.ours.port().to_ne_bytes()];
        for (byte, value) in key.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *value;
        }
        key
    }
}

/// IPv4 as ::ffff:a.b.c.d.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The running program.
pub struct Program {
    flows: HashMap<MapData, [u8; FLOW], u32>,
    /// Those that could not be deleted.
    stuck: Vec<[u8; FLOW]>,
    /// Hold the program, its link and the sockets' map.
    _held: (aya::Ebpf, SockMap<MapData>),
}

impl Program {
    /// `number`: which of the shared sockets gets them.
    pub fn insert(&mut self, flow: Flow, number: u32) -> Result<(), WhyNot> {
        self.stuck.retain(|key| *key != flow.key());
        self.flows.insert(flow.key(), number, 0).map_err(|error| match io_error(&error) {
            Some(Errno::TOOBIG | Errno::NOMEM) => WhyNot::Full,
            _ => WhyNot::Refused,
        })
    }

    /// False: the kernel would not delete it. What comes by it then finds no stream, or the stream that has the port next judges it; it is deleted with the next change.
    pub fn remove(&mut self, flow: Flow) -> bool {
        let stuck = std::mem::take(&mut self.stuck);
        self.stuck.extend(stuck.into_iter().filter(|key| !delete(|| self.flows.remove(key))));
        let key = flow.key();
        let gone = delete(|| self.flows.remove(&key));
        if !gone {
            self.stuck.push(key);
        }
        gone
    }
}

/// Sockets for `workers`, and the program that fills them. The error is for the operator: what failed, and what can be done.
pub fn start(settings: &Settings, workers: usize) -> Result<Frames, String> {
    privilege::raise(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::BPF);
    let families: Vec<bool> = [false, true].into_iter().filter(|family| settings.addresses.iter().any(|address| address.is_ipv6() == *family)).collect();
    if families.is_empty() {
        return Err("there is no media address to receive on".to_owned());
    }
    let mut object = EbpfLoader::new().load(OBJECT).map_err(|error| refused("the kernel does not take the program's maps", &error))?;
    let mut shared = SockMap::try_from(object.take_map("sockets").ok_or("the object holds no map of sockets")?)
        .map_err(|error| refused("the map of sockets is of another kind", &error))?;
    let mut all = Vec::new();
    let mut number = 0;
    for _ in 0..workers {
        let mut of_worker = Vec::new();
        for is_ipv6 in &families {
            let sockets = sockets(settings, *is_ipv6, number).map_err(|(what, error)| refused(what, &error))?;
            shared.set(number, &sockets.receive, 0).map_err(|error| refused("a socket cannot be shared", &error))?;
            of_worker.push(sockets);
            number += 1;
        }
        all.push(of_worker);
    }
    {
        let program = object.program_mut("frames").ok_or("the object holds no program named frames")?;
        let program: &mut SkLookup = program.try_into().map_err(|error| refused("the object is of another kind", &error))?;
        program.load().map_err(|error| refused("the kernel does not load the program", &error))?;
        let namespace = File::open("/proc/thread-self/ns/net").map_err(|error| refused("/proc does not show the network namespace", &error))?;
        program.attach(namespace).map_err(|error| refused("the kernel does not ask the program", &error))?;
    }
    let flows = HashMap::try_from(object.take_map("flows").ok_or("the object holds no map of flows")?)
        .map_err(|error| refused("the map of flows is of another kind", &error))?;
    Ok(Frames { program: Arc::new(Mutex::new(Program { flows, stuck: Vec::new(), _held: (object, shared) })), sockets: all })
}

/// One worker's for one family. The receiving socket is bound on the loopback interface, at a port of the kernel's choice: nothing reaches it from
/// outside but what the program gives it.
fn sockets(settings: &Settings, is_ipv6: bool, number: u32) -> Result<Sockets, (&'static str, io::Error)> {
    let make = || {
        let (domain, host): (_, IpAddr) = if is_ipv6 { (Domain::IPV6, Ipv6Addr::LOCALHOST.into()) } else { (Domain::IPV4, Ipv4Addr::LOCALHOST.into()) };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if is_ipv6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SocketAddr::new(host, 0).into())?;
        calls::tell_destinations(&socket, is_ipv6)?;
        calls::receive_buffer(&socket, RECEIVE_BUFFER)?;
        Ok(OwnedFd::from(socket))
    };
    let receive = make().map_err(|error| ("no socket to share", error))?;
    let exit = |address: &IpAddr| {
        let socket = Socket::new(Domain::for_address(SocketAddr::new(*address, 0)), Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(&SocketAddr::new(*address, 0).into())?;
        Ok((*address, OwnedFd::from(socket)))
    };
    let exits = settings.addresses.iter().map(exit).collect::<io::Result<_>>().map_err(|error| ("no raw socket to send with", error))?;
    Ok(Sockets { receive, exits, number, is_ipv6 })
}

/// An error with its first cause, in one line, and what can be done.
fn refused(what: &str, error: &(dyn Error + 'static)) -> String {
    let errno = io_error(error);
    let said = errno.map_or_else(|| error.to_string().lines().next().unwrap_or_default().to_owned(), |errno| errno.to_string());
    let remedy = match errno {
        // The verifier says ACCESS, and then it is not for want of privilege.
        Some(Errno::PERM) => "; it needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
        Some(Errno::INVAL | Errno::NOSYS) => "; it needs Linux 5.9 or newer, with BPF",
        _ => "",
    };
    format!("{what}: {said}{remedy}")
}
