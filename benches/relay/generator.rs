//! The traffic: every call's two directions at 50 packets a second, evenly spread over the 20 ms, sent from one socket per side and checked on
//! arrival: the relay's source port names the stream, then the packet must authenticate under that stream's key (by an independent SRTP
//! implementation) and be byte for byte what the other peer sent, each once.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use portcullis::sdp::crypto::Suite;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use crate::subject::{Call, Key, Ports, SUITE_A, SUITE_B, Subject};
use crate::wire::{self, Datagrams};

const INTERVAL_NS: u64 = 20_000_000;
const HEADER: usize = 12;
const PAYLOAD: usize = 160;
const REMEMBERED: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    RtpRtp,
    SrtpRtp,
    SrtpSrtp,
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::RtpRtp, Mode::SrtpRtp, Mode::SrtpSrtp];

    pub fn name(self) -> &'static str {
        match self {
            Mode::RtpRtp => "RTP-RTP",
            Mode::SrtpRtp => "SRTP-RTP",
            Mode::SrtpSrtp => "SRTP-SRTP",
        }
    }
}

/// One direction of one call.
struct Flow {
    from_a: bool,
    to: SocketAddrV4,
    ssrc: u32,
    sequence: u16,
    protect: Option<Context>,
    unprotect: Option<Context>,
    sent_at: [u64; REMEMBERED],
    /// Which of the remembered packets have arrived, a bit each.
    arrived: u64,
}

pub struct Generator {
    a: UdpSocket,
    b: UdpSocket,
    flows: Vec<Flow>,
    /// By the relay's source port: which flow arrives at that side, plus one.
    at_a: Vec<u32>,
    at_b: Vec<u32>,
}

/// What one measurement saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sent: u64,
    pub received: u64,
    pub wrong_stream: u64,
    pub unauthentic: u64,
    pub altered: u64,
    pub duplicate: u64,
    /// The most the generator was behind its own schedule. Unit: ns.
    pub behind: u64,
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
    /// Sets up `calls` calls of `mode` on the relay.
    pub fn new(subject: &mut Subject, mode: Mode, calls: u64) -> io::Result<Generator> {
        let (a, b) = (wire::socket(0)?, wire::socket(0)?);
        let address = |socket: &UdpSocket| match socket.local_addr() {
            Ok(std::net::SocketAddr::V4(address)) => Ok(address),
            _ => Err(io::Error::other("no IPv4 address")),
        };
        let mut generator = Generator { a, b, flows: Vec::new(), at_a: vec![0; 65_536], at_b: vec![0; 65_536] };
        for number in 0..calls {
            let call = Call {
                number,
                a: address(&generator.a)?,
                b: address(&generator.b)?,
                a_sends: (mode != Mode::RtpRtp).then(|| Key::random(SUITE_A)),
                b_sends: (mode == Mode::SrtpSrtp).then(|| Key::random(SUITE_B)),
            };
            let ports = subject.set_up(&call)?;
            generator.add(&call, &ports);
        }
        subject.settle()?;
        Ok(generator)
    }

    fn add(&mut self, call: &Call, ports: &Ports) {
        for from_a in [true, false] {
            let (protect, unprotect, to) = if from_a { (call.a_sends, ports.to_b, ports.a) } else { (call.b_sends, ports.to_a, ports.b) };
            let n = self.flows.len() as u32;
            self.flows.push(Flow {
                from_a,
                to,
                ssrc: 0x5000_0000 + n,
                sequence: (n as u16).wrapping_mul(97) & 0x7fff,
                protect: protect.map(context),
                unprotect: unprotect.map(context),
                sent_at: [0; REMEMBERED],
                arrived: u64::MAX,
            });
            let (at, port) = if from_a { (&mut self.at_b, ports.b.port()) } else { (&mut self.at_a, ports.a.port()) };
            at[usize::from(port)] = n + 1;
        }
    }

    /// Runs the traffic for `seconds` and then until nothing has come for 200 ms.
    pub fn run(&mut self, seconds: f64) -> Seen {
        let mut seen = Seen { delays: vec![0; 200_000], ..Seen::default() };
        let (mut out, mut inbound) = (Datagrams::new(), Datagrams::new());
        let total = (seconds * 1e9 / INTERVAL_NS as f64 * self.flows.len() as f64) as u64;
        let gap = INTERVAL_NS as f64 / self.flows.len() as f64;
        let start = wire::monotonic();
        let mut stamps = [(0usize, 0u16); wire::BATCH];
        while seen.sent < total {
            let elapsed = wire::monotonic() - start;
            let due = ((elapsed as f64 / gap) as u64 + 1).min(total);
            if due > seen.sent {
                seen.behind = seen.behind.max(elapsed.saturating_sub((seen.sent as f64 * gap) as u64));
                self.send(due, &mut seen, &mut out, &mut stamps);
            }
            if self.receive(&mut seen, &mut inbound) == 0 && due <= seen.sent {
                std::thread::sleep(Duration::from_micros(5));
            }
        }
        let (mut last, mut received) = (wire::monotonic(), seen.received);
        while wire::monotonic() - last < 200_000_000 {
            self.receive(&mut seen, &mut inbound);
            if seen.received > received {
                (last, received) = (wire::monotonic(), seen.received);
            }
        }
        seen
    }

    /// Sends one batch of what is due: consecutive flows of one side.
    fn send(&mut self, due: u64, seen: &mut Seen, out: &mut Datagrams, stamps: &mut [(usize, u16); wire::BATCH]) {
        let flows = self.flows.len() as u64;
        let mut next = seen.sent;
        let side = self.flows[self.in_turn(next % flows)].from_a;
        while next < due && !out.is_full() {
            let index = self.in_turn(next % flows);
            let flow = &mut self.flows[index];
            if flow.from_a != side {
                break;
            }
            let clear = packet(flow.ssrc, flow.sequence);
            let at = usize::from(flow.sequence) % REMEMBERED;
            flow.arrived &= !(1 << at);
            stamps[out.len()] = (index, flow.sequence);
            match &mut flow.protect {
                Some(context) => out.push(&context.encrypt_rtp(&clear).expect("protects"), flow.to),
                None => out.push(&clear, flow.to),
            }
            flow.sequence = flow.sequence.wrapping_add(1);
            next += 1;
        }
        let before = wire::wall();
        let count = out.len();
        let sent = out.send(if side { &self.a } else { &self.b });
        // What the kernel did not take counts as sent and lost: it is the same for both relays, and must not happen.
        let each = (wire::wall() - before) / count.max(1) as u64;
        for (i, (index, sequence)) in stamps.iter().take(sent).enumerate() {
            self.flows[*index].sent_at[usize::from(*sequence) % REMEMBERED] = before + each * i as u64;
        }
        seen.sent = next;
    }

    /// Eight flows of side A, eight of side B, and so on, so that batches are possible when the generator is late.
    fn in_turn(&self, n: u64) -> usize {
        let (n, flows) = (n as usize, self.flows.len());
        let (group, within) = (n / 16, n % 16);
        if (group + 1) * 16 > flows { n } else { group * 16 + (within % 8) * 2 + within / 8 }
    }

    /// Checks what has arrived; says how many.
    fn receive(&mut self, seen: &mut Seen, inbound: &mut Datagrams) -> usize {
        let mut all = 0;
        for at_a in [true, false] {
            let count = inbound.receive(if at_a { &self.a } else { &self.b });
            all += count;
            let by_port = if at_a { &self.at_a } else { &self.at_b };
            for i in 0..count {
                let (port, arrival, bytes) = inbound.get(i);
                let Some(flow) = (by_port[usize::from(port)] as usize).checked_sub(1).and_then(|index| self.flows.get_mut(index)) else {
                    seen.wrong_stream += 1;
                    continue;
                };
                flow.check(arrival, bytes, seen);
            }
        }
        all
    }
}

impl Flow {
    fn check(&mut self, arrival: u64, bytes: &[u8], seen: &mut Seen) {
        let clear;
        let bytes = match &mut self.unprotect {
            Some(context) => match context.decrypt_rtp(bytes) {
                Ok(packet) => {
                    clear = packet;
                    &clear[..]
                }
                Err(_) => {
                    seen.unauthentic += 1;
                    return;
                }
            },
            None => bytes,
        };
        if bytes.len() != HEADER + PAYLOAD {
            seen.altered += 1;
            return;
        }
        let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
        if bytes[8..12] != self.ssrc.to_be_bytes() {
            seen.wrong_stream += 1;
        } else if bytes != packet(self.ssrc, sequence) {
            seen.altered += 1;
        } else if self.sequence.wrapping_sub(sequence).wrapping_sub(1) >= REMEMBERED as u16 || self.arrived >> (usize::from(sequence) % REMEMBERED) & 1 == 1 {
            seen.duplicate += 1;
        } else {
            let at = usize::from(sequence) % REMEMBERED;
            self.arrived |= 1 << at;
            seen.received += 1;
            let us = arrival.saturating_sub(self.sent_at[at]) / 1000;
            let last = seen.delays.len() - 1;
            seen.delays[(us as usize).min(last)] += 1;
        }
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

fn context(key: Key) -> Context {
    let profile = match key.suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let provider = rtc_srtp::crypto::default_provider().expect("a crypto provider");
    Context::new(&key.bytes[..16], &key.bytes[16..], profile, None, None, provider.crypto()).expect("a context")
}
