//! SRTP and SRTCP (RFC 3711) with the transforms of RFC 4568 §6.2 and RFC 6188 (AES in counter mode, HMAC-SHA1 with tags of 80 or 32 bits) and of
//! RFC 7714 (AES-GCM with a tag of 128 bits).
//!
//! | RFC 3711 | | where |
//! |---|---|---|
//! | §3.1, §3.3 SRTP, index from sequence number and ROC | yes | [`index`], [`receive`], [`transmit`] |
//! | §3.3.2 replay list, 128 wide, on the 48-bit index | yes | [`replay`] |
//! | §3.4 SRTCP, E flag, 31-bit index | yes | [`receive`], [`transmit`] |
//! | §4.1.1 AES-CM, §4.2.1 HMAC-SHA1; RFC 6188 | yes, keys of 128, 192, 256 bits | [`cipher`], [`authentication`], [`session`] |
//! | RFC 7714 AES-GCM | yes, keys of 128 and 256 bits | [`aead`], [`session`] |
//! | §4.3 key derivation | with rate 0, the only one SDES offers by default | [`key_derivation`] |
//! | §4.1.2 f8, NULL cipher, §3.2.3 `From/To` keys | no | |
//! | MKI, key lifetimes | yes | [`keys`] |

pub mod aead;
pub mod authentication;
pub mod cipher;
pub mod index;
pub mod key_derivation;
pub mod keys;
pub mod receive;
pub mod replay;
pub mod session;
pub mod sources;
pub mod transmit;

pub use keys::KeyError;
pub use receive::Receiver;
pub use transmit::Sender;

/// Why a packet was not protected or unprotected. The context is then as it was, and so is the packet, but for the payload of one whose AEAD tag is wrong:
/// that is zeroed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// No room for the trailer the suite and the MKI ask for.
    Short,
    /// The tag is wrong, or no key has the packet's MKI.
    Authentication,
    /// Seen (or, sending: used) before, or older than the replay list reaches.
    Replay,
    /// Every master key that could serve has been used as often as it may.
    KeySpent,
    /// This key has served as many sources as can be remembered; another would risk using a keystream twice.
    TooManySources,
    /// The buffer does not hold the protected packet.
    NoRoom,
}
