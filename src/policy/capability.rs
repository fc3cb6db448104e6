//! What each side can take: which bodies may cross in INFO (RFC 6086, RFC 2976), everything else stays on its side.
//!
//! An INFO body is relayed unread, so only small, plain ones of known types are, in short lines: digits. A session description there could carry keys
//! or addresses of one side to the other, whatever its type is said to be.

/// Types in the form in which they are written on the other leg.
const INFO_TYPES: [&str; 3] = ["application/dtmf-relay", "application/dtmf", "application/vnd.nortelnetworks.digits"];

/// What a refusal names in Accept.
pub const INFO_ACCEPT: &str = "application/dtmf-relay, application/dtmf, application/vnd.nortelnetworks.digits";

/// Bytes; a digit takes about thirty.
const LONGEST_INFO: usize = 256;

/// Bytes of one line of it: enough for a dialled number, too few for a key (40 characters, RFC 4568 §6.1).
const LONGEST_LINE: usize = 32;

/// The canonical type of an INFO body that may cross; `None`: it may not. Parameters of the type do not cross.
pub fn info_type(content_type: &str, body: &[u8]) -> Option<&'static str> {
    let plain = body.len() <= LONGEST_INFO && body.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let short = body.split(|byte| matches!(byte, b'\r' | b'\n')).all(|line| line.len() <= LONGEST_LINE);
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    INFO_TYPES.into_iter().find(|known| plain && short && known.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_cross_and_nothing_else() {
        assert_eq!(info_type("Application/DTMF-Relay; charset=x", b"Signal=5\r\nDuration=160\r\n"), Some("application/dtmf-relay"));
        assert_eq!(info_type("application/dtmf", b"5"), Some("application/dtmf"));
        let digits = b"p=Digit-Collection\r\ny=Digits\r\nd=Digits\r\nt=+442079460123#\r\n";
        assert_eq!(info_type("application/vnd.nortelnetworks.digits", digits), Some("application/vnd.nortelnetworks.digits"));
        assert_eq!(info_type("application/sdp", b"v=0\r\n"), None);
        assert_eq!(info_type("application/dtmf", &[b'5'; 257]), None);
        assert_eq!(info_type("application/dtmf", b"\x00"), None);
        assert_eq!(info_type("", b""), None);
    }

    #[test]
    fn a_key_that_is_called_a_digit_does_not_cross() {
        for body in ["WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31\r\n"]
        {
            for kind in INFO_TYPES {
                assert_eq!(info_type(kind, body.as_bytes()), None);
                assert_eq!(info_type(kind, format!("Signal=5\r\n{body}").as_bytes()), None);
            }
        }
    }
}
