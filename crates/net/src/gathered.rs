//! A stream whose small writes wait until every task that is ready has run.
//!
//! Sending to a peer on the same machine or behind a busy network card wakes somebody up, which costs more than the bytes.
//! Tasks that answer in the same turn of the scheduler then send one after the other, and whoever is woken by the first
//! finds the rest. Invariant: nothing is held longer than one turn after a flush, or once its writer reads or lets go of the
//! stream, and a large write is passed on without a copy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is held, and the least that is not worth holding. Bytes.
const SMALL: usize = 4 << 10;

/// See the module.
#[derive(Debug)]
pub struct Gathered<IO: AsyncWrite + Unpin> {
    io: IO,
    held: BytesMut,
    waits: Waits,
}

/// What a task has done since it wrote what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    /// It began to flush, and lets the others run.
    Flushing,
    /// And looked for something to read, as servers do in the same turn.
    Looked,
}

impl<IO: AsyncWrite + Unpin> Gathered<IO> {
    /// Puts itself around `io`.
    pub fn new(io: IO) -> Self {
        Self { io, held: BytesMut::new(), waits: Waits::No }
    }
}

impl<IO: AsyncWrite + Unpin> Gathered<IO> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, &self.held))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(count);
        }
        self.held.clear();
        self.waits = Waits::No;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            // Whoever writes and then reads waits for an answer to what was written.
            if self.waits == Waits::Flushing {
                self.waits = Waits::Looked;
            } else {
                // What fails here fails again for the next write or flush, which can say so.
                let _ = self.poll_send(context);
            }
        }
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gathered<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.held.len() + size > SMALL {
            ready!(self.poll_send(context))?;
            if size > SMALL {
                return Pin::new(&mut self.io).poll_write_vectored(context, pieces);
            }
        }
        for piece in pieces {
            self.held.extend_from_slice(piece);
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            if self.waits == Waits::No {
                self.waits = Waits::Flushing;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_send(context))?;
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<IO: AsyncWrite + Unpin> Drop for Gathered<IO> {
    fn drop(&mut self) {
        // As with a socket, what was written is sent if there is room for it.
        let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, DuplexStream};

    use super::{Gathered, SMALL};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the peer can read at once.
    fn arrived(peer: &mut DuplexStream) -> usize {
        let mut bytes = vec![0; 4 * SMALL];
        let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
        let mut context = Context::from_waker(Waker::noop());
        let _ = tokio::io::AsyncRead::poll_read(Pin::new(peer), &mut context, &mut buffer);
        buffer.filled().len()
    }

    #[test]
    fn a_small_write_is_sent_one_turn_after_its_flush_and_the_task_is_woken_for_it() {
        let (near, mut far) = tokio::io::duplex(4 * SMALL);
        let mut stream = Gathered::new(near);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        for round in 1..4 {
            let written =
                Pin::new(&mut stream).poll_write_vectored(&mut context, &[IoSlice::new(b"ab"), IoSlice::new(b"c")]);
            assert!(matches!(written, Poll::Ready(Ok(3))));
            assert!(Pin::new(&mut stream).poll_flush(&mut context).is_pending());
            assert_eq!((arrived(&mut far), woken.0.load(Ordering::Relaxed)), (0, round));
            assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
            assert_eq!(arrived(&mut far), 3);
            assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready(), "there is nothing to wait for");
        }
    }

    #[test]
    fn a_large_write_goes_out_at_once_behind_what_was_held() {
        let (near, mut far) = tokio::io::duplex(4 * SMALL);
        let mut stream = Gathered::new(near);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_write(&mut context, b"first").is_ready());
        let large = vec![7; SMALL + 1];
        assert!(
            matches!(Pin::new(&mut stream).poll_write(&mut context, &large), Poll::Ready(Ok(size)) if size == large.len())
        );
        assert_eq!(arrived(&mut far), 5 + large.len());
    }

    #[tokio::test]
    async fn what_was_written_is_sent_before_its_writer_waits_for_an_answer_or_lets_go() {
        let (near, mut far) = tokio::io::duplex(4 * SMALL);
        let mut stream = Gathered::new(near);
        let mut question = [0; 8];
        stream.write_all(b"question").await.unwrap();
        let asked = async {
            far.read_exact(&mut question).await.unwrap();
            far.write_all(b"answer").await.unwrap();
        };
        let mut answer = [0; 6];
        let (_, answered) = tokio::join!(asked, stream.read_exact(&mut answer));
        answered.unwrap();
        stream.write_all(b"farewell").await.unwrap();
        drop(stream);
        assert_eq!(arrived(&mut far), 8);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_reordered_whatever_the_sizes_and_the_room() {
        let (near, mut far) = tokio::io::duplex(100);
        let mut stream = Gathered::new(near);
        let sent: Vec<u8> = (0..60_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = async move {
            let mut rest = sent.as_slice();
            for size in [1, 5, 4_000, 4_096, 4_097, 90, 20_000, 3].into_iter().cycle() {
                let (piece, more) = rest.split_at(size.min(rest.len()));
                stream.write_all(piece).await.unwrap();
                if size % 2 == 1 {
                    stream.flush().await.unwrap();
                }
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            stream.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(writing, far.read_to_end(&mut received));
        read.unwrap();
        assert!(received == expected, "{} bytes arrived", received.len());
    }
}
