//! A border in a branch: Unified Messaging is at the centre, across the WAN, and the branch goes on without it (Lync's Survivable Branch Appliance).
//!
//! How it stands with the WAN is read from the liveness of the central pool's routers:
//!
//! | their watched addresses | the WAN |
//! |---|---|
//! | one is up, or draining (503 is an answer too) | up |
//! | all are down | down |
//! | there are none | not known; down, if it was: names of the centre that are not resolved any more do not bring it back |
//! | anything else: not known yet, doubted, recovering | as it was |
//!
//! So a lost answer or two do not bring it down, and it is up again only when an address has answered as often, and as long, as liveness wants of one
//! that flaps.

use std::sync::Arc;

use crate::policy::caller::{is_nobody, wants_anonymity};
use crate::policy::liveness::{Board, Liveness};
use crate::policy::security_mode::{between, interworks, leg_plan, mode_name};
use crate::policy::settings::{DialPlan, Peer, UmPool};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::Message;

/// `branch.toml`, what of it decides.
#[derive(Clone, PartialEq, Debug)]
pub struct Branch {
    /// The pool at the centre.
    pub um_pool: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wan {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Wan {
    pub const fn word(self) -> &'static str {
        match self {
            Wan::Unknown => "unknown",
            Wan::Up => "up",
            Wan::Down => "down",
        }
    }
}

/// How it stands with the WAN to the centre, where it stood so `before`.
pub fn wan(board: &Board, pool: &UmPool, before: Wan) -> Wan {
    let states: Vec<Liveness> = pool.routers.iter().flat_map(|name| board.addresses(name)).map(|(_, state)| *state).collect();
    let watched = || states.iter().filter(|state| **state != Liveness::Disabled);
    if watched().any(|state| matches!(state, Liveness::Up { .. } | Liveness::Draining { .. })) {
        Wan::Up
    } else if watched().next().is_some() && watched().all(|state| matches!(state, Liveness::Down { .. })) {
        Wan::Down
    } else if watched().next().is_none() && before != Wan::Down {
        Wan::Unknown
    } else {
        before
    }
}

/// Why the owner of a mailbox is told of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// The caller hung up before anything answered.
    CallerGaveUp,
    /// Neither UM nor its number on the PSTN could be had.
    NotDelivered,
}

impl Missed {
    pub const fn word(self) -> &'static str {
        match self {
            Missed::CallerGaveUp => "caller_gave_up",
            Missed::NotDelivered => "not_delivered",
        }
    }
}

/// Whether a call that was let in, was diverted from a mailbox and has ended makes a notice.
///
/// `answered`: something answered it with 2xx, UM or its number on the PSTN, whatever became of the call then: no notice, since the caller could leave a
/// message. `rerouted`: it was sent over the PSTN. What UM itself refused makes none either, for UM was asked and knows of the call; what the PSTN
/// refused does.
pub const fn missed(answered: bool, rerouted: bool, reason: Reason) -> Option<Missed> {
    match reason {
        _ if answered => None,
        Reason::Cancelled => Some(Missed::CallerGaveUp),
        Reason::Rejected | Reason::MediaUnacceptable if !rerouted => None,
        // It did answer, and ours or theirs could not be read.
        Reason::Malformed => None,
        _ => Some(Missed::NotDelivered),
    }
}

/// Whether this peer may be told of missed calls: a notice says who called whom, so it travels no worse than the signalling of the calls it may be of,
/// those of plans on `pool`, or of all plans where that is `None`. UM has the plan's mode, any other peer its own, as with calls.
pub fn messenger(plans: &[Arc<DialPlan>], pool: Option<&str>, peer: &Peer) -> Decision {
    for plan in plans.iter().filter(|plan| pool.is_none_or(|pool| *plan.um_pool.name == *pool)) {
        let mode = if peer.kind.is_um() { Ok(plan.mode) } else { between(peer.mode, plan.mode, interworks(&plan.interwork, &peer.name)).map(|(own, _)| own) };
        let reason = match mode {
            Ok(mode) if leg_plan(mode, peer).permits(peer.transport) => continue,
            Ok(_) => Reason::ModeTransport,
            Err(reason) => reason,
        };
        return Decision::refused("missed_calls", format!("dial plan \"{}\"", plan.name), reason)
            .comparing("plan", mode_name(plan.mode))
            .comparing("peer", peer.name.to_string())
            .comparing("mode", mode_name(peer.mode))
            .comparing("transport", peer.transport.via_token());
    }
    Decision::passed("missed_calls", format!("peer \"{}\"", peer.name))
}

/// Who called, as the owner of a mailbox is told: the number or address of From; `None` where it is withheld.
pub fn caller(plan: &DialPlan, invite: &Message) -> Option<String> {
    if wants_anonymity(invite) {
        return None;
    }
    let from = invite.from().ok()?;
    let uri = from.parsed_uri().ok().filter(|uri| !is_nobody(plan, uri))?;
    let user = uri.user_decoded();
    let is_number = user.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+');
    Some(plain(&if is_number { user.into_owned() } else { format!("{user}@{}", uri.host) }))
}

/// Longest text a notice carries of what others wrote, in characters.
const CHARACTERS: usize = 128;

/// One bounded line.
pub fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::policy::liveness::Doubt;
    use crate::time::Time;

    const UP: Liveness = Liveness::Up { since: Time::ZERO };
    const DOWN: Liveness = Liveness::Down { since: Time::ZERO, why: Reason::LivenessTimeout };
    const DRAINING: Liveness = Liveness::Draining { since: Time::ZERO, until: Time::ZERO };
    const RECOVERING: Liveness = Liveness::Probing(Doubt::Recovering { since: Time::ZERO, answers: 1, damped: None });
    const UNKNOWN: Liveness = Liveness::Probing(Doubt::NotKnown { failures: 2 });
    const DOUBTED: Liveness = Liveness::Probing(Doubt::Doubted { since: Time::ZERO, failures: 2, why: Reason::LivenessTimeout });

    fn board(states: &[Liveness]) -> Board {
        let mut board = Board::default();
        for (index, state) in states.iter().enumerate() {
            let peer = if index % 2 == 0 { "um1" } else { "um2" };
            board.set(&peer.into(), SocketAddr::from(([192, 0, 2, index as u8 + 1], 5060)), *state);
        }
        board
    }

    #[test]
    fn the_wan_is_down_when_every_address_is_and_up_when_one_is() {
        let pool = UmPool::new("um", vec!["um1".into(), "um2".into()]);
        for (states, before, now) in [
            (&[][..], Wan::Unknown, Wan::Unknown),
            (&[], Wan::Down, Wan::Down),
            (&[], Wan::Up, Wan::Unknown),
            (&[UNKNOWN], Wan::Unknown, Wan::Unknown),
            (&[UP, DOWN], Wan::Unknown, Wan::Up),
            (&[DOUBTED, DOWN], Wan::Up, Wan::Up),
            (&[DOWN, DOWN, DOWN], Wan::Up, Wan::Down),
            (&[DOWN, Liveness::Disabled], Wan::Up, Wan::Down),
            (&[Liveness::Disabled], Wan::Up, Wan::Unknown),
            (&[RECOVERING, DOWN], Wan::Down, Wan::Down),
            (&[RECOVERING, RECOVERING], Wan::Down, Wan::Down),
            (&[DRAINING, DOWN], Wan::Down, Wan::Up),
            (&[UP, RECOVERING], Wan::Down, Wan::Up),
        ] {
            assert_eq!(wan(&board(states), &pool, before), now, "{states:?} after {before:?}");
        }
        let elsewhere = UmPool::new("other", vec!["um9".into()]);
        assert_eq!(wan(&board(&[UP]), &elsewhere, Wan::Up), Wan::Unknown, "another pool's routers say nothing");
    }

    #[test]
    fn what_others_wrote_becomes_one_bounded_line() {
        assert_eq!(plain(&format!("a\r\nb\u{7f}{}", "9".repeat(4000))), format!("ab{}", "9".repeat(126)));
        let plan = DialPlan::new(
            "plan",
            crate::policy::settings::UriType::SipUri,
            4,
            crate::policy::settings::SecurityMode::Unsecured,
            UmPool::new("um", Vec::new()).into(),
        );
        let text = format!("INVITE sip:1@x SIP/2.0\r\nFrom: <sip:a%0d%0ab{}@x>;tag=1\r\n\r\n", "9".repeat(400));
        let invite = Message::parse(text.into(), &crate::sip::Limits::default()).unwrap();
        assert_eq!(caller(&plan, &invite), Some(format!("ab{}", "9".repeat(126))));
        for (privacy, known) in [("Privacy: none\r\nPrivacy: id", false), ("Privacy: none", true)] {
            let text = format!("INVITE sip:1@x SIP/2.0\r\nFrom: <sip:+1206@x>;tag=1\r\n{privacy}\r\n\r\n");
            let invite = Message::parse(text.into(), &crate::sip::Limits::default()).unwrap();
            assert_eq!(caller(&plan, &invite).is_some(), known, "{privacy}");
        }
    }

    #[test]
    fn a_notice_is_due_for_what_nothing_answered() {
        for (answered, rerouted, reason, due) in [
            (true, false, Reason::NormalClearing, None),
            (true, true, Reason::MediaSilent, None),
            (true, false, Reason::Cancelled, None),
            (false, false, Reason::Cancelled, Some(Missed::CallerGaveUp)),
            (false, true, Reason::Cancelled, Some(Missed::CallerGaveUp)),
            (false, false, Reason::TargetTimeout, Some(Missed::NotDelivered)),
            (false, false, Reason::RerouteLoop, Some(Missed::NotDelivered)),
            (false, false, Reason::Shutdown, Some(Missed::NotDelivered)),
            (false, false, Reason::NoAnswer, Some(Missed::NotDelivered)),
            (false, false, Reason::Rejected, None),
            (false, false, Reason::MediaUnacceptable, None),
            (false, true, Reason::Rejected, Some(Missed::NotDelivered)),
        ] {
            assert_eq!(missed(answered, rerouted, reason), due, "answered {answered}, rerouted {rerouted}, {reason}");
        }
    }
}
