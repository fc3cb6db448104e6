//! Any bytes as a description: no panic, what was read reads the same written. Then two of them (split at a NUL byte) as offer and answer of a call: what
//! comes out is readable, has one stream at most, and that in the profile of its leg's mode, with keys exactly if the mode has them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis::media::control::{Addresses, LatchPolicy, Side, StreamId};
use portcullis::policy::security_mode::leg_plan;
use portcullis::policy::settings::{Peer, PeerKind, SecurityMode};
use portcullis::sdp::Description;
use portcullis::sdp::crypto::{Crypto, MasterKey, Suite};
use portcullis::sdp::t38::T38;
use portcullis::signaling::session::offer_answer::{SessionMedia, Supply, Terms};
use portcullis::sip::Transport;

pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let (Some(first), second) = (parts.next(), parts.next().unwrap_or_default()) else { return };
    let offer = read(first);
    let answer = read(second);
    let Some(offer) = offer else { return };
    for (a, b) in
        [(SecurityMode::Secured, SecurityMode::Secured), (SecurityMode::Unsecured, SecurityMode::Secured), (SecurityMode::SipSecured, SecurityMode::SipSecured)]
    {
        let mut media = SessionMedia::new(terms(a), terms(b), None);
        let mut supply = Counted(0);
        let Ok(out) = media.offer(Side::A, &offer, &mut supply) else { continue };
        check(&out.sdp, b);
        if let Ok(out) = media.reoffer(Side::B, &mut supply) {
            check(&out.sdp, b);
        }
        let Some(answer) = &answer else { continue };
        let Ok(out) = media.answer(Side::B, answer, &mut supply) else { continue };
        check(&out.sdp, a);
        media.settled();
        if let Ok(out) = media.offer(Side::B, &offer, &mut supply) {
            check(&out.sdp, a);
            let _ = media.answer(Side::A, answer, &mut supply);
            let _ = media.rejected(Side::A);
        }
        let _ = (media.answer_here(Side::A, &offer, &mut supply), media.refreshed(Side::B, answer));
        let _ = (media.codec(Side::A), media.held(Side::B), media.is_refresh(Side::A, &offer), media.close());
    }
}

fn read(bytes: &[u8]) -> Option<Description> {
    let description = Description::parse(bytes).ok()?;
    assert_eq!(Description::parse(&description.write()).as_ref(), Ok(&description));
    for media in &description.media {
        let _ = (media.rtcp(), media.ptime(), media.rtpmaps().count(), description.direction_of(media));
        let mut again = media.clone();
        again.attributes = T38::read(media).attributes();
        assert_eq!(T38::read(&again), T38::read(media));
        for crypto in media.cryptos().flatten() {
            assert_eq!(Crypto::parse(&crypto.value()), Ok(crypto));
        }
    }
    Some(description)
}

fn check(sdp: &[u8], mode: SecurityMode) {
    let written = Description::parse(sdp).expect("what we write reads");
    assert_eq!(written.write(), sdp);
    for media in written.media.iter().filter(|media| media.port != 0) {
        assert_eq!(media.proto.is_srtp(), mode == SecurityMode::Secured);
        assert!(media.is_audio() || (media.is_fax() && mode != SecurityMode::Secured));
        assert_eq!(media.cryptos().count() > 0, mode == SecurityMode::Secured);
    }
    assert!(written.media.iter().filter(|media| media.port != 0).count() <= 1);
}

fn terms(mode: SecurityMode) -> Terms {
    let transport = if mode == SecurityMode::Unsecured { Transport::Tcp } else { Transport::Tls };
    let peer = Peer::new("peer", PeerKind::Gateway, transport, mode);
    Terms { plan: leg_plan(mode, &peer), transport, latch: LatchPolicy::Strict, peer: None }
}

struct Counted(u8);

impl Supply for Counted {
    fn ports(&mut self, side: Side, _like: Option<IpAddr>) -> Option<Addresses> {
        let port = if side == Side::A { 20000 } else { 30000 };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Some(Addresses { rtp: at(port), rtcp: at(port + 1) })
    }

    fn key(&mut self, suite: Suite) -> MasterKey {
        self.0 = self.0.wrapping_add(1);
        MasterKey { key_and_salt: vec![self.0; suite.key_length() + suite.salt_length()], lifetime: None, mki: None }
    }

    fn stream(&mut self) -> StreamId {
        StreamId(1)
    }

    fn session_id(&mut self) -> u64 {
        7
    }
}
