//! Connections that are not read: bytes copied both ways and counted.
//!
//! Which connections these are was decided before. Invariant: memory per connection is two fixed buffers, whatever the
//! peers do, and a tunnel through which nothing flows ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

/// Bytes of one buffer.
const BUFFER: usize = 32 << 10;

/// Who ended a tunnel, in the words of Logpush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Client,
    Origin,
    Idle,
}

impl Ended {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "CLIENT_CLOSED",
            Self::Origin => "ORIGIN_CLOSED",
            Self::Idle => "CLIENT_IDLE_TIMEOUT",
        }
    }
}

/// Copies both ways until both sides are done, one breaks, or nothing has flowed for `idle`.
pub async fn copy(near: impl Stream, far: impl Stream, idle: Duration) -> Ended {
    let moved = Arc::new(AtomicU64::new(0));
    let (near_read, near_write) = split(near);
    let (far_read, far_write) = split(far);
    let up = one_way(near_read, far_write, Arc::clone(&moved));
    let down = one_way(far_read, near_write, Arc::clone(&moved));
    let both = async {
        tokio::pin!(up, down);
        tokio::select! {
            ended = &mut up => match ended {
                // A half-closed client still gets its answer.
                Ok(()) => { let _ = down.await; Ended::Client }
                Err(()) => Ended::Client,
            },
            ended = &mut down => match ended {
                Ok(()) => { let _ = up.await; Ended::Origin }
                Err(()) => Ended::Origin,
            },
        }
    };
    tokio::select! {
        ended = both => ended,
        () = quiet(&moved, idle) => Ended::Idle,
    }
}

async fn quiet(moved: &AtomicU64, idle: Duration) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(idle).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: Arc<AtomicU64>,
) -> Result<(), ()> {
    let mut buffer = vec![0_u8; BUFFER];
    loop {
        let count = from.read(&mut buffer).await.map_err(drop)?;
        if count == 0 {
            return to.shutdown().await.map_err(drop);
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        to.write_all(bytes).await.map_err(drop)?;
        // A TLS stream keeps what it is given until it is flushed.
        to.flush().await.map_err(drop)?;
        moved.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::{Ended, copy};

    #[tokio::test]
    async fn a_half_closed_client_still_gets_its_answer() {
        let (mut client, near) = duplex(64);
        let (far, mut origin) = duplex(64);
        let tunnel = copy(near, far, Duration::from_secs(60));
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            origin.read_to_end(&mut asked).await.unwrap();
            origin.write_all(b"answer").await.unwrap();
            drop(origin);
            let mut answered = Vec::new();
            client.read_to_end(&mut answered).await.unwrap();
            (asked, answered)
        };
        let (ended, (asked, answered)) = tokio::join!(tunnel, talk);
        assert_eq!((ended, asked.as_slice(), answered.as_slice()), (Ended::Client, &b"question"[..], &b"answer"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_ends() {
        let (_client, near) = duplex(64);
        let (far, _origin) = duplex(64);
        assert_eq!(copy(near, far, Duration::from_secs(60)).await, Ended::Idle);
    }
}
