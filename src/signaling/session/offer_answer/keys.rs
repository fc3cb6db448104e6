//! Which `a=crypto` line holds (RFC 4568 §5.1, §7.1): choosing one of an offer, matching that of an answer, making our own.

use super::Supply;
use crate::media::control::{Protection, SrtpParameters};
use crate::policy::verdict::Reason;
use crate::sdp::Media;
use crate::sdp::crypto::{Crypto, MasterKey, Suite, SuiteName};

/// The lifetime we state where the peer stated one: SRTCP's bound, and what every peer that states one writes.
const LIFETIME: u64 = 1 << 31;

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
pub(super) fn matching(answer: &Media, ours: &[Crypto]) -> Result<(Crypto, Crypto), Reason> {
    let pairs: Vec<(Crypto, Crypto)> = answer
        .cryptos()
        .filter_map(Result::ok)
        .filter(|theirs| theirs.usable().is_ok())
        .filter_map(|theirs| {
            let ours = ours.iter().find(|ours| ours.tag == theirs.tag && ours.suite == theirs.suite)?.clone();
            Some((theirs, ours))
        })
        .collect();
    pairs.into_iter().min_by_key(|(theirs, ours)| theirs.has_mki() != ours.has_mki()).ok_or(Reason::MediaUnacceptable)
}

/// The lines of an offer of ours: one per suite, each with its own fresh key, no lifetime, no MKI.
pub(super) fn fresh(suites: &[Suite], supply: &mut dyn Supply) -> Vec<Crypto> {
    (1..).zip(suites).map(|(tag, suite)| Crypto::ours(tag, *suite, supply.key(*suite))).collect()
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
