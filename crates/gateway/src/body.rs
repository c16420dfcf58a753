//! Bodies: the one boxed type, reading ahead with a bound, and counting what passes.
//!
//! Nothing here decides. Invariant: at most the given bound of a body is in memory; the rest waits with the peer, because
//! no frame is polled before the consumer asks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
pub(crate) use net::proxy::body::{Metered, boxed};
use parking_lot::Mutex;
pub(crate) use worker::{Body, BoxError, empty_body, full_body};

/// The start of a body, read ahead.
#[derive(Debug, Default, Clone)]
pub(crate) struct Head {
    /// At most the bound and the rest of one frame.
    pub(crate) bytes: Bytes,
    /// The whole body is in `bytes`.
    pub(crate) complete: bool,
}

/// How long reading ahead waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A pause of this length ends it once `minimum` bytes are there.
    pub(crate) pause: Duration,
    /// What a signature needs: below it, a sender that pauses on purpose is waited for.
    pub(crate) minimum: usize,
    /// The wait for one frame below the minimum.
    pub(crate) limit: Duration,
}

/// Reads until `bound` bytes are there, the body ends, or nothing more arrives.
///
/// Returns the head and a body that yields everything again, trailers included.
///
/// # Errors
/// The body's own error.
pub(crate) async fn read_ahead(mut body: Body, bound: usize, patience: Patience) -> Result<(Head, Body), BoxError> {
    let mut frames = Kept::default();
    let mut size = 0;
    let mut complete = body.is_end_stream();
    while !complete && size < bound {
        let wait = if size < patience.minimum { patience.limit } else { patience.pause };
        // A stream that pauses (server-sent events, a slow upload) is judged by what it has said.
        let Ok(next) = tokio::time::timeout(wait, body.frame()).await else { break };
        match next {
            None => complete = true,
            Some(frame) => {
                let frame = frame?;
                size += frame.data_ref().map_or(0, Bytes::len);
                complete = frame.is_trailers() || body.is_end_stream();
                frames.push(frame);
            }
        }
    }
    let frames = frames.finish();
    let bytes = join(&frames);
    let head = Head { bytes, complete };
    Ok((head, boxed(Replayed { frames, rest: body })))
}

/// Data frames up to this length are copied together.
const SMALL: usize = 1 << 10;

/// Bytes of one frame made of small ones.
const TOGETHER: usize = 16 << 10;

/// Frames that are kept for later. A sender chooses how small its frames are: without putting them together, the
/// bookkeeping would outgrow the bytes that are counted, and empty ones cost without end.
#[derive(Default)]
struct Kept {
    frames: VecDeque<Frame<Bytes>>,
    tail: BytesMut,
}

impl Kept {
    fn push(&mut self, frame: Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) if data.len() <= SMALL => {
                self.tail.extend_from_slice(data);
                if self.tail.len() >= TOGETHER {
                    self.flush();
                }
            }
            Some(_) | None => {
                self.flush();
                self.frames.push_back(frame);
            }
        }
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push_back(Frame::data(self.tail.split().freeze()));
        }
    }

    fn finish(mut self) -> VecDeque<Frame<Bytes>> {
        self.flush();
        self.frames
    }
}

/// Joins data frames; one frame is shared, not copied.
fn join(frames: &VecDeque<Frame<Bytes>>) -> Bytes {
    let mut data = frames.iter().filter_map(Frame::data_ref);
    match (data.next(), data.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only.clone(),
        (Some(first), Some(second)) => {
            let mut joined = Vec::with_capacity(frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum());
            joined.extend_from_slice(first);
            joined.extend_from_slice(second);
            data.for_each(|bytes| joined.extend_from_slice(bytes));
            joined.into()
        }
    }
}

/// Frames that were read ahead, then the rest.
struct Replayed {
    frames: VecDeque<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|bytes| bytes.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(held + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(held + upper);
        }
        hint
    }
}

/// Lends `body` to a Worker: what it reads is kept up to `bound`, so that the body can be taken back whole.
pub(crate) fn lend(body: Body, bound: usize) -> (Body, Lender) {
    let loan = Loan { body: Some(body), kept: Kept::default(), size: 0, bound, lost: false };
    let loan = Arc::new(Mutex::new(loan));
    (boxed(Lent(Arc::clone(&loan))), Lender(loan))
}

struct Loan {
    body: Option<Body>,
    kept: Kept,
    size: usize,
    bound: usize,
    /// More was read than is kept, or the body failed.
    lost: bool,
}

impl Loan {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let copy = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(bytes), _) => {
                self.size += bytes.len();
                Frame::data(bytes.clone())
            }
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            (None, None) => return,
        };
        if self.size > self.bound {
            self.lost = true;
            self.kept = Kept::default();
        } else {
            self.kept.push(copy);
        }
    }
}

/// The lender's half of a lent body.
pub(crate) struct Lender(Arc<Mutex<Loan>>);

impl Lender {
    /// Takes the body back as it was; nothing when more was read than was kept.
    pub(crate) fn reclaim(self) -> Option<Body> {
        let mut loan = self.0.lock();
        let rest = loan.body.take()?;
        let frames = std::mem::take(&mut loan.kept).finish();
        if loan.lost {
            return None;
        }
        Some(if frames.is_empty() { rest } else { boxed(Replayed { frames, rest }) })
    }
}

struct Lent(Arc<Mutex<Loan>>);

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut loan = self.0.lock();
        let Some(body) = loan.body.as_mut() else { return Poll::Ready(None) };
        let next = Pin::new(body).poll_frame(context);
        match &next {
            Poll::Ready(Some(Ok(frame))) if !loan.lost => loan.keep(frame),
            Poll::Ready(Some(Err(_))) => loan.lost = true,
            Poll::Ready(_) | Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream;
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::{BoxError, Patience, boxed, read_ahead};

    const PATIENCE: Patience = Patience { pause: Duration::from_secs(1), minimum: 4, limit: Duration::from_secs(30) };

    fn streamed(frames: Vec<Frame<Bytes>>) -> super::Body {
        boxed(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, BoxError>))))
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn reading_ahead_stops_at_the_bound_and_loses_nothing() {
        let trailers = || {
            let mut map = HeaderMap::new();
            map.insert("x-sum", "1".parse().unwrap());
            Frame::trailers(map)
        };
        for (bound, expected, complete) in [(1, "abc", false), (4, "abcdef", false), (100, "abcdefghi", true)] {
            let body = streamed(vec![data("abc"), data("def"), data("ghi"), trailers()]);
            let (head, body) = read_ahead(body, bound, PATIENCE).await.unwrap();
            assert_eq!((head.bytes.as_ref(), head.complete), (expected.as_bytes(), complete), "{bound}");
            let collected = body.collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
            assert_eq!(collected.to_bytes(), "abcdefghi");
        }
    }

    #[test]
    fn small_frames_are_kept_together_and_empty_ones_not_at_all() {
        let mut kept = super::Kept::default();
        let big = Bytes::from(vec![7; super::SMALL + 1]);
        for _ in 0..40_000 {
            kept.push(data("a"));
            kept.push(data(""));
        }
        kept.push(Frame::data(big.clone()));
        kept.push(data("z"));
        let frames = kept.finish();
        assert_eq!(frames.len(), 40_000_usize.div_ceil(super::TOGETHER) + 2);
        let lengths: usize = frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        assert_eq!(lengths, 40_000 + big.len() + 1);
    }

    #[tokio::test]
    async fn a_lent_body_comes_back_whole_unless_too_much_was_read() {
        for (reads, expected) in [(0, Some("abcdef")), (1, Some("abcdef")), (2, None)] {
            let (mut lent, lender) = super::lend(streamed(vec![data("abc"), data("def")]), 3);
            for _ in 0..reads {
                lent.frame().await.unwrap().unwrap();
            }
            let whole = match lender.reclaim() {
                Some(body) => Some(body.collect().await.unwrap().to_bytes()),
                None => None,
            };
            assert_eq!(whole.as_deref(), expected.map(str::as_bytes), "{reads}");
            assert!(lent.frame().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_is_judged_by_what_it_has_said() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(4);
        sender.send(Ok(data("data: 1\n\n"))).await.unwrap();
        let receiving = stream::unfold(receiver, |mut receiver| async {
            let next = receiver.recv().await?;
            Some((next, receiver))
        });
        let body = boxed(StreamBody::new(Box::pin(receiving)));
        let (head, _body) = read_ahead(body, 1000, PATIENCE).await.unwrap();
        assert_eq!((head.bytes.as_ref(), head.complete), (b"data: 1\n\n".as_ref(), false));
    }
}
