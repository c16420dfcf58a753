//! What Workers reach: KV, rate limits, their cache, other Workers, the admin API, and origins when no person's request
//! is being handled.
//!
//! It performs; what a script may ask for was checked by `worker` against its bindings and egress list. Invariant: every
//! store access carries a grant for the script's own account and no more rights than the binding names.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use access::{Phase, Question};
use arc_swap::ArcSwap;
use console::Tried;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use identity::evaluation::WorkerWord;
use identity::selector::WorkerQuestion;
use jiff::Timestamp;
use net::upstream::Pool;
use store::{Expiry, Principal, ReadKv, Store, StoreError, WriteKv};
use tower::ServiceExt;
use types::{KvNamespaceId, ScriptName};
use worker::protocol::{KvKey, KvValue, LogLevel};
use worker::{
    Answer, Body, BoxFuture, Call, CallContext, CallError, FetchTarget, Host, HostError, KvPage, KvWrite, RateLimiter,
    RateSpec, ResponseCache, Runtime, Said, Script,
};

use crate::scripts::Prepared;

/// How binding targets are written in a prepared script.
pub(crate) const WORKER_SERVICE: &str = "worker:";
pub(crate) const API_SERVICE: &str = "api:";

/// Keys a rate limiter remembers, over all scripts.
const RATE_LIMIT_KEYS: usize = 100_000;
/// Bytes of `caches.default`, over all scripts.
const CACHE_BYTES: u64 = 64 << 20;
/// Wall-clock bound of one Worker called by another.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);
/// Workers may call Workers this deep; a cycle ends here.
const SERVICE_DEPTH: u32 = 4;

/// The shared part of every Worker's host.
pub(crate) struct Services {
    store: Store,
    pub(crate) pool: Pool,
    response_timeout: Duration,
    runtime: Arc<Runtime>,
    /// The Workers in force.
    scripts: ArcSwap<Prepared>,
    limiter: RateLimiter,
    cache: ResponseCache,
    /// The admin API; set once the console exists, which itself needs these services.
    api: OnceLock<axum::Router>,
    clock: net::Clock,
}

impl Services {
    pub(crate) fn new(store: Store, pool: Pool, runtime: Arc<Runtime>, clock: net::Clock) -> Self {
        Self {
            store,
            pool,
            response_timeout: gateway::GatewayConfig::default().response_timeout,
            runtime,
            scripts: ArcSwap::default(),
            limiter: RateLimiter::new(RATE_LIMIT_KEYS),
            cache: ResponseCache::new(CACHE_BYTES),
            api: OnceLock::new(),
            clock,
        }
    }

    pub(crate) fn replace_scripts(&self, scripts: Arc<Prepared>) {
        self.scripts.store(scripts);
    }

    /// Returns the active version of a Worker.
    pub(crate) fn script(&self, name: &ScriptName) -> Option<Arc<Script>> {
        self.scripts.load().ready.get(name).cloned()
    }

    /// Runs a Worker's `fetch` handler. Dropping the future ends the call.
    ///
    /// # Errors
    /// It failed, or took more than it may.
    pub(crate) async fn run(
        &self,
        script: &Arc<Script>,
        request: http::Request<Body>,
        call: Call,
    ) -> Result<worker::Reply, CallError> {
        self.runtime.fetch(script, request, call).await
    }

    /// Returns the Workers whose active version takes security events.
    pub(crate) fn consumers(&self) -> Vec<Arc<Script>> {
        let scripts = self.scripts.load();
        scripts.consumers.iter().filter_map(|name| scripts.ready.get(name).cloned()).collect()
    }

    pub(crate) fn set_api(&self, router: axum::Router) {
        // A second router would be a second platform in this process, which nothing starts.
        let _ = self.api.set(router);
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn call_worker(
        &self,
        cx: &CallContext,
        name: &str,
        request: http::Request<Body>,
        host: Arc<dyn Host>,
    ) -> Result<http::Response<Body>, HostError> {
        let script = name.parse::<ScriptName>().ok().and_then(|name| self.script(&name));
        let script = script.ok_or_else(|| HostError::type_error(format!("there is no Worker {name:?}")))?;
        let call = Call { host, cf: Arc::clone(&cx.cf), timeout: SERVICE_TIMEOUT };
        let reply = self.runtime.fetch(&script, request, call).await;
        match reply.map_err(|error| HostError::type_error(format!("Worker {name:?} failed: {error}")))?.answer {
            Answer::Response(response) => Ok(response),
            Answer::Request(_) | Answer::NoOpinion => {
                Err(HostError::type_error(format!("Worker {name:?} answered with no response")))
            }
        }
    }

    async fn call_api(
        &self,
        cx: &CallContext,
        permissions: &str,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, HostError> {
        let router = self.api.get().ok_or_else(|| HostError::unavailable("the admin API"))?;
        let permissions = permissions
            .split(',')
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .collect::<Result<store::Permissions, store::UnknownPermission>>()
            .map_err(|error| HostError::type_error(error.to_string()))?;
        let script = cx.script.key.name.parse().map_err(|_| HostError::unavailable("the admin API"))?;
        let principal = Principal::system("Worker").restrict(cx.script.key.account, permissions);
        let mut request = request.map(axum::body::Body::new);
        // What the script wrote as host and credential means nothing here: the binding is the credential.
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = http::Uri::from(path);
        let headers = request.headers_mut();
        for name in [http::header::AUTHORIZATION, http::header::COOKIE] {
            headers.remove(name);
        }
        headers.insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
        request.extensions_mut().insert(console::InProcess { principal, script });
        match router.clone().oneshot(request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(never) => match never {},
        }
    }
}

/// A host for events that no person's request caused: cron triggers, queues, previews, and Workers called by those.
#[derive(Clone)]
pub(crate) struct EventHost {
    services: Arc<Services>,
    depth: u32,
}

impl EventHost {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        Self { services, depth: 0 }
    }
}

/// The owner's scripts as policies of Access ask them.
pub(crate) struct PolicyWorkers {
    pub services: Arc<Services>,
}

impl access::Workers for PolicyWorkers {
    fn find(&self, name: &ScriptName) -> Option<Arc<Script>> {
        self.services.script(name)
    }

    fn ask<'a>(
        &'a self,
        script: &'a Arc<Script>,
        question: String,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Said, CallError>> {
        let host = Arc::new(EventHost::new(Arc::clone(&self.services)));
        let call = Call { host, cf: Arc::from(question.as_str()), timeout };
        self.services.runtime.access(script, question, call)
    }
}

impl console::PolicyWorkers for PolicyWorkers {
    fn ask<'a>(&'a self, question: &'a WorkerQuestion, tried: Tried<'a>) -> console::BoxFuture<'a, WorkerWord> {
        Box::pin(async move {
            let get = |url: &str| serde_json::json!({"method": "GET", "url": url, "headers": {}});
            let facts = Question {
                phase: Phase::SignIn,
                test: true,
                id: logs::record_id(),
                account: tried.account,
                application: tried.application.map(|(id, name, _)| (id, name)),
                identity: Some(tried.identity),
                service_token: None,
                request: tried.application.map(|(_, _, url)| get(url)),
                source: tried.identity.ip,
                country: None,
                certificate: None,
            };
            access::ask_once(self, question, &facts).await
        })
    }
}

impl Host for EventHost {
    fn fetch<'a>(
        &'a self,
        _cx: &'a CallContext,
        _target: FetchTarget,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(gateway::fetch(&self.services.pool, self.services.response_timeout, request))
    }

    fn service<'a>(
        &'a self,
        cx: &'a CallContext,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        Box::pin(async move {
            if let Some(permissions) = service.strip_prefix(API_SERVICE) {
                return self.services.call_api(cx, permissions, request).await;
            }
            let name = service.strip_prefix(WORKER_SERVICE).unwrap_or(service);
            if self.depth >= SERVICE_DEPTH {
                return Err(HostError::type_error(format!("Workers call each other more than {SERVICE_DEPTH} deep")));
            }
            let host = Self { services: Arc::clone(&self.services), depth: self.depth + 1 };
            self.services.call_worker(cx, name, request, Arc::new(host)).await
        })
    }

    fn kv_get<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<Option<KvValue>, HostError>> {
        Box::pin(async move {
            let namespace = namespace_id(namespace)?;
            let store = &self.services.store;
            let grant = system().authorize::<ReadKv>(cx.script.key.account).map_err(refused)?;
            let value = store.kv().value(&grant, namespace, &key).await.map_err(|error| failed(&error))?;
            Ok(value.map(|value| KvValue {
                value: value.value,
                metadata: value.metadata.map(|metadata| metadata.to_string()),
            }))
        })
    }

    fn kv_put<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        write: KvWrite,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            let namespace = namespace_id(namespace)?;
            let grant = system().authorize::<WriteKv>(cx.script.key.account).map_err(refused)?;
            let metadata = write.metadata.map(|text| serde_json::from_str(&text)).transpose();
            let metadata: Option<serde_json::Value> =
                metadata.map_err(|_| HostError::type_error("metadata is not JSON"))?;
            let expiry = expiry(write.expiration_ttl_s, write.expiration_s)?;
            let kv = self.services.store.kv();
            kv.put_value(&grant, namespace, &write.key, write.value, metadata.as_ref(), expiry)
                .await
                .map_err(|error| failed(&error))
        })
    }

    fn kv_delete<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            let namespace = namespace_id(namespace)?;
            let grant = system().authorize::<WriteKv>(cx.script.key.account).map_err(refused)?;
            let deleted = self.services.store.kv().delete_value(&grant, namespace, &key).await;
            deleted.map_err(|error| failed(&error))
        })
    }

    fn kv_list<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        prefix: String,
        limit: u32,
        cursor: Option<String>,
    ) -> BoxFuture<'a, Result<KvPage, HostError>> {
        Box::pin(async move {
            let namespace = namespace_id(namespace)?;
            let grant = system().authorize::<ReadKv>(cx.script.key.account).map_err(refused)?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let page = self.services.store.kv().keys(&grant, namespace, &prefix, cursor.as_deref(), limit).await;
            let page = page.map_err(|error| failed(&error))?;
            let keys = page.keys.into_iter().map(|key| KvKey {
                name: key.name,
                expiration_s: key.expires_at.and_then(|at| u64::try_from(at.as_second()).ok()),
                metadata: key.metadata.map(|metadata| metadata.to_string()),
            });
            Ok(KvPage { keys: keys.collect(), cursor: page.cursor })
        })
    }

    fn rate_limit<'a>(
        &'a self,
        cx: &'a CallContext,
        binding: &'a str,
        spec: RateSpec,
        key: String,
    ) -> BoxFuture<'a, Result<bool, HostError>> {
        let scope = format!("{}/{}/{binding}", cx.script.key.account, cx.script.key.name);
        let now = u64::try_from(self.services.now().as_millisecond()).unwrap_or(0);
        let allowed = self.services.limiter.allow(&scope, &key, spec, now);
        Box::pin(std::future::ready(Ok(allowed)))
    }

    fn cache_match<'a>(
        &'a self,
        cx: &'a CallContext,
        key: String,
    ) -> BoxFuture<'a, Result<Option<http::Response<Body>>, HostError>> {
        let found = self.services.cache.find(&cache_scope(cx), &key);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn cache_put<'a>(
        &'a self,
        cx: &'a CallContext,
        key: String,
        response: http::Response<Body>,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move { self.services.cache.put(&cache_scope(cx), &key, response).await })
    }

    fn cache_delete<'a>(&'a self, cx: &'a CallContext, key: String) -> BoxFuture<'a, Result<bool, HostError>> {
        let deleted = self.services.cache.delete(&cache_scope(cx), &key);
        Box::pin(std::future::ready(Ok(deleted)))
    }

    fn log(&self, cx: &CallContext, level: LogLevel, message: &str) {
        tracing::debug!(script = %cx.script.key, ?level, message, "console");
    }
}

fn cache_scope(cx: &CallContext) -> String {
    format!("{}/{}", cx.script.key.account, cx.script.key.name)
}

fn system() -> Principal {
    Principal::system("Worker binding")
}

fn namespace_id(text: &str) -> Result<KvNamespaceId, HostError> {
    text.parse().map_err(|_| HostError::unavailable("this KV namespace"))
}

fn expiry(ttl_s: Option<u64>, at_s: Option<u64>) -> Result<Expiry, HostError> {
    if let Some(ttl) = ttl_s {
        return Ok(Expiry::After(Duration::from_secs(ttl)));
    }
    let Some(at) = at_s else { return Ok(Expiry::Never) };
    let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
    at.map(Expiry::At).ok_or_else(|| HostError::type_error("expiration is out of range"))
}

fn refused(error: store::Denied) -> HostError {
    HostError::type_error(error.to_string())
}

fn failed(error: &StoreError) -> HostError {
    HostError { name: "Error", message: error.to_string() }
}
