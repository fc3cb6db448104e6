//! `portcullis certs`: the life of a certificate from key and request to rotation and rollback, for people and for jobs. docs/certificates.md is its
//! manual; each command has a file here.
//!
//! Every command can be run twice: the second time changes nothing and says so. Exit statuses are [`report::Outcome`]'s, and
//! [`report::UNUSABLE`] for arguments that cannot be used.

mod activate;
mod authority;
mod crl;
mod csr;
mod examine;
pub(in crate::app) mod facts;
mod files;
mod fitness;
mod folder;
mod init;
mod inspect;
mod issue;
mod layout;
mod names;
mod report;
mod rollback;
mod running;
mod set;
mod stage;
mod status;

use std::io::{self, Write};
use std::time::Duration;

pub use authority::{Authority, Eku, Issued, Leaf, VALIDITY, authority, authority_between, self_signed};
pub(in crate::app) use files::contents;
pub use files::write_whole;
pub use init::{Init, init};

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// A throw-away CA and certificates signed by it, for labs: never for a border that carriers can reach.
    Init(init::Arguments),
    /// A private key, and a request for a certificate to send to a CA.
    Csr(csr::Arguments),
    /// Signs a request with a private or laboratory CA.
    Issue(issue::Arguments),
    /// Writes the revocation list of a private or laboratory CA.
    Crl(crl::Arguments),
    /// Says what certificate files hold, what is wrong with them, and who would accept them.
    Inspect(inspect::Arguments),
    /// Checks new files and puts them into a generation of their own, for activate.
    Stage(stage::Arguments),
    /// Makes the staged generation current in one step, and has the running border take it.
    Activate(activate::Arguments),
    /// Makes the previous generation current again.
    Rollback(rollback::Arguments),
    /// Says what is in force and for how long, and whether the running border has it.
    Status(status::Arguments),
}

/// Runs one command and returns its exit status. An error is for the caller to print, with status 2.
pub fn run(command: &Command, out: &mut dyn Write) -> io::Result<u8> {
    let (name, style) = match command {
        Command::Init(arguments) => ("init", arguments.style),
        Command::Csr(arguments) => ("csr", arguments.style),
        Command::Issue(arguments) => ("issue", arguments.style),
        Command::Crl(arguments) => ("crl", arguments.style),
        Command::Inspect(arguments) => ("inspect", arguments.style),
        Command::Stage(arguments) => ("stage", arguments.style),
        Command::Activate(arguments) => ("activate", arguments.style),
        Command::Rollback(arguments) => ("rollback", arguments.style),
        Command::Status(arguments) => ("status", arguments.style),
    };
    let done = match command {
        Command::Init(arguments) => init::run(arguments, out),
        Command::Csr(arguments) => csr::run(arguments, out),
        Command::Issue(arguments) => issue::run(arguments, out),
        Command::Crl(arguments) => crl::run(arguments, out),
        Command::Inspect(arguments) => inspect::run(arguments, out),
        Command::Stage(arguments) => stage::run(arguments, out),
        Command::Activate(arguments) => activate::run(arguments, out),
        Command::Rollback(arguments) => rollback::run(arguments, out),
        Command::Status(arguments) => status::run(arguments, out),
    };
    match done {
        Err(error) if style.json => report::unusable(name, &error, out),
        done => done,
    }
}

fn of_rcgen(error: rcgen::Error) -> io::Error {
    io::Error::other(format!("could not make it: {error}"))
}

/// A time as it is written in policy sets, but never without its unit: `30` would be seconds there and looks like days here.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no time; write one such as 30d or 12h");
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    crate::config::duration(text).ok_or_else(wrong)
}
