//! Reading every file that the settings name, each once, and finding all that is wrong with them at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificate::Certificate;
use super::crl::CrlSource;
use super::door::Door;
use super::files::{self, OwnCertificate};
use super::lifetime::{self, Lifetime};
use super::revocation::{Issuers, Slot};
use super::trust::Anchors;
use super::{DoorFiles, KeyPairFiles, Problem, chain, refresh};
use crate::signaling::fact::CertificateKind;

/// Files read so far and what was wrong with them. `None` stands for a file whose problems are already listed.
pub struct Load {
    pub provider: Arc<CryptoProvider>,
    pub now: UnixTime,
    pub owns: HashMap<KeyPairFiles, Option<Arc<OwnCertificate>>>,
    pub anchors: HashMap<PathBuf, Option<Arc<Anchors>>>,
    pub slots: HashMap<CrlSource, Option<Arc<Slot>>>,
    pub problems: Vec<Problem>,
}

impl Load {
    pub fn begin() -> Load {
        Load {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            now: UnixTime::now(),
            owns: HashMap::new(),
            anchors: HashMap::new(),
            slots: HashMap::new(),
            problems: Vec::new(),
        }
    }

    pub fn own(&mut self, files: &KeyPairFiles) -> Option<Arc<OwnCertificate>> {
        let Load { provider, now, owns, problems, .. } = self;
        let read = || files::own(files, provider, *now).map(Arc::new).map_err(|found| problems.extend(found)).ok();
        owns.entry(files.clone()).or_insert_with(read).clone()
    }

    pub fn door(&mut self, files: &DoorFiles) -> Option<Arc<Door>> {
        Door::load(files, &self.provider).map(Arc::new).map_err(|found| self.problems.extend(found)).ok()
    }

    pub fn anchors(&mut self, file: &Path) -> Option<Arc<Anchors>> {
        let Load { now, anchors, problems, .. } = self;
        let read = || files::anchors(file, *now).map(Arc::new).map_err(|found| problems.push(found)).ok();
        anchors.entry(file.to_path_buf()).or_insert_with(read).clone()
    }

    /// `cache`: where fetched lists were kept, which will do until the first fetch.
    pub fn slot(&mut self, source: &CrlSource, cache: Option<&Path>) -> Option<Arc<Slot>> {
        let Load { slots, problems, .. } = self;
        let read = || match source {
            CrlSource::File(file) => files::crls(file).map_err(|found| problems.push(found)).ok().map(|lists| Arc::new(Slot::new(source.clone(), lists))),
            CrlSource::Http(_) => {
                let kept = cache.and_then(|folder| files::crls(&refresh::cached(folder, source)).ok());
                Some(Arc::new(Slot::new(source.clone(), kept.unwrap_or_default())))
            }
        };
        slots.entry(source.clone()).or_insert_with(read).clone()
    }

    pub fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.anchors.values().flatten().flat_map(|file| file.authorities().to_vec()).collect()
    }

    /// A list in a file that its own CA did not sign is a mistake to be told at once.
    pub fn check_crls(&mut self, issuers: &Issuers) {
        let algorithms = self.provider.signature_verification_algorithms;
        for slot in self.slots.values().flatten() {
            let CrlSource::File(file) = &slot.source else { continue };
            for crl in slot.lists().iter().filter(|crl| issuers.vouch(crl, &algorithms) == Some(false)) {
                let what = format!("its signature is not that of {}, as the ca files know it", crl.issuer);
                self.problems.push(files::problem(file, what, "put that CA's own current CRL there"));
            }
        }
    }

    /// Whether the chains we show are whole. Returns what is worth a remark only.
    pub fn chains(&mut self) -> Vec<Problem> {
        let known: Vec<Arc<Anchors>> = self.anchors.values().flatten().cloned().collect();
        let algorithms = &self.provider.signature_verification_algorithms;
        let mut remarks = Vec::new();
        for (files, own) in &self.owns {
            let Some(own) = own else { continue };
            let found = chain::check(&files.certificate, &own.key.cert, &known, self.now, algorithms);
            self.problems.extend(found.problems);
            remarks.extend(found.remarks);
        }
        remarks.sort_by(|a, b| a.file.cmp(&b.file));
        remarks
    }

    pub fn lifetimes(&self) -> Vec<Lifetime> {
        let owns = self.owns.iter().filter_map(|(files, own)| Some((files, own.as_ref()?))).flat_map(|(files, own)| {
            let between = own.key.cert.iter().skip(1).filter_map(|der| Certificate::read(der));
            std::iter::once(own.facts.clone()).chain(between).map(|facts| lifetime::of(CertificateKind::Own, &files.certificate, &facts))
        });
        let authorities = self.anchors.iter().filter_map(|(file, anchors)| Some((file, anchors.as_ref()?)));
        let authorities = authorities.flat_map(|(file, anchors)| anchors.facts().map(|facts| lifetime::of(CertificateKind::Authority, file, facts)));
        let mut all: Vec<Lifetime> = owns.chain(authorities).collect();
        all.sort_by(|a, b| (&a.file, a.not_after, &a.name).cmp(&(&b.file, b.not_after, &b.name)));
        all.dedup();
        all
    }
}
