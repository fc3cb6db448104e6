//! Two associations with one another over a line that loses, repeats and reorders, in virtual time; and with peers that are not who they should be.

use super::*;

/// A line's bad luck, drawn from a seed: the same each time.
struct Luck(u64);

impl Luck {
    /// 0..100.
    fn percent(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % 100
    }
}

struct End {
    association: Association,
    told: Option<Told>,
    sent: usize,
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate().unwrap())
}

fn terms(role: DtlsRole, fingerprints: Vec<Fingerprint>) -> Arc<DtlsParameters> {
    Arc::new(DtlsParameters { association: 1, identity: 0, role: Some(role), fingerprints, suites: vec![Suite::AesCm128HmacSha1_80], ice: None })
}

fn end(role: DtlsRole, own: &Arc<Identity>, announced: Vec<Fingerprint>) -> End {
    let mut association = Association::new(terms(role, announced), role, Arc::clone(own), Instant::now(), Time::ZERO).unwrap();
    association.is_awaited = true;
    End { association, told: None, sent: 0 }
}

fn pair() -> [End; 2] {
    let (client, server) = (identity(), identity());
    [end(DtlsRole::Active, &client, vec![server.fingerprint().clone()]), end(DtlsRole::Passive, &server, vec![client.fingerprint().clone()])]
}

/// Both ends until both have spoken their word and a while beyond, or for a minute. `lost` and `twice`: percent of the datagrams; delays vary enough to
/// reorder. When each end told.
fn run(ends: &mut [End; 2], luck: &mut Luck, lost: u64, twice: u64) -> [Option<Time>; 2] {
    let mut scratch = vec![0; SCRATCH];
    let mut flying: Vec<(Time, usize, Vec<u8>)> = Vec::new();
    let mut when = [None, None];
    let mut now = Time::ZERO;
    let mut first = true;
    while now < Time::from_millis(60_000) {
        for i in 0..2 {
            let mut out: Vec<Vec<u8>> = Vec::new();
            let mut send = |bytes: &[u8]| out.push(bytes.to_vec());
            let mut told = Vec::new();
            if first {
                told.push(ends[i].association.begin(now, &mut scratch, &mut send));
            }
            if ends[i].association.due().is_some_and(|due| due <= now) {
                told.push(ends[i].association.timeout(now, &mut scratch, &mut send));
            }
            while let Some(at) = flying.iter().position(|(at, to, _)| *at <= now && *to == i) {
                let (_, _, bytes) = flying.remove(at);
                told.push(ends[i].association.datagram(now, &bytes, &mut scratch, &mut send));
            }
            for told in told.into_iter().flatten() {
                assert_eq!(ends[i].told, None, "an association speaks once");
                (ends[i].told, when[i]) = (Some(told), Some(now));
            }
            ends[i].sent += out.len();
            for bytes in out {
                let copies = if luck.percent() < lost { 0 } else { 1 + usize::from(luck.percent() < twice) };
                for _ in 0..copies {
                    flying.push((now + Duration::from_millis(5 + luck.percent()), 1 - i, bytes.clone()));
                }
            }
        }
        first = false;
        let next = flying.iter().map(|(at, ..)| *at).chain(ends.iter().filter_map(|end| end.association.due())).min();
        match next {
            Some(next) => now = next.max(now + Duration::from_micros(100)),
            None => break,
        }
    }
    when
}

fn keys(end: &End) -> Keys {
    match &end.told {
        Some(Told::Keyed(keys)) => Keys::clone(keys),
        other => panic!("no keys: {other:?}, {:?}", end.association),
    }
}

fn assert_agreed(ends: &[End; 2]) {
    let (client, server) = (keys(&ends[0]), keys(&ends[1]));
    assert_eq!(client.receive, server.transmit);
    assert_eq!(client.transmit, server.receive);
    assert_ne!(client.receive.keys, client.transmit.keys);
    let suite = client.receive.suite;
    assert_eq!(client.receive.keys[0].key_and_salt.len(), suite.key_length() + suite.salt_length());
}

#[test]
fn both_ends_agree_upon_the_same_keys() {
    let mut ends = pair();
    let when = run(&mut ends, &mut Luck(7), 0, 0);
    assert_agreed(&ends);
    assert!(when.iter().all(|at| at.unwrap() < Time::from_millis(1000)), "{when:?}");
    assert!(ends.iter().all(|end| end.sent < 12), "no repetition where nothing is lost: {} and {}", ends[0].sent, ends[1].sent);
}

#[test]
fn loss_repetition_and_reordering_delay_it_at_most() {
    for seed in 1..=60 {
        let mut ends = pair();
        run(&mut ends, &mut Luck(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15)), 25, 20);
        assert_agreed(&ends);
    }
}

#[test]
fn keys_are_split_as_rfc_5764_section_4_2_has_it() {
    let material: Vec<u8> = (0..60).collect();
    let suite = Suite::AesCm128HmacSha1_80;
    let (receive, transmit) = split(&material, suite, DtlsRole::Active).unwrap();
    let client: Vec<u8> = (0..16).chain(32..46).collect();
    let server: Vec<u8> = (16..32).chain(46..60).collect();
    assert_eq!((&receive.key_and_salt, &transmit.key_and_salt), (&server, &client));
    let (receive, transmit) = split(&material, suite, DtlsRole::Passive).unwrap();
    assert_eq!((&receive.key_and_salt, &transmit.key_and_salt), (&client, &server));
    assert!(split(&material[..59], suite, DtlsRole::Active).is_none());
}

#[test]
fn another_certificate_than_the_announced_one_yields_no_key() {
    for liar in [0, 1] {
        let (client, server, announced) = (identity(), identity(), identity());
        let of = |i: usize, own: &Arc<Identity>| vec![if i == liar { announced.fingerprint().clone() } else { own.fingerprint().clone() }];
        let mut ends = [end(DtlsRole::Active, &client, of(1, &server)), end(DtlsRole::Passive, &server, of(0, &client))];
        run(&mut ends, &mut Luck(3), 0, 0);
        assert_eq!(ends[1 - liar].told, Some(Told::Failed(KeyingFailure::Fingerprint)), "the {liar} is not who was announced");
        assert!(!matches!(ends[liar].told, Some(Told::Keyed(_))), "nor has the liar keys: it was sent nothing that ends the handshake");
    }
}

#[test]
fn nobody_there_is_told_after_thirty_seconds() {
    let mut ends = pair();
    let when = run(&mut ends, &mut Luck(1), 100, 0);
    for (end, when) in ends.iter().zip(when) {
        assert_eq!(end.told, Some(Told::Failed(KeyingFailure::TimedOut)));
        assert_eq!(when, Some(Time::from_millis(30_000)));
    }
    assert_eq!(ends[1].sent, 0, "who waits sends nothing");
    assert!((2..=40).contains(&ends[0].sent), "{}", ends[0].sent);
}

#[test]
fn a_spoilt_handshake_is_begun_anew() {
    // A fatal alert in the clear, as anybody at the peer's address can send it.
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    let mut ends = pair();
    let mut scratch = vec![0; SCRATCH];
    let mut hello = Vec::new();
    assert_eq!(ends[0].association.begin(Time::ZERO, &mut scratch, &mut |bytes| hello.push(bytes.to_vec())), None);
    assert_eq!(ends[1].association.datagram(Time::ZERO, &hello[0], &mut scratch, &mut |_| {}), None);
    for end in &mut ends {
        assert_eq!(end.association.datagram(Time::ZERO, &alert, &mut scratch, &mut |_| {}), None);
    }
    run(&mut ends, &mut Luck(5), 0, 0);
    assert_agreed(&ends);
}

/// baresip as server goes on repeating the flight of the handshake that was broken off; the log then spoke of a signature.
#[test]
fn a_wrong_certificate_is_told_whatever_spoils_the_next_attempts() {
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    let (client, server, announced) = (identity(), identity(), identity());
    let mut ends = [end(DtlsRole::Active, &client, vec![announced.fingerprint().clone()]), end(DtlsRole::Passive, &server, vec![client.fingerprint().clone()])];
    let mut scratch = vec![0; SCRATCH];
    let mut to: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    ends[0].association.begin(Time::ZERO, &mut scratch, &mut |bytes| to[1].push(bytes.to_vec()));
    while ends[0].association.spoilt.is_none() {
        for i in [1, 0] {
            for bytes in std::mem::take(&mut to[i]) {
                assert_eq!(ends[i].association.datagram(Time::ZERO, &bytes, &mut scratch, &mut |out| to[1 - i].push(out.to_vec())), None);
            }
        }
    }
    let told = (0..10).find_map(|_| ends[0].association.datagram(Time::from_millis(300), &alert, &mut scratch, &mut |_| {}));
    assert_eq!(told, Some(Told::Failed(KeyingFailure::Fingerprint)));
}

#[test]
fn after_the_keys_nothing_of_a_stranger_matters() {
    let mut ends = pair();
    run(&mut ends, &mut Luck(9), 0, 0);
    assert_agreed(&ends);
    let mut scratch = vec![0; SCRATCH];
    let mut luck = Luck(11);
    for end in &mut ends {
        for length in 0..200 {
            let noise: Vec<u8> = (0..length).map(|i| if i == 0 { 20 + (luck.percent() % 44) as u8 } else { luck.percent() as u8 }).collect();
            assert_eq!(end.association.datagram(Time::from_millis(61_000), &noise, &mut scratch, &mut |_| {}), None);
        }
    }
}

/// Bent copies of every datagram of a handshake: none ends in a panic, and none in other keys than the peer's.
#[test]
fn bent_datagrams_never_harm() {
    let mut luck = Luck(21);
    for round in 0..40 {
        let mut ends = pair();
        let mut scratch = vec![0; SCRATCH];
        let mut to: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
        ends[0].association.begin(Time::ZERO, &mut scratch, &mut |bytes| to[1].push(bytes.to_vec()));
        for step in 0..12 {
            let i = 1 - step % 2;
            for bytes in std::mem::take(&mut to[i]) {
                let mut bent = bytes.clone();
                for _ in 0..=round % 4 {
                    let at = (luck.percent() * 97 + luck.percent()) as usize % bent.len();
                    bent[at] = luck.percent() as u8;
                }
                bent.truncate(bent.len() - (luck.percent() as usize % 3));
                for datagram in [bent, bytes] {
                    let told = ends[i].association.datagram(Time::from_millis(step as u64), &datagram, &mut scratch, &mut |out| to[1 - i].push(out.to_vec()));
                    ends[i].told = told.or(ends[i].told.take());
                }
            }
        }
        if let (Some(Told::Keyed(client)), Some(Told::Keyed(server))) = (&ends[0].told, &ends[1].told) {
            assert_eq!((&client.receive, &client.transmit), (&server.transmit, &server.receive));
        }
    }
}

/// The library hands a certificate out into a buffer of ours and panics where it is too short. Of the largest that can arrive at all there is room.
#[test]
fn a_certificate_as_long_as_they_get_is_only_a_wrong_one() {
    let (server, mut client) = (identity(), Identity::generate().unwrap());
    client.certificate.certificate.extend(std::iter::repeat_n(0, 24_000));
    let mut ends =
        [end(DtlsRole::Active, &Arc::new(client), vec![server.fingerprint().clone()]), end(DtlsRole::Passive, &server, vec![identity().fingerprint().clone()])];
    run(&mut ends, &mut Luck(2), 0, 0);
    assert!(!matches!(ends[1].told, Some(Told::Keyed(_))));
}
