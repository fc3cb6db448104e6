//! The stream between the two processes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::descriptors;

/// Frames that may wait for the other process; above it messages are lost, as on a network.
const WAITING: usize = 16_384;
/// The ports of a whole range stay below.
const LONGEST_HEAD: u32 = 16 << 20;
/// SIP messages are much shorter.
const LONGEST_BODY: u32 = 1 << 20;
/// An answer to a request on the control socket.
const LONGEST_ANSWER: usize = 64 << 10;
/// Read at once.
const READ: usize = 16 << 10;
/// Whoever does not take up a connection or answer a request within this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stream before anything but words and sockets goes over it, one end speaking at a time.
pub struct Opening(UnixStream);

impl Opening {
    /// # Errors
    ///
    /// It is no stream that this runtime can wait for.
    pub fn of(stream: std::os::unix::net::UnixStream) -> io::Result<Opening> {
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(Opening)
    }

    /// What the other end is by the kernel's word: its user and its process.
    pub fn other_end(&self) -> io::Result<(u32, Option<i32>)> {
        self.0.peer_cred().map(|cred| (cred.uid(), cred.pid()))
    }

    /// One word, and the sockets it speaks of.
    pub async fn say(&mut self, word: &impl Serialize, sockets: &[OwnedFd]) -> io::Result<()> {
        let (lengths, head) = frame(word, &Bytes::new())?;
        self.0.write_all(&lengths).await?;
        self.0.write_all(&head).await?;
        descriptors::send(&self.0, sockets).await
    }

    /// The next word, and as many sockets as `count` finds in it.
    pub async fn hear<W: DeserializeOwned>(&mut self, count: impl Fn(&W) -> usize) -> io::Result<(W, Vec<OwnedFd>)> {
        // Not a byte more than the frame has: those of the sockets come by another call.
        let mut lengths = [0; 8];
        self.0.read_exact(&mut lengths).await?;
        let (head, body) = measured(lengths)?;
        let mut text = vec![0; head + body];
        self.0.read_exact(&mut text).await?;
        let word: W = serde_json::from_slice(text.get(..head).unwrap_or_default())?;
        let sockets = descriptors::receive(&self.0, count(&word)).await?;
        Ok((word, sockets))
    }

    /// From here on both ends speak at the same time. Within a tokio runtime.
    pub fn open(self) -> (Link, Heard) {
        let (reader, writer) = self.0.into_split();
        let (queue, frames) = mpsc::channel(WAITING);
        tokio::spawn(write(writer, frames));
        (Link { queue }, Heard { reader, read: BytesMut::new(), sockets: VecDeque::new() })
    }
}

/// The way to the other process. Cheap to clone; when all clones are gone what was queued is sent, and then the stream is closed.
#[derive(Clone)]
pub struct Link {
    queue: mpsc::Sender<Frame>,
}

/// Lengths, head and body, and the socket that comes with it: after an octet more.
type Frame = ([u8; 8], Vec<u8>, Bytes, Option<OwnedFd>);

impl Link {
    /// Never waits. False: the other process is gone, or does not keep up.
    pub fn send(&self, word: &impl Serialize, body: Bytes) -> bool {
        self.put(word, body, None)
    }

    /// The same, of a word that speaks of a socket. False: that is closed.
    pub fn send_socket(&self, word: &impl Serialize, body: Bytes, socket: OwnedFd) -> bool {
        self.put(word, body, Some(socket))
    }

    fn put(&self, word: &impl Serialize, body: Bytes, socket: Option<OwnedFd>) -> bool {
        let Ok((lengths, head)) = frame(word, &body) else { return false };
        self.queue.try_send((lengths, head, body, socket)).is_ok()
    }

    /// Whether there is room for what could as well be dropped.
    pub fn has_room(&self) -> bool {
        self.queue.capacity() > WAITING / 2
    }
}

/// The way from the other process.
pub struct Heard {
    reader: OwnedReadHalf,
    read: BytesMut,
    /// Those that have come and were not asked for yet.
    sockets: VecDeque<OwnedFd>,
}

impl Heard {
    /// The next frame; `None`: the other process has closed, or is gone. Not to be dropped while it waits.
    pub async fn next<W: DeserializeOwned>(&mut self) -> Option<(W, Bytes)> {
        let lengths = self.exactly(8).await?;
        let (head, body) = measured(lengths.as_ref().try_into().ok()?).ok()?;
        let text = self.exactly(head).await?;
        let octets = self.exactly(body).await?;
        Some((serde_json::from_slice(&text).ok()?, octets))
    }

    /// That of the frame just heard; to be asked for where its word speaks of one, and only there.
    pub async fn socket(&mut self) -> Option<OwnedFd> {
        self.exactly(1).await?;
        self.sockets.pop_front()
    }

    async fn exactly(&mut self, count: usize) -> Option<Bytes> {
        let mut some = [0; READ];
        while self.read.len() < count {
            let (read, sockets) = descriptors::read(self.reader.as_ref(), &mut some).await.ok()?;
            self.sockets.extend(sockets);
            self.read.extend_from_slice(some.get(..read).filter(|read| !read.is_empty())?);
        }
        Some(self.read.split_to(count).freeze())
    }
}

fn frame(word: &impl Serialize, body: &Bytes) -> io::Result<([u8; 8], Vec<u8>)> {
    let head = serde_json::to_vec(word)?;
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "too long for one frame");
    let length = |length: usize, most: u32| u32::try_from(length).ok().filter(|length| *length <= most).ok_or_else(too_long);
    let (of_head, of_body) = (length(head.len(), LONGEST_HEAD)?, length(body.len(), LONGEST_BODY)?);
    let mut lengths = [0; 8];
    lengths[..4].copy_from_slice(&of_head.to_be_bytes());
    lengths[4..].copy_from_slice(&of_body.to_be_bytes());
    Ok((lengths, head))
}

fn measured(lengths: [u8; 8]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = lengths;
    let (head, body) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    if head > LONGEST_HEAD || body > LONGEST_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other process does not speak as this one"));
    }
    Ok((head as usize, body as usize))
}

async fn write(writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Frame>) {
    let mut writer = BufWriter::with_capacity(64 << 10, writer);
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some((lengths, head, body, socket)) = next.take() {
            for part in [&lengths[..], &head, &body] {
                if writer.write_all(part).await.is_err() {
                    return;
                }
            }
            if let Some(socket) = socket
                && (writer.flush().await.is_err() || descriptors::send(writer.get_ref().as_ref(), &[socket]).await.is_err())
            {
                return;
            }
            next = frames.try_recv().ok();
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Asks the border at a control socket to go on in another protocol (RFC 9110 §7.8). `Err` of the answer: its status, and the detail of its refusal.
pub async fn ask(socket: &Path, path: &str, protocol: &str, asked: &Value) -> io::Result<Result<Opening, (u16, String)>> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let body = asked.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: portcullis\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        // Octet by octet: what comes after the head is another protocol's.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_ANSWER {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if status == 101 {
            return Ok(Ok(Opening(stream)));
        }
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().parse::<usize>().ok()));
        let mut body = vec![0; length.flatten().unwrap_or(0).min(LONGEST_ANSWER)];
        stream.read_exact(&mut body).await?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Err((status, said["detail"].as_str().unwrap_or("it does not say why").to_owned())))
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (Opening, Opening) {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        (Opening::of(one).unwrap(), Opening::of(other).unwrap())
    }

    #[tokio::test]
    async fn sockets_come_whole_and_in_order_and_still_work() {
        let (mut one, mut other) = pair();
        // More than go in one message.
        let listeners: Vec<TcpListener> = (0..70).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let sockets: Vec<OwnedFd> = listeners.into_iter().map(OwnedFd::from).collect();
        let saying = tokio::spawn(async move {
            one.say(&sockets.len(), &sockets).await.unwrap();
            one.say(&"after", &[]).await.unwrap();
        });
        let (count, taken) = other.hear(|count: &usize| *count).await.unwrap();
        assert_eq!(count, 70);
        assert_eq!(other.hear(|_: &String| 0).await.unwrap().0, "after");
        saying.await.unwrap();
        let taken: Vec<TcpListener> = taken.into_iter().map(TcpListener::from).collect();
        assert_eq!(taken.iter().map(|listener| listener.local_addr().unwrap()).collect::<Vec<_>>(), addresses);
        let mut caller = TcpStream::connect(addresses[69]).unwrap();
        let (mut called, _) = taken[69].accept().unwrap();
        caller.write_all(b"x").unwrap();
        called.read_exact(&mut [0]).unwrap();
    }

    #[tokio::test]
    async fn frames_keep_their_order_and_what_was_queued_comes_before_the_end() {
        let ((one, _), (_other, mut heard)) = {
            let (one, other) = pair();
            (one.open(), other.open())
        };
        for number in 0..1_000u64 {
            assert!(one.send(&number, Bytes::from(vec![number as u8; number as usize])));
        }
        drop(one);
        for number in 0..1_000u64 {
            let (head, body): (u64, Bytes) = heard.next().await.unwrap();
            assert_eq!((head, body.len()), (number, number as usize));
        }
        assert!(heard.next::<u64>().await.is_none());
    }

    #[tokio::test]
    async fn a_socket_comes_with_its_frame_among_others() {
        let ((one, _), (_other, mut heard)) = {
            let (one, other) = pair();
            (one.open(), other.open())
        };
        let listeners: Vec<TcpListener> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        for (number, listener) in listeners.iter().enumerate() {
            let body = Bytes::from(vec![7; number * 1_000]);
            assert!(one.send(&"before", body.clone()));
            assert!(one.send_socket(&listener.local_addr().unwrap(), body, listener.try_clone().unwrap().into()));
        }
        assert!(one.send(&"after", Bytes::new()));
        for listener in &listeners {
            assert_eq!(heard.next::<String>().await.unwrap().0, "before");
            let (address, _) = heard.next::<std::net::SocketAddr>().await.unwrap();
            let taken = TcpListener::from(heard.socket().await.unwrap());
            assert_eq!((taken.local_addr().unwrap(), address), (address, listener.local_addr().unwrap()));
        }
        assert_eq!(heard.next::<String>().await.unwrap().0, "after");
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_it_and_allocates_nothing() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut raw = one;
        raw.write_all(&[0xff; 64]).unwrap();
        let (_, mut heard) = Opening::of(other).unwrap().open();
        assert!(heard.next::<u64>().await.is_none());
    }
}
