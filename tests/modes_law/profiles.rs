//! Descriptions as peers write them: every profile an offer or an answer may have, with keys that name their author.

use crate::world::{Kind, Party, Secured, Tls};

/// What an offer brings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offer {
    Avp,
    Savp,
    /// Several lines: an unknown suite, one with an MKI, both that we know.
    SavpManyLines,
    SavpWithoutKey,
    /// Only suites nobody here knows.
    SavpUnknownSuites,
    /// A suite we know, with a parameter that weakens it.
    SavpWeakened,
    AvpWithKey,
    /// `a=crypto` above the m-lines.
    AvpWithSessionKey,
    AvpThenSavp,
    SavpThenAvp,
    /// With a fingerprint that is none.
    Dtls,
    /// As a peer keyed by DTLS properly offers. Not in `OFFERS`: the product `dtls` has it.
    DtlsSound,
    /// The same under the older profile, without a key and with one. Not in `OFFERS` either.
    DtlsOlder,
    DtlsOlderWithKey,
    /// `a=key-mgmt` (MIKEY) beside RTP.
    AvpWithMikey,
    NoAudio,
    Off,
    /// An empty INVITE: the other side is to offer.
    Delayed,
}

pub use Offer::*;

pub const OFFERS: [Offer; 15] = [
    Avp,
    Savp,
    SavpManyLines,
    SavpWithoutKey,
    SavpUnknownSuites,
    SavpWeakened,
    AvpWithKey,
    AvpWithSessionKey,
    AvpThenSavp,
    SavpThenAvp,
    Dtls,
    AvpWithMikey,
    NoAudio,
    Off,
    Delayed,
];

impl Offer {
    /// What the definitions say of it as the first offer of a call, on a leg of this kind.
    pub fn is_lawful(self, leg: Kind) -> bool {
        let has_keys = !matches!(self, Avp | SavpWithoutKey | Dtls | DtlsSound | DtlsOlder | NoAudio | Off | Delayed);
        if has_keys && leg.transport != Tls {
            return false;
        }
        match self {
            Avp | AvpWithKey | AvpWithSessionKey | AvpWithMikey => leg.mode != Secured,
            Savp | SavpManyLines | DtlsOlderWithKey => leg.mode == Secured && !leg.is_dtls(),
            DtlsSound | DtlsOlder => leg.is_dtls(),
            // One stream is relayed, whichever the leg wants; the other is declined.
            AvpThenSavp | SavpThenAvp => !leg.is_dtls(),
            Delayed => true,
            SavpWithoutKey | SavpUnknownSuites | SavpWeakened | Dtls | NoAudio | Off => false,
        }
    }

    /// A leg of this kind, as it properly offers.
    pub fn proper(leg: Kind) -> Offer {
        match leg.mode {
            Secured if leg.is_dtls() => DtlsSound,
            Secured => Savp,
            _ => Avp,
        }
    }

    /// `number`: makes keys and the version its own.
    pub fn text(self, party: Party, number: u64) -> String {
        let key = |n: u64| key(party, number * 8 + n);
        let crypto = |tag: u64, suite: &str, n: u64, rest: &str| format!("a=crypto:{tag} {suite} inline:{}{rest}\r\n", key(n));
        let good = || crypto(1, SUITE_80, 1, "");
        let audio = |profile: &str, lines: &str| format!("m=audio 4000 {profile} 8 0 101\r\n{CODECS}{lines}");
        let session = |lines: &str| format!("{lines}a=session-line:{number}\r\n");
        let sound = || format!("a=fingerprint:sha-256 {}\r\na=setup:actpass\r\n", fingerprint(party, number));
        let body = match self {
            Avp => audio("RTP/AVP", ""),
            Savp => audio("RTP/SAVP", &good()),
            SavpManyLines => {
                let lines = [crypto(1, "AEAD_AES_256_GCM", 1, ""), crypto(2, SUITE_80, 2, "|2^31|1:1"), crypto(3, SUITE_32, 3, ""), crypto(4, SUITE_80, 4, "")];
                audio("RTP/SAVP", &lines.concat())
            }
            SavpWithoutKey => audio("RTP/SAVP", ""),
            SavpUnknownSuites => audio("RTP/SAVP", &(crypto(1, "F8_128_HMAC_SHA1_80", 1, "") + &crypto(2, "SEED_CTR_128_HMAC_SHA1_80", 2, ""))),
            SavpWeakened => audio("RTP/SAVP", &crypto(1, SUITE_80, 1, " UNENCRYPTED_SRTP")),
            AvpWithKey => audio("RTP/AVP", &good()),
            AvpWithSessionKey => session(&good()) + &audio("RTP/AVP", ""),
            AvpThenSavp => audio("RTP/AVP", "") + &audio("RTP/SAVP", &good()),
            SavpThenAvp => audio("RTP/SAVP", &good()) + &audio("RTP/AVP", ""),
            Dtls => audio("UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 00:11:22\r\na=setup:actpass\r\n"),
            DtlsSound => audio("UDP/TLS/RTP/SAVP", &sound()),
            DtlsOlder => audio("RTP/SAVP", &sound()),
            DtlsOlderWithKey => audio("RTP/SAVP", &(sound() + &good())),
            AvpWithMikey => audio("RTP/AVP", &format!("a=key-mgmt:mikey {}\r\n", key(1))),
            NoAudio => "m=video 4000 RTP/AVP 96\r\n".to_owned(),
            Off => "m=audio 0 RTP/AVP 8\r\nm=audio 0 RTP/SAVP 8\r\n".to_owned(),
            Delayed => return String::new(),
        };
        described(party, number, &body)
    }
}

/// What an answer brings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// What the leg wants.
    Good,
    Rtp,
    Srtp,
    SrtpWrongSuite,
    /// The tag of one of our lines with the suite of another.
    SrtpCrossedTag,
    SrtpWithoutKey,
    SrtpUnknownTag,
    RtpWithKey,
    Declined,
    /// Two m-lines where one was offered, the first good.
    GoodAndMore,
    /// The first RTP, the second SRTP.
    RtpAndSrtp,
    DtlsSrtp,
    NoBody,
}

pub const ANSWERS: [Answer; 13] = [
    Answer::Good,
    Answer::Rtp,
    Answer::Srtp,
    Answer::SrtpWrongSuite,
    Answer::SrtpCrossedTag,
    Answer::SrtpWithoutKey,
    Answer::SrtpUnknownTag,
    Answer::RtpWithKey,
    Answer::Declined,
    Answer::GoodAndMore,
    Answer::RtpAndSrtp,
    Answer::DtlsSrtp,
    Answer::NoBody,
];

impl Answer {
    pub fn is_lawful(self, leg: Kind) -> bool {
        let secured = leg.mode == Secured;
        match self {
            Answer::Good | Answer::Declined | Answer::GoodAndMore => true,
            Answer::Rtp => !secured,
            Answer::Srtp => secured && !leg.is_dtls(),
            Answer::RtpWithKey => !secured && leg.transport == Tls,
            // Over UDP and TCP the second line's key alone is too much.
            Answer::RtpAndSrtp => !secured && leg.transport == Tls,
            Answer::SrtpWrongSuite | Answer::SrtpCrossedTag | Answer::SrtpWithoutKey | Answer::SrtpUnknownTag | Answer::DtlsSrtp | Answer::NoBody => false,
        }
    }

    /// To `offer`, on a leg of this kind.
    pub fn text(self, party: Party, leg: Kind, offer: &str, number: u64) -> String {
        // The place of the m-line that is on decides where the answer stands.
        let offered: Vec<&str> = offer.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        let on = offered.iter().position(|line| line.split(' ').nth(1) != Some("0")).unwrap_or(0);
        let tag = offer.split("\r\n").find_map(|line| line.strip_prefix("a=crypto:")?.split(' ').next()).unwrap_or("1").to_owned();
        let suite = offer.split("\r\n").find_map(|line| line.strip_prefix("a=crypto:")?.split(' ').nth(1)).unwrap_or(SUITE_80).to_owned();
        let other = if suite == SUITE_80 { SUITE_32 } else { SUITE_80 };
        let crypto = |tag: &str, suite: &str| format!("a=crypto:{tag} {suite} inline:{}\r\n", key(party, number * 8));
        let audio = |profile: &str, lines: &str| format!("m=audio 6000 {profile} 8 101\r\n{CODECS}{lines}");
        let sound = || format!("a=fingerprint:sha-256 {}\r\na=setup:active\r\n", fingerprint(party, number));
        let good = || {
            if leg.is_dtls() {
                audio("UDP/TLS/RTP/SAVP", &sound())
            } else if leg.mode == Secured {
                audio("RTP/SAVP", &crypto(&tag, &suite))
            } else {
                audio("RTP/AVP", "")
            }
        };
        let line = match self {
            Answer::Good | Answer::GoodAndMore => good(),
            Answer::Rtp => audio("RTP/AVP", ""),
            Answer::Srtp => audio("RTP/SAVP", &crypto(&tag, &suite)),
            Answer::SrtpWrongSuite => audio("RTP/SAVP", &crypto(&tag, "AES_CM_128_HMAC_SHA1_32")),
            Answer::SrtpCrossedTag => audio("RTP/SAVP", &crypto(&tag, other)),
            Answer::SrtpWithoutKey => audio("RTP/SAVP", ""),
            Answer::SrtpUnknownTag => audio("RTP/SAVP", &crypto("9", &suite)),
            Answer::RtpWithKey => audio("RTP/AVP", &crypto(&tag, &suite)),
            Answer::Declined => "m=audio 0 RTP/AVP 8\r\n".to_owned(),
            Answer::RtpAndSrtp => audio("RTP/AVP", ""),
            Answer::DtlsSrtp => audio("UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 00:11:22\r\n"),
            Answer::NoBody => return String::new(),
        };
        let mut lines: Vec<String> = (0..offered.len().max(1)).map(|_| "m=audio 0 RTP/AVP 8\r\n".to_owned()).collect();
        lines[on] = line;
        match self {
            Answer::GoodAndMore => lines.push("m=audio 6002 RTP/AVP 8\r\n".to_owned()),
            Answer::RtpAndSrtp => lines.push(audio("RTP/SAVP", &crypto(&tag, &suite))),
            _ => {}
        }
        described(party, number, &lines.concat())
    }
}

pub const SUITE_80: &str = "AES_CM_128_HMAC_SHA1_80";
const SUITE_32: &str = "AES_CM_128_HMAC_SHA1_32";
const CODECS: &str = "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";

pub fn described(party: Party, number: u64, rest: &str) -> String {
    let address = party.address();
    format!("v=0\r\no=- 7{} {number} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n{rest}", party as u8)
}

/// A master key and salt in base64, which names its author.
pub fn key(party: Party, number: u64) -> String {
    format!("{}{number:0>39}", ['t', 's', 'r', 'p', 'u', 'f', 'x'][party as usize])
}

/// A fingerprint that names its author.
fn fingerprint(party: Party, number: u64) -> String {
    let bytes: Vec<String> = [&[0xf0 + party as u8; 24][..], &number.to_be_bytes()].concat().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// The same stream on hold.
pub fn held(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}a=sendonly\r\n") }
}
