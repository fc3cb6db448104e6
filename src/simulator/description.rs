//! The session descriptions the simulated parties write and read: one audio stream, G.711, telephone-event, SRTP keys by SDES (RFC 4568) or none.

use std::net::{IpAddr, SocketAddr};

use crate::media::control::{Protection, SrtpParameters};
use crate::sdp::crypto::{Crypto, MasterKey, Suite};
use crate::sdp::{Description, Proto};
use crate::simulator::g711::Law;
use crate::simulator::voice::Towards;

/// What a party says of its own media.
#[derive(Clone, Debug)]
pub struct Own {
    pub address: SocketAddr,
    /// `None`: plain RTP.
    pub key: Option<MasterKey>,
    /// `sendrecv`, `sendonly`, `inactive`.
    pub direction: &'static str,
    pub version: u32,
    pub law: Law,
    /// Of our crypto line: an answer repeats that of the line it takes.
    pub tag: u32,
    /// The key is offered as a Lync Mediation Server does: scale-SRTP, with an MKI, and without one.
    pub three_lines: bool,
}

impl Own {
    pub fn new(address: SocketAddr, key: Option<MasterKey>) -> Own {
        Own { address, key, direction: "sendrecv", version: 1, law: Law::A, tag: 1, three_lines: false }
    }
}

/// What it read of the other's.
#[derive(Clone, Debug)]
pub struct Theirs {
    pub address: SocketAddr,
    /// `a=rtcp`, else the next port.
    pub rtcp: SocketAddr,
    /// The first of the two that is in the list.
    pub law: Law,
    /// Of the crypto line that was read.
    pub tag: Option<u32>,
    pub protection: Protection,
    pub direction: String,
}

impl Theirs {
    /// What a voice needs of it.
    pub fn towards(&self) -> Towards {
        Towards { rtp: self.address, rtcp: self.rtcp, receive: self.protection.clone() }
    }

    /// Master key and salt they send with; `None` for plain RTP.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.protection {
            Protection::Plain | Protection::Dtls(_) | Protection::Shared(_) => None,
            Protection::Srtp(parameters) => parameters.keys.first().map(|key| &*key.key_and_salt),
        }
    }
}

pub fn write(own: &Own) -> String {
    let (address, port) = (own.address.ip(), own.address.port());
    let family = family(address);
    let (profile, crypto) = match &own.key {
        Some(key) if own.three_lines => ("RTP/SAVP", three_lines(key)),
        Some(key) => ("RTP/SAVP", crypto(own.tag, key)),
        None => ("RTP/AVP", String::new()),
    };
    let (payload, codec) = (own.law.payload(), own.law.name());
    format!(
        "v=0\r\no=- 3741 {} IN {family} {address}\r\ns=session\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio {port} {profile} {payload} 101\r\n\
         a=rtcp:{}\r\n{crypto}a=rtpmap:{payload} {codec}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={}\r\n",
        own.version,
        port.saturating_add(1),
        own.direction
    )
}

/// As Exchange writes its answers: a label, `b=CT`, `c=` twice, events up to 16 and 36 (CNG), no `a=rtcp`, keys without lifetime or MKI.
pub fn write_as_um(own: &Own) -> String {
    let (address, port) = (own.address.ip(), own.address.port());
    let family = family(address);
    let (profile, crypto) = match &own.key {
        Some(key) => ("RTP/SAVP", crypto(own.tag, key)),
        None => ("RTP/AVP", String::new()),
    };
    let (payload, codec) = (own.law.payload(), own.law.name());
    format!(
        "v=0\r\no=- 85 {} IN {family} {address}\r\ns=session\r\nc=IN {family} {address}\r\nb=CT:10000000\r\nt=0 0\r\n\
         m=audio {port} {profile} {payload} 101\r\nc=IN {family} {address}\r\na=label:main-audio\r\na={}\r\n\
         a=rtpmap:{payload} {codec}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16,36\r\na=ptime:20\r\n{crypto}",
        own.version - 1,
        own.direction
    )
}

/// A gateway that has heard a fax offers T.38 in place of the voice (ITU-T T.38 annex D).
pub fn write_fax(own: &Own) -> String {
    let (address, port) = (own.address.ip(), own.address.port());
    let family = family(address);
    format!(
        "v=0\r\no=- 3741 {} IN {family} {address}\r\ns=session\r\nc=IN {family} {address}\r\nt=0 0\r\nm=image {port} udptl t38\r\n\
         a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
        own.version
    )
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

fn crypto(tag: u32, key: &MasterKey) -> String {
    format!("a=crypto:{}\r\n", Crypto::ours(tag, Suite::AesCm128HmacSha1_80, key.clone()).value())
}

/// The same key three times: scale-SRTP (Microsoft's own, never to be chosen), with an MKI of one byte, and without.
fn three_lines(key: &MasterKey) -> String {
    let line = |tag, key: MasterKey| Crypto::ours(tag, Suite::AesCm128HmacSha1_80, key).value();
    let scale = line(1, lync_key(key, Some(1))).replacen("1 ", "1 client ", 1);
    format!("a=cryptoscale:{scale}\r\na=crypto:{}\r\na=crypto:{}\r\n", line(2, lync_key(key, Some(2))), line(3, lync_key(key, Some(3))))
}

/// The key as the line of this tag offers it.
pub fn lync_key(key: &MasterKey, tag: Option<u32>) -> MasterKey {
    let mki = if tag == Some(3) { None } else { Some(vec![1]) };
    MasterKey { key_and_salt: key.key_and_salt.clone(), lifetime: Some(1 << 31), mki }
}

/// The first audio stream of a description; `None` where it is refused, missing or not to be understood.
pub fn read(sdp: &[u8]) -> Option<Theirs> {
    let description = Description::parse(sdp).ok()?;
    let media = description.media.iter().find(|media| media.is_audio() && media.port != 0)?;
    let ip: IpAddr = description.connection_of(media)?.ip()?;
    let mut tag = None;
    let protection = match media.proto {
        Proto::Savp => {
            let line = media.cryptos().filter_map(Result::ok).find(|line| line.usable().is_ok())?;
            tag = Some(line.tag);
            Protection::Srtp(SrtpParameters { suite: line.usable().ok()?, keys: line.keys.clone() })
        }
        Proto::Avp => Protection::Plain,
        _ => return None,
    };
    let law = match media.formats.iter().find(|format| matches!(format.as_str(), "0" | "8"))?.as_str() {
        "0" => Law::Mu,
        _ => Law::A,
    };
    let rtcp = media.rtcp();
    let rtcp_port = rtcp.map_or(media.port.saturating_add(1), |rtcp| rtcp.port);
    let rtcp = SocketAddr::new(rtcp.and_then(|rtcp| rtcp.ip()).unwrap_or(ip), rtcp_port);
    let direction = description.direction_of(media);
    Some(Theirs { address: SocketAddr::new(ip, media.port), rtcp, law, tag, protection, direction: format!("{direction:?}").to_ascii_lowercase() })
}

/// A master key from the operating system.
pub fn key() -> MasterKey {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut key_and_salt = vec![0; suite.key_length() + suite.salt_length()];
    // A simulator without randomness has no business with keys: zeroes would not be secret, but nothing here is.
    let _ = getrandom::fill(&mut key_and_salt);
    MasterKey { key_and_salt, lifetime: None, mki: None }
}
