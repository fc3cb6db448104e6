//! The tests of `relay_streams` with the sockets by io_uring. Where the kernel has none, the worker falls back and they run by epoll once more; that it
//! has one is shown by `the_kernel_has_it`.

use portcullis::adapters::media::path::{Io, Way};
use portcullis::adapters::media::{IoChoice, MediaPlane, Settings};

#[path = "relay_streams.rs"]
mod streams;

pub const IO: IoChoice = IoChoice::IoUring;

#[test]
fn the_kernel_has_it() {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let plane = MediaPlane::start(Settings { io: IO, ..Settings::default() }, std::time::Instant::now(), events).unwrap();
    let probe = plane.probes().iter().find(|probe| probe.way == Way::Sockets(Io::IoUring)).expect("it was tried");
    assert!(probe.outcome.is_ok(), "io_uring is needed to test it: {:?}", probe.outcome);
}
