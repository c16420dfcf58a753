//! Runs the watch of signals: a round every few seconds, and the way to Workers and webhooks.
//!
//! What is due and who was told is decided in `administration`. Invariant: one slow webhook or Worker delays other events,
//! never traffic.

use std::time::Duration;

use administration::watch::{Tell, Watch};
use futures_util::future::BoxFuture;
use http::{Method, Request, header};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use worker::protocol::QueueMessage;

use crate::background::Background;

/// How often it looks at what is due.
const LOOK: Duration = Duration::from_secs(5);
/// How long a webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

impl Background {
    /// Asks signals until `stop`.
    pub(crate) async fn run_signals(self, stop: CancellationToken) {
        let watch = Watch { store: self.store.clone(), logs: self.logs.clone(), account: self.account };
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if stop.run_until_cancelled(look.tick()).await.is_none() {
                return;
            }
            let now = (self.clock)();
            match stop.run_until_cancelled(watch.round(now, &self)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "signals wait for the next round");
                }
            }
        }
    }

    async fn post(&self, url: &str, id: &str, body: String) -> Result<(), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("portunus/", env!("CARGO_PKG_VERSION")))
            .header("Portunus-Event-Id", id)
            .body(worker::full_body(body));
        let request = request.map_err(|error| error.to_string())?;
        let answer = gateway::fetch(&self.services.pool, PATIENCE, request);
        let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| "no answer in time".to_owned())?;
        let status = answer.map_err(|error| error.message)?.status();
        if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
    }
}

impl Tell for Background {
    fn workers(&self, id: String, body: String) -> BoxFuture<'_, ()> {
        let timestamp_ms = (self.clock)().as_millisecond() as f64;
        Box::pin(async move { self.hand_to_all(&[QueueMessage { id, timestamp_ms, attempts: 1, body }]).await })
    }

    fn webhook(&self, url: String, id: String, body: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.post(&url, &id, body).await })
    }
}
