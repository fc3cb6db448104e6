//! Faxes on a stream: the tone that announces one in the sound (RFC 4733 §2.3, event 36 of RFC 4734), and T.38 over UDPTL in the sound's place.

use std::time::Duration;

use crate::media::control::{Content, Side};
use crate::media::packet::u16_at;
use crate::media::rtp::Header;
use crate::media::udptl::Sequence;

/// A fax machine may say nothing for longer than a person: T.30's T1 is 35 s, and paper has to be turned. Silence counts from here on.
pub const SILENCE: Duration = Duration::from_secs(60);

/// CNG, the calling tone (RFC 4734 §2.3).
const CALLING_TONE: u8 = 36;

/// A payload longer than this holds no telephone-event, so packets of voice are not looked at. Bytes; one event takes four, and one packet may hold some.
pub const LONGEST_EVENT: usize = 16;

/// What a stream knows of faxes.
#[derive(Debug, Default)]
pub struct Fax {
    /// Payload types of telephone-events.
    events: u128,
    /// T.38 is carried; nothing here while sound is. Boxed: the sound's path shall not be longer for it.
    pub t38: Option<Box<T38>>,
    tone: Tone,
    lost: [u64; 2],
}

/// Datagrams by their sequence numbers, from A and from B.
#[derive(Debug, Default)]
pub struct T38 {
    pub from_a: Sequence,
    pub from_b: Sequence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Tone {
    #[default]
    Unheard,
    Heard(Side),
    Told,
}

impl Fax {
    /// The stream carries something else from now on, or the same.
    pub fn configure(&mut self, content: Content) {
        match content {
            Content::Udptl => drop(self.t38.get_or_insert_default()),
            Content::Rtp { events } => {
                self.events = events;
                self.lost = self.lost();
                self.t38 = None;
            }
        }
    }

    /// Looks at a packet too short for voice.
    #[cold]
    pub fn listen(&mut self, side: Side, header: &Header, packet: &[u8]) {
        let is_event = self.events >> header.payload_type & 1 == 1;
        let payload = packet.get(header.length..).unwrap_or_default();
        // The reserved bit is clear in what is meant as an event; the duration of one that is there is not nothing.
        let rings = matches!(payload, [CALLING_TONE, flags, ..] if flags & 0x40 == 0) && u16_at(payload, 2) > 0;
        if is_event && rings && self.tone == Tone::Unheard {
            self.tone = Tone::Heard(side);
        }
    }

    /// Payload types of telephone-events, one bit each.
    pub fn events(&self) -> u128 {
        self.events
    }

    /// Whose tone was heard, once.
    pub fn take_tone(&mut self) -> Option<Side> {
        let Tone::Heard(side) = self.tone else { return None };
        self.tone = Tone::Told;
        Some(side)
    }

    /// UDPTL datagrams that never came from A and from B.
    pub fn lost(&self) -> [u64; 2] {
        let [a, b] = self.lost;
        self.t38.as_ref().map_or([a, b], |t38| [a + t38.from_a.lost(), b + t38.from_b.lost()])
    }
}
