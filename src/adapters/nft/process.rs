//! Runs `nft`, by which the structure of our table is loaded: one process, one transaction, killed if it does not end in time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::failure::Failure;
use super::privilege;

/// Fifty thousand elements take a third of a second.
const LIMIT: Duration = Duration::from_secs(10);

/// Of what `nft` complained, what is kept.
const COMPLAINT: usize = 600;

/// Where system programs are that may not be in an ordinary user's PATH.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// The program, where system programs are. Not in PATH: that is whoever started us to say, who must not choose what runs with our capability.
/// `None`: there is none.
pub fn find() -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join("nft")).find(|program| program.is_file())
}

/// Only root may have made what runs with our capability. A border without one runs what it is told: there is nothing to lend.
fn lendable(program: &Path) -> Result<(), Failure> {
    let Ok(found) = std::fs::metadata(program) else { return Ok(()) }; // said better when it is run
    let by_root = found.uid() == 0 && found.mode() & 0o022 == 0;
    if by_root || !privilege::held() { Ok(()) } else { Err(Failure::Foreign { program: program.into() }) }
}

/// Loads a ruleset, all or nothing.
pub async fn load(program: &Path, ruleset: &Value) -> Result<(), Failure> {
    run_within(program, &["-j", "-f", "-"], ruleset, LIMIT).await
}

/// Whether it would be loaded.
pub async fn check(program: &Path, ruleset: &Value) -> Result<(), Failure> {
    run_within(program, &["-c", "-j", "-f", "-"], ruleset, LIMIT).await
}

async fn run_within(program: &Path, arguments: &[&str], ruleset: &Value, limit: Duration) -> Result<(), Failure> {
    lendable(program)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().map_err(|error| Failure::Program { program: program.into(), error })?;
        let input = child.stdin.take();
        let text = ruleset.to_string();
        let feed = async move {
            if let Some(mut input) = input {
                // It may have ended before reading all: its status says why.
                let _ = input.write_all(text.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        output.map_err(|error| Failure::Program { program: program.into(), error })
    };
    let output = timeout(limit, run).await.map_err(|_| Failure::Late { limit })??;
    if output.status.success() {
        return Ok(());
    }
    let complaint: String = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(COMPLAINT).collect();
    if complaint.contains("Operation not permitted") {
        return Err(Failure::Privilege);
    }
    Err(Failure::Refused { status: output.status, complaint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A program in nft's place that does this. Not written by ourselves: a test beside this one that forks meanwhile would have the file open for
    /// writing, and then it cannot be run.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("nft");
        let write = "printf '%s\\n' '#!/bin/sh' \"$2\" >\"$1\" && chmod 755 \"$1\"";
        assert!(std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(script).status().unwrap().success());
        path
    }

    #[tokio::test]
    async fn what_the_program_says_comes_back_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let failure = load(&program(folder.path(), "cat >/dev/null; echo 'no such set: File exists' >&2; exit 1"), &json!({})).await.unwrap_err();
        assert!(failure.to_string().contains("File exists"), "{failure}");
        let failure = load(&program(folder.path(), "echo 'Error: Operation not permitted' >&2; exit 1"), &json!({})).await.unwrap_err();
        assert!(matches!(failure, Failure::Privilege) && failure.remedy().contains("CAP_NET_ADMIN"), "{failure}");
        let failure = load(&program(folder.path(), "kill -9 $$"), &json!({})).await.unwrap_err();
        assert!(failure.to_string().contains("signal: 9"), "{failure}");
        let failure = load(&folder.path().join("none"), &json!({})).await.unwrap_err();
        assert!(failure.remedy().contains("install nftables"), "{failure}");
    }

    /// More than a pipe holds, to a program that reads nothing.
    #[tokio::test]
    async fn a_program_that_reads_nothing_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let long = json!("x".repeat(1_000_000));
        load(&program(folder.path(), "exit 0"), &long).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let failure = run_within(&program(folder.path(), "exec sleep 600"), &[], &json!({}), Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(failure, Failure::Late { .. }), "{failure}");
    }
}
