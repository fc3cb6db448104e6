//! What was written: each file as values with their places, types checked, nothing compared with anything else yet.

pub mod api;
mod border;
mod branch;
mod firewall;
pub mod hep;
pub mod numbers;
pub mod otlp;
mod peers;
mod plans;
pub mod policy_sets;
pub mod records;
mod routing;
mod toll;

use super::FILES;
use super::finding::{At, Findings};
use super::source::Source;
use super::table::{Document, Table};

pub use api::{Api, Door};
pub use border::{Border, Listener, Media, admin, path, socket_address};
pub use branch::{Branch, Sip, Target};
pub use peers::{Peer, is_host_name};
pub use plans::{Admission, DialPlan, HuntGroup, Reroute, UmPool};
pub use routing::Routing;
pub use toll::TollRule;

/// A whole set.
#[derive(Default)]
pub struct Set {
    /// Every file that is there could be read: what one says of another can be compared.
    pub readable: bool,
    pub border: Border,
    pub peers: Vec<Peer>,
    pub um_pools: Vec<UmPool>,
    pub dial_plans: Vec<DialPlan>,
    pub hunt_groups: Vec<HuntGroup>,
    pub admission: Admission,
    pub toll: Vec<TollRule>,
    pub routing: Routing,
    pub branch: Branch,
}

pub fn read(source: &dyn Source, findings: &Findings) -> Set {
    let mut set = Set { readable: true, ..Set::default() };
    for file in FILES {
        let text = match source.text(file) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) => {
                set.readable = false;
                findings.problem(At { file, line: 1, column: 1 }, format!("cannot be read: {error}"), "make it a UTF-8 file that this user may read");
                continue;
            }
        };
        let document = Document::new(file, &text, findings, source);
        let Some(parsed) = document.parse() else {
            set.readable = false;
            continue;
        };
        let root = document.root(parsed.get_ref());
        read_version(&root);
        match file {
            "border.toml" => set.border = border::read(&root),
            "peers.toml" => set.peers = peers::read(&root),
            "um_pools.toml" => set.um_pools = plans::read_pools(&root),
            "dial_plans.toml" => set.dial_plans = plans::read_plans(&root),
            "hunt_groups.toml" => set.hunt_groups = plans::read_hunt_groups(&root),
            "routing.toml" => set.routing = routing::read(&root),
            "branch.toml" => set.branch = branch::read(&root),
            "toll.toml" => set.toll = toll::read(&root),
            _ => set.admission = plans::read_admission(&root),
        }
        root.finish();
    }
    set
}

fn read_version(root: &Table<'_, '_>) {
    if !root.has("version") {
        root.missing("version", "1");
    }
    root.integer("version", 1..=1);
}
