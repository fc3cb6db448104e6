//! What starts and watches the process: systemd's notification protocol (sd_notify(3), sd_watchdog_enabled(3)). Each message is one datagram to the
//! socket named by `NOTIFY_SOCKET`; started by anything else, nothing is told to anybody.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Signs of life sent within one time of the watchdog: one that comes late on a busy machine is not yet the last.
const SIGNS: u32 = 3;

/// What the supervisor is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News<'a> {
    /// Everything is open; also: a reload is over, whatever came of it.
    Ready,
    Reloading,
    /// The process is ending, and may need so long for it.
    Stopping {
        within: Duration,
    },
    /// From now on the process to be watched is another.
    Successor {
        pid: i32,
    },
    /// It lives.
    Alive,
    /// For people, in `systemctl status`: one line.
    Status(&'a str),
}

/// The way to the supervisor, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Without a sign of life in this time the process is killed. `None`: nobody waits for one.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    ///
    /// # Errors
    ///
    /// The socket is named in a way that is not known, or cannot be made.
    pub fn of_environment() -> io::Result<Supervisor> {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return Ok(Supervisor::default()) };
        let text = |name: &str| std::env::var(name).ok();
        Supervisor::at(&socket, watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id()))
    }

    /// At a path, or a name of the abstract kind, which begins with `@`.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::of_environment`].
    pub fn at(socket: &OsStr, watchdog: Option<Duration>) -> io::Result<Supervisor> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(OsString::from(socket))?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins with neither / nor @")),
        };
        let from = UnixDatagram::unbound()?;
        // A supervisor that does not read must not hold up calls.
        from.set_nonblocking(true)?;
        Ok(Supervisor { to: Some((from, address)), watchdog })
    }

    /// One message of all this. What does not arrive is told in the log: the process runs as well without.
    pub fn tell(&self, news: &[News<'_>]) {
        let Some((from, address)) = &self.to else { return };
        let message: String = news.iter().map(line).collect();
        if let Err(error) = from.send_to_addr(message.as_bytes(), address) {
            tracing::warn!("the supervisor at NOTIFY_SOCKET was not told {:?}: {error}", message.trim_end());
        }
    }

    /// When signs of life are due, the first at once.
    pub fn watch(&self) -> Watch {
        let every = self.watchdog.map(|watchdog| (watchdog / SIGNS).max(Duration::from_millis(1)));
        Watch(every.map(|every| {
            let mut due = interval(every);
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            due
        }))
    }
}

/// The clock of the signs of life.
pub struct Watch(Option<Interval>);

impl Watch {
    /// Returns when the next is due; never, where nobody waits for one. Nothing is lost if it is dropped while it waits.
    pub async fn due(&mut self) {
        match &mut self.0 {
            Some(due) => drop(due.tick().await),
            None => std::future::pending().await,
        }
    }
}

/// The watchdog's time, where it is meant for this process.
fn watchdog(microseconds: Option<String>, process: Option<String>, own: u32) -> Option<Duration> {
    if process.is_some_and(|process| process.parse() != Ok(own)) {
        return None;
    }
    microseconds?.parse().ok().filter(|time| *time > 0).map(Duration::from_micros)
}

fn line(news: &News<'_>) -> String {
    match news {
        News::Ready => "READY=1\n".to_owned(),
        News::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic().as_micros()),
        News::Stopping { within } => format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", within.as_micros()),
        News::Successor { pid } => format!("MAINPID={pid}\n"),
        News::Alive => "WATCHDOG=1\n".to_owned(),
        // A second line would be a message of its own.
        News::Status(text) => format!("STATUS={}\n", text.replace(['\n', '\r'], " ")),
    }
}

/// The clock by which a supervisor tells this reload from one before.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(at: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        at.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let length = at.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn messages_go_to_a_path_and_to_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        Supervisor::at(path.as_os_str(), None).unwrap().tell(&[News::Ready, News::Status("two\nlines")]);
        assert_eq!(heard(&at_path), "READY=1\nSTATUS=two lines\n", "a status cannot say READY=1 or anything else");

        let name = format!("portcullis-test-{}", std::process::id());
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Supervisor::at(OsStr::new(&format!("@{name}")), None).unwrap().tell(&[News::Stopping { within: Duration::from_secs(90) }]);
        assert_eq!(heard(&abstract_one), "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\n");
    }

    #[test]
    fn a_reload_carries_the_time_by_the_monotonic_clock() {
        let before = monotonic().as_micros();
        let text = line(&News::Reloading);
        let told: u128 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse().unwrap();
        assert!(told >= before && before > 0, "{text}");
    }

    #[test]
    fn a_socket_of_another_kind_is_refused_and_a_full_one_does_not_block() {
        assert!(Supervisor::at(OsStr::new("vsock:2:1234"), None).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), None).unwrap();
        for _ in 0..10_000 {
            supervisor.tell(&[News::Alive]);
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let usec = || Some("3000000".to_owned());
        assert_eq!(watchdog(usec(), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(usec(), Some("7".into()), 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(usec(), Some("8".into()), 7), None);
        assert_eq!(watchdog(None, None, 7), None);
        assert_eq!(watchdog(Some("0".into()), None, 7), None);
        assert_eq!(watchdog(Some("soon".into()), None, 7), None);
    }

    #[tokio::test(start_paused = true)]
    async fn three_signs_of_life_are_due_within_the_watchdogs_time_and_none_without_one() {
        let mut watch = Supervisor { to: None, watchdog: Some(Duration::from_secs(30)) }.watch();
        let start = tokio::time::Instant::now();
        for _ in 0..=SIGNS {
            watch.due().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        let mut none = Supervisor::default().watch();
        assert!(tokio::time::timeout(Duration::from_secs(3600), none.due()).await.is_err());
    }
}
