//! What the kernel holds, beside what the keeper thinks it holds.

use std::io;

use super::super::contents::{Change, Contents, Set};
use super::super::netlink::{Netlink, Structure};

/// What the kernel holds, as far as we know.
pub struct Held {
    pub contents: Contents,
    pub structure: Structure,
    /// When all of it was last compared.
    pub generation: Option<u32>,
}

pub enum Difference {
    None,
    Structure(&'static str),
    Elements { found: Contents, missing: String },
}

/// `structure`: of its structure alone.
pub fn differences(netlink: &mut Netlink, table: &str, held: &mut Held, structure: bool) -> io::Result<Difference> {
    let generation = netlink.generation()?;
    if held.generation == Some(generation) {
        return Ok(Difference::None);
    }
    match netlink.structure(table)? {
        None => return Ok(Difference::Structure("the whole table")),
        Some(found) if found != held.structure => return Ok(Difference::Structure("some of its chains or rules")),
        Some(_) if structure => return Ok(Difference::None),
        Some(_) => {}
    }
    let mut found = Contents::default();
    for set in Set::ours() {
        found.replace(set, netlink.elements(table, set)?.into_iter().collect());
    }
    held.generation = Some(generation);
    let missing: Vec<String> = found.changes(&held.contents).iter().map(Change::to_string).collect();
    Ok(if missing.is_empty() { Difference::None } else { Difference::Elements { found, missing: missing.join(", ") } })
}
