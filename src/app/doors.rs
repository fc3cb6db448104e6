//! The doors of operators, and who is asked for names: put in the place of those there are while the border runs.

use std::sync::Arc;

use crate::adapters::admin::{Admin, View};
use crate::app::api::RefusedReload;
use crate::app::border::Border;
use crate::app::outlets::{blocking, stays, taken};
use crate::app::rotation::Ready;
use crate::config;

impl Border {
    /// Who asked for the last reload, and why it was refused; `None`: it was not.
    pub(super) fn refused(&self, refused: Option<(&str, &str)>) {
        let at = || crate::adapters::telemetry::Anchor { time: crate::time::Time::ZERO, wall: self.clock.began() }.rfc3339(self.clock.now());
        let told = |(by, why): (&str, &str)| RefusedReload { at: at(), by: by.to_owned(), problems: why.lines().map(str::to_owned).collect() };
        self.state.standing.put_refused(refused.map(told));
    }

    /// Changes what is wanted otherwise than it runs. What cannot be had stays, and `wanted` is made to say so; a line for each of these tells why.
    /// `certificates`: those of the set, about to be put in force.
    pub(super) async fn take_doors(&mut self, wanted: &mut config::Settings, certificates: &mut Ready) -> Vec<String> {
        let mut refused = Vec::new();
        self.take_admin(wanted, &mut refused).await;
        self.take_api(wanted, certificates, &mut refused).await;
        self.take_audit(wanted, &mut refused).await;
        self.take_names(wanted, &mut refused);
        refused
    }

    async fn take_admin(&mut self, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        if wanted.admin == self.settings().admin {
            return;
        }
        let view: Arc<dyn View> = self.state.clone();
        match Admin::change(&mut self.admin, &wanted.admin, &view).await {
            Ok(()) => taken("[admin]"),
            Err(error) => {
                refused.push(stays("[admin]", &error.to_string()));
                wanted.admin = self.settings().admin.clone();
            }
        }
    }

    /// Who comes by the new door at once is shown its certificate.
    async fn take_api(&mut self, wanted: &mut config::Settings, certificates: &mut Ready, refused: &mut Vec<String>) {
        if wanted.api.same_door(&self.settings().api) {
            return;
        }
        let before = self.rotation.store().put_door(certificates.door());
        match self.api.move_to(&wanted.api).await {
            Ok(()) => taken("[api] listen"),
            Err(error) => {
                refused.push(stays("[api] listen", &error.to_string()));
                wanted.api.with_door_of(&self.settings().api);
                wanted.tls.door = self.settings().tls.door.clone();
                self.rotation.store().put_door(before.clone());
                certificates.keep_door(wanted.tls.door.clone(), before);
            }
        }
    }

    async fn take_audit(&mut self, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        let (audit, file) = (self.audit.clone(), wanted.api.audit.clone());
        // The same file too: it may have been moved away.
        if let Err(why) = blocking(move || audit.to_file(file.as_deref()).map_err(|error| error.to_string())).await {
            refused.push(stays("[api] audit", &why));
            wanted.api.audit = self.settings().api.audit.clone();
        }
    }

    fn take_names(&mut self, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        match self.resolver.take(&wanted.dns).and_then(|other| if other { self.locator.take(&wanted.dns).map(|()| true) } else { Ok(false) }) {
            Ok(true) => taken("[dns]"),
            Ok(false) => {}
            Err(error) => {
                refused.push(stays("[dns]", &error.to_string()));
                wanted.dns = self.settings().dns.clone();
            }
        }
    }
}
