//! What the tests share: a runtime over one of this crate's programs, scripts, a host that records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use portunus_worker::protocol::{Isolation, KvValue, Limits, LogLevel, Module};
use portunus_worker::{
    Answer, Binding, Body, BoxFuture, Call, CallContext, CallError, EgressList, FetchTarget, Host, HostError, Reply,
    Runtime, RuntimeConfig, Script, ScriptKey, empty_body, full_body,
};

/// Long enough for a starved machine; only what never happens waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn hostile() -> RuntimeConfig {
    RuntimeConfig { executable: PathBuf::from(env!("CARGO_BIN_EXE_portunus-worker-hostile")), ..patient() }
}

pub(crate) fn patient() -> RuntimeConfig {
    RuntimeConfig {
        executable: PathBuf::from(env!("CARGO_BIN_EXE_portunus-worker-zygote")),
        stall: PATIENCE,
        // A second process is for a stuck first one, and on a starved machine any may look stuck.
        processes_per_worker: 1,
        ..RuntimeConfig::default()
    }
}

pub(crate) fn script(name: &str, code: &str) -> Script {
    let bindings = [
        ("TEXT", Binding::Text("plain".into())),
        ("KV", Binding::Kv("namespace".into())),
        ("SERVICE", Binding::Service("other".into())),
    ];
    Script {
        key: ScriptKey { account: types::AccountId(uuid::Uuid::from_u128(7)), name: name.into(), version: "1".into() },
        modules: vec![Module { name: "main.js".into(), code: code.into() }],
        bindings: bindings.into_iter().map(|(name, binding)| (name.to_owned(), binding)).collect::<BTreeMap<_, _>>(),
        egress: EgressList::parse(["allowed.test"]).unwrap(),
        limits: Limits { cpu_ms: 50, ..Limits::default() },
        isolation: Isolation::Request,
    }
}

pub(crate) fn request(url: &str) -> http::Request<Body> {
    http::Request::builder().uri(url).body(empty_body()).unwrap()
}

pub(crate) fn call(host: &Arc<Recorder>) -> Call {
    Call { host: Arc::clone(host) as Arc<dyn Host>, cf: "{}".into(), timeout: PATIENCE }
}

/// Fetches `http://x.test/<path>` from a script.
pub(crate) async fn fetch(runtime: &Runtime, script: &Arc<Script>, path: &str) -> Result<Reply, CallError> {
    let host = Arc::new(Recorder::default());
    runtime.fetch(script, request(&format!("http://x.test/{path}")), call(&host)).await
}

/// Fetches and returns the text of the response.
pub(crate) async fn text(runtime: &Runtime, script: &Arc<Script>, path: &str) -> Result<String, CallError> {
    let reply = fetch(runtime, script, path).await?;
    let Answer::Response(response) = reply.answer else {
        panic!("not a response: {:?}", reply.answer);
    };
    let body = response
        .into_body()
        .collect()
        .await
        .map_or_else(|error| format!("broken body: {error}").into(), http_body_util::Collected::to_bytes);
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// A host that answers everything and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Recorder {
    /// The call is another Worker's, which carries no right to the origin of the request it handles.
    pub(crate) called_in_turn: bool,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) logs: Mutex<Vec<(LogLevel, String)>>,
}

impl Recorder {
    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }
}

impl Host for Recorder {
    fn fetch<'a>(
        &'a self,
        _: &'a CallContext,
        target: FetchTarget,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        self.note(format!("{target:?} {} {}", request.method(), request.uri()));
        Box::pin(async move {
            let response = http::Response::builder();
            Ok(match request.uri().path() {
                "/redirect" => {
                    let response = response.status(302).header("location", "https://elsewhere.test/");
                    response.body(empty_body()).unwrap()
                }
                "/never" => std::future::pending().await,
                "/echo" => response.body(request.into_body()).unwrap(),
                path => response.header("x-from", "host").body(full_body(format!("host {path}"))).unwrap(),
            })
        })
    }

    fn reaches_own_origin(&self) -> bool {
        !self.called_in_turn
    }

    fn service<'a>(
        &'a self,
        _: &'a CallContext,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        self.note(format!("service {service} {}", request.uri()));
        Box::pin(std::future::ready(Ok(http::Response::new(full_body("service")))))
    }

    fn kv_get<'a>(
        &'a self,
        _: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<Option<KvValue>, HostError>> {
        self.note(format!("kv get {namespace} {key}"));
        Box::pin(std::future::ready(Ok(Some(KvValue { value: b"value".to_vec(), metadata: None }))))
    }

    fn log(&self, _: &CallContext, level: LogLevel, message: &str) {
        self.logs.lock().unwrap().push((level, message.to_owned()));
    }
}
