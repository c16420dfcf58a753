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
}

impl RequestHost {
    async fn to_origin(&self, request: Request<Body>) -> Result<Response<Body>, HostError> {
        self.origin_leg.lock().asked = true;
        let request = outgoing(request);
        let answer = upstream::send(&self.snapshot.upstream, &self.origin, self.leg, request).await;
        let mut answer = answer.map_err(|fault| HostError::type_error(fault.what()))?;
        hop::strip_response(answer.response.headers_mut());
        self.origin_leg.lock().connection = Some(answer.connection);
        Ok(answer.response)
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

/// Sends a request to wherever its URL leads.
async fn to_egress(gateway: &Inner, snapshot: &Snapshot, request: Request<Body>) -> Result<Response<Body>, HostError> {
    let uri = request.uri();
    let scheme = exchange::scheme(uri).ok_or_else(|| HostError::type_error("only http and https can be fetched"))?;
    let host = uri.host().unwrap_or_default();
    let host = Name::parse(host).map_err(|error| HostError::type_error(error.to_string()))?;
    let origin = Origin::new(scheme, host, uri.port_u16().unwrap_or_else(|| scheme.default_port()));
    let leg = Leg {
        offer: Offer::Both,
        certificates: CertificatePolicy::RequireValid,
        client: 0,
        within: gateway.config.response_timeout.min(Duration::from_secs(60)),
    };
    let answer = upstream::send(&snapshot.upstream, &origin, leg, outgoing(request)).await;
    let mut answer = answer.map_err(|fault| HostError::type_error(fault.what()))?;
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
            FetchTarget::Egress => Box::pin(to_egress(&self.gateway, &self.snapshot, request)),
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
            to_egress(&self.gateway, &snapshot, request).await
        })
    }

    delegate!();
}
