//! Values as a policy set writes them.

use std::fmt::Write as _;

/// A text (TOML basic string). `${` would name an environment variable, and no object of another system may read those.
pub fn text(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.replace("${", "$_{").chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            // Writing to a String does not fail.
            _ if character.is_control() => drop(write!(text, "\\u{:04X}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

pub fn list<T: AsRef<str>>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(|value| text(value.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A comment of one line.
pub fn comment(value: &str) -> String {
    let value: String = value.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    format!("# {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_text_or_a_comment() {
        for value in ["plain", "a\"b\\c", "new\nline\u{7f}", "B\u{fc}ro", "a = \"b\"\n[[peer]]"] {
            let document: ::toml::Table = format!("key = {}", text(value)).parse().unwrap();
            assert_eq!(document["key"].as_str(), Some(value));
            assert!(format!("{}key = 1", comment(value)).parse::<::toml::Table>().unwrap().len() == 1);
        }
        assert_eq!(text("${HOME}"), "\"$_{HOME}\"");
        assert_eq!(list(&["a", "b\""]), "[\"a\", \"b\\\"\"]");
    }
}
