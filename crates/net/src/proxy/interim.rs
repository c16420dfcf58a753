//! Interim responses (1xx) on their way from an origin to an HTTP/1.1 client, beside hyper, which cannot send them.
//!
//! An origin's connection puts them in, the client's connection (`framing`) writes them between two flushes. RFC 9110
//! section 15.2. Invariant: one stands before the response it belongs to or nowhere, and what a client does not read is
//! bounded and then dropped.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;

use super::hop;

/// Bytes waiting for one client; interim responses beyond are dropped, which is always allowed.
const MOST_WAITING: usize = 16 << 10;

/// The interim responses of one client connection. Cheap to clone.
#[derive(Clone, Default)]
pub struct Interim(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    any: AtomicBool,
    heads: Mutex<Vec<u8>>,
    connection: AtomicWaker,
    /// hyper may hold bytes of the response before.
    unflushed: AtomicBool,
}

impl Interim {
    /// Sends one head on. `100` and `101` are between the gateway and each side, and stay there.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) {
        if matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return;
        }
        let mut fields = fields.clone();
        hop::strip_response(&mut fields);
        // There is no body to frame.
        fields.remove(header::CONTENT_LENGTH);
        let mut head = Vec::with_capacity(256);
        // Writing to a vector cannot fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
        for (name, value) in &fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
        let mut heads = self.0.heads.lock();
        if heads.len() + head.len() > MOST_WAITING {
            return;
        }
        heads.extend_from_slice(&head);
        self.0.any.store(true, Ordering::Release);
        drop(heads);
        self.0.connection.wake();
    }

    /// Says whose task writes what is sent.
    pub fn written_by(&self, connection: &Waker) {
        self.0.connection.register(connection);
    }

    pub fn is_waiting(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// Notes whether hyper may hold bytes that belong before any others. Only the connection's own task asks and tells.
    pub fn set_unflushed(&self, unflushed: bool) {
        self.0.unflushed.store(unflushed, Ordering::Relaxed);
    }

    pub fn is_unflushed(&self) -> bool {
        self.0.unflushed.load(Ordering::Relaxed)
    }

    /// Ends the time for interim responses: the final one comes next. What cannot be written before it is dropped.
    pub fn close(&self) {
        if self.is_waiting() && self.is_unflushed() {
            drop(self.take());
        }
    }

    /// Takes what waits.
    pub fn take(&self) -> Vec<u8> {
        let mut heads = self.0.heads.lock();
        self.0.any.store(false, Ordering::Release);
        std::mem::take(&mut *heads)
    }
}
