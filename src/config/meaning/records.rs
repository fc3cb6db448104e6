//! `[records]` as meant: the store, and the PostgreSQL server with what proves it.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::adapters::{history, postgres};
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written;
use crate::config::written::records::{Postgres, Records, Store};

/// Long enough for a bill to be disputed, and a size most disks have.
const DEFAULT_DAYS: u32 = 90;
const DEFAULT_MEGABYTES: u64 = 4096;
const DEFAULT_PORT: i64 = 5432;

/// What systemd and the image say where a service may keep what is to last (systemd.exec(5), `StateDirectory`): several are parted by colons.
const STATE: &str = "STATE_DIRECTORY";
/// The store in that folder.
const DEFAULT_STORE: &str = "records.db";

pub fn store(records: &Records, source: &dyn Source) -> Option<history::Settings> {
    let path = match &records.store {
        Some(Store::At(path)) => written::path(source, path),
        Some(Store::Off) => return None,
        None => source.variable(STATE)?.split(':').next().map(PathBuf::from).filter(|folder| folder.is_absolute())?.join(DEFAULT_STORE),
    };
    Some(history::Settings {
        path,
        days: records.days.unwrap_or(DEFAULT_DAYS),
        size: records.megabytes.unwrap_or(DEFAULT_MEGABYTES) << 20,
        is_required: records.store.is_some(),
    })
}

pub fn postgres(records: &Records, border: &str, source: &dyn Source, findings: &Findings) -> Option<postgres::Settings> {
    let postgres = records.postgres.as_ref()?;
    let server = server(postgres, source, findings)?;
    Some(postgres::Settings {
        server,
        user: postgres.user.as_ref()?.value.clone(),
        database: postgres.database.as_ref()?.value.clone(),
        password_file: postgres.password_file.as_ref().map(|file| written::path(source, &file.value)),
        border: border.to_owned(),
    })
}

fn server(postgres: &Postgres, source: &dyn Source, findings: &Findings) -> Option<postgres::Server> {
    let written_host = postgres.host.as_ref()?;
    let host = written_host.value.trim_start_matches('[').trim_end_matches(']');
    let port = postgres.port.as_ref().map_or(DEFAULT_PORT, |port| port.value) as u16;
    if host.starts_with('/') {
        if let Some(ca) = &postgres.ca {
            findings.problem(ca.at, "ca for a server on a Unix socket, which has no TLS", "remove it, or write the server's name as host");
        }
        return Some(postgres::Server::Socket { folder: PathBuf::from(host), port });
    }
    let address = host.parse::<IpAddr>();
    if address.is_err() && !written::is_host_name(host) {
        let instead =
            "write a host name or address and, as port, its port; or the folder of its socket, \"/run/postgresql\". A password goes into password_file";
        // A password may stand in it, and problems are copied around.
        let what =
            if host.contains(['@', ':', '/']) { String::from("host is no address of a server") } else { format!("\"{host}\" is no address of a server") };
        findings.problem(written_host.at, what, instead);
        return None;
    }
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_tls = postgres.tls.as_ref().map_or(!is_here || postgres.ca.is_some(), |tls| tls.value);
    let tls = match (&postgres.ca, is_tls) {
        (Some(ca), true) => postgres::Tls::Verified { ca: written::path(source, &ca.value) },
        (Some(ca), false) => {
            findings.problem(ca.at, "ca for a PostgreSQL server without TLS", "remove it, or write tls = true");
            return None;
        }
        (None, true) => {
            let instead = "add ca = \"certs/postgres-ca.pem\" with the CA of its certificate; or write tls = false where the way to it is your own";
            findings.problem(postgres.at, "[records.postgres] over TLS without ca: no certificate could ever verify", instead);
            return None;
        }
        (None, false) if !is_here => {
            let what = format!("call records go to {host} in clear: who is on the way reads who called whom");
            findings.warning(written_host.at, what, "write ca, and leave tls out, if the server can; else see that the way is your own");
            postgres::Tls::Off
        }
        (None, false) => postgres::Tls::Off,
    };
    Some(postgres::Server::Network { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Texts;

    #[test]
    fn the_store_is_where_it_is_written_or_else_where_a_service_keeps_its_state() {
        let set = |store: Option<Store>| Records { store, ..Records::default() };
        let place = |variable: Option<&str>, store: Option<Store>| {
            let variables = variable.map(|folders| (STATE.to_owned(), folders.to_owned())).into_iter().collect();
            super::store(&set(store), &Texts { variables, ..Texts::default() }).map(|settings| (settings.path.display().to_string(), settings.is_required))
        };
        assert_eq!(place(None, None), None);
        assert_eq!(place(Some("/var/lib/portcullis:/var/lib/more"), None), Some(("/var/lib/portcullis/records.db".to_owned(), false)));
        assert_eq!(place(Some("relative"), None), None);
        assert_eq!(place(Some("/var/lib/portcullis"), Some(Store::Off)), None);
        assert_eq!(place(Some("/var/lib/portcullis"), Some(Store::At("/srv/calls.db".to_owned()))), Some(("/srv/calls.db".to_owned(), true)));
    }
}
