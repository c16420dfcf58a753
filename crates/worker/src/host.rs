//! What a script may reach, as the caller implements it.
//!
//! The worker side has already checked everything that can be checked without I/O: a binding exists and has the right
//! kind, a URL is on the egress list, names and sizes are in bounds. A host only performs. It must still refuse
//! addresses that resolve to places no script may reach (loopback, link-local, metadata): only it resolves names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::limiter::RateSpec;
use crate::protocol::{KvKey, KvValue, LogLevel};
use crate::script::Script;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// The one body type that crosses this crate's boundary.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Returns a body without bytes.
#[must_use]
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body of one chunk.
#[must_use]
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The invocation on whose behalf a host acts.
#[derive(Debug, Clone)]
pub struct CallContext {
    pub script: Arc<Script>,
    pub event: EventKind,
    /// The URL of the request being handled; present for fetch events alone.
    pub url: Option<url::Url>,
    /// `request.cf` of the request being handled, as JSON text.
    pub cf: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Fetch,
    Access,
    Scheduled,
    Queue,
}

/// Where a global `fetch` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchTarget {
    /// The request being handled, sent on to its own origin: same scheme, host and port, checked.
    Origin,
    /// A URL the script's egress list permits or, where the host says so, the origin of the request being handled.
    Egress,
}

/// Why a host did not do what a script asked. Becomes an exception in the script.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// The name of the exception: `TypeError`, `NetworkError`, …
    pub name: &'static str,
    pub message: String,
}

impl HostError {
    /// An error the script sees as `TypeError`, as failed fetches are.
    #[must_use]
    pub fn type_error(message: impl Into<String>) -> Self {
        Self { name: "TypeError", message: message.into() }
    }

    /// An operation this host does not offer.
    #[must_use]
    pub fn unavailable(what: &str) -> Self {
        Self { name: "NotSupportedError", message: format!("{what} is not available here") }
    }
}

/// A KV write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvWrite {
    pub key: String,
    pub value: Vec<u8>,
    /// JSON text.
    pub metadata: Option<String>,
    pub expiration_ttl_s: Option<u64>,
    /// Seconds since the epoch.
    pub expiration_s: Option<u64>,
}

/// One page of KV keys; no cursor means the list is complete.
#[derive(Debug, Clone, Default)]
pub struct KvPage {
    pub keys: Vec<KvKey>,
    pub cursor: Option<String>,
}

/// Performs a script's operations. Whatever is not implemented is left to [`Host::inner`], and refused without one.
pub trait Host: Send + Sync + 'static {
    /// Returns the host that does what this one leaves alone.
    fn inner(&self) -> Option<&dyn Host> {
        None
    }

    /// Sends one request and returns its response without following redirects; those are followed by the caller, which
    /// checks every hop against the egress list.
    fn fetch<'a>(
        &'a self,
        cx: &'a CallContext,
        target: FetchTarget,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        match self.inner() {
            Some(inner) => inner.fetch(cx, target, request),
            None => refuse("fetch"),
        }
    }

    /// Whether a script may fetch the origin of the request it handles although its egress list does not name it.
    ///
    /// # Security
    /// That right comes with a person's request, for the Worker whose rule matched it. A Worker that is called in turn is
    /// handed a URL of its caller's choice, which must not become its own licence.
    /// Nor is it taken from [`Host::inner`].
    fn reaches_own_origin(&self) -> bool {
        false
    }

    /// Calls the service a binding stands for.
    fn service<'a>(
        &'a self,
        cx: &'a CallContext,
        service: &'a str,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, HostError>> {
        match self.inner() {
            Some(inner) => inner.service(cx, service, request),
            None => refuse("this service"),
        }
    }

    fn kv_get<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<Option<KvValue>, HostError>> {
        match self.inner() {
            Some(inner) => inner.kv_get(cx, namespace, key),
            None => refuse("KV"),
        }
    }

    fn kv_put<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        write: KvWrite,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        match self.inner() {
            Some(inner) => inner.kv_put(cx, namespace, write),
            None => refuse("KV"),
        }
    }

    fn kv_delete<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        key: String,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        match self.inner() {
            Some(inner) => inner.kv_delete(cx, namespace, key),
            None => refuse("KV"),
        }
    }

    fn kv_list<'a>(
        &'a self,
        cx: &'a CallContext,
        namespace: &'a str,
        prefix: String,
        limit: u32,
        cursor: Option<String>,
    ) -> BoxFuture<'a, Result<KvPage, HostError>> {
        match self.inner() {
            Some(inner) => inner.kv_list(cx, namespace, prefix, limit, cursor),
            None => refuse("KV"),
        }
    }

    /// Counts one use of `key` and says whether the limit leaves room. `binding` tells two limiters of a script apart.
    fn rate_limit<'a>(
        &'a self,
        cx: &'a CallContext,
        binding: &'a str,
        spec: RateSpec,
        key: String,
    ) -> BoxFuture<'a, Result<bool, HostError>> {
        match self.inner() {
            Some(inner) => inner.rate_limit(cx, binding, spec, key),
            None => refuse("rate limiting"),
        }
    }

    /// Looks `key` up in the script's response cache.
    fn cache_match<'a>(
        &'a self,
        cx: &'a CallContext,
        key: String,
    ) -> BoxFuture<'a, Result<Option<http::Response<Body>>, HostError>> {
        match self.inner() {
            Some(inner) => inner.cache_match(cx, key),
            None => refuse("the cache"),
        }
    }

    fn cache_put<'a>(
        &'a self,
        cx: &'a CallContext,
        key: String,
        response: http::Response<Body>,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        match self.inner() {
            Some(inner) => inner.cache_put(cx, key, response),
            None => refuse("the cache"),
        }
    }

    /// Removes `key` and says whether it was there.
    fn cache_delete<'a>(&'a self, cx: &'a CallContext, key: String) -> BoxFuture<'a, Result<bool, HostError>> {
        match self.inner() {
            Some(inner) => inner.cache_delete(cx, key),
            None => refuse("the cache"),
        }
    }

    /// Receives `console` output as it happens, bounded by the script's limit. Must not block.
    fn log(&self, cx: &CallContext, level: LogLevel, message: &str) {
        if let Some(inner) = self.inner() {
            inner.log(cx, level, message);
        }
    }
}

fn refuse<'a, T: Send + 'a>(what: &'static str) -> BoxFuture<'a, Result<T, HostError>> {
    Box::pin(std::future::ready(Err(HostError::unavailable(what))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::{BoxFuture, CallContext, EventKind, Host, HostError};
    use crate::egress::EgressList;
    use crate::limiter::RateSpec;
    use crate::protocol::{Isolation, KvValue, Limits, LogLevel};
    use crate::script::{Script, ScriptKey};

    #[derive(Default)]
    struct Below(Mutex<Vec<String>>);

    impl Host for Below {
        fn kv_get<'a>(
            &'a self,
            _: &'a CallContext,
            _: &'a str,
            key: String,
        ) -> BoxFuture<'a, Result<Option<KvValue>, HostError>> {
            self.0.lock().push(key);
            Box::pin(std::future::ready(Ok(None)))
        }

        fn log(&self, _: &CallContext, _: LogLevel, message: &str) {
            self.0.lock().push(message.to_owned());
        }
    }

    struct Above(Arc<Below>);

    impl Host for Above {
        fn inner(&self) -> Option<&dyn Host> {
            Some(&*self.0)
        }
    }

    #[tokio::test]
    async fn what_a_host_leaves_alone_is_done_below_it_or_refused() {
        let script = Script {
            key: ScriptKey {
                account: types::AccountId(uuid::Uuid::nil()),
                name: "n".to_owned(),
                version: "v".to_owned(),
            },
            modules: Vec::new(),
            bindings: std::collections::BTreeMap::new(),
            egress: EgressList::deny_all(),
            limits: Limits::default(),
            isolation: Isolation::Shared,
        };
        let cx = CallContext { script: Arc::new(script), event: EventKind::Queue, url: None, cf: Arc::from("{}") };
        let below = Arc::new(Below::default());
        let above = Above(Arc::clone(&below));
        assert!(above.kv_get(&cx, "n", "key".to_owned()).await.unwrap().is_none());
        above.log(&cx, LogLevel::Log, "said");
        assert_eq!(*below.0.lock(), ["key", "said"]);
        let spec = RateSpec { limit: 1, period: std::time::Duration::from_secs(10) };
        let refused = above.rate_limit(&cx, "b", spec, "key".to_owned()).await.unwrap_err();
        assert_eq!(refused.name, "NotSupportedError");
    }
}
