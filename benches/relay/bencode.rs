//! Bencode, as far as rtpengine's ng protocol uses it: byte strings, lists and dictionaries out; dictionaries of byte strings in.

pub enum Value<'a> {
    Text(&'a str),
    List(&'a [&'a str]),
}

/// A dictionary; the keys are written in the order given, which rtpengine accepts.
pub fn dictionary(entries: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut out = b"d".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend(format!("{}:", text.len()).as_bytes());
        out.extend(text.as_bytes());
    };
    for (key, value) in entries {
        text(&mut out, key);
        match value {
            Value::Text(value) => text(&mut out, value),
            Value::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| text(&mut out, item));
                out.push(b'e');
            }
        }
    }
    out.push(b'e');
    out
}

/// The string under `key` in a dictionary's top level.
pub fn lookup(bytes: &[u8], key: &str) -> Option<String> {
    let mut rest = bytes.strip_prefix(b"d")?;
    while rest.first()? != &b'e' {
        let (name, after) = string(rest)?;
        if rest.is_empty() {
            return None;
        }
        if name == key.as_bytes() {
            return string(after).map(|(value, _)| String::from_utf8_lossy(value).into_owned());
        }
        rest = skip(after)?;
    }
    None
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let len: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let body = bytes.get(colon + 1..)?;
    Some((body.get(..len)?, body.get(len..)?))
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? {
        b'i' => bytes.get(bytes.iter().position(|byte| *byte == b'e')? + 1..),
        b'l' | b'd' => {
            let mut rest = &bytes[1..];
            while rest.first()? != &b'e' {
                rest = skip(rest)?;
            }
            Some(&rest[1..])
        }
        _ => string(bytes).map(|(_, rest)| rest),
    }
}
