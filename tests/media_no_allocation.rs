//! `Stream::packet` allocates nothing, in none of the four cells, for good packets and bad, whatever the source.

mod packets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use packets::*;
use portcullis::media::control::{LatchPolicy, Side};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{TAIL_ROOM, Verdict};

/// Counts what this thread asks for. Every call goes to the system's allocator unchanged.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: each method hands its arguments on to `System`, whose contract is the caller's, and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_packet_costs_no_allocation() {
    for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut stream = stream(a, b, LatchPolicy::SignalledAddress);
        let mut peer = sender(1);
        let mut packets: Vec<(Channel, Vec<u8>)> = Vec::new();
        for n in 0..3_000u16 {
            // Twelve sources: more than any table holds.
            let clear = voice(u32::from(n % 12), n, u32::from(n));
            packets.push((Channel::Rtp, if a { protect(&mut peer, &clear).unwrap_or(clear) } else { clear }));
            if n % 50 == 0 {
                let clear = report(u32::from(n));
                packets.push((Channel::Rtcp, if a { protect(&mut peer, &clear).unwrap() } else { clear }));
                packets.push((Channel::Rtp, vec![0x80; 200]));
                packets.push((Channel::Rtcp, vec![0x80, 201, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8]));
                packets.push((Channel::Rtp, vec![]));
            }
        }
        let mut buffers: Vec<_> = packets.iter().map(|(channel, packet)| (*channel, [&packet[..], &[0; TAIL_ROOM]].concat())).collect();
        let (from, rtcp) = (at(A), at("192.0.2.1:4001"));
        let mut forwarded = 0;
        let before = ASKED.get();
        for (channel, buffer) in &mut buffers {
            let len = buffer.len() - TAIL_ROOM;
            let from = if *channel == Channel::Rtp { from } else { rtcp };
            if let Verdict::Forward { .. } = stream.packet(T0, Side::A, *channel, from, buffer, len) {
                forwarded += 1;
            }
        }
        let asked = ASKED.get() - before;
        assert_eq!(asked, 0, "SRTP in {a}, out {b}");
        assert!(forwarded > 500, "{forwarded} forwarded with SRTP in {a}, out {b}");
    }
}

#[test]
fn the_count_counts() {
    let before = ASKED.get();
    std::hint::black_box(vec![1u8; 100]);
    assert_eq!(ASKED.get() - before, 2);
}
