//! `portcullis set policy FOLDER` and `request rollback policy`: another policy set for a running border. First what would change is shown, part by part and call by
//! call as recorded; then the operator is asked; then it comes into force, all or nothing. Exit status: 0 in force, 1 refused or not wanted, 2 the command line or
//! the set cannot be used.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::adapters::api::{self, Answer};
use crate::app::ask::{Socket, ask, complain, told, unanswered};
use crate::app::policy_sets::texts::Texts;
use crate::app::replay::report::Report;

/// The status of a trial that finds another going on.
const BUSY: u16 = 503;
/// That one is waited for so long, and asked about so often.
const ANOTHER: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(2);

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Set {
    Policy(Policy),
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Back {
    Policy(Rollback),
}

/// Takes another policy set into force, after showing what would change for calls as they were recorded.
#[derive(clap::Args, Clone, Debug)]
pub struct Policy {
    /// The folder of the set that is to be; read here, with the rights of whoever asks.
    pub policy_set: PathBuf,
    /// Try it on the newest so many recorded calls.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub last: u32,
    /// Activate without asking.
    #[arg(long)]
    pub yes: bool,
    /// Do not try it on recorded calls first.
    #[arg(long)]
    pub untried: bool,
    #[command(flatten)]
    pub manner: Manner,
    #[command(flatten)]
    pub socket: Socket,
}

/// Takes an earlier policy set into force again, as `show policy` lists them.
#[derive(clap::Args, Clone, Debug)]
pub struct Rollback {
    /// Six characters of its digest or more; without it the one before the one in force.
    #[arg(long, value_name = "DIGEST")]
    pub to: Option<String>,
    #[command(flatten)]
    pub manner: Manner,
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Manner {
    /// Leave the border's folder as it is: at its next start what lies there comes into force.
    #[arg(long)]
    pub until_restart: bool,
    /// Write over what the border's folder holds, even where that was never in force.
    #[arg(long)]
    pub overwrite: bool,
}

pub fn set(set: &Set, out: &mut dyn Write) -> io::Result<u8> {
    let Set::Policy(policy) = set;
    let texts = match Texts::read(&policy.policy_set) {
        Ok(texts) => texts,
        Err(why) => {
            writeln!(out, "{why}")?;
            return Ok(2);
        }
    };
    let files: Value = texts.files().map(|(name, text)| (String::from(name), Value::from(text))).collect::<serde_json::Map<_, _>>().into();
    if policy.socket.json {
        return as_document(policy, &files, out);
    }
    let over = match looked_at(policy, &files, out) {
        Ok(Some(over)) => over,
        Ok(None) => return Ok(1),
        Err(error) => {
            complain(&error);
            return Ok(1);
        }
    };
    if !(policy.yes || agreed(out)?) {
        return Ok(1);
    }
    let Manner { until_restart, overwrite } = policy.manner;
    let body = json!({ "files": files, "until_restart": until_restart, "overwrite": overwrite, "over": over });
    ask(&policy.socket, "POST", "/v1/policy/activate", Some(&body), out, |answer| told(answer, "the policy set is in force"))
}

pub fn rollback(back: &Back, out: &mut dyn Write) -> io::Result<u8> {
    let Back::Policy(Rollback { to, manner: Manner { until_restart, overwrite }, socket }) = back;
    let body = json!({ "to": to, "until_restart": until_restart, "overwrite": overwrite });
    ask(socket, "POST", "/v1/policy/rollback", Some(&body), out, |answer| told(answer, "the earlier policy set is in force"))
}

/// The same as one JSON document: `validated`, `difference`, `dry_run`, and whether it was `activated`; of what was refused the problem document.
fn as_document(policy: &Policy, files: &Value, out: &mut dyn Write) -> io::Result<u8> {
    let mut document = serde_json::Map::new();
    let mut activated = false;
    let validated = answered(policy, "/v1/policy/validate", &json!({ "files": files }));
    let validated = match validated {
        Ok(answer) => answer.body,
        Err(error) => {
            complain(&error);
            return Ok(1);
        }
    };
    let (sound, over) = (validated["valid"] == true, validated["in_force"].clone());
    document.insert("validated".into(), validated);
    if sound {
        document.insert("difference".into(), answered(policy, "/v1/policy/diff", &json!({ "files": files }))?.body);
    }
    let trial = if sound && !policy.untried { Some(trial(policy, files)?) } else { None };
    let is_tried = policy.untried || trial.as_ref().is_some_and(|answer| answer.status != BUSY);
    if let Some(trial) = trial {
        document.insert("dry_run".into(), trial.body);
    }
    if sound && is_tried && policy.yes {
        let Manner { until_restart, overwrite } = policy.manner;
        let body = json!({ "files": files, "until_restart": until_restart, "overwrite": overwrite, "over": over });
        let answer = answered(policy, "/v1/policy/activate", &body)?;
        activated = answer.status == 200;
        document.insert("activation".into(), answer.body);
    }
    document.insert("activated".into(), activated.into());
    writeln!(out, "{:#}", Value::Object(document))?;
    Ok(u8::from(!activated))
}

/// Shows what would change. Returns the digest of the set in force, over which that was; `None`: it cannot be activated.
fn looked_at(policy: &Policy, files: &Value, out: &mut dyn Write) -> io::Result<Option<Value>> {
    let Some(validated) = asked(policy, "/v1/policy/validate", &json!({ "files": files }), out)? else { return Ok(None) };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for problem in list(&validated["problems"]) {
        let (file, what, instead) = (word(&problem["file"]), word(&problem["what"]), word(&problem["instead"]));
        writeln!(out, "{file}:{}:{}: {what}; {instead}", problem["line"], problem["column"])?;
    }
    if validated["valid"] != true {
        writeln!(out, "the set has problems, so it cannot be activated; nothing was changed")?;
        return Ok(None);
    }
    for warning in list(&validated["warnings"]) {
        writeln!(out, "warning   {}", word(&warning))?;
    }
    let Some(difference) = asked(policy, "/v1/policy/diff", &json!({ "files": files }), out)? else { return Ok(None) };
    for line in list(&difference["lines"]) {
        writeln!(out, "{}", word(&line))?;
    }
    let restart: Vec<String> = list(&difference["restart"]).iter().map(word).collect();
    if !restart.is_empty() {
        writeln!(out, "not by this, but with `portcullis run SET --take-over` or at the next start: {}", restart.join("; "))?;
    }
    if difference["same"] == true {
        writeln!(out, "both sets mean the same")?;
    }
    if let Some(why) = validated["hindrance"].as_str().filter(|_| !policy.manner.until_restart && !policy.manner.overwrite) {
        writeln!(out, "refused: {why}")?;
        return Ok(None);
    }
    if !policy.untried && !tried(policy, files, out)? && policy.yes {
        writeln!(out, "not activated untried; ask again, or write --untried")?;
        return Ok(None);
    }
    Ok(Some(validated["in_force"].clone()))
}

/// Tries the set on recorded calls. One such trial goes on at a time, and another is waited for, so long.
fn trial(policy: &Policy, files: &Value) -> io::Result<Answer> {
    let until = Instant::now() + ANOTHER;
    loop {
        let answer = answered(policy, "/v1/policy/dry-run", &json!({ "files": files, "last": policy.last }))?;
        if answer.status != BUSY || Instant::now() >= until {
            return Ok(answer);
        }
        std::thread::sleep(AGAIN);
    }
}

/// What would become of recorded calls; a border that keeps none says so, and the set may be activated all the same. False: it could not be tried though there are.
fn tried(policy: &Policy, files: &Value, out: &mut dyn Write) -> io::Result<bool> {
    let is_watched = io::stderr().is_terminal();
    if is_watched {
        // Nobody may look any more.
        let _ = write!(io::stderr(), "trying the set on recorded calls …");
    }
    let answer = trial(policy, files);
    if is_watched {
        let _ = write!(io::stderr(), "\r\x1b[2K");
    }
    let answer = answer?;
    match serde_json::from_value::<Report>(answer.body.clone()) {
        Ok(report) if answer.status == 200 => report.print(out)?,
        _ => writeln!(out, "not tried on recorded calls: {}", answer.body["detail"].as_str().unwrap_or("the border does not say why"))?,
    }
    Ok(answer.status != BUSY)
}

fn asked(policy: &Policy, path: &str, body: &Value, out: &mut dyn Write) -> io::Result<Option<Value>> {
    let answer = answered(policy, path, body)?;
    if answer.status == 200 {
        return Ok(Some(answer.body));
    }
    writeln!(out, "refused: {}", answer.body["detail"].as_str().unwrap_or("the border does not say why"))?;
    Ok(None)
}

fn answered(policy: &Policy, path: &str, body: &Value) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = policy.socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    runtime.block_on(api::ask(&place, "POST", path, Some(body))).map_err(|error| io::Error::new(error.kind(), unanswered(&place, &error)))
}

fn agreed(out: &mut dyn Write) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        writeln!(out, "not activated: nobody can be asked here; write --yes")?;
        return Ok(false);
    }
    write!(out, "activate it? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let agreed = matches!(answer.trim(), "y" | "Y" | "yes");
    if !agreed {
        writeln!(out, "not activated; nothing was changed")?;
    }
    Ok(agreed)
}
