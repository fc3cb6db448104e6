//! Writing a description: CRLF line ends, the order of RFC 8866 §5. No value can end its line: CR and LF inside one become spaces.

use super::description::{Attribute, Connection, Description, Line, Text};
use super::media::Media;

impl Description {
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        line(&mut out, b'v', &[b"0"]);
        if let Some(o) = &self.origin {
            let fields = [&o.session_id, &o.session_version, &o.network, &o.family, &o.address].map(String::as_bytes);
            let [id, version, network, family, address] = fields;
            line(&mut out, b'o', &[o.username.as_bytes(), b" ", id, b" ", version, b" ", network, b" ", family, b" ", address]);
        }
        if let Some(name) = &self.name {
            line(&mut out, b's', &[name.as_bytes()]);
        }
        kept(&mut out, &self.other, 0);
        connection_and_bandwidth(&mut out, self.connection.as_ref(), &self.bandwidth);
        self.timing.iter().for_each(|timing| line(&mut out, timing.kind, &[timing.value.as_bytes()]));
        kept(&mut out, &self.other, 1);
        attributes(&mut out, &self.attributes);
        kept(&mut out, &self.other, 2);
        self.media.iter().for_each(|m| media(&mut out, m));
        out
    }
}

fn media(out: &mut Vec<u8>, media: &Media) {
    let port = match media.port_count {
        Some(count) => format!("{}/{count}", media.port),
        None => media.port.to_string(),
    };
    let mut parts: Vec<&[u8]> = vec![media.kind.as_bytes(), b" ", port.as_bytes(), b" ", media.proto.name().as_bytes()];
    for format in &media.formats {
        parts.push(b" ");
        parts.push(format.as_bytes());
    }
    line(out, b'm', &parts);
    kept(out, &media.other, 0);
    connection_and_bandwidth(out, media.connection.as_ref(), &media.bandwidth);
    kept(out, &media.other, 1);
    attributes(out, &media.attributes);
    kept(out, &media.other, 2);
}

fn connection_and_bandwidth(out: &mut Vec<u8>, connection: Option<&Connection>, bandwidth: &[Text]) {
    if let Some(c) = connection {
        line(out, b'c', &[c.network.as_bytes(), b" ", c.family.as_bytes(), b" ", c.address.as_bytes()]);
    }
    bandwidth.iter().for_each(|b| line(out, b'b', &[b.as_bytes()]));
}

fn attributes(out: &mut Vec<u8>, attributes: &[Attribute]) {
    for attribute in attributes {
        match &attribute.value {
            Some(value) => line(out, b'a', &[attribute.name.as_bytes(), b":", value.as_bytes()]),
            None => line(out, b'a', &[attribute.name.as_bytes()]),
        }
    }
}

fn kept(out: &mut Vec<u8>, lines: &[Line], rank: u8) {
    lines.iter().filter(|kept| kept.rank() == rank).for_each(|kept| line(out, kept.kind, &[kept.value.as_bytes()]));
}

/// `kind` 0 writes the value alone.
fn line(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    if kind != 0 {
        out.extend([kind, b'=']);
    }
    for part in parts {
        out.extend(part.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
    }
    out.extend(b"\r\n");
}
