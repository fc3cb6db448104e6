//! The Unix socket itself: made so that nobody else can reach it, and every asker's user known by the kernel (`SO_PEERCRED`, unix(7)).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{UnixListener, UnixStream};

/// After a failed accept, mostly for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operator {
    pub uid: u32,
    pub pid: Option<i32>,
}

pub(super) struct Door {
    listener: UnixListener,
    /// The user we run as.
    ours: u32,
}

impl Door {
    pub fn open(path: &Path) -> io::Result<Door> {
        let refused = |error: io::Error| io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()));
        clear(path).map_err(refused)?;
        let listener = UnixListener::bind(path).map_err(refused)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(refused)?;
        // The owner of what we have just made.
        let ours = std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).map_err(refused)?);
        Ok(Door { listener, ours })
    }

    /// Before the file's mode was set anybody could have connected: the user decides, not the mode.
    fn admit(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|cred| cred.uid() == 0 || cred.uid() == self.ours)
    }
}

/// Removes a socket nobody listens on any more, and nothing else.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket; move it away, or name another path"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another border listens there; give this one a socket of its own ([control] socket)")),
        Err(_) => fs::remove_file(path),
    }
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = Operator;

    async fn accept(&mut self) -> (UnixStream, Operator) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if self.admit(&stream) => {
                    let cred = stream.peer_cred().ok();
                    let operator = Operator { uid: cred.map_or(u32::MAX, |cred| cred.uid()), pid: cred.and_then(|cred| cred.pid()) };
                    return (stream, operator);
                }
                Ok((stream, _)) => {
                    tracing::warn!(
                        uid = stream.peer_cred().ok().map(|cred| cred.uid()),
                        "control socket: this user may not use it; run the command as root or as the border's user"
                    );
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Operator> {
        Ok(Operator { uid: self.ours, pid: None })
    }
}

impl Connected<IncomingStream<'_, Door>> for Operator {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Operator {
        *stream.remote_addr()
    }
}
