//! To the origin and back: the outgoing request, the arrived response, protocol changes.
//!
//! It carries out an allow plan; it decides nothing but what an untrusted certificate leads to. Invariant: bodies stream
//! with back-pressure and are never collected here, and trailers travel with them.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use net::upstream::CertificatePolicy;
use policy::action::{AllowPlan, BlockPlan, UntrustedCertificate};
use policy::headers::Change;
use policy::ruleset::FactVariables;
use tokio::time::Instant;

use crate::body::{Body, Metered, empty_body};
use crate::connect::Opened;
use crate::events::SecurityEventKind;
use crate::exchange::{self, Arrived};
use crate::fault::Fault;
use crate::record;
use crate::stages::Flow;
use crate::upstream::{self, Answer};
use crate::websocket;
use net::proxy::hop;

impl Flow {
    /// Sends the request under `plan` and holds what arrives.
    pub(crate) async fn forward(&mut self, plan: &AllowPlan) -> Result<(), Fault> {
        let mut request = self.outgoing(plan)?;
        if let Some(interim) = self.exchange.interim.take().filter(|_| self.ruling.quarantine.is_none()) {
            hyper::ext::on_informational(&mut request, move |head| interim.send(head.status(), head.headers()));
        }
        let leg = self.leg(plan.untrusted_cert);
        let started = Instant::now();
        let pool = self.exchange.snapshot.upstream.clone();
        let outcome = upstream::send(&pool, &self.exchange.target.origin, leg, request).await;
        self.record.fields.origin_micros = record::micros(started.elapsed());
        let answer = match outcome {
            Ok(answer) => answer,
            Err(fault) => return self.failed(fault, plan.untrusted_cert),
        };
        self.connected(&answer, leg.certificates);
        self.arrive(answer.response);
        Ok(())
    }

    fn outgoing(&mut self, plan: &AllowPlan) -> Result<Request<Body>, Fault> {
        // The client's own stay for rules that look again, and for the page if the origin fails.
        let mut headers = self.exchange.headers.clone();
        if !plan.headers.is_empty() {
            self.change_headers(plan, &mut headers);
        }
        if self.ruling.reads_download {
            keep_readable_codings(&mut headers);
        }
        let exchange = &mut self.exchange;
        // The authority that was judged is the one the origin is told.
        headers.remove(header::HOST);
        if let Some(pseudonym) = &exchange.client.gateway.config.via {
            hop::add_via(&mut headers, exchange.version, pseudonym);
        }
        if let Some(protocol) = exchange.upgrade.clone() {
            hop::restore_upgrade(&mut headers, protocol);
        }
        let body = if exchange.has_body {
            let mut body = exchange.take_body();
            if self.record.is_wanted() {
                let longest = exchange.client.gateway.config.body_head_bytes;
                body = exchange.mcp.watch_request(body, &exchange.headers, longest);
            }
            Metered::boxed(body, Arc::clone(&self.record.upload), ())
        } else {
            empty_body()
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&exchange.method);
        *request.uri_mut() = Uri::try_from(exchange.target.path_and_query())
            .map_err(|_| Fault::Target("its path is not a valid path".to_owned()))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Carries out the header changes of a rule: delete, set, add.
    fn change_headers(&mut self, plan: &AllowPlan, headers: &mut HeaderMap) {
        let (changes, warnings) = self.exchange.with_facts(|facts| plan.headers.resolve(&FactVariables(facts)));
        for warning in warnings {
            self.record.warn(warning);
        }
        for change in changes {
            match change {
                Change::Delete { name } => {
                    headers.remove(&name);
                    self.record.fields.deleted_headers.push(name);
                }
                Change::Set { name, values } => {
                    headers.remove(&name);
                    self.put(headers, &name, &values);
                    self.record.fields.set_headers.push(name);
                }
                Change::Add { name, values } => {
                    self.put(headers, &name, &values);
                    self.record.fields.added_headers.push(name);
                }
            }
        }
    }

    fn put(&mut self, headers: &mut HeaderMap, name: &str, values: &[String]) {
        for value in values {
            match (HeaderName::try_from(name), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) => {
                    headers.append(name, value);
                }
                // A variable held what no header may hold, such as a line break.
                (Err(_), _) | (_, Err(_)) => {
                    self.record.warn(format!("header {name} was left out: its value is not a header value"));
                }
            }
        }
    }

    /// Notes the connection that carried the exchange.
    fn connected(&mut self, answer: &Answer, certificates: CertificatePolicy) {
        let connection = &answer.connection;
        let fields = &mut self.record.fields;
        fields.destination_ip = connection.peer.ip().to_string();
        if let Some(tls) = &connection.tls {
            tls.version.clone_into(&mut fields.origin_tls_version);
            tls.group.unwrap_or_default().clone_into(&mut fields.origin_tls_key_exchange);
        }
        let untrusted = connection.certificate.as_ref().is_some_and(|certificate| !certificate.is_valid());
        let action =
            if untrusted && certificates == CertificatePolicy::AcceptUntrusted { "passThrough" } else { "none" };
        action.clone_into(&mut fields.untrusted_certificate_action);
        self.exchange.addresses = Some(vec![connection.peer.ip()]);
        self.exchange.connection = Some(Arc::clone(connection));
    }

    fn failed(&mut self, fault: Fault, untrusted: UntrustedCertificate) -> Result<(), Fault> {
        if let Fault::Untrusted { why, .. } = &fault {
            let word = if untrusted == UntrustedCertificate::Block { "block" } else { "error" };
            word.clone_into(&mut self.record.fields.untrusted_certificate_action);
            if untrusted == UntrustedCertificate::Block {
                self.report(SecurityEventKind::UntrustedCertificate, why.clone());
                let plan = BlockPlan { reason: Some(why.clone()), ..BlockPlan::default() };
                let response = self.block(None, &plan, fault.what());
                self.take_answer(response);
                return Ok(());
            }
        }
        Err(fault)
    }

    /// Says whether what is held is an answer of our own, which no rule looks at.
    pub(crate) fn is_settled(&self) -> bool {
        self.exchange.arrived.as_ref().is_some_and(|arrived| arrived.ours)
    }

    /// Puts an answer of our own where the origin's would be.
    fn take_answer(&mut self, response: Response<Body>) {
        let (parts, body) = response.into_parts();
        let has_body = !body.is_end_stream();
        self.exchange.arrived = Some(Arrived {
            status: parts.status,
            headers: parts.headers,
            body,
            has_body,
            mime: None,
            upgrade: None,
            ours: true,
        });
    }

    fn arrive(&mut self, mut response: Response<Body>) {
        let upgrade = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        let (mut parts, body) = response.into_parts();
        let protocol = upgrade.is_some().then(|| parts.headers.get(header::UPGRADE).cloned()).flatten();
        hop::strip_response(&mut parts.headers);
        if let Some(protocol) = protocol {
            hop::restore_upgrade(&mut parts.headers, protocol);
        }
        // RFC 9110 section 6.4.1: these have no content, whatever their headers say.
        let empty = self.exchange.method == Method::HEAD
            || parts.status.is_informational()
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let has_body = !empty && !body.is_end_stream();
        let mime = exchange::media_type(&parts.headers);
        if let Some(mime) = &mime {
            self.record.fields.content_type.clone_from(mime);
        }
        self.exchange.download.size = if has_body { exchange::declared_length(&parts.headers) } else { None };
        self.exchange.arrived =
            Some(Arrived { status: parts.status, headers: parts.headers, body, has_body, mime, upgrade, ours: false });
    }

    /// Hands the arrived response to the client.
    pub(crate) fn relay(&mut self) -> Result<Response<Body>, Fault> {
        let Some(arrived) = self.exchange.arrived.take() else {
            return Err(Fault::Configuration("nothing was sent and nothing was answered".to_owned()));
        };
        if arrived.has_body && self.exchange.download.size.is_none() {
            self.record.release_place();
        }
        let mut body = arrived.body;
        if arrived.has_body && !arrived.ours && self.record.is_wanted() {
            body = self.exchange.mcp.watch_response(body, &arrived.headers);
        }
        let mut response = Response::new(body);
        *response.status_mut() = arrived.status;
        *response.headers_mut() = arrived.headers;
        if let Some(origin) = arrived.upgrade {
            if self.exchange.extended && !websocket::is_accepted(&self.exchange.headers, response.headers()) {
                let host = self.exchange.target.host.clone();
                return Err(Fault::Broken { host, why: "it accepted a WebSocket that nobody asked for".to_owned() });
            }
            let Some(client) = self.exchange.on_upgrade.take() else {
                let host = self.exchange.target.host.clone();
                return Err(Fault::Broken { host, why: "it changed protocols without being asked".to_owned() });
            };
            self.bridge(client, origin);
        }
        Ok(response)
    }

    /// Joins both sides of a connection that changed protocols.
    fn bridge(&self, client: OnUpgrade, origin: OnUpgrade) {
        let opened = Opened::of(&self.exchange);
        let tls = self.exchange.target.origin.scheme == net::Scheme::Https;
        self.exchange.client.spawn(async move {
            // The client's side is ready once hyper has written the 101.
            let (Ok(client), Ok(origin)) = tokio::join!(client, origin) else { return };
            opened.bridge(net::proxy::serve::unwrap(client), TokioIo::new(origin), tls).await;
        });
    }
}

/// A rule reads the signature of what comes back: only codings that can be looked into are asked for.
fn keep_readable_codings(headers: &mut HeaderMap) {
    const READABLE: [&str; 4] = ["gzip", "deflate", "br", "identity"];
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return;
    }
    let kept: Vec<String> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|part| {
            let coding = part.split(';').next().unwrap_or_default().trim();
            READABLE.iter().any(|readable| coding.eq_ignore_ascii_case(readable))
        })
        .map(str::to_owned)
        .collect();
    let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    if let Ok(value) = HeaderValue::try_from(kept) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::keep_readable_codings;

    #[test]
    fn only_codings_that_can_be_looked_into_are_asked_for() {
        for (asked, kept) in
            [("gzip, deflate, br, zstd", "gzip, deflate, br"), ("zstd", "identity"), ("br;q=1.0, *;q=0.1", "br;q=1.0")]
        {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", asked.parse().unwrap());
            keep_readable_codings(&mut headers);
            assert_eq!(headers["accept-encoding"], kept);
        }
        let mut none = HeaderMap::new();
        keep_readable_codings(&mut none);
        assert!(none.is_empty());
    }
}
