//! `portcullis token NAME`: makes a bearer token for the API. The token is printed once and kept nowhere; the policy set gets its digest.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::adapters::api::TokenDigest;

/// Makes a bearer token for the API, and the lines of border.toml that let it in.
#[derive(clap::Args, Clone, Debug)]
pub struct Token {
    /// Whose it is, as the audit will say.
    pub name: String,
    /// `read` looks only, `operate` changes too.
    #[arg(long, default_value = "read", value_parser = ["read", "operate"])]
    pub role: String,
}

pub fn token(arguments: &Token, out: &mut dyn Write) -> io::Result<u8> {
    if arguments.name.is_empty() || arguments.name.chars().any(|character| character.is_control() || character == '"' || character == '\\') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name is one line without quotes"));
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))?;
    let token = URL_SAFE_NO_PAD.encode(secret);
    writeln!(out, "# The token, shown this once: {token}")?;
    writeln!(out, "[[api.token]]\nname = \"{}\"\nrole = \"{}\"\nsha256 = \"{}\"", arguments.name, arguments.role, TokenDigest::of(&token))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_token_and_no_two_are_alike() {
        let mut pages = [Vec::new(), Vec::new()];
        for page in &mut pages {
            token(&Token { name: "alice".into(), role: "read".into() }, page).unwrap();
        }
        let [first, second] = pages.map(|page| String::from_utf8(page).unwrap());
        let shown = first.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap();
        assert_eq!(shown.len(), 43, "256 bits");
        assert!(first.contains(&format!("sha256 = \"{}\"", TokenDigest::of(shown))), "{first}");
        assert_ne!(first, second);
    }
}
