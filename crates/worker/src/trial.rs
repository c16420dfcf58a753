//! Runs a script once against a described request, with described answers to what it asks: for `worker test` and for the
//! preview of the console.
//!
//! It uses the real runtime and no network: a `fetch` that no recorded answer fits is refused, and so is everything that
//! is not described. Plain serde types, so that the file a person writes is the whole input and the report is the whole
//! output.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::call::{Answer, Call, CallError, CallReport, Reply};
use crate::host::{Body, BoxFuture, CallContext, FetchTarget, Host, HostError, KvWrite, full_body};
use crate::pool::Runtime;
use crate::protocol::{KvValue, LogLevel};
use crate::script::Script;

/// Most bytes of a body that a report shows.
const MAX_SHOWN: usize = 1 << 20;
const DEFAULT_TIMEOUT_MS: u64 = 5_000;

/// What to run a script against.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRequest {
    #[serde(default = "get")]
    pub method: String,
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<String>,
    /// `request.cf`.
    #[serde(default)]
    pub cf: serde_json::Map<String, serde_json::Value>,
    /// Answers to the script's subrequests; the first that fits is used.
    #[serde(default)]
    pub answers: Vec<TrialAnswer>,
    /// What the KV bindings hold, by namespace and key.
    #[serde(default)]
    pub kv: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// An answer to a subrequest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialAnswer {
    /// Fits any method if absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Fits URLs that begin with this.
    pub url: String,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: String,
}

fn get() -> String {
    "GET".to_owned()
}

const fn ok() -> u16 {
    200
}

/// What a script did.
#[derive(Debug, Clone, Serialize)]
pub struct TrialReport {
    pub outcome: TrialOutcome,
    pub logs: Vec<TrialLog>,
    /// The subrequests the script made, in order: method and URL, and what became of them.
    pub subrequests: Vec<TrialSubrequest>,
    pub cpu_us: u64,
    pub wall_us: u64,
}

/// How it ended.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TrialOutcome {
    Response { status: u16, headers: Vec<(String, String)>, body: String },
    Request { method: String, url: String, headers: Vec<(String, String)>, body: String },
    NoOpinion,
    Error { error: &'static str, message: String, stack: String, pass_through: bool },
}

#[derive(Debug, Clone, Serialize)]
pub struct TrialLog {
    pub level: LogLevel,
    pub message: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct TrialSubrequest {
    pub method: String,
    pub url: String,
    /// Absent when no recorded answer fits.
    pub status: Option<u16>,
}

/// Why a trial was not run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("the request is not well formed")]
    Request(#[from] http::Error),
}

impl Runtime {
    /// Runs a script's `fetch` handler once against a described request.
    ///
    /// # Errors
    /// When the description is not a request; what the script does wrong is part of the report.
    pub async fn trial(&self, script: &Arc<Script>, trial: TrialRequest) -> Result<TrialReport, TrialError> {
        let mut request = http::Request::builder().method(trial.method.as_str()).uri(trial.url.as_str());
        for (name, value) in &trial.headers {
            request = request.header(name, value);
        }
        let request = request.body(full_body(trial.body.clone().unwrap_or_default()))?;
        let timeout = Duration::from_millis(trial.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
        let cf = serde_json::Value::Object(trial.cf.clone()).to_string();
        let host = Arc::new(Recorded::new(trial));
        let call = Call { host: Arc::clone(&host) as Arc<dyn Host>, cf: cf.into(), timeout };
        let (outcome, report) = match self.fetch(script, request, call).await {
            Ok(Reply { answer, report }) => (shown(answer, timeout).await, report),
            Err(error) => failed(error),
        };
        Ok(TrialReport {
            outcome,
            logs: report.logs.into_iter().map(|line| TrialLog { level: line.level, message: line.message }).collect(),
            subrequests: std::mem::take(&mut host.subrequests.lock()),
            cpu_us: micros(report.cpu),
            wall_us: micros(report.wall),
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn failed(error: CallError) -> (TrialOutcome, CallReport) {
    let CallError { kind, message, stack, pass_through, report } = error;
    (TrialOutcome::Error { error: kind.as_str(), message, stack, pass_through }, report)
}

async fn shown(answer: Answer, patience: Duration) -> TrialOutcome {
    match answer {
        Answer::NoOpinion => TrialOutcome::NoOpinion,
        Answer::Response(response) => {
            let (parts, body) = response.into_parts();
            let body = text(body, patience).await;
            TrialOutcome::Response { status: parts.status.as_u16(), headers: headers(&parts.headers), body }
        }
        Answer::Request(request) => {
            let (parts, body) = request.into_parts();
            TrialOutcome::Request {
                method: parts.method.to_string(),
                url: parts.uri.to_string(),
                headers: headers(&parts.headers),
                body: text(body, patience).await,
            }
        }
    }
}

fn headers(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

async fn text(body: Body, patience: Duration) -> String {
    match tokio::time::timeout(patience, Limited::new(body, MAX_SHOWN).collect()).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Ok(Err(error)) => format!("(the body broke off: {error})"),
        Err(_) => "(the body did not end within the time allowed)".to_owned(),
    }
}

/// A host whose world is what the trial describes.
struct Recorded {
    answers: Vec<TrialAnswer>,
    kv: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
    subrequests: Mutex<Vec<TrialSubrequest>>,
}

impl Recorded {
    fn new(trial: TrialRequest) -> Self {
        let bytes = |values: BTreeMap<String, String>| {
            values.into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
        };
        let kv = trial.kv.into_iter().map(|(namespace, values)| (namespace, bytes(values))).collect();
        Self { answers: trial.answers, kv: Mutex::new(kv), subrequests: Mutex::default() }
    }

    fn answer(&self, request: &http::Request<Body>) -> Result<http::Response<Body>, HostError> {
        let (method, url) = (request.method().to_string(), request.uri().to_string());
        let fitting = self.answers.iter().find(|answer| {
            url.starts_with(&answer.url)
                && answer.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&method))
        });
        let status = fitting.map(|answer| answer.status);
        self.subrequests.lock().push(TrialSubrequest { method: method.clone(), url: url.clone(), status });
        let answer =
            fitting.ok_or_else(|| HostError::type_error(format!("the trial has no answer for {method} {url}")))?;
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response
            .body(full_body(Bytes::from(answer.body.clone())))
            .map_err(|_| HostError::type_error("the recorded answer is not well formed"))
    }
}

impl Host for Recorded {
    fn fetch<'a>(
        &'a self,
        _: &'a CallContext,
        _: FetchTarget,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(std::future::ready(self.answer(&request)))
    }

    fn reaches_own_origin(&self) -> bool {
        true
    }

    fn service<'a>(
        &'a self,
        _: &'a CallContext,
        _: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(std::future::ready(self.answer(&request)))
    }

    fn kv_get<'a>(
        &'a self,
        _: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<Option<KvValue>, HostError>> {
        let value = self.kv.lock().get(namespace).and_then(|values| values.get(&key)).cloned();
        Box::pin(std::future::ready(Ok(value.map(|value| KvValue { value, metadata: None }))))
    }

    fn kv_put<'a>(
        &'a self,
        _: &'a CallContext,
        namespace: &'a str,
        write: KvWrite,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.kv.lock().entry(namespace.to_owned()).or_default().insert(write.key, write.value);
        Box::pin(std::future::ready(Ok(())))
    }

    fn kv_delete<'a>(
        &'a self,
        _: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        if let Some(values) = self.kv.lock().get_mut(namespace) {
            values.remove(&key);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn rate_limit<'a>(
        &'a self,
        _: &'a CallContext,
        _: &'a str,
        _: crate::limiter::RateSpec,
        _: String,
    ) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(std::future::ready(Ok(true)))
    }
}
