//! Every command the documents tell an operator to type is one this program takes, options and all.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;

/// The words of a command as a shell would split them, up to what ends it: a comment, a pipe, a redirection. Words that stand for others (`POLICYSET`) stay as they are.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote, mut is_open) = (Vec::<String>::new(), None, false);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                if !is_open {
                    words.push(String::new());
                    is_open = true;
                }
            }
            (None, '|' | '>' | '&' | ';' | ')') => break,
            (None, '#') if !is_open => break,
            (None, _) if c.is_whitespace() => is_open = false,
            _ if is_open => words.last_mut().expect("a word is open").push(c),
            _ => {
                words.push(c.to_string());
                is_open = true;
            }
        }
    }
    words
}

/// Lines of blocks that are a command, with the lines they go on in, and commands quoted in the text.
fn commands(page: &str) -> Vec<String> {
    let (mut found, mut is_block) = (Vec::new(), false);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
            continue;
        }
        let typed = line.trim_start().trim_start_matches("$ ").trim_start_matches("ExecStart=");
        if (is_block || line.starts_with("    ")) && typed.starts_with("portcullis ") {
            let mut command = typed.to_owned();
            while command.ends_with('\\') {
                command.pop();
                command.push_str(lines.next().unwrap_or_default());
            }
            found.push(command);
        } else if !is_block {
            found.extend(line.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("portcullis ")).map(str::to_owned));
        }
    }
    found
}

/// Why the program would not take it. A command that names only the beginning (`portcullis certs`) asks for more, which is no mistake of the page.
fn refusal(command: &str) -> Option<String> {
    // `\\|` is how a table of a page writes a pipe; brackets stand around what may be left out; words in capitals stand for others.
    let plain = command.replace("\\|", "|").replace(['[', ']'], " ");
    let words = words(&plain).into_iter().filter(|word| !matches!(word.as_str(), "…" | "...")).map(|word| match word.as_str() {
        "CALL" | "NUMBER" => "1".to_owned(),
        "ROLE" => "read".to_owned(),
        _ => word,
    });
    let error = super::Arguments::command().try_get_matches_from(words).err()?;
    let shown = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
    );
    (!shown).then(|| format!("{command}: {}", error.to_string().lines().next().unwrap_or_default()))
}

#[test]
fn every_command_in_the_documents_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut wrong) = (0, Vec::new());
    for folder in ["", "docs", "docs/monitoring", "deploy", "certs"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_none_or(|extension| extension != "md") || entry.ends_with("CHANGELOG.md") {
                continue;
            }
            for command in commands(&fs::read_to_string(&entry).unwrap()) {
                seen += 1;
                wrong.extend(refusal(&command).map(|why| format!("{}: {why}", entry.display())));
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were found: has the form of the pages changed?");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_the_program_does_not_take_is_found() {
    assert!(refusal("portcullis show recrods --limit 5").is_some());
    assert!(refusal("portcullis check POLICYSET --jsno | less").is_some());
    assert_eq!(words("portcullis ban 192.0.2.0/24 --reason \"toll fraud\"   # why"), ["portcullis", "ban", "192.0.2.0/24", "--reason", "toll fraud"]);
    assert_eq!(commands("a `portcullis drain`\n```\n$ portcullis check \\\n    mine\nshown\n```\n"), ["portcullis drain", "portcullis check     mine"]);
}
