//! One HTTP/1.1 connection to an origin, driven by whoever uses it.
//!
//! hyper moves a connection on when its driver is polled. A task of its own for that would be woken, and would wake the
//! request's task, for the request, for the response's head and for every piece of its body. So the request that has the
//! connection polls the driver itself, and nobody does while it is idle. Only where both directions must move on their own
//! (a request with a body, a change of protocols) is the driver a task, from then on. It decides nothing about reuse.
//! Invariant: a connection that is said to be idle owes nothing to the request before.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::pool::{Body, ConnectionInfo, Failure, Tasks};
use crate::transport::BoxStream;

type Connection = http1::Connection<TokioIo<BoxStream>, Body>;

/// Bytes read ahead from an origin whose response nobody takes; also the longest response head. A body arrives in pieces of
/// up to this size, which is two full writes towards the client.
const MAX_BUFFER: usize = 128 << 10;

/// See the module.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: Driver,
    pub(super) info: Arc<ConnectionInfo>,
}

enum Driver {
    /// Polled by whoever uses the connection.
    Here(Box<Connection>),
    /// A task, or over.
    Elsewhere,
}

impl Driver {
    /// Moves the connection on; once it is over, everything that waits for it learns so.
    fn advance(&mut self, context: &mut Context<'_>) {
        if let Self::Here(connection) = self
            && let Poll::Ready(outcome) = Pin::new(connection.as_mut()).poll(context)
        {
            if let Err(error) = outcome {
                tracing::debug!(%error, "connection to an origin ended");
            }
            *self = Self::Elsewhere;
        }
    }
}

impl Http1 {
    /// Starts HTTP/1.1 on `stream`.
    pub(super) async fn start(
        stream: BoxStream,
        max_headers: usize,
        info: Arc<ConnectionInfo>,
    ) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_headers(max_headers).max_buf_size(MAX_BUFFER);
        let (sender, connection) = builder.handshake::<_, Body>(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Driver::Here(Box::new(connection)), info })
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Body>, tasks: &Tasks) -> Result<Response<Incoming>, Failure> {
        let changes = request.headers().contains_key(http::header::UPGRADE);
        if changes || !request.body().is_end_stream() {
            self.drive_elsewhere(tasks);
        }
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        if matches!(driver, Driver::Elsewhere) {
            return answer.await.map_err(Failure::from);
        }
        let answered = std::future::poll_fn(|context| {
            driver.advance(context);
            // Only the driver, polled just now and by nobody else, can have brought it: there is nobody to wake.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        answered.await.map_err(Failure::from)
    }

    /// Takes the next piece of the body of the response that is on its way.
    pub(super) fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if matches!(self.driver, Driver::Elsewhere) {
            return Pin::new(incoming).poll_frame(context);
        }
        // hyper reads a body once somebody asked for it.
        let mut unwoken = Context::from_waker(Waker::noop());
        let asked = Pin::new(&mut *incoming).poll_frame(&mut unwoken);
        if asked.is_ready() {
            return asked;
        }
        self.driver.advance(context);
        Pin::new(incoming).poll_frame(&mut unwoken)
    }

    /// Brings a connection without an exchange up to date; reports whether it can take a request now.
    pub(super) fn is_ready(&mut self) -> bool {
        self.driver.advance(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// Reports whether the connection is over, as far as was seen when it was last moved on.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Lets a task move the connection on from now on.
    pub(super) fn drive_elsewhere(&mut self, tasks: &Tasks) {
        if let Driver::Here(connection) = std::mem::replace(&mut self.driver, Driver::Elsewhere) {
            tasks.drive(connection.with_upgrades());
        }
    }
}
