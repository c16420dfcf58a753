//! Tells what a client speaks inside a tunnel from its first bytes.
//!
//! It reads at most [`MOST`] bytes for a bounded time and gives every byte back. Invariant: a stream is called TLS only
//! when a whole ClientHello was parsed, so a connection whose host is unknown is never intercepted by mistake.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::client_hello::{self, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Most bytes read before the kind of stream must be known.
pub(crate) const MOST: usize = 64 << 10;

/// The first byte of a TLS handshake record.
const TLS: u8 = 0x16;

/// What the first bytes are.
#[derive(Debug)]
pub(crate) enum Kind {
    Tls(Box<ClientHello>),
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2 without TLS.
    Http2,
    /// Anything else.
    Opaque,
    /// Nothing that tells, in time: a client that waits for the server to speak first, or that wants to look like one.
    /// [`LateCheck`] goes on watching it.
    Undecided,
    /// Starts like TLS and is not.
    BrokenTls,
    /// The client closed without a byte.
    Nothing,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the kind is clear; returns the bytes read beside it.
pub(crate) async fn peek(stream: &mut (impl AsyncRead + Unpin), wait: Duration) -> io::Result<(Kind, Bytes)> {
    let mut bytes = BytesMut::new();
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        if let Some(kind) = classify(&bytes) {
            return Ok((kind, bytes.freeze()));
        }
        if bytes.len() >= MOST {
            return Ok((Kind::Opaque, bytes.freeze()));
        }
        match tokio::time::timeout_at(deadline, stream.read_buf(&mut bytes)).await {
            // A greeting that does not come to its end belongs to no program that works.
            Err(_) if bytes.first() == Some(&TLS) => return Ok((Kind::BrokenTls, bytes.freeze())),
            Err(_) => return Ok((Kind::Undecided, bytes.freeze())),
            Ok(Ok(0)) if bytes.is_empty() => return Ok((Kind::Nothing, Bytes::new())),
            Ok(Ok(0)) => return Ok((Kind::Opaque, bytes.freeze())),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// Says what `bytes` are, or nothing when more are needed.
fn classify(bytes: &[u8]) -> Option<Kind> {
    let first = *bytes.first()?;
    if first == TLS {
        return match client_hello::parse(bytes) {
            Ok(client_hello::Parsed::Incomplete { .. }) => None,
            Ok(client_hello::Parsed::Hello(hello)) => Some(Kind::Tls(hello)),
            Err(_) => Some(Kind::BrokenTls),
        };
    }
    if bytes.starts_with(PREFACE) {
        return Some(Kind::Http2);
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    is_http1(bytes)
}

/// Longest first line that is waited for.
const LINE: usize = 16 << 10;

/// Whether an HTTP server might take `bytes` for the start of a request. The HTTP server they are handed to is strict.
///
/// # Security
/// Origins are lenient: they skip empty lines, take any method and several spaces. What only they would read as HTTP must
/// not be carried unread, or a blank line in front would be a way around every rule.
fn is_http1(bytes: &[u8]) -> Option<Kind> {
    let blank = |b: &u8| matches!(b, b'\r' | b'\n' | b' ' | b'\t');
    let line = bytes.get(bytes.iter().take_while(|b| blank(b)).count()..).unwrap_or_default();
    let method = line.iter().take_while(|b| net::proxy::head::is_token(**b)).count();
    let target = line.get(method + 1..).unwrap_or_default();
    let longest = bytes.len() >= LINE;
    match (method, line.get(method)) {
        (_, None) => longest.then_some(Kind::Opaque),
        (3.., Some(b' ')) if is_upper(line, method) && matches!(target, [b'/' | b'*', ..]) => Some(Kind::Http1),
        (1.., Some(b' ' | b'\t')) => {
            let end = target.iter().position(|b| *b == b'\n');
            let target = target.get(..end.unwrap_or(target.len())).unwrap_or_default();
            let names_http = || target.windows(5).any(|word| word.eq_ignore_ascii_case(b"HTTP/"));
            // No request line holds a control character, and most binary protocols show one at once.
            if target.iter().any(|b| b.is_ascii_control() && !blank(b)) {
                Some(Kind::Opaque)
            } else if end.is_some() || longest {
                Some(if names_http() { Kind::Http1 } else { Kind::Opaque })
            } else {
                None
            }
        }
        _ => Some(Kind::Opaque),
    }
}

fn is_upper(line: &[u8], method: usize) -> bool {
    line.iter().take(method).all(u8::is_ascii_uppercase)
}

/// A stream that was passed on undecided, watched until its first bytes tell what it is.
///
/// # Security
/// Without it, waiting out the look at the first bytes would be a way to have TLS and HTTP carried unread.
pub(crate) struct LateCheck<S> {
    stream: S,
    /// The first bytes; absent once they are known to be neither TLS nor HTTP.
    seen: Option<Vec<u8>>,
}

impl<S> LateCheck<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, seen: Some(Vec::new()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LateCheck<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buf))?;
        let Some(seen) = this.seen.as_mut() else { return Poll::Ready(Ok(())) };
        // As much as it takes to tell; `classify` waits for no more.
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let room = LINE.saturating_sub(seen.len());
        seen.extend_from_slice(fresh.get(..fresh.len().min(room)).unwrap_or_default());
        let refused = seen.first() == Some(&TLS)
            || matches!(classify(seen), Some(Kind::Tls(_) | Kind::BrokenTls | Kind::Http1 | Kind::Http2));
        if refused {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS or HTTP after the time to look")));
        }
        if classify(seen).is_some() {
            this.seen = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LateCheck<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::{Kind, peek};

    async fn kind(input: &[u8], size: usize) -> &'static str {
        let (mut client, mut server) = tokio::io::duplex(1 << 17);
        for piece in input.chunks(size) {
            client.write_all(piece).await.unwrap();
        }
        let (kind, bytes) = peek(&mut server, Duration::from_secs(1)).await.unwrap();
        assert!(input.starts_with(&bytes));
        match kind {
            Kind::Tls(_) => "tls",
            Kind::Http1 => "http1",
            Kind::Http2 => "http2",
            Kind::Opaque => "opaque",
            Kind::Undecided => "undecided",
            Kind::BrokenTls => "broken",
            Kind::Nothing => "nothing",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_bytes_tell_the_protocol() {
        for (input, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "http1"),
            (b"OPTIONS * HTTP/1.1\r\n", "http1"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", "http2"),
            (b"SSH-2.0-OpenSSH\r\n", "opaque"),
            (b"EHLO there\r\n", "opaque"),
            (b"PRI ", "undecided"),
            (b"USER harry\r\n", "opaque"),
            (b"\r\nGET / HTTP/1.1\r\n", "http1"),
            (b"GET  / HTTP/1.1\r\n", "http1"),
            (b"GET\t/ HTTP/1.1\r\n", "http1"),
            (b"get / HTTP/1.1\r\n", "http1"),
            (b"M-SEARCH * HTTP/1.1\r\n", "http1"),
            (b"G / http/1.1\n", "http1"),
            (b"GET HTTP://a/ HTTP/1.1\r\n", "http1"),
            (b"CONNECT a:443 HTTP/1.1\r\n", "http1"),
            (b"\r\n\r\n", "undecided"),
            (b"SSH-2.0-OpenSSH_9.2 Debian\r\n", "opaque"),
            (b"0032git-upload-pack /p.git\0host=a\0", "opaque"),
            (b"GET http://a/ HTTP/1.1\r\n", "http1"),
            (b"GE", "undecided"),
            (b"NICK ada", "undecided"),
            (b"\x16\x03\x01\0\x05hello", "broken"),
            (b"\x16\x03\x01", "broken"),
            (b"\0\0", "opaque"),
            (b"", "undecided"),
        ] {
            for size in [1, 5, 4096] {
                assert_eq!(kind(input, size).await, expected, "{input:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_longer_than_is_read_is_not_carried() {
        // A ClientHello of 100,000 bytes, in records of 16 KiB.
        let mut hello = vec![1, 1, 0x86, 0xa0, 3, 3];
        hello.resize(100_004, 0);
        let records = hello.chunks(16 << 10).flat_map(|piece| {
            let [high, low] = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&[0x16, 3, 1, high, low], piece].concat()
        });
        assert_eq!(kind(&records.collect::<Vec<_>>(), 4096).await, "broken");
    }

    #[tokio::test]
    async fn late_tls_and_http_are_not_carried() {
        for (pieces, carried) in [
            (&[&b"\x16"[..], b"\x03\x01"][..], &b""[..]),
            (&[b"GE", b"T / HTTP/1.1\r\n"], b"GE"),
            (&[b"\r\n", b"get / HTTP/1.1\r\n"], b"\r\n"),
            (&[b"PRI * HTTP", b"/2.0\r\n\r\nSM\r\n\r\n"], b"PRI * HTTP"),
            (&[b"EHLO a\r\n", b"\x16\x03"], b"EHLO a\r\n\x16\x03"),
        ] {
            let (mut client, server) = tokio::io::duplex(1024);
            let mut watched = super::LateCheck::new(server);
            let mut got = Vec::new();
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                let mut buffer = [0; 64];
                if let Ok(count) = tokio::io::AsyncReadExt::read(&mut watched, &mut buffer).await {
                    got.extend_from_slice(&buffer[..count]);
                }
            }
            assert_eq!(got, carried, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_closes_at_once_is_nothing() {
        let (client, mut server) = tokio::io::duplex(16);
        drop(client);
        assert!(matches!(peek(&mut server, Duration::from_secs(1)).await.unwrap().0, Kind::Nothing));
    }
}
