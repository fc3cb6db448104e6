//! The path of one packet through a stream, as a short list of named steps (`Stream::steps`).

mod aside;
mod datagram;
mod digits;
mod refusals;

use std::net::SocketAddr;
use std::time::Duration;

use crate::media::control::{Clocks, Configuration, Content, Heard, Protection, Rekeyed, Report, Side, SideReport, Signalled, StreamId, Told};
use crate::media::demux::Kind;
use crate::media::fax::{self, Fax};
use crate::media::latch::{Admitted, Latch};
use crate::media::packet::View;
use crate::media::payloads::Payloads;
use crate::media::protection::{self, Inbound, Outbound, Transformation};
use crate::media::quality::Reception;
use crate::media::srtp::{Receiver, Sender};
use crate::media::upkeep::{LastReport, Upkeep};
use crate::media::{demux, rtcp};
use crate::sdp::direction::Direction;
use crate::time::Time;

use aside::Aside;
use digits::{Digits, Judged};
use refusals::refuse;

pub use crate::media::packet::Channel;
pub use crate::media::srtp::KeyError;
pub use aside::Claimant;
pub use digits::PACKET as DIGIT;
pub use refusals::DropReason;

/// Bytes a packet may grow by on its way through (an MKI of 128, the SRTCP index, a tag of 16): room the caller leaves behind it in the buffer.
pub const TAIL_ROOM: usize = 160;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send `buffer[..len]` to `to`, out of the other side's socket for `channel`.
    Forward {
        to: SocketAddr,
        len: usize,
        channel: Channel,
    },
    /// Send `buffer[..len]` back to where the packet came from, out of the socket it came by: a check of ICE is answered.
    Reply {
        len: usize,
    },
    /// The packet, unchanged, is for the side's DTLS association.
    Handshake,
    /// It was heard as part of a digit, or a digit is under way in its place: nothing to send. See `Stream::take_digit`.
    Heard,
    Drop(DropReason),
}

/// One side of a stream: where its peer is, and what was counted.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) latch: Latch,
    /// As the peer sees it.
    direction: Direction,
    /// Of what the peer sends.
    clocks: Clocks,
    pub(super) counts: SideReport,
    /// The peer's last sender report.
    reported: Option<LastReport>,
    /// RTCP of our own for the peer, where it is asked for.
    upkeep: Option<Box<Upkeep>>,
    /// RTCP to and from the peer shares the port of RTP (RFC 5761).
    mux: bool,
    /// Where the side is keyed by DTLS.
    aside: Option<Box<Aside>>,
}

impl End {
    /// What a packet on one of the side's channels is: RTCP on the port of RTP is RTCP where the peer was told that it may send it there.
    #[inline]
    fn content(&self, arrived: Channel, packet: &[u8]) -> Channel {
        if self.mux && arrived == Channel::Rtp && demux::classify(packet) == Kind::Rtcp { Channel::Rtcp } else { arrived }
    }

    /// The channel by which the peer is sent what is of `content`.
    #[inline]
    fn exit(&self, content: Channel) -> Channel {
        if self.mux { Channel::Rtp } else { content }
    }
}

/// One way through a stream: in from one side, out to the other.
#[derive(Debug)]
pub(super) struct Path {
    inbound: Inbound,
    outbound: Outbound,
    /// The cell of the table for these two.
    transformation: &'static Transformation,
    /// One side does not send now, or the other does not receive: no RTP passes.
    pub(super) is_held: bool,
    pub(super) payloads: Payloads,
    pub(super) reception: Reception,
    /// What another stream knew of this peer's packets, until there are keys here.
    legacy: Option<Box<Receiver>>,
    /// What was sent under SRTP, while nothing is.
    spent: Option<Box<Sender>>,
}

impl Default for Path {
    fn default() -> Path {
        let (inbound, outbound) = (Inbound::Unset, Outbound::Unset);
        Path {
            transformation: protection::choose(&inbound, &outbound),
            inbound,
            outbound,
            is_held: false,
            payloads: Payloads::default(),
            reception: Reception::default(),
            legacy: None,
            spent: None,
        }
    }
}

impl Path {
    fn choose(&mut self) {
        self.transformation = protection::choose(&self.inbound, &self.outbound);
    }

    /// Whether a packet from another address than its sender had until now shows that it is of the same one: by its tag, if it is not an old one that
    /// somebody sends on; without SRTP, on the same host only, by its SSRC and by going on where the sender was, once that has fallen silent. RTCP in the
    /// clear shows nothing.
    #[cold]
    fn is_same_sender(&self, now: Time, admitted: Admitted, view: &View, in_kernel: bool) -> bool {
        match (&self.inbound, admitted, view) {
            (_, Admitted::Expected | Admitted::Checked, _) => true,
            (Inbound::Srtp(_), _, View::Rtp(header)) => !self.reception.is_behind(header),
            (Inbound::Srtp(_), _, View::Rtcp(_)) => true,
            (_, Admitted::Moved, View::Rtp(header)) => self.reception.goes_on(now, header, in_kernel),
            (_, Admitted::Moved, View::Rtcp(_)) | (_, Admitted::Elsewhere, _) => false,
        }
    }

    /// How what goes out is protected from now on. A sender that had to go is kept: should its key come back, it must go on where it was.
    fn send_by(&mut self, protection: &Protection) -> Result<(), KeyError> {
        match (&self.outbound, protection) {
            (Outbound::Srtp(_) | Outbound::Shared { .. }, Protection::Plain) => self.unset_outbound(),
            (Outbound::Unset | Outbound::Plain, Protection::Shared(_)) => self.outbound = self.spent.take().map_or(Outbound::Unset, Outbound::Srtp),
            (Outbound::Unset | Outbound::Plain, Protection::Srtp(parameters)) => {
                if let Some(sender) = &mut self.spent {
                    sender.rekey(parameters)?;
                    self.outbound = self.spent.take().map_or(Outbound::Unset, Outbound::Srtp);
                }
            }
            _ => {}
        }
        self.outbound.configure(protection)
    }

    fn may_send_by(&self, protection: Option<&Protection>) -> Result<(), KeyError> {
        let sender = match &self.outbound {
            Outbound::Srtp(sender) => Some(sender),
            Outbound::Shared { before, .. } => before.as_ref(),
            Outbound::Unset | Outbound::Plain => self.spent.as_ref(),
        };
        match (sender, protection) {
            (Some(sender), Some(Protection::Srtp(parameters))) => sender.may_rekey(parameters),
            _ => Ok(()),
        }
    }

    fn unset_outbound(&mut self) {
        if let Outbound::Srtp(sender) | Outbound::Shared { before: Some(sender), .. } = std::mem::take(&mut self.outbound) {
            self.spent = Some(sender);
        }
    }

    /// The keys may come before what was known under them, or after.
    fn settle_legacy(&mut self) {
        if let Inbound::Srtp(receiver) = &mut self.inbound {
            self.legacy.take_if(|elder| receiver.succeed(elder));
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!((&self.inbound, &self.outbound), (Inbound::Plain, Outbound::Plain))
    }

    /// `ssrc` has come to `highest` (cycles and sequence number) by packets that went past us: its ROC is to follow.
    pub(super) fn went_past(&mut self, ssrc: u32, highest: u32) {
        if let (Inbound::Srtp(receiver), Some(known)) = (&mut self.inbound, self.reception.pace_of(ssrc)) {
            let by = highest.wrapping_sub(known.highest);
            if by as i32 > 0 {
                receiver.went_past(ssrc, by);
            }
        }
    }

    /// Packets go on as they came, under a key that both peers have.
    pub(super) fn is_opaque(&self) -> bool {
        self.transformation.is_opaque
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_held && !matches!((&self.inbound, &self.outbound), (Inbound::Unset, _) | (_, Outbound::Unset))
    }
}

/// One m-line of a call: two sides, each with RTP and RTCP.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    silence: Option<Duration>,
    /// The last packet accepted from either side, or the last time the stream was set up otherwise.
    pub(super) heard: Time,
    pub(super) a: End,
    pub(super) b: End,
    pub(super) from_a: Path,
    pub(super) from_b: Path,
    pub(super) fax: Fax,
    /// Where one side says digits by events and the other by INFO. Boxed: few streams have it.
    digits: Option<Box<Digits>>,
}

/// A packet that passed every step.
struct Passed {
    to: SocketAddr,
    len: usize,
    content: Channel,
    exit: Channel,
}

impl Stream {
    /// `silence`: see `silent_since`.
    pub fn new(stream: StreamId, silence: Option<Duration>, now: Time) -> Stream {
        let (a, b) = (End::default(), End::default());
        Stream { id: stream, silence, heard: now, a, b, from_a: Path::default(), from_b: Path::default(), fax: Fax::default(), digits: None }
    }

    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Carries out `control::Command::Configure`. A protection equal to the present one keeps its packet indices and replay lists; a new receive key
    /// starts the replay lists anew; a new remote opens the latch again. On an error nothing is changed.
    pub fn configure(&mut self, now: Time, side: Side, set: Configuration) -> Result<(), KeyError> {
        for protection in [&set.receive, &set.transmit].into_iter().flatten() {
            protection::check(protection)?;
        }
        let (near, far, path_in, path_out) = match side {
            Side::A => (&mut self.a, &self.b, &mut self.from_a, &mut self.from_b),
            Side::B => (&mut self.b, &self.a, &mut self.from_b, &mut self.from_a),
        };
        path_out.may_send_by(set.transmit.as_ref())?;
        if near.keyed_aside(&set) {
            path_in.inbound = Inbound::Unset;
            path_out.unset_outbound();
            path_out.outbound = Outbound::Unset;
        }
        let before = near.latch.remote();
        match &mut near.aside {
            Some(aside) => aside.configure(&mut near.latch, &set),
            None => near.latch.configure(set.remote, set.latch),
        }
        near.mux = set.mux.unwrap_or(near.mux);
        if let Some(protection) = &set.receive
            && path_in.inbound.configure(now, protection, near.latch.remote() == before)?
        {
            let number = near.counts.rekeyed.map_or(0, |rekeyed| rekeyed.number).saturating_add(1);
            near.counts.rekeyed = Some(Rekeyed { number, at: now });
        }
        path_in.settle_legacy();
        if let Some(protection) = &set.transmit {
            path_out.send_by(protection)?;
        }
        path_in.choose();
        path_out.choose();
        if let Some(payloads) = set.payloads {
            path_in.payloads = payloads;
        }
        near.direction = set.direction.unwrap_or(near.direction);
        near.clocks = set.clocks.unwrap_or(near.clocks);
        path_in.is_held = !(near.direction.sends() && far.direction.receives());
        path_out.is_held = !(far.direction.sends() && near.direction.receives());
        if let Some(terms) = set.digits {
            self.convert_digits(side, terms);
        }
        self.heard = now;
        Ok(())
    }

    /// What `side` knows of its peer's packets, for a stream the peer goes on in: see `control::Command::Succeed`. `None`: they are not protected.
    pub fn bequeath(&self, side: Side) -> Option<Box<Receiver>> {
        match &self.way(side).2.inbound {
            Inbound::Srtp(receiver) => receiver.twin().map(Box::new),
            _ => None,
        }
    }

    /// The peer of `side` goes on from where `elder` was, as soon as its keys are known if they are not yet.
    pub fn inherit(&mut self, side: Side, elder: Box<Receiver>) {
        let path = match side {
            Side::A => &mut self.from_a,
            Side::B => &mut self.from_b,
        };
        path.legacy = Some(elder);
        path.settle_legacy();
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// The side packets from `side` come from, the one they go to, and the way between.
    pub(super) fn way(&self, side: Side) -> (&End, &End, &Path) {
        match side {
            Side::A => (&self.a, &self.b, &self.from_a),
            Side::B => (&self.b, &self.a, &self.from_b),
        }
    }

    /// Carries out `control::Command::Carry`.
    pub fn carry(&mut self, now: Time, content: Content) {
        self.fax.configure(content);
        self.heard = now;
    }

    /// Carries out `control::Command::KeepRtcp`.
    pub fn keep_rtcp(&mut self, now: Time, side: Side, every: Option<Duration>, ssrc: u32) {
        let end = self.end_mut(side);
        end.upkeep = every.map(|every| {
            let known = end.upkeep.as_deref().map(|upkeep| upkeep.paced(every));
            Box::new(known.unwrap_or(Upkeep::new(now, every, ssrc)))
        });
    }

    /// The packet that arrived on `side`'s RTP or RTCP socket, in `buffer[..len]`; rewritten in place. The buffer should have `TAIL_ROOM` bytes behind it.
    pub fn packet(&mut self, now: Time, side: Side, channel: Channel, from: SocketAddr, buffer: &mut [u8], len: usize) -> Verdict {
        if self.fax.t38.is_some() {
            return self.datagram(now, side, channel, from, buffer, len);
        }
        let passed = self.steps(now, side, channel, from, buffer, len);
        let (near, far) = match side {
            Side::A => (&mut self.a, &mut self.b),
            Side::B => (&mut self.b, &mut self.a),
        };
        match passed {
            Ok(Passed { to, len, content, exit }) => {
                match content {
                    Channel::Rtp => {
                        far.counts.sent += 1;
                        far.counts.first_sent.get_or_insert(now);
                        far.counts.last_sent = Some(now);
                    }
                    Channel::Rtcp => {
                        far.counts.rtcp_sent += 1;
                        if let Some(upkeep) = &mut far.upkeep {
                            upkeep.relayed(now);
                        }
                    }
                }
                Verdict::Forward { to, len, channel: exit }
            }
            Err(DropReason::Digit) => Verdict::Heard,
            Err(DropReason::NotMedia) if near.aside.is_some() => self.aside(now, side, channel, from, buffer, len),
            Err(reason) => {
                refuse(now, &mut near.counts, reason, from, demux::classify(buffer.get(..len).unwrap_or_default()));
                Verdict::Drop(reason)
            }
        }
    }

    /// The way of a packet. What comes before `accept` changes nothing but, under SRTP, the receiving context of an authentic packet.
    #[inline]
    fn steps(&mut self, now: Time, side: Side, arrived: Channel, from: SocketAddr, buffer: &mut [u8], len: usize) -> Result<Passed, DropReason> {
        let (near, far, path, back) = match side {
            Side::A => (&mut self.a, &self.b, &mut self.from_a, &self.from_b),
            Side::B => (&mut self.b, &self.a, &mut self.from_b, &self.from_a),
        };
        let packet = buffer.get(..len).ok_or(DropReason::Malformed)?;
        let channel = near.content(arrived, packet);
        belongs(channel, packet)?;
        let admitted = near.latch.admits(arrived, from).or_else(|refused| near.checked(from).ok_or(refused))?;
        let view = View::parse(channel, packet)?;
        let len = (path.transformation.unprotect)(&mut path.inbound, now, &view, buffer, len)?;
        let packet = buffer.get_mut(..len).ok_or(DropReason::Malformed)?;
        let is_opaque = path.is_opaque();
        if !is_opaque {
            view.check_clear(packet)?;
        }
        if admitted.is_to_be_proven() && !path.is_same_sender(now, admitted, &view, near.counts.absorbed > 0) {
            return Err(DropReason::Source);
        }
        if admitted != Admitted::Checked && near.latch.settle(arrived, from) {
            near.counts.relatched += 1;
        }
        self.heard = now;
        accept(now, near, far, &mut path.reception, &view, packet, is_opaque);
        if let (View::Rtcp(_), Outbound::Srtp(sender), false) = (&view, &back.outbound, is_opaque) {
            rtcp::lower_numbers(packet, |ssrc| sender.shift(ssrc));
        }
        if let View::Rtp(header) = &view
            && !is_opaque
            && packet.len() <= header.length + fax::LONGEST_EVENT
        {
            self.fax.listen(side, header, packet);
        }
        let mut len = len;
        if let View::Rtp(header) = &view {
            if path.is_held {
                return Err(DropReason::OnHold);
            }
            let judged = match &mut self.digits {
                Some(digits) if !is_opaque => digits.judge(now, side, header, near.clocks.of(header.payload_type), buffer, len)?,
                Some(_) | None => Judged::Passes,
            };
            match judged {
                Judged::Replaced(shorter) => len = shorter,
                Judged::Passes => {
                    let payload_type = path.payloads.outgoing(header.payload_type).ok_or(DropReason::Payload(header.payload_type))?;
                    if is_opaque && payload_type != header.payload_type {
                        return Err(DropReason::Payload(header.payload_type));
                    }
                    header.renumber(buffer, payload_type);
                }
            }
        }
        let exit = far.exit(channel);
        let to = far.latch.destination(exit)?;
        let len = (path.transformation.protect)(&mut path.outbound, now, &view, buffer, len)?;
        Ok(Passed { to, len, content: channel, exit })
    }

    /// Whose fax tone was heard, once per stream.
    pub fn take_fax_tone(&mut self) -> Option<Side> {
        self.fax.take_tone()
    }

    /// RTCP of our own for `side`'s peer if it is due: written into `buffer`, which should have room for `upkeep::LONGEST` and `TAIL_ROOM`, under the side's
    /// protection. To be sent out of that side's socket for the channel.
    pub fn upkeep(&mut self, now: Time, side: Side, buffer: &mut [u8]) -> Option<(Channel, SocketAddr, usize)> {
        if self.rtcp_due(side).is_none_or(|due| due > now) {
            return None;
        }
        let (near, path_in, path_out) = match side {
            Side::A => (&mut self.a, &self.from_a, &mut self.from_b),
            Side::B => (&mut self.b, &self.from_b, &mut self.from_a),
        };
        let exit = near.exit(Channel::Rtcp);
        let to = near.latch.destination(exit).ok()?;
        let upkeep = near.upkeep.as_mut()?;
        upkeep.avoid(|ssrc| path_in.reception.sources().chain(path_out.reception.sources()).any(|(source, _)| source == ssrc));
        let len = upkeep.write(now, &path_in.reception, near.reported, buffer)?;
        let view = View::Rtcp(upkeep.ssrc());
        let len = (path_out.outbound.transformation().protect)(&mut path_out.outbound, now, &view, buffer, len).ok()?;
        near.counts.rtcp_sent += 1;
        near.counts.rtcp_made += 1;
        Some((exit, to, len))
    }

    /// When RTCP of our own is due on a side. `None`: nobody asks for it, there is nowhere to send it, or a fax is under way.
    fn rtcp_due(&self, side: Side) -> Option<Time> {
        let (near, path_out) = match side {
            Side::A => (&self.a, &self.from_b),
            Side::B => (&self.b, &self.from_a),
        };
        let can = self.fax.t38.is_none() && near.latch.is_ready() && !matches!(path_out.outbound, Outbound::Unset | Outbound::Shared { .. });
        near.upkeep.as_ref().filter(|_| can).map(|upkeep| upkeep.due())
    }

    /// When `upkeep` is to be asked next.
    pub fn next_upkeep(&self) -> Option<Time> {
        [self.rtcp_due(Side::A), self.rtcp_due(Side::B)].into_iter().flatten().min()
    }

    /// Since when nothing was accepted from either side, once that has lasted as long as `silence` allows. Counts only while both sides are
    /// configured and neither is on hold; a `configure` starts it again. Stays `Some` until a packet is accepted: the caller reports it once.
    pub fn silent_since(&self, now: Time) -> Option<Time> {
        self.deadline().is_some_and(|deadline| deadline <= now).then_some(self.heard)
    }

    /// When `silent_since` will become `Some` if nothing is accepted until then. `None`: no limit, or not counting.
    pub fn deadline(&self) -> Option<Time> {
        let counting = self.a.latch.is_ready() && self.b.latch.is_ready() && self.from_a.is_open() && self.from_b.is_open();
        let least = if self.fax.t38.is_some() { fax::SILENCE } else { Duration::ZERO };
        self.silence.filter(|_| counting).map(|silence| self.heard + silence.max(least))
    }

    /// What the stream occupies beside itself: protection and RTCP of our own. Unit: bytes.
    pub fn heap_bytes(&self) -> usize {
        let upkeep = [&self.a, &self.b].into_iter().filter(|end| end.upkeep.is_some()).count() * size_of::<Upkeep>();
        let protection: usize = [&self.from_a, &self.from_b].into_iter().map(|path| protection::heap_bytes(&path.inbound, &path.outbound)).sum();
        let asides: usize = [&self.a, &self.b].into_iter().filter_map(|end| end.aside.as_deref()).map(Aside::heap_bytes).sum();
        let digits = self.digits.as_deref().map_or(0, size_of_val);
        upkeep + protection + self.from_a.payloads.heap_bytes() + self.from_b.payloads.heap_bytes() + asides + digits
    }

    /// Everything counted so far.
    pub fn report(&self) -> Report {
        let [lost_a, lost_b] = self.fax.lost();
        Report { a: side_report(&self.a, &self.from_a, lost_a), b: side_report(&self.b, &self.from_b, lost_b) }
    }
}

/// Whether the datagram is what the channel is for.
#[inline]
fn belongs(channel: Channel, packet: &[u8]) -> Result<(), DropReason> {
    match demux::classify(packet) {
        kind if channel.carries(kind) => Ok(()),
        Kind::Rtp | Kind::Rtcp => Err(DropReason::WrongChannel),
        _ => Err(DropReason::NotMedia),
    }
}

/// Counts an accepted packet and takes from RTCP what the other side shall not learn; of opaque RTCP there is nothing to read or to take.
#[inline]
fn accept(now: Time, near: &mut End, far: &End, reception: &mut Reception, view: &View, packet: &mut [u8], is_opaque: bool) {
    let counts = &mut near.counts;
    counts.first.get_or_insert(now);
    counts.last = Some(now);
    match view {
        View::Rtp(header) => {
            counts.received += 1;
            counts.received_bytes += packet.len() as u64;
            reception.received(now, header, &near.clocks);
        }
        View::Rtcp(_) => {
            counts.rtcp_received += 1;
            if is_opaque {
                return;
            }
            near.reported = LastReport::read(now, packet).or(near.reported);
            if let Some(reported) = far.reported {
                hear_of(now, counts, &reported, packet);
            }
            rtcp::conceal(packet);
        }
    }
}

/// What a side's RTCP says of what the other sends it: losses, and how long our way to it and back is, since the other's report passed here (§6.4.1).
fn hear_of(now: Time, counts: &mut SideReport, reported: &LastReport, compound: &[u8]) {
    for block in rtcp::blocks(compound).filter(|block| block.source == reported.source()) {
        counts.told = Some(Told { at: now, fraction_lost: block.fraction_lost, lost: block.lost, jitter: block.jitter });
        if let Some(way) = reported.round_trip(now, &block) {
            counts.round_trip_us = Some(u32::try_from(way.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

fn side_report(end: &End, path: &Path, fax_lost: u64) -> SideReport {
    let (signalled, latch) = end.latch.terms();
    SideReport {
        fax_lost,
        lost: path.reception.lost(),
        gaps: path.reception.gaps(),
        payload_type: path.reception.payload_type(),
        jitter_us: path.reception.jitter_us(),
        heard: path.reception.heard().map(|(ssrc, seen)| Heard {
            ssrc,
            fraction_lost: seen.fraction_lost(None),
            lost: seen.lost(),
            highest: seen.highest(),
            jitter: seen.jitter(),
        }),
        last_rtp: path.reception.last().max(end.counts.last_rtp),
        signalled,
        latch,
        latched: end.latch.latched(),
        opaque: path.is_opaque(),
        takes_none: signalled == Signalled::Held || !end.direction.receives(),
        sends_none: !end.direction.sends(),
        // A packet taken since ends the run, though nothing was noted then.
        failing: end.counts.failing.and_then(|run| run.unbroken(end.counts.last)),
        replaying: end.counts.replaying.and_then(|run| run.unbroken(end.counts.last)),
        ..end.counts.clone()
    }
}
