//! The laws of the source tree, read from the source itself: which folders are pure, who may import whom (the table in `src/lib.rs`), how long a
//! file and a function may be, that every file says what it is. Comments, texts in quotes and test modules do not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders without sockets, clock, files, threads, randomness of their own, logging or state beyond their values.
const PURE: [&str; 5] = ["sip", "sdp", "policy", "signaling", "media"];
/// Crates the pure folders may use; every other dependency belongs to the rim.
const PURE_CRATES: [&str; 13] =
    ["bytes", "memchr", "smallvec", "base64", "zeroize", "subtle", "aes", "ctr", "sha1", "aws_lc_rs", "rand_chacha", "ipnet", "serde"];
const LINES_OF_FILE: usize = 600;
const LINES_OF_FUNCTION: usize = 80;
/// Folders of `adapters` with system calls of their own.
const UNSAFE: [&str; 4] = ["src/adapters/media/frames/calls.rs", "src/adapters/media/system.rs", "src/adapters/media/uring.rs", "src/adapters/net/batch.rs"];
const EMPTY_NAMES: [&str; 9] = ["manager", "helper", "helpers", "util", "utils", "common", "misc", "engine", "handler"];

/// What each folder may import of the crate, besides itself and `time`.
fn allowed(folder: &str) -> &'static [&'static str] {
    match folder {
        "policy" => &["sip", "sdp", "media::control"],
        "media" => &["sdp::crypto", "sdp::direction", "sdp::fingerprint", "sdp::ice"],
        "signaling" => &["sip", "sdp", "policy", "media::control", "media::ports"],
        "adapters" => &["sip", "sdp", "policy", "signaling", "media"],
        "config" => &["sip", "sdp", "policy", "signaling", "media", "adapters"],
        "simulator" => &["sip", "sdp", "policy", "signaling", "media", "adapters", "config"],
        "app" => &["sip", "sdp", "policy", "signaling", "media", "adapters", "config", "simulator"],
        _ => &[],
    }
}

/// Paths, written out in full, that no pure file may name.
const IMPURE_PATHS: [&str; 20] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::os",
    "std::process",
    "std::thread",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::ToSocketAddrs",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::OnceLock",
    "std::sync::LazyLock",
    "std::sync::Condvar",
    "std::sync::mpsc",
    "std::cell::OnceCell",
    "std::hash::RandomState",
];
const IMPURE_WORDS: [&str; 6] = ["async", "await", "unsafe", "OnceLock", "LazyLock", "thread_local"];
const IMPURE_MACROS: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// A breach: where, and of what.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    file: String,
    line: usize,
    what: String,
}

/// One token that is code: a word, or a single character of punctuation.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The text with comments and everything in quotes blanked, line by line in place.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |from: usize, to: usize, out: &mut String| out.extend(bytes[from..to].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    while at < bytes.len() {
        let end = match (bytes[at], bytes.get(at + 1)) {
            ('/', Some('/')) => (at..bytes.len()).find(|i| bytes[*i] == '\n').unwrap_or(bytes.len()),
            ('/', Some('*')) => end_of_block_comment(&bytes, at),
            ('"', _) => end_of_quoted(&bytes, at),
            ('r', Some('"' | '#')) if !at.checked_sub(1).is_some_and(|before| is_word(bytes[before]) && bytes[before] != 'b') => end_of_raw(&bytes, at),
            ('\'', Some('\\')) => (at + 3..bytes.len()).find(|i| bytes[*i] == '\'').map_or(bytes.len(), |i| i + 1),
            ('\'', Some(_)) if bytes.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        if end > at {
            blank(at, end, &mut out);
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_block_comment(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_quoted(text: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The end of `r"…"` or `r#"…"#`; `from` itself if it is a raw identifier.
fn end_of_raw(text: &[char], from: usize) -> usize {
    let hashes = text[from + 1..].iter().take_while(|c| **c == '#').count();
    if text.get(from + 1 + hashes) != Some(&'"') {
        return from;
    }
    let closes = |i: &usize| text[*i] == '"' && text[*i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (from + 2 + hashes..text.len()).find(closes).map_or(text.len(), |i| i + 1 + hashes)
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
            found.push(Token { text: &rest[..length], line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The index after the bracket that closes the one at `open`.
fn after_group(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// The index after the item at `from`: its body, or its semicolon.
fn after_item(tokens: &[Token<'_>], from: usize) -> usize {
    let mut at = from;
    while at < tokens.len() {
        match tokens[at].text {
            "{" => return after_group(tokens, at),
            "(" | "[" => at = after_group(tokens, at),
            ";" | "," => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn starts(tokens: &[Token<'_>], at: usize, with: &[&str]) -> bool {
    with.iter().enumerate().all(|(index, text)| tokens.get(at + index).is_some_and(|token| token.text == *text))
}

const TEST_ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// Tokens without items marked `#[cfg(test)]`; with the names of test modules in files of their own, and the line where the tests begin.
fn without_tests<'a>(all: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<String>, Option<usize>) {
    let (mut kept, mut modules, mut first) = (Vec::new(), Vec::new(), None);
    let mut at = 0;
    while at < all.len() {
        if starts(all, at, &TEST_ONLY) {
            let item = at + TEST_ONLY.len();
            if starts(all, item, &["mod"]) {
                first = first.or(Some(all[at].line));
                if starts(all, item + 2, &[";"]) {
                    modules.push(all[item + 1].text.to_owned());
                }
            }
            at = after_item(all, item);
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    (kept, modules, first)
}

/// Every path named in the code, written out in full: `use` trees unfolded, `self` and `super` resolved against `module`.
fn paths(tokens: &[Token<'_>], module: &[String]) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    let mut inner: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < tokens.len() {
        let token = tokens[at];
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inner.retain(|(_, opened)| *opened < depth + 1);
            }
            "mod" if starts(tokens, at + 2, &["{"]) => inner.push((tokens[at + 1].text.to_owned(), depth + 1)),
            _ => {}
        }
        let is_start = token.text.starts_with(is_word) && !(at >= 2 && starts(tokens, at - 2, &[":", ":"]));
        if token.text == "use" || (is_start && starts(tokens, at + 1, &[":", ":"])) {
            let here: Vec<String> = module.iter().cloned().chain(inner.iter().map(|(name, _)| name.clone())).collect();
            at = unfold(tokens, if token.text == "use" { at + 1 } else { at }, &[], &here, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn unfold(tokens: &[Token<'_>], from: usize, before: &[String], here: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut path = before.to_vec();
    let mut at = from;
    let line = tokens.get(from).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && (path.len() > before.len() || !before.is_empty() || starts(tokens, from, &["{"])) {
            let end = after_group(tokens, at);
            at += 1;
            while at < end - 1 {
                at = unfold(tokens, at, &path, here, found);
                at += usize::from(starts(tokens, at, &[","]));
                at = at.max(from + 1);
            }
            return end;
        }
        if !token.text.starts_with(is_word) && token.text != "*" {
            // `foo::<T>`: the type inside is found by the caller.
            break;
        }
        path.push(token.text.to_owned());
        at += 1;
        if !starts(tokens, at, &[":", ":"]) {
            break;
        }
        at += 2;
    }
    found.push((resolve(&path, here), line));
    if starts(tokens, at, &["as"]) { at + 2 } else { at.max(from + 1) }
}

fn resolve(path: &[String], here: &[String]) -> Vec<String> {
    let mut base: Vec<String> = Vec::new();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => (base, rest) = (vec!["crate".into()], &path[1..]),
        Some("self" | "super") => {
            base = std::iter::once("crate".to_owned()).chain(here.iter().cloned()).collect();
            while let Some(word) = rest.first().filter(|word| *word == "self" || *word == "super") {
                if word == "super" {
                    base.pop();
                }
                rest = &rest[1..];
            }
        }
        _ => {}
    }
    base.extend(rest.iter().filter(|word| *word != "self").cloned());
    base
}

/// `src/sip/uri.rs` is the module sip::uri, `src/sip/mod.rs` the module sip.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_start_matches("src/").trim_end_matches(".rs");
    stem.split('/').filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned).collect()
}

fn is_within(path: &[String], of: &str) -> bool {
    let wanted: Vec<&str> = of.split("::").collect();
    path.len() >= wanted.len() && path.iter().zip(&wanted).all(|(a, b)| a == b)
}

/// All breaches of one file of `src`, given without its tests' text.
fn breaches(file: &str, text: &str, crates: &BTreeSet<String>) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut report = |line: usize, what: String| found.push(Breach { file: file.to_owned(), line, what });
    let code = code_only(text);
    let all = tokens(&code);
    let (kept, _, tests_begin) = without_tests(&all);
    let module = module_of(file);
    let folder = module.first().map_or("", String::as_str);

    if !text.starts_with("//!") {
        report(1, "does not open with //!".into());
    }
    let lines = tests_begin.map_or(text.lines().count(), |line| line - 1);
    if lines > LINES_OF_FILE {
        report(lines, format!("{lines} lines, more than {LINES_OF_FILE}"));
    }
    if let Some(name) = module.last().filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
        report(1, format!("a name that says nothing: {name}"));
    }
    for (name, line, length) in functions(&kept).into_iter().filter(|(_, _, length)| *length > LINES_OF_FUNCTION) {
        report(line, format!("fn {name} has {length} lines, more than {LINES_OF_FUNCTION}"));
    }
    let named = paths(&kept, &module);
    for (path, line) in named.iter().filter(|(path, _)| !may_import(&module, path)) {
        report(*line, format!("{folder} may not import {}", path.join("::")));
    }
    if !UNSAFE.contains(&file) {
        for token in kept.iter().filter(|token| token.text == "unsafe") {
            report(token.line, "unsafe outside the files that make system calls".into());
        }
    }
    if PURE.contains(&folder) {
        for (what, line) in impurities(&kept, &named, crates) {
            report(line, format!("{folder} is pure: {what}"));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Name, line and length of every function.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let starts_of = tokens.iter().enumerate().filter(|(at, token)| token.text == "fn" && tokens.get(at + 1).is_some_and(|name| name.text.starts_with(is_word)));
    let measure = |(at, token): (usize, &Token<'a>)| {
        let end = after_item(tokens, at);
        let last = tokens.get(end - 1).map_or(token.line, |last| last.line);
        (tokens[at + 1].text, token.line, last - token.line + 1)
    };
    starts_of.map(measure).collect()
}

fn may_import(module: &[String], path: &[String]) -> bool {
    let (Some(folder), Some(target)) = (module.first(), path.get(1)) else { return true };
    if path.first().is_none_or(|first| first != "crate") || target == "time" || folder == "time" && target == folder {
        return true;
    }
    if target == folder {
        let own = module.get(1).zip(path.get(2));
        // One adapter folder never knows another; the files beside them (clock, driver) are known to all.
        return folder != "adapters" || own.is_none_or(|(own, other)| own == other || !other.starts_with(char::is_lowercase) || !is_folder(other));
    }
    allowed(folder).iter().any(|allowed| is_within(&path[1..], allowed))
}

fn is_folder(adapter: &str) -> bool {
    root().join("src/adapters").join(adapter).is_dir()
}

fn impurities(tokens: &[Token<'_>], named: &[(Vec<String>, usize)], crates: &BTreeSet<String>) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (path, line) in named {
        let full = path.join("::");
        if let Some(first) = path.first().filter(|first| crates.contains(*first) && !PURE_CRATES.contains(&first.as_str())) {
            found.push((format!("the crate {first} belongs to the rim"), *line));
        }
        let is_impure = |bad: &&str| is_within(path, bad) || (full.ends_with("::*") && bad.starts_with(full.trim_end_matches('*')));
        if IMPURE_PATHS.iter().any(is_impure) || path.first().is_some_and(|first| first == "Instant" || first == "SystemTime") {
            found.push((full, *line));
        }
    }
    for (at, token) in tokens.iter().enumerate() {
        let is_macro = IMPURE_MACROS.contains(&token.text) && starts(tokens, at + 1, &["!"]);
        if is_macro || IMPURE_WORDS.contains(&token.text) {
            found.push((token.text.to_owned(), token.line));
        }
        let is_lifetime = at > 0 && tokens[at - 1].text == "'";
        if token.text == "static" && !is_lifetime {
            let type_of: Vec<&str> = tokens[at..after_item(tokens, at)].iter().map(|token| token.text).take_while(|text| *text != "=").collect();
            let changes = |text: &&str| *text == "mut" || text.contains("Cell") || text.contains("Atomic") || text.contains("Lock") || *text == "Mutex";
            if type_of.iter().any(changes) {
                found.push(("state that outlives its value: static".into(), token.line));
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The dependencies of Cargo.toml, as they are written in code.
fn crates() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("[dependencies]");
    let names = dependencies.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.trim().replace('-', "_").replace("rustls_webpki", "webpki")).collect()
}

/// Path and text of each file of `src` that is not a test module.
fn sources() -> Vec<(String, String)> {
    let files = rust_files(&root().join("src"));
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("UTF-8"))
    };
    let all: Vec<(String, String)> = files.iter().map(read).collect();
    let test_modules: Vec<Vec<String>> = all
        .iter()
        .flat_map(|(file, text)| {
            let code = code_only(text);
            let (_, modules, _) = without_tests(&tokens(&code));
            modules.into_iter().map(|name| module_of(file).into_iter().chain([name]).collect::<Vec<_>>()).collect::<Vec<_>>()
        })
        .collect();
    all.into_iter().filter(|(file, _)| !test_modules.iter().any(|module| module_of(file).starts_with(module))).collect()
}

#[test]
fn the_source_keeps_the_laws() {
    let (sources, crates) = (sources(), crates());
    assert!(sources.len() > 100, "only {} files were read", sources.len());
    assert!(crates.contains("tokio") && crates.contains("bytes"), "{crates:?}");
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(file, text)| breaches(file, text, &crates))
        .map(|breach| format!("{}:{}: {}", breach.file, breach.line, breach.what))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_beside_the_source_says_what_it_is() {
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "fuzz/targets"] {
        for path in rust_files(&root().join(folder)) {
            assert!(fs::read_to_string(&path).expect("UTF-8").starts_with("//!"), "{} does not open with //!", path.display());
        }
    }
}

/// What the checker says of a small file.
fn verdicts(file: &str, text: &str) -> Vec<String> {
    let crates = ["tokio", "tracing", "bytes", "getrandom"].map(str::to_owned).into();
    breaches(file, &format!("//! A file.\n{text}"), &crates).into_iter().map(|breach| breach.what).collect()
}

#[test]
fn impure_code_is_found() {
    for text in [
        "use tokio::net::UdpSocket;",
        "use std::{net::{IpAddr, UdpSocket}, sync::Arc};",
        "use std::time::*;",
        "fn now() -> u64 { let _ = std::time::Instant::now(); 0 }",
        "use std::time::Instant; fn f() { Instant::now(); }",
        "use std::sync::OnceLock;",
        "static mut COUNT: u32 = 0;",
        "static COUNT: AtomicU32 = AtomicU32::new(0);",
        "fn f() { println!(\"x\"); }",
        "fn f() { tracing::info!(\"x\"); }",
        "async fn f() {}",
        "fn f() { std::fs::read(\"x\"); }",
        "fn f() { getrandom::fill(&mut []); }",
        "fn f<'a>(x: &'a str) -> char { let q = '\"'; unsafe { g() }; '\"' }",
    ] {
        assert!(verdicts("src/sip/bad.rs", text).iter().any(|what| what.starts_with("sip is pure")), "passed: {text}");
        assert!(!verdicts("src/adapters/net/fine.rs", text).iter().any(|what| what.contains("is pure")), "{text}");
    }
}

#[test]
fn pure_code_passes() {
    for text in [
        "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; use bytes::Bytes; use crate::time::Time;",
        "// use tokio::net::UdpSocket;\n/* std::fs /* nested */ println!() */ fn f() -> &'static str { \"std::fs \\\" println!()\" }",
        "const A: &str = r#\"static mut \" tokio::spawn\"#; static TABLE: [u8; 2] = [1, 2];",
        "#[cfg(test)]\nmod tests { use std::fs; fn f() { println!(\"\"); } }",
        "#[cfg(test)]\nuse std::time::Instant;\nfn f() {}",
    ] {
        assert_eq!(verdicts("src/sip/good.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn forbidden_imports_are_found() {
    for (file, text) in [
        ("src/sip/bad.rs", "use crate::sdp::Description;"),
        ("src/sip/bad.rs", "fn f(x: &crate::policy::Peer) {}"),
        ("src/sip/headers/bad.rs", "use super::super::super::policy::Peer;"),
        ("src/sip/mod.rs", "use super::media::relay;"),
        ("src/policy/bad.rs", "use crate::{sip::Uri, media::relay::Stream};"),
        ("src/policy/bad.rs", "use crate::signaling;"),
        ("src/media/bad.rs", "use crate::sdp::Description;"),
        ("src/signaling/bad.rs", "use crate::media::srtp::Transmit;"),
        ("src/signaling/bad.rs", "use crate::adapters::net;"),
        ("src/adapters/net/bad.rs", "use crate::adapters::tls::Credentials;"),
        ("src/adapters/net/bad.rs", "use super::super::tls::Credentials;"),
        ("src/adapters/net/bad.rs", "use crate::config::Settings;"),
        ("src/config/bad.rs", "use crate::app::run;"),
        ("src/simulator/bad.rs", "use crate::app::certs;"),
        ("src/sip/bad.rs", "mod inner { use super::super::super::sdp; }"),
    ] {
        assert!(verdicts(file, text).iter().any(|what| what.contains("may not import")), "passed: {file}: {text}");
    }
}

#[test]
fn permitted_imports_pass() {
    for (file, text) in [
        ("src/sip/good.rs", "use super::uri::Uri; use crate::sip::via; use self::inner::X; mod inner { use super::super::via; pub struct X; }"),
        ("src/policy/good.rs", "use crate::media::control::{self, LatchPolicy}; use crate::sip::{Transport, Uri as Address};"),
        ("src/media/good.rs", "use crate::sdp::crypto::{Suite, MasterKey};"),
        ("src/signaling/b2bua/good.rs", "use crate::media::ports::PortPool; use super::super::timers::Deadlines;"),
        ("src/adapters/net/good.rs", "use super::pool::Pool; use crate::adapters::net::outbox; use crate::adapters::clock::Clock;"),
        ("src/app/good.rs", "use crate::{adapters::net::Network, config, simulator::um};"),
    ] {
        assert_eq!(verdicts(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn shape_is_measured() {
    let long_function = format!("fn long() {{\n{}}}\nfn short() {{}}\n", "    step();\n".repeat(79));
    assert_eq!(verdicts("src/sip/a.rs", &long_function), ["fn long has 81 lines, more than 80"]);
    let long_file = "const A: u8 = 0;\n".repeat(600);
    assert_eq!(verdicts("src/sip/a.rs", &long_file), ["601 lines, more than 600"]);
    let long_tests = format!("const A: u8 = 0;\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const B: u8 = 0;\n".repeat(700));
    assert_eq!(verdicts("src/sip/a.rs", &long_tests), Vec::<String>::new());
    assert_eq!(verdicts("src/sip/util.rs", ""), ["a name that says nothing: util"]);
    assert_eq!(breaches("src/sip/a.rs", "use std::fmt;\n", &BTreeSet::new())[0].what, "does not open with //!");
    assert_eq!(verdicts("src/app/a.rs", "fn f() { unsafe { g() } }"), ["unsafe outside the files that make system calls"]);
}
