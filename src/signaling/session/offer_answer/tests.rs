//! A call's session by hand: two legs, counted ports, keys that can be told apart.

mod codecs;
mod dtls;
mod exchange;
mod fax;
mod keying;
mod modify;
mod mux;
mod privacy;
mod shared;

use super::*;
use crate::media::control::{Protection, SrtpParameters};
use crate::policy::settings::SecurityMode;
use crate::sdp::crypto::Crypto;
use crate::sdp::{Direction, Media};

pub const SUITES: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
const OUR_A: &str = "203.0.113.1";
const OUR_B: &str = "10.0.0.1";

/// Ports from 20000 on A and 30000 on B, keys of thirty equal bytes counted from 1.
pub struct Counted {
    pub ports: u16,
    pub keys: u8,
    pub streams: u64,
    pub sessions: u64,
    pub released: Vec<Addresses>,
    pub exhausted: bool,
    pub only_v4: bool,
}

impl Supply for Counted {
    fn ports(&mut self, side: Side, like: Option<IpAddr>) -> Option<Addresses> {
        let v6 = !self.only_v4 && like.is_some_and(|ip| ip.is_ipv6());
        let (ip, base): (IpAddr, u16) = match (side, v6) {
            (Side::A, false) => (OUR_A.parse().unwrap(), 20000),
            (Side::B, false) => (OUR_B.parse().unwrap(), 30000),
            (Side::A, true) => ("2001:db8:1::1".parse().unwrap(), 20000),
            (Side::B, true) => ("2001:db8:2::1".parse().unwrap(), 30000),
        };
        self.ports += 2;
        let port = base + self.ports - 2;
        (!self.exhausted).then(|| Addresses { rtp: (ip, port).into(), rtcp: (ip, port + 1).into() })
    }

    fn key(&mut self, suite: Suite) -> MasterKey {
        self.keys += 1;
        MasterKey { key_and_salt: vec![self.keys; suite.key_length() + suite.salt_length()], lifetime: None, mki: None }
    }

    fn stream(&mut self) -> StreamId {
        self.streams += 1;
        StreamId(self.streams)
    }

    fn session_id(&mut self) -> u64 {
        self.sessions += 100;
        self.sessions
    }

    fn fingerprint(&mut self, identity: usize) -> Option<Fingerprint> {
        Some(Counted::certificate(identity))
    }

    fn release(&mut self, _side: Side, ports: Addresses) {
        self.released.push(ports);
    }
}

impl Counted {
    /// The fingerprint of our certificate of this number.
    pub fn certificate(identity: usize) -> Fingerprint {
        Fingerprint { hash: crate::sdp::fingerprint::HashFunction::Sha256, digest: vec![0xc0 + identity as u8; 32] }
    }
}

pub fn plain() -> Terms {
    terms(SecurityMode::Unsecured, Transport::Udp, &[])
}

pub fn sip_secured() -> Terms {
    terms(SecurityMode::SipSecured, Transport::Tls, &[])
}

pub fn secured() -> Terms {
    terms(SecurityMode::Secured, Transport::Tls, &SUITES)
}

pub fn terms(mode: SecurityMode, transport: Transport, suites: &[Suite]) -> Terms {
    Terms { plan: MediaPlan::for_test(mode, suites), transport, latch: LatchPolicy::Strict, peer: None }
}

pub struct Call {
    pub media: SessionMedia,
    pub supply: Counted,
}

/// What came out, read again.
#[derive(Debug)]
pub struct Out {
    pub text: String,
    pub sdp: Description,
    pub commands: Vec<Command>,
}

impl Out {
    fn of(outcome: Outcome) -> Out {
        let text = String::from_utf8(outcome.sdp).unwrap();
        let sdp = Description::parse(text.as_bytes()).unwrap();
        assert_eq!(text.as_bytes(), sdp.write(), "what we write is canonical");
        Out { text, sdp, commands: outcome.commands }
    }

    pub fn audio(&self) -> &Media {
        self.sdp.media.iter().find(|m| m.port != 0).unwrap_or(&self.sdp.media[0])
    }

    pub fn lines(&self) -> Vec<Crypto> {
        self.audio().cryptos().map(Result::unwrap).collect()
    }

    pub fn direction(&self) -> Direction {
        self.sdp.direction_of(self.audio())
    }

    pub fn version(&self) -> u64 {
        self.sdp.origin.as_ref().unwrap().session_version.parse().unwrap()
    }
}

impl Call {
    pub fn between(a: Terms, b: Terms) -> Call {
        let supply = Counted { ports: 0, keys: 0, streams: 0, sessions: 0, released: Vec::new(), exhausted: false, only_v4: false };
        Call { media: SessionMedia::new(a, b, Some(Duration::from_secs(60))), supply }
    }

    pub fn try_offer(&mut self, from: Side, text: &str) -> Result<Out, Reason> {
        let sdp = Description::parse(text.as_bytes()).expect("the test's own description");
        self.media.offer(from, &sdp, &mut self.supply).map(Out::of).map_err(|refusal| refusal.0)
    }

    pub fn try_answer(&mut self, from: Side, text: &str) -> Result<Out, Reason> {
        let sdp = Description::parse(text.as_bytes()).expect("the test's own description");
        self.media.answer(from, &sdp, &mut self.supply).map(Out::of).map_err(|refusal| refusal.0)
    }

    pub fn offer(&mut self, from: Side, text: &str) -> Out {
        self.try_offer(from, text).unwrap_or_else(|reason| panic!("{reason}: {text}"))
    }

    pub fn answer(&mut self, from: Side, text: &str) -> Out {
        self.try_answer(from, text).unwrap_or_else(|reason| panic!("{reason}: {text}"))
    }

    pub fn reoffer(&mut self, to: Side) -> Out {
        Out::of(self.media.reoffer(to, &mut self.supply).unwrap())
    }
}

/// A peer's description: one audio line and what is asked for beside it.
pub fn sdp(address: &str, version: u32, proto: &str, extra: &str) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=peer 7 {version} IN {family} {address}\r\ns=call\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio 4000 {proto} 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n{extra}"
    )
}

/// Thirty bytes of one value, as inline key.
pub fn inline(byte: u8) -> String {
    Crypto::ours(1, Suite::AesCm128HmacSha1_80, MasterKey { key_and_salt: vec![byte; 30], lifetime: None, mki: None })
        .value()
        .split("inline:")
        .nth(1)
        .unwrap()
        .into()
}

/// `a=crypto:<tag> AES_CM_128_HMAC_SHA1_80 inline:<byte…><rest>`
pub fn line(tag: u32, byte: u8, rest: &str) -> String {
    format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{}{rest}\r\n", inline(byte))
}

pub fn addresses(ip: &str, port: u16) -> Addresses {
    let ip: IpAddr = ip.parse().unwrap();
    Addresses { rtp: (ip, port).into(), rtcp: (ip, port + 1).into() }
}

pub fn key(byte: u8) -> MasterKey {
    MasterKey { key_and_salt: vec![byte; 30], lifetime: None, mki: None }
}

pub fn srtp(suite: Suite, key: MasterKey) -> Protection {
    Protection::Srtp(SrtpParameters { suite, keys: vec![key] })
}

/// The last `Configure` of a side: remote, receive, transmit.
#[derive(Clone, PartialEq, Debug)]
pub struct Configured {
    pub remote: Option<Option<Addresses>>,
    pub receive: Option<Protection>,
    pub transmit: Option<Protection>,
}

pub fn configured(commands: &[Command], of: Side) -> Configured {
    commands
        .iter()
        .rev()
        .find_map(|command| match command {
            Command::Configure { side, set, .. } if *side == of => {
                Some(Configured { remote: set.remote, receive: set.receive.clone(), transmit: set.transmit.clone() })
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("side {of} is not configured"))
}
