//! Why a handshake failed, in the operator's terms: from what path validation (RFC 5280 §6), the TLS library or the socket says, to one reason of
//! section `tls.` with a sentence that names the remedy.

use std::io;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{AlertDescription as Alert, CertificateError, InvalidMessage, OtherError, PeerIncompatible};
use std::sync::Arc;

use super::certificate::Certificate;
use super::dates::{from_now, written};
use super::trust::Purpose;
use crate::policy::flow::TlsRefusal;
use crate::policy::verdict::Reason;

/// What path validation found wrong with `chain`.
pub fn of_path(error: &webpki::Error, chain: &[CertificateDer<'_>], now: UnixTime, purpose: Purpose) -> TlsRefusal {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => {
            let which = whose(chain, |facts| facts.not_after == *not_after);
            let what = format!("{which} expired {} ({}): the other side must renew it", from_now(*not_after, now), written(*not_after));
            TlsRefusal::new(Reason::TlsExpired, what)
        }
        Error::CertNotValidYet { not_before, .. } => {
            let which = whose(chain, |facts| facts.not_before == *not_before);
            let what = format!("{which} becomes valid {} ({}): see that both clocks are right", from_now(*not_before, now), written(*not_before));
            TlsRefusal::new(Reason::TlsNotYetValid, what)
        }
        Error::UnknownIssuer => TlsRefusal::new(
            Reason::TlsUnknownIssuer,
            "its certificate chains to no CA of this peer: the other side must send its intermediates, or its CA belongs into the peer's ca file",
        ),
        Error::CertRevoked => TlsRefusal::new(Reason::TlsRevoked, "a certificate of its chain has been revoked by its issuer: the other side needs a new one"),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => wrong_usage(purpose),
        Error::CaUsedAsEndEntity => {
            TlsRefusal::new(Reason::TlsUsage, "its certificate is a CA's own: the other side must use one issued for a server or client (CA:FALSE)")
        }
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => TlsRefusal::new(
            Reason::TlsChainLimit,
            "its chain takes more work to verify than any real one: the other side must send its certificate and intermediates only",
        ),
        Error::InvalidSignatureForPublicKey => TlsRefusal::new(
            Reason::TlsBadCertificate,
            "a signature in its chain is wrong: the certificate was altered, or its CA has another key than the ca file says",
        ),
        other => TlsRefusal::new(Reason::TlsBadCertificate, format!("its chain cannot be verified ({other}): the other side needs another certificate")),
    }
}

pub fn wrong_usage(purpose: Purpose) -> TlsRefusal {
    let what = match purpose {
        Purpose::Server => "its certificate does not name the usage serverAuth: the other side needs one that does",
        Purpose::Client => "its certificate does not name the usage clientAuth: the other side needs one that does",
    };
    TlsRefusal::new(Reason::TlsUsage, what)
}

fn whose(chain: &[CertificateDer<'_>], fits: impl Fn(&Certificate) -> bool) -> String {
    let position = chain.iter().position(|der| Certificate::read(der).is_some_and(|facts| fits(&facts)));
    match position {
        Some(0) => String::from("its certificate"),
        Some(_) => String::from("an intermediate CA certificate of its chain"),
        None => String::from("a certificate of its chain"),
    }
}

/// As the TLS library wants it, so that it sends the fitting alert.
pub fn to_library(refusal: &TlsRefusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(match refusal.reason {
        Reason::TlsUnknownIssuer => CertificateError::UnknownIssuer,
        Reason::TlsExpired => CertificateError::Expired,
        Reason::TlsNotYetValid => CertificateError::NotValidYet,
        Reason::TlsRevoked => CertificateError::Revoked,
        Reason::TlsRevocationUnknown => CertificateError::UnknownRevocationStatus,
        Reason::TlsUsage => CertificateError::InvalidPurpose,
        Reason::TlsName => CertificateError::NotValidForName,
        Reason::TlsBadCertificate => CertificateError::BadEncoding,
        _ => CertificateError::Other(OtherError(Arc::new(refusal.clone()))),
    })
}

/// What the TLS library, or the socket beneath it, says of a handshake, or of a connection later on. `None`: an error of the socket that is none of
/// TLS.
pub fn of_library(error: &io::Error) -> Option<TlsRefusal> {
    let by_rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(of_rustls);
    #[cfg(feature = "legacy-tls")]
    let by_rustls = by_rustls.or_else(|| super::legacy::of_library(error));
    by_rustls
}

/// As [`of_library`], for a connection that has not come through its handshake.
pub fn of_handshake(error: &io::Error) -> TlsRefusal {
    of_library(error).unwrap_or_else(|| {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => String::from(
                "the other end closed the connection in the handshake: see its log; it may not speak TLS there, or like neither our certificate nor our suites",
            ),
            _ => format!("the connection failed in the handshake ({error})"),
        };
        TlsRefusal::new(Reason::TlsBroken, what)
    })
}

fn of_rustls(error: &rustls::Error) -> TlsRefusal {
    use rustls::Error;
    match error {
        Error::NoCertificatesPresented => {
            TlsRefusal::new(Reason::TlsNoCertificate, "it showed no certificate: TLS is mutual here, the other side must be given one")
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            TlsRefusal::new(Reason::TlsBadCertificate, "it could not prove that it has the key of its certificate")
        }
        Error::InvalidCertificate(error) => TlsRefusal::new(Reason::TlsBadCertificate, format!("its certificate was refused ({error})")),
        Error::InvalidMessage(InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge) => TlsRefusal::new(
            Reason::TlsChainLimit,
            "its certificate chain is larger than any real one: the other side must send its certificate and intermediates only",
        ),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::AlertReceived(alert) => alerted(*alert, SPOKEN),
        other => TlsRefusal::new(Reason::TlsBroken, format!("what came was not the TLS it should be ({other})")),
    }
}

const SPOKEN: &str = "we speak TLS 1.2 and 1.3 with ECDHE and AEAD suites only";

fn incompatible(why: &PeerIncompatible) -> TlsRefusal {
    let what = match why {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            format!("it offers only protocol versions that we do not speak; {SPOKEN}: enable TLS 1.2 on the other side")
        }
        PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NamedGroupsExtensionRequired | PeerIncompatible::NoKxGroupsInCommon => {
            format!(
                "it offers only cipher suites that we do not speak; {SPOKEN}: enable ECDHE with AES-GCM there, on Windows Server 2012 R2 by an ECDSA certificate"
            )
        }
        PeerIncompatible::NoSignatureSchemesInCommon | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            String::from("it offers no signature scheme that fits our certificate: give us an RSA or ECDSA P-256 certificate, or enable SHA-256 there")
        }
        other => format!("it lacks something of TLS 1.2 or 1.3 that we need ({other:?}); {SPOKEN}"),
    };
    TlsRefusal::new(Reason::TlsNothingShared, what)
}

/// A fatal alert (RFC 8446 §6.2) is all the other end ever says.
pub fn alerted(alert: Alert, spoken: &str) -> TlsRefusal {
    let name = format!("{alert:?}");
    let remedy = match alert {
        Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::ProtocolVersion => {
            let what = format!(
                "it shares no protocol version or cipher suite with us, or wants another certificate (alert {name}); {spoken}: \
                 enable ECDHE with AES-GCM there, on Windows Server 2012 R2 by an ECDSA certificate"
            );
            return TlsRefusal::new(Reason::TlsNothingShared, what).comparing("alert", name);
        }
        Alert::UnknownCA => "it does not trust our CA: put our CA certificate there",
        Alert::CertificateExpired => "for it our certificate has expired: renew ours, and compare the clocks",
        Alert::CertificateRevoked => "for it our certificate is revoked: get a new one",
        Alert::CertificateRequired | Alert::NoCertificate => "it saw no certificate of ours",
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown | Alert::AccessDenied => {
            "see the log there: our certificate's names, usages (serverAuth, clientAuth) or chain"
        }
        _ => return TlsRefusal::new(Reason::TlsBroken, format!("it ended the connection by the alert {name}: see the log there")).comparing("alert", name),
    };
    TlsRefusal::new(Reason::TlsOursRefused, format!("it refused our certificate (alert {name}): {remedy}")).comparing("alert", name)
}
