//! The command line of Portcullis. Exit status: 0 done as asked, 1 findings or a failure, 2 the command line or its files cannot be used.

#[cfg(test)]
mod commands_in_documents;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use portcullis::app;

/// A session border controller for voicemail and Unified Messaging.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(app::run::Run),
    /// Lists everything that is wrong with a policy set, at once.
    Check(app::check::Check),
    Diff(app::diff::Diff),
    /// Makes a policy set of what another system has.
    Import {
        #[command(subcommand)]
        from: app::import::Command,
    },
    /// Says which rule decides about a message, and why, without opening a socket.
    Explain(app::explain::Explain),
    Replay(app::replay::Replay),
    /// Shows a whole call through the border on this machine: a simulated trunk, a simulated UM, TLS and SRTP on both legs.
    Quickstart(app::quickstart::Quickstart),
    /// Plays the other side: a UM server, a Mediation Server or a trunk, as strict as the real one.
    Simulate {
        #[command(subcommand)]
        what: app::simulate::Simulate,
    },
    /// Asks a running border how it does: exit status 0 if it does well.
    Health(app::health::Health),
    Firewall(app::ruleset::Ruleset),
    /// Shows what a running border knows.
    Show {
        #[command(subcommand)]
        what: app::show::Show,
    },
    /// Changes something of a running border, after showing what would come of it.
    Set {
        #[command(subcommand)]
        what: app::change_policy::Set,
    },
    /// Has a running border do something.
    Request {
        #[command(subcommand)]
        what: app::request::Request,
    },
    #[command(flatten)]
    Verb(app::request::Verb),
    Ladder(app::ladder::Ladder),
    #[command(subcommand)]
    Trace(app::trace::Trace),
    Token(app::token::Token),
    /// Makes, checks and rotates certificates.
    Certs {
        #[command(subcommand)]
        command: app::certs::Command,
    },
    Completions(app::manual::Completions),
    Man(app::manual::Man),
}

fn main() -> ExitCode {
    // Errors of the command line end here, with 2.
    let arguments = Arguments::from_arg_matches(&app::exit_status::told(Arguments::command()).get_matches());
    match arguments.unwrap_or_else(|error| error.exit()).command {
        Command::Run(run) => app::run::run(run),
        Command::Check(check) => printed(|out| app::check::check(&check, out)),
        Command::Diff(diff) => printed(|out| app::diff::diff(&diff, out)),
        Command::Import { from } => printed(|out| app::import::import(&from, out)),
        Command::Explain(explain) => printed(|out| app::explain::explain(&explain, out)),
        Command::Replay(replay) => printed(|out| app::replay::replay(&replay, out)),
        Command::Quickstart(quickstart) => app::quickstart::run(&quickstart),
        Command::Simulate { what } => app::simulate::run(&what),
        Command::Health(health) => printed(|out| app::health::health(&health, out)),
        Command::Firewall(ruleset) => printed(|out| app::ruleset::ruleset(&ruleset, out)),
        Command::Show { what } => printed(|out| app::show::show(&what, out)),
        Command::Set { what } => printed(|out| app::change_policy::set(&what, out)),
        Command::Request { what } => printed(|out| app::request::request(&what, out)),
        Command::Verb(verb) => printed(|out| app::request::verb(&verb, out)),
        Command::Ladder(ladder) => printed(|out| app::ladder::ladder(&ladder, out)),
        Command::Trace(trace) => printed(|out| app::trace::trace(&trace, out)),
        Command::Token(token) => printed(|out| app::token::token(&token, out, &mut std::io::stderr())),
        Command::Certs { command } => printed(|out| app::certs::run(&command, out)),
        Command::Completions(shell) => printed(|out| app::manual::completions(&shell, Arguments::command(), out)),
        Command::Man(man) => printed(|out| app::manual::man(&man, Arguments::command(), out)),
    }
}

/// Runs a command that prints; one that could not print, or failed otherwise, ends with 2. Whoever reads may have seen enough (`| head`): that is no failure.
fn printed(command: impl FnOnce(&mut dyn Write) -> std::io::Result<u8>) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match command(&mut out).and_then(|status| out.flush().map(|()| status)) {
        Ok(status) => ExitCode::from(status),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read this either.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}
