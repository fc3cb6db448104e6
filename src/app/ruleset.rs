//! `portcullis firewall`: what a policy set would have the kernel do, printed and not loaded.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::dns::PeerResolver;
use crate::adapters::nft::ruleset_of;
use crate::app::firewall::ours;
use crate::config::{self, Settings};
use crate::policy::peer::PeerTable;

/// Prints the nftables table a policy set would load, without loading it: for `nft -c -j -f -`, or to compare two sets.
#[derive(clap::Args, Clone, Debug)]
pub struct Ruleset {
    /// The folder of the policy set.
    pub policy_set: PathBuf,
    /// Ask no name server: peers are shown by the addresses that are written.
    #[arg(long)]
    pub offline: bool,
}

/// Exit status: 0 printed, 1 the set has problems. Its `mode` does not matter here.
pub fn ruleset(arguments: &Ruleset, out: &mut dyn Write) -> io::Result<u8> {
    let settings = match config::load(&arguments.policy_set) {
        Ok((settings, _)) => settings,
        Err(problems) => {
            write!(out, "{problems}")?;
            return Ok(1);
        }
    };
    let table = if arguments.offline { Arc::new(PeerTable::build(1, &settings.policy, &|_| Vec::new())) } else { resolved(&settings)? };
    let ruleset = ruleset_of(&settings.firewall, &ours(&settings, &[]), &table);
    let objects: Vec<String> = ruleset.get("nftables").and_then(|objects| objects.as_array()).into_iter().flatten().map(ToString::to_string).collect();
    writeln!(out, "{{\"nftables\":[\n{}\n]}}", objects.join(",\n"))?;
    Ok(0)
}

/// Where the peers live now.
fn resolved(settings: &Settings) -> io::Result<Arc<PeerTable>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let resolver = PeerResolver::start(settings.dns.clone(), Arc::clone(&settings.policy), |_| {})?;
        resolver.settled().await;
        let table = resolver.tables().borrow().clone();
        Ok(table)
    })
}
