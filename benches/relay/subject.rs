//! The relays under test, each a process of its own on core 1: ours by a line protocol on its standard input, rtpengine by its ng protocol.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::bencode::{Value, dictionary, lookup};
use crate::measure::RELAY_CORE;
use crate::srtp::Transform;
use crate::wire;
use crate::world::{Side, World};

/// How one direction of one leg is protected: RFC 4568's suite, and master key and salt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub transform: Transform,
    bytes: [u8; 44],
}

impl Key {
    pub fn random(transform: Transform) -> Key {
        let mut bytes = [0; 44];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        Key { transform, bytes }
    }

    /// Key, then salt.
    pub fn master(&self) -> &[u8] {
        &self.bytes[..self.transform.key_length() + self.transform.salt_length()]
    }

    fn read(transform: Transform, text: &str) -> Option<Key> {
        let master = BASE64_STANDARD.decode(text).ok()?;
        let mut key = Key { transform, bytes: [0; 44] };
        (master.len() == key.master().len()).then(|| key.bytes[..master.len()].copy_from_slice(&master))?;
        Some(key)
    }

    fn inline(&self) -> String {
        BASE64_STANDARD.encode(self.master())
    }
}

/// One call to be set up. A key is present where that peer speaks SRTP.
pub struct Call {
    pub number: u64,
    /// Where the two peers listen for RTP.
    pub a: SocketAddrV4,
    pub b: SocketAddrV4,
    pub a_sends: Option<Key>,
    pub b_sends: Option<Key>,
    /// Each peer's key is given to the other, and nothing is encrypted between them.
    pub shared: bool,
}

/// Where the relay listens for each peer, and with which keys it sends to them.
pub struct Ports {
    pub a: SocketAddrV4,
    pub b: SocketAddrV4,
    pub to_a: Option<Key>,
    pub to_b: Option<Key>,
}

/// Ours as it is unasked, or by a way its packets are to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Portcullis,
    Epoll,
    IoUring,
    Frames,
    Xdp,
    Rtpengine,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::Portcullis, Kind::Epoll, Kind::IoUring, Kind::Frames, Kind::Xdp, Kind::Rtpengine];
    /// Each way once, beside the reference.
    pub const WAYS: [Kind; 5] = [Kind::Epoll, Kind::IoUring, Kind::Frames, Kind::Xdp, Kind::Rtpengine];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Portcullis => "portcullis",
            Kind::Epoll => "epoll",
            Kind::IoUring => "io_uring",
            Kind::Frames => "frames",
            Kind::Xdp => "xdp",
            Kind::Rtpengine => "rtpengine",
        }
    }

    /// What ours is told of the way (see `serve`).
    fn settings(self) -> &'static [&'static str] {
        match self {
            Kind::Portcullis | Kind::Rtpengine => &[],
            Kind::Epoll => &["io=epoll"],
            Kind::IoUring => &["io=io_uring"],
            Kind::Frames => &["frames=auto"],
            Kind::Xdp => &["kernel=xdp"],
        }
    }
}

pub struct Subject {
    child: Child,
    control: Control,
    /// The relay's address on each side.
    at: [Ipv4Addr; 2],
    last_port: u16,
}

enum Control {
    Lines(ChildStdin, BufReader<ChildStdout>, u64),
    Ng(UdpSocket),
}

const NG: u16 = 9_900;
/// Below the range Linux takes ephemeral ports from.
const FIRST_PORT: u16 = 10_000;

impl Subject {
    /// `part`: which of the relays that are up at once.
    pub fn start(world: &World, kind: Kind, part: u8, realtime: bool, options: &[String]) -> io::Result<Subject> {
        let at = Side::BOTH.map(|side| world.relay(part, side));
        let ng = NG + u16::from(part);
        let mut command = if kind == Kind::Rtpengine {
            let mut command = world.command("rtpengine");
            command.args(["--table=-1", "--foreground", "--log-stderr", "--log-level=2", "--num-threads=4"]);
            command.args(Side::BOTH.map(|side| format!("--interface={}/{}", side.name(), world.relay(part, side))));
            command.args([
                format!("--listen-ng=127.0.0.1:{ng}"),
                format!("--listen-cli=127.0.0.1:{}", ng + 50),
                format!("--listen-http=127.0.0.1:{}", ng + 75),
                format!("--port-min={FIRST_PORT}"),
                format!("--port-max={}", world.last_port()),
            ]);
            command.args(["--tos=184", "--timeout=600", "--silent-timeout=600"]).stdout(Stdio::null()).stderr(Stdio::null());
            command
        } else {
            let mut command = world.command(&std::env::current_exe()?.to_string_lossy());
            command.arg("serve").args(at.map(|address| format!("address={address}"))).args(kind.settings()).args(options);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command
        };
        // SAFETY: between fork and exec only two plain system calls are made, which is async-signal-safe.
        unsafe { command.pre_exec(move || wire::pin(RELAY_CORE).and_then(|()| if realtime { wire::realtime() } else { Ok(()) })) };
        let mut child = command.spawn()?;
        let control = if kind == Kind::Rtpengine {
            let socket = world.beside()?;
            socket.connect((Ipv4Addr::LOCALHOST, ng))?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            Control::Ng(socket)
        } else {
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(io::Error::other("no pipes")) };
            Control::Lines(input, BufReader::new(output), 0)
        };
        let mut subject = Subject { child, control, at, last_port: world.last_port() };
        if let Control::Ng(_) = subject.control {
            subject.await_pong()?;
        }
        Ok(subject)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_pong(&mut self) -> io::Result<()> {
        for _ in 0..40 {
            if let Ok(answer) = self.ng("ping", &[]) {
                return if lookup(&answer, "result").as_deref() == Some("pong") { Ok(()) } else { Err(io::Error::other("rtpengine does not answer")) };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other("rtpengine does not answer"))
    }

    pub fn set_up(&mut self, call: &Call) -> io::Result<Ports> {
        match &mut self.control {
            Control::Lines(input, _, open) => {
                *open += 1;
                let port = u64::from(FIRST_PORT) + call.number * 2;
                let port = u16::try_from(port).ok().filter(|port| *port < self.last_port).ok_or_else(|| io::Error::other("more calls than there are ports"))?;
                let (a, b) = (SocketAddrV4::new(self.at[0], port), SocketAddrV4::new(self.at[1], port));
                let fresh = |key: Option<Key>| key.map(|key| Key::random(key.transform));
                let (to_a, to_b) = if call.shared { (call.b_sends, call.a_sends) } else { (fresh(call.a_sends), fresh(call.b_sends)) };
                let number = call.number;
                let sent = |key| if call.shared { format!("shared:{}", key_text(key)) } else { key_text(key) };
                writeln!(input, "open {number} {a} {b}")?;
                writeln!(input, "configure {number} a {} {} {}", call.a, key_text(call.a_sends), sent(to_a))?;
                writeln!(input, "configure {number} b {} {} {}", call.b, key_text(call.b_sends), sent(to_b))?;
                Ok(Ports { a, b, to_a, to_b })
            }
            Control::Ng(_) => self.set_up_by_ng(call),
        }
    }

    /// Once all calls are asked for: waits until they are there.
    pub fn settle(&mut self) -> io::Result<()> {
        if let Control::Lines(input, output, open) = &mut self.control {
            writeln!(input, "expect {open}")?;
            let mut line = String::new();
            output.read_line(&mut line)?;
            if line.trim() != "ready" {
                return Err(io::Error::other(format!("the relay says: {line}")));
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// What ours says of the ways its packets go.
    pub fn ways(&mut self) -> io::Result<String> {
        let Control::Lines(input, output, _) = &mut self.control else { return Ok("sockets of its own, four threads".to_owned()) };
        writeln!(input, "ways")?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn set_up_by_ng(&mut self, call: &Call) -> io::Result<Ports> {
        let (id, from, to) = (format!("bench-{}", call.number), format!("a{}", call.number), format!("b{}", call.number));
        let profile = |key: Option<Key>| if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let offer = sdp(call.a, call.a_sends);
        let flags = ["trust-address"];
        let common = |sdp, direction| {
            vec![
                ("call-id", Value::Text(&id)),
                ("from-tag", Value::Text(&from)),
                ("sdp", Value::Text(sdp)),
                ("ICE", Value::Text("remove")),
                ("DTLS", Value::Text("off")),
                ("flags", Value::List(&flags)),
                ("direction", Value::List(direction)),
            ]
        };
        let mut entries = common(&offer, &["a", "b"]);
        entries.push(("transport-protocol", Value::Text(profile(call.b_sends))));
        let offered = self.ng("offer", &entries)?;
        let (b, to_b, tag) = read_sdp(&lookup(&offered, "sdp").ok_or_else(|| refused(&offered))?, self.at[1], call.b_sends)?;
        let answer = sdp_tagged(call.b, call.b_sends, tag);
        let mut entries = common(&answer, &["b", "a"]);
        entries.push(("to-tag", Value::Text(&to)));
        entries.push(("transport-protocol", Value::Text(profile(call.a_sends))));
        let answered = self.ng("answer", &entries)?;
        let (a, to_a, _) = read_sdp(&lookup(&answered, "sdp").ok_or_else(|| refused(&answered))?, self.at[0], call.a_sends)?;
        for (receives, made, others, side) in [(call.b_sends, to_b, call.a_sends, "B"), (call.a_sends, to_a, call.b_sends, "A")] {
            let Some(made) = made else {
                if receives.is_some() {
                    return Err(io::Error::other(format!("rtpengine gave no key towards {side}")));
                }
                continue;
            };
            if others.is_some_and(|other| other.master() == made.master()) != call.shared {
                let fault = if call.shared { "made a key of its own" } else { "did not make a key of its own" };
                return Err(io::Error::other(format!("rtpengine {fault} towards {side}")));
            }
        }
        Ok(Ports { a, b, to_a, to_b })
    }

    fn ng(&mut self, command: &str, entries: &[(&str, Value<'_>)]) -> io::Result<Vec<u8>> {
        let Control::Ng(socket) = &self.control else { return Err(io::Error::other("not rtpengine")) };
        let mut cookie = [0u8; 6];
        getrandom::fill(&mut cookie).map_err(|error| io::Error::other(error.to_string()))?;
        let cookie = cookie.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let body = dictionary(entries);
        let mut message = format!("{cookie} d7:command{}:{command}", command.len()).into_bytes();
        message.extend(&body[1..]);
        socket.send(&message)?;
        let mut buffer = [0u8; 16_384];
        loop {
            let len = socket.recv(&mut buffer)?;
            if let Some(answer) = buffer[..len].strip_prefix(cookie.as_bytes()).and_then(|rest| rest.strip_prefix(b" ")) {
                return Ok(answer.to_vec());
            }
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The kernel closes what an io_uring held a little after the process is gone, and the next relay wants the same ports.
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn refused(answer: &[u8]) -> io::Error {
    io::Error::other(format!("rtpengine refuses: {}", String::from_utf8_lossy(answer)))
}

/// As the line protocol writes it: the suite's name, a colon, the key.
fn key_text(key: Option<Key>) -> String {
    key.map_or_else(|| "plain".to_owned(), |key| format!("{}:{}", key.transform.name(), key.inline()))
}

fn sdp(address: SocketAddrV4, key: Option<Key>) -> String {
    sdp_tagged(address, key, 1)
}

fn sdp_tagged(address: SocketAddrV4, key: Option<Key>, tag: u32) -> String {
    let (ip, port) = (address.ip(), address.port());
    let profile = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let crypto = key.map(|key| format!("a=crypto:{tag} {} inline:{}\r\n", key.transform.name(), key.inline())).unwrap_or_default();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\n{crypto}a=sendrecv\r\n")
}

/// The port, the key of the line with `like`'s suite, and that line's tag.
fn read_sdp(sdp: &str, at: Ipv4Addr, like: Option<Key>) -> io::Result<(SocketAddrV4, Option<Key>, u32)> {
    let port = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok()).ok_or_else(|| io::Error::other("no m=audio"))?;
    let transform = like.map(|key| key.transform);
    let crypto = sdp.lines().find_map(|line| {
        let mut fields = line.strip_prefix("a=crypto:")?.split(' ');
        let tag = fields.next()?.parse().ok()?;
        let transform = transform.filter(|transform| fields.next() == Some(transform.name()))?;
        let mut inline = fields.next()?.strip_prefix("inline:")?.split('|').next()?.to_owned();
        while inline.len() % 4 != 0 {
            inline.push('=');
        }
        Some((tag, Key::read(transform, &inline)?))
    });
    Ok((SocketAddrV4::new(at, port), crypto.map(|(_, key)| key), crypto.map_or(1, |(tag, _)| tag)))
}
