//! Ports for a program that a test starts and that binds them itself.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the system gives out by itself (from 32768 on), so that no connection's own end takes one before the program does, and below
/// the ports for media of tests.
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

/// A port nobody has, for TCP and UDP, and that is given to no other caller in this process.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Test programs at the same time begin at different places.
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(97)));
    let mut all = (0..COUNT).map(|_| (FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT) as u16);
    all.find(|port| is_free(*port)).expect("somebody has ports all over; end other tests and benchmarks")
}

fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}
