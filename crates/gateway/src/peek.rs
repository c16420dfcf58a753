//! Tells what a client speaks inside a tunnel from its first bytes.
//!
//! It reads at most [`MOST`] bytes for a bounded time and gives every byte back. Invariant: a stream is called TLS only
//! when a whole ClientHello was parsed, so a connection whose host is unknown is never intercepted by mistake.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::client_hello::{self, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes read before the kind of stream must be known.
pub(crate) const MOST: usize = 64 << 10;

/// What the first bytes are.
#[derive(Debug)]
pub(crate) enum Kind {
    Tls(Box<ClientHello>),
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2 without TLS.
    Http2,
    /// Anything else, including a client that waits for the server to speak first.
    Opaque,
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
            Err(_) => return Ok((Kind::Opaque, bytes.freeze())),
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
    if first == 0x16 {
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

/// A method of upper-case letters, a space and a target: enough to hand the stream to the HTTP server, which is strict.
fn is_http1(bytes: &[u8]) -> Option<Kind> {
    let method = bytes.iter().take_while(|b| b.is_ascii_uppercase()).count();
    match (method, bytes.get(method), bytes.get(method + 1)) {
        (3..=20, Some(b' '), Some(b'/' | b'h' | b'*')) => Some(Kind::Http1),
        (1..=20, None, _) | (3..=20, Some(b' '), None) => None,
        _ => Some(Kind::Opaque),
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
            (b"PRI ", "opaque"),
            (b"\x16\x03\x01\0\x05hello", "broken"),
            (b"\x16\x03\x01", "opaque"),
            (b"\0\0", "opaque"),
            (b"", "opaque"),
        ] {
            for size in [1, 5, 4096] {
                assert_eq!(kind(input, size).await, expected, "{input:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_closes_at_once_is_nothing() {
        let (client, mut server) = tokio::io::duplex(16);
        drop(client);
        assert!(matches!(peek(&mut server, Duration::from_secs(1)).await.unwrap().0, Kind::Nothing));
    }
}
