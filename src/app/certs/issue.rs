//! `portcullis certs issue`: signs a request with a private or laboratory CA (RFC 5280, RFC 2986). What the request asks for beyond names is not taken over:
//! a leaf is a leaf, for server and client authentication.
//!
//! Running it again changes nothing while more than a third of the days asked for is left, so a daily job renews in good time.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PublicKeyData, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateSigningRequestDer;
use time::OffsetDateTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::authority::BACKDATED;
use super::facts::Facts;
use super::files::{self, wrong};
use super::layout::{self, Lock};
use super::of_rcgen;
use super::report::{Outcome, Report, Style};

const DAY: Duration = Duration::from_secs(86_400);

/// The command line of `certs issue`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The request, as PEM.
    pub csr: PathBuf,
    /// The CA's certificate, as PEM; certificates above it may follow.
    #[arg(long)]
    pub ca: PathBuf,
    /// The CA's private key.
    #[arg(long)]
    pub ca_key: PathBuf,
    /// Days the certificate is good for.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// For server authentication only: the holder can be called, but cannot call.
    #[arg(long, conflicts_with = "client_only")]
    pub server_only: bool,
    /// For client authentication only.
    #[arg(long)]
    pub client_only: bool,
    /// Where the certificate goes, with those between it and the root: beside the request, as .pem, unless said otherwise.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Issue anew even if the certificate that is there is good for long enough.
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    pub style: Style,
}

/// Exit status 0: issued, or there already.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let file = arguments.out.clone().unwrap_or_else(|| arguments.csr.with_extension("pem"));
    let folder = file.parent().unwrap_or(Path::new(""));
    layout::refuse_generation(folder)?;
    let now = OffsetDateTime::now_utc();
    let request = request(&arguments.csr)?;
    let ca = Ca::load(&arguments.ca, &arguments.ca_key)?;
    let usages = usages(arguments);
    let _lock = Lock::of(folder, layout::PATIENCE)?;
    let mut report = Report::new("issue", Outcome::Nothing);
    report.put("certificate", &file);
    if !arguments.again
        && let Some(there) = still_good(&file, &request, &ca, &usages, arguments.days, now)
    {
        report.tell(format!("{}: there already, good for another {} days", file.display(), there.days_left(now)));
        report.put("facts", &there);
        return report.print(&arguments.style, out);
    }
    let not_after = now + DAY * arguments.days;
    if !ca.facts.in_date(now) || ca.facts.not_after < not_after {
        let left = ca.facts.days_left(now);
        let what = if left < 1 {
            String::from("this CA's certificate is not in date; make or get a new one")
        } else {
            format!("this CA's certificate is good for only {left} days more; give at most --days {left}, or renew it")
        };
        return Err(wrong(&arguments.ca, what));
    }
    let certificate = sign(&request, &ca, usages, now - BACKDATED, not_after)?;
    files::write_whole(&file, format!("{}{}", certificate.pem(), ca.chain).as_bytes(), 0o644)?;
    report.outcome = Outcome::Done;
    if let Some(facts) = Facts::read(certificate.der()) {
        let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        report.tell(format!("{}: issued for {} days to {}, for {}", file.display(), arguments.days, names.join(", "), facts.usages()));
        report.put("facts", &facts);
    }
    report.print(&arguments.style, out)
}

fn usages(arguments: &Arguments) -> Vec<ExtendedKeyUsagePurpose> {
    match (arguments.server_only, arguments.client_only) {
        (true, _) => vec![ExtendedKeyUsagePurpose::ServerAuth],
        (_, true) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        _ => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    }
}

/// What is taken over from a request.
struct Request {
    subject: DistinguishedName,
    names: Vec<SanType>,
    /// As it stands in the request: the library's own reading takes the curve from the digest that was signed with.
    key: SubjectPublicKeyInfo,
}

/// Reads a request and checks that whoever made it has the key (RFC 2986 §4.2).
fn request(file: &Path) -> io::Result<Request> {
    let contents = files::contents(file)?;
    let [der] = contents.requests.as_slice() else {
        return Err(wrong(file, format!("it holds {} certificate requests; it must hold one", contents.requests.len())));
    };
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der.as_slice())).map_err(|error| match error {
        rcgen::Error::InvalidCertificationRequestSignature => wrong(file, "its signature is not that of the key in it; make the request anew"),
        rcgen::Error::UnsupportedExtension => wrong(file, "it asks for something that is not understood here; make the request with `portcullis certs csr`"),
        error => wrong(file, format!("the request cannot be read ({error}); make it anew")),
    })?;
    let named = |name: &SanType| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_) | SanType::URI(_));
    if !request.params.subject_alt_names.iter().any(named) {
        return Err(wrong(file, "it asks for no subject alternative name, and a certificate without one proves nobody; make the request with --name"));
    }
    let key = X509CertificationRequest::from_der(der).ok().map(|(_, request)| request.certification_request_info.subject_pki.raw);
    let key = key.and_then(|key| SubjectPublicKeyInfo::from_der(key).ok());
    let key = key.ok_or_else(|| wrong(file, "its key is of no kind known here; make one with `portcullis certs csr`"))?;
    Ok(Request { subject: request.params.distinguished_name, names: request.params.subject_alt_names, key })
}

/// A CA as read from its files, checked to be one.
pub struct Ca {
    pub facts: Facts,
    pub issuer: Issuer<'static, KeyPair>,
    /// What a leaf's file carries after the leaf: nothing for a root.
    chain: String,
}

impl Ca {
    pub fn load(certificates: &Path, key: &Path) -> io::Result<Ca> {
        let pair = files::private_key(key)?;
        let contents = files::contents(certificates)?;
        let all: Vec<Facts> = contents.certificates.iter().filter_map(Facts::read).collect();
        let Some(facts) = all.iter().find(|facts| facts.public_key_info == pair.subject_public_key_info()) else {
            return Err(wrong(key, format!("this key belongs to no certificate in {}; name the CA's own key", certificates.display())));
        };
        if !facts.is_ca {
            return Err(wrong(certificates, format!("{} is no CA's certificate (CA:FALSE); name the certificate of a CA", facts.subject)));
        }
        let mut chain = Vec::new();
        let mut last = facts;
        while !last.self_issued && chain.len() < all.len() {
            chain.push(last.der.clone());
            let Some(next) = all.iter().find(|other| last.signed_by(other)) else { break };
            last = next;
        }
        // The issuer keeps the key for as long as it lives; the library has no way to wipe it after that.
        let issuer = Issuer::from_ca_cert_der(&facts.der, files::key_pair(key)?).map_err(of_rcgen)?;
        Ok(Ca { facts: facts.clone(), issuer, chain: files::certificates_pem(&chain) })
    }
}

fn sign(
    request: &Request,
    ca: &Ca,
    usages: Vec<ExtendedKeyUsagePurpose>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> io::Result<rcgen::Certificate> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.subject_alt_names = request.names.clone();
    params.distinguished_name = request.subject.clone();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = super::csr::key_usages(&request.key);
    params.extended_key_usages = usages;
    params.not_before = not_before;
    params.not_after = not_after;
    params.use_authority_key_identifier_extension = true;
    params.signed_by(&request.key, &ca.issuer).map_err(of_rcgen)
}

/// Random, positive, never zero (RFC 5280 §4.1.2.2). The library's own comes from the key, so that a renewal with the same key would be revoked along
/// with the certificate it replaces.
fn serial() -> io::Result<SerialNumber> {
    let mut octets = [0_u8; 16];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))?;
    octets[0] = octets[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

/// The certificate that is there, if it is this CA's for this request and has more than a third of `days` left.
fn still_good(file: &Path, request: &Request, ca: &Ca, usages: &[ExtendedKeyUsagePurpose], days: u32, now: OffsetDateTime) -> Option<Facts> {
    let contents = files::contents(file).ok()?;
    let there = Facts::read(contents.certificates.first()?)?;
    let mut asked: Vec<String> = request.names.iter().filter_map(san_text).collect();
    let mut carried: Vec<String> = there.names.iter().map(|name| name.text().to_owned()).collect();
    asked.sort();
    carried.sort();
    let same = there.public_key_info == request.key.subject_public_key_info()
        && asked == carried
        && there.server_auth == usages.contains(&ExtendedKeyUsagePurpose::ServerAuth)
        && there.client_auth == usages.contains(&ExtendedKeyUsagePurpose::ClientAuth)
        && there.signed_by(&ca.facts);
    (same && there.not_after - now > DAY * days / 3).then_some(there)
}

fn san_text(name: &SanType) -> Option<String> {
    match name {
        SanType::DnsName(text) | SanType::URI(text) => Some(text.as_str().to_owned()),
        SanType::IpAddress(address) => Some(address.to_string()),
        _ => None,
    }
}
