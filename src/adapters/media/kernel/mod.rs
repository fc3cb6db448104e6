//! Streams forwarded by the kernel (XDP): the [`Front`] that puts entries there while `Stream::shortcut` allows, and brings back what they count.
//!
//! An entry exists only for a source the latch has settled on. It is gone before anything signalling says of the stream takes effect, and is made
//! anew afterwards if the stream still allows. Packets that fit no entry come to the stream's sockets as ever.

mod entry;
mod links;
mod program;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

use crate::media::control::{Side, StreamId};
use crate::media::shortcut::{Carried, Shortcut, WhyNot};
use crate::time::Time;

use self::entry::{Count, ENTRY};
use self::links::Link;
use self::program::{Lease, Program};
use super::path::{Front, KernelKind, Probe, Way};
use super::privilege;
use super::streams::Open;

pub use self::program::Attach;

/// Whether the kernel is to forward what needs nothing of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    #[default]
    Off,
    /// By XDP if that can be had, else not.
    Auto,
    Xdp,
}

/// What the operator asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    pub mode: Mode,
    /// The interfaces by name; empty: those that hold one of `addresses`.
    pub interfaces: Vec<String>,
    /// Our media addresses.
    pub addresses: Vec<IpAddr>,
    pub attach: Attach,
}

/// A source that another one seems to displace is kept while it was heard of this lately: packets under a forged SSRC shall not move entries about.
const STICK: Duration = Duration::from_millis(200);

/// An entry that the kernel would not take is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

const WAY: Way = Way::Kernel(KernelKind::Xdp);

/// The program, shared by the workers. Locked when an entry changes or is read, never for a packet.
#[derive(Clone)]
pub(super) struct Kernel {
    program: Arc<Mutex<Program>>,
    /// CLOCK_MONOTONIC at [`Time::ZERO`], ns.
    epoch: u64,
}

impl Kernel {
    /// As the settings ask and the machine allows; how that went is added to `probes`, unless it is off.
    pub(super) fn start(settings: &Settings, anchor: Instant, probes: &mut Vec<Probe>) -> Option<Kernel> {
        if settings.mode == Mode::Off {
            return None;
        }
        // On a thread of its own: the privilege it raises stays with it.
        let asked = settings.clone();
        let loaded = thread::Builder::new().name("xdp-load".to_owned()).spawn(move || load(&asked)).map_err(|error| error.to_string());
        let loaded = loaded.and_then(|thread| thread.join().unwrap_or_else(|_| Err("loading it has failed badly".to_owned())));
        let (program, outcome) = match loaded {
            Ok((program, detail)) => (Some(program), Ok(detail)),
            Err(why) => (None, Err(why)),
        };
        probes.push(Probe { way: WAY, outcome });
        let since_boot = clock_gettime(ClockId::Monotonic);
        let since_boot = Duration::new(since_boot.tv_sec.unsigned_abs(), since_boot.tv_nsec as u32).as_nanos() as u64;
        let epoch = since_boot.saturating_sub(anchor.elapsed().as_nanos() as u64);
        program.map(|program| Kernel { program: Arc::new(Mutex::new(program)), epoch })
    }

    /// One worker's part in it.
    pub(super) fn front(&self, dscp: u8) -> Forwarding {
        Forwarding { kernel: self.clone(), dscp, streams: HashMap::new() }
    }

    fn program(&self) -> MutexGuard<'_, Program> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(settings: &Settings) -> Result<(Program, String), String> {
    privilege::raise(CapabilitySet::NET_ADMIN | CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    // Before that an interface keeps a program whose process has died.
    if (parts.next(), parts.next()) < (Some(5), Some(9)) {
        return Err(format!("kernel {release} is older than 5.9, and would keep entries after our end"));
    }
    let links = links::all().map_err(|error| format!("the interfaces cannot be listed: {error}"))?;
    let chosen = choose(&links, settings)?;
    for link in &chosen {
        for is_ipv6 in [false, true] {
            let holds = link.addresses.iter().any(|address| address.is_ipv6() == is_ipv6 && settings.addresses.contains(address));
            if holds && !link.routes(is_ipv6) {
                let key = link.routing_key(is_ipv6).replace('/', ".");
                return Err(format!(
                    "{} does not route, so the kernel tells no way onwards: sysctl -w {key}=1, and let your firewall drop what is forwarded",
                    link.name
                ));
            }
        }
    }
    Program::load(&chosen, settings.attach)
}

/// The interfaces the program is to sit on.
fn choose<'l>(links: &'l [Link], settings: &Settings) -> Result<Vec<&'l Link>, String> {
    let mut chosen = Vec::new();
    for name in &settings.interfaces {
        chosen.push(links.iter().find(|link| link.name == *name).ok_or(format!("there is no interface {name:?} ([media] interfaces)"))?);
    }
    if settings.interfaces.is_empty() {
        chosen = links.iter().filter(|link| !link.is_loopback && link.addresses.iter().any(|address| settings.addresses.contains(address))).collect();
    }
    match chosen.is_empty() {
        true => Err("no interface holds a media address; name them in [media] interfaces".to_owned()),
        false => Ok(chosen),
    }
}

/// One direction that the kernel carries.
#[derive(Debug)]
struct Carriage {
    shortcut: Shortcut,
    lease: Lease,
    entry: [u8; ENTRY],
    /// The sequence number the kernel knows the sockets to have come to.
    heard: u32,
    /// What it had counted when the stream was last told.
    told: Count,
}

/// What one stream has in the kernel.
#[derive(Debug, Default)]
struct Held {
    carriages: [Option<Carriage>; 2],
    /// When its counts were last read for what comes to its sockets.
    read: Option<Time>,
    /// When the kernel last would not take an entry.
    refused: [Option<Time>; 2],
}

impl Held {
    /// Whether the counts are to be read now: once in a wake, however many datagrams it brings, since anybody can send them.
    fn is_to_be_read(&mut self, now: Time) -> bool {
        self.read.replace(now) != Some(now)
    }
}

/// One worker's streams in the kernel.
pub(super) struct Forwarding {
    kernel: Kernel,
    dscp: u8,
    streams: HashMap<StreamId, Held>,
}

const SIDES: [Side; 2] = [Side::A, Side::B];

impl Forwarding {
    /// Takes both directions out of the kernel, with what they counted.
    fn withdraw(&mut self, open: &mut Open) {
        let Some(held) = self.streams.get_mut(&open.id) else { return };
        for (side, cell) in SIDES.into_iter().zip(&mut held.carriages) {
            if let Some(carriage) = cell.take() {
                withdraw(&self.kernel, open, side, carriage);
            }
        }
        for index in 0..SIDES.len() {
            show(open, index, Some(WhyNot::NotReady));
        }
    }

    /// Has the kernel carry what it may, and nothing else.
    fn settle(&mut self, now: Time, open: &mut Open) {
        let held = self.streams.entry(open.id).or_default();
        for (((side, cell), refused), index) in SIDES.into_iter().zip(&mut held.carriages).zip(&mut held.refused).zip(0..) {
            let wanted = open.stream.shortcut(side);
            if let Some(carriage) = cell.as_mut() {
                let same = wanted.as_ref().is_ok_and(|wanted| {
                    let sticks = now.since(carriage.told.last) < STICK;
                    *wanted == carriage.shortcut || sticks && Shortcut { ssrc: carriage.shortcut.ssrc, ..*wanted } == carriage.shortcut
                });
                if same {
                    hear(&self.kernel, open, side, carriage);
                    continue;
                }
            }
            if let Some(carriage) = cell.take() {
                withdraw(&self.kernel, open, side, carriage);
            }
            if wanted.is_ok() && refused.is_some_and(|last| now.since(last) < RETRY) {
                continue;
            }
            let put = |wanted| put(&self.kernel, open, side, wanted, self.dscp).inspect_err(|_| *refused = Some(now));
            let why = match wanted.and_then(put) {
                Ok(carriage) => {
                    *cell = Some(carriage);
                    None
                }
                Err(why) => Some(why),
            };
            show(open, index, why);
        }
    }

    /// What the kernel has counted comes to the stream.
    fn read(&mut self, open: &mut Open) {
        let Some(held) = self.streams.get_mut(&open.id) else { return };
        for (side, cell) in SIDES.into_iter().zip(&mut held.carriages) {
            let Some(carriage) = cell else { continue };
            let count = self.kernel.program().read(carriage.lease.slot);
            if let Some(count) = count {
                tell(open, side, carriage, count);
            }
        }
    }
}

/// A direction is in the kernel, or not because of `why`; then it goes as it would without us, which may be another front's way.
fn show(open: &mut Open, index: usize, why: Option<WhyNot>) {
    if let Some((way, reason)) = open.ways.get_mut(index) {
        *way = match why {
            None => WAY,
            Some(_) if *way == WAY => open.bound,
            Some(_) => *way,
        };
        *reason = why;
    }
}

/// Puts a direction into the kernel.
fn put(kernel: &Kernel, open: &Open, side: Side, shortcut: Shortcut, dscp: u8) -> Result<Carriage, WhyNot> {
    let pace = open.stream.pace(side, shortcut.ssrc).ok_or(WhyNot::NoSource)?;
    let (arrives, leaves) = (open.sockets.side(side).rtp, open.sockets.side(side.other()).rtp);
    let mut program = kernel.program();
    let slot = program.reserve().ok_or(WhyNot::Full)?;
    let lease = Lease { key: entry::key(&shortcut, arrives), slot };
    let told = Count { pace, ..Count::default() };
    let mut entry = entry::entry(&shortcut, arrives, leaves, slot, kernel.epoch, dscp);
    entry::hear(&mut entry, pace.highest);
    program.insert(lease, &entry, &told).map_err(|_| WhyNot::Refused)?;
    Ok(Carriage { shortcut, lease, entry, heard: pace.highest, told })
}

/// Tells the kernel how far the source has come by packets that were the sockets': no packets it has missed.
fn hear(kernel: &Kernel, open: &Open, side: Side, carriage: &mut Carriage) {
    let Some(pace) = open.stream.pace(side, carriage.shortcut.ssrc) else { return };
    let known = carriage.told.pace.highest;
    if pace.highest != carriage.heard && pace.highest.wrapping_sub(known) as i32 > 0 {
        carriage.heard = pace.highest;
        entry::hear(&mut carriage.entry, pace.highest);
        kernel.program().update(carriage.lease, &carriage.entry);
    }
}

fn withdraw(kernel: &Kernel, open: &mut Open, side: Side, mut carriage: Carriage) {
    let (count, is_gone) = kernel.program().remove(carriage.lease);
    open.undeleted += u64::from(!is_gone);
    if let Some(count) = count {
        tell(open, side, &mut carriage, count);
    }
}

/// Tells the stream what was counted since it was last told.
fn tell(open: &mut Open, side: Side, carriage: &mut Carriage, count: Count) {
    let before = std::mem::replace(&mut carriage.told, count);
    let carried = Carried {
        packets: count.packets.saturating_sub(before.packets),
        bytes: count.bytes.saturating_sub(before.bytes),
        last: count.last,
        gaps: count.gaps.wrapping_sub(before.gaps),
        pace: count.pace,
    };
    open.stream.absorb(side, carriage.shortcut.ssrc, &carried);
    open.elsewhere += carried.packets;
}

impl Front for Forwarding {
    fn changing(&mut self, _now: Time, open: &mut Open) {
        self.withdraw(open);
    }

    fn changed(&mut self, now: Time, open: &mut Open) {
        self.settle(now, open);
    }

    fn closing(&mut self, _now: Time, open: &mut Open) {
        self.withdraw(open);
        self.streams.remove(&open.id);
    }

    fn reading(&mut self, open: &mut Open) {
        self.read(open);
    }

    fn arriving(&mut self, now: Time, open: &mut Open) {
        if self.streams.get_mut(&open.id).is_some_and(|held| held.is_to_be_read(now)) {
            self.read(open);
        }
    }

    fn served(&mut self, now: Time, open: &mut Open) {
        self.settle(now, open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With io_uring each datagram is a turn of its own: without this a flood of junk at a media port would be a flood of system calls under a lock.
    #[test]
    fn a_flood_at_the_socket_reads_the_kernels_counts_once_a_wake() {
        let mut held = Held::default();
        let wakes = (0..100u64).map(|wake| Time::from_nanos(wake * 200_000));
        let readings = wakes.map(|now| (0..1_000).filter(|_| held.is_to_be_read(now)).count()).sum::<usize>();
        assert_eq!(readings, 100);
    }
}
