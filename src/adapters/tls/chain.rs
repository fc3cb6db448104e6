//! Whether the chain we show with our own certificate is whole (RFC 5246 §7.4.2, RFC 8446 §4.4.2): peers fill no gaps, and many take no strays.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Problem;
use super::certificate::Certificate;
use super::dates::span;
use super::files::problem;
use super::trust::Anchors;

/// More than these no chain needs, and every handshake carries all of them.
const LONGEST: usize = 10;

/// What a chain's check comes to: what refuses it, and what only an operator should know.
#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub remarks: Vec<Problem>,
}

/// `chain`: as shown, our own certificate first. `known`: the CA certificates this set has for any peer; where the chain's issuer is among them,
/// the chain must end there.
pub fn check(file: &Path, chain: &[CertificateDer<'_>], known: &[Arc<Anchors>], now: UnixTime, algorithms: &WebPkiSupportedAlgorithms) -> Findings {
    let mut findings = Findings::default();
    if chain.len() > LONGEST {
        let what = format!("it holds {} certificates", chain.len());
        findings.problems.push(problem(file, what, format!("a chain has at most {LONGEST}: put our certificate and its intermediates there, and no others")));
        return findings;
    }
    let parsed: Option<Vec<X509Certificate<'_>>> = chain.iter().map(|der| X509Certificate::from_der(der).ok().map(|(_, x509)| x509)).collect();
    let Some(parsed) = parsed else {
        findings.problems.push(problem(file, "one of its certificates cannot be read", "export the chain again as PEM (Base64)"));
        return findings;
    };
    for (index, x509) in parsed.iter().enumerate().skip(1) {
        let issued_one = parsed.iter().take(index).any(|before| before.issuer().as_raw() == x509.subject().as_raw());
        if !issued_one {
            let what = format!("its certificate number {} ({}) issued none of those before it", index + 1, x509.subject());
            findings.problems.push(problem(file, what, "put our own certificate first, then the intermediates in order towards the root, and no others"));
        }
    }
    for facts in chain.iter().skip(1).filter_map(|der| Certificate::read(der)).filter(|facts| facts.not_after.as_secs() < now.as_secs()) {
        let ago = span(now.as_secs() - facts.not_after.as_secs());
        let what = format!("the intermediate ({}) expired {ago} ago", facts.subject);
        findings.problems.push(problem(file, what, "fetch the CA's current intermediate and put it in its place"));
    }
    if findings.problems.is_empty() {
        path(file, chain, &parsed, known, now, algorithms, &mut findings);
    }
    findings
}

/// Whether every signature holds, from our certificate to the last of the chain, and to the CA's own where we have it.
fn path(
    file: &Path,
    chain: &[CertificateDer<'_>],
    parsed: &[X509Certificate<'_>],
    known: &[Arc<Anchors>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
    findings: &mut Findings,
) {
    let (Some((leaf, between)), Some(last)) = (chain.split_first(), parsed.last()) else { return };
    let verifies = |anchors: &[TrustAnchor<'_>], between: &[CertificateDer<'_>]| {
        let Ok(end_entity) = EndEntityCert::try_from(leaf) else { return false };
        // Which usages our certificate states is told elsewhere: here either will do.
        let usages = [KeyUsage::server_auth(), KeyUsage::client_auth()];
        usages.into_iter().any(|usage| end_entity.verify_for_usage(algorithms.all, anchors, between, now, usage, None, None).is_ok())
    };
    if let Some((top, below)) = between.split_last()
        && !webpki::anchor_from_trusted_cert(top).is_ok_and(|anchor| verifies(&[anchor], below))
    {
        let what = format!("our certificate does not verify through the intermediates in the file up to {}", last.subject());
        findings.problems.push(problem(file, what, "fetch the intermediates anew from whoever issued our certificate, and put them behind it in order"));
        return;
    }
    let issuer = last.issuer();
    let anchors: Vec<TrustAnchor<'_>> = known.iter().flat_map(|file| file.named(contents(issuer.as_raw()))).cloned().collect();
    if !anchors.is_empty() && issuer.as_raw() != last.subject().as_raw() && !verifies(&anchors, between) {
        let what = format!("its chain names {issuer} as issuer, but no CA certificate of that name in this policy set has signed it");
        findings.remarks.push(problem(file, what, "peers that trust the same CA certificate will refuse ours; see which of the two is the older"));
    }
}

/// Of a DER value with a short or long length, the contents.
fn contents(der: &[u8]) -> &[u8] {
    let header = match der.get(1) {
        Some(length @ 0x80..) => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    der.get(header..).unwrap_or_default()
}
