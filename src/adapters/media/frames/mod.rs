//! Frames: RTP of all streams in through one socket and out as whole IP packets through another, so that packets of many calls share a system call.
//!
//! With a socket for each stream there is one packet in it at a time, and each costs a receive and a send of its own. Here a program in the kernel
//! ([`program`]) gives the RTP of every source a latch has settled on to one socket a worker and address family shares; `Streams::packet` changes it
//! where it lies; headers are written in front of it there ([`headers`]), and what a turn has made leaves through a raw socket in one call ([`calls`]).
//! The kernel still puts fragments together, asks its firewall both ways, and finds route and next hop.
//!
//! A flow is the exact source and destination: strangers, RTCP, first packets and everything else come to the stream's own sockets, so a flood at a
//! media port fills that port's buffer and not the shared one. What cannot leave here (too long for the link, the other address family) leaves by the
//! stream's own socket.

mod calls;
mod headers;
mod ports;
mod program;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::{SendFlags, sendto};

use crate::media::control::Side;
use crate::media::shortcut::WhyNot;
use crate::time::Time;

use self::calls::{Inbound, Outcome};
use self::ports::Ports;
use self::program::{Flow, Program};
use super::path::{Front, Probe, Way};
use super::sockets::Place;
use super::streams::{Departure, Open, Streams};

/// Whether streams share a socket where the machine allows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    #[default]
    Off,
    Auto,
}

/// What the operator asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    pub mode: Mode,
    /// Our media addresses.
    pub addresses: Vec<IpAddr>,
}

/// Receives of one turn; each takes up to [`calls::BATCH`] packets.
const RECEIVES: usize = 4;

const SIDES: [(Side, Place); 2] = [(Side::A, Place::A_RTP), (Side::B, Place::B_RTP)];

/// What one worker has for one address family.
struct Sockets {
    receive: OwnedFd,
    /// One for each of our addresses, of both families, bound to it so that routing by source holds.
    exits: Vec<(IpAddr, OwnedFd)>,
    /// Its place in the program's map.
    number: u32,
    is_ipv6: bool,
}

/// Everything that took privilege, made before the workers begin.
pub(super) struct Frames {
    program: Arc<Mutex<Program>>,
    /// By worker, those of its families.
    sockets: Vec<Vec<Sockets>>,
}

impl Frames {
    /// As the settings ask and the machine allows; how that went is added to `probes`, unless it is off.
    pub(super) fn start(settings: &super::Settings, probes: &mut Vec<Probe>) -> Option<Frames> {
        if settings.frames.mode == Mode::Off {
            return None;
        }
        // On a thread of its own: the privilege it raises stays with it.
        let (asked, workers) = (settings.frames.clone(), settings.workers.max(1));
        let made = thread::Builder::new().name("frames-load".to_owned()).spawn(move || program::start(&asked, workers)).map_err(|error| error.to_string());
        let made = made.and_then(|thread| thread.join().unwrap_or_else(|_| Err("setting it up has failed badly".to_owned())));
        let (frames, outcome) = match made {
            Ok(frames) => (Some(frames), Ok("one receive socket for all streams of a worker, raw sockets to send".to_owned())),
            Err(why) => (None, Err(why)),
        };
        probes.push(Probe { way: Way::Frames, outcome });
        frames
    }

    /// The next worker's part in it, one for each address family. `is_kernel_asked`: a front of the kernel's comes before them.
    pub(super) fn fronts(&mut self, dscp: u8, is_kernel_asked: bool) -> Vec<Box<dyn Front>> {
        let sockets = self.sockets.pop().unwrap_or_default();
        sockets.into_iter().map(|sockets| Box::new(Sharing::new(Arc::clone(&self.program), sockets, dscp, is_kernel_asked)) as Box<dyn Front>).collect()
    }
}

/// One worker's streams that share a socket.
struct Sharing {
    program: Arc<Mutex<Program>>,
    sockets: Sockets,
    inbound: Inbound,
    ports: Ports,
    /// By slot, what the program knows of either side.
    flows: HashMap<usize, [Option<Flow>; 2]>,
    dscp: u8,
    is_kernel_asked: bool,
    /// Which stream each staged datagram is of, for those that cannot leave here.
    staged: Box<[(usize, Departure)]>,
}

impl Sharing {
    fn new(program: Arc<Mutex<Program>>, sockets: Sockets, dscp: u8, is_kernel_asked: bool) -> Sharing {
        let nothing = (0, Departure { from: Place::A_RTP, to: SocketAddr::new(IpAddr::from([0; 4]), 0), len: 0 });
        let staged = vec![nothing; calls::BATCH].into_boxed_slice();
        Sharing { program, inbound: Inbound::new(sockets.is_ipv6), sockets, ports: Ports::default(), flows: HashMap::new(), dscp, is_kernel_asked, staged }
    }

    /// Has the program give us what it should of this stream, and nothing else.
    fn settle(&mut self, open: &mut Open) {
        for ((side, place), index) in SIDES.into_iter().zip(0..) {
            let ours = open.sockets.side(side).rtp;
            if ours.is_ipv6() != self.sockets.is_ipv6 {
                continue;
            }
            let wanted = self.wanted(open, side, index, ours);
            let held = self.flows.get(&open.slot).and_then(|flows| flows.get(index).copied().flatten());
            let why = match wanted {
                Ok(flow) if held == Some(flow) => None,
                Ok(flow) => {
                    self.forget(open, index);
                    self.enter(open.slot, index, place, flow).err()
                }
                Err(why) => {
                    self.forget(open, index);
                    Some(why)
                }
            };
            let Some(way) = open.ways.get_mut(index) else { continue };
            // Where the kernel was asked first, its reason stands.
            *way = match (why, *way) {
                (_, way @ (Way::Kernel(_), _)) => way,
                (None, (_, longer)) => (Way::Frames, longer.filter(|_| self.is_kernel_asked)),
                (Some(why), (_, longer)) => (open.bound, longer.filter(|_| self.is_kernel_asked).or(Some(why))),
            };
        }
    }

    /// The flow a side should be in.
    fn wanted(&self, open: &Open, side: Side, index: usize, ours: SocketAddr) -> Result<Flow, WhyNot> {
        // What the kernel carries comes to the stream's own socket where it does not, so that the kernel's front hears of it.
        if matches!(open.ways.get(index), Some((Way::Kernel(_), _))) {
            return Err(WhyNot::NotReady);
        }
        if !self.sockets.exits.iter().any(|(address, _)| *address == ours.ip()) {
            return Err(WhyNot::Refused);
        }
        let from = open.stream.source(side)?;
        Ok(Flow { from, ours })
    }

    fn enter(&mut self, slot: usize, index: usize, place: Place, flow: Flow) -> Result<(), WhyNot> {
        self.ports.set(flow.ours, Some((slot, place)));
        let entered = self.program.lock().unwrap_or_else(PoisonError::into_inner).insert(flow, self.sockets.number);
        if let Err(why) = entered {
            self.ports.set(flow.ours, None);
            return Err(why);
        }
        if let Some(cell) = self.flows.entry(slot).or_default().get_mut(index) {
            *cell = Some(flow);
        }
        Ok(())
    }

    fn forget(&mut self, open: &mut Open, index: usize) {
        let Some(flow) = self.flows.get_mut(&open.slot).and_then(|flows| flows.get_mut(index)).and_then(Option::take) else { return };
        let is_gone = self.program.lock().unwrap_or_else(PoisonError::into_inner).remove(flow);
        open.undeleted += u64::from(!is_gone);
        self.ports.set(flow.ours, None);
    }

    /// One receive, and everything that came of it sent. Says whether there may be more.
    fn turn(&mut self, now: Time, streams: &mut Streams) -> bool {
        let count = match self.inbound.receive(self.sockets.receive.as_fd()) {
            Ok(count) => count,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    streams.counters.receive_failed += 1;
                }
                return false;
            }
        };
        streams.counters.in_frames += count as u64;
        let mut staged = 0;
        for i in 0..count {
            let Some(arrival) = self.inbound.arrival(i) else { continue };
            // Of a stream that has ended since, or to the socket's own address: nobody's.
            let Some((slot, place)) = self.ports.at(arrival.to) else { continue };
            if arrival.is_oversized {
                streams.oversized(slot, place);
                continue;
            }
            let Some(departure) = streams.packet(now, slot, place, arrival.from, arrival.payload, arrival.len) else { continue };
            let Some(open) = streams.at(slot) else { continue };
            let source = address_of(open, departure.from);
            let exit = self.sockets.exits.iter().position(|(address, _)| *address == source.ip());
            let ready = exit.and_then(|exit| self.inbound.stage(i, exit, source, departure.to, departure.len, self.dscp));
            match (ready, self.staged.get_mut(staged)) {
                (Some(()), Some(cell)) => {
                    *cell = (slot, departure);
                    staged += 1;
                }
                _ => by_own_socket(streams, slot, departure, self.inbound.payload(i, departure.len)),
            }
        }
        for (exit, (_, socket)) in self.sockets.exits.iter().enumerate() {
            let staged = &self.staged;
            self.inbound.flush(exit, socket.as_fd(), &mut |outcome| match outcome {
                Outcome::Sent(sent) => streams.counters.forwarded += sent as u64,
                Outcome::Failed => streams.counters.send_failed += 1,
                Outcome::TooLong(nth, payload) => {
                    if let Some((slot, departure)) = staged.get(nth) {
                        by_own_socket(streams, *slot, *departure, payload);
                    }
                }
            });
        }
        count == calls::BATCH
    }
}

/// Where a socket of a stream is bound.
fn address_of(open: &Open, place: Place) -> SocketAddr {
    let ours = open.sockets.side(place.side());
    if place == Place::A_RTP || place == Place::B_RTP { ours.rtp } else { ours.rtcp }
}

/// Sends what cannot leave as a frame: the kernel splits it, or says why not.
fn by_own_socket(streams: &mut Streams, slot: usize, departure: Departure, payload: &[u8]) {
    let Some(open) = streams.at(slot) else { return };
    match sendto(open.sockets.at(departure.from), payload, SendFlags::DONTWAIT, &departure.to) {
        Ok(_) => streams.counters.forwarded += 1,
        Err(_) => streams.counters.send_failed += 1,
    }
}

impl Front for Sharing {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.sockets.receive.as_fd())
    }

    fn changed(&mut self, _now: Time, open: &mut Open) {
        self.settle(open);
    }

    fn served(&mut self, _now: Time, open: &mut Open) {
        self.settle(open);
    }

    fn closing(&mut self, _now: Time, open: &mut Open) {
        for index in 0..SIDES.len() {
            self.forget(open, index);
        }
        self.flows.remove(&open.slot);
    }

    fn ready(&mut self, now: Time, streams: &mut Streams) {
        for _ in 0..RECEIVES {
            if !self.turn(now, streams) {
                return;
            }
        }
    }
}
