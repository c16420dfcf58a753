//! Watches the bytes of an HTTP/1 connection before hyper sees them: every request head passes `head::check`.
//!
//! hyper drops what it can repair (a Content-Length beside Transfer-Encoding, for one), so the strict check has to see
//! the raw bytes. The wrapper follows the framing to know where each head starts. It holds back at most one head, copies
//! nothing when a head arrives whole, and never looks at body bytes beyond chunk sizes. Invariant: hyper receives no
//! head that failed the check; in its place it receives a request with the method [`FAULT_METHOD`], so that the answer
//! takes the ordinary way, in its turn.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::head::{self, Following, HeadFault};
use super::interim::Interim;
use super::serve::Activity;

/// The method of the synthetic request that stands for a refused head; its path is `/` and the fault's number.
pub const FAULT_METHOD: &str = "PORTUNUS-FAULT";

/// Most bytes read and thrown away after a refused head.
const MOST_DISCARDED: usize = 1 << 20;

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub bytes: usize,
    pub fields: usize,
    pub timeout: Duration,
}

/// A connection whose request heads are checked.
pub struct Framed<T> {
    io: T,
    tracker: Tracker,
    /// Bytes that hyper may have, then those of an incomplete head.
    held: Vec<u8>,
    /// How many bytes of `held`, from `start`, are released.
    released: usize,
    start: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    timeout: Duration,
    ended: bool,
    discarded: usize,
    interim: Interim,
    activity: Arc<Activity>,
    /// An interim head that is being written, and how much of it is.
    head: Vec<u8>,
    written: usize,
}

impl<T> Framed<T> {
    /// Wraps `io`; interim responses go out where one is due, and `activity` is told of what is sent.
    pub fn new(io: T, limits: HeadLimits, interim: Interim, activity: Arc<Activity>) -> Self {
        Self {
            io,
            tracker: Tracker::new(limits.bytes, limits.fields),
            held: Vec::new(),
            released: 0,
            start: 0,
            deadline: None,
            timeout: limits.timeout,
            ended: false,
            discarded: 0,
            interim,
            activity,
            head: Vec::new(),
            written: 0,
        }
    }

    /// Returns the bytes not yet delivered and the stream behind them, after an upgrade.
    pub fn into_parts(mut self) -> (Vec<u8>, T) {
        self.held.drain(..self.start);
        (self.held, self.io)
    }

    /// Copies released bytes out; true when there were some.
    fn drain(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = self.released.min(buf.remaining());
        if count == 0 {
            return false;
        }
        buf.put_slice(self.held.get(self.start..self.start + count).unwrap_or_default());
        self.start += count;
        self.released -= count;
        if self.start == self.held.len() {
            self.held.clear();
            self.start = 0;
        }
        true
    }

    /// Puts the synthetic request in the place of everything that is left of the connection.
    fn refuse(&mut self, fault: HeadFault) {
        self.tracker.state = State::Ended;
        self.ended = true;
        let kept = self.start + self.released;
        self.held.truncate(kept);
        let request =
            format!("{FAULT_METHOD} /{} HTTP/1.1\r\nhost: fault\r\nconnection: close\r\n\r\n", fault.number());
        self.released += request.len();
        self.held.extend_from_slice(request.as_bytes());
        self.deadline = None;
    }

    /// Runs the tracker over the held bytes that are not released yet.
    fn advance_held(&mut self) -> io::Result<()> {
        let from = self.start + self.released;
        let pending = self.held.get(from..).unwrap_or_default();
        match self.tracker.advance(pending) {
            Ok(count) => self.released += count,
            Err(Broken::Head(fault, count)) => {
                self.released += count;
                self.refuse(fault);
            }
            Err(Broken::Body) => return Err(broken_body()),
        }
        Ok(())
    }

    fn watch_the_clock(&mut self, context: &mut Context<'_>) {
        if !self.tracker.inside_head() {
            self.deadline = None;
            return;
        }
        let timeout = self.timeout;
        let sleep = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        if sleep.as_mut().poll(context).is_ready() {
            self.refuse(HeadFault::TooSlow);
        }
    }
}

fn broken_body() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the chunked body is not well formed")
}

impl<T: AsyncRead + Unpin> Framed<T> {
    /// Reads what the client still sends, up to a bound: closing over unread bytes would reset the connection and take
    /// the page with it.
    fn discard(&mut self, context: &mut Context<'_>) {
        let mut scratch = [0_u8; 4096];
        while self.discarded < MOST_DISCARDED {
            let mut unread = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(context, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => self.discarded += unread.filled().len(),
                Poll::Ready(_) => self.discarded = MOST_DISCARDED,
                Poll::Pending => return,
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Framed<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.drain(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                this.discard(context);
                // Not the end of the stream: hyper would take that for a client that has gone, and not answer it.
                return Poll::Pending;
            }
            let before = buf.filled().len();
            if Pin::new(&mut this.io).poll_read(context, buf)?.is_pending() {
                this.watch_the_clock(context);
                if this.released == 0 {
                    return Poll::Pending;
                }
                continue;
            }
            if buf.filled().len() == before {
                // The end of the stream. An incomplete head is dropped; there is nobody to answer.
                return Poll::Ready(Ok(()));
            }
            if this.start < this.held.len() {
                // The head goes on: keep it in one piece.
                let more = buf.filled().get(before..).unwrap_or_default();
                this.held.extend_from_slice(more);
                buf.set_filled(before);
                this.advance_held()?;
                continue;
            }
            let fresh = buf.filled().get(before..).unwrap_or_default();
            match this.tracker.advance(fresh) {
                Ok(count) => {
                    let rest = fresh.get(count..).unwrap_or_default();
                    this.held.extend_from_slice(rest);
                    buf.set_filled(before + count);
                    if count > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Broken::Head(fault, count)) => {
                    buf.set_filled(before + count);
                    this.refuse(fault);
                    if count > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Broken::Body) => {
                    buf.set_filled(before);
                    return Poll::Ready(Err(broken_body()));
                }
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Framed<T> {
    /// Writes interim heads where hyper's bytes cannot be cut in two: before the first of a response, or when it has
    /// flushed all it had.
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() || self.interim.is_waiting() {
            if self.head.is_empty() {
                (self.head, self.written) = (self.interim.take(), 0);
                continue;
            }
            let left = self.head.get(self.written..).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.io).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            if self.written == self.head.len() {
                self.head.clear();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Called before hyper's own bytes.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.goes_on();
        if !self.interim.is_unflushed() {
            ready!(self.poll_interim(context))?;
            self.interim.set_unflushed(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context))?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only when it holds nothing more.
        self.interim.set_unflushed(false);
        ready!(self.poll_interim(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(Pin::new(&mut self.io).poll_shutdown(context)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context))?;
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

enum Broken {
    /// The head after `usize` released bytes is refused.
    Head(HeadFault, usize),
    Body,
}

/// Where in the message the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a head of which `scanned` bytes hold no end.
    Head {
        scanned: usize,
    },
    Length(u64),
    Chunk(Chunk),
    /// Granted or refused as a tunnel: the service closes the connection when it refuses.
    Raw,
    Ended,
}

/// Where in a chunked body the next byte stands (RFC 9112 section 7.1), strictly: no bare line feed anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { length: u16 },
    SizeNewline { value: u64 },
    Data { left: u64 },
    DataReturn,
    DataNewline,
    TrailerStart { total: u16 },
    Trailer { total: u16 },
    TrailerNewline { total: u16 },
    LastNewline,
}

/// Longest chunk extension and longest trailer section, in bytes.
const CHUNK_EXTRA: u16 = 16 << 10;

#[derive(Debug)]
struct Tracker {
    state: State,
    /// The size whose extension is being read.
    size: u64,
    head_bytes: usize,
    fields: usize,
}

impl Tracker {
    const fn new(head_bytes: usize, fields: usize) -> Self {
        Self { state: State::Head { scanned: 0 }, size: 0, head_bytes, fields }
    }

    const fn inside_head(&self) -> bool {
        matches!(self.state, State::Head { scanned } if scanned > 0)
    }

    /// Follows `bytes` and returns how many of them hyper may have; what is left is an incomplete head.
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Head { scanned } => {
                    let Some(end) = head::end(rest, scanned.min(rest.len())) else {
                        if rest.len() > self.head_bytes {
                            return Err(Broken::Head(HeadFault::TooLarge, at));
                        }
                        self.state = State::Head { scanned: rest.len() };
                        return Ok(at);
                    };
                    if end > self.head_bytes {
                        return Err(Broken::Head(HeadFault::TooLarge, at));
                    }
                    let head = rest.get(..end).unwrap_or_default();
                    let following = head::check(head, self.fields).map_err(|fault| Broken::Head(fault, at))?;
                    at += end;
                    self.state = match following {
                        Following::Length(0) => State::Head { scanned: 0 },
                        Following::Length(length) => State::Length(length),
                        Following::Chunked => State::Chunk(Chunk::Size { value: 0, digits: 0 }),
                        Following::Other => State::Raw,
                    };
                }
                State::Length(left) => {
                    let step = (rest.len() as u64).min(left);
                    at += usize::try_from(step).unwrap_or(rest.len());
                    self.state = if step == left { State::Head { scanned: 0 } } else { State::Length(left - step) };
                }
                State::Chunk(chunk) => at += self.chunk(chunk, rest)?,
                State::Raw | State::Ended => return Ok(bytes.len()),
            }
        }
        Ok(at)
    }

    /// Follows one step of a chunked body and returns the bytes it took, at least one.
    fn chunk(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<usize, Broken> {
        let byte = bytes.first().copied().unwrap_or_default();
        let next = match (chunk, byte) {
            (Chunk::Data { left }, _) => {
                let step = (bytes.len() as u64).min(left);
                let next = if step == left { Chunk::DataReturn } else { Chunk::Data { left: left - step } };
                self.state = State::Chunk(next);
                return Ok(usize::try_from(step).unwrap_or(bytes.len()));
            }
            (Chunk::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                Chunk::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (Chunk::Size { value, digits: 1.. }, b'\r') => Chunk::SizeNewline { value },
            (Chunk::Size { value, digits: 1.. }, b';') => {
                self.size = value;
                Chunk::Extension { length: 0 }
            }
            (Chunk::Extension { .. }, b'\r') => Chunk::SizeNewline { value: self.size },
            (Chunk::Extension { length }, b'\t' | b' '..=b'~' | 0x80..) if length < CHUNK_EXTRA => {
                Chunk::Extension { length: length + 1 }
            }
            (Chunk::SizeNewline { value: 0 }, b'\n') => Chunk::TrailerStart { total: 0 },
            (Chunk::SizeNewline { value }, b'\n') => Chunk::Data { left: value },
            (Chunk::DataReturn, b'\r') => Chunk::DataNewline,
            (Chunk::DataNewline, b'\n') => Chunk::Size { value: 0, digits: 0 },
            (Chunk::TrailerStart { .. }, b'\r') => Chunk::LastNewline,
            (Chunk::LastNewline, b'\n') => {
                self.state = State::Head { scanned: 0 };
                return Ok(1);
            }
            (Chunk::Trailer { total }, b'\r') => Chunk::TrailerNewline { total },
            (Chunk::TrailerNewline { total }, b'\n') => Chunk::TrailerStart { total },
            // A folded trailer line is refused with the other control characters at its start.
            (Chunk::TrailerStart { total }, b'!'..=b'~') | (Chunk::Trailer { total }, b'\t' | b' '..=b'~' | 0x80..)
                if total < CHUNK_EXTRA =>
            {
                Chunk::Trailer { total: total + 1 }
            }
            (
                Chunk::Size { .. }
                | Chunk::Extension { .. }
                | Chunk::SizeNewline { .. }
                | Chunk::DataReturn
                | Chunk::DataNewline
                | Chunk::TrailerStart { .. }
                | Chunk::Trailer { .. }
                | Chunk::TrailerNewline { .. }
                | Chunk::LastNewline,
                _,
            ) => return Err(Broken::Body),
        };
        self.state = State::Chunk(next);
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{FAULT_METHOD, Framed, HeadLimits, Interim};
    use crate::proxy::head::HeadFault;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 20, timeout: Duration::from_secs(5) };

    const FAULT_END: &[u8] = b"host: fault\r\nconnection: close\r\n\r\n";

    /// What hyper would read of `input`, delivered in pieces of `size` bytes.
    async fn through(input: &[u8], size: usize) -> std::io::Result<Vec<u8>> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut framed = Framed::new(server, LIMITS, Interim::default(), Default::default());
        let reader = async {
            let mut output = Vec::new();
            // A refused connection stays open until the answer is written, which nobody writes here.
            while !output.windows(FAULT_END.len()).any(|window| window == FAULT_END) {
                if framed.read_buf(&mut output).await? == 0 {
                    break;
                }
            }
            Ok(output)
        };
        let writer = async {
            for piece in input.chunks(size) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        tokio::join!(reader, writer).0
    }

    fn fault(fault: HeadFault) -> String {
        format!("{FAULT_METHOD} /{} HTTP/1.1\r\nhost: fault\r\nconnection: close\r\n\r\n", fault.number())
    }

    #[tokio::test]
    async fn well_formed_pipelines_pass_untouched_however_they_are_cut() {
        let input = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\r\n\rGET /b HTTP/1.1\r\nHost: a\r\n\r\n\
            POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nGET /\r\n0\r\nTrailer: 1\r\n\r\n\
            CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01\n\n anything";
        for size in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(through(input, size).await.unwrap(), input, "{size}");
        }
    }

    #[tokio::test]
    async fn a_refused_head_becomes_the_synthetic_request_and_ends_the_stream() {
        let good = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let bad = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        let input = format!("{good}{bad}0\r\n\r\n{good}");
        let expected = format!("{good}{}", fault(HeadFault::LengthAndEncoding));
        for size in [1, 5, 4096] {
            assert_eq!(through(input.as_bytes(), size).await.unwrap(), expected.as_bytes(), "{size}");
        }
    }

    #[tokio::test]
    async fn a_head_over_the_bound_is_refused_before_it_is_complete() {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2000));
        for size in [10, 4096] {
            assert_eq!(through(input.as_bytes(), size).await.unwrap(), fault(HeadFault::TooLarge).as_bytes());
        }
    }

    #[tokio::test]
    async fn ambiguous_chunks_end_the_connection() {
        for body in [
            "5\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5;\n\r\nhello\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "0\r\n folded\r\n\r\n",
        ] {
            let input = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert!(through(input.as_bytes(), 4096).await.is_err(), "{body:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_refused_after_the_time_out() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut framed = Framed::new(server, LIMITS, Interim::default(), Default::default());
        client.write_all(b"GET / HT").await.unwrap();
        let mut output = vec![0; fault(HeadFault::TooSlow).len()];
        framed.read_exact(&mut output).await.unwrap();
        assert_eq!(output, fault(HeadFault::TooSlow).as_bytes());
    }
}
