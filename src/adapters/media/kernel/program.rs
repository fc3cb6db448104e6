//! The program in the kernel (ebpf/relay.bpf.c): loading it, putting it on interfaces, its maps.
//!
//! Nothing is pinned, and interfaces hold it by links that are descriptors of this process: when the process ends, however it ends, the kernel takes
//! the program off and frees its maps, so that no entry outlives us.

use std::collections::VecDeque;
use std::error::Error;

use aya::maps::xdp::DevMapHash;
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::super::maps::delete;
use super::entry::{COUNT, Count, ENTRY, KEY, Key};
use super::links::Link;

/// Built by ebpf/build and kept beside its source, so that building Portcullis needs no compiler for it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/relay.bpf.o"));

/// Directions at a time: as many as the program's maps have room for.
pub const ROOM: u32 = 32_768;

/// How the program sits on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attach {
    /// In the driver where the interface is hardware and its driver can, else in the kernel's receive path. A veth pair hands over unfinished checksums
    /// and loses what is sent to an end without a program of its own, so virtual interfaces get the latter.
    #[default]
    Best,
    Driver,
    Generic,
}

/// The running program.
pub struct Program {
    entries: HashMap<MapData, Key, [u8; ENTRY]>,
    counts: Array<MapData, [u8; COUNT]>,
    /// Places in `counts` that nobody has. The one free the longest is taken first, so that a packet still under way where an entry was cannot count
    /// for the next one.
    free: VecDeque<u32>,
    /// Entries that could not be deleted, with their places.
    stuck: Vec<Lease>,
    /// Holds the program and its links.
    _object: Ebpf,
}

/// An entry as it can be found again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    pub key: Key,
    pub slot: u32,
}

impl Program {
    /// Loads it and puts it on all of `links`; says on which and how. The error is for the operator: what failed, and what can be done.
    pub fn load(links: &[&Link], attach: Attach) -> Result<(Program, String), String> {
        let mut object = EbpfLoader::new().load(OBJECT).map_err(|error| refused("the kernel does not load it", &error))?;
        let mut where_to = Vec::new();
        {
            let program = object.program_mut("relay").ok_or("the object holds no program named relay")?;
            let program: &mut Xdp = program.try_into().map_err(|error| refused("the object is of another kind", &error))?;
            program.load().map_err(|error| refused("the kernel does not load it", &error))?;
            for link in links {
                where_to.push(format!("{} ({})", link.name, put_on(program, link, attach)?));
            }
        }
        let taken = |object: &mut Ebpf, name: &str| object.take_map(name).ok_or(format!("the object holds no map named {name}"));
        let mut interfaces =
            DevMapHash::try_from(taken(&mut object, "interfaces")?).map_err(|error| refused("the map of interfaces is of another kind", &error))?;
        for link in links {
            interfaces.insert(link.index, link.index, None, 0).map_err(|error| refused("an interface cannot be sent to", &error))?;
        }
        let entries = HashMap::try_from(taken(&mut object, "entries")?).map_err(|error| refused("the map of entries is of another kind", &error))?;
        let counts = Array::try_from(taken(&mut object, "counts")?).map_err(|error| refused("the map of counts is of another kind", &error))?;
        Ok((Program { entries, counts, free: (0..ROOM).collect(), stuck: Vec::new(), _object: object }, where_to.join(", ")))
    }

    /// Room for another direction. `None`: full.
    pub fn reserve(&mut self) -> Option<u32> {
        self.free.pop_front()
    }

    /// `start` stands before the first packet can count. Errors: the kernel has no room for it; the place is free again.
    pub fn insert(&mut self, lease: Lease, entry: &[u8; ENTRY], start: &Count) -> Result<(), String> {
        self.sweep();
        let put = self.counts.set(lease.slot, start.write(), 0).and_then(|()| self.entries.insert(lease.key, entry, 0));
        if let (Ok(()), Some(at)) = (&put, self.stuck.iter().position(|old| old.key == lease.key)) {
            // What stood there is written over.
            self.free.push_back(self.stuck.swap_remove(at).slot);
        }
        put.map_err(|error| {
            self.free.push_back(lease.slot);
            refused("an entry is refused", &error)
        })
    }

    /// The same entry with another content; what it counts goes on. Where the kernel refuses, the old content stands.
    pub fn update(&mut self, lease: Lease, entry: &[u8; ENTRY]) {
        let _ = self.entries.insert(lease.key, entry, 0);
    }

    pub fn read(&self, slot: u32) -> Option<Count> {
        self.counts.get(&slot, 0).ok().map(|count| Count::read(&count))
    }

    /// No packet goes by the entry any more; what it counted in all, and whether the kernel has deleted it. One that it would not delete fits no packet
    /// from now on, if it takes that, and is deleted with a later change.
    pub fn remove(&mut self, lease: Lease) -> (Option<Count>, bool) {
        self.sweep();
        let gone = delete(|| self.entries.remove(&lease.key));
        if !gone {
            // No payload type may pass.
            self.update(lease, &[0; ENTRY]);
            self.stuck.push(lease);
        }
        let count = self.read(lease.slot);
        if gone {
            self.free.push_back(lease.slot);
        }
        (count, gone)
    }

    /// Deletes what could not be deleted before.
    fn sweep(&mut self) {
        for lease in std::mem::take(&mut self.stuck) {
            match delete(|| self.entries.remove(&lease.key)) {
                true => self.free.push_back(lease.slot),
                false => self.stuck.push(lease),
            }
        }
    }
}

/// Puts the program on one interface and says how it sits there.
fn put_on(program: &mut Xdp, link: &Link, attach: Attach) -> Result<&'static str, String> {
    let attempts: &[(XdpMode, &str)] = match attach {
        Attach::Driver => &[(XdpMode::Driver, "driver")],
        Attach::Generic => &[(XdpMode::Skb, "generic")],
        Attach::Best if link.kind.is_empty() => &[(XdpMode::Driver, "driver"), (XdpMode::Skb, "generic")],
        Attach::Best => &[(XdpMode::Skb, "generic")],
    };
    let mut failed = String::new();
    for (mode, name) in attempts {
        match program.attach_to_if_index(link.index, *mode) {
            Ok(_) => return Ok(name),
            Err(error) => failed = refused(&format!("it cannot sit on {}", link.name), &error),
        }
    }
    Err(failed)
}

/// An error with all its causes, in one line.
fn refused(what: &str, error: &dyn Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        // The verifier's log has many lines, of which the last ones tell.
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if !text.contains(last) {
            text = format!("{text}: {last}");
        }
        cause = deeper.source();
    }
    text
}

const _: () = assert!(KEY == 36 && ENTRY == 88 && COUNT == 48, "as the program has them");
