//! Asks signals when they are due, keeps what came of it, and tells Workers and webhooks.
//!
//! A signal's time is cut into windows at multiples of its length, in UTC. A window is looked at once it is over and its records
//! had time to arrive; what was missed while the platform was down is made up for, as far as [`MADE_UP`] windows. Invariants: a
//! window has one event, whatever is killed when and however many nodes look, because its event is named by its end and made
//! before the window counts as looked at; a query that fails is an event, once until it works again; who is slow to be told
//! holds up no looking.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use logs::sql::{Answer, SqlError};
use logs::{Logs, QueryError};
use push::webhook::{self, Post, SigningKey};
use serde_json::json;
use store::{
    Denied, Grant, Operate, Principal, SIGNING_KEY, Signal, SignalEvent, SignalEventId, SignalState, Store, StoreError,
    Stored, WEBHOOK, Webhook, WebhookState, WriteLogs,
};
use types::{AccountId, Secret, SignalId};

use crate::failure::Failure;
use crate::operations::explorer;
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

/// Events that are told at once: a webhook that hangs holds up no more than its own.
const AT_ONCE: usize = 16;

/// The time, asked anew for each attempt.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Send + Sync);

/// Who is told.
pub trait Tell: Send + Sync {
    /// Tells Workers, as a message of the queue of security events.
    fn workers(&self, id: String, body: String) -> BoxFuture<'_, ()>;

    /// Posts to a webhook; an error says in a few words why it was not taken, and does not quote the address.
    fn webhook(&self, post: Post) -> BoxFuture<'_, Result<(), String>>;
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
    /// The records cannot be read.
    #[error("the records cannot be read just now")]
    Logs(#[from] QueryError),
}

/// What it looks at.
#[derive(Debug, Clone)]
pub struct Watch {
    pub store: Store,
    pub logs: Logs,
    pub account: AccountId,
}

impl Watch {
    fn grant(&self) -> Result<Grant<WriteLogs>, WatchError> {
        Ok(Principal::system("signals").authorize::<WriteLogs>(self.account)?)
    }

    /// Asks every signal that is due about its next window; says how many events came of it. A signal that cannot be asked
    /// keeps back none of the others.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when the signals cannot be read.
    pub async fn look(&self, now: Timestamp) -> Result<usize, WatchError> {
        let grant = self.grant()?;
        let mut events = 0;
        for signal in self.store.signals().list(&grant).await? {
            if !signal.document.enabled {
                continue;
            }
            match self.look_at(&grant, &signal, now).await {
                Ok(event) => events += usize::from(event),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, signal = %signal.id, "a signal waits");
                }
            }
        }
        Ok(events)
    }

    /// Tells what was not told, some events at a time; says whether some wait for another attempt.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when the events cannot be read.
    pub async fn tell(&self, clock: Clock<'_>, tell: &dyn Tell) -> Result<bool, WatchError> {
        let grant = self.grant()?;
        let events = self.store.signal_events().list(&grant).await?;
        self.forget(&grant, &events).await?;
        let now = clock();
        let untold: Vec<_> = events.into_iter().filter(|event| waits(&event.document)).collect();
        let waiting = !untold.is_empty();
        let due = untold.into_iter().filter(|event| is_due(&event.document, now));
        let grant = &grant;
        let telling = futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |event| async move {
            let id = event.id;
            if let Err(error) = self.tell_of(grant, event, clock, tell).await {
                tracing::warn!(error = &error as &dyn std::error::Error, event = %id, "an event waits to be told");
            }
        });
        telling.await;
        Ok(waiting)
    }

    /// Looks at the next window of a signal, if one is due; says whether an event came of it.
    async fn look_at(
        &self,
        grant: &Grant<WriteLogs>,
        signal: &Stored<Signal>,
        now: Timestamp,
    ) -> Result<bool, WatchError> {
        let states = self.store.signal_states();
        let before = states.get(grant, &signal.id).await?;
        let through = before.as_ref().map_or(signal.created_at, |state| state.document.through);
        let Some((from, until)) = due(signal.document.every_minutes, through, now) else { return Ok(false) };
        let saved = self.store.saved_queries().get(grant, &signal.document.query).await?;
        let found = match saved {
            Some(saved) => match query(&self.logs, self.account, &saved.document.sql, (from, until)).await {
                Ok(answer) => Found::of(&answer, &signal.document),
                // No fault of the query: the window is asked about again.
                Err(SqlError::Logs(error)) => return Err(error.into()),
                Err(error) => Err(said(&explorer::failed(error))),
            },
            None => Err("its saved query is gone".to_owned()),
        };
        let failed_before = before.as_ref().is_some_and(|state| !state.document.error.is_empty());
        let event = match &found {
            Ok(found) => found.tells(&signal.document),
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
            Ok(_) | Err(StoreError::Stale(_) | StoreError::Taken(_) | StoreError::NotFound(_)) => Ok(event),
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
            webhook: webhook.map(|_| Webhook {
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

    async fn tell_of(
        &self,
        grant: &Grant<WriteLogs>,
        mut event: Stored<SignalEvent>,
        clock: Clock<'_>,
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
        let now = clock();
        let Some(waiting) = event.document.webhook.as_mut().filter(|webhook| is_waiting(webhook, now)) else {
            return Ok(());
        };
        waiting.attempts += 1;
        waiting.next = now.checked_add(CLAIM).ok();
        let attempts = waiting.attempts;
        let Some(mut event) = self.note(grant, event).await? else { return Ok(()) };
        let answer = match self.opened(event.id.signal).await? {
            Ok((url, key)) => tell.webhook(webhook::post(url, key.as_ref(), id, now, body)).await,
            Err(gone) => Err(gone.to_owned()),
        };
        let now = clock();
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

    /// Returns where a signal's events are posted to now, and what posts are signed with.
    async fn opened(
        &self,
        signal: SignalId,
    ) -> Result<Result<(Secret<String>, Option<SigningKey>), &'static str>, WatchError> {
        let grant = Principal::system("signals").authorize::<Operate>(self.account)?;
        let Some(mut signal) = self.store.signals().get(&grant, &signal).await? else {
            return Ok(Err("the signal is gone"));
        };
        let mut members = self.store.signals().open_members(&grant, &mut signal)?;
        // Of a signal from before addresses were sealed, the whole address is there in the clear, and nothing is signed.
        let url = members.remove(WEBHOOK).or_else(|| signal.document.webhook.map(Secret::new));
        let key = members.remove(SIGNING_KEY).map(|key| SigningKey::parse(&key)).transpose();
        Ok(match (url, key) {
            (Some(url), Ok(key)) => Ok((url, key)),
            (None, _) => Err("the signal has no webhook any more"),
            (_, Err(_)) => Err("what posts are signed with cannot be read: make a new one"),
        })
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

/// Whether somebody is still to be told, now or later.
fn waits(event: &SignalEvent) -> bool {
    !event.workers_told || event.webhook.as_ref().is_some_and(|webhook| webhook.state == WebhookState::Waiting)
}

/// Whether somebody is to be told now.
fn is_due(event: &SignalEvent, now: Timestamp) -> bool {
    !event.workers_told || event.webhook.as_ref().is_some_and(|webhook| is_waiting(webhook, now))
}

fn is_waiting(webhook: &Webhook, now: Timestamp) -> bool {
    webhook.state == WebhookState::Waiting && webhook.next.is_none_or(|next| next <= now)
}

/// What a failure says to people.
fn said(failure: &Failure) -> String {
    failure.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

fn event_id(signal: SignalId, until: Timestamp) -> SignalEventId {
    SignalEventId { signal, until: until.as_second() }
}

/// What a query found.
pub(crate) struct Found {
    pub value: f64,
    pub rows: u64,
    pub sample: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Found {
    /// Says whether it is something to tell.
    pub(crate) fn tells(&self, signal: &Signal) -> bool {
        self.value >= signal.at_least && self.rows > 0
    }

    pub(crate) fn of(answer: &Answer, signal: &Signal) -> Result<Self, String> {
        let all = answer.rows()?;
        let rows = all.len() as u64;
        let value = match &signal.column {
            None => rows as f64,
            // The greatest value may be in a row that was left out.
            Some(_) if answer.truncated => {
                return Err(format!(
                    "the query has more than {rows} rows; let it group, or order them and take the first"
                ));
            }
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
    let every = length(every_minutes);
    let newest = settled(every, now)?;
    let from = start(every, through.as_second()).max(newest - MADE_UP * every);
    let time = |second| Timestamp::from_second(second).ok();
    (from + every <= newest).then_some((time(from)?, time(from + every)?))
}

/// Returns the windows that are over, the newest first.
pub(crate) fn over(every_minutes: u32, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let every = length(every_minutes);
    let ends = std::iter::successors(settled(every, now), move |end| end.checked_sub(every));
    ends.map_while(move |end| Some((Timestamp::from_second(end - every).ok()?, Timestamp::from_second(end).ok()?)))
}

/// Returns the end of the newest window that can be looked at, in Unix seconds.
fn settled(every: i64, now: Timestamp) -> Option<i64> {
    Some(start(every, now.checked_sub(SETTLED).ok()?.as_second()))
}

fn length(every_minutes: u32) -> i64 {
    i64::from(every_minutes.max(1)) * 60
}

fn start(every: i64, second: i64) -> i64 {
    second.div_euclid(every) * every
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
