//! Streams forwarded by the kernel, by XDP or by nftables: the [`Front`] that puts entries there while `Stream::shortcut` allows, and brings back what they count.
//!
//! An entry exists only for a source the latch has settled on. It is gone before anything signalling says of the stream takes effect, and is made
//! anew afterwards if the stream still allows. Packets that fit no entry come to the stream's sockets as ever.

mod entry;
mod links;
mod nft;
mod program;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

use crate::media::control::{Side, StreamId};
use crate::media::shortcut::{Carried, Pace, Shortcut, WhyNot};
use crate::time::Time;

use self::entry::{Count, ENTRY};
use self::links::Link;
use self::nft::Table;
use self::program::{Lease, Program};
use super::path::{Front, KernelKind, Probe, Way};
use super::privilege;
use super::streams::{Open, Streams};

pub use self::program::Attach;

/// Whether the kernel is to forward what needs nothing of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    #[default]
    Off,
    /// By XDP if that can be had, else by nftables if that can, else not.
    Auto,
    Xdp,
    Nft,
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

/// By nftables nothing tells of a packet when it comes: counts are read, and routes asked, so often.
const TICK: Duration = Duration::from_secs(1);

/// Parts of the streams, each with its turn within a [`TICK`]: all at once would hold up packets of other streams.
const TURNS: usize = 16;

/// What forwards in the kernel, shared by the workers. Locked when an entry changes or is read, never for a packet.
#[derive(Clone)]
enum Means {
    Xdp(Arc<Mutex<Program>>),
    Nft(Arc<Mutex<Table>>),
}

#[derive(Clone)]
pub(super) struct Kernel {
    means: Means,
    /// CLOCK_MONOTONIC at [`Time::ZERO`], ns.
    epoch: u64,
}

impl Kernel {
    /// As the settings ask and the machine allows; how that went is added to `probes`, unless it is off.
    pub(super) fn start(settings: &Settings, dscp: u8, anchor: Instant, probes: &mut Vec<Probe>) -> Option<Kernel> {
        let kinds: &[KernelKind] = match settings.mode {
            Mode::Off => &[],
            Mode::Auto => &[KernelKind::Xdp, KernelKind::Nft],
            Mode::Xdp => &[KernelKind::Xdp],
            Mode::Nft => &[KernelKind::Nft],
        };
        let means = kinds.iter().find_map(|kind| {
            // On a thread of its own: the privilege it raises stays with it.
            let (asked, kind) = (settings.clone(), *kind);
            let loaded = thread::Builder::new().name("kernel-load".to_owned()).spawn(move || load(&asked, kind, dscp)).map_err(|error| error.to_string());
            let loaded = loaded.and_then(|thread| thread.join().unwrap_or_else(|_| Err("loading it has failed badly".to_owned())));
            let (means, outcome) = match loaded {
                Ok((means, detail)) => (Some(means), Ok(detail)),
                Err(why) => (None, Err(why)),
            };
            probes.push(Probe { way: Way::Kernel(kind), outcome });
            means
        })?;
        let epoch = since_boot().saturating_sub(anchor.elapsed().as_nanos() as u64);
        Some(Kernel { means, epoch })
    }

    /// One worker's part in it.
    pub(super) fn front(&self, dscp: u8) -> Forwarding {
        Forwarding { kernel: self.clone(), dscp, streams: HashMap::new(), next: Time::ZERO, turn: 0 }
    }

    fn way(&self) -> Way {
        match &self.means {
            Means::Xdp(_) => Way::Kernel(KernelKind::Xdp),
            Means::Nft(_) => Way::Kernel(KernelKind::Nft),
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(since_boot().saturating_sub(self.epoch))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CLOCK_MONOTONIC, ns.
fn since_boot() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32).as_nanos() as u64
}

fn load(settings: &Settings, kind: KernelKind, dscp: u8) -> Result<(Means, String), String> {
    match kind {
        KernelKind::Xdp => load_program(settings),
        KernelKind::Nft => {
            privilege::raise(CapabilitySet::NET_ADMIN);
            let links = links::all().map_err(|error| format!("the interfaces cannot be listed: {error}"))?;
            let (table, detail) = Table::build(&choose(&links, settings)?, dscp)?;
            Ok((Means::Nft(Arc::new(Mutex::new(table))), detail))
        }
    }
}

fn load_program(settings: &Settings) -> Result<(Means, String), String> {
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
    let (program, detail) = Program::load(&chosen, settings.attach)?;
    Ok((Means::Xdp(Arc::new(Mutex::new(program))), detail))
}

/// The interfaces that take part.
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
    place: Place,
    /// What it had counted when the stream was last told.
    told: Count,
}

/// Where in the kernel.
#[derive(Debug)]
enum Place {
    Xdp {
        lease: Lease,
        /// Boxed beside what nftables needs.
        entry: Box<[u8; ENTRY]>,
        /// The sequence number the kernel knows the sockets to have come to.
        heard: u32,
    },
    Nft(nft::Entry),
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
    /// When to read and to ask next, by nftables, and of which part of the streams.
    next: Time,
    turn: usize,
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
            show(open, index, self.kernel.way(), Some(WhyNot::NotReady));
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
            show(open, index, self.kernel.way(), why);
        }
    }

    /// What the kernel has counted comes to the stream.
    fn read(&mut self, open: &mut Open) {
        let Some(held) = self.streams.get_mut(&open.id) else { return };
        for (side, cell) in SIDES.into_iter().zip(&mut held.carriages) {
            let Some(carriage) = cell else { continue };
            let count = read(&self.kernel, carriage);
            if let Some(count) = count {
                tell(open, side, carriage, count);
            }
        }
    }
}

/// A direction is in the kernel, or not because of `why`; then it goes as it would without us, which may be another front's way.
fn show(open: &mut Open, index: usize, kernel: Way, why: Option<WhyNot>) {
    if let Some((way, reason)) = open.ways.get_mut(index) {
        *way = match why {
            None => kernel,
            Some(_) if *way == kernel => open.bound,
            Some(_) => *way,
        };
        *reason = why;
    }
}

/// Puts a direction into the kernel.
fn put(kernel: &Kernel, open: &Open, side: Side, shortcut: Shortcut, dscp: u8) -> Result<Carriage, WhyNot> {
    let pace = open.stream.pace(side, shortcut.ssrc).ok_or(WhyNot::NoSource)?;
    let (arrives, leaves) = (open.sockets.side(side).rtp, open.sockets.side(side.other()).rtp);
    let told = Count { pace, ..Count::default() };
    let place = match &kernel.means {
        Means::Xdp(program) => {
            let mut program = lock(program);
            let slot = program.reserve().ok_or(WhyNot::Full)?;
            let lease = Lease { key: entry::key(&shortcut, arrives), slot };
            let mut entry = Box::new(entry::entry(&shortcut, arrives, leaves, slot, kernel.epoch, dscp));
            entry::hear(&mut entry, pace.highest);
            program.insert(lease, &entry, &told).map_err(|_| WhyNot::Refused)?;
            Place::Xdp { lease, entry, heard: pace.highest }
        }
        Means::Nft(table) => Place::Nft(lock(table).insert(&shortcut, arrives, leaves)?),
    };
    Ok(Carriage { shortcut, place, told })
}

/// The source has come so far by packets that were the sockets': no packets the kernel has missed.
fn hear(kernel: &Kernel, open: &Open, side: Side, carriage: &mut Carriage) {
    let Some(pace) = open.stream.pace(side, carriage.shortcut.ssrc) else { return };
    let is_ahead = pace.highest.wrapping_sub(carriage.told.pace.highest) as i32 > 0;
    match (&kernel.means, &mut carriage.place) {
        (Means::Xdp(program), Place::Xdp { lease, entry, heard }) if pace.highest != *heard && is_ahead => {
            *heard = pace.highest;
            entry::hear(entry, pace.highest);
            lock(program).update(*lease, entry);
        }
        (Means::Nft(_), _) if is_ahead => carriage.told.pace = pace,
        _ => {}
    }
}

fn read(kernel: &Kernel, carriage: &Carriage) -> Option<Count> {
    match (&kernel.means, &carriage.place) {
        (Means::Xdp(program), Place::Xdp { lease, .. }) => lock(program).read(lease.slot),
        (Means::Nft(table), Place::Nft(entry)) => {
            let passed = lock(table).read(entry)?;
            Some(reckon(&carriage.told, passed.packets, entry.payload(passed), kernel.now()))
        }
        _ => None,
    }
}

/// What nftables has counted, which does not see when, nor numbers: as if every packet had been the next of its source, and the last had come now. What
/// was lost is seen when a packet comes to the socket.
fn reckon(told: &Count, packets: u64, bytes: u64, now: Time) -> Count {
    let more = packets.saturating_sub(told.packets);
    let pace = Pace { highest: told.pace.highest.wrapping_add(more as u32), ..told.pace };
    Count { packets, bytes, last: if more > 0 { now } else { told.last }, gaps: told.gaps, pace }
}

fn withdraw(kernel: &Kernel, open: &mut Open, side: Side, mut carriage: Carriage) {
    let (count, is_gone) = match (&kernel.means, &carriage.place) {
        (Means::Xdp(program), Place::Xdp { lease, .. }) => lock(program).remove(*lease),
        (Means::Nft(table), Place::Nft(entry)) => {
            let (passed, is_gone) = lock(table).remove(entry);
            (passed.map(|passed| reckon(&carriage.told, passed.packets, entry.payload(passed), kernel.now())), is_gone)
        }
        _ => (None, true),
    };
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

    fn due(&self) -> Option<Time> {
        matches!(self.kernel.means, Means::Nft(_)).then_some(self.next)
    }

    fn look(&mut self, now: Time, streams: &mut Streams) {
        let Means::Nft(table) = self.kernel.means.clone() else { return };
        if now < self.next {
            return;
        }
        self.next = now + TICK / TURNS as u32;
        self.turn = (self.turn + 1) % TURNS;
        lock(&table).sweep();
        let turn = self.turn;
        for open in streams.each().filter(|open| open.slot % TURNS == turn) {
            let Some(held) = self.streams.get(&open.id) else { continue };
            let mut entries = held.carriages.iter().flatten().filter_map(|carriage| if let Place::Nft(entry) = &carriage.place { Some(entry) } else { None });
            let is_current = entries.all(|entry| lock(&table).is_current(entry));
            if is_current {
                self.read(open);
            } else {
                self.withdraw(open);
                self.settle(now, open);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nftables_counted_makes_no_losses() {
        let told = Count { packets: 10, bytes: 1_720, last: Time::from_millis(5), gaps: 0, pace: Pace { highest: 0x1_ffff, ..Pace::default() } };
        let same = reckon(&told, 10, 1_720, Time::from_millis(99));
        assert_eq!(same, told, "nothing has come");
        let more = reckon(&told, 13, 2_236, Time::from_millis(99));
        assert_eq!((more.pace.highest, more.gaps, more.last), (0x2_0002, 0, Time::from_millis(99)));
    }

    /// With io_uring each datagram is a turn of its own: without this a flood of junk at a media port would be a flood of system calls under a lock.
    #[test]
    fn a_flood_at_the_socket_reads_the_kernels_counts_once_a_wake() {
        let mut held = Held::default();
        let wakes = (0..100u64).map(|wake| Time::from_nanos(wake * 200_000));
        let readings = wakes.map(|now| (0..1_000).filter(|_| held.is_to_be_read(now)).count()).sum::<usize>();
        assert_eq!(readings, 100);
    }
}
