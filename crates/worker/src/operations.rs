//! Performs what a script asks of its host: checks it against the script's bindings, egress list and limits, then asks
//! the [`crate::Host`].
//!
//! Redirects are followed here, hop by hop, so that each hop is checked. Invariant: no operation reaches the host that
//! the script's configuration does not name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, LOCATION,
};
use http::{Method, StatusCode};
use url::{Position, Url};

use crate::convert::{self, Outgoing};
use crate::host::{Body, BoxFuture, FetchTarget, HostError, KvWrite, empty_body, full_body};
use crate::protocol::{
    BodySource, MAX_CHUNK, Operation, OperationError, OperationResult, OutgoingRequest, Redirect, ResponseHead,
};
use crate::script::Binding;
use crate::shared::CallShared;

const MAX_REDIRECTS: usize = 20;
const MAX_KV_KEY: usize = 512;
const MAX_KV_METADATA: usize = 1024;
const MAX_KV_PAGE: u32 = 1000;
/// The answer to one list must fit into a frame.
const MAX_CURSOR: usize = 4096;
const MAX_CACHE_KEY: usize = 8192;

type Outcome = Result<OperationResult, OperationError>;

impl From<HostError> for OperationError {
    fn from(error: HostError) -> Self {
        Self { name: error.name.to_owned(), message: error.message }
    }
}

/// Begins one operation. Everything that depends on the order of messages happens before this returns.
pub(crate) fn begin(shared: &Arc<CallShared>, operation: Operation) -> BoxFuture<'static, Outcome> {
    match operation {
        Operation::BodyWrite { body, chunk, end, error } => {
            if chunk.len() > MAX_CHUNK || !shared.count_output(chunk.len()) {
                shared.bodies.cancel(body);
                return failed(HostError { name: "RangeError", message: "the output limit is reached".into() });
            }
            Box::pin(shared.bodies.write(body, chunk, end, error))
        }
        Operation::BodyCancel { body } => {
            shared.bodies.cancel(body);
            Box::pin(std::future::ready(Ok(OperationResult::Unit)))
        }
        Operation::Fetch { request, incoming } => {
            send(shared, request, move |shared, url| fetch_target(shared, url, incoming))
        }
        Operation::Service { binding, request } => match binding_of(shared, &binding) {
            Some(Binding::Service(service)) => {
                let service = service.clone();
                send(shared, request, move |_, _| Ok(Destination::Service(service.clone())))
            }
            Some(_) | None => failed(no_binding(&binding)),
        },
        Operation::CachePut { key, response } => cache_put(shared, key, response),
        Operation::BodyRead { body } => {
            let shared = Arc::clone(shared);
            Box::pin(async move { shared.bodies.read(body).await })
        }
        Operation::Sleep { ms } => Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(ms))).await;
            Ok(OperationResult::Unit)
        }),
        Operation::KvGet { .. }
        | Operation::KvPut { .. }
        | Operation::KvDelete { .. }
        | Operation::KvList { .. }
        | Operation::RateLimit { .. }
        | Operation::CacheMatch { .. }
        | Operation::CacheDelete { .. } => {
            let shared = Arc::clone(shared);
            Box::pin(async move { Ok(state(&shared, operation).await?) })
        }
    }
}

fn failed(error: HostError) -> BoxFuture<'static, Outcome> {
    Box::pin(std::future::ready(Err(error.into())))
}

fn binding_of<'a>(shared: &'a CallShared, name: &str) -> Option<&'a Binding> {
    shared.context.script.bindings.get(name)
}

fn no_binding(name: &str) -> HostError {
    HostError::type_error(format!("there is no such binding: {}", name.chars().take(64).collect::<String>()))
}

/// Operations on state that the host keeps.
async fn state(shared: &CallShared, operation: Operation) -> Result<OperationResult, HostError> {
    let (host, cx) = (&shared.host, &shared.context);
    match operation {
        Operation::KvGet { binding, key } => {
            let namespace = kv(shared, &binding, &key)?;
            host.kv_get(cx, namespace, key).await.map(OperationResult::KvValue)
        }
        Operation::KvPut { binding, key, value, metadata, expiration_ttl_s, expiration_s } => {
            let namespace = kv(shared, &binding, &key)?;
            if metadata.as_ref().is_some_and(|metadata| metadata.len() > MAX_KV_METADATA) {
                return Err(HostError::type_error(format!("metadata may have at most {MAX_KV_METADATA} bytes")));
            }
            let write = KvWrite { key, value, metadata, expiration_ttl_s, expiration_s };
            host.kv_put(cx, namespace, write).await.map(|()| OperationResult::Unit)
        }
        Operation::KvDelete { binding, key } => {
            let namespace = kv(shared, &binding, &key)?;
            host.kv_delete(cx, namespace, key).await.map(|()| OperationResult::Unit)
        }
        Operation::KvList { binding, prefix, limit, cursor } => {
            let namespace = kv_namespace(shared, &binding)?;
            if prefix.len() > MAX_KV_KEY || cursor.as_ref().is_some_and(|cursor| cursor.len() > MAX_CURSOR) {
                return Err(HostError::type_error("the prefix or the cursor is too long"));
            }
            let page = host.kv_list(cx, namespace, prefix, limit.clamp(1, MAX_KV_PAGE), cursor).await?;
            Ok(OperationResult::KvKeys { keys: page.keys, cursor: page.cursor })
        }
        Operation::RateLimit { binding, key } => match binding_of(shared, &binding) {
            Some(Binding::RateLimit(spec)) if key.len() <= MAX_KV_KEY => {
                host.rate_limit(cx, &binding, *spec, key).await.map(OperationResult::Allowed)
            }
            Some(Binding::RateLimit(_)) => Err(HostError::type_error("the key is too long")),
            Some(_) | None => Err(no_binding(&binding)),
        },
        Operation::CacheMatch { key } => {
            let found = host.cache_match(cx, cache_key(key)?).await?;
            let found = found.map(|response| keep_response(shared, response, "", false)).transpose()?;
            Ok(OperationResult::CacheHit(found))
        }
        Operation::CacheDelete { key } => host.cache_delete(cx, cache_key(key)?).await.map(OperationResult::Deleted),
        Operation::Fetch { .. }
        | Operation::Service { .. }
        | Operation::BodyRead { .. }
        | Operation::BodyCancel { .. }
        | Operation::BodyWrite { .. }
        | Operation::CachePut { .. }
        | Operation::Sleep { .. } => Err(HostError::unavailable("this operation")),
    }
}

fn kv<'a>(shared: &'a CallShared, binding: &str, key: &str) -> Result<&'a str, HostError> {
    if key.is_empty() || key.len() > MAX_KV_KEY || key == "." || key == ".." {
        return Err(HostError::type_error(format!("a key has 1 to {MAX_KV_KEY} bytes and is not . or ..")));
    }
    kv_namespace(shared, binding)
}

fn kv_namespace<'a>(shared: &'a CallShared, binding: &str) -> Result<&'a str, HostError> {
    match binding_of(shared, binding) {
        Some(Binding::Kv(namespace)) => Ok(namespace),
        Some(_) | None => Err(no_binding(binding)),
    }
}

fn cache_key(key: String) -> Result<String, HostError> {
    if key.len() > MAX_CACHE_KEY {
        return Err(HostError::type_error("the cache key is too long"));
    }
    Ok(key)
}

fn cache_put(shared: &Arc<CallShared>, key: String, head: ResponseHead) -> BoxFuture<'static, Outcome> {
    let response = cache_key(key).and_then(|key| {
        let parts = convert::response_parts(&head, false)?;
        let body = body_from(shared, head.body)?.0;
        Ok((key, parts.map(|()| body)))
    });
    let shared = Arc::clone(shared);
    Box::pin(async move {
        let (key, response) = response?;
        shared.host.cache_put(&shared.context, key, response).await?;
        Ok(OperationResult::Unit)
    })
}

/// Where one request goes.
enum Destination {
    Fetch(FetchTarget),
    Service(String),
}

/// Decides whether a global `fetch` may reach a URL.
///
/// # Security
/// `incoming` comes from the process, so it is believed only for the origin of the request being handled, and only for
/// a call that carries the right to that origin ([`crate::Host::reaches_own_origin`]).
fn fetch_target(shared: &CallShared, url: &Url, incoming: bool) -> Result<Destination, HostError> {
    let own = shared.host.reaches_own_origin() && shared.context.url.as_ref().is_some_and(|own| same_origin(own, url));
    if own && incoming {
        return Ok(Destination::Fetch(FetchTarget::Origin));
    }
    if own || shared.context.script.egress.permits(url) {
        return Ok(Destination::Fetch(FetchTarget::Egress));
    }
    let origin = &url[..Position::BeforePath];
    Err(HostError::type_error(format!("{origin} is not on this Worker's egress list")))
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Returns the body a message names, and its bytes if it can be sent again.
pub(crate) fn body_from(shared: &CallShared, source: BodySource) -> Result<(Body, Option<Bytes>), HostError> {
    match source {
        BodySource::None => Ok((empty_body(), Some(Bytes::new()))),
        BodySource::Inline(bytes) => {
            if !shared.count_output(bytes.len()) {
                return Err(HostError { name: "RangeError", message: "the output limit is reached".into() });
            }
            let bytes = Bytes::from(bytes);
            Ok((full_body(bytes.clone()), Some(bytes)))
        }
        BodySource::Host(id) => {
            let body = shared.bodies.take(id).ok_or_else(|| HostError::type_error("the body has been used already"))?;
            Ok((body, None))
        }
        BodySource::Script(id) => {
            let body = shared.bodies.open(id).ok_or_else(|| HostError::type_error("the body cannot be opened"))?;
            Ok((body, None))
        }
    }
}

/// Keeps a response's body for the script and describes it.
fn keep_response(
    shared: &CallShared,
    response: http::Response<Body>,
    url: &str,
    redirected: bool,
) -> Result<ResponseHead, HostError> {
    let (parts, body) = response.into_parts();
    let kept = shared.bodies.keep(body).map_err(|error| HostError::type_error(error.message))?;
    let source = kept.map_or(BodySource::None, BodySource::Host);
    Ok(convert::response_head(&parts, source, url, redirected))
}

/// Sends a request and follows its redirects. The body is opened before this returns, since its chunks may be the next
/// messages.
fn send(
    shared: &Arc<CallShared>,
    request: OutgoingRequest,
    destination: impl Fn(&CallShared, &Url) -> Result<Destination, HostError> + Send + 'static,
) -> BoxFuture<'static, Outcome> {
    if !shared.count_subrequest() {
        return failed(HostError { name: "Error", message: "too many subrequests".into() });
    }
    let redirect = request.redirect;
    let prepared = Outgoing::parse(&request).and_then(|outgoing| Ok((body_from(shared, request.body)?, outgoing)));
    let shared = Arc::clone(shared);
    Box::pin(async move {
        let ((body, replay), outgoing) = prepared?;
        Ok(follow(&shared, outgoing, body, replay, redirect, destination).await?)
    })
}

async fn follow(
    shared: &CallShared,
    mut outgoing: Outgoing,
    body: Body,
    mut replay: Option<Bytes>,
    redirect: Redirect,
    destination: impl Fn(&CallShared, &Url) -> Result<Destination, HostError> + Send,
) -> Result<OperationResult, HostError> {
    let mut body = Some(body);
    for hop in 0..=MAX_REDIRECTS {
        let request = outgoing.build(body.take().unwrap_or_else(|| full_body(replay.clone().unwrap_or_default())))?;
        let response = match destination(shared, &outgoing.url)? {
            Destination::Fetch(target) => shared.host.fetch(&shared.context, target, request).await?,
            Destination::Service(service) => shared.host.service(&shared.context, &service, request).await?,
        };
        let location = location(&response, &outgoing.url);
        match (redirect, location) {
            (_, None) | (Redirect::Manual, Some(_)) => {
                return keep_response(shared, response, outgoing.url.as_str(), hop > 0).map(OperationResult::Response);
            }
            (Redirect::Error, Some(_)) => return Err(HostError::type_error("the response is a redirect")),
            (Redirect::Follow, Some(location)) => {
                if hop > 0 && !shared.count_subrequest() {
                    return Err(HostError { name: "Error", message: "too many subrequests".into() });
                }
                redirect_to(&mut outgoing, &mut replay, response.status(), location?)?;
            }
        }
    }
    Err(HostError::type_error("too many redirects"))
}

/// Returns where a redirect response points.
fn location(response: &http::Response<Body>, base: &Url) -> Option<Result<Url, HostError>> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !redirects.contains(&response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let target = std::str::from_utf8(location.as_bytes())
        .ok()
        .and_then(|text| base.join(text).ok())
        .ok_or_else(|| HostError::type_error("the redirect leads nowhere"));
    Some(target.and_then(|target| convert::parse_url(target.as_str())))
}

/// Rewrites a request for the next hop, as the Fetch standard's HTTP-redirect fetch says.
fn redirect_to(
    outgoing: &mut Outgoing,
    replay: &mut Option<Bytes>,
    status: StatusCode,
    location: Url,
) -> Result<(), HostError> {
    let becomes_get = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => outgoing.method == Method::POST,
        StatusCode::SEE_OTHER => outgoing.method != Method::GET && outgoing.method != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        outgoing.method = Method::GET;
        *replay = Some(Bytes::new());
        for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE] {
            outgoing.headers.remove(name);
        }
    }
    if replay.is_none() {
        return Err(HostError::type_error("a request with a streamed body cannot follow this redirect"));
    }
    if !same_origin(&outgoing.url, &location) {
        outgoing.headers.remove(AUTHORIZATION);
        outgoing.headers.remove(COOKIE);
    }
    outgoing.url = location;
    Ok(())
}
