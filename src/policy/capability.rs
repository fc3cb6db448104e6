//! What each side can take: which bodies may cross in INFO (RFC 6086, RFC 2976), everything else stays on its side.
//!
//! An INFO body is relayed unread, so only small, plain ones of known types are: digits. A session description there could carry keys or addresses
//! of one side to the other.

/// Types in the form in which they are written on the other leg.
const INFO_TYPES: [&str; 3] = ["application/dtmf-relay", "application/dtmf", "application/vnd.nortelnetworks.digits"];

/// What a refusal names in Accept.
pub const INFO_ACCEPT: &str = "application/dtmf-relay, application/dtmf, application/vnd.nortelnetworks.digits";

/// Bytes; a digit takes about thirty.
const LONGEST_INFO: usize = 256;

/// The canonical type of an INFO body that may cross; `None`: it may not. Parameters of the type do not cross.
pub fn info_type(content_type: &str, body: &[u8]) -> Option<&'static str> {
    let plain = body.len() <= LONGEST_INFO && body.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    INFO_TYPES.into_iter().find(|known| plain && known.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_cross_and_nothing_else() {
        assert_eq!(info_type("Application/DTMF-Relay; charset=x", b"Signal=5\r\nDuration=160\r\n"), Some("application/dtmf-relay"));
        assert_eq!(info_type("application/dtmf", b"5"), Some("application/dtmf"));
        assert_eq!(info_type("application/sdp", b"v=0\r\n"), None);
        assert_eq!(info_type("application/dtmf", &[b'5'; 257]), None);
        assert_eq!(info_type("application/dtmf", b"\x00"), None);
        assert_eq!(info_type("", b""), None);
    }
}
