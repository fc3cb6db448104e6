//! What stands above a ladder: of each leg its mode, what TLS came to, how its media is protected. Of a call that has ended the call record tells; of
//! one that goes on, what was seen so far.

use crate::adapters::telemetry::redact::clean;
use crate::adapters::telemetry::summary::read;
use crate::media::control::Side;
use crate::policy::security_mode::mode_name;
use crate::sdp::Description;
use crate::sdp::crypto::Suite;
use crate::signaling::fact::{Fact, LegRecord, What};

/// In the order of the legs. `leg A trunk: secured, TLS, TLSv1.3 TLS13_AES_256_GCM_SHA384, SRTP AES_CM_128_HMAC_SHA1_80, PCMA/8000`
pub(super) fn lines(facts: &[&Fact]) -> Vec<String> {
    let record = facts.iter().rev().find_map(|fact| if let What::CallEnded(record) = &fact.what { Some(record) } else { None });
    match record {
        Some(record) => [(Side::A, Some(&record.a)), (Side::B, record.b.as_ref())].into_iter().filter_map(|(side, leg)| Some(line(side, leg?))).collect(),
        None => [Side::A, Side::B].into_iter().filter_map(|side| Some(line(side, &so_far(side, facts)?))).collect(),
    }
}

/// The record of a leg as it would be by now.
fn so_far(side: Side, facts: &[&Fact]) -> Option<LegRecord> {
    let mut leg: Option<LegRecord> = None;
    for fact in facts {
        match (&fact.what, &mut leg) {
            (What::LegOpened { side: of, peer, mode, transport, remote }, _) if *of == side => {
                let (peer, mode, transport, remote) = (peer.clone(), *mode, *transport, *remote);
                leg = Some(LegRecord { peer, call_id: String::new(), transport, remote, tls: None, mode, suite: None, codec: None, simulator: false });
            }
            (What::Received { leg: Some(of), flow, bytes, .. }, Some(leg)) if *of == side => {
                leg.tls = flow.tls.clone().or(leg.tls.take());
                note_media(leg, bytes);
            }
            (What::Sent { leg: Some(of), bytes, .. }, Some(leg)) if *of == side => note_media(leg, bytes),
            _ => {}
        }
    }
    // The caller's INVITE came before its leg was opened.
    let from_caller = |fact: &&&Fact| matches!(fact.what, What::Received { leg: Some(of), .. } if of == side);
    if let (Some(leg), Some(What::Received { flow, .. })) = (&mut leg, facts.iter().find(from_caller).map(|fact| &fact.what)) {
        leg.tls = leg.tls.take().or(flow.tls.clone());
    }
    leg
}

/// A description with one line of keys says which suite it is; one with several only offers them.
fn note_media(leg: &mut LegRecord, bytes: &bytes::Bytes) {
    let Some(message) = read(bytes) else { return };
    let Some(description) = message.sdp().and_then(|sdp| Description::parse(sdp).ok()) else { return };
    let Some(media) = description.media.iter().find(|media| media.is_audio() && media.port != 0) else { return };
    // The keys are blotted out by now, so that a line cannot be read as one.
    let mut names = media.named("crypto").filter_map(|line| line.text()?.split_ascii_whitespace().nth(1));
    if let (Some(name), None) = (names.next(), names.next()) {
        leg.suite = Suite::ALL.into_iter().find(|suite| suite.name() == name).or(leg.suite);
    }
    let first = media.formats.first().map_or("", |format| format.as_str());
    leg.codec = media.rtpmap_of(first).map(|map| map.label()).or(leg.codec.take());
}

fn line(side: Side, leg: &LegRecord) -> String {
    let tls = leg.tls.as_deref().map_or_else(String::new, |tls| format!(", {} {}", tls.version, tls.cipher));
    let media = match (leg.suite, &leg.codec) {
        (Some(suite), _) => format!(", SRTP {}", suite.name()),
        (None, Some(_)) => ", RTP".to_owned(),
        // Never agreed, or declined.
        (None, None) => ", no media".to_owned(),
    };
    let codec = leg.codec.as_deref().map_or_else(String::new, |codec| format!(", {}", clean(codec)));
    format!("leg {side} {}: {}, {}{tls}{media}{codec}", leg.peer, mode_name(leg.mode), leg.transport)
}
