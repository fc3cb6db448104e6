//! `portcullis token NAME`: makes a bearer token for the API. The token is printed once, apart from what belongs into a file, and kept nowhere; the policy set gets its digest.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::adapters::api::TokenDigest;

/// Makes a bearer token for the API, and the lines of border.toml that let it in: those on standard output, the token itself on standard error.
#[derive(clap::Args, Clone, Debug)]
pub struct Token {
    /// Whose it is, as the audit will say.
    pub name: String,
    /// `read` looks only, `operate` changes too.
    #[arg(long, default_value = "read", value_parser = ["read", "operate"])]
    pub role: String,
    /// All of it on standard output as JSON, the token among it.
    #[arg(long)]
    pub json: bool,
}

/// `aside`: where the token goes, so that `>> border.toml` has no secret in it.
pub fn token(arguments: &Token, out: &mut dyn Write, aside: &mut dyn Write) -> io::Result<u8> {
    if arguments.name.is_empty() || arguments.name.chars().any(|character| character.is_control() || character == '"' || character == '\\') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name is one line without quotes"));
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))?;
    let token = URL_SAFE_NO_PAD.encode(secret);
    let digest = TokenDigest::of(&token);
    if arguments.json {
        let made = serde_json::json!({ "name": arguments.name, "role": arguments.role, "sha256": digest.to_string(), "token": token });
        writeln!(out, "{made:#}")?;
        return Ok(0);
    }
    writeln!(aside, "# The token, shown this once: {token}")?;
    writeln!(out, "[[api.token]]\nname = \"{}\"\nrole = \"{}\"\nsha256 = \"{}\"", arguments.name, arguments.role, digest)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_token_and_no_two_are_alike() {
        let made = || {
            let (mut lines, mut aside) = (Vec::new(), Vec::new());
            token(&Token { name: "alice".into(), role: "read".into(), json: false }, &mut lines, &mut aside).unwrap();
            let aside = String::from_utf8(aside).unwrap();
            let shown = aside.trim_end().rsplit(' ').next().unwrap().to_owned();
            (String::from_utf8(lines).unwrap(), shown)
        };
        let ((lines, first), (_, second)) = (made(), made());
        assert_eq!(first.len(), 43, "256 bits");
        assert!(lines.starts_with("[[api.token]]") && lines.contains(&format!("sha256 = \"{}\"", TokenDigest::of(&first))), "{lines}");
        assert!(!lines.contains(&first), "it is in no file that these lines are put into");
        assert_ne!(first, second);
    }

    #[test]
    fn a_script_gets_all_of_it() {
        let (mut out, mut aside) = (Vec::new(), Vec::new());
        token(&Token { name: "deploy".into(), role: "operate".into(), json: true }, &mut out, &mut aside).unwrap();
        let made: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let token = made["token"].as_str().unwrap();
        assert_eq!((&made["name"], &made["role"]), (&"deploy".into(), &"operate".into()));
        assert_eq!(made["sha256"], TokenDigest::of(token).to_string());
        assert!(aside.is_empty());
    }
}
