//! `[control]` and `[api]` as meant: a door that others can reach has TLS, and somebody must be let in by it.

use crate::adapters::api::{Listen, Settings, TlsFiles, Token};
use crate::config::finding::{Findings, Written};
use crate::config::source::Source;
use crate::config::written::{self, Api, Door};

const DEFAULT_PORT: u16 = 9161;

pub fn api(api: &Api, source: &dyn Source, findings: &Findings) -> Settings {
    let path = |file: &String| written::path(source, file);
    Settings {
        socket: api.socket.as_ref().map(path),
        audit: api.audit.as_ref().map(path),
        listen: api.door.as_ref().and_then(|door| listen(door, source, findings)),
    }
}

fn listen(door: &Door, source: &dyn Source, findings: &Findings) -> Option<Listen> {
    let Some(listen) = &door.listen else {
        let stray = [&door.certificate, &door.key, &door.client_ca].into_iter().flatten().map(|written| written.at).next();
        if stray.is_some() || !door.tokens.is_empty() || !door.clients.is_empty() {
            findings.problem(stray.unwrap_or(door.at), "nobody can come by this door: it has no address", "write listen = \"127.0.0.1:9161\" in [api]");
        }
        return None;
    };
    let Some(address) = written::socket_address(&listen.value, DEFAULT_PORT) else {
        findings.problem(listen.at, format!("\"{}\" is no address to listen on", listen.value), "write listen = \"127.0.0.1:9161\" instead");
        return None;
    };
    let tls = tls(door, source, findings);
    if tls.is_none() && !address.ip().is_loopback() && door.certificate.is_none() {
        let what = format!("{address} can be reached by others, and tokens would cross the network in the clear");
        findings.problem(listen.at, what, "write certificate and key in [api], or listen on 127.0.0.1 or [::1]");
    }
    if door.tokens.is_empty() && door.clients.is_empty() {
        findings.problem(listen.at, "nobody may come by this door", "add an [[api.token]], which `portcullis token NAME` makes, or an [[api.client]]");
    }
    if let (Some(client), None) = (door.clients.first(), &door.client_ca) {
        let what = format!("client \"{}\" is known by a certificate, and no CA says which are to be believed", client.name.value);
        findings.problem(client.name.at, what, "write client_ca in [api]");
    }
    doubles(&door.tokens.iter().map(|token| &token.name).collect::<Vec<_>>(), "token", findings);
    doubles(&door.clients.iter().map(|client| &client.name).collect::<Vec<_>>(), "client", findings);
    let tokens = door.tokens.iter().map(|token| Token { name: token.name.value.clone(), role: token.role, digest: token.proof }).collect();
    let certificates = door.clients.iter().map(|client| (client.name.value.clone(), client.role)).collect();
    Some(Listen { address, tls, tokens, certificates })
}

fn tls(door: &Door, source: &dyn Source, findings: &Findings) -> Option<TlsFiles> {
    let path = |file: &Written<String>| written::path(source, &file.value);
    match (&door.certificate, &door.key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate: path(certificate), key: path(key), client_ca: door.client_ca.as_ref().map(path) }),
        (Some(one), None) | (None, Some(one)) => {
            findings.problem(one.at, "a certificate and its key go together", "write both, certificate and key, in [api]");
            None
        }
        (None, None) => {
            if let Some(ca) = &door.client_ca {
                findings.problem(ca.at, "nobody shows a certificate where there is no TLS", "write certificate and key in [api], or leave client_ca out");
            }
            None
        }
    }
}

fn doubles(names: &[&Written<String>], kind: &str, findings: &Findings) {
    for (index, name) in names.iter().enumerate() {
        if names[..index].iter().any(|before| before.value.eq_ignore_ascii_case(&name.value)) {
            findings.problem(name.at, format!("there is a {kind} \"{}\" already", name.value), "give each a name of its own: the audit goes by it");
        }
    }
}
