//! Characters and small scans shared by the readers (RFC 3261 §25.1).

/// RFC 3261 §25.1 `token`.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        i += 1;
    }
    table
};

pub(super) const fn is_token_byte(b: u8) -> bool {
    TOKEN[b as usize]
}

pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_token_byte(b))
}

pub(super) const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    text
}

pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Digits only, no sign; a number too large for 64 bits is the largest there is. `None` if empty or not digits.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &b in text {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(u64::from(b - b'0'));
    }
    Some(value)
}

/// Splits at the first of `at`; the separator is in neither half.
pub(super) fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = memchr::memchr(at, text)?;
    Some((&text[..i], &text[i + 1..]))
}

/// Where the quoted string that opens at `text[0] == '"'` ends: the index after its closing quote. `None` if it never closes.
pub(super) fn quoted_end(text: &[u8]) -> Option<usize> {
    let mut i = 1;
    while i < text.len() {
        match text[i] {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

/// Splits at the first `at` outside quotes. An unclosed quote takes the rest.
pub(super) fn cut_unquoted(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut i = 0;
    while i < text.len() {
        if text[i] == at {
            return Some((&text[..i], &text[i + 1..]));
        }
        i += if text[i] == b'"' { quoted_end(&text[i..])? } else { 1 };
    }
    None
}

pub(super) fn utf8(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}
