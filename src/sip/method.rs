//! Methods (RFC 3261 §7.1 and its extensions). Case-sensitive; unknown ones are kept, so that 405 or 501 can be answered.

use std::fmt;

use super::scan::is_token;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Refer,
    Notify,
    Subscribe,
    Info,
    Message,
    Publish,
    /// Any other token, as written.
    Other(Box<str>),
}

impl Method {
    /// `None` if `token` is no token at all.
    pub fn parse(token: &str) -> Option<Method> {
        Method::from_bytes(token.as_bytes())
    }

    pub fn from_bytes(token: &[u8]) -> Option<Method> {
        Some(match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"REFER" => Method::Refer,
            b"NOTIFY" => Method::Notify,
            b"SUBSCRIBE" => Method::Subscribe,
            b"INFO" => Method::Info,
            b"MESSAGE" => Method::Message,
            b"PUBLISH" => Method::Publish,
            other if is_token(other) => Method::Other(std::str::from_utf8(other).ok()?.into()),
            _ => return None,
        })
    }

    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Subscribe => "SUBSCRIBE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Publish => "PUBLISH",
            Method::Other(token) => token,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_read_back_as_written() {
        for word in ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "REFER", "NOTIFY", "SUBSCRIBE", "INFO", "MESSAGE", "PUBLISH"] {
            let method = Method::parse(word).unwrap();
            assert_eq!(method.as_str(), word);
            assert!(!matches!(method, Method::Other(_)), "{word}");
        }
    }

    #[test]
    fn methods_are_case_sensitive_and_open() {
        assert_eq!(Method::parse("invite"), Some(Method::Other("invite".into())));
        assert_eq!(Method::parse("!interesting-Method0123456789_*+`.%indeed'~").unwrap().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
        for bad in ["", "IN VITE", "INVITE\r", "INV/ITE", "\u{e9}"] {
            assert_eq!(Method::parse(bad), None, "{bad:?}");
        }
    }
}
