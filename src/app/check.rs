//! `portcullis check`: everything that is wrong with a policy set, at once, and what Exchange and Lync must have to match it. But for asking DNS for the peers' names, which `--offline` leaves out, no
//! socket is opened.
//!
//! Certificates and keys that are there are read and checked too; ones that are not there are a warning only, since keys are often put in
//! place on the machine itself (`run` refuses to start without them).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::adapters::{dns, tls};
use crate::app::hosted;
use crate::app::integration::{Integration, integration};
use crate::app::presence;
use crate::app::survey::survey;
use crate::config::{self, Problem, Settings, Warning};

/// The command line of `check`.
#[derive(clap::Args, Clone, Debug)]
pub struct Check {
    /// The folder of the policy set.
    pub policy_set: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Do not ask DNS for the peers' names.
    #[arg(long)]
    pub offline: bool,
}

/// Exit status: the set loads.
pub const CLEAN: u8 = 0;
/// Exit status: it has problems.
pub const PROBLEMS: u8 = 1;
/// Exit status: there is no such folder.
pub const UNREADABLE: u8 = 2;

/// Prints what was found and returns the exit status: 0 clean (warnings or none), 1 problems, 2 no such folder.
pub fn check(arguments: &Check, out: &mut dyn Write) -> io::Result<u8> {
    let folder = &arguments.policy_set;
    if !folder.is_dir() {
        unreadable(arguments, out)?;
        return Ok(UNREADABLE);
    }
    let found = find(folder, arguments.offline);
    if arguments.json {
        let object = json!({ "policy_set": folder, "problems": found.problems, "certificates": found.certificates, "remarks": found.remarks, "names": found.names, "warnings": found.warnings, "pitfalls": pitfalls(&found), "other_side": found.other_side() });
        writeln!(out, "{object:#}")?;
    } else {
        print(folder, &found, out)?;
    }
    Ok(if found.is_clean() { CLEAN } else { PROBLEMS })
}

fn unreadable(arguments: &Check, out: &mut dyn Write) -> io::Result<()> {
    let folder = arguments.policy_set.display();
    if arguments.json {
        writeln!(out, "{:#}", json!({ "policy_set": arguments.policy_set, "error": "no folder that can be read" }))
    } else {
        writeln!(out, "{folder} is no folder that can be read; name the folder of a policy set, such as policies/quickstart")
    }
}

struct Found {
    problems: Vec<Problem>,
    /// Problems of certificate and key files, each as one line.
    certificates: Vec<String>,
    warnings: Vec<Warning>,
    /// What of certificate and CRL files is no problem, but worth knowing, each as one line.
    remarks: Vec<String>,
    /// What DNS says of peers' names that is worth knowing, each as one line.
    names: Vec<String>,
    /// Certificate, key, CRL and trust anchor files that are not there.
    absent: Vec<PathBuf>,
    settings: Option<Box<Settings>>,
    /// Of a set that loads.
    integration: Option<Integration>,
}

impl Found {
    /// The script for the other side, by lines.
    fn other_side(&self) -> Vec<&str> {
        self.integration.iter().flat_map(|integration| integration.script.lines()).collect()
    }

    fn pitfalls(&self) -> &[(&'static str, Warning)] {
        self.integration.as_ref().map_or(&[], |integration| &integration.findings)
    }

    fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.certificates.is_empty()
    }
}

fn find(folder: &Path, offline: bool) -> Found {
    match config::load(folder) {
        Err(problems) => Found {
            problems: problems.0,
            certificates: Vec::new(),
            warnings: Vec::new(),
            remarks: Vec::new(),
            names: Vec::new(),
            absent: Vec::new(),
            settings: None,
            integration: None,
        },
        Ok((settings, warnings)) => {
            let (mut certificates, mut remarks, mut absent) = certificates(&settings.tls);
            remarks.extend(presence::missing(&settings));
            certificates.extend(hosted::problems(&settings));
            let anchor = settings.dns.trust_anchor.as_ref().filter(|file| !file.exists());
            absent.extend(anchor.cloned());
            let names = match dns::anchors(&settings.dns) {
                Err(problem) if anchor.is_none() => {
                    certificates.push(problem);
                    Vec::new()
                }
                Ok(_) if !offline => survey(&settings),
                Ok(_) | Err(_) => Vec::new(),
            };
            let integration = Some(integration(&settings, &config::places(folder)));
            Found { problems: Vec::new(), certificates, warnings, remarks, names, absent, settings: Some(Box::new(settings)), integration }
        }
    }
}

/// Each as a warning, with the name of its pitfall.
fn pitfalls(found: &Found) -> Vec<serde_json::Value> {
    let named = |(name, warning): &(&str, Warning)| json!({ "pitfall": name, "file": warning.file, "line": warning.line, "column": warning.column, "what": warning.what, "instead": warning.instead });
    found.pitfalls().iter().map(named).collect()
}

/// What is wrong with the files that are there, what is worth knowing of them, and which are not there.
fn certificates(settings: &tls::Settings) -> (Vec<String>, Vec<String>, Vec<PathBuf>) {
    let mut absent = Vec::new();
    let mut present = |files: &mut dyn Iterator<Item = &PathBuf>| {
        let missing: Vec<PathBuf> = files.filter(|file| !file.exists()).cloned().collect();
        let all_there = missing.is_empty();
        absent.extend(missing);
        all_there
    };
    let listeners = settings.listeners.iter().filter(|listener| present(&mut [&listener.own.certificate, &listener.own.key].into_iter())).cloned().collect();
    let files = |peer: &tls::PeerCertificates| -> Vec<PathBuf> {
        let own = peer.own.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        let lists = peer.crl.iter().filter_map(|source| if let tls::CrlSource::File(file) = source { Some(file.clone()) } else { None });
        peer.ca.iter().cloned().chain(lists).chain(own).collect()
    };
    let peers = settings.peers.iter().filter(|peer| present(&mut files(peer).iter())).cloned().collect();
    let door = |door: &&tls::DoorFiles| present(&mut [&door.own.certificate, &door.own.key].into_iter().chain(&door.client_ca));
    let door = settings.door.as_ref().filter(door).cloned();
    let lines = |of: &[tls::Problem]| of.iter().map(ToString::to_string).collect();
    let (problems, remarks) = match tls::Credentials::load(&tls::Settings { listeners, peers, door, ..settings.clone() }) {
        Ok(credentials) => (Vec::new(), lines(credentials.remarks())),
        Err(problems) => (lines(&problems), Vec::new()),
    };
    absent.sort();
    absent.dedup();
    (problems, remarks, absent)
}

fn print(folder: &Path, found: &Found, out: &mut dyn Write) -> io::Result<()> {
    for problem in &found.problems {
        writeln!(out, "{}", problem.within(folder))?;
    }
    for problem in &found.certificates {
        writeln!(out, "{problem}")?;
    }
    for warning in &found.warnings {
        writeln!(out, "warning: {}", warning.within(folder))?;
    }
    for (_, pitfall) in found.pitfalls() {
        writeln!(out, "warning: {pitfall}")?;
    }
    for remark in &found.remarks {
        writeln!(out, "warning: {remark}")?;
    }
    for name in &found.names {
        writeln!(out, "warning: {name}")?;
    }
    for file in &found.absent {
        writeln!(out, "warning: {}: not there; put it in place before run, or make throw-away ones with `portcullis certs init`", file.display())?;
    }
    match &found.settings {
        Some(settings) if found.is_clean() => {
            let policy = &settings.policy;
            writeln!(
                out,
                "{}: clean ({} listeners, {} peers, {} UM pools, {} dial plans, {} hunt groups, {} warnings)",
                folder.display(),
                settings.signaling.listeners.len(),
                policy.peers.len(),
                policy.um_pools.len(),
                policy.dial_plans.len(),
                policy.hunt_groups.len(),
                found.warnings.len() + found.pitfalls().len() + found.remarks.len() + found.names.len() + found.absent.len()
            )?;
            for line in found.other_side() {
                writeln!(out, "{line}")?;
            }
            Ok(())
        }
        _ => {
            let count = found.problems.len() + found.certificates.len();
            writeln!(out, "{}: {count} {}", folder.display(), if count == 1 { "problem" } else { "problems" })
        }
    }
}
