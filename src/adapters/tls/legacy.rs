//! TLS by OpenSSL, for a UM server that shares no cipher suite with rustls: Windows Server 2012 R2 with an RSA certificate offers ECDHE with CBC
//! only, and AES-GCM without ECDHE only. TLS 1.2 and 1.3, the suites of [`CIPHERS`] besides; nothing older, no renegotiation, no resumption.
//!
//! Whom a certificate speaks for is decided by the same verifier as everywhere, over the same bytes: once while the handshake still runs, so that the
//! other end is told by an alert, and again over the chain exactly as it was shown before the connection is given out. OpenSSL's own opinion of a
//! chain counts for nothing; that the other end has the key of its certificate is its to check.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use openssl::bn::BigNum;
use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509StoreContextRef};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::files::OwnCertificate;
use super::handshake::Established;
use super::refusal;
use super::verifier::Verifier;
use crate::policy::flow::{TlsBackend, TlsRefusal};
use crate::policy::verdict::Reason;

/// With forward secrecy and AEAD first; of the rest what Windows Server 2012 R2 has. No 3DES, RC4, MD5, no anonymous or pre-shared keys.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!eNULL:!MD5:!DSS:!PSK:!SRP:!AESCCM";
/// 112 bits: RSA and DH of 2048 bits, no signatures by SHA-1.
const SECURITY_LEVEL: u32 = 2;
/// `X509_V_ERR_EE_KEY_TOO_SMALL`, `…_CA_KEY_TOO_SMALL`, `…_CA_MD_TOO_WEAK`.
const TOO_WEAK: std::ops::RangeInclusive<i32> = 66..=68;

/// Our key, as OpenSSL wants it. It is cleared from memory when dropped.
pub fn key(der: &PrivateKeyDer<'_>) -> Option<PKey<Private>> {
    PKey::private_key_from_der(der.secret_der()).ok()
}

/// The server's side.
pub async fn accept(own: &OwnCertificate, verifier: &Arc<Verifier>, stream: TcpStream) -> Result<(SslStream<TcpStream>, Established), TlsRefusal> {
    let mode = if verifier.demands_proof() { SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT } else { SslVerifyMode::PEER };
    let mut stream = prepared(own, verifier, mode, None, stream).map_err(|error| unusable(&error))?;
    let shaken = Pin::new(&mut stream).accept().await;
    shaken.map_err(|error| verifier.refusal().unwrap_or_else(|| of_handshake(&error)))?;
    let established = established(stream.ssl(), verifier, true)?;
    Ok((stream, established))
}

/// The client's side.
pub async fn connect(
    own: &OwnCertificate,
    verifier: &Arc<Verifier>,
    name: &ServerName<'_>,
    stream: TcpStream,
) -> Result<(SslStream<TcpStream>, Established), TlsRefusal> {
    let host = if let ServerName::DnsName(host) = name { Some(host.as_ref()) } else { None };
    let mut stream = prepared(own, verifier, SslVerifyMode::PEER, host, stream).map_err(|error| unusable(&error))?;
    let shaken = Pin::new(&mut stream).connect().await;
    shaken.map_err(|error| verifier.refusal().unwrap_or_else(|| of_handshake(&error)))?;
    let established = established(stream.ssl(), verifier, false)?;
    Ok((stream, established))
}

fn prepared(
    own: &OwnCertificate,
    verifier: &Arc<Verifier>,
    mode: SslVerifyMode,
    sni: Option<&str>,
    stream: TcpStream,
) -> Result<SslStream<TcpStream>, ErrorStack> {
    let context = context(own)?;
    let mut ssl = Ssl::new(&context)?;
    if let Some(host) = sni {
        ssl.set_hostname(host)?;
    }
    let verifier = Arc::clone(verifier);
    ssl.set_verify_callback(mode, move |_, chain| judged(&verifier, chain));
    SslStream::new(ssl, stream)
}

fn context(own: &OwnCertificate) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_security_level(SECURITY_LEVEL);
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    // RFC 3526 group 14.
    builder.set_tmp_dh(&*Dh::from_pqg(BigNum::get_rfc3526_prime_2048()?, None, BigNum::from_u32(2)?)?)?;
    builder.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION | SslOptions::NO_TICKET);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    for (place, der) in own.key.cert.iter().enumerate() {
        let certificate = X509::from_der(der)?;
        if place == 0 {
            builder.set_certificate(&certificate)?;
        } else {
            builder.add_extra_chain_cert(certificate)?;
        }
    }
    if let Some(key) = &own.legacy {
        builder.set_private_key(key)?;
    }
    builder.check_private_key()?;
    Ok(builder.build())
}

/// Asked by OpenSSL for every certificate and every doubt of its own; ours is the only answer.
fn judged(verifier: &Verifier, found: &mut X509StoreContextRef) -> bool {
    if TOO_WEAK.contains(&found.error().as_raw()) {
        return verifier.refuse(TlsRefusal::new(
            Reason::TlsBadCertificate,
            "its certificate, or its CA's, is too weak (RSA below 2048 bits, or SHA-1): the other side needs another",
        ));
    }
    let chain: Option<Vec<CertificateDer<'static>>> =
        found.chain().map(|chain| chain.iter().filter_map(|x509| x509.to_der().ok().map(CertificateDer::from)).collect());
    verifier.judge(&chain.unwrap_or_default(), UnixTime::now())
}

/// Of a handshake that is over: what was shown is verified as it was shown.
fn established(ssl: &SslRef, verifier: &Verifier, as_server: bool) -> Result<Established, TlsRefusal> {
    let chain = presented(ssl, as_server).map_err(|error| unusable(&error))?;
    let proven = match chain.is_empty() {
        true if verifier.demands_proof() => {
            return Err(TlsRefusal::new(Reason::TlsNoCertificate, "it showed no certificate: TLS is mutual here, the other side must be given one"));
        }
        true => None,
        false => Some(verifier.credentials.prove(&chain, &verifier.proof, UnixTime::now())?),
    };
    let cipher = ssl.current_cipher().and_then(|cipher| cipher.standard_name()).unwrap_or("unknown");
    let chain = chain.iter().map(|der| Bytes::copy_from_slice(der)).collect();
    Ok(Established::of(verifier, proven.unwrap_or_default(), chain, TlsBackend::OpenSsl, ssl.version_str(), cipher))
}

/// Leaf first. OpenSSL leaves a client's own certificate out of its chain.
fn presented(ssl: &SslRef, as_server: bool) -> Result<Vec<CertificateDer<'static>>, ErrorStack> {
    let mut chain = Vec::new();
    if as_server && let Some(leaf) = ssl.peer_certificate() {
        chain.push(CertificateDer::from(leaf.to_der()?));
    }
    for x509 in ssl.peer_cert_chain().into_iter().flatten() {
        chain.push(CertificateDer::from(x509.to_der()?));
    }
    Ok(chain)
}

fn unusable(error: &ErrorStack) -> TlsRefusal {
    TlsRefusal::new(Reason::TlsUnprepared, format!("OpenSSL takes our certificate, key or settings not ({error}): give us an RSA or ECDSA certificate"))
}

/// What OpenSSL says of a connection later on. `None`: an error of the socket.
pub fn of_library(error: &io::Error) -> Option<TlsRefusal> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<ssl::Error>()).and_then(of_ssl)
}

fn of_handshake(error: &ssl::Error) -> TlsRefusal {
    of_ssl(error).unwrap_or_else(|| match error.io_error() {
        Some(error) => refusal::of_handshake(error),
        None => refusal::of_handshake(&io::ErrorKind::UnexpectedEof.into()),
    })
}

const SPOKEN: &str = "this peer's backend speaks TLS 1.2 and 1.3 with AES, and RSA or DH of 2048 bits or more";

/// By OpenSSL's reason codes (`sslerr.h`), which are stable; its texts are not. Alerts are 1000 and the alert's number.
fn of_ssl(error: &ssl::Error) -> Option<TlsRefusal> {
    let error = error.ssl_error()?.errors().last()?;
    let told = |reason: Reason, what: String| Some(TlsRefusal::new(reason, what));
    match error.reason_code() {
        code @ 1_000..=1_255 => Some(refusal::alerted(rustls::AlertDescription::from((code - 1_000) as u8), SPOKEN)),
        118 | 188 | 191 | 193 | 258 | 376 | 396 => {
            told(Reason::TlsNothingShared, format!("it offers only protocol versions or cipher suites that we do not speak; {SPOKEN}: enable them there"))
        }
        394 => told(Reason::TlsNothingShared, format!("its Diffie-Hellman group is too small; {SPOKEN}: prefer ECDHE there, or a group of 2048 bits")),
        199 => told(Reason::TlsNoCertificate, String::from("it showed no certificate: TLS is mutual here, the other side must be given one")),
        152 => told(
            Reason::TlsChainLimit,
            String::from("its certificate chain is larger than any real one: the other side must send its certificate and intermediates only"),
        ),
        123 => told(Reason::TlsBadCertificate, String::from("it could not prove that it has the key of its certificate")),
        _ => {
            let what = error.reason().unwrap_or("no reason given");
            told(Reason::TlsBroken, format!("what came was not the TLS it should be (OpenSSL: {what})"))
        }
    }
}
