//! The hosts file: a name it knows is answered from there alone; it has addresses, and neither NAPTR nor SRV records.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hickory_resolver::Hosts;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};

use crate::signaling::locating::{Answer, RecordKind};

/// The hosts file, read again when it has changed.
pub(super) struct HostsFile {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<Hosts>)>,
}

impl HostsFile {
    pub fn new(path: PathBuf) -> HostsFile {
        HostsFile { path, read: Mutex::new((None, Arc::new(Hosts::default()))) }
    }

    /// `None`: the file does not know the name.
    pub fn answer(&self, name: &Name, kind: RecordKind) -> Option<Answer> {
        let hosts = self.hosts();
        let host = match kind {
            RecordKind::Srv => {
                let service = name.iter().take_while(|label| label.starts_with(b"_")).count();
                Name::from_labels(name.iter().skip(service)).ok()?
            }
            RecordKind::Naptr | RecordKind::Ipv6 | RecordKind::Ipv4 => name.clone(),
        };
        let addresses = |kind| -> Vec<IpAddr> {
            let found = hosts.lookup_static_host(&Query::query(host.to_lowercase(), kind));
            found.map_or_else(Vec::new, |lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
        };
        let (v6, v4) = (addresses(RecordType::AAAA), addresses(RecordType::A));
        if v6.is_empty() && v4.is_empty() {
            return None;
        }
        let wanted = match kind {
            RecordKind::Ipv6 => v6,
            RecordKind::Ipv4 => v4,
            RecordKind::Naptr | RecordKind::Srv => Vec::new(),
        };
        Some(if wanted.is_empty() { Answer::None } else { Answer::Addresses(wanted) })
    }

    fn hosts(&self) -> Arc<Hosts> {
        let changed = std::fs::metadata(&self.path).and_then(|data| data.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != changed {
            let mut hosts = Hosts::default();
            if let Ok(file) = std::fs::File::open(&self.path) {
                // A broken line is passed over; a broken file leaves what was read so far.
                let _ = hosts.read_hosts_conf(file);
            }
            *read = (changed, Arc::new(hosts));
        }
        Arc::clone(&read.1)
    }
}
