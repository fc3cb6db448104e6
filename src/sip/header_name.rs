//! Header names (RFC 3261 §7.3.1, §7.3.3, §20): compact forms and any case are one value.

use std::fmt;

/// The headers this program knows. A name outside this list is `Other`; its spelling is in [`super::Field::raw_name`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum HeaderName {
    Accept,
    AcceptContact,
    AcceptEncoding,
    AcceptLanguage,
    AlertInfo,
    Allow,
    AllowEvents,
    AuthenticationInfo,
    Authorization,
    CallId,
    CallInfo,
    CcDiversion,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLanguage,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Diversion,
    ErrorInfo,
    Event,
    Expires,
    From,
    Geolocation,
    HistoryInfo,
    Identity,
    IdentityInfo,
    InReplyTo,
    Join,
    MaxForwards,
    MimeVersion,
    MinExpires,
    MinSe,
    Organization,
    PAccessNetworkInfo,
    PAssertedIdentity,
    PCalledPartyId,
    PChargingVector,
    PEarlyMedia,
    PPreferredIdentity,
    Path,
    Priority,
    Privacy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    RSeq,
    Reason,
    RecordRoute,
    ReferSub,
    ReferTo,
    ReferredBy,
    RejectContact,
    RemotePartyId,
    Replaces,
    ReplyTo,
    RequestDisposition,
    Require,
    RetryAfter,
    Route,
    Server,
    ServiceRoute,
    SessionExpires,
    SessionId,
    SipEtag,
    SipIfMatch,
    Subject,
    SubscriptionState,
    Supported,
    TargetDialog,
    Timestamp,
    To,
    Unsupported,
    UserAgent,
    UserToUser,
    Via,
    Warning,
    WwwAuthenticate,
    Other,
}

/// In the order of the enum.
const NAMES: [(HeaderName, &str); 81] = [
    (HeaderName::Accept, "Accept"),
    (HeaderName::AcceptContact, "Accept-Contact"),
    (HeaderName::AcceptEncoding, "Accept-Encoding"),
    (HeaderName::AcceptLanguage, "Accept-Language"),
    (HeaderName::AlertInfo, "Alert-Info"),
    (HeaderName::Allow, "Allow"),
    (HeaderName::AllowEvents, "Allow-Events"),
    (HeaderName::AuthenticationInfo, "Authentication-Info"),
    (HeaderName::Authorization, "Authorization"),
    (HeaderName::CallId, "Call-ID"),
    (HeaderName::CallInfo, "Call-Info"),
    (HeaderName::CcDiversion, "CC-Diversion"),
    (HeaderName::Contact, "Contact"),
    (HeaderName::ContentDisposition, "Content-Disposition"),
    (HeaderName::ContentEncoding, "Content-Encoding"),
    (HeaderName::ContentLanguage, "Content-Language"),
    (HeaderName::ContentLength, "Content-Length"),
    (HeaderName::ContentType, "Content-Type"),
    (HeaderName::CSeq, "CSeq"),
    (HeaderName::Date, "Date"),
    (HeaderName::Diversion, "Diversion"),
    (HeaderName::ErrorInfo, "Error-Info"),
    (HeaderName::Event, "Event"),
    (HeaderName::Expires, "Expires"),
    (HeaderName::From, "From"),
    (HeaderName::Geolocation, "Geolocation"),
    (HeaderName::HistoryInfo, "History-Info"),
    (HeaderName::Identity, "Identity"),
    (HeaderName::IdentityInfo, "Identity-Info"),
    (HeaderName::InReplyTo, "In-Reply-To"),
    (HeaderName::Join, "Join"),
    (HeaderName::MaxForwards, "Max-Forwards"),
    (HeaderName::MimeVersion, "MIME-Version"),
    (HeaderName::MinExpires, "Min-Expires"),
    (HeaderName::MinSe, "Min-SE"),
    (HeaderName::Organization, "Organization"),
    (HeaderName::PAccessNetworkInfo, "P-Access-Network-Info"),
    (HeaderName::PAssertedIdentity, "P-Asserted-Identity"),
    (HeaderName::PCalledPartyId, "P-Called-Party-ID"),
    (HeaderName::PChargingVector, "P-Charging-Vector"),
    (HeaderName::PEarlyMedia, "P-Early-Media"),
    (HeaderName::PPreferredIdentity, "P-Preferred-Identity"),
    (HeaderName::Path, "Path"),
    (HeaderName::Priority, "Priority"),
    (HeaderName::Privacy, "Privacy"),
    (HeaderName::ProxyAuthenticate, "Proxy-Authenticate"),
    (HeaderName::ProxyAuthorization, "Proxy-Authorization"),
    (HeaderName::ProxyRequire, "Proxy-Require"),
    (HeaderName::RAck, "RAck"),
    (HeaderName::RSeq, "RSeq"),
    (HeaderName::Reason, "Reason"),
    (HeaderName::RecordRoute, "Record-Route"),
    (HeaderName::ReferSub, "Refer-Sub"),
    (HeaderName::ReferTo, "Refer-To"),
    (HeaderName::ReferredBy, "Referred-By"),
    (HeaderName::RejectContact, "Reject-Contact"),
    (HeaderName::RemotePartyId, "Remote-Party-ID"),
    (HeaderName::Replaces, "Replaces"),
    (HeaderName::ReplyTo, "Reply-To"),
    (HeaderName::RequestDisposition, "Request-Disposition"),
    (HeaderName::Require, "Require"),
    (HeaderName::RetryAfter, "Retry-After"),
    (HeaderName::Route, "Route"),
    (HeaderName::Server, "Server"),
    (HeaderName::ServiceRoute, "Service-Route"),
    (HeaderName::SessionExpires, "Session-Expires"),
    (HeaderName::SessionId, "Session-ID"),
    (HeaderName::SipEtag, "SIP-ETag"),
    (HeaderName::SipIfMatch, "SIP-If-Match"),
    (HeaderName::Subject, "Subject"),
    (HeaderName::SubscriptionState, "Subscription-State"),
    (HeaderName::Supported, "Supported"),
    (HeaderName::TargetDialog, "Target-Dialog"),
    (HeaderName::Timestamp, "Timestamp"),
    (HeaderName::To, "To"),
    (HeaderName::Unsupported, "Unsupported"),
    (HeaderName::UserAgent, "User-Agent"),
    (HeaderName::UserToUser, "User-To-User"),
    (HeaderName::Via, "Via"),
    (HeaderName::Warning, "Warning"),
    (HeaderName::WwwAuthenticate, "WWW-Authenticate"),
];

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// Open-addressed table from a name's [`slot`] to its place in [`NAMES`], made by the compiler.
const TABLE: [u8; SLOTS] = {
    let mut table = [EMPTY; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let mut at = slot(NAMES[i].1.as_bytes());
        while table[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        table[at] = i as u8;
        i += 1;
    }
    table
};

/// Length and three case-folded letters tell nearly all known names apart. `name` has two bytes or more.
const fn slot(name: &[u8]) -> usize {
    let n = name.len();
    let first = (name[0] | 0x20) as usize;
    let middle = (name[n / 2] | 0x20) as usize;
    let last = (name[n - 1] | 0x20) as usize;
    (n.wrapping_mul(37) ^ first.wrapping_mul(151) ^ middle.wrapping_mul(11) ^ last.wrapping_mul(67)) % SLOTS
}

impl HeaderName {
    /// In any case, long or compact; [`HeaderName::Other`] for a name not in the list.
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        if name.len() < 2 {
            return name.first().map_or(HeaderName::Other, |&letter| HeaderName::from_compact(letter));
        }
        let mut at = slot(name);
        while let Some(&(value, text)) = NAMES.get(usize::from(TABLE[at])) {
            // Nearly everybody writes names as the RFCs do.
            if text.as_bytes() == name || text.as_bytes().eq_ignore_ascii_case(name) {
                return value;
            }
            at = (at + 1) % SLOTS;
        }
        HeaderName::Other
    }

    fn from_compact(letter: u8) -> HeaderName {
        match letter.to_ascii_lowercase() {
            b'a' => HeaderName::AcceptContact,
            b'b' => HeaderName::ReferredBy,
            b'c' => HeaderName::ContentType,
            b'd' => HeaderName::RequestDisposition,
            b'e' => HeaderName::ContentEncoding,
            b'f' => HeaderName::From,
            b'i' => HeaderName::CallId,
            b'j' => HeaderName::RejectContact,
            b'k' => HeaderName::Supported,
            b'l' => HeaderName::ContentLength,
            b'm' => HeaderName::Contact,
            b'n' => HeaderName::IdentityInfo,
            b'o' => HeaderName::Event,
            b'r' => HeaderName::ReferTo,
            b's' => HeaderName::Subject,
            b't' => HeaderName::To,
            b'u' => HeaderName::AllowEvents,
            b'v' => HeaderName::Via,
            b'x' => HeaderName::SessionExpires,
            b'y' => HeaderName::Identity,
            _ => HeaderName::Other,
        }
    }

    /// As the RFCs spell it; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        let i = self as usize;
        if i < NAMES.len() { NAMES[i].1 } else { "" }
    }

    /// Whether the value is a comma-separated list (RFC 3261 §7.3.1). Date, and the challenge and credential headers, hold commas that separate no values.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            HeaderName::Accept
                | HeaderName::AcceptContact
                | HeaderName::AcceptEncoding
                | HeaderName::AcceptLanguage
                | HeaderName::AlertInfo
                | HeaderName::Allow
                | HeaderName::AllowEvents
                | HeaderName::CallInfo
                | HeaderName::CcDiversion
                | HeaderName::Contact
                | HeaderName::ContentEncoding
                | HeaderName::ContentLanguage
                | HeaderName::Diversion
                | HeaderName::ErrorInfo
                | HeaderName::Geolocation
                | HeaderName::HistoryInfo
                | HeaderName::InReplyTo
                | HeaderName::PAccessNetworkInfo
                | HeaderName::PAssertedIdentity
                | HeaderName::PEarlyMedia
                | HeaderName::PPreferredIdentity
                | HeaderName::Path
                | HeaderName::ProxyRequire
                | HeaderName::Reason
                | HeaderName::RecordRoute
                | HeaderName::RejectContact
                | HeaderName::RemotePartyId
                | HeaderName::RequestDisposition
                | HeaderName::Require
                | HeaderName::Route
                | HeaderName::ServiceRoute
                | HeaderName::Supported
                | HeaderName::Unsupported
                | HeaderName::Via
                | HeaderName::Warning
        )
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.as_str() {
            "" => "unknown header",
            name => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_stands_in_its_place() {
        for (i, &(value, text)) in NAMES.iter().enumerate() {
            assert_eq!(value as usize, i, "{text}");
            assert_eq!(value.as_str(), text);
            for spelling in [text.to_owned(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                assert_eq!(HeaderName::from_bytes(spelling.as_bytes()), value, "{spelling}");
            }
        }
    }

    #[test]
    fn names_hash_apart_well_enough() {
        let probes: usize = NAMES
            .iter()
            .enumerate()
            .map(|(i, (_, text))| {
                let at = slot(text.as_bytes());
                (0..SLOTS).find(|step| TABLE[(at + step) % SLOTS] == i as u8).unwrap()
            })
            .sum();
        assert!(probes < NAMES.len() / 4, "{probes} extra probes");
    }

    #[test]
    fn compact_forms_are_the_long_ones() {
        for (letter, long) in "auimelcofynrbjdxsktv".chars().zip([
            "Accept-Contact",
            "Allow-Events",
            "Call-ID",
            "Contact",
            "Content-Encoding",
            "Content-Length",
            "Content-Type",
            "Event",
            "From",
            "Identity",
            "Identity-Info",
            "Refer-To",
            "Referred-By",
            "Reject-Contact",
            "Request-Disposition",
            "Session-Expires",
            "Subject",
            "Supported",
            "To",
            "Via",
        ]) {
            assert_eq!(HeaderName::from_bytes(letter.to_string().as_bytes()).as_str(), long);
            assert_eq!(HeaderName::from_bytes(letter.to_ascii_uppercase().to_string().as_bytes()).as_str(), long);
        }
        assert_eq!(HeaderName::from_bytes(b"q"), HeaderName::Other);
    }

    #[test]
    fn others_are_other() {
        for name in ["", "X-Foo", "Vi", "Viaa", "ms-diagnostics", "Call_ID", "Content\u{0d}Length", "T o"] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
