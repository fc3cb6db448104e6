//! One whole policy verdict for an INVITE: who is behind the flow, and everything screening asks, with 1,000 peers and 10,000 hunt groups.
//!
//! `cargo bench --bench policy`

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::liveness::Board;
use portcullis::policy::peer::{PeerTable, identify, recognise};
use portcullis::policy::screening::{Load, Question, screen};
use portcullis::policy::settings::{AdmissionLimits, DialPlan, HuntGroup, Peer, PeerHost, PeerKind, PolicySet, SecurityMode, UmPool, UriType};
use portcullis::policy::topology_hiding::{Crossing, carry};
use portcullis::sdp::Description;
use portcullis::sip::{Limits, Message, Transport};

const PEERS: u32 = 1_000;
const GROUPS_OF_PEER: u32 = 10;

fn peer(index: u32, kind: PeerKind) -> Arc<Peer> {
    let base = if kind == PeerKind::Trunk { Ipv4Addr::new(10, 1, 0, 0) } else { Ipv4Addr::new(10, 2, 0, 0) };
    let name = format!("{kind:?}-{index}");
    Arc::new(Peer {
        hosts: vec![PeerHost::Address(IpAddr::V4(Ipv4Addr::from(u32::from(base) + index)))],
        tls_names: vec![format!("{}.example", name.to_lowercase()).into()],
        port: Some(5061),
        diversion_trusted: true,
        identity_trusted: true,
        ..Peer::new(&name, kind, Transport::Tls, SecurityMode::Secured)
    })
}

fn set() -> PolicySet {
    let um = peer(1, PeerKind::UmServer);
    let mut peers: Vec<Arc<Peer>> = (1..PEERS).map(|index| peer(index, PeerKind::Trunk)).collect();
    let pool = Arc::new(UmPool::new("um", vec![Arc::clone(&um.name)]));
    let plan = Arc::new(DialPlan::new("main", UriType::E164, 5, SecurityMode::Secured, Arc::clone(&pool)));
    let group = |peer: &Arc<Peer>, index: u32| {
        let pilot = format!("+1425555{index:04}");
        Arc::new(HuntGroup { name: "group".into(), peer: Arc::clone(&peer.name), pilot: Some(pilot.into()), plan: Arc::clone(&plan) })
    };
    let groups: Vec<Arc<HuntGroup>> = peers.iter().flat_map(|peer| (0..GROUPS_OF_PEER).map(move |index| group(peer, index))).collect();
    peers.push(um);
    PolicySet {
        number: 1,
        peers,
        um_pools: vec![pool],
        dial_plans: vec![plan],
        hunt_groups: groups.into(),
        admission: AdmissionLimits { calls: Some(10_000), ..Default::default() },
        ..PolicySet::default()
    }
}

const INVITE: &str = "INVITE sip:+14255550007@sbc.example.com;user=phone SIP/2.0\r\nVia: SIP/2.0/TLS 10.1.1.244:5061;branch=z9hG4bK776asdhds\r\nMax-Forwards: 70\r\n\
From: \"Kim Caller\" <sip:+12065550199@trunk-500.example;user=phone>;tag=1928301774\r\nTo: <sip:+14255550007@sbc.example.com;user=phone>\r\nCall-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\nContact: <sip:+12065550199@10.1.1.244:5061;transport=tls>\r\nDiversion: \"Desk\" <sip:+14255550150@trunk-500.example>;reason=no-answer\r\n\
P-Asserted-Identity: <sip:+12065550199@trunk-500.example>\r\nContent-Type: application/sdp\r\nContent-Length: 0\r\n\r\n";

const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 10.1.1.244\r\ns=-\r\nc=IN IP4 10.1.1.244\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 0 101\r\n\
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

fn verdicts(criterion: &mut Criterion) {
    let set = set();
    let table = PeerTable::build(1, &set, &|_| Vec::new());
    let caller = set.peers.get(499).map(Arc::clone).unwrap_or_else(|| peer(500, PeerKind::Trunk));
    let address = table.addresses(&caller.name).first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let identity = TlsIdentity {
        names: caller.tls_names.iter().map(|name| String::from(&**name)).collect(),
        trusted_for: vec![Arc::clone(&caller.name)],
        ..TlsIdentity::default()
    };
    let flow = Flow {
        id: FlowId(1),
        transport: Transport::Tls,
        listener: ListenerId(0),
        local: (Ipv4Addr::LOCALHOST, 5061).into(),
        remote: (address, 5061).into(),
        tls: Some(Arc::new(identity)),
    };
    let Ok(invite) = Message::parse(Bytes::from_static(INVITE.as_bytes()), &Limits::default()) else { return };
    let offer = Description::parse(OFFER).ok();
    let question = Question {
        set: &set,
        table: &table,
        liveness: &Board::default(),
        load: &Load::default(),
        flow: &flow,
        peer: &caller,
        invite: &invite,
        offer: offer.as_ref(),
    };
    assert!(screen(question).outcome.is_ok(), "the benchmark measures a call that is let in");

    criterion.bench_function("recognise a flow", |bench| bench.iter(|| recognise(std::hint::black_box(&table), &flow).is_ok()));
    criterion.bench_function("verdict for one INVITE, 1,000 peers, 10,000 hunt groups", |bench| {
        bench.iter(|| {
            let (_, found) = identify(std::hint::black_box(&table), &flow);
            (found, screen(question).outcome)
        });
    });
    if let Some(to) = set.peers.last() {
        let crossing = Crossing { from: &caller, to, ours: "sbc.example.com", plan: None, called: "5000" };
        criterion.bench_function("headers across", |bench| bench.iter(|| carry(std::hint::black_box(&crossing), &invite)));
    }
}

criterion_group!(benches, verdicts);
criterion_main!(benches);
