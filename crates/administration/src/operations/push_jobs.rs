//! Push jobs: what is sent where, in the words of the Logpush API.
//!
//! Reading a document into what a node works with is here, too, so that what was accepted is what runs. Sending is the
//! server's. Invariants: no view holds a secret of a destination; a secret that is kept goes to no other destination than the
//! one it was given for; the audit log is pushed only by who may read it.

use std::time::Duration;

use jiff::Timestamp;
use logs::{Dataset, Kind, PushError, PushStanding};
use push::destination::{self, Destination};
use push::output::{OutputOptions, from_logpull};
use push::{Field, Filter, Output, Shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{PushJob, ReadAudit, ReadLogs, StoreError, Stored, WriteLogs};
use types::{PushJobId, Secret};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

const RESOURCE: &str = "push job";
/// What Logpush calls datasets that have other names here.
const ALIASES: [(&str, Dataset); 2] = [("workers_trace_events", Dataset::Worker), ("audit_logs", Dataset::Audit)];
/// The most of a batch before it is packed, in bytes, whatever is allowed.
pub const MAX_BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// How often what is there is sent, unless the job says otherwise. Seconds.
pub const INTERVAL: u64 = 10;
/// Behind by more than so many intervals, and by more than [`LATE`], a job is told to be behind.
const INTERVALS: u64 = 6;
const LATE: Duration = Duration::from_secs(120);
/// Bounds of the limits; 0 is the default in each case. They begin below those of Logpush.
const BYTES: std::ops::RangeInclusive<u64> = 65_536..=1_000_000_000;
const SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
const RECORDS: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// A job, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PushJobView {
    pub id: u64,
    pub name: String,
    pub dataset: String,
    /// Values that may be secrets read `REDACTED`.
    pub destination_conf: String,
    pub enabled: bool,
    #[schema(value_type = Option<Object>)]
    pub output_options: Option<Value>,
    pub logpull_options: Option<String>,
    /// A filter, as JSON in a text.
    pub filter: Option<String>,
    pub frequency: String,
    pub kind: &'static str,
    pub max_upload_bytes: u64,
    pub max_upload_interval_seconds: u64,
    pub max_upload_records: u64,
    /// When a batch last arrived, or there was nothing to send.
    pub last_complete: Option<String>,
    /// When a batch last failed.
    pub last_error: Option<String>,
    /// Why, while the newest attempt is one that failed.
    pub error_message: Option<String>,
    pub portunus: PushStateView,
}

/// How a job is on the node that answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PushStateView {
    /// `healthy`, `behind`, `failing`, `paused`, or `starting` before the node has it
    pub state: &'static str,
    /// Records of the dataset that the job has not read: at most so many wait.
    pub behind_records: u64,
    /// The time of the oldest of them.
    pub behind_since: Option<String>,
    pub failing_since: Option<String>,
    /// Records that arrived since the job was made.
    pub sent_records: u64,
    /// Records that were let go before they could be sent, since the room for those that wait was used up.
    pub missed: Vec<PushGapView>,
    /// A period that is delivered from the lake beside what comes.
    pub delivering: Option<PushPastView>,
    /// Bytes of the journal that are kept back for all jobs of the node.
    pub held_bytes: u64,
    pub max_held_bytes: u64,
    pub created_at: String,
    pub updated_at: String,
}

/// A period that is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PushPastView {
    pub from: String,
    pub until: String,
    pub sent_records: u64,
}

/// A period to be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeriodBody {
    /// Its start.
    pub from: String,
    /// Its end, which is not part of it; now, without it.
    #[serde(default)]
    pub until: Option<String>,
}

/// Records that a job missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PushGapView {
    pub from: String,
    pub until: String,
    pub records: u64,
    pub noticed_at: String,
}

/// A job to be made or changed. When it is changed, what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushJobBody {
    pub name: Option<String>,
    /// `gateway_http`, `gateway_network`, `access_requests`, `mcp_portal_logs`, `workers_trace_events` or `audit_logs`; it
    /// stays what it was when the job was made
    pub dataset: Option<String>,
    /// `https://…?header_Authorization=…`, `splunk://…`, `syslog+tls://…`, `s3://…`
    #[schema(value_type = Option<String>)]
    pub destination_conf: Option<Secret<String>>,
    pub enabled: Option<bool>,
    #[schema(value_type = Option<Object>)]
    pub output_options: Option<Value>,
    pub logpull_options: Option<String>,
    pub filter: Option<String>,
    pub frequency: Option<String>,
    pub kind: Option<String>,
    pub max_upload_bytes: Option<u64>,
    pub max_upload_interval_seconds: Option<u64>,
    pub max_upload_records: Option<u64>,
    /// Not needed, and not looked at.
    pub ownership_challenge: Option<String>,
}

/// A destination to be tried.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationBody {
    #[schema(value_type = String)]
    pub destination_conf: Secret<String>,
    /// Not needed, and not looked at.
    #[serde(default)]
    pub ownership_challenge: Option<String>,
}

/// Whether a destination takes records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DestinationView {
    pub valid: bool,
    /// Why not.
    pub message: String,
}

/// Whether a job sends to a destination already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExistsView {
    pub exists: bool,
}

/// What has to be proven of a destination: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OwnershipView {
    pub filename: String,
    pub valid: bool,
    pub message: String,
}

/// A job as a node works with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub dataset: Dataset,
    pub output: Output,
    pub filter: Filter,
    /// Of a batch before it is packed.
    pub max_bytes: u64,
    pub max_records: u64,
    pub interval: Duration,
}

/// Returns the dataset of a name, ours or Logpush's.
#[must_use]
pub fn dataset(name: &str) -> Option<Dataset> {
    let alias = ALIASES.into_iter().find(|(alias, _)| *alias == name).map(|(_, dataset)| dataset);
    alias.or_else(|| name.parse().ok())
}

/// Returns the name that Logpush knows a dataset by.
#[must_use]
pub fn dataset_name(dataset: Dataset) -> &'static str {
    ALIASES.into_iter().find(|(_, known)| *known == dataset).map_or(dataset.as_str(), |(alias, _)| alias)
}

/// Returns the fields of a dataset, as filters and formats see them.
#[must_use]
pub fn fields(dataset: Dataset) -> Vec<Field> {
    let shape = |kind| match kind {
        Kind::Text | Kind::Id => Shape::Text,
        Kind::Integer | Kind::Count | Kind::Small => Shape::Number,
        Kind::Flag => Shape::Flag,
        Kind::Time => Shape::Time,
        Kind::Texts | Kind::Integers | Kind::Jsons => Shape::List,
        Kind::Json => Shape::Json,
    };
    dataset.fields().iter().map(|field| Field { name: field.name, shape: shape(field.kind) }).collect()
}

/// Reads a job into what a node works with.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn prepare(job: &PushJob) -> Result<Prepared, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut fault = |pointer: String, message: String| problems.push(Problem { pointer: Some(pointer), message });
    let Some(dataset) = dataset(&job.dataset) else {
        fault("/dataset".to_owned(), unknown_dataset());
        return Err(problems);
    };
    let fields = fields(dataset);
    let options = match &job.output_options {
        Some(options) => serde_json::from_value::<OutputOptions>(options.clone())
            .map_err(|error| ("/output_options", error.to_string())),
        None => from_logpull(&job.logpull_options).map_err(|error| ("/logpull_options", error)),
    };
    let output = match options {
        Ok(options) => Output::new(&options, &fields).map_err(|wrong| {
            for (member, message) in wrong {
                fault(format!("/output_options/{member}"), message);
            }
        }),
        Err((pointer, message)) => {
            fault(pointer.to_owned(), message);
            Err(())
        }
    };
    let filter = Filter::parse(&job.filter, &fields).map_err(|message| fault("/filter".to_owned(), message));
    for (member, value, bounds) in [
        ("max_upload_bytes", job.max_upload_bytes, BYTES),
        ("max_upload_interval_seconds", job.max_upload_interval_seconds, SECONDS),
        ("max_upload_records", job.max_upload_records, RECORDS),
    ] {
        if value != 0 && !bounds.contains(&value) {
            fault(format!("/{member}"), format!("must be 0 or {} to {}", bounds.start(), bounds.end()));
        }
    }
    let or = |value: u64, default| if value == 0 { default } else { value };
    match (output, filter) {
        (Ok(output), Ok(filter)) if problems.is_empty() => Ok(Prepared {
            dataset,
            output,
            filter,
            max_bytes: or(job.max_upload_bytes, MAX_BATCH_BYTES).min(MAX_BATCH_BYTES),
            max_records: or(job.max_upload_records, *RECORDS.end()),
            interval: Duration::from_secs(or(job.max_upload_interval_seconds, INTERVAL)),
        }),
        _ => Err(problems),
    }
}

fn unknown_dataset() -> String {
    let names: Vec<_> = Dataset::ALL.into_iter().map(dataset_name).collect();
    format!("must be one of {}", names.join(", "))
}

fn view(cx: &OpContext, stored: &Stored<PushJob>) -> PushJobView {
    let job = &stored.document;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let standing = cx.app.deps.logs.push_standing(job.place);
    let error = standing.as_ref().and_then(|standing| text(&standing.error));
    PushJobView {
        id: stored.id.number(),
        name: job.name.clone(),
        dataset: job.dataset.clone(),
        destination_conf: job.destination.clone(),
        enabled: job.enabled,
        output_options: job.output_options.clone(),
        logpull_options: text(&job.logpull_options),
        filter: text(&job.filter),
        frequency: text(&job.frequency).unwrap_or_else(|| "high".to_owned()),
        kind: "",
        max_upload_bytes: job.max_upload_bytes,
        max_upload_interval_seconds: job.max_upload_interval_seconds,
        max_upload_records: job.max_upload_records,
        last_complete: standing.as_ref().and_then(|standing| standing.last_complete).map(time),
        last_error: standing.as_ref().and_then(|standing| standing.last_error).map(time),
        error_message: error,
        portunus: state_view(cx, stored, standing),
    }
}

fn state_view(cx: &OpContext, stored: &Stored<PushJob>, standing: Option<PushStanding>) -> PushStateView {
    let state = state(&stored.document, standing.as_ref(), cx.now());
    let (held_bytes, max_held_bytes) = cx.app.deps.logs.push_held();
    let (created_at, updated_at) = (time(stored.created_at), time(stored.updated_at));
    let mut shown = PushStateView {
        state,
        behind_records: 0,
        behind_since: None,
        failing_since: None,
        sent_records: 0,
        missed: Vec::new(),
        delivering: None,
        held_bytes,
        max_held_bytes,
        created_at,
        updated_at,
    };
    if let Some(standing) = standing {
        shown.behind_records = standing.behind_records;
        shown.behind_since = standing.behind_since.map(time);
        shown.failing_since = standing.failing_since.map(time);
        shown.sent_records = standing.sent_records;
        shown.delivering = standing.past.as_ref().map(|past| PushPastView {
            from: time(past.from),
            until: time(past.until),
            sent_records: past.sent_records,
        });
        shown.missed = standing
            .gaps
            .iter()
            .map(|gap| PushGapView {
                from: time(gap.from),
                until: time(gap.until),
                records: gap.records,
                noticed_at: time(gap.noticed_at),
            })
            .collect();
    }
    shown
}

/// Says in a word how a job is.
fn state(job: &PushJob, standing: Option<&PushStanding>, now: Timestamp) -> &'static str {
    let interval = if job.max_upload_interval_seconds == 0 { INTERVAL } else { job.max_upload_interval_seconds };
    let late = LATE.max(Duration::from_secs(interval * INTERVALS));
    match standing {
        _ if !job.enabled => "paused",
        None => "starting",
        Some(standing) if standing.failing_since.is_some() => "failing",
        Some(standing) => {
            let completed = standing.last_complete.map(|last| now.duration_since(last).unsigned_abs());
            let behind = standing.behind_since.map(|since| now.duration_since(since).unsigned_abs());
            // A job that is done with what there was is not behind by what came since.
            if behind.is_some_and(|behind| behind > late) && completed.is_none_or(|completed| completed > late)
                || behind.is_some_and(|behind| behind > late * 5)
            {
                "behind"
            } else {
                "healthy"
            }
        }
    }
}

/// Lists the jobs.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<PushJobView>, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let jobs = cx.store().push_jobs().list(&grant).await?;
    Ok(jobs.iter().map(|job| view(cx, job)).collect())
}

/// Returns one.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: PushJobId) -> Result<PushJobView, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let stored = cx.store().push_jobs().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    Ok(view(cx, &stored))
}

/// Makes a job. It sends what is recorded from then on.
///
/// # Errors
///
/// A [`Failure`] that points at what is wrong.
pub async fn create(cx: &OpContext, body: PushJobBody) -> Result<PushJobView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let named = body.dataset.clone().ok_or_else(|| Failure::invalid("/dataset", unknown_dataset()))?;
    let needed = || Failure::invalid("/destination_conf", "is needed: where records are sent");
    let conf = body.destination_conf.clone().ok_or_else(needed)?;
    read_destination(&conf)?;
    loop {
        let id = PushJobId::new(100_000_000 + u64::from(rand::random::<u32>()) % 900_000_000)
            .map_err(|error| Failure::internal("push job", &error))?;
        let sealed = cx.store().push_jobs().seal_member(&grant, &id, "destination_conf", &conf)?;
        let empty = PushJob {
            place: Uuid::now_v7(),
            name: String::new(),
            dataset: named.clone(),
            destination_conf: sealed,
            destination: destination::shown(conf.expose()),
            output_options: None,
            logpull_options: String::new(),
            filter: String::new(),
            // As with Logpush, a job that does not say so is made and does not run.
            enabled: false,
            frequency: String::new(),
            max_upload_bytes: 0,
            max_upload_interval_seconds: 0,
            max_upload_records: 0,
        };
        let job = changed(cx, empty, &body)?;
        match cx.store().push_jobs().create(&grant, id, job).await {
            // The number is another job's.
            Err(StoreError::Taken(_)) => {}
            made => {
                let stored = made?;
                cx.record(Change::new(Verb::Create, RESOURCE, id).after(summary(&stored.document))).await?;
                return Ok(view(cx, &stored));
            }
        }
    }
}

/// Changes one. It goes on where it is.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: PushJobId, body: PushJobBody) -> Result<PushJobView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().push_jobs().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let mut job = before.document.clone();
    if let Some(given) = &body.dataset
        && dataset(given) != dataset(&job.dataset)
    {
        return Err(Failure::invalid("/dataset", "stays what it was when the job was made: make another job"));
    }
    if let Some(conf) = body.destination_conf.as_ref().filter(|conf| *conf.expose() != job.destination) {
        // A secret that is known here must not go anywhere else because somebody changed the host.
        read_destination(conf)?;
        job.destination_conf = cx.store().push_jobs().seal_member(&grant, &id, "destination_conf", conf)?;
        job.destination = destination::shown(conf.expose());
    }
    let job = changed(cx, job, &body)?;
    let stored = cx.store().push_jobs().replace(&grant, id, job, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, RESOURCE, id).before(summary(&before.document));
    cx.record(change.after(summary(&stored.document))).await?;
    Ok(view(cx, &stored))
}

/// Deletes one, and with it its place.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: PushJobId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().push_jobs().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    cx.store().push_jobs().delete(&grant, &id, Some(before.revision)).await?;
    cx.record(Change::new(Verb::Delete, RESOURCE, id).before(summary(&before.document))).await
}

/// Has what was recorded in a period delivered to a job, beside what comes. A record may arrive by both ways.
///
/// # Errors
///
/// `NotFound`, `Conflict` for a job that the node has not begun, and a [`Failure`] that points at what is wrong.
pub async fn deliver(cx: &OpContext, id: PushJobId, body: &PeriodBody) -> Result<PushJobView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let stored = cx.store().push_jobs().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    if dataset(&stored.document.dataset) == Some(Dataset::Audit) {
        cx.authorize::<ReadAudit>()?;
    }
    let from = super::parse_time("/from", &body.from)?;
    let until = body.until.as_ref().map_or_else(|| Ok(cx.now()), |text| super::parse_time("/until", text))?;
    if from >= until {
        return Err(Failure::invalid("/until", "must be after the start"));
    }
    let asked = cx.app.deps.logs.push_deliver(stored.document.place, from, until);
    asked.map_err(|error| match error {
        PushError::Unknown => Failure::conflict("", "the job has not begun here: enable it first"),
        PushError::File(_) | PushError::Stopped => Failure::internal("push job", &error),
    })?;
    let change = Change::new(Verb::Update, RESOURCE, id);
    cx.record(change.after(json!({"deliver": {"from": time(from), "until": time(until)}}))).await?;
    Ok(view(cx, &stored))
}

/// Sends a test record to the destination of a job.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller; a destination that does not take it is no failure.
pub async fn test(cx: &OpContext, id: PushJobId) -> Result<DestinationView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let mut stored = cx.store().push_jobs().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let operate = super::access::system(cx, "reach the destination of a push job that an administrator tests")?;
    let mut members = cx.store().push_jobs().open_members(&operate, &mut stored)?;
    let conf = members.remove("destination_conf").unwrap_or_else(|| Secret::new(String::new()));
    probe(cx, &conf).await
}

/// Sends a test record to a destination of no job.
///
/// # Errors
///
/// A [`Failure`] for the caller; a destination that does not take it is no failure.
pub async fn validate(cx: &OpContext, body: &DestinationBody) -> Result<DestinationView, Failure> {
    cx.authorize::<WriteLogs>()?;
    probe(cx, &body.destination_conf).await
}

/// Says whether a job sends to a destination already.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn exists(cx: &OpContext, body: &DestinationBody) -> Result<ExistsView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let shown = destination::shown(body.destination_conf.expose());
    let jobs = cx.store().push_jobs().list(&grant).await?;
    Ok(ExistsView { exists: jobs.iter().any(|job| job.document.destination == shown) })
}

/// Says what has to be proven of a destination before a job may send to it: nothing. A destination has to be given with what
/// opens it, and only administrators of the account give one.
///
/// # Errors
///
/// A [`Failure`] for a text that is no destination.
pub fn ownership(cx: &OpContext, body: &DestinationBody) -> Result<OwnershipView, Failure> {
    cx.authorize::<WriteLogs>()?;
    read_destination(&body.destination_conf)?;
    Ok(OwnershipView { filename: String::new(), valid: true, message: "no challenge is needed".to_owned() })
}

/// Returns what the fields of a dataset hold, by name.
///
/// # Errors
///
/// `NotFound` for no dataset, and a [`Failure`] for the caller.
pub fn dataset_fields(cx: &OpContext, name: &str) -> Result<Map<String, Value>, Failure> {
    cx.authorize::<ReadLogs>()?;
    let dataset = dataset(name).ok_or_else(|| Failure::not_found("dataset"))?;
    let described = dataset
        .fields()
        .iter()
        .map(|field| (field.name.to_owned(), json!(format!("type: {}; {}", field.kind.as_str(), field.description))));
    Ok(described.collect())
}

async fn probe(cx: &OpContext, conf: &Secret<String>) -> Result<DestinationView, Failure> {
    let destination = match Destination::parse(conf.expose()) {
        Ok(destination) => destination,
        Err(error) => return Ok(DestinationView { valid: false, message: format!("destination_conf {error}") }),
    };
    let Some(push) = &cx.app.deps.push else {
        return Ok(DestinationView { valid: false, message: "no destination can be reached from here".to_owned() });
    };
    Ok(match push.probe(&destination).await {
        Ok(()) => DestinationView { valid: true, message: String::new() },
        Err(message) => DestinationView { valid: false, message },
    })
}

fn read_destination(conf: &Secret<String>) -> Result<(), Failure> {
    let read = Destination::parse(conf.expose());
    read.map(|_| ()).map_err(|error| Failure::invalid("/destination_conf", error.to_string()))
}

/// Returns a job with what a body says, checked.
fn changed(cx: &OpContext, mut job: PushJob, body: &PushJobBody) -> Result<PushJob, Failure> {
    if dataset(&job.dataset) == Some(Dataset::Audit) {
        cx.authorize::<ReadAudit>()?;
    }
    if let Some(name) = &body.name {
        if name.chars().count() > 512 || name.chars().any(char::is_control) {
            return Err(Failure::invalid("/name", "must have at most 512 characters and no control characters"));
        }
        job.name.clone_from(name);
    }
    if body.kind.as_ref().is_some_and(|kind| !kind.is_empty()) {
        return Err(Failure::invalid("/kind", "must be empty: there is one kind of job"));
    }
    if let Some(frequency) = &body.frequency {
        if !matches!(frequency.as_str(), "" | "high" | "low") {
            return Err(Failure::invalid("/frequency", "must be high or low; max_upload_interval_seconds says more"));
        }
        job.frequency.clone_from(frequency);
    }
    if let Some(options) = &body.logpull_options {
        job.logpull_options.clone_from(options);
        // The newer form stands in the way of the older one.
        job.output_options = None;
    }
    if let Some(options) = &body.output_options {
        job.output_options = Some(options.clone());
    }
    if let Some(filter) = &body.filter {
        job.filter.clone_from(filter);
    }
    job.enabled = body.enabled.unwrap_or(job.enabled);
    job.max_upload_bytes = body.max_upload_bytes.unwrap_or(job.max_upload_bytes);
    job.max_upload_interval_seconds = body.max_upload_interval_seconds.unwrap_or(job.max_upload_interval_seconds);
    job.max_upload_records = body.max_upload_records.unwrap_or(job.max_upload_records);
    prepare(&job).map_err(Failure::invalid_many)?;
    Ok(job)
}

/// What the audit log shows of a job.
fn summary(job: &PushJob) -> Value {
    json!({
        "name": job.name,
        "dataset": job.dataset,
        "destination_conf": job.destination,
        "output_options": job.output_options,
        "logpull_options": job.logpull_options,
        "filter": job.filter,
        "enabled": job.enabled,
        "max_upload_bytes": job.max_upload_bytes,
        "max_upload_interval_seconds": job.max_upload_interval_seconds,
        "max_upload_records": job.max_upload_records,
    })
}
