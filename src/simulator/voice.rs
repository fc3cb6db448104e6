//! The voice of a simulated party: it sends a tone as G.711 every 20 ms, in RTP or SRTP, and listens for another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::media::control::Protection;
use crate::media::rtp::Header;
use crate::media::srtp::{Receiver, Sender};
use crate::simulator::g711::{self, Tone};
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
}

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

    /// Speaks `says` hertz to `to` and listens for `listens` hertz.
    pub fn speak(self, to: SocketAddr, transmit: &Protection, receive: &Protection, says: f64, listens: f64) -> io::Result<Voice> {
        let sender = match transmit {
            Protection::Plain => None,
            Protection::Srtp(parameters) => Some(Sender::new(parameters).map_err(|error| io::Error::other(format!("{error:?}")))?),
        };
        let receiver = match receive {
            Protection::Plain => None,
            Protection::Srtp(parameters) => Some(Receiver::new(parameters).map_err(|error| io::Error::other(format!("{error:?}")))?),
        };
        let (heard_in, heard) = watch::channel(Heard::default());
        let (stop, stopped) = watch::channel(false);
        let talk = Talk { ports: self, to, sender, receiver, tone: Tone::new(says), listens, heard: heard_in, sequence: 1000, count: 0 };
        Ok(Voice { heard, stop, task: tokio::spawn(talk.run(stopped)) })
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

    /// Falls silent; what was heard in all.
    pub async fn stop(self) -> Heard {
        self.stop.send_replace(true);
        self.task.await.unwrap_or_default()
    }
}

struct Talk {
    ports: Ports,
    to: SocketAddr,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    tone: Tone,
    listens: f64,
    heard: watch::Sender<Heard>,
    sequence: u16,
    count: u64,
}

impl Talk {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Heard {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        let mut buffer = [0u8; 2048];
        let mut report = [0u8; 2048];
        loop {
            tokio::select! {
                _ = clock.tick() => self.say().await,
                received = self.ports.rtp.recv_from(&mut buffer) => if let Ok((length, _)) = received {
                    self.hear(&mut buffer, length);
                },
                // Reports are taken off the socket so that it does not fill; nothing here reads them.
                _ = self.ports.rtcp.recv_from(&mut report) => {}
                _ = stopped.changed() => return *self.heard.borrow(),
            }
        }
    }

    async fn say(&mut self) {
        let mut packet = [0u8; 256];
        let timestamp = (self.count as u32).wrapping_mul(g711::FRAME as u32);
        packet[0] = 0x80;
        packet[1] = 8 | if self.count == 0 { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&0x5eed_0001u32.to_be_bytes());
        packet[12..12 + g711::FRAME].copy_from_slice(&self.tone.frame());
        let length = 12 + g711::FRAME;
        let sent = match &mut self.sender {
            None => Some(length),
            Some(sender) => Header::parse(&packet[..length]).ok().and_then(|header| sender.protect_rtp(Time::ZERO, &mut packet, length, &header).ok()),
        };
        (self.sequence, self.count) = (self.sequence.wrapping_add(1), self.count + 1);
        if let Some(length) = sent {
            let _ = self.ports.rtp.send_to(&packet[..length], self.to).await;
        }
    }

    fn hear(&mut self, buffer: &mut [u8], length: usize) {
        let Some(packet) = buffer.get_mut(..length) else { return };
        let header = Header::parse(packet);
        let clear = match (header, &mut self.receiver) {
            (Ok(header), None) => Some((header, length)),
            (Ok(header), Some(receiver)) => receiver.unprotect_rtp(Time::ZERO, packet, &header).ok().map(|length| (header, length)),
            (Err(_), _) => None,
        };
        let listens = self.listens;
        self.heard.send_modify(|heard| {
            let Some((header, length)) = clear else {
                heard.refused += 1;
                return;
            };
            heard.packets += 1;
            let payload = packet.get(header.length..length).unwrap_or_default();
            if header.payload_type == 8 && !payload.is_empty() {
                match g711::share(payload, listens) {
                    share if share > 0.9 => heard.tone += 1,
                    0.0 => {}
                    _ => heard.other += 1,
                }
            }
        });
    }
}
