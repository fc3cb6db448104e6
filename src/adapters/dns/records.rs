//! What of an answer's records answers the question (RFC 1034 §3.6.2, RFC 2181 §5.4.1): those of the name that was asked for, and of the names its
//! CNAME records lead to. Records of any other name are passed over, however they came there.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::{Name, RData, Record};

use super::status::Signed;
use crate::signaling::locating::{ADDRESSES, Answer, Naptr, RecordKind, SRV_RECORDS, Srv};

/// CNAME records followed in one answer.
const CHAIN: usize = 16;

/// An answer as the locating machine takes it, with what the machine does not need to know.
pub(super) struct Read {
    pub answer: Answer,
    /// The shortest of all records it rests on. `None`: no record does.
    pub ttl: Option<Duration>,
    /// Records of the kind asked for, and how many of them the machine takes.
    pub given: usize,
    pub kept: usize,
    /// Records that nobody asked for.
    pub unasked: usize,
    /// What DNSSEC says of the weakest record it rests on; `None`: it cannot say.
    pub signed: Option<Signed>,
}

/// `None`: the CNAME records lead in a circle.
pub(super) fn read(asked: &Name, kind: RecordKind, records: &[Record]) -> Option<Read> {
    let chain = follow(asked, records)?;
    let owner = chain.last().map_or(asked, |(_, target)| target).clone();
    let of_kind = |record: &&Record| fits(kind, &record.data);
    let (mine, others): (Vec<&Record>, Vec<&Record>) = records.iter().filter(of_kind).partition(|record| record.name == owner);
    let way = || chain.iter().map(|(record, _)| *record).chain(mine.iter().copied());
    let ttl = way().map(|record| record.ttl).min().map(|seconds| Duration::from_secs(seconds.into()));
    let mut answer = answer(kind, &mine);
    let (given, kept) = match &mut answer {
        Answer::Addresses(all) => (fewer(all), ADDRESSES),
        Answer::Srv(all) => (all.len(), SRV_RECORDS),
        Answer::Naptr(_) | Answer::None | Answer::Failed => (0, 0),
    };
    let signed = way().map(|record| signed(record.proof)).min().flatten();
    Some(Read { answer, ttl, given, kept, unasked: others.len(), signed })
}

/// Of more addresses than are taken always the same ones, whatever order the server gives them in. Says how many there were.
fn fewer(all: &mut Vec<IpAddr>) -> usize {
    if all.len() > ADDRESSES {
        all.sort_unstable();
        all.dedup();
    }
    let given = all.len();
    all.truncate(ADDRESSES);
    given
}

/// The CNAME records on the way, each with where it leads.
fn follow<'a>(asked: &'a Name, records: &'a [Record]) -> Option<Vec<(&'a Record, &'a Name)>> {
    let (mut owner, mut chain) = (asked, Vec::new());
    for _ in 0..CHAIN {
        let next = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((record, &target.0)),
            _ => None,
        });
        let Some(next) = next else { return Some(chain) };
        owner = next.1;
        chain.push(next);
    }
    None
}

const fn signed(proof: Proof) -> Option<Signed> {
    match proof {
        Proof::Secure => Some(Signed::Secure),
        Proof::Insecure => Some(Signed::Insecure),
        Proof::Bogus | Proof::Indeterminate => None,
    }
}

fn fits(kind: RecordKind, data: &RData) -> bool {
    match kind {
        RecordKind::Naptr => matches!(data, RData::NAPTR(_)),
        RecordKind::Srv => matches!(data, RData::SRV(_)),
        RecordKind::Ipv6 => matches!(data, RData::AAAA(_)),
        RecordKind::Ipv4 => matches!(data, RData::A(_)),
    }
}

fn answer(kind: RecordKind, records: &[&Record]) -> Answer {
    if records.is_empty() {
        return Answer::None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let data = records.iter().map(|record| &record.data);
    match kind {
        RecordKind::Naptr => Answer::Naptr(
            data.filter_map(|data| match data {
                RData::NAPTR(record) => Some(Naptr {
                    order: record.order,
                    preference: record.preference,
                    flags: text(&record.flags),
                    services: text(&record.services),
                    regexp: text(&record.regexp),
                    replacement: record.replacement.to_ascii(),
                }),
                _ => None,
            })
            .collect(),
        ),
        RecordKind::Srv => Answer::Srv(
            data.filter_map(|data| match data {
                RData::SRV(record) => Some(Srv { priority: record.priority, weight: record.weight, port: record.port, target: record.target.to_ascii() }),
                _ => None,
            })
            .collect(),
        ),
        RecordKind::Ipv6 | RecordKind::Ipv4 => Answer::Addresses(data.filter_map(RData::ip_addr).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn a(owner: &str, ttl: u32, address: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A(address.parse().unwrap())))
    }

    fn cname(owner: &str, ttl: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    #[test]
    fn records_of_names_nobody_asked_for_are_passed_over() {
        let records = [a("sip.example.", 60, "192.0.2.1"), a("evil.example.", 1, "10.0.0.1"), a("SIP.Example.", 50, "192.0.2.2")];
        let read = read(&name("sip.example."), RecordKind::Ipv4, &records).unwrap();
        assert_eq!(read.answer, Answer::Addresses(vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]));
        assert_eq!((read.unasked, read.ttl), (1, Some(Duration::from_secs(50))));
    }

    #[test]
    fn a_chain_of_cnames_is_followed_in_any_order_and_its_shortest_ttl_counts() {
        let records =
            [a("c.example.", 60, "192.0.2.3"), cname("b.example.", 7, "c.example."), cname("a.example.", 30, "b.example."), a("b.example.", 60, "192.0.2.9")];
        let read = read(&name("a.example."), RecordKind::Ipv4, &records).unwrap();
        assert_eq!(read.answer, Answer::Addresses(vec!["192.0.2.3".parse().unwrap()]));
        assert_eq!((read.unasked, read.ttl), (1, Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_circle_of_cnames_is_no_answer() {
        let records = [cname("a.example.", 30, "b.example."), cname("b.example.", 30, "a.example."), a("b.example.", 60, "192.0.2.9")];
        assert!(read(&name("a.example."), RecordKind::Ipv4, &records).is_none());
    }
}
