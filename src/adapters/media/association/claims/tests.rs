//! The right peer among strangers, in virtual time: whatever they send from their own addresses, it comes to its keys, and they do not.

use super::*;
use crate::adapters::media::association::{Keys, SCRATCH};
use crate::sdp::crypto::Suite;
use crate::sdp::fingerprint::Fingerprint;

fn at(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::new(203, 0, 113, 5), port).into()
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate().unwrap())
}

fn terms(role: DtlsRole, of: &Identity) -> Arc<DtlsParameters> {
    let fingerprints: Vec<Fingerprint> = vec![of.fingerprint().clone()];
    Arc::new(DtlsParameters { association: 1, identity: 0, role: Some(role), fingerprints, suites: vec![Suite::AesCm128HmacSha1_80], ice: None })
}

/// Somebody at an address of his own, who takes us for whom we are.
struct Party {
    port: u16,
    association: Association,
    keys: Option<Keys>,
}

/// Our side of one call, and everybody who can reach it.
struct Lab {
    claims: Claims,
    ours: Arc<Identity>,
    role: DtlsRole,
    parties: Vec<Party>,
    now: Time,
    awaited: Option<u16>,
    told: Option<(Claimant, Told)>,
    turned_away: usize,
    scratch: Vec<u8>,
}

impl Lab {
    /// `role`: ours. `awaited`: the port signalling named.
    fn new(role: DtlsRole, announced: &Identity, awaited: Option<u16>) -> Lab {
        let ours = identity();
        let claims = Claims::new(terms(role, announced), role, Arc::clone(&ours), Instant::now(), Time::ZERO);
        Lab { claims, ours, role, parties: Vec::new(), now: Time::ZERO, awaited, told: None, turned_away: 0, scratch: vec![0; SCRATCH] }
    }

    fn joined_by(&mut self, port: u16, identity: &Arc<Identity>) {
        let role = if self.role == DtlsRole::Active { DtlsRole::Passive } else { DtlsRole::Active };
        let mut association = Association::new(terms(role, &self.ours), role, Arc::clone(identity), Instant::now(), self.now).unwrap();
        let mut out = Vec::new();
        association.begin(self.now, &mut self.scratch, &mut |bytes| out.push(bytes.to_vec()));
        self.parties.push(Party { port, association, keys: None });
        out.into_iter().for_each(|bytes| self.says(port, &bytes));
    }

    fn begin(&mut self) {
        let mut out = Vec::new();
        let claimant = Claimant::At(at(self.awaited.unwrap()));
        let told = self.claims.begin(self.now, claimant, &mut self.scratch, &mut |to, bytes| out.push((to, bytes.to_vec())));
        self.after(told, out);
    }

    /// A datagram to us, and all that follows from it at once.
    fn says(&mut self, port: u16, bytes: &[u8]) {
        let mut out = Vec::new();
        let from = (Claimant::At(at(port)), self.awaited == Some(port));
        let told = match self.claims.datagram(self.now, from, bytes, &mut self.scratch, &mut |to, bytes| out.push((to, bytes.to_vec()))) {
            Taken::Told(by, told) => Some((by, told)),
            Taken::Yes => None,
            Taken::No => {
                self.turned_away += 1;
                None
            }
        };
        self.after(told, out);
    }

    fn after(&mut self, told: Option<(Claimant, Told)>, out: Vec<(Claimant, Vec<u8>)>) {
        if told.is_some() {
            assert_eq!(self.told, None, "told once");
            self.told = told;
        }
        for (to, bytes) in out {
            let mut back = Vec::new();
            let Some(party) = self.parties.iter_mut().find(|party| Claimant::At(at(party.port)) == to) else { continue };
            if let Some(Told::Keyed(keys)) = party.association.datagram(self.now, &bytes, &mut self.scratch, &mut |bytes| back.push(bytes.to_vec())) {
                party.keys = Some(*keys);
            }
            let port = party.port;
            back.into_iter().for_each(|bytes| self.says(port, &bytes));
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.told.is_none()
            && let Some(due) = self.claims.due().filter(|due| *due <= end)
        {
            self.now = self.now.max(due);
            let mut out = Vec::new();
            let told = self.claims.timeout(self.now, &mut self.scratch, &mut |to, bytes| out.push((to, bytes.to_vec())));
            self.after(told, out);
        }
        self.now = end;
    }

    fn assert_keyed_by(&self, port: u16) {
        let Some((by, Told::Keyed(ours))) = &self.told else { panic!("{:?}", self.told) };
        assert_eq!(*by, Claimant::At(at(port)));
        for party in &self.parties {
            match &party.keys {
                Some(theirs) if party.port == port => assert_eq!((&theirs.receive, &theirs.transmit), (&ours.transmit, &ours.receive)),
                Some(theirs) => assert_ne!(theirs.receive, ours.transmit, "{} is a stranger", party.port),
                None => assert_ne!(party.port, port),
            }
        }
    }
}

/// A fatal alert, and what looks like the beginning of much.
const ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];

fn hello(kind: u8) -> Vec<u8> {
    [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, kind, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 28][..], &[7; 28]].concat()
}

#[test]
fn strangers_do_not_end_the_handshake_of_the_right_peer() {
    for awaited in [None, Some(9), Some(4000)] {
        let peer = identity();
        let mut lab = Lab::new(DtlsRole::Passive, &peer, awaited);
        for round in 0..30 {
            lab.joined_by(5000 + round, &identity());
            lab.says(6000 + round, &ALERT);
            lab.says(7000 + round, &hello(CLIENT_HELLO));
            lab.says(5000 + round, &ALERT);
            lab.pass(50);
        }
        assert_eq!(lab.told, None, "none of them was told to be the peer, nor did they spoil anything");
        lab.joined_by(4000, &peer);
        lab.assert_keyed_by(4000);
        let before = lab.turned_away;
        lab.says(5000, &hello(CLIENT_HELLO));
        assert_eq!(lab.turned_away, before + 1, "the peer is known");
        assert!(lab.claims.claims.len() == 1);
    }
}

/// Before, any address became the one that was answered, and five spoilt handshakes ended the call.
#[test]
fn a_stranger_in_the_middle_of_the_handshake_changes_nothing() {
    let peer = identity();
    let mut lab = Lab::new(DtlsRole::Passive, &peer, None);
    let mut flight = Vec::new();
    let mut client = Association::new(terms(DtlsRole::Active, &lab.ours), DtlsRole::Active, Arc::clone(&peer), Instant::now(), Time::ZERO).unwrap();
    client.begin(Time::ZERO, &mut lab.scratch.clone(), &mut |bytes| flight.push(bytes.to_vec()));
    let mut keyed = None;
    for _ in 0..8 {
        for bytes in std::mem::take(&mut flight) {
            for port in 5000..5006 {
                lab.says(port, &ALERT);
                lab.says(port, &bytes);
                lab.says(port, &hello(11));
            }
            let mut out = Vec::new();
            let taken =
                lab.claims.datagram(lab.now, (Claimant::At(at(4000)), false), &bytes, &mut lab.scratch, &mut |to, bytes| out.push((to, bytes.to_vec())));
            if let Taken::Told(by, Told::Keyed(_)) = taken {
                assert_eq!(by, Claimant::At(at(4000)));
                keyed = Some(by);
            }
            for (_, bytes) in out.into_iter().filter(|(to, _)| *to == Claimant::At(at(4000))) {
                client.datagram(lab.now, &bytes, &mut vec![0; SCRATCH], &mut |bytes| flight.push(bytes.to_vec()));
            }
        }
    }
    assert!(keyed.is_some());
}

#[test]
fn who_begins_is_not_led_astray_and_finds_a_peer_that_answers_from_elsewhere() {
    for real in [4000, 4002] {
        let peer = identity();
        let mut lab = Lab::new(DtlsRole::Active, &peer, Some(4000));
        lab.begin();
        for round in 0..20 {
            lab.joined_by(5000 + round, &identity());
            lab.says(5000 + round, &hello(SERVER_HELLO));
            lab.says(6000 + round, &hello(HELLO_VERIFY_REQUEST));
            lab.says(6000 + round, &ALERT);
        }
        assert_eq!(lab.told, None);
        lab.joined_by(real, &peer);
        if real != 4000 {
            lab.says(real, &hello(HELLO_VERIFY_REQUEST));
            lab.pass(6000);
            lab.says(real, &hello(HELLO_VERIFY_REQUEST));
        }
        lab.pass(8000);
        lab.assert_keyed_by(real);
    }
}

#[test]
fn what_strangers_cost_is_bounded() {
    let mut lab = Lab::new(DtlsRole::Passive, &identity(), Some(4000));
    for port in 5000..7000 {
        lab.says(port, &hello(CLIENT_HELLO));
        assert!(lab.claims.claims.len() <= OPENED + UNDER_WAY);
    }
    for port in 5000..5100 {
        lab.says(port, &[22; 60]);
        lab.says(port, &ALERT);
    }
    assert!(lab.claims.claims.len() <= OPENED + UNDER_WAY && lab.claims.refused.len() <= REFUSED);
    lab.pass(30_000);
    assert!(matches!(lab.told, Some((_, Told::Failed(_)))), "{:?}", lab.told);
    assert_eq!(lab.claims.due(), None);
}

#[test]
fn another_certificate_where_the_peer_is_ends_it_soon_and_elsewhere_never() {
    let mut lab = Lab::new(DtlsRole::Passive, &identity(), Some(4000));
    lab.joined_by(4000, &identity());
    lab.pass(5000);
    assert_eq!(lab.told, Some((Claimant::At(at(4000)), Told::Failed(KeyingFailure::Fingerprint))));
    let mut lab = Lab::new(DtlsRole::Passive, &identity(), Some(4000));
    lab.joined_by(5000, &identity());
    lab.pass(29_999);
    assert_eq!(lab.told, None);
    lab.pass(1);
    assert!(matches!(lab.told, Some((_, Told::Failed(KeyingFailure::Fingerprint)))), "{:?}", lab.told);
}

/// As a client at `port` would begin, without waiting for an answer: anybody can send this under any address.
fn first_hello(lab: &Lab) -> Vec<u8> {
    let mut flight = Vec::new();
    let mut client = Association::new(terms(DtlsRole::Active, &lab.ours), DtlsRole::Active, identity(), Instant::now(), Time::ZERO).unwrap();
    client.begin(Time::ZERO, &mut vec![0; SCRATCH], &mut |bytes| flight.push(bytes.to_vec()));
    flight.remove(0)
}

/// Sixteen of them a second took every place for as long as they came.
#[test]
fn a_flood_of_forged_hellos_does_not_keep_the_peer_out() {
    for (awaited, a_millisecond) in [(None, 0), (Some(4000), 20)] {
        let peer = identity();
        let mut lab = Lab::new(DtlsRole::Passive, &peer, awaited);
        let forged = first_hello(&lab);
        let mut port = 5000;
        for millisecond in 0..3000 {
            // Below what is admitted in a second the peer comes through from wherever it is; above it, where it is awaited.
            for _ in 0..a_millisecond.max(u16::from(millisecond % 3 == 0)) {
                port = 5000 + (port - 4999) % 60_000;
                lab.says(port, &forged);
            }
            lab.pass(1);
        }
        assert_eq!(lab.told, None);
        assert!(lab.claims.claims.len() <= OPENED + UNDER_WAY);
        lab.joined_by(4000, &peer);
        lab.assert_keyed_by(4000);
    }
}

#[test]
fn the_peer_comes_through_a_flood_though_each_of_its_datagrams_takes_its_time() {
    let peer = identity();
    let mut lab = Lab::new(DtlsRole::Passive, &peer, None);
    let forged = first_hello(&lab);
    let mut flight = Vec::new();
    let mut client = Association::new(terms(DtlsRole::Active, &lab.ours), DtlsRole::Active, Arc::clone(&peer), Instant::now(), Time::ZERO).unwrap();
    client.begin(Time::ZERO, &mut vec![0; SCRATCH], &mut |bytes| flight.push(bytes.to_vec()));
    let (mut port, mut keyed) = (5000, false);
    for _ in 0..4 {
        for bytes in std::mem::take(&mut flight) {
            let mut out = Vec::new();
            let taken =
                lab.claims.datagram(lab.now, (Claimant::At(at(4000)), false), &bytes, &mut lab.scratch, &mut |to, bytes| out.push((to, bytes.to_vec())));
            keyed |= matches!(taken, Taken::Told(by, Told::Keyed(_)) if by == Claimant::At(at(4000)));
            for (_, bytes) in out {
                client.datagram(lab.now, &bytes, &mut vec![0; SCRATCH], &mut |bytes| flight.push(bytes.to_vec()));
            }
        }
        // 40 forged hellos in the 100 ms until the peer's next flight.
        for _ in 0..40 {
            lab.says(port, &forged);
            port += 1;
        }
        lab.now = lab.now + Duration::from_millis(100);
    }
    assert!(keyed);
}

#[test]
fn forged_hellos_are_limited_in_a_second_and_counted() {
    for (role, limit) in [(DtlsRole::Passive, NEW_PASSIVE), (DtlsRole::Active, NEW_ACTIVE)] {
        let mut lab = Lab::new(role, &identity(), Some(4000));
        let opening = if role == DtlsRole::Passive { first_hello(&lab) } else { hello(SERVER_HELLO) };
        for second in 1..=2 {
            let before = lab.turned_away;
            for port in 0..2000 {
                lab.says(5000 + port, &opening);
            }
            // Sources that still had their association are answered by it.
            let kept = if second == 1 { 0 } else { OPENED };
            let admitted = 2000 - (lab.turned_away - before);
            assert!((limit as usize..=limit as usize + kept).contains(&admitted), "{role:?}: {admitted}");
            lab.now = lab.now + SECOND;
        }
    }
}

/// What we say to a forged address is no more than was said to us: once for each hello, not again by time.
#[test]
fn a_stranger_that_does_not_answer_is_answered_once_and_again_when_it_asks_again() {
    let mut lab = Lab::new(DtlsRole::Passive, &identity(), Some(4000));
    let forged = first_hello(&lab);
    let ask = |lab: &mut Lab| {
        let mut out = Vec::new();
        lab.claims.datagram(lab.now, (Claimant::At(at(5000)), false), &forged, &mut lab.scratch, &mut |to, bytes| out.push((to, bytes.to_vec())));
        out
    };
    let first = ask(&mut lab);
    assert!(first.len() == 1 && first[0].1.len() < forged.len(), "a cookie is demanded");
    let due = lab.claims.due();
    assert_eq!(due, Some(Time::ZERO + PATIENCE), "nothing else is to be done");
    lab.now = lab.now + SECOND;
    assert_eq!(ask(&mut lab).len(), 1, "the first may have been lost");
}
