//! `portcullis request VERB`: what a running border is asked to do, in one place; the verbs stand alone as well, as in `portcullis drain`.

use std::io::{self, Write};

use crate::app::show::explained;
use crate::app::{ask, change_policy};

/// What is asked often enough to stand alone.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    Ban(ask::Ban),
    Unban(ask::Unban),
    Drain(ask::Drain),
    Resume(ask::Resume),
    End(ask::End),
    Reload(ask::Reload),
    Rotate(ask::Rotate),
    RetryMissedCalls(ask::RetryMissedCalls),
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Request {
    #[command(flatten)]
    Verb(Verb),
    Explain(explained::Explain),
    /// Goes back to what was in force before.
    Rollback {
        #[command(subcommand)]
        what: change_policy::Back,
    },
}

pub fn verb(verb: &Verb, out: &mut dyn Write) -> io::Result<u8> {
    match verb {
        Verb::Ban(ban) => ask::ban(ban, out),
        Verb::Unban(unban) => ask::unban(unban, out),
        Verb::Drain(drain) => ask::drain(drain, out),
        Verb::Resume(resume) => ask::resume(resume, out),
        Verb::End(end) => ask::end(end, out),
        Verb::Reload(reload) => ask::reload(reload, out),
        Verb::Rotate(rotate) => ask::rotate(rotate, out),
        Verb::RetryMissedCalls(retry) => ask::retry_missed_calls(retry, out),
    }
}

pub fn request(request: &Request, out: &mut dyn Write) -> io::Result<u8> {
    match request {
        Request::Verb(asked) => verb(asked, out),
        Request::Explain(asked) => explained::explain(asked, out),
        Request::Rollback { what } => change_policy::rollback(what, out),
    }
}
