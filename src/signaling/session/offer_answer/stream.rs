//! What a description says about the relayed stream, with nothing left in it that names its author.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::media::control::{Addresses, Clocks, SOUGHT};
use crate::policy::verdict::Reason;
use crate::sdp::rtpmap::{self, RtpMap};
use crate::sdp::t38::T38;
use crate::sdp::{Attribute, Description, Direction, Media};

/// What an m-line is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Audio,
    /// T.38 over UDPTL.
    Fax,
}

impl Kind {
    pub fn of(media: &Media) -> Option<Kind> {
        match media {
            _ if media.is_audio() => Some(Kind::Audio),
            _ if media.is_image() => Some(Kind::Fax),
            _ => None,
        }
    }

    /// The first word of its m-line.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Fax => "image",
        }
    }
}

/// Kind, codec, direction and address of one m-line; the address stays on its leg, the others cross the border.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    pub kind: Kind,
    pub formats: Vec<String>,
    /// Of audio `rtpmap` and `fmtp` of those formats, `ptime`, `maxptime`; of fax what `sdp::t38` knows.
    pub attributes: Vec<Attribute>,
    /// As the author sees it, an address of 0.0.0.0 understood as "send me nothing" (RFC 3264 §8.4).
    pub direction: Direction,
    /// Where the author takes media; `None` on hold by address, or with port 0.
    pub remote: Option<Addresses>,
    /// The address as written, for its family.
    pub written: Option<IpAddr>,
    /// Port 0: refused or switched off.
    pub is_off: bool,
    /// The author names no address because ICE is to find it (RFC 8840 §4.1.1); that is no hold.
    pub is_sought: bool,
}

impl Stream {
    /// Errors: `MediaMalformed` for no m-line there or neither audio nor image, `MediaUnacceptable` for an address or formats nothing can be done with.
    pub fn read(description: &Description, index: usize) -> Result<Stream, Reason> {
        let media = description.media.get(index).ok_or(Reason::MediaMalformed)?;
        let kind = Kind::of(media).ok_or(Reason::MediaMalformed)?;
        let is_off = media.port == 0;
        let formats = match (kind, formats(&media.formats)) {
            (Kind::Fax, _) if is_off || media.is_fax() => vec!["t38".into()],
            (Kind::Fax, _) => return Err(Reason::MediaUnacceptable),
            // An m-line cannot be written without a format, and of one that is off it means nothing.
            (Kind::Audio, none) if none.is_empty() && is_off => vec!["0".into()],
            (Kind::Audio, none) if none.is_empty() => return Err(Reason::MediaUnacceptable),
            (Kind::Audio, formats) => formats,
        };
        let attributes = match kind {
            Kind::Audio => media.attributes.iter().filter(|attribute| crosses(attribute, &formats)).cloned().collect(),
            Kind::Fax => T38::read(media).attributes(),
        };
        let written = description.connection_of(media).and_then(|connection| connection.ip());
        let remote = if is_off { None } else { remote(description, media)? };
        let direction = description.direction_of(media);
        let direction = if remote.is_none() { Direction::of(direction.sends(), false) } else { direction };
        Ok(Stream { kind, formats, attributes, direction, remote, written, is_off, is_sought: false })
    }

    /// Its author is an agent of ICE that will check: an address left open is no hold then.
    pub fn found_by_checks(&mut self, description: &Description, media: &Media) {
        let is_open = !self.is_off && self.remote.is_none() && media.port == 9 && self.written.is_none_or(|ip| ip.is_unspecified());
        if is_open {
            (self.is_sought, self.direction) = (true, description.direction_of(media));
        }
    }

    /// Where its author takes media, for the media plane. `None`: it is on hold by address.
    pub fn destination(&self) -> Option<Addresses> {
        if self.is_sought { Some(SOUGHT) } else { self.remote }
    }

    /// The first format a person hears, as `PCMU/8000`; none of a stream that is off.
    pub fn codec(&self) -> Option<String> {
        if self.is_off || self.kind == Kind::Fax {
            return None;
        }
        self.formats.iter().find_map(|format| {
            let payload = payload(format)?;
            let map = self.maps().find(|map| map.payload == payload).or_else(|| rtpmap::fixed(payload))?;
            map.is_voice().then(|| map.label())
        })
    }

    /// The payload types of telephone-events, one bit each.
    pub fn events(&self) -> u128 {
        let events = self.maps().filter(|map| map.encoding.eq_ignore_ascii_case("telephone-event") && map.payload < 128);
        events.fold(0, |bits, map| bits | 1 << map.payload)
    }

    /// How fast the timestamps of its payload types go.
    pub fn clocks(&self) -> Clocks {
        Clocks::of_payloads(self.maps().map(|map| (map.payload, map.clock)))
    }

    pub fn maps(&self) -> impl Iterator<Item = RtpMap<'_>> {
        self.attributes.iter().filter(|a| a.is("rtpmap")).filter_map(|a| RtpMap::parse(a.text()?))
    }

    /// Whether the other side would be told the same of both.
    pub fn crosses_as(&self, other: &Stream) -> bool {
        (self.kind, &self.formats, &self.attributes, self.direction, self.is_off)
            == (other.kind, &other.formats, &other.attributes, other.direction, other.is_off)
    }

    /// The author takes no media now.
    pub fn is_held(&self) -> bool {
        self.is_off || !self.direction.receives()
    }
}

/// Payload types in their order, each once: 128 at most, however long the line is.
fn formats(listed: &[String]) -> Vec<String> {
    let mut seen = [false; 128];
    let first = |format: &&String| payload(format).and_then(|payload| seen.get_mut(usize::from(payload))).is_some_and(|seen| !std::mem::replace(seen, true));
    listed.iter().filter(first).cloned().collect()
}

fn payload(format: &str) -> Option<u8> {
    Some(format).filter(|format| format.bytes().all(|b| b.is_ascii_digit())).and_then(|format| format.parse().ok()).filter(|payload| *payload < 128)
}

/// The whole list of what may cross. Everything else stays: it names its author (label, ssrc, msid, X-…), offers what the relay does not do (ICE, rtcp-mux,
/// feedback), or holds keys.
fn crosses(attribute: &Attribute, formats: &[String]) -> bool {
    let first_token = || attribute.text().and_then(|value| value.split_ascii_whitespace().next());
    match attribute.name.to_ascii_lowercase().as_str() {
        "rtpmap" | "fmtp" => first_token().is_some_and(|format| formats.iter().any(|listed| listed == format)),
        "ptime" | "maxptime" => attribute.text().is_some_and(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b' ')),
        _ => false,
    }
}

/// RTP at `c=` and the m-line's port, RTCP at `a=rtcp` or the next port (RFC 3605).
fn remote(description: &Description, media: &Media) -> Result<Option<Addresses>, Reason> {
    let connection = description.connection_of(media).ok_or(Reason::MediaMalformed)?;
    // RFC 6157 §4.1.1 and old third-party call control: a name under .invalid stands for the unspecified address.
    if connection.address.to_ascii_lowercase().ends_with(".invalid") {
        return Ok(None);
    }
    // A name would have to be resolved and trusted anew: not while a call waits.
    let ip = connection.ip().ok_or(Reason::MediaUnacceptable)?;
    if ip.is_unspecified() {
        return Ok(None);
    }
    if !is_unicast(ip) {
        return Err(Reason::MediaUnacceptable);
    }
    let rtp = SocketAddr::new(ip, media.port);
    let next = SocketAddr::new(ip, media.port.saturating_add(1));
    let rtcp = media.rtcp().filter(|rtcp| rtcp.port != 0).map_or(next, |rtcp| {
        let usable = |other: &IpAddr| is_unicast(*other) && !other.is_unspecified() && other.is_ipv4() == ip.is_ipv4();
        SocketAddr::new(rtcp.ip().filter(usable).unwrap_or(ip), rtcp.port)
    });
    Ok(Some(Addresses { rtp, rtcp }))
}

fn is_unicast(ip: IpAddr) -> bool {
    !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}
