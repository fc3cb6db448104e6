//! The last calls' facts in bounded memory, for the ladder. Keys and credentials are blotted out before anything is kept.
//!
//! What is under way is worth more than what is over, and a call more than an exchange outside calls: OPTIONS come every few seconds from every peer, and must not
//! push out the call that is asked about. So the oldest exchanges go first, then the oldest calls that have ended, and calls that are up last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::Settings;
use super::drawing::Drawing;
use super::trace::{Order, Standing, Tracing};
use crate::adapters::telemetry::redact::{clean, redact};
use crate::adapters::telemetry::wall::Anchor;
use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::signaling::fact::{CallId, Fact, What};
use crate::time::Time;

/// What a fact without a message takes, about.
const NOTE_BYTES: usize = 512;
/// Facts of a call as it comes to pass, as a rule.
const USUAL: usize = 28;
/// Exchanges outside calls that are kept.
const EXCHANGES: usize = 256;

pub(in crate::adapters::telemetry) struct Ladders {
    settings: Settings,
    calls: HashMap<CallId, Kept>,
    /// Numbers count up, so the first of a set is the oldest.
    exchanges: BTreeSet<CallId>,
    up: BTreeSet<CallId>,
    ended: BTreeSet<CallId>,
    /// Of calls of a process before this one: a [`Drawing`] each, in JSON.
    inherited: BTreeMap<CallId, Bytes>,
    bytes: usize,
    tracing: Tracing,
}

struct Kept {
    facts: Vec<Fact>,
    left_out: u64,
    bytes: usize,
    stage: Stage,
    began: Time,
    who: Who,
}

/// Between whom.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Who {
    pub from: String,
    pub to: String,
    /// The peers of the legs.
    pub a: Option<Arc<str>>,
    pub b: Option<Arc<str>>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No call, or not known to be one yet.
    Exchange,
    Setup,
    Answered,
    Ended(Reason),
}

/// One call whose signalling is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub call: CallId,
    pub began: Time,
    pub stage: Stage,
    pub who: Who,
    /// Messages and notes.
    pub entries: usize,
}

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    pub calls: usize,
    pub exchanges: usize,
    /// As reckoned for the limit.
    pub bytes: usize,
}

impl Ladders {
    pub fn new(settings: Settings) -> Ladders {
        Ladders {
            settings,
            calls: HashMap::new(),
            exchanges: BTreeSet::new(),
            up: BTreeSet::new(),
            ended: BTreeSet::new(),
            inherited: BTreeMap::new(),
            bytes: 0,
            tracing: Tracing::default(),
        }
    }

    /// Facts of no call are not kept.
    pub fn keep(&mut self, mut fact: Fact) {
        let Some(call) = fact.call else { return };
        if self.settings.calls == 0 {
            return;
        }
        let kept = self.calls.entry(call).or_insert_with(|| {
            self.exchanges.insert(call);
            Kept { facts: Vec::new(), left_out: 0, bytes: 0, stage: Stage::Exchange, began: fact.at, who: Who::default() }
        });
        let before = kept.stage;
        kept.note(&fact.what);
        let stage = kept.stage;
        // The end of a call is worth more than one message more.
        if kept.facts.len() >= self.settings.entries && !matches!(fact.what, What::CallEnded(_)) {
            kept.left_out += 1;
            return;
        }
        self.tracing.note(call, &fact, kept.facts.len());
        let mut size = NOTE_BYTES;
        if let What::Received { bytes, .. } | What::Sent { bytes, .. } = &mut fact.what {
            // A copy: the original may be a slice of a large receive buffer.
            *bytes = redact(bytes);
            size += bytes.len();
        }
        kept.facts.push(fact);
        kept.bytes += size;
        self.bytes += size;
        if before != stage {
            self.group(before).remove(&call);
            self.group(stage).insert(call);
        }
        self.make_room();
    }

    /// What is too much by the new bounds goes at once, and with it what was traced where that is not allowed any more.
    pub fn resize(&mut self, settings: Settings) {
        if !settings.traces {
            self.tracing.stop();
        }
        self.settings = settings;
        self.make_room();
    }

    /// One of a process before this one, as it was drawn there. It goes before any of our own.
    pub fn inherit(&mut self, call: CallId, drawing: Bytes) {
        self.bytes += NOTE_BYTES + drawing.len();
        if let Some(former) = self.inherited.insert(call, drawing) {
            self.bytes = self.bytes.saturating_sub(NOTE_BYTES + former.len());
        }
        self.make_room();
    }

    pub fn inherited(&self, call: CallId) -> Option<Bytes> {
        self.inherited.get(&call).cloned()
    }

    /// Calls that have ended and are held, newest first.
    pub fn ended(&self) -> Vec<CallId> {
        self.ended.iter().rev().copied().collect()
    }

    fn group(&mut self, stage: Stage) -> &mut BTreeSet<CallId> {
        match stage {
            Stage::Exchange => &mut self.exchanges,
            Stage::Setup | Stage::Answered => &mut self.up,
            Stage::Ended(_) => &mut self.ended,
        }
    }

    fn make_room(&mut self) {
        loop {
            let too_much = self.bytes > self.settings.bytes;
            let too_many = self.inherited.len() + self.up.len() + self.ended.len() > self.settings.calls;
            let oldest = if too_much || self.exchanges.len() > EXCHANGES.min(self.settings.calls) { self.exchanges.pop_first() } else { None };
            if oldest.is_none()
                && (too_much || too_many)
                && let Some((_, gone)) = self.inherited.pop_first()
            {
                self.bytes = self.bytes.saturating_sub(NOTE_BYTES + gone.len());
                continue;
            }
            let oldest = oldest.or_else(|| if too_much || too_many { self.ended.pop_first().or_else(|| self.up.pop_first()) } else { None });
            let Some(oldest) = oldest else { return };
            if let Some(gone) = self.calls.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(gone.bytes);
                self.tracing.forget(oldest);
            }
        }
    }

    /// What is held of a call, and how much of it was not kept.
    pub fn facts(&self, call: CallId) -> Option<(Vec<Fact>, u64)> {
        self.calls.get(&call).map(|kept| (kept.facts.clone(), kept.left_out))
    }

    /// The ladder of a call that is held.
    pub fn drawn(&self, call: CallId, anchor: &Anchor) -> Option<Drawing> {
        let kept = self.calls.get(&call)?;
        Some(Drawing { left_out: kept.left_out, ..Drawing::of_kept(&kept.facts, anchor) })
    }

    /// The same with messages as they were; `None`: the call is not held, or not traced.
    pub fn facts_with_secrets(&mut self, call: CallId, now: Time) -> Option<(Vec<Fact>, u64)> {
        let (facts, left_out) = self.facts(call)?;
        Some((self.tracing.restored(call, facts, now)?, left_out))
    }

    /// The settings allow it.
    pub fn may_trace(&self) -> bool {
        self.settings.traces
    }

    /// Nothing, if the settings do not allow it.
    pub fn trace(&mut self, order: Order) {
        if self.settings.traces {
            self.tracing.start(order);
        }
    }

    pub fn trace_no_more(&mut self) {
        self.tracing.stop();
    }

    pub fn traced(&mut self, now: Time) -> Standing {
        self.tracing.standing(now)
    }

    /// Calls held, oldest first.
    pub fn calls(&self) -> Vec<CallId> {
        let all: BTreeSet<CallId> = self.exchanges.iter().chain(&self.up).chain(&self.ended).copied().collect();
        all.into_iter().collect()
    }

    /// Those that are wanted, newest first, at most so many.
    pub fn held(&self, wanted: &dyn Fn(&Held) -> bool, most: usize) -> Vec<Held> {
        let all = self.calls().into_iter().rev().filter_map(|call| {
            let kept = self.calls.get(&call)?;
            Some(Held { call, began: kept.began, stage: kept.stage, who: kept.who.clone(), entries: kept.facts.len() })
        });
        all.filter(wanted).take(most).collect()
    }

    pub fn load(&self) -> Load {
        Load { calls: self.up.len() + self.ended.len(), exchanges: self.exchanges.len(), bytes: self.bytes }
    }
}

impl Kept {
    fn note(&mut self, what: &What) {
        match what {
            What::CallBegan { peer, from, to } => {
                // What most calls have: growing by doubling would copy them three times.
                self.facts.reserve(USUAL);
                self.stage = Stage::Setup;
                self.who = Who { from: clean(from), to: clean(to), a: Some(Arc::clone(peer)), b: None };
            }
            What::LegOpened { side: Side::A, peer, .. } => self.who.a = Some(Arc::clone(peer)),
            What::LegOpened { side: Side::B, peer, .. } => self.who.b = Some(Arc::clone(peer)),
            What::CallAnswered => self.stage = Stage::Answered,
            What::CallEnded(record) => {
                self.stage = Stage::Ended(record.reason);
                self.who.from = clean(&record.from);
                self.who.to = clean(&record.to);
                self.who.a.get_or_insert_with(|| Arc::clone(&record.a.peer));
            }
            What::Malformed { peer, .. } if self.stage == Stage::Exchange => self.who.a = Some(Arc::clone(peer)),
            What::Received { bytes, .. } | What::Sent { bytes, .. } if self.stage == Stage::Exchange && self.who == Who::default() => {
                // The request line: what is asked, and of whom.
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(&line[..line.len().min(512)]);
                let mut words = line.split(' ').filter(|_| !line.starts_with("SIP/"));
                self.who.from = clean(words.next().unwrap_or_default());
                self.who.to = clean(words.next().unwrap_or_default());
            }
            What::Standalone { method, peer, .. } => {
                self.who.from = clean(method);
                self.who.a = Some(Arc::clone(peer));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    fn began(call: u64) -> Fact {
        let what = What::CallBegan { peer: "trunk".into(), from: format!("sip:{call}@x"), to: "sip:5000@x".into() };
        Fact { at: Time::from_millis(call), call: Some(CallId(call)), what }
    }

    fn sent(call: u64, size: usize) -> Fact {
        let what = What::Sent {
            leg: None,
            transport: Transport::Tcp,
            remote: ([127, 0, 0, 1], 5060).into(),
            over: None,
            bytes: Bytes::from(vec![b'x'; size]),
            retransmission: false,
        };
        Fact { at: Time::from_millis(call), call: Some(CallId(call)), what }
    }

    fn answered(call: u64) -> Fact {
        Fact { at: Time::from_millis(call), call: Some(CallId(call)), what: What::CallAnswered }
    }

    fn held(ladders: &Ladders) -> Vec<u64> {
        ladders.calls().into_iter().map(|call| call.0).collect()
    }

    #[test]
    fn a_fact_is_no_larger_than_it_is_reckoned() {
        assert!(size_of::<Fact>() <= NOTE_BYTES, "{}", size_of::<Fact>());
    }

    #[test]
    fn exchanges_outside_calls_push_no_call_out() {
        let mut ladders = Ladders::new(Settings { calls: 300, entries: 20, bytes: 64 << 20, ..Settings::default() });
        ladders.keep(began(1));
        (2..5000).for_each(|call| ladders.keep(sent(call, 400)));
        assert_eq!(held(&ladders)[..2], [1, 5000 - EXCHANGES as u64]);
        assert_eq!(ladders.load().exchanges, EXCHANGES);
    }

    #[test]
    fn what_is_inherited_goes_before_what_is_our_own() {
        let mut ladders = Ladders::new(Settings { calls: 3, entries: 20, bytes: 100_000, ..Settings::default() });
        (7..10).for_each(|call| ladders.inherit(CallId(call), Bytes::from(vec![b'x'; 1000])));
        ladders.inherit(CallId(9), Bytes::from_static(b"{}"));
        assert_eq!(ladders.bytes, 3 * NOTE_BYTES + 2002);
        ladders.keep(began(10));
        ladders.keep(began(11));
        let there = |ladders: &Ladders| [7, 8, 9].map(|call| ladders.inherited(CallId(call)).is_some());
        assert_eq!((there(&ladders), held(&ladders)), ([false, false, true], vec![10, 11]));
        ladders.keep(sent(11, 98_000));
        assert_eq!((there(&ladders), held(&ladders)), ([false; 3], vec![10, 11]), "room is made for what is under way");
        ladders.inherit(CallId(9), Bytes::from(vec![b'x'; 100_000]));
        assert_eq!((there(&ladders), held(&ladders)), ([false; 3], vec![10, 11]));
        assert_eq!(ladders.bytes, ladders.calls.values().map(|kept| kept.bytes).sum::<usize>());
    }

    #[test]
    fn the_bytes_hold_whatever_comes_and_the_newest_stays() {
        let mut ladders = Ladders::new(Settings { calls: 1000, entries: 20, bytes: 100_000, ..Settings::default() });
        for call in 1..500 {
            ladders.keep(began(call));
            ladders.keep(answered(call));
            ladders.keep(sent(call, 3000));
            assert!(ladders.load().bytes <= 100_000, "{:?}", ladders.load());
        }
        assert_eq!(held(&ladders).last(), Some(&499));
        assert_eq!(ladders.load().bytes, ladders.calls.values().map(|kept| kept.bytes).sum::<usize>());
        let before = ladders.load();
        ladders.keep(sent(500, 200_000));
        assert_eq!(ladders.load(), before, "what is larger than all room is not kept, and pushes nothing out");
    }

    #[test]
    fn a_call_that_goes_on_for_ever_says_how_much_of_it_is_not_kept() {
        let mut ladders = Ladders::new(Settings { calls: 2, entries: 10, bytes: 1 << 20, ..Settings::default() });
        (0..25).for_each(|_| ladders.keep(sent(1, 10)));
        let (facts, left_out) = ladders.facts(CallId(1)).unwrap();
        assert_eq!((facts.len(), left_out), (10, 15));
    }

    #[test]
    fn other_bounds_hold_at_once_and_what_may_not_be_traced_any_more_is_wiped() {
        let mut ladders = Ladders::new(Settings { traces: true, ..Settings::default() });
        ladders.trace(Order { peer: None, calls: 10, until: Time::from_millis(1000) });
        (1..=9).for_each(|call| ladders.keep(began(call)));
        ladders.resize(Settings { calls: 3, traces: true, ..Settings::default() });
        assert_eq!(held(&ladders), [7, 8, 9], "the newest stay");
        assert!(ladders.traced(Time::ZERO).order.is_some());
        ladders.resize(Settings { calls: 3, traces: false, ..Settings::default() });
        assert_eq!(ladders.traced(Time::ZERO), Standing::default());
        ladders.trace(Order { peer: None, calls: 10, until: Time::from_millis(1000) });
        assert_eq!(ladders.traced(Time::ZERO), Standing::default(), "not allowed");
        ladders.resize(Settings { calls: 0, ..Settings::default() });
        ladders.keep(began(10));
        assert_eq!((held(&ladders), ladders.load()), (Vec::new(), Load::default()), "none are kept");
        ladders.resize(Settings::default());
        ladders.keep(began(11));
        assert_eq!(held(&ladders), [11]);
    }

    #[test]
    fn calls_held_are_found_by_what_is_known_of_them() {
        let mut ladders = Ladders::new(Settings::default());
        (1..=3).for_each(|call| ladders.keep(began(call)));
        ladders.keep(answered(2));
        let up = ladders.held(&|held| held.stage == Stage::Answered, 10);
        assert_eq!(up.iter().map(|held| (held.call.0, held.who.from.as_str())).collect::<Vec<_>>(), [(2, "sip:2@x")]);
        assert_eq!(ladders.held(&|_| true, 2).iter().map(|held| held.call.0).collect::<Vec<_>>(), [3, 2], "newest first");
    }
}
