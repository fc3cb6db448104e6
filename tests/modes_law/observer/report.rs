//! What the call record says of each leg, compared with what was on the wire.

use portcullis::media::control::Side;
use portcullis::signaling::fact::{CallRecord, LegRecord};

use super::{Observer, Rule};
use crate::world::{PEERS, Secured, SecurityMode, Tls, Transport, Unsecured};

impl Observer {
    /// What is told of a leg when it is opened.
    pub(super) fn opened(&mut self, side: Side, peer: &str, mode: SecurityMode, transport: Transport) {
        let Some(call) = self.current() else { return self.breaks(Rule::Misreported, format!("leg {side} of no call is opened")) };
        let Some(party) = PEERS.into_iter().find(|party| party.name() == peer) else {
            return self.breaks(Rule::Misreported, format!("a leg with nobody known: {peer}"));
        };
        let (low, high) = self.range(call, party);
        let carries = mode == Unsecured || transport == Tls;
        if mode < low || high < mode || !carries {
            self.breaks(Rule::Misreported, format!("leg {side} with {party:?} is opened as {mode:?} by {transport}, demanded {low:?} to {high:?}"));
        }
    }

    pub(super) fn reported(&mut self, record: &CallRecord) {
        let Some(call) = self.calls.iter().position(|call| call.a == record.a.call_id) else {
            return self.breaks(Rule::Misreported, "a record of no call");
        };
        let answered = record.answered.is_some();
        self.compare(call, "A", &record.a, answered);
        match (&record.b, self.calls[call].b.clone()) {
            (Some(leg), Some(_)) => self.compare(call, "B", leg, answered),
            (None, None) => {}
            (leg, dialog) => self.breaks(Rule::Misreported, format!("B leg in the record: {}, on the wire: {}", leg.is_some(), dialog.is_some())),
        }
    }

    fn compare(&mut self, call: usize, name: &str, leg: &LegRecord, answered: bool) {
        let Some(dialog) = self.dialogs.get(&leg.call_id) else { return self.breaks(Rule::Misreported, format!("leg {name} has a Call-ID of no dialog")) };
        let party = dialog.party;
        let went_on = self.calls[call].went_on;
        let own = |mode| self.calls.iter().any(|call| call.world.kind(party).mode == mode);
        let Some(seen) = dialog.legs.iter().find(|leg| leg.party == party) else { return };
        let mut wrong = Vec::new();
        // A call that was refused before it had a second leg says what its peer is set to, or was when it still has another call.
        let mode_right = if went_on { seen.low <= leg.mode && leg.mode <= seen.high } else { own(leg.mode) || leg.mode == seen.low };
        let checks = [
            (*leg.peer == *party.name(), "peer"),
            (mode_right, "mode"),
            (seen.transports.is_empty() || seen.transports.contains(&leg.transport), "transport"),
            (leg.tls.is_none() || leg.transport == Tls, "TLS on another transport"),
            (!answered || leg.tls.is_some() == (leg.transport == Tls), "TLS"),
            (leg.suite.is_none_or(|suite| seen.suites.iter().any(|sent| sent == suite.name())), "suite that was never sent"),
            (leg.suite.is_none() || leg.mode == Secured, "suite below Secured"),
            (!(answered && seen.ran_srtp) || leg.suite.is_some(), "no suite though SRTP ran"),
            (leg.suite.is_none() || seen.ran_srtp, "a suite though no SRTP ran"),
        ];
        wrong.extend(checks.iter().filter(|(right, _)| !right).map(|(_, what)| *what));
        if !wrong.is_empty() {
            let what = format!("leg {name} with {party:?}: {wrong:?}: record {leg:?}, seen {seen:?}");
            self.breaks(Rule::Misreported, what);
        }
    }
}
