//! Signals: saved queries that are asked on a schedule, and the security events that came of them.
//!
//! When one is due and who is told is [`crate::watch`]'s. A signal reads traffic, never the audit log: whoever reads its events
//! may not read that. Invariants: a signal that is saved could be asked at that moment, and names a column that counts; the
//! address of a webhook and what posts to it are signed with are not shown, but for a key that was just made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logs::Dataset;
use logs::sql::{Answer, Bounds, MAX_ROWS, Parameter, SqlError};
use push::webhook::{self, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{
    Grant, ReadLogs, SIGNING_KEY, Severity, Signal, SignalEvent, SignalState, Stored, WEBHOOK, WebhookState, WriteLogs,
};
use types::{SavedQueryId, Secret, SignalId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::random;
use super::{check_name, explorer, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, taken};
use crate::watch::{self, Found};

/// The shortest and the longest window, in minutes.
pub const MINUTES: std::ops::RangeInclusive<u32> = 1..=1_440;
/// What a signal may ask about.
pub const DATASETS: [Dataset; 5] =
    [Dataset::GatewayHttp, Dataset::GatewayNetwork, Dataset::Worker, Dataset::AccessRequests, Dataset::McpPortalLogs];
const RESOURCE: &str = "signal";
/// How many windows a signal is tried on, and for how long.
const TRIED: usize = 24;
const PATIENCE: Duration = Duration::from_secs(20);

/// A signal.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SignalView {
    pub id: String,
    pub name: String,
    pub query_id: String,
    /// The name of the saved query.
    pub query_name: String,
    pub every_minutes: u32,
    pub column: Option<String>,
    pub at_least: f64,
    /// `low`, `medium`, `high` or `critical`
    pub severity: &'static str,
    /// Where events are posted to; path and query read `REDACTED`.
    pub webhook: Option<String>,
    /// What posts are signed with (Standard Webhooks), in the answer that made it and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    pub enabled: bool,
    /// The end of the last window that was looked at; null before the first.
    pub checked_through: Option<String>,
    /// What counted in it.
    pub last_value: Option<f64>,
    /// Why the query failed then; empty when it did not.
    pub last_error: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A signal to be made or replaced.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    pub name: String,
    /// The saved query; it names `$from` and `$until`.
    pub query_id: String,
    /// 1 to 1440; the length of the window, too.
    pub every_minutes: u32,
    /// The column whose greatest value counts; without one, the number of rows does.
    #[serde(default)]
    pub column: Option<String>,
    /// An event comes of it when what counts is at least this.
    pub at_least: f64,
    /// `low`, `medium` (unless it says otherwise), `high` or `critical`
    #[serde(default)]
    #[schema(value_type = String)]
    pub severity: Option<String>,
    /// Where events are posted to as JSON. What a signal shows of its own is left as it is.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook: Option<Secret<String>>,
    /// What posts are signed with: `whsec_` and 24 to 64 bytes in base64. Without one a key is made, or the one there is stays.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook_secret: Option<Secret<String>>,
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// What a signal would have found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrialView {
    /// The windows that were looked at, newest first: 24, or as many as there was time for.
    pub windows: Vec<TrialWindowView>,
    /// How many of them would have been events.
    pub events: usize,
    /// Some rows of the newest of these.
    #[schema(value_type = Vec<Object>)]
    pub sample: Vec<Map<String, Value>>,
}

/// A window that a signal was tried on.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrialWindowView {
    pub from: String,
    pub until: String,
    pub value: f64,
    pub rows: u64,
    /// Whether it would have been an event.
    pub event: bool,
}

/// A security event of a signal.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SignalEventView {
    pub id: String,
    pub signal_id: String,
    pub name: String,
    /// `low`, `medium`, `high` or `critical`
    pub severity: &'static str,
    pub from: String,
    pub until: String,
    pub value: Option<f64>,
    pub at_least: f64,
    pub rows: u64,
    /// Some of the rows.
    #[schema(value_type = Vec<Object>)]
    pub sample: Vec<Map<String, Value>>,
    /// Why the query failed; empty when it did not.
    pub error: String,
    /// `waiting`, `sent` or `failed`; null without a webhook.
    pub webhook: Option<&'static str>,
    pub webhook_answer: String,
    pub created_at: String,
}

fn view(stored: Stored<Signal>, query_name: String, state: Option<&SignalState>) -> SignalView {
    let signal = stored.document;
    SignalView {
        id: stored.id.to_string(),
        name: signal.name,
        query_id: signal.query.to_string(),
        query_name,
        every_minutes: signal.every_minutes,
        column: signal.column,
        at_least: signal.at_least,
        severity: signal.severity.as_str(),
        webhook: signal.webhook.as_deref().map(webhook::shown),
        webhook_secret: None,
        enabled: signal.enabled,
        checked_through: state.map(|state| time(state.through)),
        last_value: state.and_then(|state| state.value),
        last_error: state.map(|state| state.error.clone()).unwrap_or_default(),
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

/// Shows an event.
#[must_use]
pub fn event_view(stored: &Stored<SignalEvent>) -> SignalEventView {
    let event = &stored.document;
    SignalEventView {
        id: stored.id.to_string(),
        signal_id: stored.id.signal.to_string(),
        name: event.name.clone(),
        severity: event.severity.as_str(),
        from: time(event.from),
        until: time(event.until),
        value: event.value,
        at_least: event.at_least,
        rows: event.rows,
        sample: event.sample.clone(),
        error: event.error.clone(),
        webhook: event.webhook.as_ref().map(|webhook| match webhook.state {
            WebhookState::Waiting => "waiting",
            WebhookState::Sent => "sent",
            WebhookState::Failed => "failed",
        }),
        webhook_answer: event.webhook.as_ref().map(|webhook| webhook.answer.clone()).unwrap_or_default(),
        created_at: time(stored.created_at),
    }
}

/// Lists the signals.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<SignalView>, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let queries = cx.store().saved_queries().list(&grant).await?;
    let states = cx.store().signal_states().list(&grant).await?;
    let signals = cx.store().signals().list(&grant).await?.into_iter().map(|signal| {
        let query = queries.iter().find(|query| query.id == signal.document.query);
        let name = query.map(|query| query.document.name.clone()).unwrap_or_default();
        let state = states.iter().find(|state| state.id == signal.id).map(|state| &state.document);
        view(signal, name, state)
    });
    Ok(signals.collect())
}

/// Returns one.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: SignalId) -> Result<SignalView, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let stored = cx.store().signals().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let query = cx.store().saved_queries().get(&grant, &stored.document.query).await?;
    let state = cx.store().signal_states().get(&grant, &id).await?;
    let name = query.map(|query| query.document.name).unwrap_or_default();
    Ok(view(stored, name, state.as_ref().map(|state| &state.document)))
}

/// Makes a signal. The answer holds what its posts are signed with.
///
/// # Errors
///
/// A [`Failure`] that points at what is wrong; `Conflict` for a name that is taken.
pub async fn create(cx: &OpContext, mut body: SignalBody) -> Result<SignalView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let id = SignalId(Uuid::now_v7());
    let (address, key) = (body.webhook.take(), body.webhook_secret.take());
    let mut signal = checked(cx, &grant, body).await?;
    let made = put_webhook(cx, &grant, id, &mut signal, None, address, key)?;
    let stored = cx.store().signals().create(&grant, id, signal).await.map_err(|error| taken(error, name_taken))?;
    cx.record(Change::new(Verb::Create, RESOURCE, id).after(summary(&stored.document))).await?;
    Ok(SignalView { webhook_secret: made, ..get(cx, id).await? })
}

/// Asks the windows that are over what a signal would have found in them. Nothing is saved and nobody is told.
///
/// # Errors
///
/// As [`create`], but for the webhook, which is not looked at; what goes over a bound of queries says which.
pub async fn trial(cx: &OpContext, body: SignalBody) -> Result<TrialView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let signal = checked(cx, &grant, body).await?;
    let missing = || Failure::invalid("/query_id", "must be the id of a saved query");
    let saved = cx.store().saved_queries().get(&grant, &signal.query).await?.ok_or_else(missing)?;
    let asked = serde_json::json!({ "query": saved.document.sql, "every_minutes": signal.every_minutes });
    cx.record(Change::new(Verb::Query, "logs", "trial of a signal").after(asked)).await?;
    let (started, mut windows, mut sample) = (Instant::now(), Vec::new(), Vec::new());
    for (from, until) in watch::over(signal.every_minutes, cx.now()).take(TRIED) {
        if started.elapsed() > PATIENCE {
            break;
        }
        let answer = ask(cx, &saved.document.sql, (from, until)).await.map_err(|failure| at(failure, "/query_id"))?;
        let found = Found::of(&answer, &signal).map_err(|message| Failure::invalid("/query_id", message))?;
        let event = found.tells(&signal);
        if event && sample.is_empty() {
            sample = found.sample;
        }
        windows.push(TrialWindowView {
            from: time(from),
            until: time(until),
            value: found.value,
            rows: found.rows,
            event,
        });
    }
    let events = windows.iter().filter(|window| window.event).count();
    Ok(TrialView { windows, events, sample })
}

/// Replaces one. Windows that were looked at stay looked at; one that is enabled again, or has another length, begins now.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: SignalId, mut body: SignalBody) -> Result<SignalView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().signals().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let (address, key) = (body.webhook.take(), body.webhook_secret.take());
    let mut signal = checked(cx, &grant, body).await?;
    let made = put_webhook(cx, &grant, id, &mut signal, Some(&before.document), address, key)?;
    let saved = cx.store().signals().replace(&grant, id, signal, Some(before.revision)).await;
    let stored = saved.map_err(|error| taken(error, name_taken))?;
    let (old, new) = (&before.document, &stored.document);
    if (new.enabled && !old.enabled) || new.every_minutes != old.every_minutes {
        // What lies before is neither made up for nor looked at again in other windows.
        let state = SignalState { through: cx.now(), value: None, error: String::new() };
        cx.store().signal_states().put(&grant, id, state).await?;
    }
    let change = Change::new(Verb::Update, RESOURCE, id).before(summary(&before.document));
    cx.record(change.after(summary(&stored.document))).await?;
    Ok(SignalView { webhook_secret: made, ..get(cx, id).await? })
}

/// Makes a new key for the posts of a signal, which replaces the one there is at once. The answer holds it.
///
/// # Errors
///
/// `NotFound`, `Conflict` for a signal without a webhook, and a [`Failure`] for the caller.
pub async fn renew_key(cx: &OpContext, id: SignalId) -> Result<SignalView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().signals().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let mut signal = before.document.clone();
    if signal.webhook.is_none() {
        return Err(Failure::conflict("/webhook", "the signal has no webhook"));
    }
    let key = SigningKey::text_of(&random()?);
    seal(cx, &grant, id, &mut signal, SIGNING_KEY, &key)?;
    cx.store().signals().replace(&grant, id, signal, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, RESOURCE, id);
    cx.record(change.after(serde_json::json!({ "webhook_secret": "renewed" }))).await?;
    Ok(SignalView { webhook_secret: Some(key.into_inner()), ..get(cx, id).await? })
}

/// Gives a signal the address and the key of a body; returns a key that was made.
fn put_webhook(
    cx: &OpContext,
    grant: &Grant<WriteLogs>,
    id: SignalId,
    signal: &mut Signal,
    before: Option<&Signal>,
    address: Option<Secret<String>>,
    key: Option<Secret<String>>,
) -> Result<Option<String>, Failure> {
    let Some(address) = address.filter(|address| !address.expose().is_empty()) else { return Ok(None) };
    let kept = before.filter(|before| before.webhook.as_deref().map(webhook::shown).as_ref() == Some(address.expose()));
    signal.secrets = before.map(|before| before.secrets.clone()).unwrap_or_default();
    match kept {
        Some(kept) if kept.secrets.contains_key(WEBHOOK) => signal.webhook.clone_from(&kept.webhook),
        kept => {
            // Of a signal from before addresses were sealed, the whole address is there in the clear.
            let text = kept.and_then(|kept| kept.webhook.as_ref()).unwrap_or_else(|| address.expose());
            let url = webhook::address(text).map_err(|wrong| Failure::invalid("/webhook", wrong))?;
            signal.webhook = Some(webhook::shown(url.as_str()));
            seal(cx, grant, id, signal, WEBHOOK, &Secret::new(url.to_string()))?;
        }
    }
    if let Some(key) = key.filter(|key| !key.expose().is_empty()) {
        SigningKey::parse(&key).map_err(|wrong| Failure::invalid("/webhook_secret", wrong.to_string()))?;
        seal(cx, grant, id, signal, SIGNING_KEY, &key)?;
    } else if !signal.secrets.contains_key(SIGNING_KEY) {
        let key = SigningKey::text_of(&random()?);
        seal(cx, grant, id, signal, SIGNING_KEY, &key)?;
        return Ok(Some(key.into_inner()));
    }
    Ok(None)
}

fn seal(
    cx: &OpContext,
    grant: &Grant<WriteLogs>,
    id: SignalId,
    signal: &mut Signal,
    name: &str,
    secret: &Secret<String>,
) -> Result<(), Failure> {
    let sealed = cx.store().signals().seal_member(grant, &id, name, secret)?;
    signal.secrets.insert(name.to_owned(), sealed);
    Ok(())
}

/// Deletes one; its events stay.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: SignalId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().signals().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    cx.store().signals().delete(&grant, &id, Some(before.revision)).await?;
    if cx.store().signal_states().get(&grant, &id).await?.is_some() {
        cx.store().signal_states().delete(&grant, &id, None).await?;
    }
    cx.record(Change::new(Verb::Delete, RESOURCE, id).before(summary(&before.document))).await
}

/// Lists the events, newest first.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn events(cx: &OpContext) -> Result<Vec<SignalEventView>, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let mut events: Vec<_> = cx.store().signal_events().list(&grant).await?.iter().map(event_view).collect();
    events.reverse();
    Ok(events)
}

/// Returns the names of the signals that ask a query.
pub(super) async fn of_query(
    cx: &OpContext,
    grant: &Grant<WriteLogs>,
    query: SavedQueryId,
) -> Result<Vec<String>, Failure> {
    let signals = cx.store().signals().list(grant).await?.into_iter();
    Ok(signals.filter(|signal| signal.document.query == query).map(|signal| signal.document.name).collect())
}

/// Checks that a query names both ends of its window, so that no window is counted twice.
pub(super) fn check_window(sql: &str) -> Result<(), Failure> {
    let named = logs::sql::named(sql).map_err(explorer::failed).map_err(|failure| at(failure, "/query_id"))?;
    if named.contains("from") && named.contains("until") {
        return Ok(());
    }
    let message = "the query of a signal names its window: WHERE Datetime >= $from AND Datetime < $until";
    Err(Failure::invalid("/query_id", message))
}

/// Points a failure at the member that is at fault.
pub(super) fn at(mut failure: Failure, pointer: &str) -> Failure {
    for problem in &mut failure.problems {
        problem.pointer = Some(pointer.to_owned());
    }
    failure
}

fn name_taken() -> Failure {
    Failure::conflict("/name", "another signal has this name")
}

/// Checks everything but the webhook, which takes its place in [`put_webhook`].
async fn checked(cx: &OpContext, grant: &Grant<WriteLogs>, body: SignalBody) -> Result<Signal, Failure> {
    check_name("/name", &body.name, 120)?;
    if !MINUTES.contains(&body.every_minutes) {
        return Err(Failure::invalid("/every_minutes", "must be 1 to 1440"));
    }
    if !body.at_least.is_finite() {
        return Err(Failure::invalid("/at_least", "must be a number"));
    }
    let word = body.severity.as_deref().filter(|word| !word.is_empty()).unwrap_or(Severity::default().as_str());
    let severity = Severity::ALL.into_iter().find(|severity| severity.as_str() == word);
    let severity = severity.ok_or_else(|| Failure::invalid("/severity", "must be low, medium, high or critical"))?;
    let missing = || Failure::invalid("/query_id", "must be the id of a saved query");
    let query: SavedQueryId = body.query_id.parse().map_err(|_| missing())?;
    let saved = cx.store().saved_queries().get(grant, &query).await?.ok_or_else(missing)?;
    check_window(&saved.document.sql)?;
    let column = body.column.filter(|column| !column.is_empty());
    if column.is_none() && body.at_least > MAX_ROWS as f64 {
        return Err(Failure::invalid("/at_least", format!("must be at most {MAX_ROWS} rows, all that are looked at")));
    }
    // A window without length has no rows, but the columns it would have.
    let now = cx.now();
    let answer = ask(cx, &saved.document.sql, (now, now)).await.map_err(|failure| at(failure, "/query_id"))?;
    if let Some(column) = &column {
        let counts = answer.columns.iter().find(|one| one.name == *column);
        match counts.map(|one| one.kind) {
            Some("int" | "float") => {}
            Some(_) => return Err(Failure::invalid("/column", "must be a column of numbers")),
            None => {
                let names: Vec<_> = answer.columns.iter().map(|one| one.name.as_str()).collect();
                let message = format!("is no column of the query; it has {}", names.join(", "));
                return Err(Failure::invalid("/column", message));
            }
        }
    }
    Ok(Signal {
        name: body.name,
        query,
        every_minutes: body.every_minutes,
        column,
        at_least: body.at_least,
        severity,
        webhook: None,
        secrets: BTreeMap::new(),
        enabled: body.enabled,
    })
}

async fn ask(cx: &OpContext, sql: &str, window: (jiff::Timestamp, jiff::Timestamp)) -> Result<Answer, Failure> {
    query(&cx.app.deps.logs, cx.account, sql, window).await.map_err(explorer::failed)
}

/// Asks a query about a window.
pub(crate) async fn query(
    logs: &logs::Logs,
    account: types::AccountId,
    sql: &str,
    (from, until): (jiff::Timestamp, jiff::Timestamp),
) -> Result<Answer, SqlError> {
    let parameters = vec![("from", Parameter::Time(from)), ("until", Parameter::Time(until))];
    logs.sql_with(account, &DATASETS, sql, parameters, Bounds::default(), Arc::default()).await
}

fn summary(signal: &Signal) -> Value {
    serde_json::json!({
        "name": signal.name,
        "query": signal.query.to_string(),
        "every_minutes": signal.every_minutes,
        "column": signal.column,
        "at_least": signal.at_least,
        "severity": signal.severity.as_str(),
        "webhook": signal.webhook.as_deref().map(webhook::shown),
        "enabled": signal.enabled,
    })
}
