//! Files and folders beside certificates that a policy set names and a border wants when it starts, or soon after: for `check`, which tells of all that are not
//! there at once.

use std::path::{Path, PathBuf};

use crate::adapters::postgres::{Server, Tls};
use crate::adapters::webhook::{self, Token};
use crate::config::{Settings, Target};

/// Each as one line, with its remedy.
pub fn missing(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for (part, file) in files(settings).into_iter().filter(|(_, file)| !file.is_file()) {
        lines.push(format!("{}: {part}: there is no such file; put it in place before run", file.display()));
    }
    for (part, file) in made(settings) {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            lines.push(format!(
                "{}: {part}: its folder {} is not there; make it before run, for the user the border runs as",
                file.display(),
                folder.display()
            ));
        }
    }
    lines
}

/// Those that are read.
fn files(settings: &Settings) -> Vec<(&'static str, &Path)> {
    let mut files: Vec<(&'static str, &Path)> = Vec::new();
    if let Some(hep) = &settings.hep {
        files.extend(hep.ca.as_deref().map(|ca| ("[hep] ca", ca)));
    }
    if let Some(otlp) = &settings.otlp {
        files.extend(of_webhook(["[otlp] ca", "[otlp] token_file"], &otlp.to));
    }
    if let Some(postgres) = &settings.postgres {
        files.extend(postgres.password_file.as_deref().map(|file| ("[records.postgres] password_file", file)));
        if let Server::Network { tls: Tls::Verified { ca }, .. } = &postgres.server {
            files.push(("[records.postgres] ca", ca));
        }
    }
    if let Some(Target::Webhook(to)) = settings.missed_calls.as_ref().map(|missed| &missed.target) {
        files.extend(of_webhook(["[missed_calls] ca", "[missed_calls] token_file"], to));
    }
    files
}

fn of_webhook<'a>([ca, token]: [&'static str; 2], to: &'a webhook::Settings) -> impl Iterator<Item = (&'static str, &'a Path)> {
    let file = if let Some(Token::File(file)) = &to.token { Some(file.as_path()) } else { None };
    to.ca.as_deref().map(|file| (ca, file)).into_iter().chain(file.map(|file| (token, file)))
}

/// Those that the border makes, in folders it does not make.
fn made(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let store = settings.history.as_ref().filter(|history| history.is_required).map(|history| &history.path);
    let named = [
        ("[records] store", store),
        ("[records] file", settings.telemetry.records.as_ref()),
        ("[api] audit", settings.api.audit.as_ref()),
        ("[control] socket", settings.api.socket.as_ref()),
        ("[policy_sets] kept_in", settings.policy_sets.folder.as_ref()),
        ("[missed_calls] store", settings.missed_calls.as_ref().map(|missed| &missed.store.path)),
    ];
    named.into_iter().filter_map(|(part, file)| Some((part, file?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn all_that_is_not_there_is_told_at_once() {
        let mut settings = config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/quickstart")).unwrap().0;
        settings.telemetry.records = Some("/nonexistent/records.jsonl".into());
        settings.api.audit = Some("/nonexistent/audit.jsonl".into());
        settings.policy_sets.folder = Some("/tmp".into());
        settings.otlp = Some(config::Otlp {
            to: webhook::Settings {
                url: webhook::Url::parse("https://traces.example/v1/traces").unwrap(),
                ca: Some("/nonexistent/ca.pem".into()),
                token: Some(Token::File("/nonexistent/token".into())),
                timeout: std::time::Duration::from_secs(10),
            },
            calls: Default::default(),
        });
        let lines = missing(&settings).join("\n");
        for told in ["[records] file: its folder /nonexistent", "[api] audit: its folder", "[otlp] ca: there is no such file", "[otlp] token_file: there is no"]
        {
            assert!(lines.contains(told), "{told}: {lines}");
        }
        assert!(!lines.contains("[policy_sets]"), "{lines}");
    }
}
