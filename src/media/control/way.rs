//! The ways packets of one direction can take through the machine, as records and operators read them.

use std::fmt;

/// How packets of one direction are carried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// Forwarded by the kernel; we see counters, not packets.
    Kernel(KernelKind),
    /// In through one socket that streams share, out as whole packets: many calls' packets in one system call.
    Frames,
    /// Through the stream's own sockets: needs no privilege, works everywhere.
    Sockets(Io),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KernelKind {
    Xdp,
    Nft,
}

/// How the sockets are waited for, read and written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Io {
    Epoll,
    IoUring,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Kernel(KernelKind::Xdp) => "kernel (XDP)",
            Way::Kernel(KernelKind::Nft) => "kernel (nftables)",
            Way::Frames => "frames (shared sockets)",
            Way::Sockets(Io::Epoll) => "sockets (epoll)",
            Way::Sockets(Io::IoUring) => "sockets (io_uring)",
        })
    }
}
