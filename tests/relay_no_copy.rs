//! From the socket a packet came by to the one it leaves by, the worker's thread asks for no memory and copies no payload, by both ways of serving
//! the sockets and where streams share one, in the clear and under SRTP; and what a stream occupies is told.
//!
//! The allocator and `memcpy`/`memmove` of this binary count what threads other than the tests' own do. A copy of a payload is of at least as many bytes.

mod relay_rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::sdp::crypto::Suite::AesCm128HmacSha1_80;
use relay_rig::{Call, Leg, PATIENCE, Plane};

/// Shorter than the payload of 160 bytes, longer than any header.
const PAYLOAD: usize = 100;

static ASKED: AtomicU64 = AtomicU64::new(0);
static COPIED: AtomicU64 = AtomicU64::new(0);
/// One test at a time: they share the counts.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Set on the tests' threads, whose doings do not count.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count(of: &AtomicU64) {
    if !OURS.try_with(Cell::get).unwrap_or(true) {
        of.fetch_add(1, Relaxed);
    }
}

// SAFETY: each method hands its arguments on to `System`, whose contract is the caller's, and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ASKED);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(&ASKED);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// In the place of the C library's, for this binary.
///
/// # Safety
/// As `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    unsafe { memmove(to, from, len) }
}

/// In the place of the C library's, for this binary.
///
/// # Safety
/// As `memmove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if len >= PAYLOAD && unsafe { is_payload(from, len) } {
        count(&COPIED);
    }
    // Byte by byte and volatile, or the compiler makes a call of this very function of it.
    if to.cast_const() <= from {
        for i in 0..len {
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        }
    } else {
        for i in (0..len).rev() {
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        }
    }
    to
}

/// Whether there is sound in the clear in it, which here is one byte over and over, but not zero: without optimisation the compiler moves values of our own
/// and key streams in this way as well. Under SRTP the sound is in the clear between the two protections; outside them packets go as those that are plain do.
///
/// # Safety
/// `len` bytes can be read at `from`.
unsafe fn is_payload(from: *const u8, len: usize) -> bool {
    let (mut run, mut longest, mut last) = (0, 0, 0u8);
    for i in 0..len.min(200) {
        let byte = unsafe { from.add(i).read_volatile() };
        run = if byte == last && byte != 0 { run + 1 } else { 1 };
        last = byte;
        longest = longest.max(run);
    }
    longest >= PAYLOAD
}

#[test]
fn a_packet_costs_the_worker_no_allocation_and_no_copy() {
    OURS.set(true);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for io in [IoChoice::Epoll, IoChoice::IoUring] {
        for secured in [false, true] {
            let leg = || if secured { Leg::Srtp(AesCm128HmacSha1_80) } else { Leg::Plain };
            let plane = Plane::start(Settings { io, ..Settings::default() });
            let mut call = Call::open(&plane, &leg(), &leg());
            costs_nothing(&plane, &mut call, &format!("{io:?}, SRTP {secured}"));
            let bytes = plane.plane.inspect(call.stream).expect("open").bytes;
            println!("{io:?}, SRTP {secured}: {bytes} bytes a stream");
            assert!(bytes < 16 * 1024, "{bytes} bytes a stream");
        }
    }
}

/// 600 packets of a call, once its first ones have passed.
fn costs_nothing(plane: &Plane, call: &mut Call, way: &str) {
    call.talk();
    let before = (ASKED.load(Relaxed), COPIED.load(Relaxed));
    let received = plane.plane.counters().received;
    for _ in 0..100 {
        // Several at once, and one alone.
        let sent: Vec<_> = (0..5).map(|_| call.a.send_rtp()).collect();
        for clear in sent {
            assert_eq!(call.b.take_rtp(PATIENCE).expect("arrives").expect("authenticates"), clear);
        }
        let clear = call.b.send_rtp();
        assert_eq!(call.a.take_rtp(PATIENCE).expect("arrives").expect("authenticates"), clear);
    }
    let after = (ASKED.load(Relaxed), COPIED.load(Relaxed));
    relay_rig::until(|| plane.plane.counters().received - received >= 600);
    assert_eq!(after, before, "{way}: allocations and copies of 600 packets");
}

/// The program that shares sockets serves a whole network namespace, so the test runs itself again in one of its own.
#[test]
fn nor_where_streams_share_a_socket() {
    const INSIDE: &str = "PORTCULLIS_TEST_NO_COPY";
    OURS.set(true);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os(INSIDE).is_none() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED nor_where_streams_share_a_socket: needs root, unshare and ip to make a network of its own");
            return;
        }
        let mut again = std::process::Command::new("unshare");
        again.args(["--net", "sh", "-c", "ip link set lo up && exec timeout 60 \"$@\"", "sh"]).arg(std::env::current_exe().expect("its program"));
        let again = again.args(["nor_where_streams_share_a_socket", "--exact", "--nocapture"]).env(INSIDE, "1").output().expect("unshare of util-linux");
        let text = String::from_utf8_lossy(&again.stdout).into_owned() + &String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    for secured in [false, true] {
        let leg = || if secured { Leg::Srtp(AesCm128HmacSha1_80) } else { Leg::Plain };
        let plane = Plane::sharing(Settings::default());
        let mut call = Call::open(&plane, &leg(), &leg());
        costs_nothing(&plane, &mut call, &format!("shared, SRTP {secured}"));
        assert!(plane.plane.counters().in_frames >= 600, "by the shared socket");
    }
}

#[test]
fn the_counts_count() {
    OURS.set(true);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = (ASKED.load(Relaxed), COPIED.load(Relaxed));
    let other = std::thread::spawn(|| {
        let mut to = std::hint::black_box(vec![0u8; std::hint::black_box(172)]);
        to.copy_from_slice(&std::hint::black_box([1u8; 172]));
        std::hint::black_box(&to);
    });
    other.join().unwrap();
    assert!(ASKED.load(Relaxed) >= before.0 + 2, "one was asked for and given back");
    assert!(COPIED.load(Relaxed) > before.1, "one was copied");
}
