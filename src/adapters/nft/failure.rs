//! Why the kernel does not hold our table as it should, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub enum Failure {
    /// This process may not change the firewall of its network namespace.
    Privilege,
    /// There is no `nft`.
    Absent,
    Program {
        program: PathBuf,
        error: io::Error,
    },
    /// Somebody else than root could have made or changed it.
    Foreign {
        program: PathBuf,
    },
    /// `nft` did not end in time and was killed.
    Late {
        limit: Duration,
    },
    Refused {
        status: ExitStatus,
        complaint: String,
    },
    /// Others keep removing or replacing it.
    Contested {
        table: Arc<str>,
        times: usize,
    },
    /// The kernel's own answer.
    Kernel {
        doing: &'static str,
        error: io::Error,
    },
}

impl Failure {
    pub fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> Failure {
        move |error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Failure::Privilege,
            _ => Failure::Kernel { doing, error },
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Failure::Privilege => "grant CAP_NET_ADMIN: AmbientCapabilities=CAP_NET_ADMIN for a systemd service, --cap-add NET_ADMIN for a container, \
                 setcap cap_net_admin=+p on the program otherwise; or write mode = \"off\" in [firewall]"
                .to_owned(),
            Failure::Absent => "install nftables, or name the program: nft = \"/path/to/nft\" in [firewall]".to_owned(),
            Failure::Program { .. } => "install nftables, or correct nft = \"…\" in [firewall]".to_owned(),
            Failure::Foreign { .. } => "name a program that belongs to root and that nobody else may write, as nft = \"…\" in [firewall]".to_owned(),
            Failure::Late { .. } => "see what keeps the kernel's firewall busy: nft list ruleset, ps".to_owned(),
            Failure::Refused { .. } => {
                "see that the kernel has nf_tables, and nft is 1.0.6 or later: portcullis firewall POLICYSET | nft -c -j -f -".to_owned()
            }
            Failure::Contested { .. } => {
                "stop what flushes the ruleset again and again (nft monitor shows it); a second border on this machine needs a name of its own, table = \"…\" in [firewall]".to_owned()
            }
            Failure::Kernel { error, .. } => match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
                    "load the kernel module nf_tables, or write mode = \"off\" in [firewall]".to_owned()
                }
                _ => "see the kernel's log, and whether another program changes the table".to_owned(),
            },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Privilege => f.write_str("this process may not change the kernel's firewall (no CAP_NET_ADMIN)"),
            Failure::Absent => f.write_str("the program nft is not installed"),
            Failure::Program { program, error } => write!(f, "{}: {error}", program.display()),
            Failure::Foreign { program } => write!(f, "{} is not root's alone, so it is not given our right to change the firewall", program.display()),
            Failure::Late { limit } => write!(f, "nft did not end within {} s and was killed", limit.as_secs()),
            Failure::Refused { status, complaint } if complaint.is_empty() => write!(f, "nft ended with {status}"),
            Failure::Refused { status, complaint } => write!(f, "nft ended with {status}: {complaint}"),
            Failure::Contested { table, times } => write!(f, "the table inet {table} was removed or changed by others {times} times in a minute"),
            Failure::Kernel { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}
