//! The law of the security modes, over every combination there is: a Secured leg never carries RTP, keys never travel in clear, and nothing is weaker
//! than the peer and the plan say, unless the plan names the peer in interwork.
//!
//! What must come out is said here once more, independently of `src/policy`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::liveness::Board;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::screening::{Load, Question, screen};
use portcullis::policy::security_mode::leg_plan;
use portcullis::policy::settings::{DialPlan, HuntGroup, Peer, PeerHost, PeerKind, PolicySet, SecurityMode, UmPool, UriType};
use portcullis::policy::verdict::Reason;
use portcullis::sdp::Description;
use portcullis::sip::{Limits, Message, Transport};

use SecurityMode::{Secured, SipSecured, Unsecured};

const MODES: [SecurityMode; 3] = [Unsecured, SipSecured, Secured];
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// What an offer says: profile of each audio stream, whether keys stand at the media and at the session level.
#[derive(Clone, Copy, Debug)]
struct Offer {
    profiles: &'static [&'static str],
    media_keys: bool,
    session_keys: bool,
}

const OFFERS: [Offer; 15] = [
    Offer { profiles: &["RTP/AVP"], media_keys: false, session_keys: false },
    Offer { profiles: &["RTP/AVPF"], media_keys: false, session_keys: false },
    Offer { profiles: &["RTP/AVP"], media_keys: true, session_keys: false },
    Offer { profiles: &["RTP/AVP"], media_keys: false, session_keys: true },
    Offer { profiles: &["RTP/SAVP"], media_keys: true, session_keys: false },
    Offer { profiles: &["RTP/SAVPF"], media_keys: true, session_keys: false },
    Offer { profiles: &["RTP/SAVP"], media_keys: false, session_keys: false },
    Offer { profiles: &["rtp/savp"], media_keys: true, session_keys: true },
    Offer { profiles: &["RTP/AVP", "RTP/SAVP"], media_keys: true, session_keys: false },
    Offer { profiles: &["RTP/SAVP", "RTP/AVP"], media_keys: true, session_keys: false },
    Offer { profiles: &["UDP/TLS/RTP/SAVP"], media_keys: false, session_keys: false },
    Offer { profiles: &["UDP/TLS/RTP/SAVPF"], media_keys: true, session_keys: false },
    Offer { profiles: &["udptl"], media_keys: false, session_keys: false },
    Offer { profiles: &["TCP/RTP/AVP"], media_keys: true, session_keys: false },
    Offer { profiles: &[], media_keys: false, session_keys: false },
];

impl Offer {
    fn description(self) -> Description {
        let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
        let mut text = String::from("v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n");
        if self.session_keys {
            text.push_str(key);
        }
        for profile in self.profiles {
            text.push_str(&format!("m=audio 4000 {profile} 0\r\n"));
            if self.media_keys {
                text.push_str(key);
            }
        }
        Description::parse(text.as_bytes()).unwrap()
    }

    fn has_keys(self) -> bool {
        self.session_keys || (self.media_keys && !self.profiles.is_empty())
    }

    fn has(self, profiles: [&str; 2]) -> bool {
        self.profiles.iter().any(|profile| profiles.iter().any(|wanted| profile.eq_ignore_ascii_case(wanted)))
    }

    fn has_srtp(self) -> bool {
        self.has(["RTP/SAVP", "RTP/SAVPF"])
    }

    fn has_rtp(self) -> bool {
        self.has(["RTP/AVP", "RTP/AVPF"])
    }
}

fn peer(name: &str, kind: PeerKind, address: &str, transport: Transport, mode: SecurityMode) -> Arc<Peer> {
    Arc::new(Peer {
        hosts: vec![PeerHost::Address(address.parse().unwrap())],
        tls_names: vec![format!("{name}.example").into()],
        ..Peer::new(name, kind, transport, mode)
    })
}

struct Case {
    trunk: (SecurityMode, Transport),
    plan: SecurityMode,
    um: (SecurityMode, Transport),
    interwork: bool,
    /// The trunk calls; otherwise UM does.
    inward: bool,
    offer: Option<Offer>,
}

impl Case {
    fn run(&self) -> Result<portcullis::policy::screening::Admitted, Reason> {
        let trunk = peer("trunk", PeerKind::Trunk, "198.51.100.1", self.trunk.1, self.trunk.0);
        let um = peer("um", PeerKind::UmServer, "10.0.0.1", self.um.1, self.um.0);
        let pool = Arc::new(UmPool::new("um", vec!["um".into()]));
        let interwork = if self.interwork { vec!["trunk".into()] } else { Vec::new() };
        let plan = DialPlan::new("plan", UriType::Extension, 4, self.plan, Arc::clone(&pool));
        let plan = Arc::new(DialPlan { interwork, gateways: vec!["trunk".into()], ..plan });
        let groups = vec![Arc::new(HuntGroup { name: "all".into(), peer: "trunk".into(), pilot: None, plan: Arc::clone(&plan) })];
        let set = PolicySet {
            number: 1,
            peers: vec![Arc::clone(&trunk), Arc::clone(&um)],
            um_pools: vec![pool],
            dial_plans: vec![plan],
            hunt_groups: groups.into(),
            ..PolicySet::default()
        };
        let table = PeerTable::build(1, &set, &|_| Vec::<IpAddr>::new());
        let caller = if self.inward { &trunk } else { &um };
        let remote = SocketAddr::new(table.addresses(&caller.name)[0], 5060);
        let identity = TlsIdentity { names: vec![caller.tls_names[0].to_string()], trusted_for: vec![caller.name.clone()], ..TlsIdentity::default() };
        let tls = (caller.transport == Transport::Tls).then(|| Arc::new(identity));
        let flow = Flow { id: FlowId(1), transport: caller.transport, listener: ListenerId(0), local: remote, remote, tls };
        let invite = "INVITE sip:5000@x SIP/2.0\r\nFrom: <sip:2001@b>;tag=1\r\nTo: <sip:5000@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n";
        let invite = Message::parse(Bytes::from(invite), &Limits::default()).unwrap();
        let offer = self.offer.map(Offer::description);
        screen(Question {
            set: &set,
            table: &table,
            liveness: &Board::default(),
            load: &Load::default(),
            flow: &flow,
            peer: caller,
            invite: &invite,
            offer: offer.as_ref(),
        })
        .outcome
    }

    /// The caller's leg and the other one, each as (mode, transport).
    fn legs(&self) -> ((SecurityMode, Transport), (SecurityMode, Transport)) {
        let trunk = self.trunk;
        let um = (self.plan.max(self.um.0), self.um.1);
        if self.inward { (trunk, um) } else { (um, trunk) }
    }

    /// Whether the law lets the call in.
    fn lawful(&self) -> bool {
        let (a, b) = self.legs();
        let carried = |leg: (SecurityMode, Transport)| leg.0 == Unsecured || leg.1 == Transport::Tls;
        let offered = self.offer.is_none_or(|offer| {
            let clear = offer.has_keys() && a.1 != Transport::Tls;
            let profile = if a.0 == Secured { offer.has_srtp() } else { offer.has_rtp() };
            !clear && profile
        });
        // Inward, the plan is what UM expects: a UM server that demands more cannot serve it.
        let um_fits = !self.inward || self.um.0 <= self.plan;
        carried(a) && carried(b) && offered && um_fits && (self.trunk.0 >= self.plan || self.interwork)
    }
}

fn every_case(mut visit: impl FnMut(Case)) -> usize {
    let mut count = 0;
    let offers = || OFFERS.into_iter().map(Some).chain([None]);
    for trunk_mode in MODES {
        for trunk_transport in TRANSPORTS {
            for plan in MODES {
                for um_mode in MODES {
                    for um_transport in TRANSPORTS {
                        for interwork in [false, true] {
                            for inward in [false, true] {
                                for offer in offers() {
                                    visit(Case { trunk: (trunk_mode, trunk_transport), plan, um: (um_mode, um_transport), interwork, inward, offer });
                                    count += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    count
}

#[test]
fn no_combination_falls_below_its_mode() {
    let mut admitted_count = 0;
    let count = every_case(|case| {
        let ((a_mode, a_transport), (b_mode, b_transport)) = case.legs();
        let what = format!(
            "trunk {:?}, plan {:?}, UM {:?}, interwork {}, inward {}, offer {:?}",
            case.trunk, case.plan, case.um, case.interwork, case.inward, case.offer
        );
        match case.run() {
            Ok(admitted) => {
                admitted_count += 1;
                assert!(case.lawful(), "let in against the law: {what}");
                assert_eq!((admitted.a.mode(), admitted.b.mode()), (a_mode, b_mode), "{what}");
                for (leg, transport) in [(&admitted.a, a_transport), (&admitted.b, b_transport)] {
                    assert!(leg.permits(transport), "{what}");
                    assert_eq!(leg.is_srtp(), leg.mode() == Secured, "{what}");
                    assert_eq!(leg.suites().is_empty(), !leg.is_srtp(), "{what}");
                    assert!(!leg.is_srtp() || transport == Transport::Tls, "keys would travel in clear: {what}");
                }
            }
            Err(reason) => {
                assert!(!case.lawful(), "refused though lawful ({reason}): {what}");
                assert!(matches!(reason.status(), Some(403 | 488)), "{what}: {reason}");
            }
        }
    });
    assert_eq!(count, 3 * 3 * 3 * 3 * 3 * 2 * 2 * 16);
    assert!(admitted_count > 300, "only {admitted_count} of {count} were let in");
}

#[test]
fn refusals_say_transport_403_or_media_488() {
    let case = |mode, transport, offer| {
        Case { trunk: (mode, transport), plan: mode, um: (mode, Transport::Tls), interwork: false, inward: true, offer: Some(offer) }.run().err()
    };
    assert_eq!(case(Secured, Transport::Tcp, OFFERS[4]), Some(Reason::ModeTransport));
    assert_eq!(case(SipSecured, Transport::Udp, OFFERS[0]), Some(Reason::ModeTransport));
    assert_eq!(case(Secured, Transport::Tls, OFFERS[0]), Some(Reason::ModeMedia));
    assert_eq!(case(Secured, Transport::Tls, OFFERS[2]), Some(Reason::ModeMedia));
    assert_eq!(case(SipSecured, Transport::Tls, OFFERS[4]), Some(Reason::ModeMedia));
    assert_eq!(case(Unsecured, Transport::Udp, OFFERS[2]), Some(Reason::KeysInClear));
    assert_eq!(case(Unsecured, Transport::Udp, OFFERS[4]), Some(Reason::KeysInClear));
    assert_eq!(case(Unsecured, Transport::Tcp, OFFERS[14]), Some(Reason::MediaUnacceptable));
    assert_eq!(case(Secured, Transport::Tls, OFFERS[4]), None);
    assert_eq!((Reason::ModeTransport.status(), Reason::ModeMedia.status(), Reason::KeysInClear.status()), (Some(403), Some(488), Some(488)));
}

#[test]
fn a_leg_is_never_below_the_call_nor_the_peer() {
    for asked in MODES {
        for own in MODES {
            let plan = leg_plan(asked, &peer("p", PeerKind::Trunk, "192.0.2.1", Transport::Tls, own));
            assert_eq!(plan.mode(), asked.max(own));
        }
    }
}

/// A UM server that is set up as unsecured may need no certificate; in the pool of a stronger plan its legs are the plan's, and then it does.
#[test]
fn tls_without_a_certificate_is_no_more_than_unsecured() {
    let shown = |plan: SecurityMode, names: &[&str]| {
        let leg = leg_plan(plan, &peer("um", PeerKind::UmServer, "10.0.0.1", Transport::Tls, Unsecured));
        let trusted_for = names.iter().map(|_| "um".into()).collect();
        let tls = Arc::new(TlsIdentity { names: names.iter().map(ToString::to_string).collect(), trusted_for, ..TlsIdentity::default() });
        let at = SocketAddr::from(([10, 0, 0, 1], 5061));
        leg.admits(&Flow { id: FlowId(1), transport: Transport::Tls, listener: ListenerId(0), local: at, remote: at, tls: Some(tls) })
    };
    assert_eq!(MODES.map(|plan| shown(plan, &[])), [true, false, false]);
    assert_eq!(MODES.map(|plan| shown(plan, &["um.example"])), [true, true, true]);
}
