//! One request on its way: what is known about it, in owned form.
//!
//! It holds; deciding and sending are the others'. Invariant: `host` and `path` are what the request was routed by, and
//! the application is told the same.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use identity::identity::ClientCertificate;
use identity::session::Moment;
use net::proxy::body::{Body, empty_body};
use parking_lot::Mutex;
use url::Url;
use uuid::Uuid;

use crate::access::{Client, Inner};
use crate::client_certificate::Judged;
use crate::language;
use crate::snapshot::Snapshot;
use crate::stages::OWN;
use crate::ticket::{START, Start};
use crate::words::Language;
use crate::workers::Words;

/// One request.
pub(crate) struct Exchange {
    pub(crate) client: Arc<Client>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) id: Uuid,
    pub(crate) now: Moment,
    pub(crate) method: Method,
    /// In lower case, without port.
    pub(crate) host: String,
    /// As it came, undecoded.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Both, as they are sent on.
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    /// Behind a lock because a body is not shared between threads; nobody waits for it.
    pub(crate) body: Mutex<Body>,
    pub(crate) has_body: bool,
    /// The protocol the client asks to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) on_upgrade: Option<OnUpgrade>,
    /// What the client showed on this connection, judged for `host`.
    pub(crate) certificate: Option<Arc<Judged>>,
    /// See [`Exchange::belongs_to`].
    pub(crate) start: OnceLock<Start>,
    /// What Workers said of whoever asks.
    pub(crate) words: Mutex<Words>,
}

impl Exchange {
    pub(crate) fn plane(&self) -> &Inner {
        &self.client.plane
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.client.source.ip().to_canonical()
    }

    pub(crate) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Returns every value of a cookie of the request.
    pub(crate) fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let headers = self.headers.get_all(header::COOKIE).iter();
        headers.flat_map(move |value| identity::cookie::values(value.as_bytes(), name))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns one parameter of the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = url::form_urlencoded::parse(self.query.as_deref().unwrap_or_default().as_bytes());
        pairs.into_iter().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }

    /// Returns the address of a host at this listener, `https://host[:port]`.
    pub(crate) fn site(&self, host: &str) -> Option<Url> {
        site(self.plane().config.public_port, host)
    }

    /// Returns the client's certificate, or why it does not count. The sign-in host is another connection: there it is
    /// the one that the application's host was shown when the sign-in began, and the application's host looks again.
    pub(crate) fn client_certificate(&self) -> Option<Result<&ClientCertificate, Cow<'_, str>>> {
        match self.start.get().filter(|_| self.snapshot.is_sign_in_host(&self.host)) {
            Some(start) => match start.certificate.as_ref()? {
                Ok(certificate) => Some(Ok(certificate)),
                Err(fault) => Some(Err(Cow::Borrowed(fault))),
            },
            None => Some(self.certificate.as_ref()?.outcome().map_err(|fault| Cow::Owned(fault.to_string()))),
        }
    }

    /// The same in owned form, for a sign-in that begins here.
    pub(crate) fn certificate_for_sign_in(&self) -> Option<Result<ClientCertificate, String>> {
        self.client_certificate().map(|outcome| outcome.cloned().map_err(Cow::into_owned))
    }

    /// Returns the language of pages; `wanted` are the application's own.
    pub(crate) fn language(&self, wanted: &[String]) -> Language {
        language::of(self, wanted)
    }

    /// Notes the sign-in that this exchange is a step of, so that its pages can lead back into it.
    pub(crate) fn belongs_to(&self, start: &Start) {
        // Every step of one exchange is of the same sign-in; the first to say so is enough.
        let _ = self.start.set(start.clone());
    }

    /// Returns the path and query that show this exchange's page again: of the sign-in it is a step of, else its own.
    /// `None` for an answer to a form that nothing leads back to.
    pub(crate) fn again(&self) -> Option<String> {
        if let Some(start) = self.start.get() {
            let meta = self.snapshot.seal.seal(START, start).ok()?;
            return Some(format!("{OWN}login/{}?meta={meta}", start.host));
        }
        matches!(self.method, Method::GET | Method::HEAD).then(|| self.path_and_query())
    }

    /// Takes the request body out, leaving none.
    pub(crate) fn take_body(&self) -> Body {
        std::mem::replace(&mut *self.body.lock(), empty_body())
    }
}

pub(crate) fn site(port: u16, host: &str) -> Option<Url> {
    let text = if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") };
    Url::parse(&text).ok()
}
