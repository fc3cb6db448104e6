//! The Unix socket itself: made so that nobody else can reach it, and every asker's user known by the kernel (`SO_PEERCRED`, unix(7)).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use super::access::{Client, Operator, Role, Via};
use super::serve;

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

impl serve::Door for Door {
    type Raw = UnixStream;
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        if self.admit(&stream) {
            return Ok(Some(stream));
        }
        tracing::warn!(
            uid = stream.peer_cred().ok().map(|cred| cred.uid()),
            "control socket: this user may not use it; run the command as root or as the border's user"
        );
        Ok(None)
    }

    fn open(&self, stream: UnixStream) -> impl Future<Output = Option<(UnixStream, Client)>> + Send + 'static {
        let known = stream.peer_cred().ok().map(|cred| {
            let via = Via::Socket { uid: cred.uid(), pid: cred.pid() };
            (stream, Client::Known(Operator { name: user(cred.uid()).into(), role: Role::Operate, via }))
        });
        std::future::ready(known)
    }
}

/// The user's name, as this machine's list of users has it.
fn user(uid: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| String::from(name))
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}
