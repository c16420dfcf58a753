//! The record of every request and every tunnel, written when its holder is dropped, whatever ended it.
//!
//! It fills log records and applies the account's logging settings; where they are kept is `logs`. Invariant: opening a
//! record is the first stage, and no path through the gateway can lose one: a client that goes away before the decision
//! is recorded with the action `unknown`.

use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{self, HeaderMap};
use jiff::Timestamp;
use logs::{AsRecord, GatewayHttp, GatewayNetwork, WorkerInvocation};
use policy::ruleset::RuleRef;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use worker::{CallError, CallErrorKind, CallReport, ScriptKey};

use crate::connection::Client;
use crate::events::{SecurityEvent, SecurityEventKind};
use crate::fault::Fault;
use crate::gateway::{Counters, Inner};
use crate::identity::{Caller, Person, Refusal};
use crate::mcp::Mcp;
use crate::snapshot::{LogSwitches, Snapshot};

/// What the gateway did, before anything was decided.
const UNKNOWN: &str = "unknown";
/// The word that counts as a block for `log_blocks`.
pub(crate) const BLOCK: &str = "block";

/// The record of one request; written on drop.
pub(crate) struct HttpRecord {
    gateway: Arc<Inner>,
    snapshot: Arc<Snapshot>,
    pub(crate) fields: Fields,
    started: Instant,
    pub(crate) upload: Arc<AtomicU64>,
    pub(crate) download: Arc<AtomicU64>,
    pub(crate) decision: Duration,
    pub(crate) waited: Duration,
    /// What was seen of MCP; its last words come with the bodies.
    pub(crate) mcp: Option<Box<Mcp>>,
    place: Option<logs::Slot>,
}

impl HttpRecord {
    /// Opens the record of a request that has just arrived.
    ///
    /// Waits while the log is full: back-pressure on traffic rather than a record lost.
    pub(crate) async fn open(client: &Client, snapshot: &Arc<Snapshot>, id: Uuid, at: Timestamp) -> Self {
        let gateway = Arc::clone(&client.gateway);
        Counters::add(&gateway.counters.requests);
        let place = if wanted(snapshot.settings.logging.http) { gateway.logs.reserve().await.ok() } else { None };
        let mut fields = Fields::blank();
        fields.id = id;
        fields.datetime = at;
        UNKNOWN.clone_into(&mut fields.action);
        spell(&mut fields.account_id, snapshot.account);
        fields.source_ip.clone_from(&client.source_text);
        fields.source_port = client.source.port();
        fields.session_id.clone_from(&client.session_text);
        fields.configuration_version = i64::try_from(snapshot.revision).unwrap_or(i64::MAX);
        Self {
            gateway,
            snapshot: Arc::clone(snapshot),
            fields,
            started: Instant::now(),
            upload: Arc::default(),
            download: Arc::default(),
            decision: Duration::ZERO,
            waited: Duration::ZERO,
            mcp: None,
            place,
        }
    }

    /// Whether a record may be written.
    pub(crate) fn is_wanted(&self) -> bool {
        wanted(self.snapshot.settings.logging.http)
    }

    /// Notes who asks.
    pub(crate) fn caller(&mut self, caller: &Caller) {
        if let Some(endpoint) = &caller.endpoint {
            self.fields.proxy_endpoint = endpoint.to_string();
        }
        if let Some(person) = caller.person.as_deref() {
            let (email, id) = person_words(person);
            self.fields.email = email;
            self.fields.user_id = id;
            self.fields.group_names.clone_from(&person.group_names);
        }
    }

    /// Notes what the headers say.
    pub(crate) fn headers(&mut self, headers: &HeaderMap) {
        let text = |name: header::HeaderName, field: &mut String| {
            if let Some(value) = headers.get(name) {
                spell(field, String::from_utf8_lossy(value.as_bytes()));
            }
        };
        text(header::REFERER, &mut self.fields.referer);
        text(header::USER_AGENT, &mut self.fields.user_agent);
    }

    /// Notes the rule that decided.
    pub(crate) fn rule(&mut self, rule: &RuleRef) {
        spell(&mut self.fields.policy_id, rule.id);
        self.fields.policy_name.clone_from(&rule.name);
    }

    /// Notes that no rule decided after all.
    pub(crate) fn no_rule(&mut self) {
        self.fields.policy_id.clear();
        self.fields.policy_name.clear();
    }

    /// Notes what was done and why.
    pub(crate) fn decided(&mut self, action: &str, why: impl Into<String>) {
        action.clone_into(&mut self.fields.action);
        self.fields.explanation = why.into();
    }

    /// Reports a failed sign-in on CONNECT, for which there is no exchange.
    pub(crate) fn auth_event(&self, client: &Client, snapshot: &Snapshot, fault: &Fault) {
        if !matches!(fault, Fault::Refused(Refusal::Wrong | Refusal::TooMany)) {
            return;
        }
        client.gateway.events.send(SecurityEvent {
            kind: SecurityEventKind::AuthenticationFailed,
            at: self.fields.datetime.to_string(),
            account_id: snapshot.account.to_string(),
            request_id: self.fields.id.to_string(),
            user_email: None,
            source_ip: client.source_text.clone(),
            host: self.fields.http_host.clone(),
            url: None,
            rule_id: None,
            rule_name: None,
            script: None,
            detail: fault.what(),
        });
    }

    /// Gives back the room in the log that was reserved, for an exchange that may last for hours.
    pub(crate) fn release_place(&mut self) {
        self.place = None;
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        // Warnings come from rules, whose number is not bounded by one request.
        if self.fields.warnings.len() < 16 {
            self.fields.warnings.push(warning.into());
        }
    }
}

impl Drop for HttpRecord {
    fn drop(&mut self) {
        let fields = &mut *self.fields;
        fields.duration_micros = micros(self.started.elapsed());
        fields.decision_micros = micros(self.decision);
        fields.worker_micros = micros(self.waited);
        fields.request_bytes = self.upload.load(Ordering::Relaxed);
        fields.response_bytes = self.download.load(Ordering::Relaxed);
        if fields.action == UNKNOWN && fields.explanation.is_empty() {
            "the client went away before anything was decided".clone_into(&mut fields.explanation);
        }
        let blocked = fields.action == BLOCK;
        if blocked {
            Counters::add(&self.gateway.counters.blocked);
        }
        let logging = self.snapshot.settings.logging;
        if !(logging.http.log_all || (logging.http.log_blocks && blocked)) {
            return;
        }
        if let Some(mcp) = self.mcp.take() {
            mcp.write(fields);
        }
        if logging.redact_pii {
            for field in [
                &mut fields.source_ip,
                &mut fields.email,
                &mut fields.user_id,
                &mut fields.device_id,
                &mut fields.url,
                &mut fields.referer,
                &mut fields.user_agent,
            ] {
                field.clear();
            }
            fields.source_port = 0;
            fields.group_names.clear();
            // The trace quotes facts, some of which name the person.
            fields.rule_trace = None;
        }
        append(&self.gateway, self.place.take(), fields);
    }
}

/// The fields of a record, which another used before and another will use again: there are many, and texts among them.
pub(crate) struct Fields(Option<Box<GatewayHttp>>);

/// How many a thread keeps for the next records.
const SPARE: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept is the box, which a record takes and gives back")]
    static BLANK: RefCell<Vec<Box<GatewayHttp>>> = const { RefCell::new(Vec::new()) };
}

impl Fields {
    /// Returns fields without values.
    fn blank() -> Self {
        Self(Some(BLANK.with_borrow_mut(Vec::pop).unwrap_or_default()))
    }
}

#[expect(clippy::expect_used, reason = "they are taken in drop, after which nobody can ask")]
impl Deref for Fields {
    type Target = GatewayHttp;

    fn deref(&self) -> &GatewayHttp {
        self.0.as_deref().expect("fields of a record")
    }
}

#[expect(clippy::expect_used, reason = "they are taken in drop, after which nobody can ask")]
impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut GatewayHttp {
        self.0.as_deref_mut().expect("fields of a record")
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let Some(mut fields) = self.0.take() else { return };
        // A thread that ends keeps nothing.
        let _ = BLANK.try_with(|blank| {
            let mut blank = blank.borrow_mut();
            if blank.len() < SPARE {
                fields.clear();
                blank.push(fields);
            }
        });
    }
}

/// Writes a value into a text that may hold room from before.
fn spell(text: &mut String, value: impl Display) {
    text.clear();
    // Writing to a text cannot fail.
    let _ = write!(text, "{value}");
}

/// The record of one tunnel that is not decrypted; written on drop.
pub(crate) struct TunnelRecord {
    gateway: Arc<Inner>,
    snapshot: Arc<Snapshot>,
    pub(crate) fields: Box<GatewayNetwork>,
    started: Instant,
    /// Counts on the client's side: read is from the client.
    pub(crate) bytes: Arc<net::Counters>,
    place: Option<logs::Slot>,
}

impl TunnelRecord {
    pub(crate) async fn open(
        client: &Client,
        snapshot: &Arc<Snapshot>,
        caller: &Caller,
        host: &str,
        port: u16,
    ) -> Self {
        let gateway = Arc::clone(&client.gateway);
        let place = if wanted(snapshot.settings.logging.l4) { gateway.logs.reserve().await.ok() } else { None };
        let (email, user_id) = caller.person.as_deref().map(person_words).unwrap_or_default();
        let fields = Box::new(GatewayNetwork {
            id: client.session,
            datetime: (gateway.clock)(),
            account_id: snapshot.account.to_string(),
            action: UNKNOWN.to_owned(),
            source_ip: client.source_text.clone(),
            source_port: client.source.port(),
            destination_host: host.to_owned(),
            destination_port: port,
            transport_protocol: "tcp".to_owned(),
            proxy_endpoint: caller.endpoint.as_deref().unwrap_or_default().to_owned(),
            email,
            user_id,
            group_names: caller.person.as_deref().map(|person| person.group_names.clone()).unwrap_or_default(),
            configuration_version: i64::try_from(snapshot.revision).unwrap_or(i64::MAX),
            ..GatewayNetwork::default()
        });
        Self { gateway, snapshot: Arc::clone(snapshot), fields, started: Instant::now(), bytes: Arc::default(), place }
    }

    pub(crate) fn rule(&mut self, rule: &RuleRef) {
        self.fields.policy_id = rule.id.to_string();
        self.fields.policy_name.clone_from(&rule.name);
    }

    pub(crate) fn decided(&mut self, action: &str, why: impl Into<String>) {
        action.clone_into(&mut self.fields.action);
        self.fields.explanation = why.into();
    }
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        let fields = &mut self.fields;
        fields.duration_micros = micros(self.started.elapsed());
        fields.bytes_sent = self.bytes.read();
        fields.bytes_received = self.bytes.written();
        let blocked = fields.action == BLOCK;
        if blocked {
            Counters::add(&self.gateway.counters.blocked);
        }
        let logging = self.snapshot.settings.logging;
        if !(logging.l4.log_all || (logging.l4.log_blocks && blocked)) {
            return;
        }
        if logging.redact_pii {
            for field in [&mut fields.source_ip, &mut fields.email, &mut fields.user_id, &mut fields.device_id] {
                field.clear();
            }
            fields.source_port = 0;
            fields.group_names.clear();
            fields.rule_trace = None;
        }
        append(&self.gateway, self.place.take(), &mut **fields);
    }
}

/// What a Worker call is recorded with.
pub(crate) struct WorkerCall<'a> {
    pub(crate) script: &'a ScriptKey,
    pub(crate) report: &'a CallReport,
    pub(crate) error: Option<&'a CallError>,
    pub(crate) decision: &'a str,
    pub(crate) request_id: Uuid,
    pub(crate) url: &'a str,
    pub(crate) method: &'a str,
}

/// Writes the record of a Worker call and returns its id.
pub(crate) async fn worker_call(gateway: &Inner, snapshot: &Snapshot, call: WorkerCall<'_>) -> Uuid {
    let now = (gateway.clock)();
    let id = logs::record_id();
    let logs = call
        .report
        .logs
        .iter()
        .map(|line| json!({ "level": format!("{:?}", line.level).to_lowercase(), "message": line.message }));
    let event = if snapshot.settings.logging.redact_pii {
        json!({ "request": { "method": call.method } })
    } else {
        json!({ "request": { "method": call.method, "url": call.url } })
    };
    let record = WorkerInvocation {
        id,
        datetime: now,
        account_id: snapshot.account.to_string(),
        cpu_time_ms: u64::try_from(call.report.cpu.as_millis()).unwrap_or(u64::MAX),
        cpu_time_micros: micros(call.report.cpu),
        wall_time_ms: u64::try_from(call.report.wall.as_millis()).unwrap_or(u64::MAX),
        wall_time_micros: micros(call.report.wall),
        entrypoint: "fetch".to_owned(),
        event: Some(event),
        event_timestamp_ms: now.as_millisecond(),
        event_type: "fetch".to_owned(),
        exceptions: call
            .error
            .map(|error| json!({ "name": error.kind.as_str(), "message": error.message, "stack": error.stack }))
            .into_iter()
            .collect(),
        logs: logs.collect(),
        outcome: call.error.map_or("ok", |error| outcome(error.kind)).to_owned(),
        script_name: call.script.name.clone(),
        script_version: Some(json!({ "id": call.script.version })),
        request_id: call.request_id.to_string(),
        subrequests: u64::from(call.report.subrequests),
        cold_start: call.report.cold,
        decision: call.decision.to_owned(),
        ..WorkerInvocation::default()
    };
    let place = gateway.logs.reserve().await.ok();
    append(gateway, place, record);
    id
}

/// The word of `workers_trace_events` for a failure.
const fn outcome(kind: CallErrorKind) -> &'static str {
    match kind {
        CallErrorKind::Exception | CallErrorKind::Syntax => "exception",
        CallErrorKind::Cpu => "exceededCpu",
        CallErrorKind::Memory | CallErrorKind::Stack => "exceededMemory",
        CallErrorKind::Output => "exceededOutput",
        CallErrorKind::Subrequests => "exceededSubrequests",
        CallErrorKind::Wall => "exceededWallTime",
        CallErrorKind::NoHandler => "scriptNotFound",
        CallErrorKind::Protocol | CallErrorKind::Killed => "killed",
        CallErrorKind::Overloaded => "overloaded",
        CallErrorKind::Unavailable => "unavailable",
    }
}

const fn wanted(switches: LogSwitches) -> bool {
    switches.log_all || switches.log_blocks
}

fn append(gateway: &Inner, place: Option<logs::Slot>, record: impl AsRecord) {
    let appended = match place {
        Some(place) => place.append(record),
        None => gateway.logs.try_append(record),
    };
    if appended.is_err() {
        // The log is shut down or has been full past its deadline; the count is what the console shows.
        Counters::add(&gateway.counters.records_lost);
    }
}

fn person_words(person: &Person) -> (String, String) {
    (person.email.clone(), person.id.clone())
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
