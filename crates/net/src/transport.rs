//! Byte streams: one erased type, one that replays bytes already read, one that counts.
//!
//! Nothing here interprets a byte. Invariant: a wrapper forwards vectored writes and half-closes unchanged, so putting
//! one around a stream costs no extra copy and loses no end-of-stream.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sets what every connection of ours wants of the kernel, before it is made where that can be. `peer` is the other side.
///
/// # Errors
///
/// When the kernel refuses.
pub fn tune(socket: &impl AsFd, peer: SocketAddr) -> io::Result<()> {
    // Small writes (a page, a handshake flight) must not wait for acknowledgements.
    rustix::net::sockopt::set_tcp_nodelay(socket, true)?;
    #[cfg(target_os = "linux")]
    if is_local(peer) {
        // Nothing can be congested between two processes of one machine. Where BBR is the default, its pacing sets a timer for
        // every piece that is sent, which costs more than the piece. Where a machine allows no other, it stays.
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, "reno");
    }
    Ok(())
}

/// Tells whether an address is this machine's own loopback.
pub const fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Anything that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> Stream for T {}

/// A stream whose concrete type no longer matters.
pub type BoxStream = Box<dyn Stream>;

/// A stream that first yields bytes that were already read from it.
#[derive(Debug)]
pub struct Prefixed<IO> {
    prefix: Bytes,
    io: IO,
}

impl<IO> Prefixed<IO> {
    /// Puts `prefix` back in front of what `io` still has to say.
    pub const fn new(prefix: Bytes, io: IO) -> Self {
        Self { prefix, io }
    }

    /// Returns the bytes not yet replayed and the stream behind them.
    pub fn into_parts(self) -> (Bytes, IO) {
        (self.prefix, self.io)
    }

    pub const fn inner(&self) -> &IO {
        &self.io
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefixed<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..count]);
            self.prefix.advance(count);
            if self.prefix.is_empty() {
                // Lets go of the allocation, which would otherwise live as long as the connection.
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Prefixed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// How many bytes went each way, readable while the connection lives.
#[derive(Debug, Default)]
pub struct Counters {
    read: AtomicU64,
    written: AtomicU64,
}

impl Counters {
    /// Returns the bytes received from the peer so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the bytes sent to the peer so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// A stream that counts what passes through it.
#[derive(Debug)]
pub struct Counted<IO> {
    io: IO,
    counters: Arc<Counters>,
}

impl<IO> Counted<IO> {
    /// Wraps `io` with fresh counters.
    pub fn new(io: IO) -> Self {
        Self::with_counters(io, Arc::default())
    }

    /// Wraps `io` with counters someone else already reads.
    pub const fn with_counters(io: IO, counters: Arc<Counters>) -> Self {
        Self { io, counters }
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    pub fn into_inner(self) -> IO {
        self.io
    }

    fn count_write(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = outcome {
            self.counters.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        self.counters.read.fetch_add(count as u64, Ordering::Relaxed);
        outcome
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{Counted, Prefixed};

    #[tokio::test]
    async fn prefix_comes_before_the_rest_whatever_the_buffer_size() {
        for size in [1, 2, 3, 7, 64] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(b"world").await.unwrap();
            far.shutdown().await.unwrap();
            let mut stream = Prefixed::new(Bytes::from_static(b"hello "), near);
            let (mut all, mut chunk) = (Vec::new(), vec![0; size]);
            loop {
                let count = stream.read(&mut chunk).await.unwrap();
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&chunk[..count]);
            }
            assert_eq!(all, b"hello world", "buffer of {size}");
        }
    }

    #[tokio::test]
    async fn counters_see_both_directions() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Counted::new(near);
        let counters = stream.counters();
        stream.write_all(b"four").await.unwrap();
        far.write_all(b"sixsix").await.unwrap();
        let mut received = [0; 6];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!((counters.read(), counters.written()), (6, 4));
    }
}
