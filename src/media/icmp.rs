//! What ICMP and ICMPv6 errors mean for media (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7, RFC 4443 §3).

use crate::media::control::Icmp;

/// By type and code of an ICMP error.
pub fn of_v4(kind: u8, code: u8) -> Icmp {
    match (kind, code) {
        (3, 0 | 6) => Icmp::Network,
        (3, 1 | 7) => Icmp::Host,
        (3, 3) => Icmp::Port,
        (3, 4) => Icmp::TooBig,
        (3, 9 | 10 | 13) => Icmp::Prohibited,
        _ => Icmp::Other { kind, code },
    }
}

/// By type and code of an ICMPv6 error.
pub fn of_v6(kind: u8, code: u8) -> Icmp {
    match (kind, code) {
        (1, 0) => Icmp::Network,
        (1, 3) => Icmp::Host,
        (1, 4) => Icmp::Port,
        (1, 1 | 5 | 6) => Icmp::Prohibited,
        (2, _) => Icmp::TooBig,
        _ => Icmp::Other { kind, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_told_from_a_firewall_in_both_families() {
        assert_eq!((of_v4(3, 3), of_v6(1, 4)), (Icmp::Port, Icmp::Port));
        assert_eq!((of_v4(3, 13), of_v6(1, 1)), (Icmp::Prohibited, Icmp::Prohibited));
        assert_eq!((of_v4(3, 4), of_v6(2, 0)), (Icmp::TooBig, Icmp::TooBig));
        assert_eq!((of_v4(11, 0), of_v6(3, 0)), (Icmp::Other { kind: 11, code: 0 }, Icmp::Other { kind: 3, code: 0 }));
    }
}
