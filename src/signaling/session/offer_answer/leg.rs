//! One leg of the session: what its peer said, what we said, and how we say it.

use super::codecs::Numbered;
use super::dtls::{Handshake, Theirs};
use super::keys::Ours;
use super::stream::{Kind, Stream};
use super::{Supply, Terms, keys, mux};
use crate::media::control::{Addresses, Command, Configuration, Side, StreamId};
use crate::policy::security_mode::{self, MediaPlan};
use crate::policy::verdict::Reason;
use crate::sdp::crypto::{Crypto, Suite};
use crate::sdp::{Attribute, Connection, Description, Direction, Line, Media, Origin, Proto, Text};

/// The m-lines of a leg in their places, which never change (RFC 3264 §8); all but the relayed one are off.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    lines: Vec<Media>,
    relayed: usize,
}

impl Layout {
    /// Makes room for a stream of this kind to be offered: the relayed line if it is of the kind, else another one that is (RFC 3264 §8.2: a line that is off
    /// may be used again), else the relayed line becomes one (§8.3.3: sound that turns out to be a fax is still the same stream). Its profile comes out.
    fn make_room(&mut self, kind: Kind, plan: &MediaPlan) -> Proto {
        let is = |media: &Media| Kind::of(media) == Some(kind);
        if !self.lines.get(self.relayed).is_some_and(is) {
            match self.lines.iter().position(is) {
                Some(other) => self.relayed = other,
                None => {
                    if let Some(line) = self.lines.get_mut(self.relayed) {
                        *line = empty_line(kind.word(), usual(kind, plan), Vec::new());
                    }
                }
            }
        }
        // What a peer keyed by DTLS has written for it goes on.
        let is_older = |proto: &Proto| kind == Kind::Audio && plan.is_dtls() && matches!(proto, Proto::Savp | Proto::Savpf);
        self.lines.get(self.relayed).map(|line| line.proto.clone()).filter(|proto| fits(kind, proto, plan) || is_older(proto)).unwrap_or(usual(kind, plan))
    }

    fn kind(&self) -> Option<Kind> {
        self.lines.get(self.relayed).and_then(Kind::of)
    }
}

/// What was understood of a peer's description, before anything is changed by it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub stream: Stream,
    pub origin: Option<Origin>,
    /// The peer's line that counts; `None` on a plain leg or with the stream off.
    pub theirs: Option<Crypto>,
    /// What it announced of its DTLS; `None` where nothing is keyed by it, or with the stream off.
    dtls: Option<Theirs>,
    /// RTCP is to share the port of RTP; a leg keyed by DTLS has that in `dtls`.
    mux: bool,
    layout: Layout,
}

impl Heard {
    pub fn is_same(&self, other: &Heard) -> bool {
        self.origin.is_some()
            && self.origin == other.origin
            && self.stream == other.stream
            && (self.stream.is_off || (&self.theirs, &self.dtls, self.mux) == (&other.theirs, &other.dtls, other.mux))
            && (self.layout.relayed, self.layout.lines.len()) == (other.layout.relayed, other.layout.lines.len())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub side: Side,
    pub terms: Terms,
    pub local: Option<Addresses>,
    session_id: Option<u64>,
    version: u64,
    layout: Option<Layout>,
    pub sent: Option<Description>,
    /// The payload types of what was sent last, and what they mean.
    pub said: Vec<Numbered>,
    origin: Option<Origin>,
    /// What the peer said last that was agreed upon.
    pub peer: Option<Stream>,
    /// The lines in force: how the peer protects, how we do.
    theirs: Option<Crypto>,
    pub ours: Option<Ours>,
    /// Our lines in what we sent last.
    offered: Vec<Ours>,
    pub handshake: Handshake,
    /// RTCP shares the port of RTP, as agreed last, and what we said of it last.
    mux: bool,
    said_mux: mux::Said,
}

impl Leg {
    pub fn new(side: Side, terms: Terms) -> Leg {
        Leg {
            side,
            terms,
            local: None,
            session_id: None,
            version: 0,
            layout: None,
            sent: None,
            said: Vec::new(),
            origin: None,
            peer: None,
            theirs: None,
            ours: None,
            offered: Vec::new(),
            handshake: Handshake::default(),
            mux: false,
            said_mux: mux::Said::default(),
        }
    }

    /// For another peer on this leg: nothing said so far holds, least of all keys. The ports stay.
    pub fn afresh(&self) -> Leg {
        Leg { local: self.local, ..Leg::new(self.side, self.terms.clone()) }
    }

    /// What the peer said last that was agreed upon.
    fn last_heard(&self) -> Option<Heard> {
        Some(Heard {
            stream: self.peer.clone()?,
            origin: self.origin.clone(),
            theirs: self.theirs.clone(),
            dtls: self.handshake.theirs.clone(),
            mux: self.mux,
            layout: self.layout.clone()?,
        })
    }

    /// For the same peer in another stream, on `side` of it: what he said, our o= line and the m-lines' places go on; ports and keys are to be new.
    pub fn in_another_stream(&self, side: Side) -> Leg {
        let handshake = self.handshake.elsewhere();
        Leg { side, local: None, theirs: None, ours: None, offered: Vec::new(), handshake, mux: false, said_mux: mux::Said::default(), ..self.clone() }
    }

    /// The peer's packets are protected, and by which key is known.
    pub fn is_keyed(&self) -> bool {
        self.theirs.is_some()
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn count_from(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// What was sent last counts again, under a version later than `version`.
    pub fn outlive(&mut self, version: u64) {
        self.version = self.version.max(version).saturating_add(1);
        if let Some(origin) = self.sent.as_mut().and_then(|sent| sent.origin.as_mut()) {
            origin.session_version = self.version.to_string();
        }
    }

    /// As it was in `agreed`, but never with a version number again that the peer has seen on something else.
    pub fn back_to(&mut self, agreed: &Leg) {
        let version = self.version;
        *self = agreed.clone();
        if version != self.version {
            self.version = version.saturating_add(1);
            if let Some(origin) = self.sent.as_mut().and_then(|sent| sent.origin.as_mut()) {
                origin.session_version = self.version.to_string();
            }
        }
    }

    /// The peer's line for one of `suites` in an offer, as [`keys::choose`] has it.
    pub fn line_of(&self, sdp: &Description, heard: &Heard, suites: &[Suite]) -> Result<Crypto, Reason> {
        let media = sdp.media.get(heard.layout.relayed).ok_or(Reason::MediaMalformed)?;
        keys::choose(media, suites, self.theirs.as_ref())
    }

    /// The stream as it would be offered here. `None`: nothing of it can be.
    pub fn would_offer(&self, stream: &Stream) -> Option<Stream> {
        stream.clone().permitted(self.terms.plan.sound(), &[]).ok().map(|stream| stream.offering(&self.known()))
    }

    /// Whether an answer has only numbers that we offered, or that everybody knows.
    pub fn has_said(&self, answered: &Stream) -> bool {
        answered.numbered().iter().all(|(number, _)| self.said.iter().any(|(said, _)| said == number))
    }

    pub fn read_offer(&self, sdp: &Description) -> Result<Heard, Reason> {
        self.read_offer_after(sdp, self.theirs.as_ref())
    }

    /// `in_force`: the line that counts if it is offered again.
    pub fn read_offer_after(&self, sdp: &Description, in_force: Option<&Crypto>) -> Result<Heard, Reason> {
        let index = match security_mode::relayed(&self.terms.plan, self.terms.transport, sdp) {
            Ok(index) => index,
            Err(Reason::MediaUnacceptable) if self.switches_off(sdp) => self.relayed(),
            Err(reason) => return Err(reason),
        };
        let mut stream = Stream::read(sdp, index)?.permitted(self.terms.plan.sound(), &[])?;
        let media = sdp.media.get(index).ok_or(Reason::MediaMalformed)?;
        let plan = &self.terms.plan;
        let needs_key = plan.is_srtp() && !plan.is_dtls() && !stream.is_off;
        let theirs = if needs_key { Some(keys::choose(media, plan.suites_taken(), in_force)?) } else { None };
        self.check_family(&stream)?;
        let dtls = if plan.is_dtls() && !stream.is_off { Some(Theirs::read(sdp, media)?) } else { None };
        if dtls.as_ref().is_some_and(Theirs::checks) {
            stream.found_by_checks(sdp, media);
        }
        let mux = mux::accepted(plan, media, &stream)?;
        Ok(Heard { stream, origin: sdp.origin.clone(), theirs, dtls, mux, layout: Layout { lines: skeleton(sdp), relayed: index } })
    }

    /// An established stream set to port 0, and nothing else asked for.
    fn switches_off(&self, sdp: &Description) -> bool {
        self.peer.is_some() && sdp.media.iter().all(|media| media.port == 0) && sdp.media.get(self.relayed()).is_some_and(|media| Kind::of(media).is_some())
    }

    /// Whether an offer says what the peer said last. Its o= line alone is not enough: some write the same one on everything.
    pub fn is_repeated(&self, sdp: &Description) -> bool {
        self.last_heard().is_some_and(|last| self.read_offer(sdp).is_ok_and(|heard| heard.is_same(&last)))
    }

    /// An answer to what we sent last: (what was understood, our line it chose).
    pub fn read_answer(&self, sdp: &Description) -> Result<(Heard, Option<Ours>), Reason> {
        let terms = &self.terms;
        if !terms.transport.is_encrypted() && security_mode::carries_keys(sdp) {
            return Err(Reason::KeysInClear);
        }
        let relayed = self.relayed();
        let mut stream = Stream::read(sdp, relayed)?.permitted(terms.plan.sound(), &self.said)?;
        let media = sdp.media.get(relayed).ok_or(Reason::MediaMalformed)?;
        let layout = self.layout.clone().ok_or(Reason::MediaUnacceptable)?;
        // RFC 3264 §6: the answer's line is of the kind of the offer's. A fax offer answered with sound, or the reverse, is no agreement.
        if layout.kind() != Some(stream.kind) {
            return Err(Reason::MediaUnacceptable);
        }
        let origin = sdp.origin.clone();
        if stream.is_off {
            return Ok((Heard { stream, origin, theirs: None, dtls: None, mux: false, layout }, None));
        }
        let is_older = stream.kind == Kind::Audio && terms.plan.takes(sdp, media);
        if !is_older && !fits(stream.kind, &media.proto, &terms.plan) {
            return Err(Reason::ModeMedia);
        }
        if stream.kind == Kind::Fax {
            terms.plan.fax()?;
        }
        self.check_family(&stream)?;
        if terms.plan.is_dtls() {
            let dtls = Theirs::read(sdp, media)?;
            dtls.check_answer()?;
            if dtls.checks() {
                stream.found_by_checks(sdp, media);
            }
            return Ok((Heard { stream, origin, theirs: None, dtls: Some(dtls), mux: false, layout }, None));
        }
        let (theirs, ours) =
            if terms.plan.is_srtp() { keys::matching(media, &self.offered).map(|(theirs, ours)| (Some(theirs), Some(ours)))? } else { (None, None) };
        let mux = mux::agreed(self.said_mux, media, &stream)?;
        Ok((Heard { stream, origin, theirs, dtls: None, mux, layout }, ours))
    }

    /// A socket of ours reaches only addresses of its own family.
    fn check_family(&self, stream: &Stream) -> Result<(), Reason> {
        match (stream.remote, self.local) {
            (Some(remote), Some(local)) if remote.rtp.is_ipv4() != local.rtp.is_ipv4() => Err(Reason::MediaUnacceptable),
            _ => Ok(()),
        }
    }

    /// What the peer said now holds. A stream that is off keeps its keys: they hold again when it is switched on.
    pub fn agree(&mut self, heard: &Heard, ours: Option<Ours>) {
        self.peer = Some(heard.stream.clone());
        self.origin = heard.origin.clone();
        self.layout = Some(heard.layout.clone());
        self.mux = heard.mux;
        if heard.theirs.is_some() {
            self.theirs = heard.theirs.clone();
        }
        if ours.is_some() {
            self.ours = ours;
        }
        if let Some(theirs) = &heard.dtls {
            self.handshake.agree(theirs, heard.stream.remote.map(|remote| remote.rtp));
        }
    }

    /// The peer has answered what we sent: of the lines we offered one is in force, and what stands on this leg, should it be said again, has that one alone.
    pub fn narrow(&mut self) {
        let (Some(ours), Some(sent), Some(layout)) = (&self.ours, &mut self.sent, &self.layout) else { return };
        let Some(media) = sent.media.get_mut(layout.relayed) else { return };
        let value = ours.line().value();
        let Some(first) = media.attributes.iter().position(|attribute| attribute.is("crypto")) else { return };
        if media.named("crypto").map(Attribute::text).eq([Some(value.as_str())]) {
            return;
        }
        media.attributes.retain(|attribute| !attribute.is("crypto"));
        media.attributes.insert(first, Attribute::new("crypto", value));
        self.version = self.version.saturating_add(1);
        if let Some(origin) = &mut sent.origin {
            origin.session_version = self.version.to_string();
        }
    }

    /// Keys never leave over a transport below the plan, an SRTP leg has a suite, and T.38 goes nowhere that is to be protected.
    pub fn may_offer(&self, kind: Kind) -> Result<(), Reason> {
        let plan = &self.terms.plan;
        match plan.permits(self.terms.transport) {
            false => Err(Reason::ModeTransport),
            true if kind == Kind::Fax => plan.fax(),
            true if plan.is_srtp() && plan.suites().is_empty() => Err(Reason::MediaUnacceptable),
            true => Ok(()),
        }
    }

    /// The other leg's stream, offered here. On an established leg with our key in force, or with one fresh key per suite of the plan; or with the one of the
    /// other leg's peer that is `lent`.
    pub fn write_offer(&mut self, stream: &Stream, lent: Option<&Crypto>, supply: &mut dyn Supply) -> Result<Description, Reason> {
        self.may_offer(stream.kind)?;
        // Before anything of the leg is changed: what cannot be offered leaves it as it was.
        let offered = stream.clone().permitted(self.terms.plan.sound(), &[])?.offering(&self.known());
        let lines = match &self.ours {
            _ if !self.terms.plan.is_srtp() || self.terms.plan.is_dtls() => Vec::new(),
            in_force if let Some(lent) = lent => vec![Ours::lend(lent, 1, in_force.as_ref())?],
            Some(ours @ Ours::Own(_)) => vec![ours.clone()],
            // Switched off: what is in force is so when it is switched on again.
            Some(ours @ Ours::Lent(_)) if stream.is_off => vec![ours.clone()],
            Some(Ours::Lent(_)) | None => keys::fresh(self.terms.plan.suites(), supply),
        };
        if self.terms.plan.is_dtls() {
            self.handshake.offer(supply)?;
        }
        let plan = &self.terms.plan;
        let new = || Layout { lines: vec![empty_line(stream.kind.word(), usual(stream.kind, plan), Vec::new())], relayed: 0 };
        let layout = self.layout.get_or_insert_with(new);
        let proto = layout.make_room(stream.kind, plan);
        let layout = layout.clone();
        self.said_mux = mux::offering(&self.terms.plan, &offered);
        self.write(&layout, proto, &offered, offered.direction, lines, supply)
    }

    /// The answer to `offer` with the other leg's stream in it, under a key of ours or the one of the other leg's peer that is `lent`. `events`: and with the
    /// telephone-events of the offer, which are for us.
    pub fn write_answer(
        &mut self,
        offer: &Heard,
        stream: &Stream,
        (events, lent): (bool, Option<&Crypto>),
        supply: &mut dyn Supply,
    ) -> Result<Description, Reason> {
        let mut stream = stream.clone().answering(&offer.stream);
        if events {
            stream = stream.with_events_of(&offer.stream);
        }
        stream.is_off |= offer.stream.is_off;
        let lines = match &offer.theirs {
            // A stream that is declined has no key: one the peer is never told must not count as in force.
            Some(theirs) if !stream.is_off => vec![match lent {
                Some(lent) => Ours::lend(lent, theirs.tag, None)?,
                None => Ours::Own(keys::answering(theirs, self.ours.as_ref().and_then(Ours::own), supply)?),
            }],
            _ => Vec::new(),
        };
        if let Some(theirs) = offer.dtls.as_ref().filter(|_| !stream.is_off) {
            self.handshake.answer(theirs, offer.stream.remote.map(|remote| remote.rtp), supply)?;
        }
        let proto = offer.layout.lines.get(offer.layout.relayed).map_or(Proto::Avp, |line| line.proto.clone());
        // RFC 3264 §6.1: whatever the other side wished, an answer may not go beyond its offer.
        let direction = offer.stream.direction.limits(stream.direction);
        self.agree(offer, lines.first().cloned());
        self.said_mux = if offer.mux && !stream.is_off { mux::Said::Accepted } else { mux::Said::Nothing };
        self.write(&offer.layout, proto, &stream, direction, lines, supply)
    }

    fn write(
        &mut self,
        layout: &Layout,
        proto: Proto,
        stream: &Stream,
        direction: Direction,
        lines: Vec<Ours>,
        supply: &mut dyn Supply,
    ) -> Result<Description, Reason> {
        let local = self.local.ok_or(Reason::MediaPorts)?;
        let mut media = layout.lines.clone();
        let relayed = media.get_mut(layout.relayed).ok_or(Reason::MediaMalformed)?;
        relayed.proto = proto;
        relayed.formats = stream.formats.clone();
        if !stream.is_off {
            relayed.port = local.rtp.port();
            if stream.kind == Kind::Audio {
                let is_shared = self.said_mux == mux::Said::Accepted || self.terms.plan.is_dtls() && self.handshake.mux();
                let rtcp = if is_shared { local.rtp } else { local.rtcp };
                relayed.attributes.push(Attribute::new("rtcp", rtcp.port().to_string()));
                if self.said_mux != mux::Said::Nothing {
                    relayed.attributes.push(Attribute::property("rtcp-mux"));
                }
            }
            relayed.attributes.extend(lines.iter().map(|ours| Attribute::new("crypto", ours.line().value())));
            if self.terms.plan.is_dtls() {
                relayed.attributes.extend(self.handshake.attributes(local));
            }
            relayed.attributes.extend(stream.attributes.iter().cloned());
            // A fax goes both ways unless somebody says otherwise, and not every gateway expects to hear of it.
            if stream.kind == Kind::Audio || direction != Direction::SendRecv {
                relayed.attributes.push(Attribute::property(direction.name()));
            }
        }
        if !lines.is_empty() {
            self.offered = lines;
        }
        if stream.kind == Kind::Audio && !stream.is_off {
            self.said = stream.numbered();
        }
        Ok(self.sign(media, local, supply))
    }

    /// Under our own o= line; its version counts up only when the rest has changed (RFC 3264 §8).
    fn sign(&mut self, media: Vec<Media>, local: Addresses, supply: &mut dyn Supply) -> Description {
        // At most 63 bits, as RFC 3264 §5 asks.
        let session_id = *self.session_id.get_or_insert_with(|| supply.session_id() & i64::MAX as u64);
        let connection = Connection::of(local.rtp.ip());
        let origin = |version: u64| Origin {
            username: Text::from("-"),
            session_id: session_id.to_string(),
            session_version: version.to_string(),
            network: connection.network.clone(),
            family: connection.family.clone(),
            address: connection.address.clone(),
        };
        let mut description = Description {
            origin: Some(origin(self.version)),
            name: Some(Text::from("-")),
            connection: Some(connection.clone()),
            timing: vec![Line { kind: b't', value: Text::from("0 0") }],
            attributes: self.handshake.session_attributes(),
            media,
            ..Description::default()
        };
        if self.sent.as_ref() != Some(&description) {
            self.version = self.version.saturating_add(1);
            description.origin = Some(origin(self.version));
            self.sent = Some(description.clone());
        }
        description
    }

    /// Everything that is known of this side.
    pub fn configuration(&self) -> Configuration {
        let (receive, transmit) = match self.terms.plan.is_srtp() {
            true if self.terms.plan.is_dtls() => (self.handshake.protection(&self.terms.plan), self.handshake.protection(&self.terms.plan)),
            true => (self.theirs.as_ref().map(|line| keys::protection(Some(line))), self.ours.as_ref().map(Ours::protection)),
            false => (Some(keys::protection(None)), Some(keys::protection(None))),
        };
        let remote = self.peer.as_ref().map(Stream::destination);
        let direction = self.peer.as_ref().map(|peer| peer.direction);
        let clocks = self.peer.as_ref().map(Stream::clocks);
        Configuration {
            remote,
            latch: self.terms.latch,
            receive,
            transmit,
            direction,
            clocks,
            payloads: None,
            mux: Some(self.handshake.mux() || self.mux),
            digits: None,
        }
    }

    /// As [`Leg::configure`], with an offer that has no answer yet: its address and keys are already good for what comes.
    pub fn configure_offered(&self, stream: StreamId, heard: &Heard) -> Command {
        let mut early = self.clone();
        early.agree(heard, None);
        Command::Configure { stream, side: self.side, set: early.configuration() }
    }

    /// The numbers this leg has heard and said: they mean what they mean while it lasts.
    fn known(&self) -> Vec<Numbered> {
        let mut known = self.said.clone();
        for heard in self.peer.as_ref().map(Stream::numbered).unwrap_or_default() {
            if !known.iter().any(|(number, _)| *number == heard.0) {
                known.push(heard);
            }
        }
        known
    }

    fn relayed(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.relayed)
    }
}

/// Whether the profile is one of the stream's kind, and what the plan demands.
fn fits(kind: Kind, proto: &Proto, plan: &MediaPlan) -> bool {
    match proto {
        Proto::Udptl => kind == Kind::Fax && !plan.is_srtp(),
        _ if kind == Kind::Fax => false,
        proto => plan.fits(proto),
    }
}

fn usual(kind: Kind, plan: &MediaPlan) -> Proto {
    match kind {
        Kind::Fax => Proto::Udptl,
        Kind::Audio if plan.is_dtls() => Proto::TlsSavp,
        Kind::Audio if plan.is_srtp() => Proto::Savp,
        Kind::Audio => Proto::Avp,
    }
}

/// The peer's m-lines, all off.
fn skeleton(sdp: &Description) -> Vec<Media> {
    sdp.media.iter().map(|media| empty_line(&media.kind, media.proto.clone(), media.formats.clone())).collect()
}

fn empty_line(kind: &str, proto: Proto, formats: Vec<String>) -> Media {
    Media { kind: kind.into(), port: 0, port_count: None, proto, formats, connection: None, bandwidth: Vec::new(), attributes: Vec::new(), other: Vec::new() }
}
