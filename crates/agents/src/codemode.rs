//! Code Mode: a person's program, run where it can reach nothing but what that person sees.
//!
//! The program runs in a Worker process of its own, with one binding: this session's view. Every call it makes is a call
//! like any other, held against the same rules, recorded under the execution that made it, and ended with it. Invariants: a
//! program has no network, no clock beyond the process's and no credential; what it may do is bounded in time, calls and
//! bytes; a program that only searches calls nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use mcp::builtin;
use mcp::codemode::{self, Budget, Names};
use mcp::message::{Id, Message, RpcError};
use mcp::raw::{self, Object};
use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;
use worker::protocol::{Isolation, Limits, Module};
use worker::{
    Answer, Body, Call, CallContext, CallError, EgressList, Host, HostError, Reply, Script, ScriptKey, empty_body,
    full_body, typescript,
};

use crate::call::{self, Asked};
use crate::record::{Outcome, Recording};
use crate::sse;
use crate::turn::{self, Said, Turn};

/// How long one execution lasts at most, tools included.
const LONGEST: Duration = Duration::from_secs(60);
/// Calls of one execution that are under way at a time.
const AT_ONCE: usize = 16;
/// Bytes of one request of a program to the portal, and of what it gives back.
const MOST_ASKED: usize = 4 << 20;
/// Tools that `codemode.search` gives unless it is told otherwise, and at most.
const HITS: usize = 10;
const MOST_HITS: usize = 50;
/// Progress that waits to be sent.
const PROGRESS: usize = 64;

/// What a program may use.
const LIMITS: Limits = Limits {
    cpu_ms: 2_000,
    memory_bytes: 96 << 20,
    stack_bytes: 512 << 10,
    subrequests: 250,
    output_bytes: MOST_ASKED as u64,
    log_bytes: 16 << 10,
};

/// Runs scripts.
pub trait Scripts: Send + Sync + 'static {
    /// Invokes a script's `fetch` handler. Dropping the future cancels the call.
    fn run<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>>;
}

impl Scripts for worker::Runtime {
    fn run<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        Box::pin(self.fetch(script, request, call))
    }
}

/// Which of the two tools it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Search,
    Execute,
}

/// Answers a call of one of the two tools.
pub(crate) fn answer(turn: Arc<Turn>, purpose: Purpose, request: mcp::message::Request, recording: Recording) -> Said {
    let token = progress_token(&request);
    let id = request.id.clone();
    let Some(token) = token else {
        return Said::Later(Box::pin(async move {
            let result = execute(&turn, purpose, &request, recording, None).await;
            message(&turn, id, result)
        }));
    };
    let (sender, receiver) = mpsc::channel(PROGRESS);
    let execution: BoxFuture<'static, Message> = Box::pin(async move {
        let result = execute(&turn, purpose, &request, recording, Some(sender)).await;
        message(&turn, id, result)
    });
    let state = Some((execution, receiver, token, 0_u64));
    let events = futures_util::stream::unfold(state, |state| async move {
        let (mut execution, mut receiver, token, done) = state?;
        tokio::select! {
            biased;
            Some(told) = receiver.recv() => {
                let done = done + 1;
                let params = json!({"progressToken": token, "progress": done, "message": told});
                let event = Message::notification("notifications/progress", &params);
                Some((event_of(&event), Some((execution, receiver, token, done))))
            }
            last = &mut execution => Some((event_of(&last), None)),
        }
    });
    Said::Events(events.boxed())
}

fn event_of(message: &Message) -> Bytes {
    sse::write(None, message.to_json().as_bytes())
}

fn progress_token(request: &mcp::message::Request) -> Option<Box<RawValue>> {
    request.params()?.object("_meta")?.value("progressToken").map(ToOwned::to_owned)
}

fn message(turn: &Turn, id: Id, result: Result<Box<RawValue>, RpcError>) -> Message {
    match result {
        Ok(result) => {
            Message::Response(mcp::message::Response { id, result: turn::completed(turn, "tools/call", result) })
        }
        Err(error) => Message::error(id, error),
    }
}

async fn execute(
    turn: &Arc<Turn>,
    purpose: Purpose,
    request: &mcp::message::Request,
    mut recording: Recording,
    progress: Option<mpsc::Sender<String>>,
) -> Result<Box<RawValue>, RpcError> {
    let params = request.params();
    let code = match builtin::read_code(params.as_ref().and_then(|params| params.value("arguments"))) {
        Ok(code) => code,
        Err(error) => {
            recording.end(Outcome::Failed(error.message.to_string()));
            return Err(error);
        }
    };
    if turn.portal.settings.log_arguments {
        recording.note(|record| record.arguments = Some(raw::raw(&json!({"code": code})).get().to_owned()));
    }
    let (result, outcome) = match compile(&code) {
        Err(error) => (codemode::failure(&error, &[]), Outcome::Failed(error)),
        Ok(program) => run(turn, purpose, program, progress).await,
    };
    recording.note(|record| record.bytes = (code.len(), result.get().len()));
    recording.end(outcome);
    Ok(result)
}

/// Makes a module of a program, whether it is an expression or statements.
fn compile(code: &str) -> Result<String, String> {
    let code = codemode::normalise(code);
    let first = match typescript::to_javascript("program.ts", &codemode::expression_module(code)) {
        Ok(module) => return Ok(module),
        Err(error) => error,
    };
    let last = typescript::last_expression(code);
    // What is wrong with a program is told of the way in which its author most likely meant it.
    let module = codemode::statements_module(code, last);
    typescript::to_javascript("program.ts", &module).map_err(|second| {
        let error = if code.starts_with("async") || code.starts_with('(') { first } else { second };
        format!("the program does not parse: {error}")
    })
}

async fn run(
    turn: &Arc<Turn>,
    purpose: Purpose,
    program: String,
    progress: Option<mpsc::Sender<String>>,
) -> (Box<RawValue>, Outcome) {
    let places = [&turn.session.programs, &turn.plane.programs].map(|places| Arc::clone(places).try_acquire_owned());
    let [Ok(_own), Ok(_of_all)] = places else {
        let why = "too many programs run at the moment; try again when one has ended";
        return (codemode::failure(why, &[]), Outcome::Failed(why.to_owned()));
    };
    let script = Arc::new(Script {
        // Its own process: nothing of one execution is there for another.
        key: ScriptKey {
            account: turn.plane.account,
            name: "code-mode".to_owned(),
            version: Uuid::now_v7().to_string(),
        },
        modules: vec![
            Module { name: "main.js".into(), code: codemode::RUNNER.into() },
            Module { name: "program.js".into(), code: program },
        ],
        bindings: BTreeMap::from([("PORTAL".to_owned(), worker::Binding::Service("portal".to_owned()))]),
        egress: EgressList::default(),
        limits: LIMITS,
        isolation: Isolation::Request,
    });
    let host = Arc::new(Portal {
        turn: Arc::clone(turn),
        purpose,
        left: Mutex::new(Budget::default()),
        at_once: Semaphore::new(AT_ONCE),
        next: AtomicU64::new(1),
        progress,
    });
    let Ok(request) = Request::post("https://portal.internal/run").body(empty_body()) else {
        return (codemode::failure("it could not be run", &[]), Outcome::Failed("no request".to_owned()));
    };
    let call = Call { host, cf: Arc::from("{}"), timeout: LONGEST };
    let outcome = turn.plane.scripts.run(&script, request, call).await;
    match outcome {
        Ok(reply) => {
            let logs = lines(&reply.report.logs);
            match value(reply.answer).await {
                Some(value) => (codemode::result(&value, &logs), Outcome::Success),
                None => {
                    let why = "what the program gave back is too large, or is not JSON";
                    (codemode::failure(why, &logs), Outcome::Failed(why.to_owned()))
                }
            }
        }
        Err(error) => {
            let logs = lines(&error.report.logs);
            let why = error.message.strip_prefix("Error: ").unwrap_or(&error.message).to_owned();
            let why = if matches!(error.kind, worker::CallErrorKind::Exception) { why } else { error.to_string() };
            (codemode::failure(&why, &logs), Outcome::Failed(why))
        }
    }
}

fn lines(logs: &[worker::LogLine]) -> Vec<String> {
    logs.iter().map(|line| line.message.clone()).collect()
}

async fn value(answer: Answer) -> Option<String> {
    let Answer::Response(response) = answer else { return None };
    let bytes = net::proxy::body::collect(response.into_body(), MOST_ASKED).await?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// The one thing a program can reach.
struct Portal {
    turn: Arc<Turn>,
    purpose: Purpose,
    left: Mutex<Budget>,
    at_once: Semaphore,
    next: AtomicU64,
    progress: Option<mpsc::Sender<String>>,
}

impl Host for Portal {
    fn service<'a>(
        &'a self,
        _: &'a CallContext,
        _: &'a str,
        request: http::Request<Body>,
    ) -> worker::BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = match net::proxy::body::collect(body, MOST_ASKED).await {
                Some(body) => self.ask(parts.uri.path(), &body).await,
                None => Err(format!("a request may have at most {MOST_ASKED} bytes")),
            };
            let text = match answer {
                Ok(result) => format!("{{\"result\":{}}}", result.get()),
                Err(error) => json!({"error": error}).to_string(),
            };
            Ok(Response::new(full_body(text)))
        })
    }
}

impl Portal {
    async fn ask(&self, path: &str, body: &[u8]) -> Result<Box<RawValue>, String> {
        let text = std::str::from_utf8(body).map_err(|_| "a request is JSON".to_owned())?;
        // As messages are: what rules and people read of it must be what a server reads.
        if !raw::is_unambiguous(text) {
            return Err("a request is JSON, names no member twice, and holds no half of a character".to_owned());
        }
        let asked = Object::parse(text).map_err(|_| "a request is a JSON object".to_owned())?;
        match path {
            "/tools" => {
                let definitions = self.names().definitions(&self.turn.view);
                RawValue::from_string(definitions).map_err(|error| error.to_string())
            }
            "/search" => {
                let query = asked.text("query").unwrap_or_default();
                let limit = asked.value("limit").and_then(|limit| limit.get().parse().ok()).unwrap_or(HITS);
                Ok(self.search(&query, limit.min(MOST_HITS)))
            }
            "/call" if self.purpose == Purpose::Execute => {
                let name = asked.text("name").unwrap_or_default().into_owned();
                self.call(&name, asked.value("arguments").map(ToOwned::to_owned)).await
            }
            "/call" => Err("tools are called with portal_codemode_execute; here they are only looked up".to_owned()),
            _ => Err("codemode has no such member".to_owned()),
        }
    }

    fn names(&self) -> &Names {
        self.turn.view.names()
    }

    fn search(&self, query: &str, limit: usize) -> Box<RawValue> {
        let hits = self.turn.view.index().search(query, limit);
        let found = self.names().definitions_of(&self.turn.view, hits.iter().map(|hit| hit.exposed.as_str()));
        RawValue::from_string(found).unwrap_or_else(|_| raw::raw(&json!([])))
    }

    async fn call(&self, name: &str, arguments: Option<Box<RawValue>>) -> Result<Box<RawValue>, String> {
        let whole = Budget::default();
        self.left.lock().call(whole).map_err(|spent| spent.to_string())?;
        if arguments.as_ref().is_some_and(|arguments| !arguments.get().trim_start().starts_with('{')) {
            return Err(format!("codemode.{name} takes one object of arguments"));
        }
        let Some(exposed) = self.names().exposed(name).map(str::to_owned) else {
            return Err(format!("there is no tool {name}; portal_codemode_search finds those there are"));
        };
        // Waiting ends with the execution.
        let _place = self.at_once.acquire().await.map_err(|error| error.to_string())?;
        if let Some(progress) = &self.progress {
            // A client that is slow to hear of progress does not slow the program down.
            let _ = progress.try_send(format!("calling {exposed}"));
        }
        let id = Id::number(self.next.fetch_add(1, Ordering::Relaxed));
        let request = mcp::message::Request { id: id.clone(), method: "tools/call".into(), params: None };
        let asked = Asked { name: exposed, arguments, request };
        let said = call::named_tool(Arc::clone(&self.turn), asked, Some(self.turn.id)).await;
        match turn::collected(said, id).await {
            Message::Response(response) => {
                let result = codemode::unwrap(&response.result)?;
                self.left.lock().result(result.get().len(), whole).map_err(|spent| spent.to_string())?;
                Ok(result)
            }
            Message::Error(error) => Err(error.error.message.to_string()),
            Message::Request(_) | Message::Notification(_) => Err("the tool gave no answer".to_owned()),
        }
    }
}
