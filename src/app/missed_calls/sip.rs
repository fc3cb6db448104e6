//! Notices over SIP (RFC 3428 MESSAGE, or NOTIFY): the core sends them, and says what was answered by a fact.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::delivery::{Carried, Carrier};
use crate::adapters::driver::Input;
use crate::adapters::store::Notice;
use crate::config::SipTarget;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::missed_call::Carriage;
use crate::signaling::event::{Command, Event};

/// The core answers within 28 s, [`crate::signaling::b2bua::errand::LONGEST`]; after this it never will.
const LONGEST: Duration = Duration::from_secs(40);

/// What the core made of an attempt.
type Answer = (u16, Reason);

/// The one notice whose answer is waited for.
#[derive(Clone, Default)]
pub struct Awaited(Arc<Mutex<Option<Waiting>>>);

struct Waiting {
    id: Arc<str>,
    answer: oneshot::Sender<Answer>,
}

impl Awaited {
    fn expect(&self, id: &Arc<str>) -> oneshot::Receiver<Answer> {
        let (answer, answer_in) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Waiting { id: id.clone(), answer });
        answer_in
    }

    /// An answer nobody waits for any more is passed over: the notice comes again under its id.
    pub fn answer(&self, id: &str, status: u16, reason: Reason) {
        let mut awaited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = awaited.take_if(|waiting| *waiting.id == *id) {
            // Whoever waited may have given up this moment.
            let _ = waiting.answer.send((status, reason));
        }
    }
}

pub struct OverSip {
    pub target: SipTarget,
    /// To the core.
    pub commands: UnboundedSender<Input>,
    pub awaited: Awaited,
}

impl Carrier for OverSip {
    fn carry(&self, notice: Notice) -> Pin<Box<dyn Future<Output = Carried> + Send + '_>> {
        Box::pin(async move {
            let id: Arc<str> = notice.id.into();
            let answer = self.awaited.expect(&id);
            let SipTarget { peer, uri, by } = self.target.clone();
            let carriage = Box::new(Carriage { id, peer, uri, by, body: notice.body });
            if self.commands.send(Input::Event(Event::Command(Command::Carry(carriage)))).is_err() {
                return Carried::Failed("the border is stopping".into(), None);
            }
            match timeout(LONGEST, answer).await {
                Ok(Ok((status, reason))) => judged(status, reason),
                Ok(Err(_)) | Err(_) => Carried::Failed("the core did not say what came of it".into(), None),
            }
        })
    }
}

/// What a final status means for the notice.
///
/// | answer | the notice |
/// |---|---|
/// | 2xx | is delivered |
/// | 400, 413, 414, 415, 420, 493, 513, 606 | is parked: its content is refused, and it will not be another |
/// | 408, 430, 480, 486, 491, 600, other 5xx, none | is tried again for as long as it takes |
/// | anything else: 3xx (never followed), 401, 403, 404, 405, 489, 501, 505, 603, … | is parked after some attempts: address, method or trust may be wrong |
fn judged(status: u16, reason: Reason) -> Carried {
    let said = match reason {
        Reason::Answered | Reason::RequestRefused => format!("SIP {status}"),
        _ => return Carried::Failed(format!("SIP {status}, {reason}: {}", reason.meaning()), None),
    };
    match status {
        200..=299 => Carried::Taken,
        400 | 413 | 414 | 415 | 420 | 493 | 513 | 606 => Carried::Poison(said),
        501 | 505 => Carried::Doubtful(said),
        408 | 430 | 480 | 486 | 491 | 500..=599 | 600 => Carried::Failed(said, None),
        _ => Carried::Doubtful(said),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::signaling::b2bua::missed_call::By;

    fn notice() -> Notice {
        Notice { id: "one".into(), mailbox: "1000".into(), time: String::new(), body: "{\"id\":\"one\"}".into() }
    }

    fn carrier() -> (OverSip, mpsc::UnboundedReceiver<Input>) {
        let (commands, commands_in) = mpsc::unbounded_channel();
        let target = SipTarget { peer: "centre".into(), uri: "sip:missed-calls@um.example.com".into(), by: By::Message };
        (OverSip { target, commands, awaited: Awaited::default() }, commands_in)
    }

    #[tokio::test]
    async fn the_core_gets_the_notice_and_its_answer_settles_it() {
        let (carrier, mut core) = carrier();
        let awaited = carrier.awaited.clone();
        let core = async {
            let Some(Input::Event(Event::Command(Command::Carry(carriage)))) = core.recv().await else { panic!("no notice") };
            assert_eq!((&*carriage.id, &*carriage.peer, &*carriage.uri, carriage.by), ("one", "centre", "sip:missed-calls@um.example.com", By::Message));
            assert_eq!(carriage.body, notice().body);
            awaited.answer("another", 500, Reason::RequestRefused);
            awaited.answer("one", 202, Reason::Answered);
            // A late one finds nobody.
            awaited.answer("one", 500, Reason::RequestRefused);
        };
        let (carried, ()) = tokio::join!(carrier.carry(notice()), core);
        assert_eq!(carried, Carried::Taken);
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_is_silent_or_gone_holds_it_up_no_longer_than_that() {
        let (carrier, core) = carrier();
        let began = tokio::time::Instant::now();
        assert!(matches!(carrier.carry(notice()).await, Carried::Failed(..)));
        assert_eq!(began.elapsed(), LONGEST);
        drop(core);
        assert_eq!(carrier.carry(notice()).await, Carried::Failed("the border is stopping".into(), None));
        assert_eq!(began.elapsed(), LONGEST, "at once");
    }

    #[test]
    fn what_each_status_means() {
        let of = |status: u16| judged(status, if status < 300 { Reason::Answered } else { Reason::RequestRefused });
        let said = |status: u16| format!("SIP {status}");
        for status in [200, 202] {
            assert_eq!(of(status), Carried::Taken);
        }
        for status in [400, 413, 415, 513, 606] {
            assert_eq!(of(status), Carried::Poison(said(status)));
        }
        for status in [302, 401, 403, 404, 405, 407, 481, 489, 501, 505, 603, 604] {
            assert_eq!(of(status), Carried::Doubtful(said(status)));
        }
        for status in [408, 480, 486, 500, 503, 504, 600] {
            assert_eq!(of(status), Carried::Failed(said(status), None));
        }
        // Nobody answered: whatever stands for that, the notice is not to blame.
        for (status, reason) in [(408, Reason::TargetTimeout), (503, Reason::TargetUnreachable), (403, Reason::ModeInterwork), (404, Reason::NoRoute)] {
            assert!(matches!(judged(status, reason), Carried::Failed(why, None) if why.contains(reason.code())));
        }
    }
}
