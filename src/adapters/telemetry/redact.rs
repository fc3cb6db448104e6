//! Blots out keys and credentials in a SIP message, byte for byte, so that what is left still parses and keeps its lengths.
//!
//! Blotted out: SDES keys (RFC 4568 §6.1, `inline:` wherever it stands, and all key parameters of `a=crypto` lines), `k=` and `a=key-mgmt`
//! lines, ICE passwords, digest credentials (RFC 3261 §22), passwords in SIP URIs, and digits sent in INFO bodies, which may be a mailbox's PIN.

use bytes::Bytes;

const BLOT: u8 = b'*';

/// Header fields of which only the scheme is left.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "authentication-info"];

/// What stands in the place of an octet of a key.
type Instead = fn(u8) -> u8;

/// A copy of the message without its secrets, of the same length.
pub fn redact(message: &[u8]) -> Bytes {
    without_secrets(message, |_| BLOT)
}

/// As [`redact`], but a key is followed by one that says nothing and is as well formed as it was: what reads the message for its sense, not for its keys, finds the
/// same in it.
pub fn redact_legibly(message: &[u8]) -> Bytes {
    without_secrets(message, |octet| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => b'A',
        // How long a key is, which its padding tells, is no secret.
        b'=' => b'=',
        _ => BLOT,
    })
}

fn without_secrets(message: &[u8], instead: Instead) -> Bytes {
    let mut text = message.to_vec();
    let body = body_start(&text);
    headers(&mut text[..body]);
    body_lines(&mut text[body..], instead);
    if is_digit_body(&message[..body]) {
        blot(&mut text[body..]);
    }
    inline_keys(&mut text, instead);
    uri_passwords(&mut text);
    text.into()
}

/// As `redact`, for a piece of a message such as a URI, as text on one line and of bounded length.
pub fn clean(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    inline_keys(&mut bytes, |_| BLOT);
    uri_passwords(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.chars().take(256).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn body_start(message: &[u8]) -> usize {
    let crlf = memchr::memmem::find(message, b"\r\n\r\n").map(|at| at + 4);
    let lf = memchr::memmem::find(message, b"\n\n").map(|at| at + 2);
    [crlf, lf].into_iter().flatten().min().unwrap_or(message.len())
}

fn headers(head: &mut [u8]) {
    let mut blotting = false;
    for line in head.split_inclusive_mut(|byte| *byte == b'\n') {
        let folded = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if folded {
            if blotting {
                blot(line);
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_mut(colon);
        blotting = CREDENTIALS.iter().any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()));
        if blotting {
            // ": Digest " stays.
            let scheme = value.iter().skip(1).skip_while(|byte| byte.is_ascii_whitespace()).take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let spaces = value.iter().skip(1).take_while(|byte| byte.is_ascii_whitespace()).count();
            let kept = (1 + spaces + scheme).min(value.len());
            blot(&mut value[kept..]);
        }
    }
}

fn is_digit_body(head: &[u8]) -> bool {
    let names_the_type = |line: &[u8]| starts(line, b"content-type") || starts(line, b"c:") || starts(line, b"c ");
    head.split(|byte| *byte == b'\n').any(|line| names_the_type(line) && contains(line, b"application/dtmf"))
}

fn body_lines(body: &mut [u8], instead: Instead) {
    for line in body.split_inclusive_mut(|byte| matches!(byte, b'\n' | b'\r')) {
        if starts(line, b"a=crypto") {
            key_parameters(line, instead);
        } else if starts(line, b"k=") || starts(line, b"a=key-mgmt") || starts(line, b"a=ice-pwd") || starts(line, b"signal") {
            let kept = line.iter().position(|byte| matches!(byte, b'=' | b':')).map_or(0, |at| at + 1);
            let kept = if starts(line, b"a=") { line.iter().position(|byte| *byte == b':').map_or(kept, |at| at + 1) } else { kept };
            put(&mut line[kept..], instead);
        }
    }
}

/// `a=crypto:1 SUITE inline:****|2^31|1:1`: tag and suite stay, and what follows a bar.
fn key_parameters(line: &mut [u8], instead: Instead) {
    let words = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at).nth(1);
    let Some(mut at) = words else { return };
    let mut secret = true;
    while at < line.len() {
        match line[at] {
            b'|' => secret = false,
            b';' | b' ' | b'\t' => secret = true,
            b'\r' | b'\n' => {}
            _ if secret && starts(&line[at..], b"inline:") => at += 6,
            _ if secret => line[at] = instead(line[at]),
            _ => {}
        }
        at += 1;
    }
}

fn inline_keys(text: &mut [u8], instead: Instead) {
    let mut at = 0;
    while let Some(found) = find(&text[at..], b"inline:") {
        at += found + 7;
        while at < text.len() && !matches!(text[at], b'|' | b';' | b'\r' | b'\n' | b'"' | b'<') {
            if text[at] != b' ' {
                text[at] = instead(text[at]);
            }
            at += 1;
        }
    }
}

/// `sip:user:password@host`.
fn uri_passwords(text: &mut [u8]) {
    for scheme in [&b"sip:"[..], b"sips:"] {
        let mut at = 0;
        while let Some(found) = find(&text[at..], scheme) {
            at += found + scheme.len();
            let end = text[at..].iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'<' | b'>' | b'"' | b',')).map_or(text.len(), |n| at + n);
            let Some(user_end) = text[at..end].iter().position(|byte| *byte == b'@').map(|n| at + n) else { continue };
            if let Some(colon) = text[at..user_end].iter().position(|byte| *byte == b':') {
                blot(&mut text[at + colon + 1..user_end]);
            }
        }
    }
}

fn blot(text: &mut [u8]) {
    put(text, |_| BLOT);
}

fn put(text: &mut [u8], instead: Instead) {
    text.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = instead(*byte));
}

fn starts(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).find(|at| starts(&text[*at..], wanted))
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    find(text, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn redacted(text: &str) -> String {
        let out = redact(text.as_bytes());
        assert_eq!(out.len(), text.len(), "the length stays");
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn sdes_keys_go_and_suite_lifetime_and_mki_stay() {
        let blots = "*".repeat(KEY.len());
        for (line, expected) in [
            (
                format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\r\n"),
                format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{blots}|2^31|1:1\r\n"),
            ),
            (format!("A=CRYPTO:2 X INLINE:{KEY};inline:{KEY}|4\n"), format!("A=CRYPTO:2 X INLINE:{blots};inline:{blots}|4\n")),
            (format!("a=crypto:3 X other:{KEY}\r\n"), format!("a=crypto:3 X {}{blots}\r\n", "*".repeat(6))),
            (format!("a=cryptoscale:1 client X inline:{KEY}|2^31\r\n"), format!("a=cryptoscale:1 client {} inline:{blots}|2^31\r\n", "*")),
        ] {
            assert_eq!(
                redacted(&format!("INVITE sip:x@y SIP/2.0\r\n\r\nv=0\r\n{line}a=sendrecv\r\n")),
                format!("INVITE sip:x@y SIP/2.0\r\n\r\nv=0\r\n{expected}a=sendrecv\r\n")
            );
        }
    }

    #[test]
    fn what_reads_the_message_for_its_sense_reads_the_same_without_the_keys() {
        let long = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 46]);
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4\r\na=crypto:2 AES_256_CM_HMAC_SHA1_80 inline:{long}\r\n\
             a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:tooshort WSH=64\r\na=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
        );
        let text = format!("INVITE sip:u:secret@h SIP/2.0\r\nContent-Type: application/sdp\r\n\r\n{sdp}");
        let out = String::from_utf8(redact_legibly(text.as_bytes()).to_vec()).unwrap();
        for secret in [KEY, &long[..60], "tooshort", "asd88", "secret"] {
            assert!(!out.contains(secret), "{out}");
        }
        assert_eq!(out.len(), text.len());
        // Each line of keys is read, or refused, as it was before.
        let read = |text: &str| -> Vec<Option<(u32, crate::sdp::crypto::SuiteName)>> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
            lines.map(|line| crate::sdp::crypto::Crypto::parse(line).ok().map(|crypto| (crypto.tag, crypto.suite))).collect()
        };
        assert_eq!(read(&out), read(&text));
        assert_eq!(read(&text).iter().filter(|line| line.is_some()).count(), 2, "{text}");
        let ice = |text: &str| crate::sdp::Description::parse(text.split_once("\r\n\r\n").unwrap().1.as_bytes()).is_ok();
        assert!(ice(&text) && ice(&out));
    }

    #[test]
    fn a_key_in_an_odd_place_goes_too() {
        for text in [
            format!("X-Copy: inline:{KEY}\r\n\r\n"),
            format!("INVITE x SIP/2.0\r\nContent-Type: text/plain\r\n\r\nkey=Inline: {KEY}\r\n"),
            format!("v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("INVITE x SIP/2.0\n\nk=clear:{KEY}\n"),
            format!("INVITE x SIP/2.0\n\na=ice-pwd:{KEY}\na=key-mgmt:mikey {KEY}\n"),
            format!("INVITE x SIP/2.0\r\nContent-Length: 9\r\n a=crypto:1\r\n inline:{KEY}\r\n\r\n"),
        ] {
            assert!(!redacted(&text).contains(&KEY[..8]), "{}", redacted(&text));
        }
    }

    #[test]
    fn credentials_go_and_the_scheme_stays() {
        let text =
            "INVITE sip:u:secret@h SIP/2.0\r\nProxy-Authorization: Digest username=\"bob\",\r\n response=\"0a1b2c\"\r\nTo: <sips:u:hunter2@h:5061>\r\n\r\n";
        let out = redacted(text);
        for secret in ["secret", "bob", "0a1b2c", "hunter2"] {
            assert!(!out.contains(secret), "{out}");
        }
        assert!(out.contains("Proxy-Authorization: Digest *") && out.contains("To: <sips:u:*******@h:5061>"), "{out}");
    }

    #[test]
    fn digits_in_info_bodies_go() {
        let relay = redacted("INFO sip:x SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n");
        assert!(!relay.contains('5') && !relay.contains("160"), "{relay}");
        assert!(!redacted("INFO sip:x SIP/2.0\r\nc: application/dtmf\r\n\r\n7").contains('7'));
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_around_a_key_it_goes(before in ".{0,80}", after in "[ -~\r\n]{0,80}", crypto in proptest::bool::ANY) {
            let line = if crypto { format!("a=crypto:1 S inline:{KEY}") } else { format!("x inline:{KEY}") };
            let text = format!("{before}\r\n{line}\r\n{after}");
            let out = redact(text.as_bytes());
            proptest::prop_assert_eq!(out.len(), text.len());
            proptest::prop_assert!(!contains(&out, KEY.as_bytes()));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            proptest::prop_assert_eq!(redact(&bytes).len(), bytes.len());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            proptest::prop_assert!(clean(&text).chars().count() <= 256);
        }
    }

    #[test]
    fn all_else_stays() {
        let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h:5061;branch=z9hG4bK1\r\nTo: <sip:7001@h:5060;transport=tls>;tag=1\r\nWWW-Authenticate: Digest nonce=\"n\"\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 8\r\n";
        assert_eq!(redacted(text), text);
        assert_eq!(redacted(""), "");
    }

    #[test]
    fn cleaned_text_is_one_bounded_line_without_passwords() {
        assert_eq!(clean("sip:a:pw@h\r\nX: y"), "sip:a:**@h??X: y");
        assert_eq!(clean(&"x".repeat(9999)).len(), 256);
    }
}
