//! Which transformations a packet undergoes between two sides: a table `[in][out]`, looked up once at set-up, not a branch per packet.

use crate::media::control::{Protection, SrtpParameters};
use crate::media::packet::View;
use crate::media::relay::DropReason;
use crate::media::srtp::{KeyError, Receiver, Refusal, Sender, keys};
use crate::sdp::crypto::MasterKey;
use crate::time::Time;

/// How packets from a side's peer come in.
#[derive(Debug, Default)]
pub enum Inbound {
    #[default]
    Unset,
    Plain,
    Srtp(Box<Receiver>),
}

/// How packets to a side's peer go out.
#[derive(Debug, Default)]
pub enum Outbound {
    #[default]
    Unset,
    Plain,
    Srtp(Box<Sender>),
    /// As it came from the other side, whose peer protects it under `key`. `before`: what we protected by until then, so that no key of ours ever begins anew.
    Shared {
        key: Box<SrtpParameters>,
        before: Option<Box<Sender>>,
    },
}

impl Inbound {
    /// A protection equal to the present one changes nothing. `the_same_peer`: see [`Receiver::rekey`]. True: packets are held against another key from now on.
    pub fn configure(&mut self, now: Time, protection: &Protection, the_same_peer: bool) -> Result<bool, KeyError> {
        match (&mut *self, protection) {
            (_, Protection::Plain) => {
                *self = Inbound::Plain;
                return Ok(false);
            }
            (Inbound::Srtp(receiver), Protection::Srtp(parameters)) if receiver.parameters() == parameters => return Ok(false),
            (Inbound::Srtp(receiver), Protection::Srtp(parameters)) => receiver.rekey(now, parameters, the_same_peer)?,
            (_, Protection::Srtp(parameters)) => *self = Inbound::Srtp(Box::new(Receiver::new(parameters)?)),
            // The handshake sets the keys when it has them: see `Stream::keyed`.
            (_, Protection::Dtls(_)) => return Ok(false),
            // Of packets that come in it says nothing.
            (_, Protection::Shared(_)) => return Err(KeyError::Shared),
        }
        Ok(true)
    }
}

impl Outbound {
    /// How a packet of our own goes out: as one that came in clear.
    pub fn transformation(&self) -> &'static Transformation {
        choose(&Inbound::Plain, self)
    }

    /// A protection equal to the present one changes nothing.
    pub fn configure(&mut self, protection: &Protection) -> Result<(), KeyError> {
        match (&mut *self, protection) {
            (_, Protection::Plain) => *self = Outbound::Plain,
            (Outbound::Srtp(sender), Protection::Srtp(parameters)) if sender.parameters() == parameters => {}
            (Outbound::Srtp(sender), Protection::Srtp(parameters)) => sender.rekey(parameters)?,
            // A key that a peer protects by is none we may protect by: the same key stream would be used twice.
            (Outbound::Shared { key, .. }, Protection::Srtp(parameters)) if shares_a_key(key, parameters) => return Err(KeyError::Shared),
            (Outbound::Shared { before, .. }, Protection::Srtp(parameters)) => {
                let sender = match before.take() {
                    Some(mut sender) => {
                        if sender.parameters() != parameters {
                            sender.rekey(parameters)?;
                        }
                        sender
                    }
                    None => Box::new(Sender::new(parameters)?),
                };
                *self = Outbound::Srtp(sender);
            }
            (_, Protection::Srtp(parameters)) => *self = Outbound::Srtp(Box::new(Sender::new(parameters)?)),
            (Outbound::Shared { key, .. }, Protection::Shared(parameters)) => **key = parameters.clone(),
            (_, Protection::Shared(parameters)) => {
                let before = match std::mem::take(self) {
                    Outbound::Srtp(sender) => Some(sender),
                    _ => None,
                };
                *self = Outbound::Shared { key: Box::new(parameters.clone()), before };
            }
            (_, Protection::Dtls(_)) => {}
        }
        Ok(())
    }
}

fn shares_a_key(one: &SrtpParameters, other: &SrtpParameters) -> bool {
    one.keys.iter().any(|key| other.keys.iter().any(|other| key.key_and_salt == other.key_and_salt))
}

/// What the state of each direction occupies beside the stream itself. Unit: bytes.
pub fn heap_bytes(inbound: &Inbound, outbound: &Outbound) -> usize {
    let keys = |parameters: &SrtpParameters| parameters.keys.len() * (size_of::<keys::Key>() + size_of::<MasterKey>());
    let receiver = match inbound {
        Inbound::Srtp(receiver) => size_of::<Receiver>() + keys(receiver.parameters()),
        Inbound::Unset | Inbound::Plain => 0,
    };
    let sender = match outbound {
        Outbound::Srtp(sender) => size_of::<Sender>() + keys(sender.parameters()),
        Outbound::Shared { key, before } => {
            size_of::<SrtpParameters>()
                + key.keys.len() * size_of::<MasterKey>()
                + before.as_ref().map_or(0, |before| size_of::<Sender>() + keys(before.parameters()))
        }
        Outbound::Unset | Outbound::Plain => 0,
    };
    receiver + sender
}

/// Whether a protection can be configured; changes nothing.
pub fn check(protection: &Protection) -> Result<(), KeyError> {
    match protection {
        Protection::Plain | Protection::Dtls(_) => Ok(()),
        Protection::Srtp(parameters) | Protection::Shared(parameters) => keys::check(parameters),
    }
}

/// From `buffer[..len]` to its new length.
type Unprotect = fn(&mut Inbound, Time, &View, &mut [u8], usize) -> Result<usize, DropReason>;
type Protect = fn(&mut Outbound, Time, &View, &mut [u8], usize) -> Result<usize, DropReason>;

/// The two transformations of one cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct Transformation {
    pub unprotect: Unprotect,
    pub protect: Protect,
    /// Packets are held against their key and go on as they came: what is inside them is nobody's here, and not a byte may change.
    pub is_opaque: bool,
}

/// `[in][out]`, each: unset, plain, SRTP; out also: as it came. With one side unset the other is still followed, so that its indices do not fall behind.
static TABLE: [[Transformation; 4]; 3] = [
    [cell(not_ready_in, not_ready_out), cell(not_ready_in, not_ready_out), cell(not_ready_in, not_ready_out), cell(not_ready_in, not_ready_out)],
    [cell(take_plain, not_ready_out), cell(take_plain, send_plain), cell(take_plain, protect), cell(take_plain, not_ready_out)],
    [cell(unprotect, not_ready_out), cell(unprotect, send_plain), cell(unprotect, protect), OPAQUE],
];

const fn cell(unprotect: Unprotect, protect: Protect) -> Transformation {
    Transformation { unprotect, protect, is_opaque: false }
}

const OPAQUE: Transformation = Transformation { unprotect: authenticate, protect: send_as_it_came, is_opaque: true };

pub fn choose(inbound: &Inbound, outbound: &Outbound) -> &'static Transformation {
    let row = match inbound {
        Inbound::Unset => 0,
        Inbound::Plain => 1,
        Inbound::Srtp(_) => 2,
    };
    let column = match (outbound, inbound) {
        (Outbound::Unset, _) => 0,
        (Outbound::Plain, _) => 1,
        (Outbound::Srtp(_), _) => 2,
        // While the two legs' keys differ, as in the middle of a change, the other peer could make nothing of what comes.
        (Outbound::Shared { key, .. }, Inbound::Srtp(receiver)) if receiver.parameters() != &**key => 0,
        (Outbound::Shared { .. }, _) => 3,
    };
    &TABLE[row][column]
}

fn not_ready_in(_: &mut Inbound, _: Time, _: &View, _: &mut [u8], _: usize) -> Result<usize, DropReason> {
    Err(DropReason::NotReady)
}

fn not_ready_out(_: &mut Outbound, _: Time, _: &View, _: &mut [u8], _: usize) -> Result<usize, DropReason> {
    Err(DropReason::NotReady)
}

fn take_plain(_: &mut Inbound, _: Time, _: &View, _: &mut [u8], len: usize) -> Result<usize, DropReason> {
    Ok(len)
}

fn send_plain(_: &mut Outbound, _: Time, _: &View, _: &mut [u8], len: usize) -> Result<usize, DropReason> {
    Ok(len)
}

fn unprotect(inbound: &mut Inbound, now: Time, view: &View, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
    let Inbound::Srtp(receiver) = inbound else { return Err(DropReason::NotReady) };
    let packet = buffer.get_mut(..len).ok_or(DropReason::Malformed)?;
    Ok(match view {
        View::Rtp(header) => receiver.unprotect_rtp(now, packet, header)?,
        View::Rtcp(_) => receiver.unprotect_rtcp(now, packet)?,
    })
}

fn authenticate(inbound: &mut Inbound, now: Time, view: &View, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
    let Inbound::Srtp(receiver) = inbound else { return Err(DropReason::NotReady) };
    let packet = buffer.get_mut(..len).ok_or(DropReason::Malformed)?;
    match view {
        View::Rtp(header) => receiver.authenticate_rtp(now, packet, header)?,
        View::Rtcp(_) => receiver.authenticate_rtcp(now, packet)?,
    }
    Ok(len)
}

fn send_as_it_came(outbound: &mut Outbound, _: Time, _: &View, _: &mut [u8], len: usize) -> Result<usize, DropReason> {
    if matches!(outbound, Outbound::Shared { .. }) { Ok(len) } else { Err(DropReason::NotReady) }
}

fn protect(outbound: &mut Outbound, now: Time, view: &View, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
    let Outbound::Srtp(sender) = outbound else { return Err(DropReason::NotReady) };
    Ok(match view {
        View::Rtp(header) => sender.protect_rtp(now, buffer, len, header)?,
        View::Rtcp(_) => sender.protect_rtcp(buffer, len)?,
    })
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> DropReason {
        match refusal {
            Refusal::Short => DropReason::Malformed,
            Refusal::Authentication => DropReason::Authentication,
            Refusal::Replay => DropReason::Replay,
            Refusal::KeySpent => DropReason::KeySpent,
            Refusal::TooManySources => DropReason::TooManySources,
            Refusal::NoRoom => DropReason::NoRoom,
        }
    }
}
