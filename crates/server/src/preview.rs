//! Runs a script once for its author: same sandbox, same bindings, and everything it did written down.
//!
//! It decides nothing. Invariant: a preview reaches what the script would reach and no more, and its report is bounded.

use std::sync::Arc;
use std::time::Duration;

use console::{BoxFuture, Preview, PreviewError, PreviewEvent, PreviewJob, PreviewLine, PreviewReport};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{Principal, Store};
use worker::protocol::QueueMessage;
use worker::{
    Answer, Body, Call, CallContext, CallError, CallErrorKind, CallReport, FetchTarget, Host, HostError, Reply,
    Runtime, full_body,
};

use crate::scripts::{ScriptError, Scripts};
use crate::services::{EventHost, Services};
use crate::state::chain;

/// Wall-clock bound of a preview.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body that a report shows.
const SHOWN_BODY: usize = 64 << 10;
/// Fetches a report lists.
const SHOWN_SUBREQUESTS: usize = 100;

pub(crate) struct Previewer {
    pub store: Store,
    pub scripts: Arc<Scripts>,
    pub services: Arc<Services>,
    pub runtime: Arc<Runtime>,
    pub clock: net::Clock,
}

impl Preview for Previewer {
    fn run(&self, job: PreviewJob) -> BoxFuture<'_, Result<PreviewReport, PreviewError>> {
        Box::pin(self.preview(job))
    }
}

impl Previewer {
    async fn preview(&self, job: PreviewJob) -> Result<PreviewReport, PreviewError> {
        let principal = Principal::system("preview");
        let script = self
            .scripts
            .prepare_draft(&self.store, &principal, job.account, &job.version, &job.modules)
            .await
            .map_err(|error| match &error {
                ScriptError::Store(error) => PreviewError::Unavailable(error.to_string()),
                ScriptError::Denied(_)
                | ScriptError::Modules(_)
                | ScriptError::NoVersion(_)
                | ScriptError::Egress(_) => PreviewError::Invalid(chain(&error)),
            })?;
        let host = Arc::new(Recording { next: EventHost::new(Arc::clone(&self.services)), seen: Mutex::default() });
        let now_ms = (self.clock)().as_millisecond() as f64;
        let (outcome, report) = match job.event {
            PreviewEvent::Fetch { url, method, headers, body, cf } => {
                let request = request(&url, method.as_deref(), &headers, body)?;
                let cf = cf.unwrap_or_else(|| json!({})).to_string();
                answered(self.runtime.fetch(&script, request, call(&host, &cf)).await).await
            }
            PreviewEvent::Scheduled { cron } => {
                let done = self.runtime.scheduled(&script, cron, now_ms, call(&host, "{}")).await;
                done.map_or_else(failed, |done| (("none", Value::Null), done.report))
            }
            PreviewEvent::Queue { messages } => {
                let messages = messages.iter().enumerate().map(|(index, body)| QueueMessage {
                    id: index.to_string(),
                    timestamp_ms: now_ms,
                    attempts: 1,
                    body: body.to_string(),
                });
                let done = self.runtime.queue(&script, "preview".into(), messages.collect(), call(&host, "{}")).await;
                done.map_or_else(failed, |done| (("none", json!({ "retry": done.retry })), done.report))
            }
        };
        let subrequests = std::mem::take(&mut *host.seen.lock());
        let key = script.key.clone();
        self.runtime.retain(|other| *other != key);
        let console = report.logs.iter().map(|line| PreviewLine {
            level: format!("{:?}", line.level).to_lowercase(),
            message: line.message.clone(),
        });
        Ok(PreviewReport {
            outcome: outcome.0.to_owned(),
            detail: outcome.1,
            console: console.collect(),
            subrequests,
            cpu_microseconds: micros(report.cpu),
            wall_microseconds: micros(report.wall),
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn call(host: &Arc<Recording>, cf: &str) -> Call {
    Call { host: Arc::clone(host) as Arc<dyn Host>, cf: Arc::from(cf), timeout: TIMEOUT }
}

fn request(
    url: &str,
    method: Option<&str>,
    headers: &[(String, String)],
    body: Option<String>,
) -> Result<http::Request<Body>, PreviewError> {
    let mut builder = http::Request::builder().method(method.unwrap_or("GET")).uri(url);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let request = builder.body(body.map_or_else(worker::empty_body, full_body));
    let request = request.map_err(|error| PreviewError::Invalid(format!("the request is not valid: {error}")))?;
    if request.uri().scheme().is_none() || request.uri().host().is_none() {
        return Err(PreviewError::Invalid(format!("{url:?} is not an absolute URL")));
    }
    Ok(request)
}

type Outcome = (&'static str, Value);

async fn answered(result: Result<Reply, CallError>) -> (Outcome, CallReport) {
    match result {
        Err(error) => failed(error),
        Ok(Reply { answer, report }) => match answer {
            Answer::NoOpinion => (("none", Value::Null), report),
            Answer::Response(response) => {
                let (head, body) = response.into_parts();
                let detail = json!({ "status": head.status.as_u16(), "headers": fields(&head.headers), "body": shown(body).await });
                (("response", detail), report)
            }
            Answer::Request(request) => {
                let (head, body) = request.into_parts();
                let detail = json!({ "method": head.method.as_str(), "url": head.uri.to_string(), "headers": fields(&head.headers), "body": shown(body).await });
                (("request", detail), report)
            }
        },
    }
}

fn failed(error: CallError) -> (Outcome, CallReport) {
    let detail = json!({ "kind": error.kind.as_str(), "message": error.message, "stack": error.stack });
    let outcome = if error.kind == CallErrorKind::Wall { "timeout" } else { "error" };
    ((outcome, detail), error.report)
}

fn fields(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// The first bytes of a body, as text.
async fn shown(mut body: Body) -> Value {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Err(error) => return json!(format!("(the body failed: {error})")),
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
        }
        if bytes.len() > SHOWN_BODY {
            bytes.truncate(SHOWN_BODY);
            break;
        }
    }
    json!(String::from_utf8_lossy(&bytes))
}

/// Writes down what a script fetched.
struct Recording {
    next: EventHost,
    seen: Mutex<Vec<Value>>,
}

impl Recording {
    fn record(&self, entry: Value) {
        let mut seen = self.seen.lock();
        if seen.len() < SHOWN_SUBREQUESTS {
            seen.push(entry);
        }
    }
}

impl Host for Recording {
    fn inner(&self) -> Option<&dyn Host> {
        Some(&self.next)
    }

    fn fetch<'a>(
        &'a self,
        cx: &'a CallContext,
        target: FetchTarget,
        request: http::Request<Body>,
    ) -> worker::BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(async move {
            let (method, url) = (request.method().to_string(), request.uri().to_string());
            let result = self.next.fetch(cx, target, request).await;
            let (status, error) = match &result {
                Ok(response) => (json!(response.status().as_u16()), Value::Null),
                Err(error) => (Value::Null, json!(error.message)),
            };
            self.record(json!({ "method": method, "url": url, "status": status, "error": error }));
            result
        })
    }

    fn reaches_own_origin(&self) -> bool {
        true
    }
}
