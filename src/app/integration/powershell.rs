//! Texts as PowerShell reads them: nothing of a policy set can end its quotes or its comment and become a command.

use std::fmt::Write as _;

/// One argument, quoted (about_Quoting_Rules): between single quotes nothing is expanded, and a quote is doubled. PowerShell takes the typographic quotes
/// U+2018 to U+201B for single quotes too.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for character in text.chars() {
        match character {
            '\'' | '\u{2018}'..='\u{201B}' => quoted.extend([character, character]),
            _ if character.is_control() => quoted.push('?'),
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

/// Several arguments as a list.
pub fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// A comment of one line: whatever would end it is gone.
pub fn comment(script: &mut String, text: &str) {
    if text.is_empty() {
        script.push('\n');
        return;
    }
    let text: String =
        text.chars().map(|character| if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') { '?' } else { character }).collect();
    // Writing to a String does not fail.
    let _ = writeln!(script, "# {text}");
}

pub fn flag(value: bool) -> &'static str {
    if value { "$true" } else { "$false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_quotes() {
        assert_eq!(quoted("HeadOffice"), "'HeadOffice'");
        assert_eq!(quoted("O'Hare"), "'O''Hare'");
        assert_eq!(quoted("$(Remove-Item x) `n \"y\""), "'$(Remove-Item x) `n \"y\"'");
        assert_eq!(quoted("a\u{2019}; b"), "'a\u{2019}\u{2019}; b'");
        assert_eq!(quoted("a\r\nb"), "'a??b'");
        assert_eq!(list(["+1", "a'b"]), "'+1', 'a''b'");
    }

    #[test]
    fn nothing_ends_a_comment() {
        let mut script = String::new();
        comment(&mut script, "plan a\nRemove-Item x");
        assert_eq!(script, "# plan a?Remove-Item x\n");
    }
}
