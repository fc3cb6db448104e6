//! A datagram of a T.38 fax over UDPTL on its way through a stream, in the place of RTP.

use std::net::SocketAddr;

use super::{Channel, DropReason, Stream, Verdict, refuse};
use crate::media::control::Side;
use crate::media::{demux, udptl};
use crate::time::Time;

impl Stream {
    /// A datagram of a fax under way. UDPTL has no protection here, so nothing of it passes where a side is to be protected, whatever signalling says.
    #[cold]
    pub(super) fn datagram(&mut self, now: Time, side: Side, channel: Channel, from: SocketAddr, buffer: &[u8], len: usize) -> Verdict {
        let (near, far, path) = match side {
            Side::A => (&mut self.a, &mut self.b, &self.from_a),
            Side::B => (&mut self.b, &mut self.a, &self.from_b),
        };
        let Some(t38) = &mut self.fax.t38 else { return Verdict::Drop(DropReason::NotReady) };
        let sequence = match side {
            Side::A => &mut t38.from_a,
            Side::B => &mut t38.from_b,
        };
        let passed = (|| {
            if channel == Channel::Rtcp {
                return Err(DropReason::WrongChannel);
            }
            let datagram = buffer.get(..len).ok_or(DropReason::Malformed)?;
            // UDPTL names no sender: nothing could show that who moved is the same.
            if near.latch.admits(channel, from)?.is_to_be_proven() {
                return Err(DropReason::Source);
            }
            if !path.is_plain() {
                return Err(DropReason::NotReady);
            }
            let number = udptl::check(datagram)?;
            if !sequence.accept(number) {
                return Err(DropReason::Malformed);
            }
            near.latch.settle(channel, from);
            self.heard = now;
            near.counts.first.get_or_insert(now);
            near.counts.last = Some(now);
            near.counts.fax_received += 1;
            Ok(far.latch.destination(channel)?)
        })();
        match passed {
            Ok(to) => {
                far.counts.fax_sent += 1;
                Verdict::Forward { to, len, channel }
            }
            Err(reason) => {
                refuse(now, &mut near.counts, reason, from, demux::classify(buffer.get(..len).unwrap_or_default()));
                Verdict::Drop(reason)
            }
        }
    }
}
