//! What the network has counted since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters once: the live ones and the snapshot.
macro_rules! counters {
    ($($(#[doc = $meaning:literal])* $name:ident,)*) => {
        #[derive(Default)]
        pub(super) struct Counters { $(pub $name: AtomicU64,)* }

        /// A snapshot of the counters.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counts { $($(#[doc = $meaning])* pub $name: u64,)* }

        impl Counts {
            /// Every counter by its name.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        impl Counters {
            pub fn snapshot(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Datagrams from peers passed on.
    datagrams_received,
    datagrams_sent,
    /// Datagrams that had to wait because the socket would block.
    datagrams_queued,
    /// Whole messages from streams passed on.
    messages_received,
    /// Messages handed to a stream's socket.
    messages_sent,
    /// Keep-alives received, datagrams of line ends included.
    keep_alives,
    /// Datagrams dropped because no peer lives at their source.
    strangers_udp,
    /// Connections closed at accept because no peer lives at their source.
    strangers_tcp,
    strangers_tls,
    /// Datagrams and connections dropped because their source is banned; not among the strangers.
    banned,
    /// Inbound TLS handshakes that failed, certificates refused included.
    handshakes_failed,
    /// Inbound TLS handshakes that had to wait because they came too fast from one address, or too many at once.
    handshakes_delayed,
    /// Those that waited in vain.
    handshakes_refused,
    /// Inbound connections closed at accept because a limit was reached.
    connections_refused,
    connections_accepted,
    /// Outbound connections established.
    connections_made,
    /// Outbound connections that could not be established.
    connections_failed,
    /// Open connections given to another process of this border as they stood.
    connections_moved,
    /// Open connections whose other end is no longer trusted.
    connections_untrusted,
    /// Requests refused on those, until they were closed.
    requests_while_leaving,
    /// Connections closed because a message did not come whole in time.
    partial_messages,
    /// Connections closed because the stream could not be cut into messages.
    broken_streams,
    /// `TransportFailed` reports.
    transmissions_failed,
    /// Failed calls of accept, receive and the like.
    socket_errors,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
