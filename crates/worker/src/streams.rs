//! The bodies of one call: host-side ones the script may read, script-side ones the host reads.
//!
//! A host-side body is polled only when the script asks for a chunk, or leaves here whole when it is passed on. A
//! script-side body is a short queue: the script learns that there is room only when there is. Invariant: nothing here
//! reads ahead, and a body that breaks off is an error to its reader, never a short success.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::host::{Body, BoxError};
use crate::protocol::{BodyId, MAX_CHUNK, OperationError, OperationResult};

/// Host-side bodies one call may hold at a time.
const MAX_OPEN: usize = 128;
/// Chunks of a script-side body that may wait for its reader.
const QUEUE: usize = 8;

/// Host-side bodies have even ids, unique in the host process and therefore in any Worker process.
static NEXT: AtomicU64 = AtomicU64::new(2);

/// The bodies of one call.
#[derive(Default)]
pub(crate) struct Bodies {
    host: Mutex<HashMap<BodyId, Option<Reading>>>,
    script: Mutex<HashMap<BodyId, mpsc::Sender<Item>>>,
}

/// A host-side body at rest.
struct Reading {
    body: Body,
    /// What is left of a chunk that was larger than a message may be.
    left: Bytes,
}

enum Item {
    Chunk(Bytes),
    End,
    Error(String),
}

impl Bodies {
    /// Keeps a body for the script and returns its handle; nothing if the body is empty, an error if too many are open.
    pub(crate) fn keep(&self, body: Body) -> Result<Option<BodyId>, OperationError> {
        if body.is_end_stream() {
            return Ok(None);
        }
        let mut host = self.host.lock();
        if host.len() >= MAX_OPEN {
            return Err(failure("QuotaExceededError", "too many open bodies"));
        }
        let id = NEXT.fetch_add(2, Ordering::Relaxed);
        host.insert(id, Some(Reading { body, left: Bytes::new() }));
        Ok(Some(id))
    }

    /// Takes a body out, to be passed on.
    pub(crate) fn take(&self, id: BodyId) -> Option<Body> {
        let reading = self.host.lock().remove(&id)??;
        if reading.left.is_empty() {
            return Some(reading.body);
        }
        Some(Rest { left: reading.left, body: reading.body }.boxed_unsync())
    }

    /// Reads the next chunk of a body.
    pub(crate) async fn read(&self, id: BodyId) -> Result<OperationResult, OperationError> {
        let taken = self.host.lock().get_mut(&id).map(Option::take);
        let mut reading = match taken {
            Some(Some(reading)) => reading,
            Some(None) => return Err(failure("TypeError", "the body is being read already")),
            None => return Err(failure("TypeError", "the body has been used already")),
        };
        while reading.left.is_empty() {
            match reading.body.frame().await {
                Some(Ok(frame)) => reading.left = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    self.host.lock().remove(&id);
                    return Err(failure("TypeError", "the body broke off"));
                }
                None => {
                    self.host.lock().remove(&id);
                    return Ok(OperationResult::Chunk(None));
                }
            }
        }
        let chunk = reading.left.split_to(reading.left.len().min(MAX_CHUNK));
        // The script may have cancelled the body while it was being read.
        if let Some(place) = self.host.lock().get_mut(&id) {
            *place = Some(reading);
        }
        Ok(OperationResult::Chunk(Some(chunk.into())))
    }

    pub(crate) fn cancel(&self, id: BodyId) {
        self.host.lock().remove(&id);
        self.script.lock().remove(&id);
    }

    /// Opens a script-side body; nothing if the id is not one, or in use.
    pub(crate) fn open(&self, id: BodyId) -> Option<Body> {
        let mut script = self.script.lock();
        if id.is_multiple_of(2) || script.contains_key(&id) || script.len() >= MAX_OPEN {
            return None;
        }
        let (sender, items) = mpsc::channel(QUEUE);
        script.insert(id, sender);
        Some(ScriptBody { items, ended: false }.boxed_unsync())
    }

    /// Whether a script-side body is still being written.
    pub(crate) fn any_open(&self) -> bool {
        self.script.lock().values().any(|sender| !sender.is_closed())
    }

    /// Queues what the script wrote, in the order in which this is called. The future resolves when there is room for
    /// more.
    pub(crate) fn write(
        &self,
        id: BodyId,
        chunk: Vec<u8>,
        end: bool,
        error: Option<String>,
    ) -> impl Future<Output = Result<OperationResult, OperationError>> + Send + use<> {
        let queued = self.queue(id, chunk, end, error);
        async move {
            if let Some(sender) = queued? {
                // Waits for room; the place is given back at once.
                drop(sender.reserve().await.map_err(|_| gone())?);
            }
            Ok(OperationResult::Unit)
        }
    }

    fn queue(
        &self,
        id: BodyId,
        chunk: Vec<u8>,
        end: bool,
        error: Option<String>,
    ) -> Result<Option<mpsc::Sender<Item>>, OperationError> {
        let mut script = self.script.lock();
        let sender = script.get(&id).cloned().ok_or_else(gone)?;
        let push = |item| {
            sender.try_send(item).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => failure("RangeError", "the body has no room"),
                mpsc::error::TrySendError::Closed(_) => gone(),
            })
        };
        let queued = (|| {
            if !chunk.is_empty() {
                push(Item::Chunk(chunk.into()))?;
            }
            match error {
                Some(message) => push(Item::Error(message)),
                None if end => push(Item::End),
                None => Ok(()),
            }
        })();
        if end || queued.is_err() {
            script.remove(&id);
        }
        queued.map(|()| (!end).then_some(sender))
    }
}

fn failure(name: &str, message: &str) -> OperationError {
    OperationError { name: name.into(), message: message.into() }
}

fn gone() -> OperationError {
    failure("AbortError", "nobody reads this body any more")
}

/// A body whose first bytes have been read off already.
struct Rest {
    left: Bytes,
    body: Body,
}

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left.has_remaining() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.left)))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let left = self.left.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(left));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
    }
}

/// The reader's end of a script-side body.
struct ScriptBody {
    items: mpsc::Receiver<Item>,
    ended: bool,
}

impl http_body::Body for ScriptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.items.poll_recv(cx));
        if !matches!(item, Some(Item::Chunk(_))) {
            self.ended = true;
        }
        Poll::Ready(match item {
            Some(Item::Chunk(chunk)) => Some(Ok(Frame::data(chunk))),
            Some(Item::End) => None,
            Some(Item::Error(message)) => Some(Err(message.into())),
            // Only a process that ended, or a call out of time, leaves a body without an end.
            None => Some(Err("the worker ended before its body did".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::Bodies;
    use crate::host::{Body, empty_body, full_body};
    use crate::protocol::{MAX_CHUNK, OperationResult};

    fn chunks(sizes: &[usize]) -> Body {
        let frames: Vec<_> =
            sizes.iter().map(|size| Ok(http_body::Frame::data(bytes::Bytes::from(vec![b'x'; *size])))).collect();
        StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    }

    async fn read(bodies: &Bodies, id: u64) -> Option<usize> {
        let result = bodies.read(id).await.unwrap();
        let OperationResult::Chunk(chunk) = result else {
            panic!("{result:?}");
        };
        chunk.map(|chunk| chunk.len())
    }

    #[tokio::test]
    async fn a_body_is_read_in_bounded_chunks() {
        let bodies = Bodies::default();
        let id = bodies.keep(chunks(&[10, 0, MAX_CHUNK + 1])).unwrap().unwrap();
        assert_eq!(id % 2, 0);
        assert_eq!(read(&bodies, id).await, Some(10));
        assert_eq!(read(&bodies, id).await, Some(MAX_CHUNK));
        assert_eq!(read(&bodies, id).await, Some(1));
        assert_eq!(read(&bodies, id).await, None);
        assert!(bodies.read(id).await.is_err(), "an ended body is gone");
    }

    #[tokio::test]
    async fn a_body_passed_on_keeps_what_was_not_read() {
        let bodies = Bodies::default();
        let id = bodies.keep(chunks(&[MAX_CHUNK + 5, 7])).unwrap().unwrap();
        assert_eq!(read(&bodies, id).await, Some(MAX_CHUNK));
        let rest = bodies.take(id).unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(rest.len(), 12);
        assert!(bodies.take(id).is_none());
    }

    #[test]
    fn an_empty_body_has_no_handle() {
        assert!(Bodies::default().keep(empty_body()).unwrap().is_none());
        assert!(Bodies::default().keep(full_body("x")).unwrap().is_some());
    }

    #[tokio::test]
    async fn a_script_body_arrives_in_order_and_holds_its_writer_back() {
        let bodies = Bodies::default();
        let body = bodies.open(1).unwrap();
        assert!(bodies.open(1).is_none(), "an id is used once");
        assert!(bodies.open(2).is_none(), "even ids belong to the host");
        let mut writes: Vec<_> = (0..8_u8).map(|byte| Box::pin(bodies.write(1, vec![byte], false, None))).collect();
        let last = writes.pop().unwrap();
        for write in writes {
            drop(write);
        }
        assert!(futures_util::poll!(last).is_pending(), "no room, so the script waits");
        assert!(bodies.write(1, vec![9], false, None).await.is_err(), "and a script that does not wait loses its body");
        let read = body.collect().await;
        assert!(read.is_err(), "a body without an end is an error");
    }

    #[tokio::test]
    async fn a_script_body_ends_as_the_script_says() {
        let bodies = Bodies::default();
        let body = bodies.open(1).unwrap();
        bodies.write(1, b"ab".to_vec(), false, None).await.unwrap();
        assert!(bodies.any_open());
        bodies.write(1, b"c".to_vec(), true, None).await.unwrap();
        assert!(!bodies.any_open());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        let broken = bodies.open(3).unwrap();
        bodies.write(3, Vec::new(), true, Some("no".into())).await.unwrap();
        assert_eq!(broken.collect().await.unwrap_err().to_string(), "no");
    }
}
