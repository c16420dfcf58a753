//! Performs a Worker's `fetch`, inside a request and outside of any, through the gateway's own guarded path; everything
//! else is left to the services.
//!
//! The runtime has checked the script's egress list before it calls. Invariant: no fetch leaves here without the guard,
//! which judges the resolved address, and none accepts an untrusted certificate.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use net::upstream::{CertificatePolicy, ConnectionInfo, Pool};
use net::{Host as Name, Offer, Origin};
use parking_lot::Mutex;
use worker::{BoxFuture, CallContext, FetchTarget, Host, HostError};

use crate::body::Body;
use crate::exchange;
use crate::fault::Fault;
use crate::gateway::Inner;
use crate::snapshot::Snapshot;
use crate::upstream::{self, Leg};
use net::proxy::hop;

/// The host of one Worker call inside a request.
pub(crate) struct RequestHost {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) origin: Origin,
    /// The request that is decided may reach its origin more than once.
    pub(crate) repeatable: bool,
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
        let within = self.gateway.config.response_timeout;
        let answer = to_egress(&self.snapshot.upstream, within, &origin, request).await;
        answer.map_err(|fault| self.refused(acts, &fault))
    }

    /// Notes a request that its origin, being the one of the request that is decided, must not see twice.
    fn begin_act(&self, origin: &Origin, request: &Request<Body>) -> Result<bool, HostError> {
        if self.repeatable || *origin != self.origin || hop::is_replayable(request.method()) {
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

/// The longest a script waits for a response head that is not its request's own.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a Worker's request to wherever its URL leads, on the same guarded path that a person's requests take: the
/// resolved address is judged, the certificate must be valid, headers of the connection stay on it, and the response head
/// has its time. Redirects are not followed.
///
/// # Errors
/// A [`HostError`] that says in plain words what is wrong with the URL or its origin.
pub async fn fetch(
    pool: &Pool,
    response_timeout: Duration,
    request: Request<Body>,
) -> Result<Response<Body>, HostError> {
    let origin = origin_of(&request)?;
    let answer = to_egress(pool, response_timeout, &origin, request).await;
    answer.map_err(|fault| HostError::type_error(fault.what()))
}

async fn to_egress(
    pool: &Pool,
    response_timeout: Duration,
    origin: &Origin,
    request: Request<Body>,
) -> Result<Response<Body>, Fault> {
    let leg = Leg {
        offer: Offer::Both,
        certificates: CertificatePolicy::RequireValid,
        client: 0,
        within: response_timeout.min(PATIENCE),
    };
    let mut answer = upstream::send(pool, origin, leg, outgoing(request)).await?;
    hop::strip_response(answer.response.headers_mut());
    Ok(answer.response)
}

impl Host for RequestHost {
    fn inner(&self) -> Option<&dyn Host> {
        Some(&*self.gateway.services)
    }

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
}
