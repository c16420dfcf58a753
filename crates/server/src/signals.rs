//! Runs the watch of signals: a look every few seconds, and the way to Workers and webhooks.
//!
//! What is due and who was told is decided in `administration`. Invariant: a slow webhook or Worker delays neither traffic nor
//! the looking at windows.

use std::sync::Arc;
use std::time::Duration;

use administration::watch::{Tell, Watch};
use futures_util::future::BoxFuture;
use http::{Method, Request, header};
use push::webhook::Post;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use worker::protocol::QueueMessage;

use crate::background::Background;

/// How often it looks at what is due.
const LOOK: Duration = Duration::from_secs(5);
/// How often it looks for events of other nodes while none of its own wait to be told.
const IDLE: Duration = Duration::from_secs(60);
/// How long a webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

impl Background {
    fn watch(&self) -> Watch {
        Watch { store: self.store.clone(), logs: self.logs.clone(), account: self.account }
    }

    /// Asks signals until `stop`; says through `news` when there are events.
    pub(crate) async fn run_signals(self, news: Arc<Notify>, stop: CancellationToken) {
        let watch = self.watch();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if stop.run_until_cancelled(look.tick()).await.is_none() {
                return;
            }
            match stop.run_until_cancelled(watch.look((self.clock)())).await {
                None => return,
                Some(Ok(0)) => {}
                Some(Ok(_)) => news.notify_one(),
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "signals wait for the next round");
                }
            }
        }
    }

    /// Tells Workers and webhooks of events until `stop`: at once when there is one, and again while some wait.
    pub(crate) async fn run_telling(self, news: Arc<Notify>, stop: CancellationToken) {
        let watch = self.watch();
        loop {
            let told = stop.run_until_cancelled(watch.tell(&*self.clock, &self)).await;
            let pause = match told {
                None => return,
                Some(Ok(true)) => LOOK,
                Some(Ok(false)) => IDLE,
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "events wait to be told");
                    LOOK
                }
            };
            let waited = stop.run_until_cancelled(tokio::time::timeout(pause, news.notified())).await;
            if waited.is_none() {
                return;
            }
        }
    }

    async fn post(&self, post: Post) -> Result<(), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(post.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("portunus/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let request = request.body(worker::full_body(post.body)).map_err(|error| error.to_string())?;
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

    fn webhook(&self, post: Post) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.post(post))
    }
}
