//! What each command ends with, in one place: for its help, its manual page and the test that holds both to what the command does.

use clap::Command;

/// A status, and what it means.
pub type Status = (u8, &'static str);

const WRONG: Status = (2, "the command line cannot be used");
const ASKED: &[Status] = &[(0, "done, or shown"), (1, "the border refused, or none answers there"), WRONG];

/// By the command's words; the longest that fits counts.
const STATUSES: &[(&[&str], &[Status])] = &[
    (&["run"], &[(0, "stopped as asked"), (1, "the set has problems, a socket cannot be had, it could not take over, or a fault of its own ended it"), WRONG]),
    (&["check"], &[(0, "the set loads, with warnings or without"), (1, "it has problems"), (2, "there is no such folder, or the command line cannot be used")]),
    (&["diff"], &[(0, "both sets mean the same"), (1, "they differ"), (2, "one of them does not load, or the command line cannot be used")]),
    (
        &["import"],
        &[
            (0, "the set was written"),
            (1, "it was written, with remarks: something was not mapped or had to be guessed"),
            (2, "nothing was written: the files or the command line cannot be used"),
        ],
    ),
    (
        &["explain"],
        &[
            (0, "let in, or told what it means"),
            (1, "refused, met with silence, or no reason has such a name"),
            (2, "the arguments, the set or the file cannot be used"),
        ],
    ),
    (&["replay"], &[(0, "no recorded call would be decided otherwise"), (1, "some would"), (2, "the sets, the recording or the arguments cannot be used")]),
    (&["quickstart"], &[(0, "everything held"), (1, "something did not"), WRONG]),
    (&["simulate"], &[(0, "it was stopped, or its calls went as asked"), (1, "they did not"), (2, "an address, a file or the command line cannot be used")]),
    (&["health"], &[(0, "the border does well"), (1, "it does not, or does not answer"), WRONG]),
    (&["firewall"], &[(0, "printed"), (1, "the set has problems"), WRONG]),
    (&["show"], ASKED),
    (
        &["set"],
        &[
            (0, "in force"),
            (1, "the set has problems, was not wanted or refused, or no border answers"),
            (2, "there is no such folder, or the command line cannot be used"),
        ],
    ),
    (&["show", "events"], &[(1, "the border has ended it, refused, or none answers there"), WRONG]),
    (&["request"], ASKED),
    (&["request", "explain"], &[(0, "let in"), (1, "refused, or no border answers"), (2, "the message or the command line cannot be used")]),
    (&["ban"], ASKED),
    (&["unban"], ASKED),
    (&["drain"], &[(0, "done; with --wait: no call is left"), (1, "refused, taken back meanwhile, or no border answers"), WRONG]),
    (&["resume"], ASKED),
    (&["end"], ASKED),
    (&["reload"], ASKED),
    (&["rotate"], ASKED),
    (&["retry-missed-calls"], ASKED),
    (
        &["ladder"],
        &[
            (0, "shown, written, or left"),
            (1, "the call is not held, or no border answers"),
            (2, "the file cannot be written, there is no terminal, or the command line cannot be used"),
        ],
    ),
    (&["trace"], ASKED),
    (&["token"], &[(0, "printed"), WRONG]),
    (&["certs"], &[(0, "done, or done already"), (1, "findings, or refused and nothing changed"), (2, "the arguments or files cannot be used")]),
    (
        &["certs", "status"],
        &[(0, "all is well"), (1, "findings"), (2, "the arguments or files cannot be used"), (3, "all is well, but something runs out soon")],
    ),
    (&["completions"], &[(0, "printed"), WRONG]),
    (&["man"], &[(0, "written"), (2, "the folder cannot be written to, or the command line cannot be used")]),
];

/// What a command ends with, by its words without the program's. Empty: nobody has said.
pub fn of(words: &[&str]) -> &'static [Status] {
    let fits = STATUSES.iter().filter(|(command, _)| words.starts_with(command));
    fits.max_by_key(|(command, _)| command.len()).map_or(&[], |(_, statuses)| statuses)
}

/// The same commands, whose help tells it.
pub fn told(command: Command) -> Command {
    with(command, &mut Vec::new())
}

fn with(command: Command, words: &mut Vec<String>) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    let mut command = command;
    for name in names {
        words.push(name.clone());
        command = command.mut_subcommand(name, |one| with(one, words));
        words.pop();
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let lines: String = of(&words).iter().map(|(status, means)| format!("\n  {status}  {means}")).collect();
    if lines.is_empty() { command } else { command.after_long_help(format!("Exit status:{lines}")) }
}

/// Likewise, as a section of a manual page (man(7)).
pub fn section(words: &[&str]) -> String {
    let lines: String = of(words).iter().map(|(status, means)| format!(".TP\n\\fB{status}\\fR\n{}\n", means.replace('-', "\\-"))).collect();
    if lines.is_empty() { lines } else { format!(".SH \"EXIT STATUS\"\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_words_that_fit_count_and_every_status_is_told_once() {
        assert!(of(&["certs", "status"]).iter().any(|(status, _)| *status == 3));
        assert!(of(&["certs", "stage"]).iter().all(|(status, _)| *status < 3));
        assert!(of(&[]).is_empty() && of(&["nonsense"]).is_empty());
        for (words, statuses) in STATUSES {
            assert!(statuses.windows(2).all(|pair| pair[0].0 < pair[1].0), "{words:?}");
        }
    }
}
