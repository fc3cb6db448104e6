//! `portcullis completions SHELL` and `portcullis man FOLDER`: what shells and readers know of the commands, made from the commands themselves.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use time::OffsetDateTime;

use crate::app::exit_status;

/// Prints the completions for a shell, to be put where it looks for them.
#[derive(clap::Args, Clone, Debug)]
pub struct Completions {
    pub shell: Shell,
}

/// Writes the manual pages, one for each command, into a folder (section 1).
#[derive(clap::Args, Clone, Debug)]
pub struct Man {
    /// Made, if it is not there.
    pub folder: PathBuf,
}

/// The exit status is 0.
///
/// # Errors
///
/// They cannot be printed.
pub fn completions(completions: &Completions, mut command: clap::Command, out: &mut dyn Write) -> io::Result<u8> {
    let name = command.get_name().to_owned();
    // The generator ends the process when its output is closed, as by `| head`: it writes to memory, which is never closed.
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut command, name, &mut text);
    out.write_all(&text)?;
    Ok(0)
}

/// Says how many were written. The exit status is 0.
///
/// # Errors
///
/// The folder cannot be made or written to.
pub fn man(man: &Man, command: clap::Command, out: &mut dyn Write) -> io::Result<u8> {
    let folder = man.folder.display();
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{folder}: {error}; name a folder that can be written to"));
    std::fs::create_dir_all(&man.folder).map_err(told)?;
    clap_mangen::generate_to(command.clone(), &man.folder).map_err(told)?;
    let date = date();
    for file in std::fs::read_dir(&man.folder).map_err(told)?.flatten().filter(|file| file.path().extension().is_some_and(|section| section == "1")) {
        let page = std::fs::read_to_string(file.path()).map_err(told)?;
        std::fs::write(file.path(), tidied(&page, &date)).map_err(told)?;
    }
    with_statuses(&command, &mut Vec::new(), &man.folder).map_err(told)?;
    let pages = std::fs::read_dir(&man.folder).map_err(told)?.flatten().filter(|file| file.path().extension().is_some_and(|section| section == "1")).count();
    writeln!(out, "{folder}: {pages} pages; read one with `man {folder}/portcullis.1`, install them to /usr/share/man/man1")?;
    Ok(0)
}

/// Of the sources, if whoever packages them says so (reproducible-builds.org), else of today.
fn date() -> String {
    let said = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds.parse().ok()?).ok());
    said.unwrap_or_else(OffsetDateTime::now_utc).date().to_string()
}

/// As man(7) wants it: a title line with a date, so that what follows it is not taken for one, and one kind of break between paragraphs.
fn tidied(page: &str, date: &str) -> String {
    let title = |line: &str| {
        let name = line.strip_prefix(".TH ").and_then(|rest| rest.split_whitespace().next());
        let version = env!("CARGO_PKG_VERSION");
        name.map_or_else(|| line.to_owned(), |name| format!(".TH {name} 1 \"{date}\" \"portcullis {version}\" \"Portcullis\""))
    };
    page.replace(".br\n\n.br\n", ".sp\n").replace("\n\n.br\n", "\n.sp\n").lines().map(|line| title(line) + "\n").collect()
}

/// Each page ends with what its command ends with.
fn with_statuses(command: &clap::Command, words: &mut Vec<String>, folder: &Path) -> io::Result<()> {
    let section = exit_status::section(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let page = folder.join([&[String::from("portcullis")], words.as_slice()].concat().join("-") + ".1");
    if !section.is_empty() && page.exists() {
        std::fs::OpenOptions::new().append(true).open(page)?.write_all(section.as_bytes())?;
    }
    for one in command.get_subcommands() {
        words.push(one.get_name().to_owned());
        with_statuses(one, words, folder)?;
        words.pop();
    }
    Ok(())
}
