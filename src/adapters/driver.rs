//! Drives the signalling core: takes events from the rim one after another, carries out what the core wants done, wakes it when its deadline has
//! come. One task owns the core, so nothing in the plane needs a lock.

use tokio::sync::mpsc;

use crate::adapters::clock::Clock;
use crate::signaling::core::Core;
use crate::signaling::event::{Action, Event};
use crate::signaling::fact::{Fact, What};

/// What the driver is told.
#[derive(Debug)]
pub enum Input {
    Event(Event),
    /// Something the rim saw by itself, passed on to whoever watches.
    Fact(What),
}

/// Where actions go. None of it may block.
pub trait Rim {
    fn act(&self, action: Action);
}

/// Events handled before the channel of commands is looked at again.
const BATCH: usize = 128;

/// Runs until both channels are closed. `traffic` is bounded by its sender; `commands` carries everything that must not be lost: answers of DNS
/// and of the media plane, reloads, the operator.
pub async fn drive<T: Into<Input>>(mut core: Core, clock: Clock, rim: impl Rim, mut traffic: mpsc::Receiver<T>, mut commands: mpsc::UnboundedReceiver<Input>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut closed = false;
    while !closed {
        let deadline = core.deadline().map(|at| tokio::time::Instant::from_std(clock.instant(at)));
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(input) => take(&mut core, &clock, &rim, input),
                None => closed = true,
            },
            count = traffic.recv_many(&mut batch, BATCH) => {
                for input in batch.drain(..) {
                    take(&mut core, &clock, &rim, input.into());
                }
                if count == 0 {
                    // The network has closed; what remains comes by command.
                    drain_commands(&mut core, &clock, &rim, &mut commands).await;
                    closed = true;
                }
            }
            () = due => take(&mut core, &clock, &rim, Input::Event(Event::Tick)),
        }
    }
}

async fn drain_commands(core: &mut Core, clock: &Clock, rim: &impl Rim, commands: &mut mpsc::UnboundedReceiver<Input>) {
    while let Some(input) = commands.recv().await {
        take(core, clock, rim, input);
    }
}

fn take(core: &mut Core, clock: &Clock, rim: &impl Rim, input: Input) {
    let now = clock.now();
    match input {
        Input::Event(event) => core.handle(now, event),
        Input::Fact(what) => rim.act(Action::Fact(Fact { at: now, call: None, what })),
    }
    while let Some(action) = core.poll() {
        rim.act(action);
    }
}
