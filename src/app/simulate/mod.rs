//! `portcullis simulate`: a UM, a Mediation Server or a trunk to talk to before the real ones exist. Loopback only unless told otherwise, and never
//! without an end.

mod trunk;
mod um;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::config;
use crate::simulator::connection::Identity;
use crate::simulator::log::Log;

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Simulate {
    /// Plays a UM server, or a Lync Mediation Server (profile lync): strict where the real one is, and says why it refuses.
    ///
    /// Exit status: 0 it ran its time, 1 it could not run (a port is taken, say), or something it was asked to do failed, 2 the command line or its
    /// files cannot be used.
    Um(Box<um::Um>),
    /// Plays a trunk: places calls, answers calls, says what was heard.
    ///
    /// Exit status: 0 every call placed was answered and its media came through, 1 one was not, 2 the command line or its files cannot be used.
    Trunk(Box<trunk::Trunk>),
}

/// A party's certificate, for those who speak TLS.
#[derive(clap::Args, Clone, Debug)]
pub struct Certificate {
    /// Own certificate chain, PEM. With it everything is mutual TLS, without it TCP.
    #[arg(long, requires_all = ["key", "ca"])]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, requires = "certificate")]
    pub key: Option<PathBuf>,
    /// The CA that the other side's certificate must come from, PEM.
    #[arg(long, requires = "certificate")]
    pub ca: Option<PathBuf>,
}

impl Certificate {
    fn load(&self) -> io::Result<Option<Identity>> {
        match (&self.certificate, &self.key, &self.ca) {
            (Some(certificate), Some(key), Some(ca)) => Identity::load(certificate, key, ca).map(Some),
            _ => Ok(None),
        }
    }
}

/// How a simulation went; an error is one of the command line or its files.
type Outcome = io::Result<bool>;

pub fn run(simulate: &Simulate) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system gives no event loop: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match simulate {
            Simulate::Um(um) => um::simulate(um).await,
            Simulate::Trunk(trunk) => trunk::simulate(trunk).await,
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// A log that goes to the standard output, each line with the seconds since now.
fn log() -> Log {
    let began = Instant::now();
    Log::told(move |line| println!("{:9.3} {line}", began.elapsed().as_secs_f64()))
}

/// `500ms`, `20s`, `5m`: as in a policy set.
fn span(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| format!("\"{text}\" is no span of time: write 500ms, 20s, 5m or 1h"))
}

/// Addresses other than loopback need the operator's word.
fn stay_local(addresses: &[IpAddr], remote: bool) -> io::Result<()> {
    match addresses.iter().find(|address| !address.is_loopback() && !remote) {
        Some(address) => Err(io::Error::other(format!("{address} is not this machine's loopback: add --remote if that is meant"))),
        None => Ok(()),
    }
}

/// `5060`'s place beside an address.
fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
