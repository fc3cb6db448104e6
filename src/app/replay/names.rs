//! Where the host names of a policy set live while it is asked about recorded calls: as told, as a running border knows, as DNS says, as the recording itself
//! shows; all of what is known counts, since a name moves. One that nobody knows lives at a stand-in address (RFC 6666), and that is told.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use super::heard::{Before, Heard};
use crate::policy::peer::PeerTable;
use crate::policy::settings::{PeerHost, PolicySet};

/// Addresses by host name, in lower case.
#[derive(Clone, Default, Debug)]
pub struct Names {
    told: HashMap<String, Vec<IpAddr>>,
    known: HashMap<String, BTreeSet<IpAddr>>,
}

impl Names {
    /// `NAME=ADDR`, each of which stands above everything else that is known of the name.
    pub fn told(entries: &[String]) -> Result<Names, String> {
        let mut names = Names::default();
        for entry in entries {
            let (name, address) = entry.split_once('=').ok_or_else(|| format!("--resolve {entry}: write NAME=ADDR"))?;
            let address = address.parse().map_err(|_| format!("--resolve {entry}: {address} is no address"))?;
            names.told.entry(name.to_ascii_lowercase()).or_default().push(address);
        }
        Ok(names)
    }

    pub fn know(&mut self, name: &str, address: IpAddr) {
        self.known.entry(name.to_ascii_lowercase()).or_default().insert(address.to_canonical());
    }

    /// Where the caller lived when its call came, if that was by a name.
    pub fn learn(&mut self, heard: &Heard) {
        let Before::Screened(then) = &heard.before else { return };
        if let Some(host) = &then.host {
            self.know(host, heard.source.ip());
        }
    }

    /// Everything a peer table has by name.
    pub fn learn_table(&mut self, table: &PeerTable) {
        for peer in table.peers() {
            for host in &peer.hosts {
                if let PeerHost::Name(name) = host {
                    table.addresses_of_name(&peer.name, name).iter().for_each(|address| self.know(name, *address));
                }
            }
        }
    }

    pub fn knows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.told.contains_key(&name) || self.known.get(&name).is_some_and(|known| !known.is_empty())
    }

    /// The peer table of a set, and the names nobody knows.
    pub fn table(&self, set: &PolicySet) -> (PeerTable, Vec<String>) {
        let hosts = set.peers.iter().flat_map(|peer| &peer.hosts);
        let names = hosts.filter_map(|host| if let PeerHost::Name(name) = host { Some(name.to_ascii_lowercase()) } else { None });
        let names: BTreeSet<String> = names.collect();
        let mut unknown = Vec::new();
        let mut homes: HashMap<&str, Vec<IpAddr>> = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            let found = self.told.get(name).cloned().or_else(|| self.known.get(name).map(|known| known.iter().copied().collect()));
            homes.insert(
                name,
                found.unwrap_or_else(|| {
                    unknown.push(name.clone());
                    vec![IpAddr::V6(Ipv6Addr::from((0x0100_u128 << 112) | (index as u128 + 1)))]
                }),
            );
        }
        let table = PeerTable::build(1, set, &|name| homes.get(name.to_ascii_lowercase().as_str()).cloned().unwrap_or_default());
        (table, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::policy::settings::PolicySet;

    fn set(hosts: &[&str]) -> PolicySet {
        let folder = tempfile::tempdir().unwrap();
        let peers = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| format!("[[peer]]\nname = \"p{index}\"\nkind = \"trunk\"\nhosts = \"{host}\"\ntransport = \"udp\"\nmode = \"unsecured\"\n"));
        let border = "version = 1\n[[listener]]\nname = \"udp\"\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n";
        std::fs::write(folder.path().join("border.toml"), border).unwrap();
        std::fs::write(folder.path().join("peers.toml"), format!("version = 1\n{}", peers.collect::<String>())).unwrap();
        let (settings, _) = crate::config::load(folder.path()).unwrap();
        PolicySet::clone(&Arc::clone(&settings.policy))
    }

    #[test]
    fn what_is_told_stands_above_what_is_known_and_all_that_is_known_counts() {
        let mut names = Names::told(&[String::from("GW.example.com=192.0.2.1")]).unwrap();
        for address in ["192.0.2.2", "192.0.2.3"] {
            names.know("sbc.example.com", address.parse().unwrap());
            names.know("gw.example.com", address.parse().unwrap());
        }
        let (table, unknown) = names.table(&set(&["gw.example.com", "sbc.example.com"]));
        assert_eq!(table.addresses("p0"), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(table.addresses("p1"), ["192.0.2.2".parse::<IpAddr>().unwrap(), "192.0.2.3".parse().unwrap()]);
        assert!(unknown.is_empty() && names.knows("Gw.Example.com") && !names.knows("other.example.com"));
        let mut again = Names::default();
        again.learn_table(&table);
        assert!(again.knows("sbc.example.com"));
    }

    #[test]
    fn names_nobody_knows_live_apart_and_are_told() {
        let (table, unknown) = Names::default().table(&set(&["a.example.com", "b.example.com"]));
        assert_eq!(unknown, ["a.example.com", "b.example.com"]);
        assert_ne!(table.addresses("p0"), table.addresses("p1"));
        assert!(Names::told(&[String::from("a.example.com")]).is_err() && Names::told(&[String::from("a=b")]).is_err());
    }
}
