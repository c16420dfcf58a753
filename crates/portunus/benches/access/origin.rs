//! The application behind every proxy: as little of a server as answers, so that it is not what is measured.
//!
//! It looks at the first request of each connection for the token that Access adds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Bytes of every answer's body.
pub(crate) const SMALL: usize = 1024;
const TOKEN: &[u8] = b"\r\ncf-access-jwt-assertion: ey";

/// A running origin; it stops when dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    _accepting: JoinSet<()>,
}

/// Connections by whether their first request named somebody.
#[derive(Default)]
pub(crate) struct Seen {
    named: AtomicU64,
    unnamed: AtomicU64,
}

impl Origin {
    pub(crate) async fn start() -> Result<Self> {
        let listener = testkit::listen().await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Seen>::default();
        let mut accepting = JoinSet::new();
        let counts = Arc::clone(&seen);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let counts = Arc::clone(&counts);
                connections.spawn(async move {
                    // The proxy closing the connection is its only end.
                    let _ = serve(stream, &counts).await;
                });
            }
        });
        Ok(Self { address, seen, _accepting: accepting })
    }

    /// Forgets the connections so far and returns how many began with a named and with an unnamed request.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.seen.named.swap(0, Ordering::Relaxed), self.seen.unnamed.swap(0, Ordering::Relaxed))
    }
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SMALL}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + SMALL, b'x');
    let mut buffer = vec![0; 16 << 10];
    let (mut filled, mut first) = (0, true);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // Requests have no body and are not pipelined: one that ends the buffer is whole.
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        if first {
            let named = buffer[..filled].windows(TOKEN.len()).any(|window| window.eq_ignore_ascii_case(TOKEN));
            if named { &seen.named } else { &seen.unnamed }.fetch_add(1, Ordering::Relaxed);
            first = false;
        }
        filled = 0;
        stream.write_all(&answer).await?;
    }
}
