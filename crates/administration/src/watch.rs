//! Asks signals when they are due, keeps what came of it, and tells Workers and webhooks.
//!
//! A signal's time is cut into windows at multiples of its length, in UTC. A window is looked at once it is over and its records
//! had time to arrive; what was missed while the platform was down is made up for, as far as [`MADE_UP`] windows. Invariants: a
//! window has one event, whatever is killed when and however many nodes look, because its event is named by its end and made
//! before the window counts as looked at; a query that fails is an event, once until it works again.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use logs::Logs;
use logs::sql::Answer;
use serde_json::json;
use store::{
    Denied, Grant, Principal, Signal, SignalEvent, SignalEventId, SignalState, Store, StoreError, Stored, Webhook,
    WebhookState, WriteLogs,
};
use types::{AccountId, SignalId};

use crate::operations::signals::{event_view, query};

/// How long after its end a window is looked at: records are found within a second, and are written when a request ends.
const SETTLED: SignedDuration = SignedDuration::from_secs(30);
/// How many windows that were missed are made up for; older ones are passed over.
const MADE_UP: i64 = 24;
/// Rows that an event keeps, and bytes of them as JSON.
const SAMPLE: usize = 10;
const SAMPLE_BYTES: usize = 16 * 1024;
/// Events that are kept; the oldest go.
const KEPT: usize = 1_500;
/// Pauses after attempts at a webhook that failed; after the last it has failed.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(6 * 3_600),
];
/// For how long an attempt is claimed by the node that makes it.
const CLAIM: SignedDuration = SignedDuration::from_secs(90);

/// Who is told.
pub trait Tell: Send + Sync {
    /// Tells Workers, as a message of the queue of security events.
    fn workers(&self, id: String, body: String) -> BoxFuture<'_, ()>;

    /// Posts to a webhook; an error says in a few words why it was not taken.
    fn webhook(&self, url: String, id: String, body: String) -> BoxFuture<'_, Result<(), String>>;
}

/// Why a round could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system may not.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// What it looks at.
#[derive(Debug, Clone)]
pub struct Watch {
    pub store: Store,
    pub logs: Logs,
    pub account: AccountId,
}

impl Watch {
    /// Asks what is due, and tells what was not told.
    ///
    /// # Errors
    ///
    /// [`WatchError`]; what was not done is done in the next round.
    pub async fn round(&self, now: Timestamp, tell: &dyn Tell) -> Result<(), WatchError> {
        let grant = Principal::system("signals").authorize::<WriteLogs>(self.account)?;
        for signal in self.store.signals().list(&grant).await? {
            if signal.document.enabled {
                self.look(&grant, &signal, now).await?;
            }
        }
        let events = self.store.signal_events().list(&grant).await?;
        self.forget(&grant, &events).await?;
        for event in events {
            self.tell(&grant, event, now, tell).await?;
        }
        Ok(())
    }

    /// Looks at the next window of a signal, if one is due.
    async fn look(&self, grant: &Grant<WriteLogs>, signal: &Stored<Signal>, now: Timestamp) -> Result<(), WatchError> {
        let states = self.store.signal_states();
        let before = states.get(grant, &signal.id).await?;
        let through = before.as_ref().map_or(signal.created_at, |state| state.document.through);
        let Some((from, until)) = due(signal.document.every_minutes, through, now) else { return Ok(()) };
        let saved = self.store.saved_queries().get(grant, &signal.document.query).await?;
        let found = match saved {
            Some(saved) => query(&self.logs, self.account, &saved.document.sql, (from, until))
                .await
                .map_err(|error| error.to_string())
                .and_then(|answer| Found::of(&answer, &signal.document)),
            None => Err("its saved query is gone".to_owned()),
        };
        let failed_before = before.as_ref().is_some_and(|state| !state.document.error.is_empty());
        let event = match &found {
            Ok(found) => found.value >= signal.document.at_least && found.rows > 0,
            Err(_) => !failed_before,
        };
        if event {
            self.keep(grant, signal, (from, until), &found).await?;
        }
        let state = match found {
            Ok(found) => SignalState { through: until, value: Some(found.value), error: String::new() },
            Err(error) => SignalState { through: until, value: None, error },
        };
        let moved = match before {
            Some(before) => states.replace(grant, signal.id, state, Some(before.revision)).await,
            None => states.create(grant, signal.id, state).await,
        };
        match moved {
            // Another node looked at the same window, or the signal was deleted meanwhile.
            Ok(_) | Err(StoreError::Stale(_) | StoreError::Taken(_) | StoreError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn keep(
        &self,
        grant: &Grant<WriteLogs>,
        signal: &Stored<Signal>,
        (from, until): (Timestamp, Timestamp),
        found: &Result<Found, String>,
    ) -> Result<(), WatchError> {
        let Signal { name, severity, at_least, webhook, .. } = signal.document.clone();
        let event = SignalEvent {
            name,
            severity,
            from,
            until,
            value: found.as_ref().ok().map(|found| found.value),
            at_least,
            rows: found.as_ref().map_or(0, |found| found.rows),
            sample: found.as_ref().map(|found| found.sample.clone()).unwrap_or_default(),
            error: found.as_ref().err().cloned().unwrap_or_default(),
            workers_told: false,
            webhook: webhook.map(|url| Webhook {
                url,
                state: WebhookState::Waiting,
                attempts: 0,
                next: None,
                answer: String::new(),
            }),
        };
        match self.store.signal_events().create(grant, event_id(signal.id, until), event).await {
            // The window was looked at before: by another node, or by this one before it was killed.
            Ok(_) | Err(StoreError::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the oldest events go, told or not.
    async fn forget(&self, grant: &Grant<WriteLogs>, events: &[Stored<SignalEvent>]) -> Result<(), WatchError> {
        for event in events.iter().take(events.len().saturating_sub(KEPT)) {
            match self.store.signal_events().delete(grant, &event.id, None).await {
                Ok(_) | Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        grant: &Grant<WriteLogs>,
        mut event: Stored<SignalEvent>,
        now: Timestamp,
        tell: &dyn Tell,
    ) -> Result<(), WatchError> {
        let (id, body) = (event.id.to_string(), message(self.account, &event));
        if !event.document.workers_told {
            // Noted first: Workers are told at most once, as they are of everything else in this queue.
            event.document.workers_told = true;
            let Some(noted) = self.note(grant, event).await? else { return Ok(()) };
            tell.workers(id.clone(), body.clone()).await;
            event = noted;
        }
        let Some(webhook) = event.document.webhook.as_mut() else { return Ok(()) };
        if webhook.state != WebhookState::Waiting || webhook.next.is_some_and(|next| next > now) {
            return Ok(());
        }
        webhook.attempts += 1;
        webhook.next = now.checked_add(CLAIM).ok();
        let (url, attempts) = (webhook.url.clone(), webhook.attempts);
        let Some(mut event) = self.note(grant, event).await? else { return Ok(()) };
        let answer = tell.webhook(url, id, body).await;
        if let Some(webhook) = event.document.webhook.as_mut() {
            let pause = PAUSES.get(attempts as usize - 1);
            (webhook.state, webhook.next, webhook.answer) = match (answer, pause) {
                (Ok(()), _) => (WebhookState::Sent, None, String::new()),
                (Err(answer), Some(pause)) => (WebhookState::Waiting, now.checked_add(*pause).ok(), answer),
                (Err(answer), None) => (WebhookState::Failed, None, answer),
            };
        }
        self.note(grant, event).await?;
        Ok(())
    }

    /// Saves an event as it is; nothing when somebody else was quicker.
    async fn note(
        &self,
        grant: &Grant<WriteLogs>,
        event: Stored<SignalEvent>,
    ) -> Result<Option<Stored<SignalEvent>>, WatchError> {
        let Stored { id, revision, document, .. } = event;
        match self.store.signal_events().replace(grant, id, document, Some(revision)).await {
            Ok(stored) => Ok(Some(stored)),
            Err(StoreError::Stale(_) | StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn event_id(signal: SignalId, until: Timestamp) -> SignalEventId {
    SignalEventId { signal, until: until.as_second() }
}

/// What a query found.
struct Found {
    value: f64,
    rows: u64,
    sample: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Found {
    fn of(answer: &Answer, signal: &Signal) -> Result<Self, String> {
        let all = answer.rows()?;
        let rows = all.len() as u64;
        let value = match &signal.column {
            None => rows as f64,
            Some(column) if answer.columns.iter().any(|one| one.name == *column) => {
                let values = all.iter().filter_map(|row| row.get(column)?.as_f64());
                values.reduce(f64::max).unwrap_or_default()
            }
            Some(column) => return Err(format!("the query has no column {column} any more")),
        };
        let mut bytes = 0;
        let sample = all.into_iter().take(SAMPLE).take_while(|row| {
            bytes += serde_json::to_string(row).map_or(SAMPLE_BYTES, |text| text.len());
            bytes <= SAMPLE_BYTES
        });
        Ok(Self { value, rows, sample: sample.collect() })
    }
}

/// What Workers and webhooks are told.
fn message(account: AccountId, event: &Stored<SignalEvent>) -> String {
    let view = event_view(event);
    let detail = if view.error.is_empty() {
        let value = view.value.unwrap_or_default();
        format!(
            "{}: {value} from {} to {}, at least {} was to be told",
            view.name, view.from, view.until, view.at_least
        )
    } else {
        format!("{}: the query failed: {}", view.name, view.error)
    };
    let body = json!({
        "type": if view.error.is_empty() { "signal" } else { "signal_failed" },
        "at": view.until,
        "account_id": account.to_string(),
        "id": view.id,
        "signal_id": view.signal_id,
        "name": view.name,
        "severity": view.severity,
        "from": view.from,
        "until": view.until,
        "value": view.value,
        "at_least": view.at_least,
        "rows": view.rows,
        "sample": view.sample,
        "detail": detail,
    });
    body.to_string()
}

/// Returns the next window that is to be looked at: the first after `through` that is over and not too long ago.
fn due(every_minutes: u32, through: Timestamp, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let every = i64::from(every_minutes.max(1)) * 60;
    let start = |second: i64| second.div_euclid(every) * every;
    let newest = start(now.checked_sub(SETTLED).ok()?.as_second());
    let from = start(through.as_second()).max(newest - MADE_UP * every);
    let time = |second| Timestamp::from_second(second).ok();
    (from + every <= newest).then_some((time(from)?, time(from + every)?))
}

#[cfg(test)]
mod tests {
    use super::due;

    #[test]
    fn windows_follow_each_other_and_none_is_looked_at_before_it_is_over() {
        let time = |text: &str| format!("2026-11-28T{text}Z").parse::<jiff::Timestamp>().unwrap();
        for (every, through, now, window) in [
            // Not over, and not settled.
            (5, "07:00:00", "07:04:59", None),
            (5, "07:00:00", "07:05:29", None),
            (5, "07:00:00", "07:05:30", Some(("07:00:00", "07:05:00"))),
            // What it began in the middle of is looked at whole.
            (5, "07:02:11", "07:05:31", Some(("07:00:00", "07:05:00"))),
            // One after the other,
            (5, "07:05:00", "07:31:00", Some(("07:05:00", "07:10:00"))),
            // but not from long ago.
            (1, "03:00:00", "07:00:30", Some(("06:36:00", "06:37:00"))),
            (1440, "00:00:00", "23:59:59", None),
        ] {
            let found = due(every, time(through), time(now));
            let expected = window.map(|(from, until)| (time(from), time(until)));
            assert_eq!(found, expected, "{every} {through} {now}");
        }
    }
}
