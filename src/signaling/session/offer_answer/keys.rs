//! Which `a=crypto` line holds (RFC 4568 §5.1, §7.1): choosing one of an offer, matching that of an answer, making our own.

use super::Supply;
use crate::media::control::{Protection, SrtpParameters};
use crate::policy::verdict::Reason;
use crate::sdp::Media;
use crate::sdp::crypto::{Crypto, MasterKey, Suite, SuiteName};

/// The lifetime we state where the peer stated one: SRTCP's bound, and what every peer that states one writes.
const LIFETIME: u64 = 1 << 31;

/// A line that we wrote, and whose key is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ours {
    /// One of ours: we protect by it.
    Own(Crypto),
    /// The other leg's peer's: it protects by it, we never do.
    Lent(Crypto),
}

impl Ours {
    pub fn line(&self) -> &Crypto {
        match self {
            Ours::Own(line) | Ours::Lent(line) => line,
        }
    }

    pub fn own(&self) -> Option<&Crypto> {
        match self {
            Ours::Own(line) => Some(line),
            Ours::Lent(_) => None,
        }
    }

    pub fn lent(&self) -> Option<&Crypto> {
        match self {
            Ours::Own(_) => None,
            Ours::Lent(line) => Some(line),
        }
    }

    /// How packets to the peer go out.
    pub fn protection(&self) -> Protection {
        match (self, protection(Some(self.line()))) {
            (Ours::Lent(_), Protection::Srtp(parameters)) => Protection::Shared(parameters),
            (_, protection) => protection,
        }
    }

    /// The other peer's key under a tag of this leg; the line in force if it is that one.
    pub fn lend(line: &Crypto, tag: u32, in_force: Option<&Ours>) -> Result<Ours, Reason> {
        if let Some(lent) = in_force.filter(|ours| ours.lent().is_some_and(|lent| is_same_key(lent, line))) {
            return Ok(lent.clone());
        }
        match (&line.suite, line.keys.first()) {
            (SuiteName::Known(suite), Some(key)) => Ok(Ours::Lent(Crypto::ours(tag, *suite, key.clone()))),
            _ => Err(Reason::MediaSharedKeys),
        }
    }
}

/// Whether two lines have one suite and one key, whatever their tags are.
pub(super) fn is_same_key(one: &Crypto, other: &Crypto) -> bool {
    one.suite == other.suite && one.keys == other.keys
}

/// The line of an offer to answer. The line in force stays in force if it is offered again, so that no context is reset. Otherwise the plan's best suite
/// wins; among lines of one suite one without MKI before one with (the offerer can do both, and MKI is where implementations fail), then the offer's order.
pub(super) fn choose(offered: &Media, suites: &[Suite], in_force: Option<&Crypto>) -> Result<Crypto, Reason> {
    let rank = |crypto: &Crypto| crypto.usable().ok().and_then(|suite| suites.iter().position(|allowed| *allowed == suite));
    let lines: Vec<(usize, Crypto)> = offered.cryptos().filter_map(Result::ok).filter_map(|crypto| Some((rank(&crypto)?, crypto))).collect();
    let same = |crypto: &Crypto| in_force.is_some_and(|current| current.suite == crypto.suite && current.keys == crypto.keys);
    let kept = lines.iter().find(|(_, crypto)| same(crypto));
    let best = kept.or_else(|| lines.iter().min_by_key(|(rank, crypto)| (*rank, crypto.has_mki())));
    best.map(|(_, crypto)| crypto.clone()).ok_or(Reason::MediaUnacceptable)
}

/// From an answer: (the peer's line, ours it goes with). An answer should have one line (§7.1.2); of several, as seen in the field, the first counts whose
/// tag and suite are those of a line we offered, and its form too if there is such a one: whoever repeats a key with an MKI and without sends as was offered.
pub(super) fn matching(answer: &Media, ours: &[Ours]) -> Result<(Crypto, Ours), Reason> {
    let pairs: Vec<(Crypto, Ours)> = answer
        .cryptos()
        .filter_map(Result::ok)
        .filter(|theirs| theirs.usable().is_ok())
        .filter_map(|theirs| {
            let ours = ours.iter().find(|ours| ours.line().tag == theirs.tag && ours.line().suite == theirs.suite)?.clone();
            Some((theirs, ours))
        })
        .collect();
    pairs.into_iter().min_by_key(|(theirs, ours)| theirs.has_mki() != ours.line().has_mki()).ok_or(Reason::MediaUnacceptable)
}

/// The lines of an offer of ours: one per suite, each with its own fresh key, no lifetime, no MKI.
pub(super) fn fresh(suites: &[Suite], supply: &mut dyn Supply) -> Vec<Ours> {
    (1..).zip(suites).map(|(tag, suite)| Ours::Own(Crypto::ours(tag, *suite, supply.key(*suite)))).collect()
}

/// Our line in answer to `chosen`: with an MKI exactly if it has one (of its value and length). Our key in force is kept while the suite and the MKI's length
/// stay, since a key under another form would start a new context and use its key stream twice.
pub(super) fn answering(chosen: &Crypto, in_force: Option<&Crypto>, supply: &mut dyn Supply) -> Result<Crypto, Reason> {
    let SuiteName::Known(suite) = chosen.suite else { return Err(Reason::MediaUnacceptable) };
    let their_key = chosen.keys.first().ok_or(Reason::MediaUnacceptable)?;
    let same_form = |ours: &&MasterKey| ours.mki.as_ref().map(Vec::len) == their_key.mki.as_ref().map(Vec::len);
    let key = match in_force.filter(|ours| ours.suite == chosen.suite).and_then(|ours| ours.keys.first()).filter(same_form) {
        Some(ours) => ours.clone(),
        None => {
            let mut key = supply.key(suite);
            key.mki = their_key.mki.clone();
            key.lifetime = their_key.mki.as_ref().and(their_key.lifetime).map(|_| LIFETIME);
            key
        }
    };
    Ok(Crypto::ours(chosen.tag, suite, key))
}

/// A line as the media plane knows it; no line: plain RTP.
pub(super) fn protection(line: Option<&Crypto>) -> Protection {
    match line.map(|line| (&line.suite, line)) {
        Some((SuiteName::Known(suite), line)) => Protection::Srtp(SrtpParameters { suite: *suite, keys: line.keys.clone() }),
        _ => Protection::Plain,
    }
}
