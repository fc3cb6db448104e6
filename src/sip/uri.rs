//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966, IPv6 references of RFC 3986): reading, writing, comparing.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::params::Params;
use super::scan::number;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme<'a> {
    Sip,
    Sips,
    Tel,
    /// As written.
    Other(&'a str),
}

impl<'a> Scheme<'a> {
    fn parse(text: &'a str) -> Option<Scheme<'a>> {
        if text.eq_ignore_ascii_case("sip") {
            return Some(Scheme::Sip);
        }
        if text.eq_ignore_ascii_case("sips") {
            return Some(Scheme::Sips);
        }
        if text.eq_ignore_ascii_case("tel") {
            return Some(Scheme::Tel);
        }
        let (first, rest) = text.as_bytes().split_first()?;
        let rest_fits = rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        (first.is_ascii_alphabetic() && rest_fits).then_some(Scheme::Other(text))
    }

    pub fn as_str(&self) -> &'a str {
        match *self {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel => "tel",
            Scheme::Other(text) => text,
        }
    }
}

/// A URI over the text it was read from. Write it changed with `Uri { port: None, ..uri }.to_string()`.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    pub scheme: Scheme<'a>,
    /// As written, escapes and user parameters (`+1;phone-context=x`) included; for `tel` the number. `None` where there is no `@`.
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// As written, IPv6 in its brackets. Empty for `tel` and for schemes other than SIP's.
    pub host: &'a str,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// What follows `?`.
    pub headers: Option<&'a str>,
    /// Everything after the scheme's colon, for the schemes that are not taken apart; empty for `sip`, `sips` and `tel`.
    pub opaque: &'a str,
}

/// What is wrong with a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UriError(pub &'static str);

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UriError {}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a str) -> Result<Uri<'a>, UriError> {
        if text.bytes().any(|b| b <= b' ' || matches!(b, 0x7f | b'<' | b'>' | b'"')) {
            return Err(UriError("space, control character, quote or bracket in the URI"));
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError("no scheme"))?;
        let scheme = Scheme::parse(scheme).ok_or(UriError("malformed scheme"))?;
        match scheme {
            Scheme::Sip | Scheme::Sips => parse_sip(scheme, rest),
            Scheme::Tel => parse_tel(rest),
            Scheme::Other(_) => Ok(Uri { scheme, user: None, password: None, host: "", port: None, params: Params::default(), headers: None, opaque: rest }),
        }
    }

    /// The host, if it is a literal address.
    pub fn host_addr(&self) -> Option<IpAddr> {
        host_addr(self.host)
    }

    /// The `transport` parameter, as written.
    pub fn transport(&self) -> Option<&'a str> {
        self.params.get("transport").filter(|t| !t.is_empty())
    }

    /// The user part without its `%hh` escapes; empty if there is none. Bytes that are then not UTF-8 are replaced.
    pub fn user_decoded(&self) -> Cow<'a, str> {
        decoded(self.user.unwrap_or_default())
    }

    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// RFC 3261 §19.1.4, and RFC 3966 §5 for `tel`. Not transitive, as the RFC's own rules are not.
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {
                same_decoded(self.user, other.user)
                    && same_decoded(self.password, other.password)
                    && same_host(self.host, other.host)
                    && self.port == other.port
                    && same_params(&self.params, &other.params)
                    && same_headers(self.headers, other.headers)
            }
            (Scheme::Tel, Scheme::Tel) => same_number(self.user, other.user) && same_tel_params(&self.params, &other.params),
            (Scheme::Other(a), Scheme::Other(b)) => a.eq_ignore_ascii_case(b) && self.opaque == other.opaque,
            _ => false,
        }
    }
}

fn parse_sip<'a>(scheme: Scheme<'a>, rest: &'a str) -> Result<Uri<'a>, UriError> {
    // A bare '@' is legal in one place only; what stands before the first is the userinfo, whatever it holds (`+1;phone-context=x@gw`).
    let (user, password, rest) = match rest.split_once('@') {
        Some((info, rest)) => match info.split_once(':') {
            Some((user, password)) => (Some(user), Some(password), rest),
            None => (Some(info), None, rest),
        },
        None => (None, None, rest),
    };
    if user == Some("") {
        return Err(UriError("nothing before the @"));
    }
    let (rest, headers) = match rest.split_once('?') {
        Some((rest, headers)) => (rest, Some(headers)),
        None => (rest, None),
    };
    let (host_port, params) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, port) = parse_host_port(host_port).map_err(UriError)?;
    Ok(Uri { scheme, user, password, host, port, params: Params::new(params), headers, opaque: "" })
}

fn parse_tel(rest: &str) -> Result<Uri<'_>, UriError> {
    let (digits, params) = rest.split_once(';').unwrap_or((rest, ""));
    let local = digits.strip_prefix('+').unwrap_or(digits);
    let fits = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#' | b'-' | b'.' | b'(' | b')');
    if !local.bytes().all(fits) || !local.bytes().any(|b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')) {
        return Err(UriError("no telephone number"));
    }
    Ok(Uri { scheme: Scheme::Tel, user: Some(digits), password: None, host: "", port: None, params: Params::new(params), headers: None, opaque: "" })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, without spaces.
pub(super) fn parse_host_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or("unclosed IPv6 bracket")? + 1;
        let (host, rest) = text.split_at(end);
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("text after the IPv6 bracket"),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    check_host(host)?;
    Ok((host, port.map(parse_port).transpose()?))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    number(text.as_bytes()).and_then(|n| u16::try_from(n).ok()).ok_or("malformed port")
}

/// A host name (letters, digits, `-`, `.`, and the underscore the field is full of), an IPv4 address, or an IPv6 address in brackets.
pub(super) fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| "malformed IPv6 address");
    }
    match host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) && host.bytes().any(|b| b.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err("malformed host"),
    }
}

pub(super) fn host_addr(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn hex(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// The bytes of `text` with `%hh` resolved; a `%` that begins no escape stands for itself.
fn decode(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            return Some(high << 4 | low);
        }
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(first)
    })
}

pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes: Vec<u8> = decode(text).collect();
    Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn same_decoded(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => decode(a).eq(decode(b)),
        (None, None) => true,
        _ => false,
    }
}

fn same_decoded_any_case(a: &str, b: &str) -> bool {
    decode(a).map(|x| x.to_ascii_lowercase()).eq(decode(b).map(|x| x.to_ascii_lowercase()))
}

pub(super) fn same_host(a: &str, b: &str) -> bool {
    match (host_addr(a), host_addr(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.eq_ignore_ascii_case(b),
    }
}

/// Comparing each with each is bounded: more parameters than any real URI has are compared as text.
fn too_many(params: &Params<'_>) -> bool {
    params.iter().nth(32).is_some()
}

/// Those present in both must agree; these few must be in both or in neither; others in one only are ignored. The first of two of a name counts.
fn same_params(a: &Params<'_>, b: &Params<'_>) -> bool {
    if too_many(a) || too_many(b) {
        return a.as_bytes() == b.as_bytes();
    }
    let agree = |x: &Params<'_>, y: &Params<'_>| {
        x.iter().all(|(name, _)| match y.get(name) {
            Some(other) => x.get(name).is_some_and(|value| same_decoded_any_case(value, other)),
            None => !["transport", "user", "ttl", "method", "maddr"].iter().any(|must| must.eq_ignore_ascii_case(name)),
        })
    };
    agree(a, b) && agree(b, a)
}

/// All headers must be in both, in any order.
fn same_headers(a: Option<&str>, b: Option<&str>) -> bool {
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    let one = |h: &str, all: &str| {
        let (name, value) = h.split_once('=').unwrap_or((h, ""));
        all.split('&').any(|other| {
            let (other_name, other_value) = other.split_once('=').unwrap_or((other, ""));
            same_decoded_any_case(name, other_name) && same_decoded(Some(value), Some(other_value))
        })
    };
    // Bounded, as parameters are.
    if a.split('&').count() != b.split('&').count() || a.split('&').nth(32).is_some() {
        return a == b;
    }
    a.split('&').all(|h| one(h, b)) && b.split('&').all(|h| one(h, a))
}

fn same_number(a: Option<&str>, b: Option<&str>) -> bool {
    let digits =
        |n: Option<&str>| n.unwrap_or_default().bytes().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')).map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    digits(a) == digits(b)
}

fn same_tel_params(a: &Params<'_>, b: &Params<'_>) -> bool {
    if too_many(a) || too_many(b) {
        return a.as_bytes() == b.as_bytes();
    }
    let within =
        |x: &Params<'_>, y: &Params<'_>| x.iter().all(|(name, _)| x.get(name).zip(y.get(name)).is_some_and(|(one, other)| same_decoded_any_case(one, other)));
    within(a, b) && within(b, a)
}

/// Canonical: scheme and host in lower case, the rest as written.
impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        if let Scheme::Other(_) = self.scheme {
            return f.write_str(self.opaque);
        }
        if let Some(user) = self.user {
            f.write_str(user)?;
        }
        if let Some(password) = self.password {
            write!(f, ":{password}")?;
        }
        if self.is_sip() {
            if self.user.is_some() {
                f.write_str("@")?;
            }
            self.host.chars().try_for_each(|c| fmt::Write::write_char(f, c.to_ascii_lowercase()))?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        match self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn takes_apart_every_piece() {
        let u = uri("SIPS:+1-212.555;phone-context=x:p%40ss@Example.COM:5061;transport=tls;LR?Subject=a&Priority=urgent");
        assert_eq!(u.scheme, Scheme::Sips);
        assert_eq!(u.user, Some("+1-212.555;phone-context=x"));
        assert_eq!(u.password, Some("p%40ss"));
        assert_eq!((u.host, u.port), ("Example.COM", Some(5061)));
        assert_eq!((u.transport(), u.params.get("lr")), (Some("tls"), Some("")));
        assert_eq!(u.headers, Some("Subject=a&Priority=urgent"));
        assert_eq!(u.to_string(), "sips:+1-212.555;phone-context=x:p%40ss@example.com:5061;transport=tls;LR?Subject=a&Priority=urgent");
    }

    #[test]
    fn dotted_users_and_user_parameters_stay_users() {
        assert_eq!((uri("sip:john.doe@example.com").user, uri("sip:john.doe@example.com").host), (Some("john.doe"), "example.com"));
        let gateway = uri("sip:+1;phone-context=+44@gw.example.net;user=phone");
        assert_eq!((gateway.user, gateway.host, gateway.params.get("user")), (Some("+1;phone-context=+44"), "gw.example.net", Some("phone")));
        assert_eq!(uri("sip:a/b?c&d=e$,f@h").user, Some("a/b?c&d=e$,f"));
    }

    #[test]
    fn an_at_sign_in_headers_moves_no_host() {
        let u = uri("sip:a@border.example.com?Replaces=1@192.0.2.66");
        assert_eq!((u.user, u.host), (Some("a"), "border.example.com"));
        assert!(Uri::parse("sip:a@b@c").is_err());
    }

    #[test]
    fn ipv6_references() {
        let u = uri("sip:a@[2001:db8::10]:5070;maddr=[::1]");
        assert_eq!((u.host, u.port, u.host_addr()), ("[2001:db8::10]", Some(5070), Some("2001:db8::10".parse().unwrap())));
        assert_eq!(u.to_string(), "sip:a@[2001:db8::10]:5070;maddr=[::1]");
        assert_eq!(uri("sip:[::ffff:192.0.2.1]").host_addr(), Some("::ffff:192.0.2.1".parse().unwrap()));
        assert_eq!(uri("sip:192.0.2.1").host_addr(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(uri("sip:192.0.2.1.example").host_addr(), None);
        for bad in ["sip:2001:db8::1", "sip:a@2001:db8::1", "sip:[2001:db8::1", "sip:[::1]x", "sip:[]", "sip:[h]", "sip:[::1%25eth0]"] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_uri() {
        for bad in [
            "",
            "sip",
            "sip:",
            ":a@b",
            "sip:a@",
            "sip:@b",
            "sip::p@b",
            "sip:a@b:",
            "sip:a@b:65536",
            "sip:a@b:5o",
            "sip:a@b c",
            "sip:a@b\r\nX",
            "<sip:a@b>",
            "sip:a@b\u{7f}",
            "1sip:a",
            "s ip:a",
            "sip:\"a\"@b",
            "sip:a@b/c",
            "sip:a@é",
            "sip:...",
            "tel:",
            "tel:;phone-context=1",
            "tel:-",
            "tel:+1x2",
        ] {
            assert!(Uri::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn other_schemes() {
        let tel = uri("tel:+1-201-555-0123;ext=5;phone-context=example.com");
        assert_eq!((tel.scheme, tel.user, tel.host, tel.params.get("ext")), (Scheme::Tel, Some("+1-201-555-0123"), "", Some("5")));
        assert_eq!(tel.to_string(), "tel:+1-201-555-0123;ext=5;phone-context=example.com");
        let urn = uri("urn:service:sos");
        assert_eq!((urn.scheme, urn.opaque, urn.host), (Scheme::Other("urn"), "service:sos", ""));
        assert_eq!(urn.to_string(), "urn:service:sos");
        assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme, Scheme::Other("nobodyKnowsThisScheme"));
    }

    #[test]
    fn escapes_are_resolved_once_and_broken_ones_left() {
        assert_eq!(uri("sip:a%40b%25%34%zz%f@h").user_decoded(), "a@b%4%zz%f");
        assert_eq!(uri("sip:%ff@h").user_decoded(), "\u{fffd}");
        assert_eq!(uri("sip:h").user_decoded(), "");
        assert!(matches!(uri("sip:plain@h").user_decoded(), Cow::Borrowed("plain")));
    }

    /// Comparing each with each of them would take minutes here.
    #[test]
    fn a_hundred_thousand_parameters_are_compared() {
        let many = format!("sip:h{}?{}", ";a=b".repeat(100_000), "c=d&".repeat(100_000));
        assert!(uri(&many).is_equivalent(&uri(&many)));
        assert!(!uri(&many).is_equivalent(&uri("sip:h")));
    }

    /// The examples of RFC 3261 §19.1.4 and their kin.
    #[test]
    fn equivalence() {
        for (a, b) in [
            ("sip:%61lice@atlanta.example;transport=TCP", "sip:alice@AtLanTa.ExAmPle;Transport=tcp"),
            ("sip:carol@chicago.example", "sip:carol@chicago.example;newparam=5"),
            ("sip:carol@chicago.example", "sip:carol@chicago.example;security=on"),
            ("sip:b.example;transport=tcp;method=REGISTER?to=sip:bob%40b.example", "sip:b.example;method=REGISTER;transport=tcp?to=sip:bob%40b.example"),
            ("sip:alice@a.example?subject=p&priority=urgent", "sip:alice@a.example?priority=urgent&subject=p"),
            ("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0:0::1]"),
            ("tel:+1-201-555", "tel:+1201555"),
        ] {
            assert!(uri(a).is_equivalent(&uri(b)) && uri(b).is_equivalent(&uri(a)), "{a} {b}");
        }
        for (a, b) in [
            ("sip:ALICE@a.example;transport=udp", "sip:alice@a.example;transport=udp"),
            ("sip:bob@b.example", "sip:bob@b.example:5060"),
            ("sip:bob@b.example", "sip:bob@b.example;transport=udp"),
            ("sip:bob@b.example", "sips:bob@b.example"),
            ("sip:bob@b.example;user=phone", "sip:bob@b.example"),
            ("sip:carol@c.example;security=on", "sip:carol@c.example;security=off"),
            ("sip:carol@c.example", "sip:carol@c.example?Subject=next"),
            ("sip:bob@b.example", "sip:b.example"),
            ("sip:bob:x@b.example", "sip:bob@b.example"),
            ("tel:+1201555", "tel:1201555"),
            ("tel:1201;phone-context=a", "tel:1201"),
            ("urn:a", "urn:b"),
        ] {
            assert!(!uri(a).is_equivalent(&uri(b)) && !uri(b).is_equivalent(&uri(a)), "{a} {b}");
        }
    }
}
