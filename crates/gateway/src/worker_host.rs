//! Performs what a Worker asks for: `fetch` through the gateway's own guarded path, everything else by the services.
//!
//! The runtime has checked the script's egress list before it calls. Invariant: no fetch leaves here without the guard,
//! which judges the resolved address, and none accepts an untrusted certificate.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use net::upstream::{CertificatePolicy, ConnectionInfo};
use net::{Host as Name, Offer, Origin};
use parking_lot::Mutex;
use worker::{BoxFuture, CallContext, FetchTarget, Host, HostError, KvPage, KvWrite, RateSpec};

use crate::body::Body;
use crate::exchange;
use crate::fault::Fault;
use crate::gateway::Inner;
use crate::hop;
use crate::snapshot::Snapshot;
use crate::upstream::{self, Leg};

/// The host of one Worker call inside a request.
pub(crate) struct RequestHost {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) origin: Origin,
    pub(crate) leg: Leg,
    pub(crate) origin_leg: Mutex<OriginLeg>,
}

/// What became of the request's own origin.
#[derive(Default)]
pub(crate) struct OriginLeg {
    /// The script has asked the origin.
    pub(crate) asked: bool,
    pub(crate) connection: Option<Arc<ConnectionInfo>>,
    /// Requests of the script that the origin may have received and that must not be repeated.
    acts: u32,
    /// The request has gone on without the script.
    released: bool,
}

impl OriginLeg {
    /// Lets the request go on without the script, which from here on sends the origin nothing that must not be repeated.
    /// False if it has done so already: then the request must not be sent once more.
    pub(crate) fn release(&mut self) -> bool {
        self.released = true;
        self.acts == 0
    }
}

impl RequestHost {
    async fn to_origin(&self, request: Request<Body>) -> Result<Response<Body>, HostError> {
        self.origin_leg.lock().asked = true;
        let acts = self.begin_act(&self.origin, &request)?;
        let request = outgoing(request);
        let answer = upstream::send(&self.snapshot.upstream, &self.origin, self.leg, request).await;
        let mut answer = answer.map_err(|fault| self.refused(acts, &fault))?;
        hop::strip_response(answer.response.headers_mut());
        self.origin_leg.lock().connection = Some(answer.connection);
        Ok(answer.response)
    }

    async fn to_egress(&self, request: Request<Body>) -> Result<Response<Body>, HostError> {
        let origin = origin_of(&request)?;
        let acts = self.begin_act(&origin, &request)?;
        let answer = to_egress(&self.gateway, &self.snapshot, &origin, request).await;
        answer.map_err(|fault| self.refused(acts, &fault))
    }

    /// Notes a request that its origin, being the one of the request that is decided, must not see twice.
    fn begin_act(&self, origin: &Origin, request: &Request<Body>) -> Result<bool, HostError> {
        if *origin != self.origin || hop::is_replayable(request.method()) {
            return Ok(false);
        }
        let mut leg = self.origin_leg.lock();
        if leg.released {
            return Err(HostError::type_error("the request has gone on without this Worker and is not sent twice"));
        }
        leg.acts = leg.acts.saturating_add(1);
        Ok(true)
    }

    /// What a failed fetch looks like to the script. A request that never left does not count as an act; one that is cut
    /// short does, because the origin may have it.
    fn refused(&self, acts: bool, fault: &Fault) -> HostError {
        if acts && fault.is_before_sending() {
            let mut leg = self.origin_leg.lock();
            leg.acts = leg.acts.saturating_sub(1);
        }
        HostError::type_error(fault.what())
    }
}

/// The host of calls outside any request.
pub(crate) struct Background {
    gateway: Arc<Inner>,
}

impl Background {
    pub(crate) const fn new(gateway: Arc<Inner>) -> Self {
        Self { gateway }
    }
}

/// Removes what belongs to no request a script may send.
fn outgoing(mut request: Request<Body>) -> Request<Body> {
    let headers: &mut HeaderMap = request.headers_mut();
    hop::strip_request(headers);
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::HOST);
    request
}

/// Reads where a request's URL leads.
fn origin_of(request: &Request<Body>) -> Result<Origin, HostError> {
    let uri = request.uri();
    let scheme = exchange::scheme(uri).ok_or_else(|| HostError::type_error("only http and https can be fetched"))?;
    let host = uri.host().unwrap_or_default();
    let host = Name::parse(host).map_err(|error| HostError::type_error(error.to_string()))?;
    Ok(Origin::new(scheme, host, uri.port_u16().unwrap_or_else(|| scheme.default_port())))
}

/// Sends a request to wherever its URL leads.
async fn to_egress(
    gateway: &Inner,
    snapshot: &Snapshot,
    origin: &Origin,
    request: Request<Body>,
) -> Result<Response<Body>, Fault> {
    let leg = Leg {
        offer: Offer::Both,
        certificates: CertificatePolicy::RequireValid,
        client: 0,
        within: gateway.config.response_timeout.min(Duration::from_secs(60)),
    };
    let mut answer = upstream::send(&snapshot.upstream, origin, leg, outgoing(request)).await?;
    hop::strip_response(answer.response.headers_mut());
    Ok(answer.response)
}

/// Everything but `fetch` goes to the services.
macro_rules! delegate {
    () => {
        fn service<'a>(
            &'a self,
            cx: &'a CallContext,
            service: &'a str,
            request: Request<Body>,
        ) -> BoxFuture<'a, Result<Response<Body>, HostError>> {
            self.gateway.services.service(cx, service, request)
        }

        fn kv_get<'a>(
            &'a self,
            cx: &'a CallContext,
            namespace: &'a str,
            key: String,
        ) -> BoxFuture<'a, Result<Option<worker::protocol::KvValue>, HostError>> {
            self.gateway.services.kv_get(cx, namespace, key)
        }

        fn kv_put<'a>(
            &'a self,
            cx: &'a CallContext,
            namespace: &'a str,
            write: KvWrite,
        ) -> BoxFuture<'a, Result<(), HostError>> {
            self.gateway.services.kv_put(cx, namespace, write)
        }

        fn kv_delete<'a>(
            &'a self,
            cx: &'a CallContext,
            namespace: &'a str,
            key: String,
        ) -> BoxFuture<'a, Result<(), HostError>> {
            self.gateway.services.kv_delete(cx, namespace, key)
        }

        fn kv_list<'a>(
            &'a self,
            cx: &'a CallContext,
            namespace: &'a str,
            prefix: String,
            limit: u32,
            cursor: Option<String>,
        ) -> BoxFuture<'a, Result<KvPage, HostError>> {
            self.gateway.services.kv_list(cx, namespace, prefix, limit, cursor)
        }

        fn rate_limit<'a>(
            &'a self,
            cx: &'a CallContext,
            binding: &'a str,
            spec: RateSpec,
            key: String,
        ) -> BoxFuture<'a, Result<bool, HostError>> {
            self.gateway.services.rate_limit(cx, binding, spec, key)
        }

        fn cache_match<'a>(
            &'a self,
            cx: &'a CallContext,
            key: String,
        ) -> BoxFuture<'a, Result<Option<Response<Body>>, HostError>> {
            self.gateway.services.cache_match(cx, key)
        }

        fn cache_put<'a>(
            &'a self,
            cx: &'a CallContext,
            key: String,
            response: Response<Body>,
        ) -> BoxFuture<'a, Result<(), HostError>> {
            self.gateway.services.cache_put(cx, key, response)
        }

        fn cache_delete<'a>(&'a self, cx: &'a CallContext, key: String) -> BoxFuture<'a, Result<bool, HostError>> {
            self.gateway.services.cache_delete(cx, key)
        }
    };
}

impl Host for RequestHost {
    fn fetch<'a>(
        &'a self,
        _cx: &'a CallContext,
        target: FetchTarget,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, HostError>> {
        match target {
            FetchTarget::Origin => Box::pin(self.to_origin(request)),
            FetchTarget::Egress => Box::pin(self.to_egress(request)),
        }
    }

    fn reaches_own_origin(&self) -> bool {
        true
    }

    delegate!();
}

impl Host for Background {
    fn fetch<'a>(
        &'a self,
        _cx: &'a CallContext,
        _target: FetchTarget,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, HostError>> {
        Box::pin(async {
            let snapshot = self.gateway.snapshot.load_full();
            let origin = origin_of(&request)?;
            let answer = to_egress(&self.gateway, &snapshot, &origin, request).await;
            answer.map_err(|fault| HostError::type_error(fault.what()))
        })
    }

    delegate!();
}
