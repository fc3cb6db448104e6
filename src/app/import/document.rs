//! Files as PowerShell writes them, into objects: UTF-16 with and without a byte order mark, several documents in one file, lists, single objects in a
//! list's place, and objects that only gather others.

use serde_json::{Deserializer, Map, Value};

pub type Object = Map<String, Value>;

/// So deep may objects be gathered in others before they are taken for ones of their own.
const DEPTH: usize = 4;

/// Every object of the file that is of one of Exchange's kinds, or of none: what only gathers others is taken apart. The error says what to do.
pub fn objects(bytes: &[u8]) -> Result<Vec<Object>, String> {
    let text = text(bytes)?;
    let mut found = Vec::new();
    for document in Deserializer::from_str(&text).into_iter::<Value>() {
        match document {
            Ok(value) => gather(value, DEPTH, &mut found),
            Err(error) => {
                return Err(format!("it is not JSON ({error}); write it with ConvertTo-Json -Depth 4 > um.json"));
            }
        }
    }
    Ok(found)
}

/// `>` of Windows PowerShell writes UTF-16 with a mark, `Out-File -Encoding` what it is told, PowerShell 7 UTF-8.
fn text(bytes: &[u8]) -> Result<String, String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit)).collect();
        String::from_utf16(&units).map_err(|_| String::from("it is not whole UTF-16; copy it again, as a file"))
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        // JSON begins with an ASCII character, so a zero beside it tells the width and the order.
        [first, 0, ..] if *first != 0 => wide(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => wide(bytes, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| String::from("it is neither UTF-8 nor UTF-16; write it with Out-File -Encoding utf8"))
}

fn gather(value: Value, depth: usize, found: &mut Vec<Object>) {
    match value {
        Value::Array(items) => items.into_iter().for_each(|item| gather(item, depth, found)),
        Value::Object(object) if depth > 0 && gathers(&object) => {
            object.into_iter().map(|(_, value)| value).filter(|value| value.is_array() || value.is_object()).for_each(|value| gather(value, depth - 1, found))
        }
        Value::Object(object) => found.push(object),
        _ => {}
    }
}

/// Whether an object is but a folder for others: it has no name of its own, and lists or objects in it. `{ "value": [...], "Count": 2 }` is one, as Windows
/// PowerShell writes a list it has wrapped.
fn gathers(object: &Object) -> bool {
    let has = |key: &str| object.keys().any(|known| known.eq_ignore_ascii_case(key));
    !has("Name") && !has("Identity") && object.values().any(|value| value.is_array() || value.is_object())
}

/// A property, whatever the case of its name.
pub fn property<'o>(object: &'o Object, name: &str) -> Option<&'o Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).filter(|value| !value.is_null())
}

/// Keys under which objects of .NET that stand for a text have it, in the order of preference: an address, an enumeration, an identity.
const TEXTS: [&str; 9] = ["Address", "Fqdn", "Domain", "IPAddressToString", "HostnameString", "Value", "Name", "DistinguishedName", "Number"];

/// A value as text, also one that was written as an object. Empty texts are none.
pub fn word(value: &Value) -> Option<String> {
    fn within(value: &Value, depth: usize) -> Option<String> {
        match value {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            // `{ "value": 3, "Value": "Secured" }`: the word, where there is one.
            Value::Object(object) if depth > 0 => {
                let texts = || TEXTS.iter().flat_map(|key| object.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(key)));
                let text = texts().find(|(_, value)| value.is_string()).or_else(|| texts().find(|(_, value)| !value.is_null()));
                text.and_then(|(_, value)| within(value, depth - 1))
            }
            Value::Array(items) if depth > 0 => items.first().filter(|_| items.len() == 1).and_then(|item| within(item, depth - 1)),
            _ => None,
        }
    }
    within(value, DEPTH)
}

/// A property with several values: a list, a single one, a list that was wrapped, or one flattened to a text with commas or spaces.
pub fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(word).collect(),
        Value::Object(object) => match property(object, "value") {
            Some(inner @ Value::Array(_)) => words(inner),
            _ => word(value).into_iter().collect(),
        },
        Value::String(text) => text.split([',', ';', ' ']).map(str::trim).filter(|word| !word.is_empty()).map(String::from).collect(),
        other => word(other).into_iter().collect(),
    }
}

/// The name in an identity: of a distinguished name its first part, of a path (`gw1\Main`, `corp.example.com/UM/gw1`) the last.
pub fn name_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::Object(object) => word(property(object, "Name").or_else(|| property(object, "DistinguishedName"))?)?,
        other => word(other)?,
    };
    let is_distinguished = text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("CN="));
    if !is_distinguished {
        return text.rsplit(['\\', '/']).next().map(str::trim).filter(|name| !name.is_empty()).map(String::from);
    }
    let mut name = String::new();
    let mut rest = text.chars().skip(3);
    while let Some(character) = rest.next() {
        match character {
            '\\' => name.extend(rest.next()),
            ',' => break,
            _ => name.push(character),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn utf16(text: &str, mark: bool, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = if mark { unit(0xFEFF).to_vec() } else { Vec::new() };
        mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect()
    }

    #[test]
    fn every_encoding_of_powershell_is_read() {
        let text = "[{\"Name\":\"B\u{fc}ro\"}]\r\n";
        let expected = objects(text.as_bytes()).unwrap();
        assert_eq!(expected.len(), 1);
        let marked: Vec<u8> = [0xEF, 0xBB, 0xBF].into_iter().chain(text.bytes()).collect();
        for bytes in [
            marked,
            utf16(text, true, u16::to_le_bytes),
            utf16(text, true, u16::to_be_bytes),
            utf16(text, false, u16::to_le_bytes),
            utf16(text, false, u16::to_be_bytes),
        ] {
            assert_eq!(objects(&bytes).unwrap(), expected, "{bytes:?}");
        }
        assert!(objects(&[b'[', 0xE4, b']']).unwrap_err().contains("utf8"));
        assert!(objects(b"Name : HeadOffice").unwrap_err().contains("ConvertTo-Json"));
    }

    #[test]
    fn lists_single_objects_and_gathered_ones_are_found() {
        let count = |text: &str| objects(text.as_bytes()).unwrap().len();
        assert_eq!(count("{\"Name\":\"a\"}"), 1);
        assert_eq!(count("[{\"Name\":\"a\"},{\"Name\":\"b\"}]"), 2);
        assert_eq!(
            count("{\"plans\":[{\"Name\":\"a\"}],\"gateways\":{\"Name\":\"b\"},\"groups\":{\"value\":[{\"Name\":\"c\"},{\"Name\":\"d\"}],\"Count\":2}}"),
            4
        );
        assert_eq!(count("{\"Name\":\"a\"}\n[{\"Name\":\"b\"}]"), 2, "files put behind one another");
        assert_eq!(count("{\"Name\":\"a\",\"UMDialPlan\":{\"Name\":\"b\"}}"), 1, "what a named object holds is its own");
        assert_eq!(count("[]"), 0);
    }

    #[test]
    fn texts_lists_and_identities_in_every_dress() {
        for (value, expected) in [
            (json!("gw.example.com"), "gw.example.com"),
            (json!({ "Address": { "Address": 16777343, "IPAddressToString": "127.0.0.1" } }), "127.0.0.1"),
            (json!({ "value": 3, "Value": "Secured" }), "Secured"),
            (json!(3), "3"),
            (json!({ "Fqdn": null, "Domain": "gw.example.com" }), "gw.example.com"),
        ] {
            assert_eq!(word(&value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(word(&json!("")), None);
        for value in [json!(["1", "2"]), json!({ "value": ["1", "2"], "Count": 2 }), json!("1, 2"), json!([1, 2]), json!([{ "Value": "1" }, { "Value": "2" }])]
        {
            assert_eq!(words(&value), ["1", "2"], "{value}");
        }
        for value in [
            json!("gw1"),
            json!({ "Name": "gw1", "DistinguishedName": "CN=x,DC=y" }),
            json!("CN=gw1,CN=UM IPGateway Container,DC=example"),
            json!({ "DistinguishedName": "CN=gw1,DC=example" }),
            json!("corp.example.com/UM/gw1"),
        ] {
            assert_eq!(name_of(&value).as_deref(), Some("gw1"), "{value}");
        }
        assert_eq!(name_of(&json!("CN=a\\, b,DC=example")).as_deref(), Some("a, b"));
    }
}
