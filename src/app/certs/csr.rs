//! `portcullis certs csr`: a private key and a request for a certificate (RFC 2986) to send to a certificate authority. The key never leaves the folder.
//!
//! Running it again changes nothing: the key stays, and the request as well while it asks for the same names with the same key.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    RsaKeySize,
};
use rustls::pki_types::CertificateSigningRequestDer;
use zeroize::Zeroizing;

use super::files::{self, wrong};
use super::layout::{self, Lock};
use super::names::Name;
use super::of_rcgen;
use super::report::{Outcome, Report, Style};

/// The longest common name (RFC 5280, ub-common-name).
const COMMON_NAME: usize = 64;

/// The command line of `certs csr`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Where NAME.key and NAME.csr go; made if it is not there.
    pub folder: PathBuf,
    /// A name the certificate shall carry: a host name, an address, or sip:DOMAIN. The first names the files and the subject. May be given several times.
    #[arg(long = "name", required = true)]
    pub names: Vec<Name>,
    /// Ask for sip:NAME as well, for each host name (RFC 5922).
    #[arg(long)]
    pub sip: bool,
    /// The kind of a key that is made: P-256 unless said otherwise.
    #[arg(long, value_enum)]
    pub key_type: Option<KeyType>,
    /// Request a certificate for the key in this file, as where a peer has pinned the key.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_key", "key_type"])]
    pub reuse_key: Option<PathBuf>,
    /// Make a new key even if there is one. Not for a job that may run twice: give each renewal a folder of its own instead.
    #[arg(long)]
    pub new_key: bool,
    /// The files' name, instead of the first NAME.
    #[arg(long, value_name = "STEM")]
    pub file: Option<String>,
    #[command(flatten)]
    pub style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum KeyType {
    P256,
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl KeyType {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyType::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
            KeyType::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        }
    }

    /// Whether a key that is there is of this kind.
    fn fits(self, pair: &KeyPair) -> bool {
        let bits = pair.public_key_raw().len().saturating_mul(8);
        match self {
            KeyType::P256 => pair.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => pair.algorithm() == &rcgen::PKCS_ECDSA_P384_SHA384,
            // An RSA public key is its modulus and a few octets more.
            KeyType::Rsa2048 => pair.algorithm() == &rcgen::PKCS_RSA_SHA256 && (2048..3072).contains(&bits),
            KeyType::Rsa3072 => pair.algorithm() == &rcgen::PKCS_RSA_SHA256 && (3072..4096).contains(&bits),
            KeyType::Rsa4096 => pair.algorithm() == &rcgen::PKCS_RSA_SHA256 && (4096..5120).contains(&bits),
        }
    }
}

/// Exit status 0: made, or there already.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    layout::refuse_generation(&arguments.folder)?;
    let stem = stem(arguments)?;
    std::fs::create_dir_all(&arguments.folder)?;
    let _lock = Lock::of(&arguments.folder, layout::PATIENCE)?;
    let (key_file, request_file) = (arguments.folder.join(format!("{stem}.key")), arguments.folder.join(format!("{stem}.csr")));
    let names = wanted(arguments);
    let mut report = Report::new("csr", Outcome::Nothing);

    let (pair, made) = key(arguments, &key_file)?;
    if made {
        report.outcome = Outcome::Done;
        report.tell(format!("{}: made, mode 0600; keep it here", key_file.display()));
    }
    let request = params(&names, &pair)?;
    if made || !asks_the_same(&request_file, &request, &pair) {
        let request = request.serialize_request(&*pair).and_then(|request| request.pem()).map_err(of_rcgen)?;
        files::write_whole(&request_file, request.as_bytes(), 0o644)?;
        report.outcome = Outcome::Done;
        report.tell(format!("{}: made; have it signed, for server and client authentication both", request_file.display()));
    } else {
        report.tell(format!("{}: there already, for these names and this key", request_file.display()));
    }
    report.put("key", &key_file);
    report.put("request", &request_file);
    report.put("names", names.iter().map(Name::to_string).collect::<Vec<_>>());
    report.put("key_made", made);
    report.print(&arguments.style, out)
}

fn stem(arguments: &Arguments) -> io::Result<String> {
    let stem = arguments.file.clone().or_else(|| arguments.names.first().map(Name::stem)).unwrap_or_default();
    if stem.is_empty() || stem.starts_with('.') || stem == "ca" || stem.chars().any(|c| c == '/' || c.is_control()) {
        return Err(wrong(Path::new(&stem), "it cannot name the files; give a plain name with --file, other than \"ca\""));
    }
    Ok(stem)
}

fn wanted(arguments: &Arguments) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    let sip = arguments.names.iter().filter(|_| arguments.sip).filter_map(|name| match name {
        Name::Dns(host) => Some(Name::Sip(format!("sip:{host}"))),
        _ => None,
    });
    for name in arguments.names.iter().cloned().chain(sip) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The key to ask with, and whether its file was made now.
fn key(arguments: &Arguments, file: &Path) -> io::Result<(Zeroizing<KeyPair>, bool)> {
    if let Some(reused) = &arguments.reuse_key {
        let pair = files::private_key(reused)?;
        if file.exists() {
            let there = files::private_key(file)?;
            return if there.public_key_raw() == pair.public_key_raw() {
                Ok((there, false))
            } else {
                Err(wrong(file, format!("it is another key than {}; give another folder or --file", reused.display())))
            };
        }
        files::write_whole(file, &files::read(reused)?, 0o600)?;
        return Ok((pair, true));
    }
    if file.exists() && !arguments.new_key {
        let pair = files::private_key(file)?;
        return match arguments.key_type {
            Some(kind) if !kind.fits(&pair) => Err(wrong(file, "this key is of another kind than --key-type; give another folder or --file, or --new-key")),
            _ => Ok((pair, false)),
        };
    }
    let pair = Zeroizing::new(arguments.key_type.unwrap_or(KeyType::P256).generate().map_err(of_rcgen)?);
    files::write_whole(file, files::key_pem(&pair).as_bytes(), 0o600)?;
    Ok((pair, true))
}

fn params(names: &[Name], pair: &KeyPair) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(Name::alternative).collect::<io::Result<_>>()?;
    params.distinguished_name = DistinguishedName::new();
    let subject = names.first().map(ToString::to_string).unwrap_or_default();
    if subject.len() <= COMMON_NAME {
        params.distinguished_name.push(DnType::CommonName, subject);
    }
    params.is_ca = IsCa::NoCa;
    params.key_usages = key_usages(pair);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// An RSA key may also have to decrypt: TLS 1.2 with RSA key exchange, which old Windows servers ask of the certificates they are given.
pub fn key_usages(key: &impl PublicKeyData) -> Vec<KeyUsagePurpose> {
    if [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_RSA_SHA384, &rcgen::PKCS_RSA_SHA512].contains(&key.algorithm()) {
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment]
    } else {
        vec![KeyUsagePurpose::DigitalSignature]
    }
}

/// Whether the request that is there already is the one that would be made. One that cannot be read is made anew.
fn asks_the_same(file: &Path, wanted: &CertificateParams, pair: &KeyPair) -> bool {
    let Ok(contents) = files::contents(file) else { return false };
    let Some(der) = contents.requests.first() else { return false };
    let Ok(there) = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der.as_slice())) else { return false };
    there.public_key.der_bytes() == pair.public_key_raw()
        && there.params.subject_alt_names == wanted.subject_alt_names
        && there.params.distinguished_name == wanted.distinguished_name
        && there.params.extended_key_usages == wanted.extended_key_usages
}
