//! What happens without a request: cron triggers, security events to `queue` handlers, and tidying up.
//!
//! Each loop is one task that ends with the platform. Invariant: a slow Worker delays its own events and nobody else's
//! traffic; events waiting are bounded where they are made.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use futures_util::StreamExt;
use gateway::SecurityEvent;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use logs::Logs;
use store::{Operate, Principal, ReadScripts, SECURITY_EVENTS, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{AccountId, ScriptName};
use worker::protocol::QueueMessage;
use worker::{Call, CallError, Finished, Host, Runtime, Script};

use crate::records::{Ended, worker_event};
use crate::services::{EventHost, Services};

/// Cron expressions have minutes as their finest step.
const CRON_STEP: Duration = Duration::from_secs(60);
/// Wall-clock bound of one scheduled or queue call.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many Workers handle a trigger or a batch at the same time.
const AT_ONCE: usize = 16;
/// How long one may go on after the platform was told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// A batch is delivered when it has this many events or is this old.
const BATCH: usize = 100;
const BATCH_AGE: Duration = Duration::from_secs(1);
/// How often values that have expired are removed.
const TIDY: Duration = Duration::from_secs(600);

/// What the loops work with.
#[derive(Clone)]
pub(crate) struct Background {
    pub store: Store,
    pub account: AccountId,
    pub runtime: Arc<Runtime>,
    pub services: Arc<Services>,
    pub logs: Logs,
    pub clock: net::Clock,
}

impl Background {
    fn call(&self) -> Call {
        let host: Arc<dyn Host> = Arc::new(EventHost::new(Arc::clone(&self.services)));
        Call { host, cf: Arc::from("{}"), timeout: EVENT_TIMEOUT }
    }

    /// Fires cron triggers at the start of each minute.
    pub(crate) async fn run_schedules(self, stop: CancellationToken) {
        loop {
            let now = (self.clock)();
            let into = u64::try_from(now.as_millisecond().rem_euclid(60_000)).unwrap_or(0);
            let wait = CRON_STEP.saturating_sub(Duration::from_millis(into));
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            let minute = (self.clock)();
            let due = futures_util::stream::iter(self.due(minute).await);
            until(&stop, due.for_each_concurrent(AT_ONCE, |(name, cron)| self.fire(name, cron, minute))).await;
        }
    }

    async fn fire(&self, name: ScriptName, cron: String, minute: Timestamp) {
        let Some(script) = self.services.script(&name) else { return };
        let at = minute.as_millisecond() as f64;
        let result = self.runtime.scheduled(&script, cron.clone(), at, self.call()).await;
        self.record(&script, "scheduled", &cron, result).await;
    }

    async fn due(&self, minute: Timestamp) -> Vec<(ScriptName, String)> {
        let Ok(grant) = Principal::system("cron triggers").authorize::<ReadScripts>(self.account) else {
            return Vec::new();
        };
        match self.store.schedules().list(&grant).await {
            Ok(schedules) => schedules
                .into_iter()
                .flat_map(|schedule| {
                    let name = schedule.id;
                    let crons = schedule.document.crons.into_iter();
                    crons.filter(|cron| is_due(&cron.cron, minute)).map(move |cron| (name.clone(), cron.cron))
                })
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "cron triggers of this minute are lost, the store did not answer");
                Vec::new()
            }
        }
    }

    /// Hands security events to every Worker that asked for them, in batches.
    pub(crate) async fn run_events(self, mut events: mpsc::Receiver<SecurityEvent>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let Some(Some(first)) = stop.run_until_cancelled(events.recv()).await else { return };
            batch.push(first);
            let deadline = tokio::time::sleep(BATCH_AGE);
            tokio::pin!(deadline);
            while batch.len() < BATCH {
                tokio::select! {
                    () = &mut deadline => break,
                    () = stop.cancelled() => break,
                    event = events.recv() => match event {
                        Some(event) => batch.push(event),
                        None => break,
                    },
                }
            }
            until(&stop, self.deliver(std::mem::take(&mut batch))).await;
        }
    }

    async fn deliver(&self, batch: Vec<SecurityEvent>) {
        let now = (self.clock)().as_millisecond() as f64;
        let messages: Vec<QueueMessage> = batch
            .into_iter()
            .filter_map(|event| {
                let id = event.request_id.clone();
                let body = serde_json::to_string(&event).ok()?;
                Some(QueueMessage { id, timestamp_ms: now, attempts: 1, body })
            })
            .collect();
        self.hand_to_all(&messages).await;
    }

    /// Hands messages to every Worker that asked for security events.
    pub(crate) async fn hand_to_all(&self, messages: &[QueueMessage]) {
        let consumers = futures_util::stream::iter(self.services.consumers());
        consumers.for_each_concurrent(AT_ONCE, |script| self.hand_over(script, messages)).await;
    }

    async fn hand_over(&self, script: Arc<Script>, messages: &[QueueMessage]) {
        let result = self.runtime.queue(&script, SECURITY_EVENTS.into(), messages.to_vec(), self.call()).await;
        let retry: Vec<_> = match &result {
            Ok(finished) => messages.iter().filter(|message| finished.retry.contains(&message.id)).cloned().collect(),
            Err(_) => messages.to_vec(),
        };
        self.record(&script, "queue", SECURITY_EVENTS, result).await;
        if !retry.is_empty() {
            let again = retry.into_iter().map(|message| QueueMessage { attempts: 2, ..message }).collect();
            let result = self.runtime.queue(&script, SECURITY_EVENTS.into(), again, self.call()).await;
            self.record(&script, "queue", SECURITY_EVENTS, result).await;
        }
    }

    /// Removes expired values until `stop`.
    pub(crate) async fn run_tidying(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
            let Ok(grant) = Principal::system("tidying").authorize::<Operate>(self.account) else { continue };
            if let Err(error) = self.store.kv().expire(&grant).await {
                tracing::warn!(%error, "expired values stay until the next round");
            }
            if let Err(error) = self.store.sweep_tokens(&grant).await {
                tracing::warn!(%error, "expired API tokens stay until the next round");
            }
            // Sessions, logins, mail with its codes: what has ended is kept no longer than it must be.
            if let Err(error) = self.store.sweep_access(&grant).await {
                tracing::warn!(%error, "what has ended at Access stays until the next round");
            }
        }
    }

    async fn record(&self, script: &Script, event: &'static str, trigger: &str, result: Result<Finished, CallError>) {
        let (outcome, error, report) = match result {
            Ok(finished) => ("ok".to_owned(), String::new(), finished.report),
            Err(error) => (error.kind.to_string(), error.message.clone(), error.report),
        };
        let ended = Ended { event, trigger, outcome: &outcome, error: &error, report: &report };
        let record = worker_event(self.account, script, &ended, (self.clock)());
        if let Err(error) = self.logs.append(record).await {
            tracing::error!(%error, script = %script.key, "the record of a Worker call is lost");
        }
    }
}

/// Does `work`, and gives it up soon after `stop`: a Worker that takes its time must not hold up the end of the platform.
async fn until(stop: &CancellationToken, work: impl Future<Output = ()>) {
    let given_up = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = work => {}
        () = given_up => {}
    }
}

/// Whether a trigger fires in the minute that `now` is in, in UTC.
fn is_due(cron: &str, now: Timestamp) -> bool {
    let Ok(cron) = Cron::from_str(cron) else { return false };
    let minute = now.as_second() - now.as_second().rem_euclid(60);
    Timestamp::from_second(minute)
        .map(|minute| minute.to_zoned(TimeZone::UTC))
        .is_ok_and(|minute| cron.is_time_matching(&minute).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::{GRACE, is_due, until};

    #[tokio::test(start_paused = true)]
    async fn work_is_given_up_after_the_platform_was_told_to_stop() {
        let (stop, started) = (CancellationToken::new(), tokio::time::Instant::now());
        until(&stop, tokio::time::sleep(Duration::from_secs(30))).await;
        assert_eq!(started.elapsed(), Duration::from_secs(30));
        stop.cancel();
        until(&stop, std::future::pending()).await;
        assert_eq!(started.elapsed(), Duration::from_secs(30) + GRACE);
    }

    #[test]
    fn triggers_fire_in_their_minute_and_no_other() {
        let at = |text: &str| text.parse().unwrap();
        for (cron, now, due) in [
            ("*/5 * * * *", "2026-11-21T03:20:31Z", true),
            ("*/5 * * * *", "2026-11-21T03:21:00Z", false),
            ("0 0 * * *", "2026-11-21T00:00:59Z", true),
            ("not a cron", "2026-11-21T00:00:00Z", false),
        ] {
            assert_eq!(is_due(cron, at(now)), due, "{cron} at {now}");
        }
    }
}
