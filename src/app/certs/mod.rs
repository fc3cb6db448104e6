//! `portcullis certs`: the life of a certificate from key and request to rotation and rollback, for people and for jobs. docs/certificates.md is its
//! manual; each command has a file here.
//!
//! Every command can be run twice: the second time changes nothing and says so. Exit statuses are [`report::Outcome`]'s, and
//! [`report::UNUSABLE`] for arguments that cannot be used.

mod authority;
mod crl;
mod csr;
mod facts;
mod files;
mod init;
mod issue;
mod layout;
mod names;
mod report;

use std::io::{self, Write};

pub use authority::{Authority, Eku, Issued, Leaf, VALIDITY, authority, authority_between, self_signed};
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
}

/// Runs one command and returns its exit status. An error is for the caller to print, with status 2.
pub fn run(command: &Command, out: &mut dyn Write) -> io::Result<u8> {
    let (name, style) = match command {
        Command::Init(arguments) => ("init", arguments.style),
        Command::Csr(arguments) => ("csr", arguments.style),
        Command::Issue(arguments) => ("issue", arguments.style),
        Command::Crl(arguments) => ("crl", arguments.style),
    };
    let done = match command {
        Command::Init(arguments) => init::run(arguments, out),
        Command::Csr(arguments) => csr::run(arguments, out),
        Command::Issue(arguments) => issue::run(arguments, out),
        Command::Crl(arguments) => crl::run(arguments, out),
    };
    match done {
        Err(error) if style.json => report::unusable(name, &error, out),
        done => done,
    }
}

fn of_rcgen(error: rcgen::Error) -> io::Error {
    io::Error::other(format!("could not make it: {error}"))
}
