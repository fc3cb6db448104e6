//! Whether requests are under way on one connection, as far as first lines tell (RFC 3261 §7.1, §7.2). Exact enough to close early what is to be
//! closed anyway: what was answered twice, or never, only makes it wait for its limit.

use std::sync::atomic::{AtomicU32, Ordering};

/// What the first line of a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// Awaits a final response.
    Request,
    /// Awaits none.
    Ack,
    Provisional,
    Final,
}

fn line(message: &[u8]) -> Line {
    match message.strip_prefix(b"SIP/2.0 ") {
        Some([b'1', ..]) => Line::Provisional,
        Some(_) => Line::Final,
        None if message.starts_with(b"ACK ") => Line::Ack,
        None => Line::Request,
    }
}

pub fn is_request(message: &[u8]) -> bool {
    matches!(line(message), Line::Request | Line::Ack)
}

/// A request that ends a call or a transaction, or has to go through before either can.
pub fn is_ending(message: &[u8]) -> bool {
    [&b"ACK "[..], b"BYE ", b"CANCEL ", b"PRACK "].iter().any(|method| message.starts_with(method))
}

/// Requests without a final response, both ways.
#[derive(Default)]
pub struct UnderWay {
    theirs: AtomicU32,
    ours: AtomicU32,
}

impl UnderWay {
    pub fn received(&self, message: &[u8]) {
        note(line(message), &self.theirs, &self.ours);
    }

    pub fn sent(&self, message: &[u8]) {
        note(line(message), &self.ours, &self.theirs);
    }

    pub fn nothing(&self) -> bool {
        self.theirs.load(Ordering::Relaxed) == 0 && self.ours.load(Ordering::Relaxed) == 0
    }
}

fn note(line: Line, asked: &AtomicU32, answered: &AtomicU32) {
    match line {
        Line::Request => {
            asked.fetch_add(1, Ordering::Relaxed);
        }
        Line::Final => {
            // Never below none: a 2xx may be repeated.
            let _ = answered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        }
        Line::Ack | Line::Provisional => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_both_ways_is_under_way_until_its_last_answer() {
        let under_way = UnderWay::default();
        let none = |steps: &[(bool, &[u8])]| {
            for (received, message) in steps {
                if *received { under_way.received(message) } else { under_way.sent(message) }
            }
            under_way.nothing()
        };
        assert!(under_way.nothing());
        assert!(!none(&[(true, b"INVITE sip:a SIP/2.0\r\n"), (false, b"SIP/2.0 100 Trying\r\n"), (false, b"SIP/2.0 180 Ringing\r\n")]));
        assert!(none(&[(false, b"SIP/2.0 200 OK\r\n"), (false, b"SIP/2.0 200 OK\r\n"), (true, b"ACK sip:a SIP/2.0\r\n")]));
        assert!(!none(&[(false, b"BYE sip:a SIP/2.0\r\n")]));
        assert!(!none(&[(true, b"OPTIONS sip:a SIP/2.0\r\n"), (true, b"SIP/2.0 200 OK\r\n")]));
        assert!(none(&[(false, b"SIP/2.0 503 Busy\r\n")]));
    }

    #[test]
    fn only_what_ends_things_is_ending() {
        for message in [&b"BYE sip:a SIP/2.0\r\n"[..], b"ACK sip:a SIP/2.0\r\n", b"CANCEL sip:a SIP/2.0\r\n", b"PRACK sip:a SIP/2.0\r\n"] {
            assert!(is_request(message) && is_ending(message));
        }
        for message in [&b"INVITE sip:a SIP/2.0\r\n"[..], b"BYEBYE sip:a SIP/2.0\r\n", b"ack sip:a SIP/2.0\r\n", b"", b"UPDATE"] {
            assert!(is_request(message) && !is_ending(message));
        }
        assert!(!is_request(b"SIP/2.0 200 OK\r\n"));
    }
}
