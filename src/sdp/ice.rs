//! What a description says of ICE (RFC 8839): a user name fragment, a password, and the one candidate a lite agent has.

use std::fmt;
use std::net::SocketAddr;

use super::description::Description;
use super::fingerprint::value;
use super::media::Media;

/// A user name fragment and a password (RFC 8839 §5.4). `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub ufrag: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of `media`, else the session's. `None`: its author speaks no ICE, or not as RFC 8839 §5.4 has it.
    pub fn of(description: &Description, media: &Media) -> Option<Credentials> {
        let word = |name: &str, shortest: usize| {
            let is_fit = |text: &&str| (shortest..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
            value(description, media, name).filter(is_fit).map(str::to_owned)
        };
        Some(Credentials { ufrag: word("ice-ufrag", 4)?, password: word("ice-pwd", 22)? })
    }
}

/// The author is a lite agent too (RFC 8839 §5.3): neither side checks anything, and media goes to the default addresses.
pub fn is_lite(description: &Description) -> bool {
    description.attributes.iter().any(|attribute| attribute.is("ice-lite"))
}

/// The value of `a=candidate` for a host address of a lite agent with one address: the highest preference there is (RFC 8445 §5.1.2.1).
/// `component`: 1 RTP, 2 RTCP.
pub fn host_candidate(component: u8, address: SocketAddr) -> String {
    let priority = (126_u32 << 24) + (65_535 << 8) + (256 - u32::from(component));
    format!("1 {component} UDP {priority} {} {} typ host", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_media_or_the_session() {
        let text =
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\nm=audio 9 RTP/AVP 0\r\na=ice-ufrag:8hhY\r\n";
        let description = Description::parse(text.as_bytes()).unwrap();
        let credentials = Credentials::of(&description, &description.media[0]).unwrap();
        assert_eq!((credentials.ufrag.as_str(), credentials.password.as_str()), ("8hhY", "asd88fgpdd777uzjYhagZg"));
        assert!(!format!("{credentials:?}").contains("asd88"));
        assert!(is_lite(&description));
        for bad in ["ice-ufrag:8h:Y", "ice-ufrag:8hh"] {
            let description = Description::parse(text.replace("ice-ufrag:8hhY", bad).as_bytes()).unwrap();
            assert_eq!(Credentials::of(&description, &description.media[0]), None, "{bad}");
        }
    }

    #[test]
    fn a_host_candidate_has_the_highest_preference() {
        assert_eq!(host_candidate(1, "192.0.2.1:4000".parse().unwrap()), "1 1 UDP 2130706431 192.0.2.1 4000 typ host");
        assert_eq!(host_candidate(2, "[2001:db8::1]:4001".parse().unwrap()), "1 2 UDP 2130706430 2001:db8::1 4001 typ host");
    }
}
