//! A TCP stream whose small writes are sent together with those of every task that is ready, and whose long reads are few.
//!
//! Sending to a peer on the same machine or behind a busy network card wakes somebody up, which costs more than the bytes.
//! So small writes are held, and one task of the thread sends them all once every other task that was ready has run:
//! whoever is woken by the first finds the rest, and no connection is polled again just to be flushed. TLS reads in small
//! pieces; once a peer sends much, it is read ahead for it. Invariant: what is held is bounded and sent within a turn of the
//! scheduler, whether or not its writer is polled again; order is kept; and a failure shows at the writer's next step.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;

/// The most that is held, and the least that is not worth holding. Bytes.
const SMALL: usize = 4 << 10;

/// How much is read ahead from a peer that sends much. Bytes.
const AHEAD: usize = 32 << 10;

/// See the module.
#[derive(Debug)]
pub struct Gathered {
    read: OwnedReadHalf,
    ahead: Ahead,
    sender: Arc<Sender>,
}

/// Bytes that were read before they were asked for.
#[derive(Debug, Default)]
struct Ahead {
    bytes: BytesMut,
    /// The last read filled all the room it was given, so that there is probably more.
    pays: bool,
}

/// The sending side, shared with the task that sends what is held.
#[derive(Debug)]
struct Sender {
    write: OwnedWriteHalf,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: BytesMut,
    /// Somebody is going to send it.
    promised: bool,
    /// And waits for room.
    waiting: bool,
    /// The writer is gone: there is nobody for whom to wait for room.
    gone: bool,
    failed: Option<io::Error>,
}

impl Gathered {
    /// Puts itself around `stream`.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, ahead: Ahead::default(), sender: Arc::new(Sender { write, held: Mutex::default() }) }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        // As with a socket that is closed, what was written is sent if there is room for it; nobody waits for a peer that
        // does not read.
        let mut held = self.sender.held.lock();
        held.gone = true;
        if held.waiting {
            let stream: &TcpStream = self.sender.write.as_ref();
            let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Both);
        }
    }
}

impl AsyncRead for Gathered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { read, ahead, .. } = &mut *self;
        if ahead.bytes.is_empty() {
            if !ahead.pays || into.remaining() >= AHEAD {
                let room = into.remaining();
                ready!(Pin::new(read).poll_read(context, into))?;
                ahead.pays = into.remaining() == 0 && room > 0;
                return Poll::Ready(Ok(()));
            }
            ahead.bytes.reserve(AHEAD);
            let count = ready!(tokio_util::io::poll_read_buf(Pin::new(read), context, &mut ahead.bytes))?;
            ahead.pays = count >= AHEAD / 2;
        }
        let count = ahead.bytes.len().min(into.remaining());
        into.put_slice(&ahead.bytes[..count]);
        ahead.bytes.advance(count);
        if ahead.bytes.is_empty() && !ahead.pays {
            // A connection that rests keeps no buffer.
            ahead.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let sender = &self.sender;
        let mut held = sender.held.lock();
        if held.bytes.len() + size > SMALL {
            ready!(sender.poll_held(&mut held, context))?;
            if size > SMALL {
                return sender.poll_send(context, |stream| stream.try_write_vectored(pieces));
            }
        }
        if let Some(error) = held.failed.take() {
            return Poll::Ready(Err(error));
        }
        for piece in pieces {
            held.bytes.extend_from_slice(piece);
        }
        if !std::mem::replace(&mut held.promised, true) {
            drop(held);
            Gatherer::promise(sender);
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held is promised to be sent.
        Poll::Ready(self.sender.held.lock().failed.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sender = &self.sender;
        ready!(sender.poll_held(&mut sender.held.lock(), context))?;
        let stream: &TcpStream = sender.write.as_ref();
        Poll::Ready(rustix::net::shutdown(stream, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}

impl Sender {
    /// Sends everything that is held.
    fn poll_held(&self, held: &mut Held, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = held.failed.take() {
            return Poll::Ready(Err(error));
        }
        while !held.bytes.is_empty() {
            let count = ready!(self.poll_send(context, |stream| stream.try_write(&held.bytes)))?;
            held.bytes.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream: &TcpStream = self.write.as_ref();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match send(stream) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Sends what is held as far as there is room for it; reports whether that was all.
    fn keep_promise(&self) -> bool {
        let held = &mut *self.held.lock();
        while !held.bytes.is_empty() {
            match self.write.try_write(&held.bytes) {
                Ok(0) => held.failed = Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    held.bytes.advance(count);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !held.gone => {
                    // Said under the same lock, so that a writer that goes finds it.
                    held.waiting = true;
                    return false;
                }
                Err(error) => held.failed = Some(error),
            }
            held.bytes.clear();
        }
        // Makes the room that was advanced over usable again.
        held.bytes.clear();
        (held.promised, held.waiting) = (false, false);
        true
    }

    /// Sends what is held, now as far as there is room, the rest as room is made.
    fn see_to(self: &Arc<Self>) {
        if self.keep_promise() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            // Whoever writes next promises again.
            let held = &mut *self.held.lock();
            (held.promised, held.waiting) = (false, false);
            return;
        };
        let sender = Arc::clone(self);
        runtime.spawn(async move { while sender.write.writable().await.is_ok() && !sender.keep_promise() {} });
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.keep_promise();
    }
}

/// Sends what the tasks of one thread wrote, once all that are ready have run.
#[derive(Debug, Default)]
struct Gatherer {
    promised: Mutex<Vec<Arc<Sender>>>,
    task: AtomicWaker,
    /// Its runtime or its thread is gone.
    over: AtomicBool,
}

/// A thread's share in its gatherer; the task ends with it.
struct Ours(Arc<Gatherer>);

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.task.wake();
    }
}

thread_local! {
    static GATHERER: RefCell<Option<Ours>> = const { RefCell::new(None) };
}

impl Gatherer {
    /// Promises that what `sender` holds will be sent.
    fn promise(sender: &Arc<Sender>) {
        let promised = GATHERER.try_with(|ours| {
            let mut ours = ours.borrow_mut();
            if ours.as_ref().is_none_or(|ours| ours.0.over.load(Ordering::Acquire)) {
                let runtime = Handle::try_current().ok()?;
                let gatherer = Arc::new(Self::default());
                runtime.spawn(Gathering::new(Arc::clone(&gatherer)).run());
                *ours = Some(Ours(gatherer));
            }
            ours.as_ref().map(|ours| ours.0.push(sender))
        });
        if !matches!(promised, Ok(Some(()))) {
            // No runtime runs here: there is nobody to wait for.
            sender.see_to();
        }
    }

    fn push(&self, sender: &Arc<Sender>) {
        let mut promised = self.promised.lock();
        let first = promised.is_empty();
        promised.push(Arc::clone(sender));
        drop(promised);
        if first {
            self.task.wake();
        }
    }
}

/// The task of a gatherer.
struct Gathering {
    gatherer: Arc<Gatherer>,
    /// The tasks that were ready when the first promise was made have run.
    ready: bool,
    /// Empty, and kept for its room.
    batch: Vec<Arc<Sender>>,
}

impl Gathering {
    const fn new(gatherer: Arc<Gatherer>) -> Self {
        Self { gatherer, ready: false, batch: Vec::new() }
    }

    async fn run(mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.gatherer.task.register(context.waker());
        if !std::mem::take(&mut self.ready) && !self.gatherer.promised.lock().is_empty() {
            // To the end of the queue.
            self.ready = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        std::mem::swap(&mut self.batch, &mut *self.gatherer.promised.lock());
        for sender in self.batch.drain(..) {
            sender.see_to();
        }
        if self.gatherer.over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.gatherer.over.store(true, Ordering::Release);
        for sender in self.gatherer.promised.lock().drain(..) {
            sender.keep_promise();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::{AHEAD, Gathered, SMALL};

    async fn pair() -> (Gathered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        near.set_nodelay(true).unwrap();
        (Gathered::new(near), listener.accept().await.unwrap().0)
    }

    /// Writes without ever being polled again.
    fn write(stream: &mut Gathered, text: &[u8]) {
        let mut context = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *stream).poll_write_vectored(&mut context, &[IoSlice::new(text)]);
        assert!(matches!(written, Poll::Ready(Ok(size)) if size == text.len()), "{written:?}");
        assert!(Pin::new(stream).poll_flush(&mut context).is_ready());
    }

    #[tokio::test]
    async fn a_small_write_is_sent_once_the_others_have_run_though_its_writer_rests() {
        let (mut stream, mut far) = pair().await;
        for _ in 0..3 {
            write(&mut stream, b"ab");
            write(&mut stream, b"c");
            // Nothing has run in between, so nothing can have been sent.
            assert_eq!(far.try_read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            let mut received = [0; 3];
            far.read_exact(&mut received).await.unwrap();
            assert_eq!(&received, b"abc");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_connections_on_several_threads_all_send() {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64_u32 {
            tasks.spawn(async move {
                let (mut stream, mut far) = pair().await;
                for round in 0..50_u32 {
                    let question = (number * 100 + round).to_be_bytes();
                    stream.write_all(&question).await.unwrap();
                    let mut received = [0; 4];
                    far.read_exact(&mut received).await.unwrap();
                    assert_eq!(received, question);
                    far.write_all(&received).await.unwrap();
                    stream.read_exact(&mut received).await.unwrap();
                    assert_eq!(received, question);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    #[tokio::test]
    async fn what_was_written_before_the_stream_was_dropped_or_shut_down_arrives() {
        for shut_down in [false, true] {
            let (mut stream, mut far) = pair().await;
            stream.write_all(b"farewell").await.unwrap();
            if shut_down {
                stream.shutdown().await.unwrap();
            } else {
                drop(stream);
            }
            let mut received = String::new();
            far.read_to_string(&mut received).await.unwrap();
            assert_eq!(received, "farewell");
        }
    }

    #[test]
    fn what_was_written_arrives_though_the_runtime_ends() {
        let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = build();
        let (mut stream, far) = first.block_on(pair());
        let guard = first.enter();
        write(&mut stream, b"late");
        drop(guard);
        let far = far.into_std().unwrap();
        drop((stream, first));
        // The thread has another runtime now, and gathers there.
        build().block_on(async {
            let mut far = TcpStream::from_std(far).unwrap();
            let mut received = String::new();
            far.read_to_string(&mut received).await.unwrap();
            assert_eq!(received, "late");
            let (mut stream, mut far) = pair().await;
            stream.write_all(b"again").await.unwrap();
            let mut received = [0; 5];
            far.read_exact(&mut received).await.unwrap();
        });
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_holds_its_writer_up_and_nobody_after_it_left() {
        let (mut stream, mut far) = pair().await;
        let mut sent = 0;
        // Fills what the kernel takes, and what is held.
        while let Poll::Ready(count) = poll_fn(|context| {
            let piece = [7; SMALL / 4];
            Poll::Ready(Pin::new(&mut stream).poll_write(context, &piece))
        })
        .await
        {
            sent += count.unwrap();
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        drop(stream);
        let mut received = Vec::new();
        // The connection ends, in whatever way, instead of waiting for room.
        let _ = far.read_to_end(&mut received).await;
        assert!(received.len() <= sent && received.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_told_of() {
        let (mut stream, far) = pair().await;
        drop(far);
        let mut failed = false;
        for _ in 0..10_000 {
            failed = stream.write_all(b"anybody?").await.is_err() || stream.flush().await.is_err();
            if failed {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(failed);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_reordered_whatever_the_sizes() {
        let (mut stream, mut far) = pair().await;
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (sent, echoed) = (bytes.clone(), bytes.clone());
        let echoing = async move {
            let mut received = vec![0; bytes.len()];
            far.read_exact(&mut received).await.unwrap();
            assert!(received == bytes, "what was written came in another order");
            far.write_all(&received).await.unwrap();
        };
        let talking = async move {
            let mut rest = sent.as_slice();
            for size in [1, 5, SMALL - 1, SMALL, SMALL + 1, 90, 5 * SMALL, 3].into_iter().cycle() {
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
            let mut received = Vec::new();
            for size in [4_096, 4_096, 4_096, 100, AHEAD * 2, 1].into_iter().cycle() {
                let mut piece = vec![0; size.min(echoed.len() - received.len())];
                stream.read_exact(&mut piece).await.unwrap();
                received.extend_from_slice(&piece);
                if received.len() == echoed.len() {
                    break;
                }
            }
            assert!(received == echoed, "what was read came in another order");
        };
        tokio::join!(echoing, talking);
    }
}
