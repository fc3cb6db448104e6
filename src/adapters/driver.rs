//! Drives the signalling core: takes events from the rim one after another, carries out what the core wants done, wakes it when its deadline has
//! come. One task owns the core, so nothing in the plane needs a lock.

use std::time::Duration;

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
    // Set too early, the timer costs one needless look at the core; set anew for every message, it costs system calls each time.
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    let mut armed = None;
    while !closed {
        // What is due is done even while there is always more traffic.
        if core.deadline().is_some_and(|at| at <= clock.now()) {
            take(&mut core, &clock, &rim, Input::Event(Event::Tick));
        }
        if let Some(at) = core.deadline().map(|at| tokio::time::Instant::from_std(clock.instant(at)))
            && armed.is_none_or(|armed| at < armed)
        {
            timer.as_mut().reset(at);
            armed = Some(at);
        }
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
            () = &mut timer, if armed.is_some() => {
                armed = None;
                take(&mut core, &clock, &rim, Input::Event(Event::Tick));
            }
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
