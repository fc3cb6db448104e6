//! What the workers count, and how other threads read it while they do.

use std::sync::atomic::{AtomicU64, Ordering};

use super::streams::Open;

/// What all workers counted since the start, besides what each stream's report holds. Read at any time, from any thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Streams open now.
    pub streams: u64,
    pub received: u64,
    pub forwarded: u64,
    pub dropped: u64,
    /// Datagrams the kernel would not take from us: no route, full queue, an ICMP error of an earlier one.
    pub send_failed: u64,
    /// Errors the kernel kept for our sockets, mostly ICMP errors (RFC 1122 §4.1.3.3): in the report of the side whose peer they are about. The stream goes on.
    pub receive_failed: u64,
    /// Datagrams longer than any we relay.
    pub oversized: u64,
    pub wakes: u64,
    /// Packets that the kernel has carried without us, as far as they have been asked for; part of `received` and `forwarded`.
    pub in_kernel: u64,
    /// Of `received`, those that came by the sockets streams share.
    pub in_frames: u64,
    /// Entries of the kernel's that it would not delete at once; each is tried again with the next change.
    pub undeleted: u64,
}

impl Counters {
    /// Every counter by its name but `streams`, which goes down as well.
    pub fn each(&self) -> [(&'static str, u64); 10] {
        [
            ("received", self.received),
            ("forwarded", self.forwarded),
            ("dropped", self.dropped),
            ("send_failed", self.send_failed),
            ("receive_failed", self.receive_failed),
            ("oversized", self.oversized),
            ("wakes", self.wakes),
            ("in_kernel", self.in_kernel),
            ("in_frames", self.in_frames),
            ("undeleted", self.undeleted),
        ]
    }

    /// Takes over what a stream's fronts have carried.
    pub(super) fn add_elsewhere(&mut self, open: &mut Open) {
        let packets = std::mem::take(&mut open.elsewhere);
        self.in_kernel += packets;
        self.received += packets;
        self.forwarded += packets;
        self.undeleted += std::mem::take(&mut open.undeleted);
    }

    pub(super) fn plus(self, other: Counters) -> Counters {
        Counters {
            streams: self.streams + other.streams,
            received: self.received + other.received,
            forwarded: self.forwarded + other.forwarded,
            dropped: self.dropped + other.dropped,
            send_failed: self.send_failed + other.send_failed,
            receive_failed: self.receive_failed + other.receive_failed,
            oversized: self.oversized + other.oversized,
            wakes: self.wakes + other.wakes,
            in_kernel: self.in_kernel + other.in_kernel,
            in_frames: self.in_frames + other.in_frames,
            undeleted: self.undeleted + other.undeleted,
        }
    }
}

/// A worker's counters as others may read them: written by one thread, once per wake.
#[derive(Default)]
pub(super) struct Tally([AtomicU64; 11]);

impl Tally {
    pub(super) fn write(&self, counters: &Counters) {
        let values = [
            counters.streams,
            counters.received,
            counters.forwarded,
            counters.dropped,
            counters.send_failed,
            counters.receive_failed,
            counters.oversized,
            counters.wakes,
            counters.in_kernel,
            counters.in_frames,
            counters.undeleted,
        ];
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Counters {
        let [streams, received, forwarded, dropped, send_failed, receive_failed, oversized, wakes, in_kernel, in_frames, undeleted] =
            std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        Counters { streams, received, forwarded, dropped, send_failed, receive_failed, oversized, wakes, in_kernel, in_frames, undeleted }
    }
}
