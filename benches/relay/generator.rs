//! The traffic: every call's two directions at 50 packets a second, evenly spread over the 20 ms, sent from one socket per side and checked on
//! arrival: its SSRC names the stream; it must come to that stream's receiver from that stream's port of the relay, authenticate under that
//! stream's key and be byte for byte what the other peer sent, once.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::srtp::{HEADER, Session, Transform, vouch};
use crate::subject::{Call, Key, Ports, Subject};
use crate::wire::{self, Datagrams};
use crate::world::{Side, World};

const INTERVAL_NS: u64 = 20_000_000;
const PAYLOAD: usize = 160;
/// Packets of a stream that may be on their way: what comes later than 640 ms counts as lost.
const REMEMBERED: usize = 32;
/// The first stream's SSRC.
const SSRC: u32 = 0x5000_0000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    RtpRtp,
    SrtpRtp,
    SrtpSrtp,
    GcmGcm,
    /// SRTP under the keys of the peers on both legs.
    Shared,
}

impl Mode {
    pub const ALL: [Mode; 5] = [Mode::RtpRtp, Mode::SrtpRtp, Mode::SrtpSrtp, Mode::GcmGcm, Mode::Shared];

    pub fn name(self) -> &'static str {
        match self {
            Mode::RtpRtp => "RTP-RTP",
            Mode::SrtpRtp => "SRTP-RTP",
            Mode::SrtpSrtp => "SRTP-SRTP",
            Mode::GcmGcm => "GCM-GCM",
            Mode::Shared => "SHARED",
        }
    }

    /// Packets leave as they came, so the kernel can carry them.
    pub fn is_unchanged(self) -> bool {
        matches!(self, Mode::RtpRtp | Mode::Shared)
    }

    /// How each leg is protected. rtpengine copies A's key to B where both legs run the same suite, and then passes packets through unchanged; with
    /// another suite on B it makes a key of its own. A shorter tag, or a longer key of GCM, is all the difference.
    fn transform(self, side: Side) -> Option<Transform> {
        match (self, side) {
            (Mode::RtpRtp, _) | (Mode::SrtpRtp, Side::B) => None,
            (Mode::SrtpRtp | Mode::SrtpSrtp, Side::A) | (Mode::Shared, _) => Some(Transform::Cm80),
            (Mode::SrtpSrtp, Side::B) => Some(Transform::Cm32),
            (Mode::GcmGcm, Side::A) => Some(Transform::Gcm128),
            (Mode::GcmGcm, Side::B) => Some(Transform::Gcm256),
        }
    }
}

/// One direction of one call.
struct Flow {
    to: SocketAddrV4,
    /// The relay's address and port it must come from.
    from: (u32, u16),
    /// 48 bits: roll-over counter and sequence number of the next packet.
    index: u64,
    protect: Option<Session>,
    unprotect: Option<Session>,
    /// Since the run began, by sequence number. Unit: 100 ns.
    sent_at: [u32; REMEMBERED],
    /// Which of the remembered packets have arrived, a bit each.
    arrived: u32,
}

pub struct Generator {
    /// By [`Side`].
    sockets: [UdpSocket; 2],
    /// Call 0 from A, call 0 from B, call 1 from A, …
    flows: Vec<Flow>,
    /// Of the protected packets one in so many is authenticated and compared; of the others length, sequence, stream and port are checked.
    sample: u64,
}

/// What one measurement saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sent: u64,
    pub received: u64,
    /// Received and compared byte for byte, authenticated where protected.
    pub compared: u64,
    pub wrong_stream: u64,
    pub unauthentic: u64,
    pub altered: u64,
    pub duplicate: u64,
    /// The most the generator was behind its own schedule. Unit: ns.
    pub behind: u64,
    /// The share of its time in which the generator had something to do.
    pub busy: f64,
    /// Arrivals by delay. Unit: µs.
    delays: Vec<u32>,
}

impl Seen {
    pub fn percentile(&self, percent: f64) -> f64 {
        let total: u64 = self.delays.iter().map(|count| u64::from(*count)).sum();
        let mut left = (total as f64 * percent / 100.0) as u64;
        for (us, count) in self.delays.iter().enumerate() {
            match left.checked_sub(u64::from(*count)) {
                Some(rest) => left = rest,
                None => return us as f64,
            }
        }
        f64::NAN
    }

    pub fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }

    pub fn faults(&self) -> u64 {
        self.wrong_stream + self.unauthentic + self.altered + self.duplicate
    }
}

impl Generator {
    /// Sets up `calls` calls of `mode` on the relay; without a relay what one side sends goes straight to the other.
    pub fn new(world: &World, subject: Option<&mut Subject>, mode: Mode, calls: u64, sample: u64) -> io::Result<Generator> {
        let sockets = [world.peers(Side::A)?, world.peers(Side::B)?];
        let address = |side: Side| match sockets[side as usize].local_addr() {
            Ok(SocketAddr::V4(address)) => Ok(address),
            _ => Err(io::Error::other("no IPv4 address")),
        };
        let (a, b) = (address(Side::A)?, address(Side::B)?);
        let mut generator = Generator { sockets, flows: Vec::with_capacity(calls as usize * 2), sample: sample.max(1) };
        let key = |side| mode.transform(side).map(Key::random);
        let shared = mode == Mode::Shared;
        let Some(subject) = subject else {
            for number in 0..calls {
                // Each side's own key is the one its receiver knows: the work of both ends is the same as with a relay between them.
                let call = Call { number, a, b, a_sends: key(Side::A), b_sends: key(Side::B), shared };
                generator.add(&call, &Ports { a: b, b: a, to_a: call.b_sends, to_b: call.a_sends })?;
            }
            return Ok(generator);
        };
        for number in 0..calls {
            let call = Call { number, a, b, a_sends: key(Side::A), b_sends: key(Side::B), shared };
            let ports = subject.set_up(&call)?;
            generator.add(&call, &ports)?;
        }
        subject.settle()?;
        Ok(generator)
    }

    fn add(&mut self, call: &Call, ports: &Ports) -> io::Result<()> {
        for (sends, receives, to, from) in [(call.a_sends, ports.to_b, ports.a, ports.b), (call.b_sends, ports.to_a, ports.b, ports.a)] {
            let n = self.flows.len() as u32;
            let index = u64::from(n.wrapping_mul(97) & 0x7fff);
            let session = |key: Key| Session::new(key.transform, key.master());
            let flow = Flow {
                to,
                from: (u32::from(*from.ip()), from.port()),
                index,
                protect: sends.map(session),
                unprotect: receives.map(session),
                sent_at: [0; REMEMBERED],
                arrived: u32::MAX,
            };
            if let (Some(key), Some(session)) = (sends, &flow.protect) {
                let clear = packet(SSRC + n, index as u16);
                let mut protected = [0; HEADER + PAYLOAD + 16];
                protected[..clear.len()].copy_from_slice(&clear);
                let len = session.protect(&mut protected, clear.len(), SSRC + n, index);
                vouch(key.transform, key.master(), &clear, &protected[..len])?;
            }
            self.flows.push(flow);
        }
        Ok(())
    }

    /// Runs the traffic of the first `calls` calls for `seconds`, each packet `pace` times as far apart as voice has them, and then until nothing has
    /// come for 200 ms.
    pub fn run(&mut self, calls: u64, seconds: f64, pace: f64) -> Seen {
        let mut seen = Seen { delays: vec![0; 200_000], ..Seen::default() };
        let (mut out, mut inbound) = (Datagrams::new(), Datagrams::new());
        let gap = INTERVAL_NS as f64 * pace / calls as f64;
        let total = (seconds * 1e9 / gap) as u64;
        let (start, began) = (wire::monotonic(), wire::wall());
        let (mut sent, mut idle) = ([0u64; 2], 0);
        while sent[0] < total || sent[1] < total {
            let elapsed = wire::monotonic() - start;
            let due = ((elapsed as f64 / gap) as u64 + 1).min(total);
            seen.behind = seen.behind.max(elapsed.saturating_sub((sent[1] as f64 * gap) as u64));
            for side in Side::BOTH {
                if sent[side as usize] < due {
                    self.send(began, side, calls, due, &mut sent[side as usize], &mut out);
                }
            }
            if self.receive(began, &mut seen, &mut inbound) == 0 && sent.iter().all(|sent| *sent >= due) {
                let before = wire::monotonic();
                std::thread::sleep(Duration::from_micros(5));
                idle += wire::monotonic() - before;
            }
        }
        seen.sent = sent[0] + sent[1];
        seen.busy = 1.0 - idle as f64 / (wire::monotonic() - start) as f64;
        let (mut last, mut received) = (wire::monotonic(), seen.received);
        while wire::monotonic() - last < 200_000_000 {
            self.receive(began, &mut seen, &mut inbound);
            if seen.received > received {
                (last, received) = (wire::monotonic(), seen.received);
            }
        }
        seen
    }

    /// Sends one batch of what is due on one side.
    fn send(&mut self, began: u64, side: Side, calls: u64, due: u64, sent: &mut u64, out: &mut Datagrams) {
        let first = *sent;
        let index_of = |n: u64| (n % calls) as usize * 2 + side as usize;
        while *sent < due && !out.is_full() {
            let n = index_of(*sent);
            let flow = &mut self.flows[n];
            let (ssrc, len) = (SSRC + n as u32, HEADER + PAYLOAD);
            let slot = out.slot();
            slot[..len].copy_from_slice(&packet(ssrc, flow.index as u16));
            let len = flow.protect.as_ref().map_or(len, |session| session.protect(slot, len, ssrc, flow.index));
            out.push(len, flow.to);
            *sent += 1;
        }
        let before = wire::wall();
        let count = out.len();
        // The relay may answer before the batch is out: its packets are on their way from now on.
        for n in first..*sent {
            let flow = &mut self.flows[index_of(n)];
            let at = flow.index as usize % REMEMBERED;
            flow.arrived &= !(1 << at);
            flow.sent_at[at] = ((before - began) / 100) as u32;
            flow.index += 1;
        }
        // What the kernel does not take counts as sent and lost: it is the same for all relays, and must not happen.
        out.send(&self.sockets[side as usize]);
        let each = (wire::wall() - before) / count.max(1) as u64;
        for n in first..*sent {
            let flow = &mut self.flows[index_of(n)];
            flow.sent_at[(flow.index as usize - 1) % REMEMBERED] += (each * (n - first) / 100) as u32;
        }
    }

    /// Checks what has arrived; says how many.
    fn receive(&mut self, began: u64, seen: &mut Seen, inbound: &mut Datagrams) -> usize {
        let mut all = 0;
        for side in Side::BOTH {
            let count = inbound.receive(&self.sockets[side as usize]);
            all += count;
            for i in 0..count {
                let (from, arrival, bytes) = inbound.get(i);
                let named = bytes.get(8..12).map_or(0, |ssrc| u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]));
                // What one side's peers receive is what the other side's sent.
                match self.flows.get_mut(named.wrapping_sub(SSRC) as usize) {
                    Some(flow) if flow.from == from && (named - SSRC) & 1 == 1 - side as u32 => {
                        flow.check(named, self.sample, arrival.saturating_sub(began) / 100, bytes, seen);
                    }
                    _ => seen.wrong_stream += 1,
                }
            }
        }
        all
    }
}

impl Flow {
    /// `arrival`: since the run began, in 100 ns.
    fn check(&mut self, ssrc: u32, sample: u64, arrival: u64, bytes: &mut [u8], seen: &mut Seen) {
        let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
        // The newest index with this sequence number that has been sent.
        let age = (self.index as u16).wrapping_sub(sequence).wrapping_sub(1);
        let at = usize::from(sequence) % REMEMBERED;
        if usize::from(age) >= REMEMBERED || self.arrived >> at & 1 == 1 {
            seen.duplicate += 1;
            return;
        }
        let index = self.index - 1 - u64::from(age);
        let expected = packet(ssrc, sequence);
        match &self.unprotect {
            Some(_) if !index.is_multiple_of(sample) && bytes.len() > expected.len() && bytes[..HEADER] == expected[..HEADER] => {}
            Some(session) => match session.unprotect(bytes, ssrc, index) {
                Some(len) if bytes[..len] == expected => seen.compared += 1,
                Some(_) => return seen.altered += 1,
                None => return seen.unauthentic += 1,
            },
            None if *bytes == expected => seen.compared += 1,
            None => return seen.altered += 1,
        }
        self.arrived |= 1 << at;
        seen.received += 1;
        let us = (arrival.saturating_sub(u64::from(self.sent_at[at])) / 10) as usize;
        let last = seen.delays.len() - 1;
        seen.delays[us.min(last)] += 1;
    }
}

/// G.711, 20 ms, a payload that depends on the stream and the packet.
fn packet(ssrc: u32, sequence: u16) -> [u8; HEADER + PAYLOAD] {
    let mut packet = [(ssrc as u8) ^ (sequence as u8).wrapping_mul(31); HEADER + PAYLOAD];
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * PAYLOAD as u32).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet[12..16].copy_from_slice(&ssrc.to_be_bytes());
    packet[16..18].copy_from_slice(&sequence.to_be_bytes());
    packet
}
