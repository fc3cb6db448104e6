//! The voice of a simulated party: it sends a tone as G.711 every 20 ms, in RTP or SRTP, and listens for another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::media::control::Protection;
use crate::media::rtp::Header;
use crate::media::srtp::{Receiver, Sender};
use crate::simulator::g711::{self, Law, Tone};
use crate::time::Time;

/// What was heard so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    pub packets: u64,
    /// Frames in which nine tenths of the energy was the tone listened for.
    pub tone: u64,
    /// Frames with something else in them; silence counts as neither.
    pub other: u64,
    /// Packets that did not authenticate or were no RTP.
    pub refused: u64,
    /// RTCP packets that came, and were authentic where keys say so.
    pub reports: u64,
    /// Frames of a fax machine's calling tone (1100 Hz).
    pub cng_frames: u64,
    /// The same as a named event (RFC 4733, 36).
    pub cng_events: u64,
    pub digits: Digits,
}

/// Keys pressed at the other end (RFC 4733), the first sixteen of them.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Digits {
    keys: [u8; 16],
    count: usize,
}

impl Digits {
    fn push(&mut self, key: u8) {
        if let Some(place) = self.keys.get_mut(self.count) {
            *place = key;
            self.count += 1;
        }
    }

    pub fn as_str(&self) -> &str {
        self.keys.get(..self.count).and_then(|keys| std::str::from_utf8(keys).ok()).unwrap_or_default()
    }

    pub fn contains(&self, key: char) -> bool {
        self.as_str().contains(key)
    }
}

impl std::fmt::Debug for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Heard { packets, tone, other, refused, reports, digits, .. } = self;
        write!(f, "{packets} packets, {tone} frames of the tone, {other} of something else, {refused} refused, {reports} of RTCP")?;
        if !digits.as_str().is_empty() {
            write!(f, ", keys {}", digits.as_str())?;
        }
        Ok(())
    }
}

/// The other end, by its last description.
#[derive(Clone, PartialEq, Debug)]
pub struct Towards {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    pub receive: Protection,
}

/// What a voice does.
pub struct Speech {
    pub towards: Towards,
    pub transmit: Protection,
    /// Hertz: spoken, and listened for.
    pub says: f64,
    pub listens: f64,
    pub law: Law,
    /// Sender reports at this interval; `None`: none.
    pub rtcp: Option<Duration>,
}

/// RFC 4733's events of a telephone's keys, in their order.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";
/// Its event of a fax machine's calling tone.
const CNG: u8 = 36;
/// Payload type of telephone-event, here and in everything these parties write.
const EVENTS: u8 = 101;

impl Heard {
    /// The tone came through: enough of it and hardly anything else.
    pub fn is_clear(&self) -> bool {
        self.tone >= 25 && self.other * 20 <= self.tone
    }
}

/// What is said and heard. Dropping it falls silent.
pub struct Voice {
    heard: watch::Receiver<Heard>,
    stop: watch::Sender<bool>,
    keys: mpsc::Sender<u8>,
    turns: watch::Sender<Towards>,
    task: JoinHandle<Heard>,
}

/// An open pair of ports, silent so far.
pub struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Ports {
    /// An even port and the next one, from the system.
    pub async fn open(address: IpAddr) -> io::Result<Ports> {
        for _ in 0..200 {
            let rtp = UdpSocket::bind((address, 0)).await?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 0
                && port < u16::MAX
                && let Ok(rtcp) = UdpSocket::bind((address, port + 1)).await
            {
                return Ok(Ports { rtp, rtcp });
            }
        }
        Err(io::Error::other("no pair of ports is free"))
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.rtp.local_addr()
    }

    /// Speaks and listens from now on.
    pub fn speak(self, speech: Speech) -> io::Result<Voice> {
        let sender = match &speech.transmit {
            Protection::Plain => None,
            Protection::Dtls(_) | Protection::Shared(_) => return Err(io::Error::other("the simulator shakes no hands")),
            Protection::Srtp(parameters) => Some(Sender::new(parameters).map_err(|error| broken(&error))?),
        };
        let receiver = receiver(&speech.towards.receive)?;
        let (heard_in, heard) = watch::channel(Heard::default());
        let (stop, stopped) = watch::channel(false);
        let (keys, pressed) = mpsc::channel(64);
        let (turns, turned) = watch::channel(speech.towards.clone());
        let tone = Tone::new(speech.says);
        let talk = Talk { ports: self, speech, sender, receiver, tone, heard: heard_in, pressed, key: None, last_event: None, sequence: 1000, count: 0 };
        Ok(Voice { heard, stop, keys, turns, task: tokio::spawn(talk.run(stopped, turned)) })
    }
}

fn broken(error: &dyn std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

fn receiver(protection: &Protection) -> io::Result<Option<Receiver>> {
    match protection {
        Protection::Plain => Ok(None),
        Protection::Dtls(_) | Protection::Shared(_) => Err(io::Error::other("the simulator shakes no hands")),
        Protection::Srtp(parameters) => Receiver::new(parameters).map(Some).map_err(|error| broken(&error)),
    }
}

impl Voice {
    pub fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Waits until the tone is clear, at most `limit`.
    pub async fn hears(&self, limit: Duration) -> Heard {
        let mut heard = self.heard.clone();
        let _ = tokio::time::timeout(limit, heard.wait_for(Heard::is_clear)).await;
        self.heard()
    }

    /// Presses these keys, one after another; others than a telephone's are passed over.
    pub fn dial(&self, keys: &str) {
        for key in keys.bytes() {
            if let Some(event) = KEYS.iter().position(|known| *known == key.to_ascii_uppercase()) {
                // A full queue has 64 keys waiting: nobody types that fast.
                let _ = self.keys.try_send(event as u8);
            }
        }
    }

    /// The other end has described itself anew.
    pub fn turn(&self, towards: Towards) {
        self.turns.send_if_modified(|before| {
            let is_another = *before != towards;
            *before = towards;
            is_another
        });
    }

    /// Falls silent; what was heard in all.
    pub async fn stop(self) -> Heard {
        self.stop.send_replace(true);
        self.task.await.unwrap_or_default()
    }
}

/// A key being pressed: its event, the timestamp it began at, and packets sent of it.
struct Pressed {
    event: u8,
    began: u32,
    sent: u16,
}

/// Packets of one key: five while it lasts, three that say it has ended; then as many frames of silence.
const WHILE_PRESSED: u16 = 5;
const AT_ITS_END: u16 = 3;
const PAUSE: u16 = 5;

struct Talk {
    ports: Ports,
    speech: Speech,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    tone: Tone,
    heard: watch::Sender<Heard>,
    pressed: mpsc::Receiver<u8>,
    key: Option<Pressed>,
    /// Timestamp of the event counted last.
    last_event: Option<u32>,
    sequence: u16,
    count: u64,
}

impl Talk {
    async fn run(mut self, mut stopped: watch::Receiver<bool>, mut turned: watch::Receiver<Towards>) -> Heard {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        let mut reports = tokio::time::interval(self.speech.rtcp.unwrap_or(Duration::from_secs(3600)));
        let mut buffer = [0u8; 2048];
        let mut report = [0u8; 2048];
        loop {
            tokio::select! {
                _ = clock.tick() => self.say().await,
                _ = reports.tick() => self.report().await,
                received = self.ports.rtp.recv_from(&mut buffer) => if let Ok((length, _)) = received {
                    self.hear(&mut buffer, length);
                },
                received = self.ports.rtcp.recv_from(&mut report) => if let Ok((length, _)) = received {
                    self.reported(&mut report, length);
                },
                Ok(()) = turned.changed() => self.turn(turned.borrow_and_update().clone()),
                _ = stopped.changed() => return *self.heard.borrow(),
            }
        }
    }

    /// Our own key and sources stay what they are, and so does what is counted by them; what the other end sends under another key begins anew.
    fn turn(&mut self, towards: Towards) {
        if towards.receive != self.speech.towards.receive
            && let Ok(receiver) = receiver(&towards.receive)
        {
            self.receiver = receiver;
        }
        self.speech.towards = towards;
    }

    async fn say(&mut self) {
        if self.key.is_none()
            && let Ok(event) = self.pressed.try_recv()
        {
            self.key = Some(Pressed { event, began: self.timestamp(), sent: 0 });
        }
        let now = self.timestamp();
        self.count += 1;
        match &mut self.key {
            Some(key) if key.sent >= WHILE_PRESSED + AT_ITS_END + PAUSE => self.key = None,
            Some(key) if key.sent >= WHILE_PRESSED + AT_ITS_END => key.sent += 1,
            Some(key) => {
                key.sent += 1;
                let ended = if key.sent > WHILE_PRESSED { 0x80 } else { 0 };
                let duration = (key.sent.min(WHILE_PRESSED) * g711::FRAME as u16).to_be_bytes();
                let (began, first) = (key.began, key.sent == 1);
                let payload = [key.event, ended | 10, duration[0], duration[1]];
                self.send(EVENTS, first, began, &payload).await;
            }
            None => {
                let frame = self.tone.frame(self.speech.law);
                let first = self.count == 1;
                self.send(self.speech.law.payload(), first, now, &frame).await;
            }
        }
    }

    fn timestamp(&self) -> u32 {
        (self.count as u32).wrapping_mul(g711::FRAME as u32)
    }

    async fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let mut packet = [0u8; 256];
        packet[0] = 0x80;
        packet[1] = payload_type | if marker { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&SOURCE.to_be_bytes());
        let length = 12 + payload.len();
        if let Some(place) = packet.get_mut(12..length) {
            place.copy_from_slice(payload);
        }
        let sent = match &mut self.sender {
            None => Some(length),
            Some(sender) => Header::parse(&packet[..length]).ok().and_then(|header| sender.protect_rtp(Time::ZERO, &mut packet, length, &header).ok()),
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(length) = sent {
            let _ = self.ports.rtp.send_to(&packet[..length], self.speech.towards.rtp).await;
        }
    }

    /// A sender report and a CNAME (RFC 3550 §6.4.1, §6.5).
    async fn report(&mut self) {
        if self.speech.rtcp.is_none() {
            return;
        }
        let mut packet = [0u8; 256];
        packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
        packet[4..8].copy_from_slice(&SOURCE.to_be_bytes());
        packet[16..20].copy_from_slice(&self.timestamp().to_be_bytes());
        packet[20..24].copy_from_slice(&(self.count as u32).to_be_bytes());
        packet[28..32].copy_from_slice(&[0x81, 202, 0, 3]);
        packet[32..36].copy_from_slice(&SOURCE.to_be_bytes());
        packet[36..44].copy_from_slice(&[1, 4, b's', b'i', b'm', b'u', 0, 0]);
        let sent = match &mut self.sender {
            None => Some(44),
            Some(sender) => sender.protect_rtcp(&mut packet, 44).ok(),
        };
        if let Some(length) = sent {
            let _ = self.ports.rtcp.send_to(&packet[..length], self.speech.towards.rtcp).await;
        }
    }

    fn reported(&mut self, buffer: &mut [u8], length: usize) {
        let Some(packet) = buffer.get_mut(..length) else { return };
        let authentic = match &mut self.receiver {
            None => length >= 8,
            Some(receiver) => receiver.unprotect_rtcp(Time::ZERO, packet).is_ok(),
        };
        self.heard.send_modify(|heard| if authentic { heard.reports += 1 } else { heard.refused += 1 });
    }

    fn hear(&mut self, buffer: &mut [u8], length: usize) {
        let Some(packet) = buffer.get_mut(..length) else { return };
        let header = Header::parse(packet);
        let clear = match (header, &mut self.receiver) {
            (Ok(header), None) => Some((header, length)),
            (Ok(header), Some(receiver)) => receiver.unprotect_rtp(Time::ZERO, packet, &header).ok().map(|length| (header, length)),
            (Err(_), _) => None,
        };
        let (listens, law) = (self.speech.listens, self.speech.law);
        let last_event = &mut self.last_event;
        self.heard.send_modify(|heard| {
            let Some((header, length)) = clear else {
                heard.refused += 1;
                return;
            };
            heard.packets += 1;
            let payload = packet.get(header.length..length).unwrap_or_default();
            match payload {
                [event, ..] if header.payload_type == EVENTS => {
                    // Each key comes in several packets of one timestamp.
                    let is_new = last_event.replace(header.timestamp) != Some(header.timestamp);
                    match KEYS.get(usize::from(*event)) {
                        Some(key) if is_new => heard.digits.push(*key),
                        None if is_new && *event == CNG => heard.cng_events += 1,
                        _ => {}
                    }
                }
                [_, ..] if header.payload_type == law.payload() => {
                    if g711::share(payload, FAX_TONE, law) > 0.9 {
                        heard.cng_frames += 1;
                    }
                    match g711::share(payload, listens, law) {
                        share if share > 0.9 => heard.tone += 1,
                        0.0 => {}
                        _ => heard.other += 1,
                    }
                }
                _ => {}
            }
        });
    }
}

/// Every simulated party's synchronisation source.
const SOURCE: u32 = 0x5eed_0001;
/// A calling fax machine's tone, hertz (ITU-T T.30).
const FAX_TONE: f64 = 1100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::description::key;
    use crate::simulator::trunk::protection;

    /// As after a transfer, which another party's new description makes known.
    #[tokio::test]
    async fn a_voice_follows_the_other_end_to_another_port_and_key() {
        const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let (ours, first, second) = (Ports::open(HERE).await.unwrap(), Ports::open(HERE).await.unwrap(), Ports::open(HERE).await.unwrap());
        let at = |ports: &Ports| ports.address().unwrap();
        let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
        let towards = |place: SocketAddr, receive: &Protection| Towards { rtp: place, rtcp: next(place), receive: receive.clone() };
        let [own, one, other] = [key(), key(), key()].map(|key| protection(&key));
        let speech = |towards, transmit: &Protection| Speech { towards, transmit: transmit.clone(), says: 440.0, listens: 440.0, law: Law::A, rtcp: None };
        let (here, one_at, other_at) = (at(&ours), at(&first), at(&second));
        let voice = ours.speak(speech(towards(one_at, &one), &own)).unwrap();
        let early = first.speak(speech(towards(here, &own), &one)).unwrap();
        let limit = Duration::from_secs(20);
        assert!(early.hears(limit).await.is_clear() && voice.hears(limit).await.is_clear());
        early.stop().await;
        voice.turn(towards(other_at, &other));
        let before = voice.heard();
        let late = second.speak(speech(towards(here, &own), &other)).unwrap();
        assert!(late.hears(limit).await.is_clear());
        let mut heard = voice.heard.clone();
        let all =
            tokio::time::timeout(limit, heard.wait_for(|heard| heard.tone >= before.tone + 20)).await.expect("it is heard from there").unwrap().to_owned();
        assert_eq!(all.refused, before.refused);
    }
}
