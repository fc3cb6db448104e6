//! `[control]` and `[api]` of `border.toml`: where operators ask, and who may.

use crate::adapters::api::{Role, TokenDigest};
use crate::config::finding::{At, Written};
use crate::config::table::Table;

const ROLES: [(&str, Role); 2] = [("read", Role::Read), ("operate", Role::Operate)];
const LONGEST_NAME: usize = 64;

#[derive(Default)]
pub struct Api {
    pub socket: Option<String>,
    pub audit: Option<String>,
    pub door: Option<Door>,
}

/// `[api]` itself.
pub struct Door {
    pub at: At,
    pub listen: Option<Written<String>>,
    pub certificate: Option<Written<String>>,
    pub key: Option<Written<String>>,
    pub client_ca: Option<Written<String>>,
    pub tokens: Vec<Entry<TokenDigest>>,
    pub clients: Vec<Entry<()>>,
}

/// Somebody who may ask, and by what he is known beside his name.
pub struct Entry<Proof> {
    pub name: Written<String>,
    pub role: Role,
    pub proof: Proof,
}

pub fn read(root: &Table<'_, '_>) -> Api {
    let mut api = Api::default();
    if let Some(table) = root.table("control", "[control]") {
        api.socket = table.required_text("socket", "\"/run/portcullis/control.sock\"").map(|socket| socket.value);
        table.finish();
    }
    if let Some(table) = root.table("api", "[api]") {
        api.audit = table.text("audit", "\"audit.jsonl\"").map(|file| file.value);
        api.door = Some(Door {
            at: table.at(),
            listen: table.text("listen", "\"127.0.0.1:9161\""),
            certificate: table.text("certificate", "\"certs/api.pem\""),
            key: table.text("key", "\"certs/api.key\""),
            client_ca: table.text("client_ca", "\"certs/operators-ca.pem\""),
            tokens: table.tables("token", "[[api.token]]").into_iter().filter_map(token).collect(),
            clients: table.tables("client", "[[api.client]]").into_iter().filter_map(client).collect(),
        });
        table.finish();
    }
    api
}

fn token(table: Table<'_, '_>) -> Option<Entry<TokenDigest>> {
    let (name, role) = (name(&table), table.required_choice("role", &ROLES));
    let written = table.required_text("sha256", "the line `portcullis token NAME` prints");
    let digest = written.and_then(|written| {
        let digest = TokenDigest::parse(&written.value);
        if digest.is_none() {
            table.findings().problem(written.at, "sha256 is no digest: 64 hexadecimal digits", "write the line that `portcullis token NAME` prints");
        }
        digest
    });
    table.finish();
    Some(Entry { name: name?, role: role?.value, proof: digest? })
}

fn client(table: Table<'_, '_>) -> Option<Entry<()>> {
    let (name, role) = (name(&table), table.required_choice("role", &ROLES));
    table.finish();
    Some(Entry { name: name?, role: role?.value, proof: () })
}

fn name(table: &Table<'_, '_>) -> Option<Written<String>> {
    let name = table.required_text("name", "\"alice\"")?;
    let unfit = name.value.is_empty() || name.value.chars().count() > LONGEST_NAME || name.value.chars().any(char::is_control);
    if unfit {
        table.findings().problem(name.at, "a name is one line of 1 to 64 characters", "write the name the audit is to say");
        return None;
    }
    Some(name)
}
