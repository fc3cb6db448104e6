//! The session descriptions the simulated parties write and read: one audio stream, A-law, telephone-event, SRTP keys by SDES (RFC 4568) or none.

use std::net::{IpAddr, SocketAddr};

use crate::media::control::{Protection, SrtpParameters};
use crate::sdp::crypto::{Crypto, MasterKey, Suite};
use crate::sdp::{Description, Proto};

/// What a party says of its own media.
#[derive(Clone, Debug)]
pub struct Own {
    pub address: SocketAddr,
    /// `None`: plain RTP.
    pub key: Option<MasterKey>,
    /// `sendrecv`, `sendonly`, `inactive`.
    pub direction: &'static str,
    pub version: u32,
}

/// What it read of the other's.
#[derive(Clone, Debug)]
pub struct Theirs {
    pub address: SocketAddr,
    pub protection: Protection,
    pub direction: String,
}

impl Theirs {
    /// Master key and salt they send with; `None` for plain RTP.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.protection {
            Protection::Plain => None,
            Protection::Srtp(parameters) => parameters.keys.first().map(|key| &*key.key_and_salt),
        }
    }
}

pub fn write(own: &Own) -> String {
    let (address, port) = (own.address.ip(), own.address.port());
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let (profile, crypto) = match &own.key {
        Some(key) => {
            let line = Crypto::ours(1, Suite::AesCm128HmacSha1_80, key.clone());
            ("RTP/SAVP", format!("a=crypto:{}\r\n", line.value()))
        }
        None => ("RTP/AVP", String::new()),
    };
    format!(
        "v=0\r\no=- 3741 {} IN {family} {address}\r\ns=session\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio {port} {profile} 8 101\r\n\
         a=rtcp:{}\r\n{crypto}a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={}\r\n",
        own.version,
        port + 1,
        own.direction
    )
}

/// The first audio stream of a description; `None` where it is refused, missing or not to be understood.
pub fn read(sdp: &[u8]) -> Option<Theirs> {
    let description = Description::parse(sdp).ok()?;
    let media = description.media.iter().find(|media| media.is_audio() && media.port != 0)?;
    let ip: IpAddr = description.connection_of(media)?.ip()?;
    let protection = match media.proto {
        Proto::Savp => {
            let line = media.cryptos().filter_map(Result::ok).find(|line| line.usable().is_ok())?;
            Protection::Srtp(SrtpParameters { suite: line.usable().ok()?, keys: line.keys.clone() })
        }
        Proto::Avp => Protection::Plain,
        _ => return None,
    };
    let direction = description.direction_of(media);
    Some(Theirs { address: SocketAddr::new(ip, media.port), protection, direction: format!("{direction:?}").to_ascii_lowercase() })
}

/// A master key from the operating system.
pub fn key() -> MasterKey {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut key_and_salt = vec![0; suite.key_length() + suite.salt_length()];
    // A simulator without randomness has no business with keys: zeroes would not be secret, but nothing here is.
    let _ = getrandom::fill(&mut key_and_salt);
    MasterKey { key_and_salt, lifetime: None, mki: None }
}
