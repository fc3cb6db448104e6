//! The commands that ask a running border, over its control socket or over the network: `show`, `ban`, `unban`, `reload`, `rotate`, `retry-missed-calls`. Exit status: 0 done, 1 refused or no border
//! answers, 2 the command line cannot be used.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::adapters::api::{self, Answer, Place, Remote, Trust};
use crate::app::api::network;
use crate::app::draining;
use crate::config::duration;

/// Where the border is asked.
#[derive(clap::Args, Clone, Debug)]
pub struct Socket {
    /// The border's control socket (`[control] socket` of its policy set).
    #[arg(long, value_name = "PATH", default_value = api::DEFAULT)]
    pub socket: PathBuf,
    /// Ask a border over the network instead, at its [api] door: https://HOST:PORT, or http://127.0.0.1:PORT. PORTCULLIS_URL says the same.
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub url: Option<String>,
    /// A file with the token for that, and nothing else. The token itself may be in PORTCULLIS_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The CA of the door's certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A certificate of yours that the door knows, instead of a token; with --key.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Print the border's answer as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Socket {
    /// Where it was asked, as options, for a command that asks there again.
    pub fn again(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let elsewhere = (self.socket.as_path() != Path::new(api::DEFAULT)).then(|| path(&self.socket));
        let files = [("token-file", &self.token_file), ("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)];
        let files = files.into_iter().filter_map(|(key, file)| Some((key, path(file.as_ref()?))));
        [("socket", elsewhere), ("url", self.url.clone())].into_iter().filter_map(|(key, value)| Some((key, value?))).chain(files).collect()
    }

    /// Whom to ask. The error names the remedy.
    pub fn place(&self) -> Result<Place, String> {
        let named = (self.socket.as_path() == Path::new(api::DEFAULT)).then(|| std::env::var("PORTCULLIS_URL").ok()).flatten();
        let Some(url) = self.url.clone().or(named) else { return Ok(Place::Socket(self.socket.clone())) };
        let token = match &self.token_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?),
            None => std::env::var("PORTCULLIS_TOKEN").ok(),
        };
        let own = self.certificate.as_deref().zip(self.key.as_deref());
        Remote::new(&url, &Trust { ca: self.ca.as_deref(), own, token: token.as_deref() }).map(Place::Network)
    }
}

/// Bans a source: everything it sends is dropped, until the ban ends. A trusted peer's address cannot be banned.
#[derive(clap::Args, Clone, Debug)]
pub struct Ban {
    /// An address (203.0.113.7) or a network (203.0.113.0/24).
    pub source: String,
    /// How long, such as 30m, 12h or 7d.
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    pub time: String,
    /// Why, for whoever looks at the list later.
    #[arg(long, default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub socket: Socket,
}

/// Lifts a ban.
#[derive(clap::Args, Clone, Debug)]
pub struct Unban {
    /// The address or network as `show bans` lists it.
    pub source: String,
    #[command(flatten)]
    pub socket: Socket,
}

/// Has a running border read its whole policy set anew, as SIGHUP does, and says what came of it.
#[derive(clap::Args, Clone, Debug)]
pub struct Reload {
    #[command(flatten)]
    pub socket: Socket,
}

/// Takes no new calls from now on: OPTIONS are answered with 503, so that peers move away, and calls that are up go on.
#[derive(clap::Args, Clone, Debug)]
pub struct Drain {
    /// After so long, such as 30m, calls that are still up are ended; without it they end by themselves.
    #[arg(long, value_name = "TIME")]
    pub release_after: Option<String>,
    /// Stay until the last call has ended, and tell how far it is.
    #[arg(long, conflicts_with = "json")]
    pub wait: bool,
    #[command(flatten)]
    pub socket: Socket,
}

/// Takes new calls again after a drain.
#[derive(clap::Args, Clone, Debug)]
pub struct Resume {
    #[command(flatten)]
    pub socket: Socket,
}

/// Ends a call that is up: both legs get a BYE.
#[derive(clap::Args, Clone, Debug)]
pub struct End {
    /// By the number that `show calls` gives.
    #[arg(value_parser = crate::app::show::call_number)]
    pub call: u64,
    #[command(flatten)]
    pub socket: Socket,
}

/// Has a running border load its certificates, keys, CAs and CRLs anew, all or nothing; calls and connections go on.
#[derive(clap::Args, Clone, Debug)]
pub struct Rotate {
    #[command(flatten)]
    pub socket: Socket,
}

/// Has a running border deliver the notices of missed calls again that were refused for good and put aside.
#[derive(clap::Args, Clone, Debug)]
pub struct RetryMissedCalls {
    #[command(flatten)]
    pub socket: Socket,
}

pub fn retry_missed_calls(retry: &RetryMissedCalls, out: &mut dyn Write) -> io::Result<u8> {
    ask(&retry.socket, "POST", "/v1/missed-calls/retry", None, out, |answer| format!("{} queued again\n", answer["queued"]))
}

pub fn ban(ban: &Ban, out: &mut dyn Write) -> io::Result<u8> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let source = network(&ban.source).ok_or_else(|| wrong(format!("{} is neither an address nor a network", ban.source)))?;
    let time = duration(&ban.time).filter(|time| *time >= Duration::from_secs(1));
    let time = time.ok_or_else(|| wrong(format!("--for {}: write a time such as 30m, 12h or 7d", ban.time)))?;
    let body = json!({ "source": source, "seconds": time.as_secs(), "reason": ban.reason });
    ask(&ban.socket, "POST", "/v1/bans", Some(&body), out, |_| format!("{source} is banned for {}\n", ban.time))
}

pub fn unban(unban: &Unban, out: &mut dyn Write) -> io::Result<u8> {
    let source = network(&unban.source).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no address", unban.source)))?;
    let path = format!("/v1/bans/{}/{}", source.addr(), source.prefix_len());
    ask(&unban.socket, "DELETE", &path, None, out, |_| format!("{source} is banned no longer\n"))
}

pub fn drain(drain: &Drain, out: &mut dyn Write) -> io::Result<u8> {
    let time = drain.release_after.as_deref().map(|written| {
        duration(written).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("--release-after {written}: write a time, such as 30m")))
    });
    let body = json!({ "seconds": time.transpose()?.map(|time| time.as_secs()) });
    let asked = ask(&drain.socket, "POST", "/v1/drain", Some(&body), out, |answer| {
        let then = drain.release_after.as_ref().map_or_else(|| "which end by themselves".to_owned(), |time| format!("which are ended in {time}"));
        format!("no new calls are taken; {} are up, {then}\n", answer["calls"])
    })?;
    if asked != 0 || !drain.wait {
        return Ok(asked);
    }
    let place = drain.socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    draining::wait(&place, out).or_else(|error| {
        complain(&unanswered(&place, &error));
        Ok(1)
    })
}

pub fn resume(resume: &Resume, out: &mut dyn Write) -> io::Result<u8> {
    ask(&resume.socket, "DELETE", "/v1/drain", None, out, |_| String::from("new calls are taken again\n"))
}

pub fn end(end: &End, out: &mut dyn Write) -> io::Result<u8> {
    ask(&end.socket, "DELETE", &format!("/v1/calls/{}", end.call), None, out, |_| format!("call {} is being ended\n", end.call))
}

pub fn reload(reload: &Reload, out: &mut dyn Write) -> io::Result<u8> {
    ask(&reload.socket, "POST", "/v1/reload", None, out, |answer| told(answer, "the policy set is in force"))
}

pub fn rotate(rotate: &Rotate, out: &mut dyn Write) -> io::Result<u8> {
    ask(&rotate.socket, "POST", "/v1/certs/rotate", None, out, |answer| told(answer, "the certificates are in force"))
}

pub fn told(answer: &Value, done: &str) -> String {
    let lines = answer["told"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.chain([done]).map(|line| format!("{line}\n")).collect()
}

/// Asks and prints: the answer as JSON, or what `text` makes of it. A refusal's detail goes where the answer would have gone.
pub fn ask(socket: &Socket, method: &str, path: &str, body: Option<&Value>, out: &mut dyn Write, text: impl Fn(&Value) -> String) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    match runtime.block_on(api::ask(&place, method, path, body)) {
        Ok(Answer { status, body }) => {
            let done = (200..300).contains(&status);
            match (socket.json, done) {
                (true, true) if body.is_null() => writeln!(out, "{:#}", json!({ "done": true }))?,
                (true, _) => writeln!(out, "{body:#}")?,
                (false, true) => out.write_all(text(&body).as_bytes())?,
                (false, false) => writeln!(out, "refused: {}", body["detail"].as_str().unwrap_or("the border does not say why"))?,
            }
            Ok(u8::from(!done))
        }
        Err(error) => {
            complain(&unanswered(&place, &error));
            Ok(1)
        }
    }
}

/// To standard error; nobody may read that any more.
pub fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
}

/// Why nobody answers there, and what to do.
pub fn unanswered(place: &Place, error: &io::Error) -> String {
    let path = match place {
        Place::Socket(socket) if socket.exists() && !is_socket(socket) => {
            return format!("{}: this is no socket; name the one written as [control] socket in the border's border.toml", socket.display());
        }
        Place::Socket(socket) => socket.display(),
        Place::Network(remote) => {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "nobody listens there; write [api] listen in the border's border.toml, or ask where it runs".to_owned(),
                _ if error.to_string().contains("InvalidContentType") => {
                    "it does not speak TLS there; name the port of [api] listen, or write http:// where that has no certificate".to_owned()
                }
                io::ErrorKind::TimedOut => {
                    "no answer in time; see whether a firewall is on the way, or the border hangs: what was asked may still be done once it goes on".to_owned()
                }
                _ => error.to_string(),
            };
            return format!("{remote}: {why}");
        }
    };
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{path}: no such socket; start the border, or name the one written as [control] socket in its border.toml with --socket")
        }
        io::ErrorKind::ConnectionRefused => format!("{path}: nobody listens there any more; the border has ended without removing it"),
        io::ErrorKind::TimedOut => format!(
            "{path}: no answer in time, though a border is there: it hangs, or waits for a slow disk; see its log and `systemctl status`, and mind that what was asked may still be done once it goes on"
        ),
        io::ErrorKind::PermissionDenied => format!("{path}: not for this user; run the command as root or as the border's user"),
        _ => format!("{path}: {error}"),
    }
}
