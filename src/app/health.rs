//! `portcullis health [--url URL]`: asks the admin door of a running border how it does, for health checks in images that have no other program; or its control socket,
//! where there is no such door.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::adapters::api::{self, Place};

const PATIENCE: Duration = Duration::from_secs(2);
/// An answer is one status line and a few words.
const LONGEST: u64 = 64 * 1024;

/// The command line of `health`.
#[derive(clap::Args, Clone, Debug)]
pub struct Health {
    /// Address and path to ask: `/healthz` says that the border lives, `/readyz` that it takes calls.
    #[arg(long, default_value = "http://127.0.0.1:9160/healthz")]
    pub url: String,
    /// Ask the control socket instead: whether an operator is answered there.
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub socket: Option<PathBuf>,
    /// Print one JSON object instead of a line.
    #[arg(long)]
    pub json: bool,
}

/// Prints the answer. Exit status: 0 well, 1 not, or no answer. (Container engines keep 2 for themselves: only a broken command line ends with it.)
pub fn health(health: &Health, out: &mut dyn Write) -> io::Result<u8> {
    let (asked, answer) = match &health.socket {
        Some(socket) => (socket.display().to_string(), over_socket(socket)),
        None => {
            let (address, path) = place(&health.url)?;
            (address.to_string(), ask(address, path))
        }
    };
    let well = matches!(answer, Ok((200, _)));
    let said = match answer {
        Ok((status, text)) => format!("{status} {}", text.trim()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            format!("{asked} does not answer within {} s", PATIENCE.as_secs())
        }
        Err(error) => format!("{asked} does not answer: {error}"),
    };
    if health.json {
        writeln!(out, "{:#}", json!({ "well": well, "said": said }))?
    } else {
        writeln!(out, "{said}")?
    }
    Ok(u8::from(!well))
}

fn over_socket(socket: &Path) -> io::Result<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Place::Socket(socket.to_owned());
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, api::ask(&place, "GET", "/v1/status", None)).await })??;
    Ok((answer.status, String::from(if answer.status == 200 { "ok" } else { "refused" })))
}

/// Only addresses: the question is about this machine, and a name would ask DNS as well.
fn place(url: &str) -> io::Result<(SocketAddr, &str)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("\"{url}\" is not of the form http://127.0.0.1:9160/healthz"));
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (address, path) = rest.find('/').map_or((rest, "/healthz"), |slash| rest.split_at(slash));
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(wrong());
    }
    Ok((address.parse().map_err(|_| wrong())?, path))
}

fn ask(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split_ascii_whitespace().nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A door that gives one answer.
    fn door(answer: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let _ = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    fn asked(answer: &'static str) -> (io::Result<u8>, String) {
        let mut out = Vec::new();
        let status = health(&Health { url: format!("http://{}/readyz", door(answer)), socket: None, json: false }, &mut out);
        (status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_exit_status_follows_the_answer() {
        let (status, text) = asked("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n");
        assert_eq!((status.unwrap(), text.as_str()), (0, "200 ready\n"));
        let (status, text) = asked("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: draining\n");
        assert_eq!((status.unwrap(), text.as_str()), (1, "503 not ready: draining\n"));
        let (status, text) = asked("SIP/2.0 200 OK\r\n\r\n");
        assert!(status.unwrap() == 1 && text.ends_with("does not answer: not HTTP\n"), "{text}");
        assert!(health(&Health { url: "http://border/".into(), socket: None, json: false }, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_place_is_an_address_and_a_path() {
        assert_eq!(place("http://[::1]:9160/readyz").unwrap(), ("[::1]:9160".parse().unwrap(), "/readyz"));
        assert_eq!(place("http://127.0.0.1:9160").unwrap().1, "/healthz");
        for wrong in
            ["https://127.0.0.1:9160/", "127.0.0.1:9160", "http://border:9160/", "http://127.0.0.1/", "http://127.0.0.1:1/a b", "http://127.0.0.1:1/\r\nx"]
        {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
