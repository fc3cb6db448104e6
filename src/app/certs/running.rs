//! Telling a running border that its files have changed: over its control socket, which answers whether it took them; by SIGHUP, which does not; or not at
//! all, where the border watches the folder itself (`[certificates] watch`) or reads the files when it starts.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use super::files::wrong;
use super::set::Set;
use crate::adapters::api::{self, Answer};

/// The program's name, with which those of its processes begin.
const PROGRAM: &str = "portcullis";

/// Whom to tell.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Border {
    /// Ask the running border over this control socket, which must answer. Without it: the one of --set, or the default one, if it is there.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["pid_file", "signal", "no_ask"])]
    pub socket: Option<PathBuf>,
    /// Send SIGHUP to the process whose number is in this file. Whether the border takes the files then stands in its log only.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signal", "no_ask"])]
    pub pid_file: Option<PathBuf>,
    /// Send SIGHUP to this process.
    #[arg(long, value_name = "PID", conflicts_with = "no_ask")]
    pub signal: Option<i32>,
    /// Tell nobody.
    #[arg(long)]
    pub no_ask: bool,
}

/// The way to the border.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Door {
    Socket(PathBuf),
    Process(i32),
    /// Why nobody is told.
    None(&'static str),
}

/// What came of telling it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It has the files, and said this.
    Rotated(Vec<String>),
    Signalled(i32),
    Nobody(&'static str),
    /// It keeps what it had, and why.
    Refused(String),
}

impl Border {
    /// Finds the way, and that somebody is at its end, before anything is changed. An error where what was asked for is not there.
    pub fn door(&self, set: Option<&Set>) -> io::Result<Door> {
        if let Some(socket) = &self.socket {
            reach(socket).map_err(|error| wrong(socket, unanswered(&error)))?;
            return Ok(Door::Socket(socket.clone()));
        }
        let process = match &self.pid_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| wrong(file, error))?;
                Some(text.trim().parse().map_err(|_| wrong(file, "it holds no process's number; name the file the border's supervisor writes"))?)
            }
            None => self.signal,
        };
        if let Some(process) = process {
            let there = pid(process)?;
            test_kill_process(there)
                .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("process {process} cannot be signalled: {error}")))?;
            is_border(process)?;
            return Ok(Door::Process(process));
        }
        if self.no_ask {
            return Ok(Door::None("nobody was told, as asked"));
        }
        let sockets = set.and_then(Set::socket).map(Path::to_path_buf).into_iter().chain([PathBuf::from(api::DEFAULT)]);
        for socket in sockets {
            match reach(&socket) {
                Ok(()) => return Ok(Door::Socket(socket)),
                // Somebody may well be there.
                Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::TimedOut) => {
                    return Err(wrong(&socket, unanswered(&error)));
                }
                Err(_) => {}
            }
        }
        Ok(Door::None("no border answers here: it reads the files when it starts, or when it next looks (`[certificates] watch`)"))
    }
}

impl Door {
    pub fn tell(&self) -> io::Result<Told> {
        match self {
            Door::Socket(socket) => ask_to_rotate(socket).map(|answer| answer.map_or_else(Told::Refused, Told::Rotated)),
            Door::Process(process) => {
                kill_process(pid(*process)?, Signal::HUP)?;
                Ok(Told::Signalled(*process))
            }
            Door::None(why) => Ok(Told::Nobody(why)),
        }
    }
}

/// Asks the border behind this socket to load its certificates, keys, CAs and CRLs anew. Inner `Err`: it refuses, and keeps those it has; outer: it does
/// not answer.
pub fn ask_to_rotate(socket: &Path) -> io::Result<Result<Vec<String>, String>> {
    let Answer { status, body } = ask(socket, "POST", "/v1/certs/rotate")?;
    if (200..300).contains(&status) {
        let told = body["told"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        return Ok(Ok(told.collect()));
    }
    Ok(Err(body["detail"].as_str().unwrap_or("it does not say why").to_owned()))
}

/// What the border behind this socket says of the certificates it has.
pub fn ask_for_certificates(socket: &Path) -> io::Result<Value> {
    let Answer { status, body } = ask(socket, "GET", "/v1/certs")?;
    if status == 200 { Ok(body) } else { Err(wrong(socket, format!("the border answers {status}"))) }
}

fn ask(socket: &Path, method: &str, path: &str) -> io::Result<Answer> {
    runtime()?.block_on(api::ask(socket, method, path, None)).map_err(|error| wrong(socket, unanswered(&error)))
}

fn reach(socket: &Path) -> io::Result<()> {
    runtime()?.block_on(api::reach(socket))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn unanswered(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => String::from("there is no such socket; start the border, or name the one of [control] in its border.toml"),
        io::ErrorKind::ConnectionRefused => String::from("nobody listens there; start the border, or leave --socket out to change the files alone"),
        io::ErrorKind::PermissionDenied => String::from("not for this user; run this as root or as the border's user, or tell nobody with --no-ask"),
        _ => format!("the border does not answer ({error})"),
    }
}

/// A number in a file outlives its process, and whoever has it next would be ended by the signal. Where the system does not tell names, the number is
/// taken at its word.
fn is_border(process: i32) -> io::Result<()> {
    match std::fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(name) if !name.starts_with(PROGRAM) => {
            let what = format!("process {process} is {:?}, not a border; its number is out of date, see where the border runs now", name.trim_end());
            Err(io::Error::new(io::ErrorKind::NotFound, what))
        }
        _ => Ok(()),
    }
}

/// Process 1 is the container's border or the machine's supervisor; numbers below are whole groups of processes.
fn pid(process: i32) -> io::Result<Pid> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("{process} is no process's number"));
    if process < 1 {
        return Err(wrong());
    }
    Pid::from_raw(process).ok_or_else(wrong)
}
