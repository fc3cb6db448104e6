//! One table and two processes, while one takes over from the other: the new one keeps it, and the old one tells what its calls still need, which is let in besides what
//! the new one wants by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::contents::{Change, Contents, Element, Kind};
use super::super::failure::Failure;
use super::super::{process, ruleset};
use super::{Keeper, RETRY, State};

/// Tells another process's keeper what changes. False: it was not heard.
pub type Tell = Arc<dyn Fn(&[Change]) -> bool + Send + Sync>;

/// What another process has been told.
pub struct Told {
    pub contents: Contents,
    pub tell: Tell,
}

impl Keeper {
    /// Leaves the table to another process until it is told to take it, and finds out whether it could. The error was not told of.
    pub async fn stand_aside(&mut self) -> Result<(), Failure> {
        self.state = State::Aside(None);
        self.look_for_table()?;
        let Some(program) = &self.program else { return Err(Failure::Absent) };
        process::check(program, &ruleset::render(&self.layout, &self.wanted, &[])).await
    }

    /// What the kernel should hold, whoever needs it; or, while another process keeps the table, what that should know of us: its bans are its own.
    pub(super) fn all_wanted(&self) -> Contents {
        if let State::Aside(_) = self.state { self.wanted.without_bans() } else { self.wanted.with(&self.others) }
    }

    /// What is there stays as it is, for whoever keeps it from now on.
    pub(super) fn leave(&mut self, tell: Option<Tell>) {
        if let (State::Held(_), None) = (&self.state, &tell) {
            // Nobody would keep it; what stays by a fault is replaced when the table is wanted again.
            let _ = self.withdraw();
        }
        self.shared.left();
        self.state = State::Aside(tell.map(|tell| Told { contents: Contents::default(), tell }));
        self.changed = true;
    }

    /// In one transaction ours takes the place of the former one.
    pub(super) async fn take(&mut self, former: Arc<str>) {
        if let Some(found) = self.banned_by_kernel(&former) {
            self.shared.adopt_kernel_bans(found);
        }
        self.former = Some(former);
        self.come_back().await;
    }

    pub(super) async fn come_back(&mut self) {
        self.state = State::Out { at: Instant::now(), pause: RETRY.0 };
        if let Err(failure) = self.begin().await {
            self.give_up(&failure, RETRY.0);
        }
    }

    pub(super) fn let_others(&mut self, changes: &[Change]) {
        self.others.apply(changes);
        let ports = changes.iter().flat_map(|change| change.out.iter().chain(&change.into));
        let ports: Vec<SocketAddr> = ports.filter_map(|element| if let Element::Port(port) = element { Some(*port) } else { None }).collect();
        self.touched.extend(ports);
        self.changed |= changes.iter().any(|change| change.set.kind != Kind::Media);
    }
}
