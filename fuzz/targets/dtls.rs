//! Two DTLS associations with any bytes between them: what goes from one to the other is delivered, damaged or lost as the input says, and what it holds is put
//! in besides. No panic, no flood in answer to a datagram; each end speaks once; whatever a stranger put in, two ends that have keys have the same.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use portcullis::adapters::media::association::{Association, Identity, Keys, Told};
use portcullis::media::control::{DtlsParameters, DtlsRole};
use portcullis::sdp::crypto::Suite;
use portcullis::time::Time;

use super::pieces::pieces;

/// Datagrams one input may make an end send: a few flights.
const FLOOD: usize = 64;
/// As much as the association wants to have for what it hands out.
const SCRATCH: usize = 128 * 1024;

struct End {
    association: Association,
    keys: Option<Keys>,
    has_told: bool,
    sent: Vec<Vec<u8>>,
}

enum Input<'a> {
    Begin,
    Datagram(&'a [u8]),
    Time,
}

pub fn run(data: &[u8]) {
    let Some((&shape, rest)) = data.split_first() else { return };
    let [client, server] = identities();
    // A peer may not be who was announced.
    let announced = if shape & 1 == 0 { server } else { client };
    let mut ends = [end(DtlsRole::Active, client, announced), end(DtlsRole::Passive, server, client)];
    let (mut now, mut scratch) = (Time::from_millis(1), vec![0; SCRATCH]);
    ends[0].feed(now, Input::Begin, &mut scratch);
    for (what, piece) in pieces(rest).take(48) {
        let to = usize::from(what & 1);
        match what >> 1 & 3 {
            0 => ends[to].feed(now, Input::Datagram(piece), &mut scratch),
            3 => now = now + Duration::from_millis(u64::from(what) * 8),
            damaged => {
                let flying = std::mem::take(&mut ends[1 - to].sent);
                for (n, mut datagram) in flying.into_iter().enumerate() {
                    // One of them, or all.
                    if damaged == 2 && (what >> 3 == 0 || usize::from(what >> 3) == n + 1) {
                        alter(&mut datagram, piece);
                    }
                    ends[to].feed(now, Input::Datagram(&datagram), &mut scratch);
                }
            }
        }
        for end in &mut ends {
            if end.association.due().is_some_and(|due| due <= now) {
                end.feed(now, Input::Time, &mut scratch);
            }
        }
    }
    if let [Some(client), Some(server)] = ends.each_ref().map(|end| end.keys.as_ref()) {
        assert_eq!((&client.receive, &client.transmit), (&server.transmit, &server.receive));
    }
    assert!(shape & 1 == 0 || ends[0].keys.is_none(), "the server is not who was announced");
}

/// Pairs of a place and what is changed there; an odd byte shortens.
fn alter(datagram: &mut Vec<u8>, by: &[u8]) {
    for pair in by.chunks(2) {
        match (pair, datagram.len()) {
            (_, 0) => {}
            ([at, with], length) => datagram[usize::from(*at) % length] ^= with,
            (&[less], length) => datagram.truncate(length - usize::from(less) % length),
            _ => {}
        }
    }
}

impl End {
    fn feed(&mut self, now: Time, input: Input<'_>, scratch: &mut [u8]) {
        let before = self.sent.len();
        let sent = &mut self.sent;
        let mut send = |bytes: &[u8]| sent.push(bytes.to_vec());
        let told = match input {
            Input::Begin => self.association.begin(now, scratch, &mut send),
            Input::Datagram(datagram) => self.association.datagram(now, datagram, scratch, &mut send),
            Input::Time => self.association.timeout(now, scratch, &mut send),
        };
        assert!(self.sent.len() - before <= FLOOD, "{} datagrams in answer to one", self.sent.len() - before);
        self.sent.truncate(2 * FLOOD);
        if let Some(told) = told {
            assert!(!std::mem::replace(&mut self.has_told, true), "an association speaks once");
            if let Told::Keyed(keys) = told {
                self.keys = Some(*keys);
            }
        }
    }
}

fn identities() -> &'static [Arc<Identity>; 2] {
    static IDENTITIES: OnceLock<[Arc<Identity>; 2]> = OnceLock::new();
    IDENTITIES.get_or_init(|| [(); 2].map(|()| Arc::new(Identity::generate().expect("a certificate"))))
}

fn end(role: DtlsRole, own: &Arc<Identity>, peer: &Arc<Identity>) -> End {
    let fingerprints = vec![peer.fingerprint().clone()];
    let terms = Arc::new(DtlsParameters { association: 1, identity: 0, role: Some(role), fingerprints, suites: vec![Suite::AesCm128HmacSha1_80], ice: None });
    let association = Association::new(terms, role, Arc::clone(own), Instant::now(), Time::ZERO).expect("an association");
    End { association, keys: None, has_told: false, sent: Vec::new() }
}
