//! Bodies on their way through: the one boxed type, and counting what passes.
//!
//! Nothing here decides or buffers. Invariant: no frame is polled before the consumer asks, so back-pressure reaches the
//! sender.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};

use crate::BoxError;
pub use crate::upstream::Body;

/// Returns a body without bytes.
#[must_use]
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body of one piece.
#[must_use]
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Boxes any body.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Reads a whole body of at most `limit` bytes; `None` when it is longer or breaks off.
pub async fn collect(mut body: Body, limit: usize) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            if bytes.len() + data.len() > limit {
                return None;
            }
            bytes.extend_from_slice(data);
        }
    }
    Some(bytes.freeze())
}

/// A body that counts its data bytes and keeps `held` until it is done or dropped.
pub struct Metered<H> {
    body: Body,
    counter: Arc<AtomicU64>,
    held: Option<H>,
}

impl<H: Send + Unpin + 'static> Metered<H> {
    pub fn boxed(body: Body, counter: Arc<AtomicU64>, held: H) -> Body {
        // A body without frames is never polled; what it would hold ends here.
        if body.is_end_stream() {
            drop(held);
            return body;
        }
        boxed(Self { body, counter, held: Some(held) })
    }
}

impl<H: Unpin> http_body::Body for Metered<H> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        match &next {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                if self.body.is_end_stream() {
                    self.held = None;
                }
            }
            Poll::Ready(None | Some(Err(_))) => self.held = None,
            Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
