//! A connection after its handshake. What the TLS library says later, above all that the other end refuses our certificate (in TLS 1.3 that comes
//! after our handshake is over, RFC 8446 §4.4.2.4), travels inside the I/O error as a `TlsRefusal`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::refusal;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub struct Encrypted(Box<dyn Stream>);

impl Encrypted {
    pub(super) fn new(stream: impl Stream + 'static) -> Encrypted {
        Encrypted(Box::new(stream))
    }
}

fn told<T>(polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    polled.map_err(|error| match refusal::of_library(&error) {
        Some(refusal) => io::Error::new(error.kind(), refusal),
        None => error,
    })
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        told(Pin::new(&mut self.0).poll_read(context, buffer))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        told(Pin::new(&mut self.0).poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        told(Pin::new(&mut self.0).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        told(Pin::new(&mut self.0).poll_shutdown(context))
    }
}
